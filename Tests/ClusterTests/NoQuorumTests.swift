import MailQueue
import NIOCore
import Primitives
import SMTP
import Testing

@testable import Cluster

/// What operators hear of a node that has lost the others: the word for it, and not that of a
/// command whose own time is over.
@Suite("Operators without a quorum", .timeLimit(.minutes(2)))
struct NoQuorumTests {
    private func failure<T>(
        _ body: () async throws(ClusterView.Failure) -> T
    ) async -> ClusterView.Failure? {
        do throws(ClusterView.Failure) {
            _ = try await body()
            return nil
        } catch {
            return error
        }
    }

    @Test func `verbs of the queue and a message are refused with the word for it`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        _ = try await rig.accepted(0, "before\r\n")
        let view = rig.members[0].running.view
        try await rig.kill(1)
        try await rig.kill(2)
        for verb in ClusterView.Verb.allCases {
            let failure = await self.failure { () throws(ClusterView.Failure) in
                try await view.act(verb, QueueFilter(), dryRun: false, reason: "")
            }
            #expect(failure == .noQuorum, "\(verb)")
        }
        let refused = await self.failure { () throws(ClusterView.Failure) in
            try await view.submit(
                sender: "a@client.test", recipients: ["b@sink.test"],
                content: ByteBuffer(string: "Subject: no\r\n\r\n"))
        }
        #expect(refused == .noQuorum)
        // What changes nothing is told.
        let found = try await view.act(.hold, QueueFilter(), dryRun: true, reason: "")
        #expect(found.matched == 1)
        try await rig.end()
    }

    @Test func `a command that is under way when the others go is not waited for`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        let view = rig.members[0].running.view
        let meshes = [1, 2].map { rig.members[$0].running.node }
        // Nothing comes back from now on, and no end of a link is heard of yet.
        try await rig.on(0) { _ in for node in meshes { node.mesh?.stop().whenComplete { _ in } } }
        let failure = await self.failure { () throws(ClusterView.Failure) in
            try await view.propose(
                .drain(node: "a", draining: true), patience: .seconds(3600))
        }
        #expect(failure == .noQuorum)
        for place in [1, 2] { try await rig.kill(place) }
        try await rig.end()
    }
}
