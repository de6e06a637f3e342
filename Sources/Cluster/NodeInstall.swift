// NodeInstall.swift - a member's half: the state comes as a whole, and takes the place of its own.
//
// Order     1 an offer of the leader: space is taken. 2 Pieces are written; each is answered when
//           it is. 3 All of it is checked, and the queue is made of its rows, beside the one in
//           force. 4 The leader's core speaks of it; this one's asks to have it stored. 5 The file
//           becomes current in the journal; what the core stores meanwhile waits behind it. 6 The
//           journal is durable: the queue is replaced, the core is told, mail goes on.
// Never     a state that goes back: the core takes none that is not ahead of what is committed
//           here. Nothing is applied twice: entries up to the snapshot are never handed out again.
// Limits    one at a time; `windowMax` bytes that are not written yet; a transfer is dropped after
//           `SnapshotLimits.silence`.
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

/// A snapshot on its way in.
struct SnapshotReceiving {
    var holder: Holder
    var offer: SnapshotOffer
    /// Nil: space is being taken for it.
    var file: IncomingSnapshot?
    /// Handed to storage.
    var received: UInt64 = 0
    var written: UInt64 = 0
    var isChecking = false
    var heardAt: Instant
}

/// What the member's half remembers.
struct SnapshotSink {
    /// Bytes that a sender may have on the way beyond what is written.
    static let windowMax: UInt64 = 32 << 20

