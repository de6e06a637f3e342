import MailQueue
import Primitives
import Raft
import SMTP
import Testing

@testable import Cluster

@Suite("What a snapshot tells a node of its own session", .timeLimit(.minutes(1)))
struct InstalledStateTests {
    /// A group that works, one who leads and one who follows and will be cut off.
    private func group() throws -> (MachineGroup, leader: Int, cut: Int) {
        let group = MachineGroup(3, seed: 4)
        group.run(.seconds(20)) {
            group.leader != nil && group.members.allSatisfy { $0.session != .none }
        }
        let leader = try #require(group.leader)
        return (group, leader, (leader + 1) % 3)
    }

    /// From now on the member is not heard by itself: what it says still goes out.
    private func deafen(_ group: MachineGroup, _ place: Int) {
        for other in group.members.indices where other != place {
            group.cuts.insert([other, place])
        }
    }

    /// The leader's state, as a snapshot brings it.
    private func state(of member: GroupMember) throws -> RestoredQueue {
        member.machine.beginCheckpoint()
        var rows = RowBatch()
        while !member.machine.encodeCheckpoint(rows: 1 << 20, bytesMax: 1 << 30, into: &rows) {}
        let seal = member.machine.sealCheckpoint()
        member.machine.endCheckpoint()
        return try RestoredQueue(meta: seal.meta) { take in
            rows.forEach { key, row in if let row { take(key, row) } }
        }
    }

    private func install(
        _ group: MachineGroup, from leader: Int, into place: Int
    ) throws -> NodeMachine.Installed {
        let source = group.members[leader]
        let member = group.members[place]
        let hash = source.stateHash()
        let position = source.machine.applied
        let installed = member.machine.install(
            try self.state(of: source).take(), at: position, at: group.clocks)
        #expect(member.stateHash() == hash)
        #expect(member.machine.applied == position)
        return installed
    }

    @Test func `results and leases that it swallowed are found, and what goes on is not new`()
        throws
    {
        let (group, leader, cut) = try self.group()
        let member = group.members[cut]
        let before = try #require(group.enqueue(cut, to: "a.test"))
        group.run(.seconds(1)) { group.results[before] != nil }
        #expect(member.leases.map(\.message) == [before])
        self.deafen(group, cut)
        let swallowed = try #require(group.enqueue(cut, to: "b.test"))
        group.run(.seconds(1)) { group.members[leader].contains(swallowed) }
        #expect(!member.contains(swallowed))
        // Never arrives: it is to be sent again.
        group.cuts.insert([cut, leader])
        let lost = try #require(group.enqueue(cut, to: "c.test"))
        group.run(.milliseconds(50))
        let found = try self.install(group, from: leader, into: cut)
        #expect(found.results.map(\.number) == [swallowed.sequence])
        #expect(found.results.first?.result == .enqueued(recipients: 1))
        #expect(found.leases.map(\.message) == [swallowed])
        #expect(found.closed == nil && !found.missedOpening && found.reports.isEmpty)
        #expect(member.session == before.session)
        #expect(member.machine.courier.waiting == [lost.sequence])
    }

