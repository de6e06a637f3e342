// NodeInstall.swift - a member's half: the state comes as a whole, and takes the place of its own.
//
// Order     1 an offer of the leader: space is taken. 2 Pieces are written; each is answered when
//           it is. 3 All of it is checked, and the queue is made of its rows, beside the one in
//           force. 4 The leader's core speaks of it; this one's asks to have it stored. 5 The file
//           becomes current in the journal; what the core stores meanwhile waits behind it. 6 The
//           journal is durable: the queue is replaced, the core is told, mail goes on.
// Never     a state that goes back: the core takes none that is not ahead of what is committed
//           here. Nothing is applied twice: entries up to the snapshot are never handed out again.
// Decides   nothing: Machine/SnapshotSink does, for this driver and the node simulator's.
// See       Storage's Snapshots (crashes), NodeMachine.install (sessions, leases).

import Logging
import MailQueue
import NIOCore
import Networking
import Primitives
import Raft
import Spool
import Storage

/// A snapshot that is whole, checked and read.
struct PreparedSnapshot: Sendable {
    var id: UInt64
    var holder: Holder
    var file: IncomingSnapshot
    var position: LogPosition
    var configuration: Configuration
    var queue: RestoredQueue
}

/// The files of both halves, as storage has them.
struct SnapshotFiles {
    /// What is read for others.
    var export: SnapshotExport?
    /// What is written; nil: space is being taken for it.
    var incoming: IncomingSnapshot?
    /// What the core may take.
    var prepared: PreparedSnapshot?
    /// What it has taken.
    var installing: PreparedSnapshot?
}

extension Node {
    // MARK: Taking it in.

    private func answer(
        _ id: UInt64, _ verdict: SnapshotVerdict, _ taken: UInt64, to holder: Holder
    ) {
        _ = self.mesh?.send(
            .snapshotAnswer(id: id, verdict, takenBytes: taken), to: holder.node)
    }

    func receiveSnapshot(_ message: PeerMessage, from holder: Holder) {
        switch message {
        case .snapshotOffer(let offer): self.offered(offer, holder)
        case .snapshotPiece(let id, let offset, let bytes):
            self.took(id, offset, Array(buffer: bytes), holder)
        case .snapshotDone(let id, let digest): self.isWhole(id, digest, holder)
        case .snapshotAnswer(let id, let verdict, let taken):
            self.snapshotAnswered(id, verdict, taken, holder)
        case .raft, .forward, .forwardRefused, .renew, .renewed, .founding, .standing, .bodyOpen,
            .bodyChunk, .bodyEnd, .bodyWhole, .bodyStored, .bodyRefused, .bodyAbandoned,
            .fetchBody, .fetchMore, .fetchEnded, .fetchedHead, .fetchedPiece, .fetchFailed:
            return
        }
    }

    private func offered(_ offer: SnapshotOffer, _ holder: Holder) {
        let offered = self.sink.offered(
            offer, by: holder, &self.machine,
            isStopping: self.phase == .stopping || self.phase == .stopped,
            now: SystemClock.bootTime())
        switch offered {
        case .wait: return
        case .answer(let verdict, let taken): self.answer(offer.id, verdict, taken, to: holder)
        case .begin:
            self.abandonIncoming()
            let loop = self.loop
            self.storage.beginSnapshot(byteCount: offer.totalBytes) { result in
                loop.execute { self.begun(result, offer, holder) }
            }
        }
    }

    private func begun(
        _ result: Result<IncomingSnapshot, SnapshotError>, _ offer: SnapshotOffer, _ holder: Holder
    ) {
        var file: IncomingSnapshot?
        switch result {
        case .success(let space): file = space
        case .failure(let error):
            self.logger.warning(
                "a snapshot of the leader is refused", metadata: ["why": "\(error.label)"])
        }
        switch self.sink.begun(offer, by: holder, hasSpace: file != nil) {
        case .abandon:
            if let file { self.storage.abandonSnapshot(file) }
        case .answer(let verdict, let taken):
            if let file { self.snapshotFiles.incoming = file }
            self.answer(offer.id, verdict, taken, to: holder)
        }
    }

