// SimNode+Snapshots.swift - the state as a whole, from a leader to a member that lacks the log.
//
// Like      NodeSnapshots (the leader's half) and NodeInstall (the member's): what SnapshotSource
//           and SnapshotSink decide is done here to a file that is the checkpoint. Its pieces are
//           counted, one for a byte, and come with their end.

import Cluster
import MailQueue
import Primitives
import Raft
import Spool

/// A snapshot that is whole; see `PreparedSnapshot`.
struct SimSnapshot {
    var id: UInt64
    var holder: Holder
    var checkpoint: SimCheckpoint
}

/// The files of both halves; see `SnapshotFiles`.
struct SimSnapshotFiles {
    var export: SimCheckpoint?
    var prepared: SimSnapshot?
    var installing: SimSnapshot?
}

extension SnapshotLimits {
    static let simulated = {
        var limits = Self()
        limits.pieceBytes = 1
        limits.windowBytes = 4
        limits.silence = .seconds(20)
        limits.idle = .seconds(5)
        return limits
    }()
}

extension SnapshotSource {
    static let simulated = {
        var source = Self()
        source.limits = .simulated
        return source
    }()
}

extension SnapshotSink {
    static let simulated = {
        var sink = Self()
        sink.limits = .simulated
        // What finds no room is tried again with the next tick.
        sink.limits.pause = .zero
        return sink
    }()
}

extension SimCheckpoint {
    var pieces: UInt64 { 1 + UInt64(self.rows.count) / 4 }
}

extension SimNode {
    // MARK: Making one.

    func tickSnapshots() {
        let now = self.clock
        for action in self.source.tick(self.machine.replica.raft, now: now) {
            switch action {
            case .make: self.makeSnapshot(now)
            case .say: continue
            case .report(let member): self.machine.reportSnapshot(member, isInstalled: false)
            case .release: self.snapshotFiles.export = nil
            }
        }
        self.tickInstall(now)
    }

    func compactLog() {
        self.machine.compact(
            checkpoint: self.checkpointIndex, within: self.world.scenario.log,
            snapshot: self.source.keptFrom(checkpoint: self.checkpointIndex))
    }

    private func makeSnapshot(_ now: Instant) {
        let newest = SnapshotSource.Checkpoint(
            index: self.checkpointIndex, configuration: self.checkpointMembers)
        let making = self.source.begin(
            self.machine.replica.raft, newest, isBusy: self.isCheckpointing, now: now)
        switch making {
        case .nothing: return
        case .export: self.export()
        case .checkpoint:
            self.makeCheckpoint { isSaved in
                if isSaved { self.export() } else { self.source.exportFailed(now: self.clock) }
            }
        }
    }

    private func export() {
        let checkpoint = self.disk.checkpoint
        self.world.after(self.world.draw(1, 50) * SimWorld.millisecond, on: self) {
            guard let checkpoint, !self.world.chance(50) else {
                return self.source.exportFailed(now: self.clock)
            }
            let snapshot = self.source.exported(
                checkpoint.position, checkpoint.configuration, bytes: checkpoint.pieces,
                id: self.dice.next(), now: self.clock)
            self.snapshotFiles.export = checkpoint
            self.machine.offer(snapshot)
            self.isTurnPlanned = true
        }
    }

    // MARK: Sending.

    /// A peer by name, whichever disk it has now.
    @discardableResult
    private func send(_ load: SimLoad, to holder: Holder) -> Bool {
        guard let peer = self.world.nodes.firstIndex(where: { $0.name == holder.node }) else {
            unreachable("a node of another world")
        }
        return self.send(load, .bulk, to: peer)
    }

    func sendSnapshot(_ message: Message, _ snapshot: Snapshot) {
        let now = self.clock
        let holder = self.place(of: message.to).flatMap { self.holder(of: $0) }
        switch self.source.offer(message, snapshot, to: holder, now: now) {
        case .later: return
        case .make: self.makeSnapshot(now)
        case .offer(let offer, let holder):
            let isSent = self.send(.snapshotOffer(offer), to: holder)
            self.source.offered(message, to: holder, isSent: isSent, now: now)
        }
    }

    func sendingFailed(_ holder: Holder) {
        _ = self.source.failed(holder, .linkIsGone, now: self.clock)
    }

