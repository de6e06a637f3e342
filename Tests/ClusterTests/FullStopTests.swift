import MailQueue
import Networking
import Primitives
import Raft
import Testing

@testable import Cluster

@Suite("Queue time after a stop of all nodes")
struct FullStopTests {
    static let stop = Duration.seconds(7200)

    /// Three members with mail, killed; the wall clocks go on by two hours.
    private func stopped(
        seed: UInt64, leader: Int? = nil, wrong: Duration = .zero
    ) throws -> (MachineGroup, QueueTime) {
        let group = MachineGroup(3, seed: seed)
        if let leader {
            group.wallsAhead[leader] = wrong
            group.members[leader].machine.campaign()
        }
        group.run(.seconds(20)) { group.members.allSatisfy { $0.session != .none } }
        let tag = try #require(group.enqueue(0, to: "a.test"))
        group.run(.seconds(20)) { group.results[tag] != nil && group.agree() }
        // Nothing more comes: all of it is on all disks.
        group.run(.seconds(1))
        #expect(group.agree())
        let time = group.members[0].queueTime
        for place in group.members.indices { group.kill(place) }
        group.wall = group.wall + Self.stop
        return (group, time)
    }

    /// All come back, or some, and one leads.
    private func start(_ group: MachineGroup, _ places: [Int] = [0, 1, 2], leader: Int) {
        for place in places { group.start(place) }
        group.members[leader].machine.campaign()
        group.run(.seconds(20)) {
            places.allSatisfy { group.members[$0].session != .none } && group.agree()
        }
        #expect(group.leader == leader)
        // It leads, and all are at work.
        #expect(places.allSatisfy { group.members[$0].session != .none } && group.agree())
    }

    private func moved(_ group: MachineGroup, since time: QueueTime) -> [Duration] {
        group.members.map { $0.queueTime - time }
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `where the clocks agree the stop counts`(seed: UInt64) throws {
        let (group, time) = try self.stopped(seed: seed)
        group.wallsAhead = [.zero, .seconds(-30), .seconds(30)]
        self.start(group, leader: 0)
        for moved in self.moved(group, since: time) {
            #expect(moved >= Self.stop && moved < Self.stop + .seconds(60))
        }
        #expect(group.members.allSatisfy { !$0.isClockDoubted })
    }

    @Test(arguments: [5 * 3600, -5 * 3600, 61, -61])
    func `a leader whose clock is wrong goes on from where queue time stood`(wrong: Int) throws {
        let (group, time) = try self.stopped(seed: 4)
        group.wallsAhead[1] = .seconds(wrong)
        self.start(group, leader: 1)
        for moved in self.moved(group, since: time) {
            #expect(moved >= .zero && moved < .seconds(60))
        }
        #expect(group.members.map(\.isClockDoubted) == [false, true, false])
        // Set right it is believed again; what was not counted stays so.
        group.wallsAhead[1] = .zero
        group.run(.seconds(1))
        #expect(group.members.allSatisfy { !$0.isClockDoubted })
        #expect(self.moved(group, since: time).allSatisfy { $0 < .seconds(60) })
    }

    @Test(arguments: [0, 60, 61])
    func `a voter that does not come back is not waited for`(ahead: Int) throws {
        let (group, time) = try self.stopped(seed: 10)
        group.wallsAhead[1] = .seconds(ahead)
        self.start(group, [0, 1], leader: 0)
        let counted = ahead <= 60 ? Self.stop : .zero
        for place in [0, 1] {
            let moved = group.members[place].queueTime - time
            #expect(moved >= counted && moved < counted + .seconds(60))
        }
        #expect(group.members[0].isClockDoubted == (ahead > 60))
    }

    @Test func `a leader that is told no clock leads at once, and counts no stop`() throws {
        let (group, time) = try self.stopped(seed: 11)
        group.areClocksUntold = true
        self.start(group, leader: 2)
        #expect(self.moved(group, since: time).allSatisfy { $0 < .seconds(60) })
        #expect(group.members.map(\.isClockDoubted) == [false, false, true])
        // What comes later ends the alarm, and moves nothing.
        group.areClocksUntold = false
        group.run(.seconds(1))
        #expect(!group.members[2].isClockDoubted)
        #expect(self.moved(group, since: time).allSatisfy { $0 < .seconds(60) })
    }

    @Test(arguments: [5 * 3600, -5 * 3600])
    func `a stop that began under a wrong clock is not measured by it`(wrong: Int) throws {
        let (group, time) = try self.stopped(seed: 8, leader: 2, wrong: .seconds(wrong))
        #expect(group.members.map(\.isClockDoubted) == [false, false, true])
        group.wallsAhead = [.zero, .zero, .zero]
        self.start(group, leader: 0)
        #expect(self.moved(group, since: time).allSatisfy { $0 < .seconds(60) })
    }

    @Test func `a leader that is cut off has heard no other word, and keeps its clock`() throws {
        let group = MachineGroup(3, seed: 9)
        group.run(.seconds(20)) { group.members.allSatisfy { $0.session != .none } }
        let leader = try #require(group.leader)
        group.isolate(leader, true)
        group.run(.milliseconds(100))
        let wall = group.clocks(of: leader).wall
        #expect(group.members[leader].believed(wall) == wall)
        #expect(!group.members[leader].isClockDoubted)
    }

    @Test func `a wrong clock that follows does no harm`() throws {
        let (group, time) = try self.stopped(seed: 5)
        group.wallsAhead[1] = .seconds(5 * 3600)
        self.start(group, leader: 2)
        for moved in self.moved(group, since: time) {
            #expect(moved >= Self.stop && moved < Self.stop + .seconds(60))
        }
        #expect(group.members.allSatisfy { !$0.isClockDoubted })
    }

    @Test func `a node that comes back alone to a cluster that went on asks nobody`() throws {
        let group = MachineGroup(3, seed: 6)
        group.run(.seconds(20)) { group.members.allSatisfy { $0.session != .none } }
        let leader = try #require(group.leader)
        let back = (leader + 1) % 3
        group.kill(back)
        group.wallsAhead[back] = .seconds(5 * 3600)
        group.start(back)
        group.run(.seconds(30)) { group.members[back].session != .none && group.agree() }
        // It has seen stamps: leading now is no matter of clocks.
        let time = group.members[back].queueTime
        group.members[back].machine.campaign()
        group.run(.seconds(20)) { group.leader == back }
        let tag = try #require(group.enqueue(back, to: "b.test"))
        group.run(.seconds(20)) { group.results[tag] != nil }
        #expect(group.members[back].queueTime - time < .seconds(60))
        #expect(!group.members[back].isClockDoubted)
    }

    @Test func `a node alone believes its own clock`() throws {
        let group = MachineGroup(1, seed: 7)
        group.run(.seconds(20)) { group.members[0].session != .none }
        let time = group.members[0].queueTime
        group.kill(0)
        group.wall = group.wall + Self.stop
        group.start(0)
        group.run(.seconds(20)) { group.members[0].session != .none }
        let moved = group.members[0].queueTime - time
        #expect(moved >= Self.stop && moved < Self.stop + .seconds(60))
        #expect(!group.members[0].isClockDoubted)
    }
}

@Suite("Clocks of nodes over real links", .timeLimit(.minutes(2)))
struct NodeClockTests {
    private func time(_ rig: ClusterRig, _ place: Int) async throws -> QueueTime {
        try await rig.on(place) { $0.machine.queue.time }
    }

