// ChangeTests.swift - what operators do to nodes, asked of any node, over real links and disks.

import MailQueue
import NIOCore
import Primitives
import Raft
import SMTP
import Storage
import Testing

@testable import Cluster

@Suite("Changes by operators", .timeLimit(.minutes(3)))
struct ChangeTests {
    private static let wait = Duration.seconds(60)

    /// Asks one node to change another, and waits for the end of it.
    @discardableResult
    private func change(
        _ rig: ClusterRig, at place: Int, _ verb: ClusterChange.Verb, _ node: String?,
        force: Bool = false
    ) async throws -> ClusterProgress {
        try await rig.members[place].running.view.change(
            ClusterChange(verb, node: node, isForced: force), wait: Self.wait)
    }

    /// Why one node refuses to change another.
    private func refusal(
        _ rig: ClusterRig, at place: Int, _ verb: ClusterChange.Verb, _ node: String?,
        force: Bool = false
    ) async -> ClusterView.Failure? {
        do {
            let view = rig.members[place].running.view
            _ = try await view.change(
                ClusterChange(verb, node: node, isForced: force), wait: .zero)
            return nil
        } catch {
            return error
        }
    }

    private func reason(_ failure: ClusterView.Failure?) -> String {
        if case .conflict(let reason) = failure { reason } else { "\(failure as Any)" }
    }

    /// Waits until a node agrees with all others that they can work together.
    private func healthy(_ rig: ClusterRig, _ places: [Int]) async throws {
        for place in places {
            try await rig.wait { await rig.status(place).health == .healthy }
        }
    }

