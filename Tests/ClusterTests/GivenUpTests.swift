import MailQueue
import NIOCore
import OpenSSL
import Primitives
import SMTP
import Spool
import Testing

@testable import Cluster

/// A client that was told 451 4.4.5 sends its message again: the one before is taken back, whatever
/// becomes of the node that said it.
@Suite("What was given up", .timeLimit(.minutes(2)))
struct GivenUpTests {
    private func message(_ holders: [Holder]) -> Enqueue {
        let recipient = Recipient(address: "b@sink.test")
        return Enqueue(
            envelope: Envelope(sender: "a@client.test", recipients: [recipient]),
            destinations: ["sink.test"],
            receipt: BodyReceipt(
                originalBytes: 5, storedBytes: 5, digest: .zero, holders: holders),
            acceptedAt: WallTime(milliseconds: 0), receivedFrom: "[127.0.0.1]")
    }

    /// Its Enqueue is on its way from a node that hears nobody any more; its client is told no.
    private func giveUp(_ rig: ClusterRig, at place: Int) async throws -> Primitives.Tag {
        let mesh = try await rig.on(place) { $0.mesh?.stop() }
        try await mesh?.get()
        return try await rig.on(place) { node in
            let drawn = node.machine.drawTag()
            let tag = try #require(drawn)
            let submission = Submission(
                envelope: Envelope(sender: "", recipients: []), destinations: [],
                receivedFrom: "", head: { _ in ByteBuffer() },
                content: .whole(
                    Submission.Whole(
                        blocks: [], blockCount: 0, digest: Digest256(a: 0, b: 0, c: 0, d: 0))),
                contentBytes: 0, pieces: [], body: nil, loop: nil)
            node.propose(
                tag, .enqueue(self.message(node.machine.queue.members)),
                .submission(submission, nil, tag))
            let waiter = try #require(node.waiters[tag.sequence])
            node.giveUpOverdue(waiter.proposedAt + node.commitTimeout)
            return tag
        }
    }

    @Test func `a Cancel outlives the process that was about to say it`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        let leader = try await rig.leader()
        let place = (leader + 1) % 3
        let tag = try await self.giveUp(rig, at: place)
        // The Enqueue has arrived, the Cancel has not.
        try await rig.on(leader) { node in
            let message = self.message(node.machine.queue.members)
            node.proposeAsLeader(
                Command(
                    Origin(session: tag.session, sequence: tag.sequence), .enqueue(message)))
        }
        try await rig.wait {
            try await rig.on(leader) { $0.machine.queue.contains(tag) }
        }
        // What the turn has written is there when the process is gone.
        try await rig.kill(place)
        try await rig.restart(place)
        try await rig.wait {
            try await rig.on(leader) { !$0.machine.queue.contains(tag) }
        }
        let counted = try await rig.on(leader) { $0.machine.queue.totals.replyDuplicates }
        #expect(counted <= 1)
        try await rig.end()
    }
}
