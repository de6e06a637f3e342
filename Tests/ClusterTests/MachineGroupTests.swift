import MailQueue
import Primitives
import Raft
import SMTP
import Testing

@testable import Cluster

@Suite("The machines of three nodes", .timeLimit(.minutes(2)))
struct MachineGroupTests {
    /// All have opened their sessions, and somebody leads.
    private func group(seed: UInt64) -> MachineGroup {
        let group = MachineGroup(3, seed: seed)
        group.run(.seconds(20)) {
            group.leader != nil && group.members.allSatisfy { $0.session != .none }
        }
        #expect(group.leader != nil)
        return group
    }

    private func others(_ group: MachineGroup, than place: Int) -> [Int] {
        group.members.indices.filter { $0 != place }
    }

    @Test(arguments: 1...3 as ClosedRange<UInt64>)
    func `what any node submits is done once, and its own apply tells the result`(seed: UInt64)
        throws
    {
        let group = self.group(seed: seed)
        var tags: [Tag] = []
        for place in 0..<3 {
            for number in 0..<20 {
                tags.append(try #require(group.enqueue(place, to: "d\(number % 4).test")))
            }
        }
        group.run(.seconds(2)) { tags.allSatisfy { group.results[$0] != nil } }
        for tag in tags { #expect(group.results[tag] == .enqueued(recipients: 1)) }
        group.run(.seconds(1)) { group.agree() }
        #expect(group.agree())
        #expect(group.members.allSatisfy { $0.messageCount == 60 })
    }

    @Test(arguments: 1...5 as ClosedRange<UInt64>)
    func `commands under way when the leader dies reach the next one, and count once`(
        seed: UInt64
    ) throws {
        let group = self.group(seed: seed)
        let leader = try #require(group.leader)
        let survivors = self.others(group, than: leader)
        var tags: [Tag] = []
        for round in 0..<30 {
            for place in survivors {
                tags.append(try #require(group.enqueue(place, to: "d\(round % 4).test")))
            }
            group.run(.milliseconds(1))
            if round == 15 { group.kill(leader) }
        }
        group.run(.seconds(6)) { tags.allSatisfy { group.results[$0] != nil } }
        for tag in tags { #expect(group.results[tag] == .enqueued(recipients: 1)) }
        group.run(.seconds(1)) { group.agree() }
        #expect(group.agree())
        #expect(group.members[survivors[0]].messageCount == tags.count)
        // A broken link is a hint: nobody waits for the silence to be over.
        #expect(group.leader != nil)
    }

    @Test(arguments: 1...5 as ClosedRange<UInt64>)
    func `a session that cannot renew expires, after its node has stopped`(seed: UInt64) throws {
        let group = self.group(seed: seed)
        group.run(.seconds(3))
        let leader = try #require(group.leader)
        let lonely = self.others(group, than: leader)[0]
        let session = group.members[lonely].session
        let lapses = try #require(group.members[lonely].leaseClock.lapsesAt)
        group.isolate(lonely, true)
        group.run(.seconds(12)) { group.closedSessions.contains { $0.session == session } }
        let closed = try #require(group.closedSessions.first { $0.session == session })
        #expect(closed.at > lapses)
        // From the last renewal: 1.05 T, a tick, and what a command takes.
        #expect(closed.at - lapses < .milliseconds(1200))
        #expect(group.members[lonely].session == session)

        // Back again it learns that, and opens another.
        group.isolate(lonely, false)
        group.run(.seconds(5)) { group.members[lonely].session > session }
        #expect(group.members[lonely].session > session)
    }

    /// 1 A leader proposes grants, and is cut off before anybody has them. 2 Another one leads, and
    /// the entries are replaced. 3 The first one leads again: its log is shorter than it was.
    @Test func `work that was lost with its term is looked for again at once`() throws {
        let group = self.group(seed: 12)
        group.run(.seconds(2))
        let first = try #require(group.leader)
        let member = group.members[first]
        group.isolate(first, true)
        let lost = (0..<500).map { _ in Command(.tick) }
        member.machine.propose(work: lost, at: group.clocks)
        let end = member.machine.lastIndex
        let looks = { member.machine.mayLookForWork }
        let isShort = { member.machine.isReadyLeader && member.machine.applied.index < end }
        #expect(!looks())
        group.run(.seconds(10)) { group.leader != first && group.leader != nil }
        group.isolate(first, false)
        group.run(.seconds(10)) { group.agree() && member.session != .none }
        let second = try #require(group.leader)
        group.members[second].machine.handOver(to: member.id)
        group.run(.seconds(5)) { member.machine.isReadyLeader }
        #expect(isShort())
        group.run(.seconds(1), until: looks)
        #expect(looks() && isShort())
    }

    @Test func `sessions that renew live on under a new leader`() throws {
        let group = self.group(seed: 9)
        group.run(.seconds(2))
        let leader = try #require(group.leader)
        let survivors = self.others(group, than: leader)
        let sessions = survivors.map { group.members[$0].session }
        group.kill(leader)
        group.run(.seconds(20))
        #expect(survivors.map { group.members[$0].session } == sessions)
        let now = group.now
        #expect(survivors.allSatisfy { group.members[$0].leaseClock.mayFinish(at: now) })
        #expect(group.closedSessions.count >= 1)
    }

    @Test func `delivered is believed from a session that is closed, deferred is not`() throws {
        let group = self.group(seed: 4)
        let leader = try #require(group.leader)
        let lonely = self.others(group, than: leader)[0]
        let first = try #require(group.enqueue(lonely, to: "one.test"))
        let second = try #require(group.enqueue(lonely, to: "two.test"))
        group.run(.seconds(1)) { group.members[lonely].leases.count == 2 }
        group.isolate(lonely, true)
        let done = group.deliver(DeliveryID(message: first, index: 0), lonely, .delivered)
        let later = group.deliver(DeliveryID(message: second, index: 0), lonely, .deferred)
        #expect(done != nil && later != nil)
        let session = group.members[lonely].session
        group.run(.seconds(8)) { group.closedSessions.contains { $0.session == session } }
        group.isolate(lonely, false)
        group.run(.seconds(8)) { !group.members[leader].contains(first) }
        #expect(!group.members[leader].contains(first))
        #expect(group.members[leader].contains(second))
        #expect(group.members[leader].totals.deferred == 0)
    }

    @Test(arguments: [1, 3])
    func `what finds no room in the log waits for it, and is done once`(count: Int) throws {
        let group = MachineGroup(count, seed: 6, uncommittedBytesMax: 400)
        group.run(.seconds(20)) {
            group.leader != nil && group.members.allSatisfy { $0.session != .none }
        }
        var tags: [Tag] = []
        for number in 0..<40 {
            tags.append(try #require(group.enqueue(number % count, to: "d.test")))
        }
        group.run(.seconds(10)) { tags.allSatisfy { group.results[$0] != nil } }
        for tag in tags { #expect(group.results[tag] == .enqueued(recipients: 1)) }
        #expect(group.members[0].messageCount == 40)
    }

    @Test func `what a leader proposes is stamped when it is proposed, however long it rested`()
        throws
    {
        let group = MachineGroup(1, seed: 1)
        group.run(.seconds(20)) { group.members[0].session != .none }
        // Nothing happens meanwhile, not even a tick.
        group.now = group.now + .seconds(50)
        let member = group.members[0]
        let due = member.machine.queueTime(at: group.now)
        let index = member.machine.propose(Command(.tick), at: group.clocks)
        #expect(index != nil)
        group.run(.milliseconds(50)) { member.machine.queue.time >= due }
        #expect(member.machine.queue.time == due)
    }

    @Test(arguments: 1...12 as ClosedRange<UInt64>)
    func `under kills and cuts every answer is kept and no final dot goes twice at once`(
        seed: UInt64
    ) throws {
        let group = self.group(seed: seed)
        group.delayMax = 1 + Int(seed % 40)
        var dice = Generator(seed: seed &* 7919)
        for _ in 0..<40 {
            for place in group.members.indices where dice.below(2) == 0 {
                _ = group.enqueue(place, to: "d\(dice.below(5)).test")
                if let lease = group.members[place].leases.first, dice.below(3) > 0 {
                    _ = group.deliver(lease, place, dice.below(3) == 0 ? .deferred : .delivered)
                }
            }
            group.run(.milliseconds(Int64(dice.below(400))))
            let place = dice.below(3)
            switch dice.below(8) {
            case 0 where group.members.filter(\.isAlive).count == 3: group.kill(place)
            case 1: group.isolate(place, true)
            case 2, 3: for place in group.members.indices { group.isolate(place, false) }
            case 4, 5:
                for place in group.members.indices where !group.members[place].isAlive {
                    group.start(place)
                }
            case _: continue
            }
        }
        for place in group.members.indices {
            group.isolate(place, false)
            if !group.members[place].isAlive { group.start(place) }
        }
        group.run(.seconds(30)) {
            group.members.allSatisfy { $0.session != .none && $0.waiting.isEmpty }
                && group.agree()
        }
        #expect(group.members.allSatisfy { $0.session != .none })
        #expect(group.members.allSatisfy { $0.waiting.isEmpty }, "every command has a result")
        #expect(group.agree(), "all have the same state")
        #expect(group.overlaps == 0)
        // What was answered as enqueued is there, or has ended by an outcome.
        let queue = group.members[0].totals
        let accepted = group.results.values.count {
            if case .enqueued = $0 { true } else { false }
        }
        #expect(queue.accepted >= UInt64(accepted))
    }
}