    func snapshotAnswered(
        _ id: UInt64, _ verdict: SnapshotVerdict, _ taken: UInt64, _ holder: Holder
    ) {
        let answered = self.source.answered(
            id, verdict, taken: taken, by: holder, term: self.machine.term, now: self.clock)
        switch answered {
        case .ignored, .failed: return
        case .goOn: self.sendPieces(holder)
        case .speak(let message): self.sendDirectly(message)
        case .installed:
            self.world.counters[.snapshots] += 1
            self.machine.reportSnapshot(holder.incarnation, isInstalled: true)
        }
    }

    private func sendPieces(_ holder: Holder) {
        guard let export = self.snapshotFiles.export else { return }
        switch self.source.next(for: holder, isWritable: true) {
        case .nothing: return
        case .end(let id):
            if self.send(.snapshotDone(id, export), to: holder) { self.source.ended(holder) }
        case .read(let id, let number):
            self.world.after(self.world.draw(0, SimWorld.millisecond), on: self) {
                self.pieceRead(id, number, holder)
            }
        }
    }

    private func pieceRead(_ id: UInt64, _ number: UInt64, _ holder: Holder) {
        guard self.source.hasRead(id, offset: number, for: holder) else { return }
        guard self.send(.snapshotPiece(id, number), to: holder) else {
            return self.sendingFailed(holder)
        }
        self.source.sent(1, to: holder)
        self.sendPieces(holder)
    }

    // MARK: Taking it in.

    private func answer(
        _ id: UInt64, _ verdict: SnapshotVerdict, _ taken: UInt64, to holder: Holder
    ) {
        self.send(.snapshotAnswer(id, verdict, taken), to: holder)
    }

    func offered(_ offer: SnapshotOffer, _ holder: Holder) {
        let offered = self.sink.offered(
            offer, by: holder, &self.machine, isStopping: false, now: self.clock)
        switch offered {
        case .wait: return
        case .answer(let verdict, let taken): self.answer(offer.id, verdict, taken, to: holder)
        case .begin:
            self.snapshotFiles.prepared = nil
            self.world.after(self.world.draw(1, 5) * SimWorld.millisecond, on: self) {
                let begun = self.sink.begun(offer, by: holder, hasSpace: !self.isLowOnDisk)
                guard case .answer(let verdict, let taken) = begun else { return }
                self.answer(offer.id, verdict, taken, to: holder)
            }
        }
    }

    func took(_ id: UInt64, _ number: UInt64, _ holder: Holder) {
        let took = self.sink.took(
            id, offset: number, bytes: 1, from: holder, &self.machine, now: self.clock)
        switch took {
        case .ignored: return
        case .outOfOrder: self.receivingFailed(id, holder)
        case .write:
            self.world.after(self.world.draw(0, 2 * SimWorld.millisecond), on: self) {
                let written = 1 + (self.sink.receiving?.written ?? 0)
                guard let taken = self.sink.wrote(id, from: holder, upTo: written) else { return }
                self.answer(id, .taking, taken, to: holder)
            }
        }
    }

    private func receivingFailed(_ id: UInt64, _ holder: Holder) {
        self.snapshotFiles.prepared = nil
        self.answer(id, .failed, 0, to: holder)
    }

    func isWhole(_ id: UInt64, _ checkpoint: SimCheckpoint, _ holder: Holder) {
        guard let offer = self.sink.isWhole(id, from: holder, now: self.clock) else { return }
        self.world.after(self.world.draw(1, 50) * SimWorld.millisecond, on: self) {
            self.checked(offer, checkpoint, holder)
        }
    }

    private func checked(
        _ offer: SnapshotOffer, _ checkpoint: SimCheckpoint, _ holder: Holder
    ) {
        var snapshot: Snapshot?
        do throws(CodecError) {
            if try offer.isOf(checkpoint.position, checkpoint.configuration) {
                snapshot = Snapshot(
                    position: checkpoint.position, configuration: checkpoint.configuration,
                    data: [])
            }
        } catch {
            self.world.fail(7, "an offer cannot be read: \(error)")
        }
        let checked = self.sink.checked(
            offer.id, from: holder, snapshot, &self.machine, now: self.clock)
        switch checked {
        case .abandon: return
        case .failed: self.receivingFailed(offer.id, holder)
        case .ready(let taken):
            self.snapshotFiles.prepared = SimSnapshot(
                id: offer.id, holder: holder, checkpoint: checkpoint)
            self.answer(offer.id, .ready, taken, to: holder)
        }
    }