    @Test func `a drained leader hands over, is not ready at once, and stays so over a restart`()
        async throws
    {
        let rig = try ClusterRig()
        try await rig.start()
        try await self.healthy(rig, [0, 1, 2])
        let leader = try await rig.leader()
        let other = (leader + 1) % 3
        let name = ClusterRig.names[leader]
        let done = try await self.change(rig, at: other, .drain, name)
        #expect(done.isDone && !done.isLeader && done.isNews)
        try await rig.wait { rig.members[leader].running.view.readiness == .notReady(.draining) }
        // Mail is taken there until balancers have noticed, and attempted elsewhere.
        let tag = try await rig.accepted(leader, "drained\r\n")
        let others = [0, 1, 2].filter { $0 != leader }
        try await rig.wait {
            others.contains {
                rig.members[$0].taker.deliveries.contains { $0.id.message == tag }
            }
        }
        try await rig.wait {
            await rig.status(other).nodes[leader].state == .draining
        }
        #expect(
            self.reason(await self.refusal(rig, at: other, .transferLeader, name))
                == "\(name) is draining; undrain it first")
        try await rig.kill(leader)
        try await rig.restart(leader)
        try await rig.wait { rig.members[leader].running.view.readiness == .notReady(.draining) }
        #expect(try await self.change(rig, at: leader, .undrain, name).isDone)
        // At once: the leadership may go there again.
        #expect(await self.refusal(rig, at: leader, .transferLeader, name) == nil)
        try await rig.wait { rig.members[leader].running.view.readiness == .ready }
        // What is done is done again without harm.
        #expect(try await !self.change(rig, at: other, .undrain, name).isNews)
        try await rig.end()
    }

    @Test func `the leadership goes where it is sent, from any node`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        try await self.healthy(rig, [0, 1, 2])
        let leader = try await rig.leader()
        let heir = (leader + 1) % 3
        let third = (leader + 2) % 3
        #expect(
            try await self.change(rig, at: third, .transferLeader, ClusterRig.names[heir]).isDone)
        try await rig.wait { await rig.status(leader).leader == ClusterRig.names[heir] }
        let chosen = try await self.change(rig, at: heir, .transferLeader, nil)
        #expect(chosen.isDone && chosen.node != ClusterRig.names[heir])
        #expect(
            await self.refusal(rig, at: third, .transferLeader, "x") == .noSuchNode("x"))
        _ = try await rig.accepted(leader, "goes on\r\n")
        try await rig.end()
    }

    @Test func `a node is removed, told, and comes back with an empty disk only`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        try await self.healthy(rig, [0, 1, 2])
        let leader = try await rig.leader()
        let gone = (leader + 1) % 3
        let other = (leader + 2) % 3
        let name = ClusterRig.names[gone]
        // The one that is removed may be asked too.
        let progress = try await self.change(rig, at: other, .remove, name)
        #expect(progress.isDone)
        for place in [leader, other] {
            try await rig.wait {
                let status = await rig.status(place)
                return status.nodes.map(\.name)
                    == ClusterRig.names.filter { $0 != name } && status.canLose == 0
            }
        }
        // It is still linked, and takes no copies: nothing is refused for that.
        for place in [leader, other] {
            try await rig.wait {
                try await rig.on(place) { $0.care.views == $0.machine.queue.memberViews }
            }
        }
        for _ in 0..<20 {
            let verdict = try await rig.send(other, Array("without it\r\n".utf8))
            guard case .accepted(let tag) = verdict else {
                Issue.record("\(verdict)")
                continue
            }
            let holders = try await rig.on(other) { $0.machine.queue.holders(of: tag) }
            #expect(holders?.map(\.node).contains(name) == false)
        }
        #expect(
            self.reason(await self.refusal(rig, at: other, .promote, name)).contains("was removed"))
        // Its old disk stays outside.
        let alarms = { await rig.status(gone).alarms }
        try await rig.wait { await alarms() == ["removed"] }
        try await rig.kill(gone)
        try await rig.replaceDisk(gone)
        try await self.healthy(rig, [0, 1, 2])
        _ = try await rig.accepted(gone, "with it again\r\n")
        try await rig.end()
    }

    @Test func `what would cost the quorum is refused, with the reason`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        try await self.healthy(rig, [0, 1, 2])
        let leader = try await rig.leader()
        let dead = (leader + 1) % 3
        let other = (leader + 2) % 3
        try await rig.kill(dead)
        let name = ClusterRig.names[other]
        for place in [leader, other] {
            try await rig.wait { await rig.status(place).health == .degraded }
            for verb in [ClusterChange.Verb.remove, .demote] {
                #expect(
                    self.reason(await self.refusal(rig, at: place, verb, name))
                        .contains("\(name) would cost the quorum: of 3 voters 2 answer"))
            }
            #expect(
                self.reason(
                    await self.refusal(rig, at: place, .transferLeader, ClusterRig.names[dead]))
                    == "\(ClusterRig.names[dead]) does not answer")
        }
        // The dead one may go: that makes the quorum smaller.
        #expect(try await self.change(rig, at: other, .remove, ClusterRig.names[dead]).isDone)
        _ = try await rig.accepted(other, "two of two\r\n")
        try await rig.end()
    }

    @Test func `the only copy of a message is not given up without force`() async throws {
        let rig = try ClusterRig()
        rig.copies = 1
        try await rig.start()
        try await self.healthy(rig, [0, 1, 2])
        let leader = try await rig.leader()
        let dead = (leader + 1) % 3
        let other = (leader + 2) % 3
        // The first copy is the acceptor's own, if its disk is the first; else another's.
        var holder: Int?
        try await rig.wait {
            let tag = try await rig.accepted(dead, "only here\r\n")
            let holders = try await rig.on(dead) { $0.machine.queue.holders(of: tag) }
            if holders?.map(\.node) == [ClusterRig.names[dead]] { holder = dead }
            return holder != nil
        }
        try await rig.kill(dead)
        let name = ClusterRig.names[dead]
        try await rig.wait { await rig.status(other).nodes[dead].state == .unreachable }
        #expect(await rig.status(other).canLose == 0)
        let reason = self.reason(await self.refusal(rig, at: other, .remove, name))
        #expect(reason.contains("messages have no copy outside of \(name)"), "\(reason)")
        let view = rig.members[other].running.view
        let cost = try await view.change(
            ClusterChange(.remove, node: name, isForced: true, isDryRun: true), wait: .zero)
        #expect(cost.lost > 0 && cost.lostMessages.count == cost.lost && !cost.isNews)
        #expect(try await self.change(rig, at: other, .remove, name, force: true).isDone)
        try await rig.end()
    }

    @Test func `a worker becomes a voter and a worker again`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        let place = try await rig.startAnother()
        #expect(try await self.change(rig, at: place, .promote, "d").isDone)
        for other in 0...place {
            try await rig.wait {
                let status = await rig.status(other)
                return status.nodes.map(\.role) == ["voter", "voter", "voter", "voter"]
                    && status.canLose == 1 && status.health == .healthy
            }
        }
        #expect(try await self.change(rig, at: 0, .demote, "d").isDone)
        // A leader that is demoted hands over first.
        let leader = try await rig.leader()
        let name = ClusterRig.names[leader]
        #expect(try await self.change(rig, at: place, .demote, name).isDone)
        try await rig.wait {
            let status = await rig.status(place)
            return status.leader != nil && status.leader != name
                && status.nodes[leader].role == "worker"
        }
        _ = try await rig.accepted(leader, "by a worker\r\n")
        try await rig.end()
    }

    @Test func `a node that waits for its cluster says for whom`() async throws {
        let rig = try ClusterRig()
        rig.members = [try rig.open(0)]
        let running = rig.members[0].running
        let starting = Task { try await running.start() }
        try await rig.wait { await rig.status(0).waitsFor?.contains("missing: b") == true }
        let status = await rig.status(0)
        #expect(status.health == .noQuorum && status.queue == nil && status.voters == 0)
        #expect(status.nodes.map(\.name) == ["a", "b", "c"])
        #expect(status.nodes.map(\.role) == ["voter", "voter", "voter"])
        #expect(await self.refusal(rig, at: 0, .drain, "a") == .noQuorum)
        for place in 1...2 { rig.members.append(try rig.open(place)) }
        let others = rig.members[1...].map(\.running)
        try await withThrowingTaskGroup { group in
            for other in others { group.addTask { try await other.start() } }
            try await group.waitForAll()
        }
        try await starting.value
        try await rig.wait { await rig.status(0).waitsFor == nil }
        try await rig.end()
    }

    @Test func `without a quorum every change is refused, and the status says what is missing`()
        async throws
    {
        let rig = try ClusterRig()
        try await rig.start()
        try await self.healthy(rig, [0, 1, 2])
        _ = try await rig.accepted(0, "before\r\n")
        try await rig.wait { await rig.status(0).queue?.messages == 1 }
        try await rig.kill(1)
        try await rig.kill(2)
        try await rig.wait { await rig.status(0).health == .noQuorum }
        for verb in ClusterChange.Verb.allCases {
            #expect(await self.refusal(rig, at: 0, verb, "b") == .noQuorum)
        }
        let status = await rig.status(0)
        #expect(status.canLose == 0 && status.voters == 3 && status.votersReachable == 1)
        #expect(status.nodes.map(\.state) == [.ready, .unreachable, .unreachable])
        #expect(status.queue?.messages == 1, "what is known is shown")
        // From 10 s on balancers are told.
        try await rig.wait { rig.members[0].running.view.readiness == .notReady(.noQuorum) }
        // A node that starts alone knows nothing of the queue.
        try await rig.kill(0)
        rig.members[0] = try rig.open(0)
        let running = rig.members[0].running
        let starting = Task { try await running.start() }
        try await rig.wait { await rig.status(0).term > 0 }
        #expect(await rig.status(0).queue == nil && rig.members[0].isAlive)
        #expect(running.view.readiness == .notReady(.catchingUp))
        rig.members[1] = try rig.open(1)
        let second = rig.members[1].running
        try await second.start()
        try await starting.value
        try await rig.wait { await rig.status(0).queue?.messages == 1 }
        try await rig.wait { running.view.readiness == .ready }
        try await rig.end()
    }
}
