// NodeSnapshots.swift - the leader's half: a member that lacks the log gets the state.
//
// Order     1 the core wants one: the newest checkpoint is exported, or a new one if that does not
//           fit (the log, the members). 2 The core speaks of it to a member: its words wait, the
//           file is offered over the bulk link. 3 Pieces go, as many as the window lets. 4 The
//           member has all, and can read it: the core's words go over the control link. 5 It has
//           installed it, and says so to the core (`appended`) and to the driver.
// Fails     any step that does not come about is told to the core after a pause; it begins again,
//           and goes on where a broken link has left it. The member is sent nothing else meanwhile.
// Limits    SnapshotLimits; one export at a time, read by all members that need it.
// See       NodeInstall (the other half), Docs/PeerProtocol.md, Docs/Decisions/0018.

import Logging
import MailQueue
import NIOCore
import Networking
import OpenSSL
import Primitives
package import Raft
import Spool
import Storage

/// Sizes and times. The defaults are the product's; tests use small ones.
package struct SnapshotLimits: Sendable {
    /// Of the log in memory.
    package var log = LogLimits()
    /// Data of entries since the last checkpoint, in bytes: then the next one is made.
    package var checkpointBytes: UInt64 = 32 << 20
    /// Bytes of one piece.
    package var pieceBytes = PeerMessage.pieceBytes
    /// Bytes that are sent and not taken yet.
    package var windowBytes: UInt64 = 4 << 20
    /// A member that was refused, or has failed, is offered it again after this.
    package var pause = Duration.seconds(1)
    /// Without a word of the other side for so long a transfer is over. A large state takes its
    /// time to be read back.
    package var silence = Duration.seconds(120)
    /// An export that nobody has read for so long is removed.
    package var idle = Duration.seconds(30)
    package init() {}
}

/// SHA-256, for files.
private final class FileDigest: ContentDigest {
    private var digest = SHA256()
    func update(_ bytes: UnsafeRawBufferPointer) { self.digest.update(bytes) }
    func finish() -> BodyDigest { BodyDigest(self.digest.finish()) }
}

extension SnapshotLimits {
    static let digest: @Sendable () -> any ContentDigest = { FileDigest() }
}

/// A snapshot on its way to one member.
struct SnapshotSending {
    var holder: Holder
    /// What the core says, once the file is there.
    var message: Message
    var sent: UInt64 = 0
    var taken: UInt64 = 0
    /// It has said where to begin.
    var isWanted = false
    var isReading = false
    var isDone = false
    var heardAt: Instant
}

/// What the leader's half remembers.
struct SnapshotSource {
    /// Drawn for each export: names it to others.
    var id: UInt64 = 0
    var export: SnapshotExport?
    var position = LogPosition.zero
    var isExporting = false
    /// No other export is tried before.
    var notBefore = Instant.zero
    var usedAt = Instant.zero
    var sendings: [SnapshotSending] = []
    /// Members of which the core is told then that they have got nothing.
    var failures: [(member: MemberID, at: Instant)] = []
    /// Sent and installed, and refused or failed, since the start of the process.
    var sentCount: UInt64 = 0
    var refusedCount: UInt64 = 0
    /// Who has not taken one, and why, as it was logged last.
    var said: (Holder, StaticLabel)?

    func place(_ holder: Holder) -> Int? { self.sendings.firstIndex { $0.holder == holder } }
}

extension Node {
    // MARK: Making one.

    /// With each tick.
    func tickSnapshots(_ now: Instant) {
        if self.machine.replica.raft.wantsSnapshot { self.exportIfIdle(now) }
        if self.machine.replica.raft.role != .leader {
            self.source.sendings = []
            self.source.failures = []
        }
        self.forgetInstalled()
        for sending in self.source.sendings
        where now - sending.heardAt >= self.snapshotLimits.silence {
            self.sendingFailed(sending.holder, now, "silent")
        }
        while let place = self.source.failures.firstIndex(where: { $0.at <= now }) {
            let failure = self.source.failures.remove(at: place)
            self.machine.reportSnapshot(failure.member, isInstalled: false)
        }
        if self.source.export != nil, self.source.sendings.isEmpty,
            now - self.source.usedAt >= self.snapshotLimits.idle
        {
            self.releaseExport()
        }
        self.tickInstall(now)
    }

