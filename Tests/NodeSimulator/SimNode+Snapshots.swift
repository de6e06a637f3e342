// SimNode+Snapshots.swift - the state as a whole, from a leader to a member that lacks the log.
//
// Like      NodeSnapshots (the leader's half) and NodeInstall (the member's), in their order. A
//           file is the checkpoint; its pieces are counted, and come with their done.

import Cluster
import MailQueue
import Primitives
import Raft
import Spool

struct SimOffer: Equatable {
    var id: UInt64
    var position: LogPosition
    var configuration: Configuration
    var pieces: Int
}

enum SimVerdict { case taking, ready, installed, refused, failed }

/// A snapshot that is whole; see `PreparedSnapshot`.
struct SimSnapshot {
    var id: UInt64
    var from: Int
    var checkpoint: SimCheckpoint
}

/// The leader's half; see `SnapshotSource`.
struct SimSource {
    struct Sending {
        var peer: Int
        var member: MemberID
        var message: Message
        var sent = 0
        var taken = 0
        var isWanted = false
        var isReading = false
        var isDone = false
        var heardAt: Instant
    }
    static let window = 4
    static let pause = Duration.seconds(1)
    static let silence = Duration.seconds(20)
    static let idle = Duration.seconds(5)

    var id: UInt64 = 0
    var export: SimCheckpoint?
    var isExporting = false
    var notBefore = Instant.zero
    var usedAt = Instant.zero
    var sendings: [Sending] = []
    var failures: [(member: MemberID, at: Instant)] = []

    func place(_ peer: Int) -> Int? { self.sendings.firstIndex { $0.peer == peer } }
}

/// The member's half; see `SnapshotSink`.
struct SimSink {
    struct Receiving {
        var from: Int
        var offer: SimOffer
        var hasFile = false
        var received = 0
        var written = 0
        var isChecking = false
        var heardAt: Instant
    }
    var receiving: Receiving?
    var prepared: SimSnapshot?
    var preparedAt = Instant.zero
    var installing: (request: StoreRequest, snapshot: SimSnapshot)?
    var isPlacing = false
    var behind: [StoreRequest] = []
}

extension SimCheckpoint {
    var pieces: Int { 1 + self.rows.count / 4 }
}

extension SimNode {
    // MARK: Making one.

    func tickSnapshots() {
        let now = self.clock
        if self.machine.replica.raft.wantsSnapshot { self.exportIfIdle(now) }
        if self.machine.replica.raft.role != .leader {
            self.source.sendings = []
            self.source.failures = []
        }
        self.forgetInstalled()
        for sending in self.source.sendings
        where now - sending.heardAt >= SimSource.silence { self.sendingFailed(sending.peer) }
        while let place = self.source.failures.firstIndex(where: { $0.at <= now }) {
            let failure = self.source.failures.remove(at: place)
            self.machine.reportSnapshot(failure.member, isInstalled: false)
        }
        if self.source.export != nil, self.source.sendings.isEmpty,
            now - self.source.usedAt >= SimSource.idle
        {
            self.source.export = nil
        }
        self.tickInstall(now)
    }

    private func forgetInstalled() {
        let raft = self.machine.replica.raft
        guard raft.role == .leader else { return }
        self.source.sendings.removeAll { sending in
            let place = raft.membership.place(of: sending.member)
            return place.map { raft.membership.peers[$0].progress.state } != .snapshot
        }
    }

    func compactLog() {
        let making = self.source.isExporting ? self.checkpointIndex : nil
        let offered = self.source.export.map(\.position.index)
        self.machine.compact(
            checkpoint: self.checkpointIndex, within: self.world.scenario.log,
            snapshot: offered.map { min($0, making ?? .max) } ?? making)
    }

    private var checkpointServes: Bool {
        let raft = self.machine.replica.raft
        return self.checkpointIndex > 0 && self.checkpointIndex + 1 >= raft.firstIndex
            && self.checkpointMembers == raft.configuration
    }

    private func exportIfIdle(_ now: Instant) {
        guard !self.source.isExporting, !self.isCheckpointing, now >= self.source.notBefore else {
            return
        }
        self.source.isExporting = true
        guard !self.checkpointServes else { return self.export() }
        self.makeCheckpoint { isSaved in
            if isSaved { self.export() } else { self.exportFailed() }
        }
    }

    private func exportFailed() {
        self.source.isExporting = false
        self.source.notBefore = self.clock + SimSource.pause
    }

    private func export() {
        let checkpoint = self.disk.checkpoint
        self.world.after(self.world.draw(1, 50) * SimWorld.millisecond, on: self) {
            guard let checkpoint, !self.world.chance(50) else { return self.exportFailed() }
            self.exported(checkpoint)
        }
    }

    private func exported(_ checkpoint: SimCheckpoint) {
        self.source.isExporting = false
        for sending in self.source.sendings { self.sendingFailed(sending.peer) }
        self.source.export = checkpoint
        self.source.id = self.dice.next()
        self.source.usedAt = self.clock
        self.machine.offer(
            Snapshot(
                position: checkpoint.position, configuration: checkpoint.configuration, data: []))
        self.isTurnPlanned = true
    }

