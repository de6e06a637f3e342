// MemberKeeperTests.swift - what is done for members, step by step, by a leader and by any node.

import MailQueue
import Primitives
import Raft
import SMTP
import Spool
import Testing

@testable import Cluster

@Suite("The care for members", .timeLimit(.minutes(1)))
struct MemberKeeperTests {
    private static let well = MemberKeeper.Condition(
        isStopping: false, isLowOnDisk: false, syncsSince: nil)

    /// Three nodes that work; the first result is who leads.
    private func group() throws -> (leader: Int, group: MachineGroup) {
        let group = MachineGroup(3, seed: 1)
        group.run(.seconds(20)) {
            group.leader != nil && group.members.allSatisfy { $0.session != .none }
        }
        return (try #require(group.leader), group)
    }

    private func founders(_ group: MachineGroup) -> Founders {
        let members = group.members.map {
            FoundingRecord.Member(name: $0.name, incarnation: $0.id)
        }
        return Founders(members: members, seeds: members.map(\.name), count: members.count)
    }

    private func peer(_ name: NodeName, _ disk: MemberID, _ now: Instant) -> MemberPeer {
        MemberPeer(
            Holder(node: name, incarnation: disk), isOfCluster: true, hasControl: true,
            hasBulk: true, heardAt: now)
    }

    /// What a node knows: the others, and guests.
    private func peers(
        _ group: MachineGroup, of place: Int, and guests: [MemberPeer] = [],
        _ change: (inout MemberPeer) -> Void = { _ in }
    ) -> MemberPeers {
        let own = group.members[place]
        var lines = group.members.filter { $0.id != own.id }
            .map { self.peer($0.name, $0.id, group.now) }
        for at in lines.indices { change(&lines[at]) }
        return MemberPeers(
            own: Holder(node: own.name, incarnation: own.id), lines + guests, now: group.now)
    }

    private func keep(
        _ keeper: inout MemberKeeper, _ group: MachineGroup, _ place: Int, _ peers: MemberPeers,
        _ condition: MemberKeeper.Condition = Self.well, settings: ClusterSettings? = nil
    ) -> [MemberKeeper.Step] {
        keeper.keep(
            &group.members[place].machine, peers, self.founders(group), condition,
            settings: settings, at: group.clocks)
    }

    private func news(
        _ keeper: inout MemberKeeper, _ group: MachineGroup, _ place: Int, _ peers: MemberPeers
    ) -> [MemberKeeper.News] {
        keeper.news(group.members[place].machine, peers)
    }

    /// The command is applied everywhere.
    private func apply(_ action: Command.Action, _ group: MachineGroup, _ leader: Int) throws {
        let tag = try #require(group.members[leader].drawTag())
        #expect(group.members[leader].submit(tag, action))
        group.run(.seconds(5)) { group.members.allSatisfy { $0.result(of: tag) != nil } }
        #expect(group.members[leader].result(of: tag) == .done)
    }

    @Test func `a look is due at once, and every 100 ms`() {
        var keeper = MemberKeeper()
        let now = Instant.zero + .seconds(5)
        let made = [0, 99, 100, 150, 199, 200].map { number in
            keeper.looks(at: now + .milliseconds(number))
        }
        #expect(made == [true, false, true, false, false, true])
    }

    @Test func `who is silent for 3 s, not linked, or on another disk does not answer`() {
        let now = Instant.zero + .seconds(100)
        let own = Holder(node: "a", incarnation: Incarnation(raw: 1))
        let disk = Incarnation(raw: 2)
        func answers(_ change: (inout MemberPeer) -> Void) -> Bool {
            var peer = self.peer("b", disk, now)
            change(&peer)
            return MemberPeers(own: own, [peer], now: now).answers("b", disk)
        }
        #expect(answers { _ in })
        #expect(answers { $0.heardAt = now - .milliseconds(2999) })
        #expect(!answers { $0.heardAt = now - .seconds(3) })
        #expect(!answers { $0.hasControl = false })
        #expect(!answers { $0.incarnation = Incarnation(raw: 3) })
        #expect(!answers { $0.name = "c" })
        #expect(MemberPeers(own: own, [], now: now).answers("a", own.incarnation))
    }

    @Test func `who drains or stops answers, and gets no work`() {
        let now = Instant.zero + .seconds(100)
        let own = Holder(node: "a", incarnation: Incarnation(raw: 1))
        let disk = Incarnation(raw: 2)
        func takes(_ change: (inout MemberPeer) -> Void) -> [Bool] {
            var peer = self.peer("b", disk, now)
            change(&peer)
            let peers = MemberPeers(own: own, [peer], now: now)
            return [peers.answers("b", disk), peers.takesWork("b", disk)]
        }
        #expect(takes { _ in } == [true, true])
        #expect(takes { $0.isDraining = true } == [true, false])
        #expect(takes { $0.hasControl = false } == [false, false])
        #expect(MemberPeers(own: own, [], now: now).takesWork("a", own.incarnation))
    }

    @Test func `a newcomer is admitted, then a learner, one step after the other`() throws {
        let (leader, group) = try self.group()
        var keeper = MemberKeeper()
        let disk = Incarnation(raw: 20)
        func peers() -> MemberPeers {
            var guest = self.peer("w", disk, group.now)
            guest.host = "w.test"
            guest.port = 2600
            return self.peers(group, of: leader, and: [guest])
        }
        let admission = Admission(node: "w", incarnation: disk, host: "w.test", port: 2600)
        #expect(self.keep(&keeper, group, leader, peers()) == [.admit(admission)])
        // It is in the log, and not applied.
        #expect(self.keep(&keeper, group, leader, peers()) == [])
        group.run(.milliseconds(200))
        #expect(
            self.keep(&keeper, group, leader, peers())
                == [.change(ConfigurationChange([MemberChange(.addLearner, disk)]))])
        #expect(self.keep(&keeper, group, leader, peers()) == [])
        group.run(.milliseconds(200))
        #expect(self.keep(&keeper, group, leader, peers()) == [])
        let others = group.members.indices.filter { $0 != leader }
        // Who does not lead does nothing of the kind.
        for place in others {
            var other = MemberKeeper()
            let guest = self.peer("x", Incarnation(raw: 30), group.now)
            let peers = self.peers(group, of: place, and: [guest])
            #expect(self.keep(&other, group, place, peers) == [])
        }
    }

