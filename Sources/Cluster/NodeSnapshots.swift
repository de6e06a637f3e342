// NodeSnapshots.swift - the leader's half: a member that lacks the log gets the state.
//
// Order     1 the core wants one: the newest checkpoint is exported, or a new one if that does not
//           fit (the log, the members). 2 The core speaks of it to a member: its words wait, the
//           file is offered over the bulk link. 3 Pieces go, as many as the window lets. 4 The
//           member has all, and can read it: the core's words go over the control link. 5 It has
//           installed it, and says so to the core (`appended`) and to the driver.
// Fails     any step that does not come about is told to the core after a pause; it begins again,
//           and goes on where a broken link has left it. The member is sent nothing else meanwhile.
// Decides   nothing: Machine/SnapshotSource does, for this driver and the node simulator's.
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

/// SHA-256, for files.
private final class FileDigest: ContentDigest {
    private var digest = SHA256()
    func update(_ bytes: UnsafeRawBufferPointer) { self.digest.update(bytes) }
    func finish() -> BodyDigest { BodyDigest(self.digest.finish()) }
}

extension SnapshotLimits {
    static let digest: @Sendable () -> any ContentDigest = { FileDigest() }
}

extension Node {
    /// Of both halves.
    var snapshotLimits: SnapshotLimits {
        get { self.source.limits }
        set {
            self.source.limits = newValue
            self.sink.limits = newValue
        }
    }

    // MARK: Making one.

    /// With each tick.
    func tickSnapshots(_ now: Instant) {
        for action in self.source.tick(self.machine.replica.raft, now: now) {
            switch action {
            case .make: self.makeSnapshot(now)
            case .say(let holder, let why): self.say(why, holder)
            case .report(let member): self.machine.reportSnapshot(member, isInstalled: false)
            case .release: self.releaseExport()
            }
        }
        self.tickInstall(now)
    }

    private func say(_ why: SnapshotSource.Failure, _ holder: Holder) {
        self.logger.notice(
            "a member has not taken a snapshot",
            metadata: ["peer": "\(holder.node)", "why": "\(why.rawValue)"])
    }

    private func releaseExport() {
        guard let export = self.snapshotFiles.export.take() else { return }
        self.storage.releaseSnapshot(export)
    }

    /// The core lets go of what neither members nor a start need.
    func compactLog() {
        self.machine.compact(
            checkpoint: self.checkpoint.index, within: self.snapshotLimits.log,
            snapshot: self.source.keptFrom(checkpoint: self.checkpoint.index))
    }

    private func makeSnapshot(_ now: Instant) {
        let newest = SnapshotSource.Checkpoint(
            index: self.checkpoint.index, configuration: self.checkpoint.configuration)
        let making = self.source.begin(
            self.machine.replica.raft, newest,
            isBusy: self.checkpoint.isRunning || self.phase == .stopped, now: now)
        switch making {
        case .nothing: return
        case .export: self.export()
        case .checkpoint:
            self.makeCheckpoint { error in
                if let error {
                    self.exportFailed("\(error.label)")
                } else {
                    self.export()
                }
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
        self.source.exportFailed(now: SystemClock.bootTime())
        self.logger.warning("a snapshot for a member cannot be made", metadata: ["why": "\(why)"])
    }

    private func exported(_ result: Result<SnapshotExport, SnapshotError>) {
        do {
            let export = try result.get()
            let meta = try NodeMeta.decode(export.meta.meta).0
            let position = LogPosition(
                term: export.meta.appliedTerm, index: export.meta.appliedIndex)
            let snapshot = self.source.exported(
                position, meta.configuration, bytes: export.byteCount, id: self.generator.next(),
                now: SystemClock.bootTime())
            self.releaseExport()
            self.snapshotFiles.export = export
            self.machine.offer(snapshot)
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
        let holder = self.directory.name(of: message.to).map {
            Holder(node: $0, incarnation: message.to)
        }
        switch self.source.offer(message, snapshot, to: holder, now: now) {
        case .later: return
        case .make: self.makeSnapshot(now)
        case .offer(let offer, let holder):
            let isSent = self.mesh?.send(.snapshotOffer(offer), to: holder.node) == true
            self.source.offered(message, to: holder, isSent: isSent, now: now)
        }
    }

    private func sendingFailed(_ holder: Holder, _ why: SnapshotSource.Failure) {
        let said = self.source.failed(holder, why, now: SystemClock.bootTime())
        if let said { self.say(said, holder) }
    }

    /// The member answers.
    func snapshotAnswered(
        _ id: UInt64, _ verdict: SnapshotVerdict, _ taken: UInt64, _ holder: Holder
    ) {
        let answered = self.source.answered(
            id, verdict, taken: taken, by: holder, term: self.machine.term,
            now: SystemClock.bootTime())
        switch answered {
        case .ignored: return
        case .goOn: self.sendPieces(holder)
        case .speak(let message): self.sendDirectly(message)
        case .installed:
            self.machine.reportSnapshot(holder.incarnation, isInstalled: true)
            self.logger.notice(
                "a member has installed a snapshot", metadata: ["peer": "\(holder.node)"])
        case .failed(let why):
            if let why { self.say(why, holder) }
        }
    }

    /// As much as window and link take.
    func sendPieces(_ holder: Holder) {
        guard let export = self.snapshotFiles.export else { return }
        let isWritable = self.mesh?.isWritable(holder.node) == true
        switch self.source.next(for: holder, isWritable: isWritable) {
        case .nothing: return
        case .end(let id):
            let end = PeerMessage.snapshotDone(id: id, digest: export.digest)
            if self.mesh?.send(end, to: holder.node) == true { self.source.ended(holder) }
        case .read(let id, let offset):
            let (loop, bytes) = (self.loop, self.snapshotLimits.pieceBytes)
            self.storage.readSnapshot(export, at: offset, bytes: bytes) { result in
                loop.execute { self.pieceRead(result, id, offset, holder) }
            }
        }
    }

    private func pieceRead(
        _ result: Result<[UInt8], SnapshotError>, _ id: UInt64, _ offset: UInt64, _ holder: Holder
    ) {
        guard self.source.hasRead(id, offset: offset, for: holder) else { return }
        guard case .success(let bytes) = result else {
            return self.sendingFailed(holder, .unreadable)
        }
        let piece = PeerMessage.snapshotPiece(
            id: id, offset: offset, bytes: ByteBuffer(bytes: bytes))
        guard self.mesh?.send(piece, to: holder.node) == true else {
            return self.sendingFailed(holder, .linkIsGone)
        }
        self.source.sent(UInt64(bytes.count), to: holder)
        self.sendPieces(holder)
    }

    /// A link to the member is gone, either one: it is offered the file again when it is back.
    func snapshotLinkLost(_ holder: Holder) { self.sendingFailed(holder, .linkIsGone) }
}