    var receiving: SnapshotReceiving?
    var prepared: PreparedSnapshot?
    var preparedAt = Instant.zero
    /// The core has asked for it; it is not current yet.
    var installing: (request: StoreRequest, snapshot: PreparedSnapshot)?
    /// The storage is at it, or it waits for the journal.
    var isPlacing = false
    /// Without room: not tried again before.
    var notBefore = Instant.zero
    /// What the core wants stored behind it.
    var behind: [StoreRequest] = []
    /// Since the start of the process.
    var installedCount: UInt64 = 0
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
        let now = SystemClock.bootTime()
        let raft = self.machine.replica.raft
        if let prepared = self.sink.prepared, prepared.id == offer.id, prepared.holder == holder {
            self.sink.preparedAt = now
            return self.answer(offer.id, .ready, offer.totalBytes, to: holder)
        }
        guard offer.position.index > raft.commit else {
            // It was installed, and the leader has not heard of that: its core is told.
            return self.answer(offer.id, .ready, offer.totalBytes, to: holder)
        }
        guard self.phase != .stopping, self.phase != .stopped, raft.leader == holder.incarnation,
            self.sink.installing == nil, !self.sink.isPlacing
        else { return self.answer(offer.id, .refused, 0, to: holder) }
        if let receiving = self.sink.receiving, receiving.holder == holder,
            receiving.offer == offer
        {
            // A broken link: on it goes.
            self.sink.receiving?.heardAt = now
            guard receiving.file != nil, !receiving.isChecking else { return }
            return self.answer(offer.id, .taking, receiving.received, to: holder)
        }
        self.dropIncomingSnapshot()
        self.sink.receiving = SnapshotReceiving(holder: holder, offer: offer, heardAt: now)
        let loop = self.loop
        self.storage.beginSnapshot(byteCount: offer.totalBytes) { result in
            loop.execute { self.begun(result, offer, holder) }
        }
    }

    private func begun(
        _ result: Result<IncomingSnapshot, SnapshotError>, _ offer: SnapshotOffer, _ holder: Holder
    ) {
        let isWanted =
            self.sink.receiving?.offer == offer && self.sink.receiving?.holder == holder
            && self.sink.receiving?.file == nil
        switch result {
        case .success(let file):
            guard isWanted else { return self.storage.abandonSnapshot(file) }
            self.sink.receiving?.file = file
            self.answer(offer.id, .taking, 0, to: holder)
        case .failure(let error):
            if isWanted { self.sink.receiving = nil }
            self.logger.warning(
                "a snapshot of the leader is refused", metadata: ["why": "\(error.label)"])
            self.answer(offer.id, .refused, 0, to: holder)
        }
    }

    /// The transfer that this message of `holder` belongs to.
    private func receiving(_ id: UInt64, _ holder: Holder) -> SnapshotReceiving? {
        guard let receiving = self.sink.receiving, receiving.offer.id == id,
            receiving.holder == holder, receiving.file != nil, !receiving.isChecking
        else { return nil }
        return receiving
    }

    private func took(_ id: UInt64, _ offset: UInt64, _ bytes: [UInt8], _ holder: Holder) {
        guard let receiving = self.receiving(id, holder), let file = receiving.file else { return }
        let received = receiving.received + UInt64(bytes.count)
        guard offset == receiving.received, !bytes.isEmpty,
            received <= receiving.offer.totalBytes,
            received - receiving.written <= SnapshotSink.windowMax
        else { return self.receivingFailed(id, "out of order", holder) }
        self.sink.receiving?.received = received
        self.sink.receiving?.heardAt = SystemClock.bootTime()
        let loop = self.loop
        self.storage.writeSnapshot(file, bytes) { result in
            loop.execute { self.wrote(result, id, holder) }
        }
    }

    private func wrote(
        _ result: Result<UInt64, SnapshotError>, _ id: UInt64, _ holder: Holder
    ) {
        guard self.receiving(id, holder) != nil else { return }
        switch result {
        case .success(let written):
            self.sink.receiving?.written = written
            self.answer(id, .taking, written, to: holder)
        case .failure(let error): self.receivingFailed(id, "\(error.label)", holder)
        }
    }

    private func receivingFailed(_ id: UInt64, _ why: String, _ holder: Holder) {
        self.dropIncomingSnapshot()
        self.logger.warning("a snapshot cannot be taken", metadata: ["why": "\(why)"])
        self.answer(id, .failed, 0, to: holder)
    }

    private func dropIncomingSnapshot() {
        if let file = self.sink.receiving?.file { self.storage.abandonSnapshot(file) }
        self.sink.receiving = nil
        if let prepared = self.sink.prepared { self.storage.abandonSnapshot(prepared.file) }
        self.sink.prepared = nil
        self.machine.readySnapshot = nil
    }

    // MARK: Reading it.

    private func isWhole(_ id: UInt64, _ digest: BodyDigest, _ holder: Holder) {
        guard let receiving = self.receiving(id, holder), let file = receiving.file else { return }
        self.sink.receiving?.isChecking = true
        self.sink.receiving?.heardAt = SystemClock.bootTime()
        let (loop, offer) = (self.loop, receiving.offer)
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
        var reader = ByteReader(offer.configuration)
        let configuration = try Configuration(from: &reader)
        let position = LogPosition(term: rows.meta.appliedTerm, index: rows.meta.appliedIndex)
        guard position == offer.position, configuration == meta.configuration else {
            throw CodecError.outOfRange("position")
        }
        let restored = try RestoredQueue(meta: queueMeta) { try rows.forEach($0) }
        return PreparedSnapshot(
            id: offer.id, holder: holder, file: file, position: position,
            configuration: configuration, queue: restored)
    }

    private func checked(
        _ result: Result<PreparedSnapshot, SnapshotError>, _ id: UInt64, _ holder: Holder
    ) {
        guard let receiving = self.sink.receiving, receiving.offer.id == id,
            receiving.holder == holder, receiving.isChecking
        else {
            if case .success(let prepared) = result { self.storage.abandonSnapshot(prepared.file) }
            return
        }
        switch result {
        case .success(let prepared):
            self.sink.receiving = nil
            self.sink.prepared = prepared
            self.sink.preparedAt = SystemClock.bootTime()
            self.machine.readySnapshot = Snapshot(
                position: prepared.position, configuration: prepared.configuration, data: [])
            self.answer(id, .ready, receiving.offer.totalBytes, to: holder)
        case .failure(let error): self.receivingFailed(id, "\(error.label)", holder)
        }
    }

    // MARK: Installing it.

    /// Behind a message of agreement. 1 The core takes the snapshot that lies ready: all of it is
    /// committed now. 2 A tick, which drops what is behind the commit index, would drop the very
    /// file that the core is about to ask for. So what the core wants stored is asked at once.
    func takeSnapshotIfReady() {
        guard let prepared = self.sink.prepared,
            prepared.position.index <= self.machine.commit
        else { return }
        self.turn()
    }

    /// What the core asks for. Behind a snapshot that is being put in place everything waits.
    func store(_ request: StoreRequest) {
        guard self.sink.installing == nil else { return self.sink.behind.append(request) }
        guard let snapshot = request.snapshot else { return self.storeEntries(of: request) }
        guard let prepared = self.sink.prepared, prepared.position == snapshot.position else {
            unreachable("the core takes only the snapshot that lies ready")
        }
        self.sink.prepared = nil
        self.machine.readySnapshot = nil
        self.sink.installing = (request, prepared)
        self.install()
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

    /// As soon as no checkpoint is being written; none is begun until the queue is replaced.
    private func install() {
        guard let installing = self.sink.installing, !self.sink.isPlacing,
            !self.checkpoint.isRunning, SystemClock.bootTime() >= self.sink.notBefore
        else { return }
        self.sink.isPlacing = true
        self.checkpoint.isRunning = true
        let loop = self.loop
        self.storage.installSnapshot(installing.snapshot.file) { result in
            loop.execute { self.placed(result) }
        }
    }

    private func placed(_ result: Result<UInt64, SnapshotError>) {
        guard let installing = self.sink.installing else {
            unreachable("what is being put in place is remembered")
        }
        switch result {
        case .success(let position):
            self.sink.installing = nil
            self.storeEntries(
                of: installing.request, behind: position, installing: installing.snapshot)
            let behind = self.sink.behind
            self.sink.behind = []
            for request in behind { self.store(request) }
            self.drain()
        case .failure(let error):
            // The old state is in force. Without room it is tried again; what else there is has
            // been told as the storage's fault, and ends the process.
            self.sink.isPlacing = false
            self.checkpoint.isRunning = false
            self.sink.notBefore = SystemClock.bootTime() + self.snapshotLimits.pause
            self.logger.error(
                "a snapshot cannot be put in place", metadata: ["why": "\(error.label)"])
        }
    }

    /// The snapshot is durable and current: so is its queue from now on.
    func installed(_ snapshot: PreparedSnapshot) {
        let session = self.machine.session
        let found = self.machine.install(
            snapshot.queue.take(), at: snapshot.position, at: self.clocks)
        self.sink.isPlacing = false
        self.sink.installedCount += 1
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

    /// The session is closed, and its results with it; but what is in the queue was accepted.
    private func settleSwallowed(_ session: SessionID, _ now: Instant, _ news: inout News) {
        for number in self.waiters.numbers {
            let tag = Tag(session: session, sequence: number)
            guard self.machine.queue.contains(tag), let waiter = self.waiters.remove(number)
            else { continue }
            if case .givenUp = waiter.purpose {
                // The client was told no: a fact, which closed sessions may say.
                self.machine.submitFact(.cancel(tag))
            } else {
                self.settle(waiter, .enqueued(recipients: 1), now, &news)
            }
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

    /// With each tick: what leads to nothing goes.
    func tickInstall(_ now: Instant) {
        self.install()
        if let receiving = self.sink.receiving,
            now - receiving.heardAt >= self.snapshotLimits.silence, !receiving.isChecking
        {
            self.dropIncomingSnapshot()
        }
        if let prepared = self.sink.prepared,
            prepared.position.index <= self.machine.replica.raft.commit
                || now - self.sink.preparedAt >= self.snapshotLimits.silence
        {
            self.dropIncomingSnapshot()
        }
    }
}
