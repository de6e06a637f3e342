import MailQueue
import NIOCore
import Primitives
import Raft
import SMTP
import Testing

@testable import Cluster

@Suite("Three nodes over real links", .timeLimit(.minutes(2)))
struct ThreeNodeTests {
    private func bytes(_ body: MessageBody) -> [UInt8] {
        body.parts.flatMap { Array($0.readableBytesView) }
    }

    /// What it promised would be forgotten when it begins by the record: an entry that it has
    /// acknowledged, or a vote.
    @Test func `a disk that has not stored the founding record promises nothing`() async throws {
        let rig = try ClusterRig()
        rig.members.append(try rig.open(0))
        let peer = MemberID(raw: 77)
        let bodies: [Message.Body] = [
            .vote(last: .zero, isTransfer: false),
            .append(
                previous: .zero,
                entries: [Entry(term: 5, index: 1, data: [])], commit: 1),
        ]
        for body in bodies {
            let isUntouched = try await rig.on(0) { node in
                var writer = ByteWriter()
                Message(from: peer, to: node.machine.id, term: 5, body).encode(into: &writer)
                node.received(.raft(writer.bytes), from: "b", peer)
                node.turn()
                return node.machine.term == 0 && node.machine.lastIndex == 0
                    && node.stores.isEmpty
            }
            #expect(isUntouched)
        }
        try await rig.kill(0)
        try await rig.end()
    }

    /// Heartbeats go on from the same loop, so nobody else would see that nothing is applied.
    @Test func `a leader whose disk does not sync any more hands the leadership over`()
        async throws
    {
        let rig = try ClusterRig()
        try await rig.start()
        let leader = try await rig.leader()
        let other = (leader + 1) % 3
        // What stands in front of all that follows is never synced.
        try await rig.wait {
            try await rig.on(leader) { node in
                guard node.stores.isEmpty, node.machine.isReadyLeader else { return false }
                node.stores.append(Node.Store(ticket: 0, position: .max))
                return true
            }
        }
        try await rig.wait {
            try await rig.on(other) { node in
                node.leaderName.map { $0 != ClusterRig.names[leader] } ?? false
            }
        }
        _ = try await rig.accepted(other, "x\r\n")
        try await rig.kill(leader)
        try await rig.end()
    }

