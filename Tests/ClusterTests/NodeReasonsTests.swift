// NodeReasonsTests.swift - what nodes that run say of what is missing, over real links and disks.

import MailQueue
import NIOCore
import Primitives
import Settings
import Storage
import Testing

@testable import Cluster

@Suite("What nodes say of their cluster", .timeLimit(.minutes(3)))
struct NodeReasonsTests {
    private func labels(_ reasons: [StatusReason]) -> [String] {
        reasons.map { "\($0.label.rawValue) \($0.node ?? "-")" }
    }

    @Test func `a dead voter, copies on it, and nothing when all is well again`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        for place in 0..<3 {
            try await rig.wait { await rig.status(place).health == .healthy }
            #expect(await rig.status(place).reasons == [])
        }
        // One copy is the acceptor's own, unless two others were quicker.
        try await rig.wait {
            let tag = try await rig.accepted(1, "there\r\n")
            try await rig.wait { try await rig.holders(tag, by: 0).count == 2 }
            return try await rig.holders(tag, by: 0).contains(1)
        }
        try await rig.kill(1)
        for place in [0, 2] {
            try await rig.wait {
                self.labels(await rig.status(place).reasons)
                    == ["voter_unreachable b", "copies_unreachable b"]
            }
            let status = await rig.status(place)
            #expect(status.health == .degraded && status.canLose == 0)
            #expect(status.reasons[0].remedy.hasSuffix("posthouse cluster remove b"))
        }
        try await rig.kill(2)
        try await rig.wait {
            let status = await rig.status(0)
            return status.health == .noQuorum
                && self.labels(status.reasons).contains("voter_unreachable c")
        }
        let reasons = await rig.status(0).reasons
        #expect(reasons[0].label == .noQuorum && reasons[0].remedy == "start b or c")
        try await rig.end()
    }

    @Test func `a voter with an empty disk is said to take its place`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        try await rig.wait { await rig.status(0).health == .healthy }
        let old = try await rig.on(1) { $0.identity.incarnation }
        try await rig.kill(1)
        try await rig.wait { await rig.status(0).reasons.first?.label == .voterUnreachable }
        // A line of the directory as it is while the newcomer catches up.
        let presence = try await rig.on(0) { node in
            let fresh = Incarnation(raw: old.raw ^ 1)
            node.directory.up(
                Hello(
                    cluster: node.cluster, node: "b", incarnation: fresh, boot: 1,
                    durableIndex: 0, durableTerm: 0), .control, at: .zero)
            return node.status().reasons.map(\.label)
        }
        #expect(presence.contains(.voterReplaced) && !presence.contains(.voterUnreachable))
        try await rig.end()
    }

    @Test func `a drained node and other settings are notes at every node`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        for place in 0..<3 {
            try await rig.wait {
                let status = await rig.status(place)
                return status.health == .healthy && status.notes == []
            }
        }
        let leader = try await rig.leader()
        let other = (leader + 1) % 3
        let name = ClusterRig.names[other]
        _ = try await rig.members[leader].running.view.change(
            ClusterChange(.drain, node: name), wait: .zero)
        for place in 0..<3 {
            try await rig.wait {
                self.labels(await rig.status(place).notes) == ["draining \(name)"]
            }
        }
        _ = try await rig.members[leader].running.view.change(
            ClusterChange(.undrain, node: name), wait: .zero)
        // Its file changes, and it does not lead.
        var settings = rig.settings(other)
        settings.delivery.expire = .seconds(1000)
        rig.members[other].running.reload(settings)
        for place in 0..<3 {
            try await rig.wait {
                self.labels(await rig.status(place).notes) == ["settings_differ \(name)"]
            }
            #expect(await rig.status(place).health == .healthy)
        }
        // The leader's file is in force at once, and all others have what it had.
        var leaders = rig.settings(leader)
        leaders.delivery.expire = .seconds(1000)
        rig.members[leader].running.reload(leaders)
        let third = ClusterRig.names[(leader + 2) % 3]
        for place in 0..<3 {
            try await rig.wait {
                self.labels(await rig.status(place).notes) == ["settings_differ \(third)"]
            }
        }
        try await rig.end()
    }

    @Test func `R that follows the voters is no difference`() async throws {
        let rig = try ClusterRig()
        rig.seedCount = 1
        try await rig.start()
        for _ in 1...2 { rig.members.append(try rig.open(rig.members.count)) }
        for place in 1...2 { try await rig.members[place].running.start() }
        for name in ["b", "c"] {
            _ = try await rig.members[0].running.view.change(
                ClusterChange(.promote, node: name), wait: .seconds(60))
        }
        for place in 0..<3 {
            try await rig.wait {
                let status = await rig.status(place)
                return status.health == .healthy && status.voters == 3 && status.notes == []
            }
            #expect(try await rig.on(place) { $0.machine.queue.settings.copies } == 2)
            #expect(try await rig.on(place) { $0.clusterSettings.copies } == 1)
        }
        try await rig.end()
    }

    @Test func `a node counts its own leases, and the queue's of all`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        for place in 0..<3 {
            _ = try await rig.accepted(place, "x\r\n")
            _ = try await rig.accepted(place, "y\r\n")
        }
        try await rig.wait {
            for place in 0..<3 where await rig.status(place).queue?.leased != 6 { return false }
            return true
        }
        var own = 0
        for place in 0..<3 {
            let sample = try await rig.on(place) { $0.metricsSample }
            #expect(sample.leased == 6)
            let shown = await rig.status(place).nodes[place].leases
            #expect(sample.leases == shown)
            own += sample.leases
        }
        #expect(own == 6)
        try await rig.end()
    }
}