    /// Three nodes that have stamped something, killed.
    private func stopped() async throws -> (ClusterRig, QueueTime) {
        let rig = try ClusterRig()
        try await rig.start()
        _ = try await rig.accepted(0, [65])
        let time = try await self.time(rig, 0)
        for place in ClusterRig.names.indices { try await rig.kill(place) }
        return (rig, time)
    }

    private func restart(_ rig: ClusterRig, _ places: [Int]) async throws {
        for place in places { try await rig.reopen(place) }
        let all = places.map { rig.members[$0].running }
        try await withThrowingTaskGroup { group in
            for running in all { group.addTask { try await running.start() } }
            try await group.waitForAll()
        }
    }

    @Test func `queue time goes on by the hours of a stop that all clocks tell`() async throws {
        let (rig, time) = try await self.stopped()
        rig.wallsAhead = Array(repeating: FullStopTests.stop, count: 4)
        try await self.restart(rig, [0, 1, 2])
        for place in ClusterRig.names.indices {
            let moved = try await self.time(rig, place) - time
            #expect(moved >= FullStopTests.stop && moved < FullStopTests.stop + .seconds(120))
            #expect(await rig.status(place).alarms == [])
        }
        try await rig.end()
    }

    @Test func `without a majority it goes on from where it stood, with an alarm`() async throws {
        let (rig, time) = try await self.stopped()
        rig.wallsAhead = [.seconds(7200), .seconds(5 * 3600), .zero, .zero]
        try await self.restart(rig, [0, 1])
        let leader = try await rig.leader()
        #expect(try await self.time(rig, leader) - time < .seconds(120))
        try await rig.wait { await rig.status(leader).alarms == ["clock"] }
        #expect(await rig.status(1 - leader).alarms == [])
        // The third agrees with the leader: a majority does.
        rig.wallsAhead[2] = rig.wallsAhead[leader]
        try await self.restart(rig, [2])
        try await rig.wait { await rig.status(leader).alarms == [] }
        #expect(try await self.time(rig, leader) - time < .seconds(120))
        try await rig.end()
    }
}