    // MARK: Sending.

    func sendSnapshot(_ message: Message, _ snapshot: Snapshot) {
        let now = self.clock
        guard let peer = self.place(of: message.to) else { return self.notSent(message.to) }
        self.source.sendings.removeAll { $0.peer == peer }
        guard let export = self.source.export, export.position == snapshot.position else {
            self.exportIfIdle(now)
            return self.notSent(message.to)
        }
        let offer = SimOffer(
            id: self.source.id, position: snapshot.position,
            configuration: snapshot.configuration, pieces: export.pieces)
        guard self.send(.snapshotOffer(offer), .bulk, to: peer) else {
            return self.notSent(message.to)
        }
        self.source.usedAt = now
        self.source.sendings.append(
            SimSource.Sending(peer: peer, member: message.to, message: message, heardAt: now))
    }

    private func notSent(_ member: MemberID) {
        self.source.failures.append((member, self.clock + SimSource.pause))
    }

    func sendingFailed(_ peer: Int) {
        guard let place = self.source.place(peer) else { return }
        self.notSent(self.source.sendings.remove(at: place).member)
    }

    func snapshotAnswered(_ id: UInt64, _ verdict: SimVerdict, _ taken: Int, _ peer: Int) {
        let now = self.clock
        guard id == self.source.id, let place = self.source.place(peer),
            let export = self.source.export, taken <= export.pieces
        else { return }
        self.source.usedAt = now
        self.source.sendings[place].heardAt = now
        switch verdict {
        case .refused, .failed: self.sendingFailed(peer)
        case .taking:
            if !self.source.sendings[place].isWanted {
                self.source.sendings[place].isWanted = true
                self.source.sendings[place].sent = taken
            }
            self.source.sendings[place].taken = taken
            self.sendPieces(peer)
        case .ready:
            let message = self.source.sendings[place].message
            guard message.term == self.machine.term else { return self.sendingFailed(peer) }
            self.sendDirectly(message)
        case .installed:
            let member = self.source.sendings.remove(at: place).member
            self.world.counters[.snapshots] += 1
            self.machine.reportSnapshot(member, isInstalled: true)
        }
    }

    private func sendPieces(_ peer: Int) {
        guard let place = self.source.place(peer), let export = self.source.export else { return }
        let sending = self.source.sendings[place]
        guard sending.isWanted, !sending.isReading, !sending.isDone else { return }
        guard sending.sent < export.pieces else {
            self.source.sendings[place].isDone = self.send(
                .snapshotDone(self.source.id, export), .bulk, to: peer)
            return
        }
        guard sending.sent < sending.taken + SimSource.window else { return }
        self.source.sendings[place].isReading = true
        let (id, number) = (self.source.id, sending.sent)
        self.world.after(self.world.draw(0, SimWorld.millisecond), on: self) {
            self.pieceRead(id, number, peer)
        }
    }

    private func pieceRead(_ id: UInt64, _ number: Int, _ peer: Int) {
        guard id == self.source.id, let place = self.source.place(peer),
            self.source.sendings[place].isReading, self.source.sendings[place].sent == number
        else { return }
        self.source.sendings[place].isReading = false
        guard self.send(.snapshotPiece(id, number), .bulk, to: peer) else {
            return self.sendingFailed(peer)
        }
        self.source.sendings[place].sent += 1
        self.sendPieces(peer)
    }

    // MARK: Taking it in.

    private func answer(_ id: UInt64, _ verdict: SimVerdict, _ taken: Int, _ peer: Int) {
        self.send(.snapshotAnswer(id, verdict, taken), .bulk, to: peer)
    }

    func offered(_ offer: SimOffer, _ peer: Int) {
        let now = self.clock
        let raft = self.machine.replica.raft
        if let prepared = self.sink.prepared, prepared.id == offer.id, prepared.from == peer {
            self.sink.preparedAt = now
            return self.answer(offer.id, .ready, offer.pieces, peer)
        }
        guard offer.position.index > raft.commit else {
            return self.answer(offer.id, .ready, offer.pieces, peer)
        }
        guard raft.leader == self.known[peer], self.sink.installing == nil, !self.sink.isPlacing
        else { return self.answer(offer.id, .refused, 0, peer) }
        if let receiving = self.sink.receiving, receiving.from == peer, receiving.offer == offer {
            self.sink.receiving?.heardAt = now
            guard receiving.hasFile, !receiving.isChecking else { return }
            return self.answer(offer.id, .taking, receiving.received, peer)
        }
        self.dropIncomingSnapshot()
        self.sink.receiving = SimSink.Receiving(from: peer, offer: offer, heardAt: now)
        self.world.after(self.world.draw(1, 5) * SimWorld.millisecond, on: self) {
            guard self.sink.receiving?.offer == offer, self.sink.receiving?.from == peer,
                self.sink.receiving?.hasFile == false
            else { return }
            guard !self.isLowOnDisk else {
                self.sink.receiving = nil
                return self.answer(offer.id, .refused, 0, peer)
            }
            self.sink.receiving?.hasFile = true
            self.answer(offer.id, .taking, 0, peer)
        }
    }