    @Test func `a node of another cluster is not admitted, nor one without a control link`()
        throws
    {
        let (leader, group) = try self.group()
        var keeper = MemberKeeper()
        var stranger = self.peer("s", Incarnation(raw: 20), group.now)
        stranger.isOfCluster = false
        var dumb = self.peer("t", Incarnation(raw: 21), group.now)
        dumb.hasControl = false
        let peers = self.peers(group, of: leader, and: [stranger, dumb])
        #expect(self.keep(&keeper, group, leader, peers) == [])
    }

    @Test func `settings come before who comes, and a node alone does nothing`() throws {
        let (leader, group) = try self.group()
        var keeper = MemberKeeper()
        let guest = self.peer("w", Incarnation(raw: 20), group.now)
        let peers = self.peers(group, of: leader, and: [guest])
        let unfounded = keeper.keep(
            &group.members[leader].machine, peers, nil, Self.well, settings: nil,
            at: group.clocks)
        #expect(unfounded == [])
        var settings = ClusterSettings()
        settings.copies = 3
        #expect(
            self.keep(&keeper, group, leader, peers, settings: settings)
                == [.settings(settings)])
    }

    @Test func `a leader whose disk is poor hands over, and again after 2 s`() throws {
        let (leader, group) = try self.group()
        let slow = MemberKeeper.Condition(
            isStopping: false, isLowOnDisk: false, syncsSince: group.now - .seconds(2))
        let quick = MemberKeeper.Condition(
            isStopping: false, isLowOnDisk: false, syncsSince: group.now - .milliseconds(1999))
        let full = MemberKeeper.Condition(
            isStopping: false, isLowOnDisk: true, syncsSince: nil)
        let stops = MemberKeeper.Condition(
            isStopping: true, isLowOnDisk: false, syncsSince: nil)
        func first(
            _ condition: MemberKeeper.Condition, _ change: (inout MemberPeer) -> Void = { _ in }
        ) -> MemberKeeper.Step? {
            var keeper = MemberKeeper()
            let peers = self.peers(group, of: leader, change)
            return self.keep(&keeper, group, leader, peers, condition).first
        }
        #expect(first(quick) == nil)
        // To nobody that would hand it back, that drains, or that does not answer.
        #expect(first(full) { $0.refusesBodies = true } == nil)
        #expect(first(stops) { $0.isDraining = true } == nil)
        #expect(first(stops) { $0.hasControl = false } == nil)
        var keeper = MemberKeeper()
        let peers = self.peers(group, of: leader)
        let steps = self.keep(&keeper, group, leader, peers, slow)
        guard case .handOver(let heir) = steps.first else {
            Issue.record("no handover: \(steps)")
            return
        }
        #expect(heir != group.members[leader].id)
        let later = MemberPeers(
            own: peers.own, peers.lines, now: group.now + .milliseconds(1999))
        #expect(self.keep(&keeper, group, leader, later, slow) == [])
        let due = MemberPeers(own: peers.own, peers.lines, now: group.now + .seconds(2))
        #expect(self.keep(&keeper, group, leader, due, slow) == [.handOver(heir)])
        group.run(.seconds(2)) { group.leader.map { group.members[$0].id } == heir }
        #expect(group.leader.map { group.members[$0].id } == heir)
    }

    @Test func `one that stops hands over to who is short of space, too`() throws {
        let (leader, group) = try self.group()
        var keeper = MemberKeeper()
        let stops = MemberKeeper.Condition(
            isStopping: true, isLowOnDisk: false, syncsSince: nil)
        let peers = self.peers(group, of: leader) { $0.refusesBodies = true }
        let steps = self.keep(&keeper, group, leader, peers, stops)
        guard case .handOver = steps.first else {
            Issue.record("no handover: \(steps)")
            return
        }
    }

    @Test func `what the rows say is news once, and a drained node refuses after 10 s`() throws {
        let (leader, group) = try self.group()
        var keeper = MemberKeeper()
        let name = group.members[leader].name
        let holders = self.peers(group, of: leader).lines.map(\.holder)
        let first = self.news(&keeper, group, leader, self.peers(group, of: leader))
        #expect(first == holders.map { .joined($0) })
        #expect(self.news(&keeper, group, leader, self.peers(group, of: leader)) == [])
        let guest = self.peer("w", Incarnation(raw: 20), group.now)
        try self.apply(.drain(node: name, draining: true), group, leader)
        #expect(
            self.news(&keeper, group, leader, self.peers(group, of: leader, and: [guest]))
                == holders.map { .joined($0) } + [.gone(guest.holder), .drains(true)])
        let since = try #require(keeper.drainingSince)
        #expect(since == group.now)
        #expect(!keeper.isDrained(at: since + .milliseconds(9999)))
        #expect(keeper.isDrained(at: since + .seconds(10)))
        try self.apply(.drain(node: name, draining: false), group, leader)
        let after = self.news(&keeper, group, leader, self.peers(group, of: leader))
        #expect(after == holders.map { .joined($0) } + [.drains(false)])
        #expect(keeper.drainingSince == nil && !keeper.isDrained(at: since + .seconds(60)))
    }

    @Test func `who is to leave goes out of the queue, the wish to be rid of it at once`() throws {
        let (leader, group) = try self.group()
        var keeper = MemberKeeper()
        let gone = (leader + 1) % 3
        let member = group.members[gone]
        try self.apply(.wish(node: member.name, .leaving), group, leader)
        // Without it, no majority would answer.
        let silent = self.peers(group, of: leader) { $0.heardAt = group.now - .seconds(3) }
        #expect(self.keep(&keeper, group, leader, silent) == [])
        let removal = RemoveNode(node: member.name, incarnation: member.id, force: false)
        let peers = self.peers(group, of: leader)
        #expect(self.keep(&keeper, group, leader, peers) == [.remove(removal)])
        group.run(.milliseconds(200))
        let change = ConfigurationChange([MemberChange(.remove, member.id)])
        #expect(
            self.keep(&keeper, group, leader, self.peers(group, of: leader))
                == [.change(change)])
        // It is told, once.
        var own = MemberKeeper()
        let told = self.news(&own, group, gone, self.peers(group, of: gone))
        #expect(told.last == .removed)
        #expect(self.news(&own, group, gone, self.peers(group, of: gone)) == [])
    }

    @Test func `who has the last copy that can be reached does not leave`() throws {
        let (leader, group) = try self.group()
        let names = group.members.map { Holder(node: $0.name, incarnation: $0.id) }
        let (gone, other) = (names[(leader + 1) % 3], names[(leader + 2) % 3])
        var keeper = MemberKeeper()
        var settings = group.members[leader].machine.queue.settings
        settings.copies = 1
        let peers = self.peers(group, of: leader)
        #expect(
            self.keep(&keeper, group, leader, peers, settings: settings) == [.settings(settings)])
        group.run(.milliseconds(200))
        let tag = try #require(group.members[leader].drawTag())
        let message = Enqueue(
            envelope: Envelope(sender: "a@x.test", recipients: [Recipient(address: "b@y.test")]),
            destinations: ["y.test"],
            receipt: BodyReceipt(
                originalBytes: 10, storedBytes: 10, digest: .zero,
                holders: [gone, other].sorted()),
            acceptedAt: WallTime(milliseconds: 0), receivedFrom: "")
        #expect(group.members[leader].submit(tag, .enqueue(message)))
        group.run(.seconds(1))
        #expect(group.members[leader].machine.queue.counts.messages == 1)
        func cost(_ change: (inout MemberPeer) -> Void = { _ in }) -> [Int] {
            let peers = self.peers(group, of: leader, change)
            let cost = group.members[leader].machine.costOfLeaving(gone, peers)
            return [cost.lost, cost.below]
        }
        #expect(cost() == [0, 0])
        let isSilent = cost { if $0.name == other.node { $0.heardAt = group.now - .seconds(3) } }
        #expect(isSilent == [0, 1], "nobody knows whether it is there")
        // The other's disk is another one by now: what the old one had is gone.
        var guest = self.peer(other.node, Incarnation(raw: 77), group.now)
        guest.host = "w.test"
        guest.port = 2600
        let admission = Admission(
            node: other.node, incarnation: guest.incarnation, host: "w.test", port: 2600)
        var second = MemberKeeper()
        let lines = peers.lines.filter { $0.name != other.node } + [guest]
        let met = MemberPeers(own: names[leader], lines, now: group.now)
        #expect(self.keep(&second, group, leader, met).contains(.admit(admission)))
        group.run(.milliseconds(500))
        let now = group.members[leader].machine.costOfLeaving(gone, met)
        #expect([now.lost, now.below] == [1, 1])
        // It answers all the same: nobody has emptied it.
        #expect(cost() == [0, 0])
    }
}