    @Test func `they found a cluster, and each takes mail that all know`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        var tags: [Tag] = []
        for place in 0..<3 {
            for size in [10, 60_000, 300_000] {
                let content = [UInt8](repeating: UInt8(ascii: "x"), count: size)
                tags.append(try await rig.accepted(place, content))
            }
        }
        for place in 0..<3 {
            try await rig.wait {
                let status = await rig.status(place)
                return status.queue?.messages == tags.count && status.health == .healthy
                    && status.canLose == 1 && status.nodes.count == 3
            }
        }
        // All are leased to somebody, at once.
        try await rig.wait {
            let leased = rig.members.flatMap { $0.taker.deliveries.map(\.id.message) }
            return Set(leased) == Set(tags)
        }
        // Each body is on two disks, and can be had on every node.
        for place in 0..<3 {
            for tag in tags {
                let body = try await rig.members[place].running.view.body(tag)
                #expect(self.bytes(body).starts(with: Array("Received: id \(tag.text)".utf8)))
            }
        }
        try await rig.end()
    }

    @Test func `when the leader dies the others go on, and its mail is attempted by them`()
        async throws
    {
        let rig = try ClusterRig()
        try await rig.start()
        let leader = try await rig.leader()
        let survivors = [0, 1, 2].filter { $0 != leader }
        let content = Array("of the leader\r\n".utf8)
        let tag = try await rig.accepted(leader, content)
        let isOfDead: (LeasedDelivery) -> Bool = { $0.id.message == tag }
        try await rig.wait {
            rig.members.contains { $0.taker.deliveries.contains(where: isOfDead) }
        }
        try await rig.kill(leader)
        // Mail goes on at once, at both.
        for place in survivors {
            _ = try await rig.accepted(place, "after\r\n")
        }
        // What the dead one had leased comes to another when its session has expired.
        try await rig.wait {
            survivors.contains { rig.members[$0].taker.deliveries.contains(where: isOfDead) }
        }
        let heir = try #require(
            survivors.first { rig.members[$0].taker.deliveries.contains(where: isOfDead) })
        let body = try await rig.members[heir].running.view.body(tag)
        #expect(self.bytes(body).suffix(content.count) == content[...])
        try await rig.wait { await rig.status(heir).health == .degraded }
        // It may have been on the wire: that is counted, everywhere.
        let wasLeasedThere = rig.members[leader].taker.deliveries.contains(where: isOfDead)
        for place in survivors where wasLeasedThere {
            try await rig.wait { await rig.status(place).possibleDuplicates >= 1 }
        }
        try await rig.end()
    }

    @Test func `a node that was killed comes back and catches up`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        let leader = try await rig.leader()
        let other = (leader + 1) % 3
        _ = try await rig.accepted(other, "one\r\n")
        try await rig.kill(other)
        for _ in 0..<20 {
            _ = try await rig.accepted(leader, "two\r\n")
        }
        try await rig.restart(other)
        try await rig.wait { await rig.status(other).queue?.messages == 21 }
        _ = try await rig.accepted(other, "three\r\n")
        try await rig.wait { await rig.status(leader).health == .healthy }
        try await rig.end()
    }

    @Test func `what was delivered before a kill is told at the next start, and not done again`()
        async throws
    {
        let rig = try ClusterRig()
        try await rig.start()
        let tag = try await rig.accepted(0, "once\r\n")
        let isIt: (LeasedDelivery) -> Bool = { $0.id.message == tag }
        try await rig.wait {
            rig.members.contains { $0.taker.deliveries.contains(where: isIt) }
        }
        let place = try #require(
            rig.members.indices.first { rig.members[$0].taker.deliveries.contains(where: isIt) })
        let delivery = try #require(rig.members[place].taker.deliveries.first(where: isIt))
        // Nobody is left who could take the outcome into the log.
        for other in rig.members.indices where other != place { try await rig.kill(other) }
        rig.members[place].running.desk.settle(
            DeliveryOutcome(
                delivery: delivery.id, session: delivery.session, attempt: delivery.attempt,
                verdicts: [(0, Verdict(.delivered, Reply(250, nil, "ok")))], endsLease: true))
        // The outcome is noted: what is asked of the node later is answered later.
        _ = try await rig.on(place) { $0.machine.session }
        try await rig.kill(place)
        // Started together: no single one of them would get a leader.
        for member in rig.members.indices { rig.members[member] = try rig.open(member) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for member in rig.members {
                group.addTask { try await member.running.start() }
            }
            try await group.waitForAll()
        }
        try await rig.wait { await rig.status(place).queue?.messages == 0 }
        for member in rig.members.indices {
            try await rig.wait { await rig.status(member).queue?.messages == 0 }
            #expect(!rig.members[member].taker.deliveries.contains(where: isIt))
            #expect(await rig.status(member).possibleDuplicates == 0)
        }
        try await rig.end()
    }

    @Test func `nodes compare their states at an entry of the leader's, and name one that differs`()
        async throws
    {
        let rig = try ClusterRig()
        try await rig.start()
        _ = try await rig.accepted(1, "compared\r\n")
        var common: StateMark?
        try await rig.wait {
            var marks: [[StateMark]] = []
            for place in rig.members.indices {
                marks.append(try await rig.on(place) { $0.comparison.own })
            }
            common = marks[0].last { mark in marks.allSatisfy { $0.contains(mark) } }
            return common != nil
        }
        let mark = try #require(common)
        let other = StateMark(index: mark.index, hash: mark.hash ^ 1)
        let unknown = StateMark(index: mark.index + 1_000_000, hash: 1)
        let alarms = try await rig.on(0) { node in
            var seen: [[String]] = [node.alarms]
            for mark in [unknown, mark, other, mark] {
                node.compare("b", mark)
                seen.append(node.alarms)
            }
            return seen
        }
        #expect(alarms == [[], [], [], ["state_differs"], []])
        try await rig.end()
    }
}