    // MARK: Installing it.

    /// Behind a message of agreement; see `SnapshotSink.isTaken`.
    func takeSnapshotIfReady() {
        if self.sink.isTaken(by: self.machine) { self.turn() }
    }

    func store(_ request: StoreRequest) {
        switch self.sink.store(request, &self.machine) {
        case .behind: return
        case .entries: self.storeEntries(of: request)
        case .snapshot:
            self.snapshotFiles.installing = self.snapshotFiles.prepared.take()
            self.install()
        }
    }

    private func storeEntries(of request: StoreRequest, installing: SimSnapshot? = nil) {
        for entry in request.entries { _ = self.disk.append(.entry(entry)) }
        if let state = request.hardState { _ = self.disk.append(.hardState(state)) }
        self.stores.append(
            Store(
                ticket: request.ticket, position: self.disk.end, since: self.clock,
                installs: installing))
    }

    private func install() {
        guard self.sink.place(isCheckpointing: self.isCheckpointing, now: self.clock) else {
            return
        }
        self.isCheckpointing = true
        self.world.after(self.world.draw(1, 50) * SimWorld.millisecond, on: self) {
            guard !self.world.chance(50) else {
                // Without room: the old state is in force.
                self.sink.notPlaced(now: self.clock)
                self.isCheckpointing = false
                return
            }
            self.placed()
        }
    }

    private func placed() {
        guard let snapshot = self.snapshotFiles.installing.take() else {
            unreachable("what is put in place was prepared")
        }
        _ = self.disk.install(snapshot.checkpoint)
        let (request, behind) = self.sink.placed()
        self.storeEntries(of: request, installing: snapshot)
        for request in behind { self.store(request) }
        self.sync()
        self.drain()
    }

    /// The snapshot is durable and current.
    func installed(_ snapshot: SimSnapshot, _ news: inout News) {
        let session = self.machine.session
        let checkpoint = snapshot.checkpoint
        let found: NodeMachine.Installed
        do {
            found = self.machine.install(
                try checkpoint.queue(), at: checkpoint.position, at: self.clocks)
        } catch {
            return self.world.fail(7, "a snapshot cannot be read: \(error)")
        }
        self.world.counters[.installs] += 1
        self.world.note("\(self.name) installs a snapshot of \(checkpoint.position.index)")
        self.world.truth.installed(self, checkpoint)
        self.sink.installed()
        self.isCheckpointing = false
        self.checkpointIndex = checkpoint.position.index
        self.checkpointMembers = checkpoint.configuration
        self.checkpointedAt = self.clock
        self.effects.removeAll(keepingCapacity: true)
        for (number, result) in found.results {
            guard let at = self.waiters.firstIndex(where: { $0.number == number }) else { continue }
            self.settle(self.waiters.remove(at: at), result, &news)
        }
        if found.closed != nil { self.settleSwallowed(session, &news) }
        for lease in found.leases { self.handOut(lease, &news) }
        for report in found.reports {
            if let work = self.machine.queue.reportWork(report) {
                news.work.append(.report(work, self.machine.session))
            }
        }
        self.answer(snapshot.id, .installed, 0, to: snapshot.holder)
        self.resumeSession(found)
    }

    private func settleSwallowed(_ session: SessionID, _ news: inout News) {
        for waiter in self.waiters {
            let tag = Tag(session: session, sequence: waiter.number)
            guard case .submission = waiter.purpose, self.machine.queue.wasEnqueued(tag) else {
                continue
            }
            if !self.machine.queue.contains(tag) { self.world.counters[.toldOfEnded] += 1 }
            self.waiters.removeAll { $0.number == waiter.number }
            self.settle(waiter, .enqueued(recipients: 1), &news)
        }
    }

    private func resumeSession(_ found: NodeMachine.Installed) {
        if self.phase == .opening || self.isReopening, let result = self.machine.takeOpening() {
            self.sessionOpened(result)
        }
        if found.closed != nil, self.machine.session == .none { self.sessionClosed() }
        if found.missedOpening { self.reopenSession() }
    }

    private func tickInstall(_ now: Instant) {
        self.install()
        if self.sink.tick(&self.machine, now: now) { self.snapshotFiles.prepared = nil }
    }
}