    /// Members of which the core knows that they have got so far.
    private func forgetInstalled() {
        let raft = self.machine.replica.raft
        guard raft.role == .leader else { return }
        for sending in self.source.sendings {
            let place = raft.membership.place(of: sending.holder.incarnation)
            let progress = place.map { raft.membership.peers[$0].progress }
            if progress?.state == .snapshot { continue }
            if let progress, progress.match >= self.source.position.index {
                self.source.sentCount += 1
            }
            self.source.sendings.removeAll { $0.holder == sending.holder }
        }
    }

    private func releaseExport() {
        if let export = self.source.export { self.storage.releaseSnapshot(export) }
        self.source.export = nil
    }

    /// The core lets go of what neither members nor a start need.
    func compactLog() {
        let making = self.source.isExporting ? self.checkpoint.index : nil
        let offered = self.source.export == nil ? nil : self.source.position.index
        self.machine.compact(
            checkpoint: self.checkpoint.index, within: self.snapshotLimits.log,
            snapshot: offered.map { min($0, making ?? .max) } ?? making)
    }

    /// A checkpoint serves if the log goes on from it, and its members are those of now: one that
    /// does not know its receiver is refused.
    private var checkpointServes: Bool {
        let raft = self.machine.replica.raft
        return self.checkpoint.index > 0 && self.checkpoint.index + 1 >= raft.firstIndex
            && self.checkpoint.configuration == raft.configuration
    }

    private func exportIfIdle(_ now: Instant) {
        guard !self.source.isExporting, !self.checkpoint.isRunning, now >= self.source.notBefore,
            self.phase != .stopped
        else { return }
        self.source.isExporting = true
        guard !self.checkpointServes else { return self.export() }
        self.makeCheckpoint { error in
            if let error {
                self.exportFailed("\(error.label)")
            } else {
                self.export()
            }
        }
    }

    private func export() {
        let loop = self.loop
        self.storage.exportSnapshot(digest: SnapshotLimits.digest) { result in
            loop.execute { self.exported(result) }
        }
    }

    private func exportFailed(_ why: String) {
        self.source.isExporting = false
        self.source.notBefore = SystemClock.bootTime() + self.snapshotLimits.pause
        self.logger.warning("a snapshot for a member cannot be made", metadata: ["why": "\(why)"])
    }

    private func exported(_ result: Result<SnapshotExport, SnapshotError>) {
        do {
            let export = try result.get()
            let meta = try NodeMeta.decode(export.meta.meta).0
            self.source.isExporting = false
            // Whoever is getting the one before is offered this one.
            let now = SystemClock.bootTime()
            for sending in self.source.sendings { self.sendingFailed(sending.holder, now, nil) }
            self.releaseExport()
            self.source.export = export
            self.source.position = LogPosition(
                term: export.meta.appliedTerm, index: export.meta.appliedIndex)
            self.source.id = self.generator.next()
            self.source.usedAt = now
            self.machine.offer(
                Snapshot(
                    position: self.source.position, configuration: meta.configuration, data: []))
            self.planTurn()
        } catch let error as SnapshotError {
            self.exportFailed("\(error.label)")
        } catch {
            self.exportFailed("\(error)")
        }
    }

    // MARK: Sending.

    /// The core speaks of a snapshot: the file first.
    func sendSnapshot(_ message: Message, _ snapshot: Snapshot) {
        let now = SystemClock.bootTime()
        guard let name = self.directory.name(of: message.to) else {
            return self.notSent(message.to, at: now + self.snapshotLimits.pause)
        }
        let holder = Holder(node: name, incarnation: message.to)
        self.source.sendings.removeAll { $0.holder == holder }
        guard let export = self.source.export, self.source.position == snapshot.position else {
            // What was offered to the core has been removed: another is made.
            self.exportIfIdle(now)
            return self.notSent(message.to, at: now + self.snapshotLimits.pause)
        }
        var writer = ByteWriter(capacity: 64)
        snapshot.configuration.encode(into: &writer)
        let offer = SnapshotOffer(
            id: self.source.id, position: snapshot.position, totalBytes: export.byteCount,
            configuration: writer.bytes)
        guard self.mesh?.send(.snapshotOffer(offer), to: name) == true else {
            return self.notSent(message.to, at: now + self.snapshotLimits.pause)
        }
        self.source.usedAt = now
        self.source.sendings.append(
            SnapshotSending(holder: holder, message: message, heardAt: now))
    }