    @Test func `a lease that ended and was granted again is new, with its next attempt`() throws {
        let (group, leader, cut) = try self.group()
        let member = group.members[cut]
        let tag = try #require(group.enqueue(cut, to: "a.test"))
        group.run(.seconds(1)) { !member.leases.isEmpty }
        let lease = try #require(member.leases.first)
        self.deafen(group, cut)
        // It gives the lease back, and is given it once more.
        let release = try #require(
            group.submit(cut, .release(deliveries: [lease], reports: [])))
        let source = group.members[leader]
        let isReleased = { source.machine.queue.result(of: release) != nil }
        group.run(.seconds(1), until: isReleased)
        group.run(.milliseconds(200)) { source.machine.queue.holder(of: lease) == tag.session }
        let isBack = source.machine.queue.holder(of: lease) == tag.session
        let found = try self.install(group, from: leader, into: cut)
        #expect(found.results.map(\.number) == [release.sequence])
        #expect(found.leases == (isBack ? [lease] : []))
    }

    @Test func `a session that has expired meanwhile is closed, its facts go on`() throws {
        let (group, leader, cut) = try self.group()
        let member = group.members[cut]
        let tag = try #require(group.enqueue(cut, to: "a.test"))
        group.run(.seconds(1)) { !member.leases.isEmpty }
        let lease = try #require(member.leases.first)
        group.isolate(cut, true)
        _ = group.deliver(lease, cut, .delivered)
        let source = group.members[leader]
        group.run(.seconds(8)) { !source.machine.queue.isOpen(tag.session) }
        let found = try self.install(group, from: leader, into: cut)
        #expect(found.closed == tag.session)
        #expect(member.session == .none)
        #expect(found.leases.isEmpty && found.results.isEmpty)
        // Somebody has the mail: that is still to be said.
        member.machine.courier.turn(to: .own(term: 99))
        let fact = member.machine.courier.next()
        #expect(fact?.origin?.session == tag.session && fact?.isFact == true)
    }

    @Test func `a message that came and ended in the gap was accepted; its Cancel counts it`()
        throws
    {
        let (group, leader, cut) = try self.group()
        let member = group.members[cut]
        let source = group.members[leader]
        self.deafen(group, cut)
        let promised = try #require(group.enqueue(cut, to: "a.test"))
        let refused = try #require(group.enqueue(cut, to: "b.test"))
        let isEnqueued = { source.contains(promised) && source.contains(refused) }
        group.run(.seconds(1), until: isEnqueued)
        #expect(isEnqueued())
        // Given up too late for the link: only the fact will be heard.
        group.cuts.insert([cut, leader])
        let cancel = try #require(group.submit(cut, .cancel(refused)))
        group.run(.seconds(20)) { !source.machine.queue.isOpen(promised.session) }
        for tag in [promised, refused] {
            let all = (source.machine.queue.view(tag)?.deliveries ?? []).map(\.id)
            let drop = Command(.admin(Admin(verb: .drop, deliveries: all, reason: "")))
            let index = source.machine.propose(drop, at: group.clocks)
            #expect(index != nil)
        }
        group.run(.seconds(10)) { !source.contains(promised) && !source.contains(refused) }
        #expect(!source.contains(promised) && !source.contains(refused))
        let found = try self.install(group, from: leader, into: cut)
        #expect(found.closed == promised.session && found.results.isEmpty)
        let wasEnqueued = member.machine.queue.wasEnqueued(promised)
        #expect(wasEnqueued)
        member.machine.courier.turn(to: .own(term: 99))
        let next = member.machine.courier.next()
        let fact = try #require(next)
        #expect(fact.tag == cancel && fact.isFact)
        let before = source.machine.queue.totals.replyDuplicates
        let index = source.machine.propose(fact, at: group.clocks)
        #expect(index != nil)
        group.run(.seconds(1)) { source.machine.queue.totals.replyDuplicates > before }
        #expect(source.machine.queue.totals.replyDuplicates == before + 1)
    }

    @Test func `a session that was opened meanwhile is the own one; one that is over is missed`()
        throws
    {
        for waits in [Duration.milliseconds(300), .seconds(8)] {
            let (group, leader, cut) = try self.group()
            let member = group.members[cut]
            group.kill(cut)
            group.run(.milliseconds(100))
            group.start(cut)
            let source = group.members[leader]
            let boot = member.boot
            // It is heard once, when it knows the leader; then nothing comes back.
            group.run(.seconds(5)) { member.machine.hasLeader }
            self.deafen(group, cut)
            group.run(.seconds(2)) {
                source.machine.queue.session(of: member.name) != nil && member.isOpening
                    && source.machine.applied.index > member.machine.applied.index
            }
            group.run(waits)
            #expect(member.session == .none && member.boot == boot + 1)
            let isOpen = source.machine.queue.session(of: member.name)
            let found = try self.install(group, from: leader, into: cut)
            if let isOpen {
                #expect(member.session == isOpen && !found.missedOpening)
                #expect(member.machine.takeOpening() == .sessionOpened(isOpen))
            } else {
                #expect(member.session == .none && found.missedOpening)
            }
            #expect((isOpen != nil) == (waits < .seconds(1)))
        }
    }
}
