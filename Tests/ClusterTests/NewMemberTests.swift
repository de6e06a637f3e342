// NewMemberTests.swift - nodes that come into a cluster that works, over real links and disks.

import MailQueue
import NIOCore
import Primitives
import Raft
import SMTP
import Storage
import Testing

@testable import Cluster

@Suite("Nodes that come later", .timeLimit(.minutes(2)))
struct NewMemberTests {
    @Test func `a node that is no seed works without a vote`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        let before = try await rig.accepted(0, "before\r\n")
        let place = try await rig.startAnother()
        // It has the log, and takes mail that all know.
        let own = try await rig.accepted(place, "its own\r\n")
        for other in 0...place {
            try await rig.wait {
                let status = await rig.status(other)
                return status.queue?.messages == 2
                    && status.nodes.map(\.role) == ["voter", "voter", "voter", "worker"]
                    && status.nodes.allSatisfy { $0.state == .ready }
            }
        }
        for tag in [before, own] {
            _ = try await rig.members[place].running.view.body(tag)
        }
        // It is known to the cluster, with its address, whoever leads.
        let views = try await rig.on(1) { $0.machine.queue.memberViews }
        let view = try #require(views.first { $0.name == "d" })
        #expect(view.disks.count == 1 && view.host == rig.address && view.port != 0)
        #expect(view.incarnation == view.disks[0].incarnation)
        // All together have the limit of a destination's connections, no more (11).
        var shares: [Int] = []
        try await rig.wait {
            shares = []
            for place in rig.members.indices {
                shares.append(try await rig.on(place) { $0.share(of: "x.test") })
            }
            return shares.count == 4 && shares.allSatisfy { $0 == 5 }
        }
        // Its death costs no vote.
        try await rig.kill(place)
        _ = try await rig.accepted(1, "after\r\n")
        try await rig.restart(place)
        try await rig.wait { await rig.status(place).queue?.messages == 3 }
        try await rig.end()
    }

    @Test func `one node grows to three voters, and R with them`() async throws {
        let rig = try ClusterRig()
        rig.seedCount = 1
        // It was a node by itself, without the table.
        rig.isWithoutTable = true
        try await rig.start()
        let first = try await rig.accepted(0, "alone\r\n")
        await rig.members[0].running.stop()
        rig.isWithoutTable = false
        rig.members[0] = try rig.open(0)
        try await rig.members[0].running.start()
        let second = try await rig.accepted(0, "one seed\r\n")
        #expect(try await rig.on(0) { $0.copies } == 1)
        for name in ["b", "c"] {
            let place = try await rig.startAnother()
            let change = ClusterChange(.promote, node: name)
            let done = try await rig.members[place].running.view.change(
                change, wait: .seconds(60))
            #expect(done.isDone)
        }
        for place in 0..<3 {
            try await rig.wait {
                let status = await rig.status(place)
                return status.nodes.map(\.role) == ["voter", "voter", "voter"]
                    && status.canLose == 1 && status.health == .healthy
            }
            #expect(try await rig.on(place) { $0.copies } == 2)
        }
        // What was accepted with one copy gets its second.
        for tag in [first, second] {
            try await rig.wait { try await rig.holders(tag, by: 1).count == 2 }
        }
        try await rig.kill(0)
        _ = try await rig.accepted(1, "after\r\n")
        for tag in [first, second] { _ = try await rig.members[2].running.view.body(tag) }
        // R is another than in the file of whoever leads now; connections are dealt all the same.
        try await rig.wait {
            for place in [1, 2] {
                let deals = try await rig.on(place) {
                    $0.machine.isReadyLeader && $0.sharing.plansFrom > .zero
                }
                if deals { return true }
            }
            return false
        }
        try await rig.end()
    }

    @Test func `a voter whose disk is lost comes back as another, and votes again`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        let leader = try await rig.leader()
        let other = (leader + 1) % 3
        let old = try await rig.on(other) { $0.identity.incarnation }
        _ = try await rig.accepted(leader, "one\r\n")
        try await rig.kill(other)
        _ = try await rig.accepted(leader, "two\r\n")
        try await rig.replaceDisk(other)
        let new = try await rig.on(other) { $0.identity.incarnation }
        #expect(new != old)
        _ = try await rig.accepted(other, "three\r\n")
        for place in 0..<3 {
            try await rig.wait {
                let configuration = try await rig.on(place) { $0.machine.configuration }
                return configuration.voters.contains(new) && !configuration.contains(old)
                    && configuration.voters.count == 3 && !configuration.isJoint
            }
        }
        // What was on the old disk only in part has its other copies counted.
        let members = try await rig.on(leader) { $0.machine.queue.members }
        #expect(members.map(\.incarnation).contains(new))
        #expect(!members.map(\.incarnation).contains(old))
        // Its vote counts: without the third node there is a majority.
        let third = (leader + 2) % 3
        try await rig.kill(third)
        _ = try await rig.accepted(other, "four\r\n")
        try await rig.end()
    }
}

extension ClusterRig {
    /// Asks on the node's loop.
    func on<T: Sendable>(
        _ place: Int, _ body: @escaping @Sendable (Node) -> T
    ) async throws -> T {
        let node = self.members[place].running.node
        return try await node.loop.submit { body(node) }.get()
    }
}