    private func notSent(_ member: MemberID, at instant: Instant) {
        self.source.failures.append((member, instant))
    }

    private func sendingFailed(_ holder: Holder, _ now: Instant, _ why: StaticLabel?) {
        guard let place = self.source.place(holder) else { return }
        self.source.sendings.remove(at: place)
        self.notSent(holder.incarnation, at: now + self.snapshotLimits.pause)
        // The same again and again is said once.
        guard let why, self.source.said?.0 != holder || self.source.said?.1 != why else { return }
        self.source.said = (holder, why)
        self.logger.notice(
            "a member has not taken a snapshot",
            metadata: ["peer": "\(holder.node)", "why": "\(why)"])
    }

    /// The member answers.
    func snapshotAnswered(
        _ id: UInt64, _ verdict: SnapshotVerdict, _ taken: UInt64, _ holder: Holder
    ) {
        let now = SystemClock.bootTime()
        guard id == self.source.id, let place = self.source.place(holder),
            let export = self.source.export, taken <= export.byteCount
        else { return }
        self.source.usedAt = now
        self.source.sendings[place].heardAt = now
        switch verdict {
        case .refused, .failed:
            self.source.refusedCount += 1
            self.sendingFailed(holder, now, verdict == .failed ? "failed" : "refused")
        case .taking:
            if !self.source.sendings[place].isWanted {
                self.source.sendings[place].isWanted = true
                self.source.sendings[place].sent = taken
            }
            self.source.sendings[place].taken = taken
            self.sendPieces(holder)
        case .ready:
            let message = self.source.sendings[place].message
            guard message.term == self.machine.term else {
                return self.sendingFailed(holder, now, "the term is over")
            }
            self.sendDirectly(message)
        case .installed:
            self.source.sendings.remove(at: place)
            self.source.sentCount += 1
            self.source.said = nil
            self.machine.reportSnapshot(holder.incarnation, isInstalled: true)
            self.logger.notice(
                "a member has installed a snapshot", metadata: ["peer": "\(holder.node)"])
        }
    }

    /// As much as window and link take.
    func sendPieces(_ holder: Holder) {
        guard let place = self.source.place(holder), let export = self.source.export else { return }
        let sending = self.source.sendings[place]
        guard sending.isWanted, !sending.isReading, !sending.isDone,
            self.mesh?.isWritable(holder.node) == true
        else { return }
        guard sending.sent < export.byteCount else {
            let done = PeerMessage.snapshotDone(id: self.source.id, digest: export.digest)
            self.source.sendings[place].isDone = self.mesh?.send(done, to: holder.node) == true
            return
        }
        guard sending.sent < sending.taken + self.snapshotLimits.windowBytes else { return }
        self.source.sendings[place].isReading = true
        let (loop, id, offset) = (self.loop, self.source.id, sending.sent)
        self.storage.readSnapshot(export, at: offset, bytes: self.snapshotLimits.pieceBytes) {
            result in
            loop.execute { self.pieceRead(result, id, offset, holder) }
        }
    }

    private func pieceRead(
        _ result: Result<[UInt8], SnapshotError>, _ id: UInt64, _ offset: UInt64, _ holder: Holder
    ) {
        guard id == self.source.id, let place = self.source.place(holder),
            self.source.sendings[place].isReading, self.source.sendings[place].sent == offset
        else { return }
        self.source.sendings[place].isReading = false
        guard case .success(let bytes) = result else {
            return self.sendingFailed(holder, SystemClock.bootTime(), "cannot be read")
        }
        let piece = PeerMessage.snapshotPiece(
            id: id, offset: offset, bytes: ByteBuffer(bytes: bytes))
        guard self.mesh?.send(piece, to: holder.node) == true else {
            return self.sendingFailed(holder, SystemClock.bootTime(), "its link is gone")
        }
        self.source.sendings[place].sent += UInt64(bytes.count)
        self.sendPieces(holder)
    }

    /// A link to the member is gone, either one: it is offered the file again when it is back.
    func snapshotLinkLost(_ holder: Holder) {
        self.sendingFailed(holder, SystemClock.bootTime(), "its link is gone")
    }
}
