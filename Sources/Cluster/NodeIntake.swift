// NodeIntake.swift - a complete message becomes a body on disk and an Enqueue in the log.
//
// Order     body end first, then the entry: the journal keeps this order, so an entry that is
//           durable has its body (Docs/Decisions/0003).
// Fails     no session for long (NodeWaiting): 451 4.3.2, the body is abandoned. No room: said
//           before, by `obstacle`. No result within `commit_timeout`: 451 4.4.5, and a Cancel
//           (NodeGivingUp).

import MailQueue
package import NIOCore
import Networking
import OpenSSL
import Primitives
import SMTP
import Spool
import Storage

extension Node {
    /// Takes a complete message from any loop.
    func submit(_ submission: Submission) {
        if self.loop.inEventLoop {
            self.enqueue(submission)
        } else {
            self.loop.execute { self.enqueue(submission) }
        }
    }

    func enqueue(_ submission: Submission) {
        guard self.phase == .ready || self.phase == .stopping else {
            return self.refuse(submission, .noLeader)
        }
        guard let tag = self.machine.drawTag() else { return self.waitForSession(submission) }
        let head = submission.head(tag)
        let (receipt, position) = self.store(submission, tag: tag, head: head)
        let message = Enqueue(
            envelope: submission.envelope, destinations: submission.destinations,
            receipt: receipt, acceptedAt: SystemClock.wallTime(),
            receivedFrom: submission.receivedFrom)
        var body: MessageBody?
        if self.delivers, !submission.pieces.isEmpty || submission.contentBytes == 0 {
            body = MessageBody(parts: [head] + submission.pieces)
        }
        guard self.mesh == nil else {
            self.place(
                submission, tag: tag, message, head: head, memory: body, position: position)
            return
        }
        self.propose(tag, .enqueue(message), .submission(submission, body, tag))
    }

    /// Appends the body's end (for a small one: the whole) to the journal.
    ///
    /// - Returns: what the Enqueue says of it, with this node as its only holder, and the position
    ///   up to which the journal is to be durable for it.
    private func store(
        _ submission: Submission, tag: Tag, head: ByteBuffer
    ) -> (BodyReceipt, position: UInt64) {
        let digest: BodyDigest
        var position: UInt64 = 0
        let blockBytes: UInt64
        switch submission.content {
        case .whole(let whole):
            digest = BodyDigest(whole.digest)
            blockBytes = UInt64(whole.blocks.count)
            head.withUnsafeReadableBytes { head in
                _ = whole.blocks.withUnsafeBytes { blocks in
                    position = self.storage.appendBody(
                        tag: tag, head: head, blocks: blocks, blockCount: whole.blockCount,
                        contentBytes: submission.contentBytes, digest: digest)
                }
            }
        case .streamed(let streamed):
            digest = BodyDigest(streamed.digest)
            blockBytes = streamed.storedBytes
            head.withUnsafeReadableBytes { head in
                position = self.storage.endStream(
                    streamed.stream, tag: tag, head: head, blockCount: streamed.blockCount,
                    contentBytes: submission.contentBytes, digest: digest)
            }
        }
        let headBytes = UInt64(head.readableBytes)
        let receipt = BodyReceipt(
            originalBytes: submission.contentBytes + headBytes, storedBytes: blockBytes + headBytes,
            digest: digest, holders: self.holders)
        return (receipt, position)
    }

    func refuse(_ submission: Submission, _ refusal: IntakeRefusal) {
        if case .streamed(let streamed) = submission.content {
            self.storage.abandon(streamed.stream)
            self.abandonPlacing(streamed.stream)
        }
        self.refuseVerdict(submission, refusal)
    }

    /// Tells who waits; the body has its end in the journal, or never had a beginning.
    func refuseVerdict(_ submission: Submission, _ refusal: IntakeRefusal) {
        guard let bound = submission.body, let loop = submission.loop else { return }
        // Never inside `finish`: the session is still busy with its own action.
        loop.execute { bound.value.decide(.refused(refusal)) }
    }

    /// A report of ours: stored and enqueued by the command that clears the debt.
    func submitReport(
        _ report: ReportID, envelope: Envelope, destinations: [String], content: ByteBuffer,
        head: @escaping @Sendable (Tag) -> ByteBuffer
    ) {
        guard let tag = self.machine.drawTag() else { return }
        let submission = self.reportSubmission(
            envelope: envelope, destinations: destinations, content: content, head: head)
        let (receipt, position) = self.store(submission, tag: tag, head: head(tag))
        let message = Enqueue(
            envelope: envelope, destinations: destinations, receipt: receipt,
            acceptedAt: SystemClock.wallTime(), receivedFrom: "")
        guard self.mesh == nil else {
            self.place(
                submission, tag: tag, message, head: head(tag), memory: nil, position: position,
                report: report)
            return
        }
        self.propose(tag, .report(of: report, message: message), .nothing)
    }

    /// Blocks and digest of a report, which is small: all of it is in memory.
    private func reportSubmission(
        envelope: Envelope, destinations: [String], content: ByteBuffer,
        head: @escaping @Sendable (Tag) -> ByteBuffer
    ) -> Submission {
        var blocks: [UInt8] = []
        var blockCount = 0
        var rest = content
        var digest = SHA256()
        while rest.readableBytes > 0,
            let piece = rest.readSlice(length: min(IncomingBody.blockBytes, rest.readableBytes))
        {
            piece.withUnsafeReadableBytes {
                digest.update($0)
                BlockCodec.encode($0, into: &blocks)
            }
            blockCount += 1
        }
        return Submission(
            envelope: envelope, destinations: destinations, receivedFrom: "", head: head,
            content: .whole(
                Submission.Whole(blocks: blocks, blockCount: blockCount, digest: digest.finish())),
            contentBytes: UInt64(content.readableBytes), pieces: [], body: nil, loop: nil)
    }
}

extension BodyDigest {
    init(_ digest: Digest256) {
        self.init(a: digest.a, b: digest.b, c: digest.c, d: digest.d)
    }
}