    private func took(_ id: UInt64, _ offset: UInt64, _ bytes: [UInt8], _ holder: Holder) {
        let took = self.sink.took(
            id, offset: offset, bytes: UInt64(bytes.count), from: holder, &self.machine,
            now: SystemClock.bootTime())
        switch took {
        case .ignored: return
        case .outOfOrder: self.receivingFailed(id, "out of order", holder)
        case .write:
            guard let file = self.snapshotFiles.incoming else {
                unreachable("space was taken for what is written")
            }
            let loop = self.loop
            self.storage.writeSnapshot(file, bytes) { result in
                loop.execute { self.wrote(result, id, holder) }
            }
        }
    }

    private func wrote(
        _ result: Result<UInt64, SnapshotError>, _ id: UInt64, _ holder: Holder
    ) {
        switch result {
        case .success(let written):
            guard let taken = self.sink.wrote(id, from: holder, upTo: written) else { return }
            self.answer(id, .taking, taken, to: holder)
        case .failure(let error):
            guard self.sink.writeFailed(id, from: holder, &self.machine) else { return }
            self.receivingFailed(id, "\(error.label)", holder)
        }
    }

    private func receivingFailed(_ id: UInt64, _ why: String, _ holder: Holder) {
        self.abandonIncoming()
        self.logger.warning("a snapshot cannot be taken", metadata: ["why": "\(why)"])
        self.answer(id, .failed, 0, to: holder)
    }

    /// The sink has dropped what came.
    private func abandonIncoming() {
        if let file = self.snapshotFiles.incoming.take() { self.storage.abandonSnapshot(file) }
        if let prepared = self.snapshotFiles.prepared.take() {
            self.storage.abandonSnapshot(prepared.file)
        }
    }

    // MARK: Reading it.

    private func isWhole(_ id: UInt64, _ digest: BodyDigest, _ holder: Holder) {
        guard let offer = self.sink.isWhole(id, from: holder, now: SystemClock.bootTime()) else {
            return
        }
        guard let file = self.snapshotFiles.incoming else {
            unreachable("space was taken for what is checked")
        }
        let loop = self.loop
        self.storage.checkSnapshot(
            file, digest, digest: SnapshotLimits.digest,
            load: { rows in try Self.load(rows, file, offer, holder) },
            answer: { result in loop.execute { self.checked(result, id, holder) } })
    }

    /// On a thread of the storage.
    private static func load(
        _ rows: SnapshotRows, _ file: IncomingSnapshot, _ offer: SnapshotOffer, _ holder: Holder
    ) throws -> PreparedSnapshot {
        let (meta, queueMeta) = try NodeMeta.decode(rows.meta.meta)
        let position = LogPosition(term: rows.meta.appliedTerm, index: rows.meta.appliedIndex)
        guard try offer.isOf(position, meta.configuration) else {
            throw CodecError.outOfRange("position")
        }
        let restored = try RestoredQueue(meta: queueMeta) { try rows.forEach($0) }
        return PreparedSnapshot(
            id: offer.id, holder: holder, file: file, position: position,
            configuration: meta.configuration, queue: restored)
    }

    private func checked(
        _ result: Result<PreparedSnapshot, SnapshotError>, _ id: UInt64, _ holder: Holder
    ) {
        var snapshot: Snapshot?
        if case .success(let prepared) = result {
            snapshot = Snapshot(
                position: prepared.position, configuration: prepared.configuration, data: [])
        }
        let checked = self.sink.checked(
            id, from: holder, snapshot, &self.machine, now: SystemClock.bootTime())
        switch (checked, result) {
        case (.abandon, .success(let prepared)): self.storage.abandonSnapshot(prepared.file)
        case (.abandon, .failure): return
        case (.ready(let taken), .success(let prepared)):
            self.snapshotFiles.incoming = nil
            self.snapshotFiles.prepared = prepared
            self.answer(id, .ready, taken, to: holder)
        case (.failed, .failure(let error)): self.receivingFailed(id, "\(error.label)", holder)
        case (.ready, .failure), (.failed, .success):
            unreachable("what was read is ready, and nothing else")
        }
    }

    // MARK: Installing it.

    /// Behind a message of agreement; see `SnapshotSink.isTaken`.
    func takeSnapshotIfReady() {
        if self.sink.isTaken(by: self.machine) { self.turn() }
    }

    /// What the core asks for.
    func store(_ request: StoreRequest) {
        switch self.sink.store(request, &self.machine) {
        case .behind: return
        case .entries: self.storeEntries(of: request)
        case .snapshot:
            self.snapshotFiles.installing = self.snapshotFiles.prepared.take()
            self.install()
        }
    }