    private func receiving(_ id: UInt64, _ peer: Int) -> SimSink.Receiving? {
        guard let receiving = self.sink.receiving, receiving.offer.id == id,
            receiving.from == peer, receiving.hasFile, !receiving.isChecking
        else { return nil }
        return receiving
    }

    func took(_ id: UInt64, _ number: Int, _ peer: Int) {
        guard let receiving = self.receiving(id, peer) else { return }
        guard number == receiving.received, number < receiving.offer.pieces else {
            self.dropIncomingSnapshot()
            return self.answer(id, .failed, 0, peer)
        }
        self.sink.receiving?.received += 1
        self.sink.receiving?.heardAt = self.clock
        self.world.after(self.world.draw(0, 2 * SimWorld.millisecond), on: self) {
            guard self.receiving(id, peer) != nil else { return }
            self.sink.receiving?.written += 1
            self.answer(id, .taking, self.sink.receiving?.written ?? 0, peer)
        }
    }

    private func dropIncomingSnapshot() {
        self.sink.receiving = nil
        self.sink.prepared = nil
        self.machine.readySnapshot = nil
    }

    func isWhole(_ id: UInt64, _ checkpoint: SimCheckpoint, _ peer: Int) {
        guard let receiving = self.receiving(id, peer) else { return }
        self.sink.receiving?.isChecking = true
        self.sink.receiving?.heardAt = self.clock
        self.world.after(self.world.draw(1, 50) * SimWorld.millisecond, on: self) {
            guard let now = self.sink.receiving, now.offer == receiving.offer, now.from == peer,
                now.isChecking
            else { return }
            self.sink.receiving = nil
            self.sink.prepared = SimSnapshot(id: id, from: peer, checkpoint: checkpoint)
            self.sink.preparedAt = self.clock
            self.machine.readySnapshot = Snapshot(
                position: checkpoint.position, configuration: checkpoint.configuration, data: [])
            self.answer(id, .ready, receiving.offer.pieces, peer)
        }
    }

    // MARK: Installing it.

    /// Behind a message of agreement; see `Node.takeSnapshotIfReady`.
    func takeSnapshotIfReady() {
        guard let prepared = self.sink.prepared,
            prepared.checkpoint.position.index <= self.machine.commit
        else { return }
        self.turn()
    }

    func store(_ request: StoreRequest) {
        guard self.sink.installing == nil else { return self.sink.behind.append(request) }
        guard let snapshot = request.snapshot else { return self.storeEntries(of: request) }
        guard let prepared = self.sink.prepared,
            prepared.checkpoint.position == snapshot.position
        else { unreachable("the core takes only the snapshot that lies ready") }
        self.sink.prepared = nil
        self.machine.readySnapshot = nil
        self.sink.installing = (request, prepared)
        self.install()
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
        guard let installing = self.sink.installing, !self.sink.isPlacing, !self.isCheckpointing
        else { return }
        self.sink.isPlacing = true
        self.isCheckpointing = true
        self.world.after(self.world.draw(1, 50) * SimWorld.millisecond, on: self) {
            guard !self.world.chance(50) else {
                // Without room: the old state is in force.
                self.sink.isPlacing = false
                self.isCheckpointing = false
                return
            }
            self.sink.installing = nil
            _ = self.disk.install(installing.snapshot.checkpoint)
            self.storeEntries(of: installing.request, installing: installing.snapshot)
            let behind = self.sink.behind
            self.sink.behind = []
            for request in behind { self.store(request) }
            self.sync()
            self.drain()
        }
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
        self.sink.isPlacing = false
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
        self.answer(snapshot.id, .installed, 0, snapshot.from)
        self.resumeSession(found)
    }

    private func settleSwallowed(_ session: SessionID, _ news: inout News) {
        for waiter in self.waiters {
            let tag = Tag(session: session, sequence: waiter.number)
            guard self.machine.queue.contains(tag) else { continue }
            self.waiters.removeAll { $0.number == waiter.number }
            if case .givenUp = waiter.purpose {
                self.machine.submitFact(.cancel(tag))
            } else {
                self.settle(waiter, .enqueued(recipients: 1), &news)
            }
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
        if let receiving = self.sink.receiving, now - receiving.heardAt >= SimSource.silence,
            !receiving.isChecking
        {
            self.dropIncomingSnapshot()
        }
        if let prepared = self.sink.prepared,
            prepared.checkpoint.position.index <= self.machine.commit
                || now - self.sink.preparedAt >= SimSource.silence
        {
            self.dropIncomingSnapshot()
        }
    }
}