    private func storeEntries(
        of request: StoreRequest, behind position: UInt64? = nil,
        installing snapshot: PreparedSnapshot? = nil
    ) {
        let isEmpty = request.entries.isEmpty && request.hardState == nil
        let last =
            isEmpty
            ? position ?? self.storage.lastPosition
            : self.storage.append(request.entries, request.hardState)
        self.stores.append(
            Store(
                ticket: request.ticket, position: last, term: request.hardState?.term,
                installs: snapshot))
    }

    private func install() {
        guard
            self.sink.place(
                isCheckpointing: self.checkpoint.isRunning, now: SystemClock.bootTime())
        else { return }
        guard let snapshot = self.snapshotFiles.installing else {
            unreachable("what is put in place was prepared")
        }
        self.checkpoint.isRunning = true
        let loop = self.loop
        self.storage.installSnapshot(snapshot.file) { result in
            loop.execute { self.placed(result) }
        }
    }

    private func placed(_ result: Result<UInt64, SnapshotError>) {
        switch result {
        case .success(let position):
            let (request, behind) = self.sink.placed()
            self.storeEntries(
                of: request, behind: position, installing: self.snapshotFiles.installing.take())
            for request in behind { self.store(request) }
            self.drain()
        case .failure(let error):
            // What there is beside a lack of room has been told as the storage's fault, and ends
            // the process.
            self.sink.notPlaced(now: SystemClock.bootTime())
            self.checkpoint.isRunning = false
            self.logger.error(
                "a snapshot cannot be put in place", metadata: ["why": "\(error.label)"])
        }
    }

    /// The snapshot is durable and current: so is its queue from now on.
    func installed(_ snapshot: PreparedSnapshot) {
        let session = self.machine.session
        let found = self.machine.install(
            snapshot.queue.take(), at: snapshot.position, at: self.clocks)
        self.sink.installed()
        self.checkpoint.isRunning = false
        self.checkpoint.index = snapshot.position.index
        self.checkpoint.configuration = snapshot.configuration
        self.checkpoint.bytes = 0
        self.checkpoint.madeAt = SystemClock.bootTime()
        self.logger.notice(
            "a snapshot of the leader is installed",
            metadata: ["index": "\(snapshot.position.index)"])
        var news = News()
        self.effects.removeAll(keepingCapacity: true)
        let now = SystemClock.bootTime()
        for (number, result) in found.results {
            guard let waiter = self.waiters.remove(number) else { continue }
            self.settle(waiter, result, now, &news)
        }
        if found.closed != nil { self.settleSwallowed(session, now, &news) }
        for lease in found.leases { self.handOut(lease, &news.work) }
        for report in found.reports {
            if let leased = self.leasedReport(report) { news.work.append(.report(leased)) }
        }
        if !news.foreign.isEmpty || !news.work.isEmpty {
            self.deliverVerdicts(news.foreign, news.work)
        }
        self.answer(snapshot.id, .installed, 0, to: snapshot.holder)
        self.resumeSession(found)
    }

    /// The session is closed; the state remembers what it had not acknowledged. What was enqueued
    /// is accepted, though it may have ended meanwhile. Cancels go on as facts.
    private func settleSwallowed(_ session: SessionID, _ now: Instant, _ news: inout News) {
        for number in self.waiters.numbers {
            let tag = Tag(session: session, sequence: number)
            guard case .submission? = self.waiters[number]?.purpose,
                self.machine.queue.wasEnqueued(tag), let waiter = self.waiters.remove(number)
            else { continue }
            self.settle(waiter, .enqueued(recipients: 1), now, &news)
        }
    }

    private func resumeSession(_ found: NodeMachine.Installed) {
        if self.phase == .opening || self.isReopening, let result = self.machine.takeOpening() {
            self.sessionOpened(result)
        }
        if found.closed != nil, self.machine.session == .none { self.sessionClosed() }
        // It was opened and has expired while this node was behind: another one.
        if found.missedOpening { self.reopenSession() }
        self.updateObstacle()
    }

    /// With each tick.
    func tickInstall(_ now: Instant) {
        self.install()
        if self.sink.tick(&self.machine, now: now) { self.abandonIncoming() }
    }
}
