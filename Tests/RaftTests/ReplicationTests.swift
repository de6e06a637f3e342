// ReplicationTests.swift - entries on their way: consistency, conflicts, what counts as committed.

import Primitives
import Testing

@testable import Raft

@Suite("Log replication, thesis 3.5")
struct ReplicationTests {
    @Test func `a proposal gets the leader's term and the next index and goes to everybody`() throws
    {
        var leader = Solo(1, voters: [1, 2, 3])
        try leader.lead(helpers: 2)
        for id: MemberID in [2, 3] { try leader.receive(id, term: 1, .appended(index: 1)) }
        _ = leader.settle()
        try leader.replica.propose([Entry(data: [7]), Entry(term: 9, index: 9, data: [8])])
        let actions = leader.turn()
        let entries = [
            Entry(term: 1, index: 2, data: [7]), Entry(term: 1, index: 3, data: [8]),
        ]
        let append = Message.Body.append(previous: .at(1, 1), entries: entries, commit: 1)
        #expect(actions.sent(to: 2) == [append])
        #expect(actions.sent(to: 3) == [append])
        #expect(actions.stores.map(\.entries) == [entries])
        #expect(leader.raft.commit == 1)
    }

    @Test func `an entry is committed once a majority has stored it, then applied in order`() throws
    {
        var leader = Solo(1, voters: [1, 2, 3, 4, 5])
        try leader.lead(helpers: 2, 3)
        try leader.replica.propose([Entry(data: [7])])
        _ = leader.settle()
        try leader.receive(2, term: 1, .appended(index: 2))
        #expect(leader.raft.commit == 0)
        try leader.receive(4, term: 1, .appended(index: 1))
        #expect(leader.raft.commit == 1)
        #expect(leader.settle().applies.map(\.index) == [1])
        try leader.receive(3, term: 1, .appended(index: 2))
        #expect(leader.raft.commit == 2)
        #expect(leader.settle().applies.map(\.data) == [[7]])
        #expect(leader.raft.applied == 2)
    }

    @Test func `followers learn the commit index with the next append and apply in order`() throws {
        var member = Solo(1, voters: [1, 2, 3])
        try member.receive(
            2, term: 1,
            .append(
                previous: .zero, entries: [.at(1, 1), .at(2, 1, "a"), .at(3, 1, "b")], commit: 0))
        #expect(member.settle().applies.isEmpty)
        try member.receive(2, term: 1, .append(previous: .at(3, 1), entries: [], commit: 2))
        #expect(member.settle().applies.map(\.index) == [1, 2])
        try member.receive(2, term: 1, .heartbeat(commit: 3, round: 0))
        #expect(member.settle().applies.map(\.index) == [3])
    }

    @Test func `a follower without the entry in front refuses, and holds nothing new`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 2, terms: [1, 2])
        for previous: LogPosition in [.at(3, 2), .at(2, 1), .at(9, 2)] {
            try member.receive(
                2, term: 2,
                .append(previous: previous, entries: [.at(previous.index + 1, 2)], commit: 9)
            )
            let answers = member.settle().sent
            guard case .appendRejected(let index, _) = answers.first?.body else {
                Issue.record("\(answers)")
                continue
            }
            #expect(index == previous.index)
            #expect(member.raft.lastIndex == 2)
            #expect(member.raft.commit == 0)
        }
    }

    @Test func `an append with its place is taken, stored, and only then acknowledged`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 2, terms: [1, 2])
        try member.receive(
            2, term: 2, .append(previous: .at(2, 2), entries: [.at(3, 2)], commit: 0))
        let actions = member.turn()
        #expect(actions.stores.map(\.entries) == [[.at(3, 2)]])
        #expect(actions.sent.isEmpty)
        #expect(member.store().sent == [Message(from: 1, to: 2, term: 2, .appended(index: 3))])
    }

    @Test(arguments: [
        [1, 1, 1, 4, 4, 5, 5, 6, 6], [1, 1, 1, 4], [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7], [1, 1, 1, 4, 4, 4, 4],
        [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    ])
    func `the leader makes any follower's log like its own, figure 3.6`(terms: [UInt64]) throws {
        let rig = Rig(voters: [1, 2, 3])
        try rig.seed(1, terms: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6], term: 7)
        try rig.seed(2, terms: terms, term: 7)
        try rig.seed(3, terms: [1], term: 7)
        // 3 elects 1 whatever 2 thinks of it.
        rig.elect(1)
        #expect(rig.log(2) == rig.log(1))
        #expect(rig.log(3) == rig.log(1))
        #expect(rig[2].commit == rig[1].commit)
        #expect(rig[1].commit == 11)
    }

    @Test func `conflicting entries and all behind them go, and nothing else does`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 3, terms: [1, 1, 2, 2, 2])
        try member.receive(
            2, term: 4,
            .append(previous: .at(1, 1), entries: [.at(2, 1), .at(3, 3), .at(4, 3)], commit: 0))
        let stores = member.settle().stores
        #expect(stores.map(\.entries) == [[.at(3, 3), .at(4, 3)]])
        #expect(member.raft.log.term(at: 2) == 1)
        #expect(member.raft.last == .at(4, 3))
    }

    @Test func `an older append that comes late takes nothing away`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 2)
        let entries: [Entry] = [.at(1, 1), .at(2, 2), .at(3, 2)]
        try member.receive(2, term: 2, .append(previous: .zero, entries: entries, commit: 0))
        _ = member.settle()
        try member.receive(
            2, term: 2, .append(previous: .zero, entries: [entries[0]], commit: 0))
        #expect(member.settle().sent.map(\.body) == [.appended(index: 1)])
        #expect(member.raft.lastIndex == 3)
        try member.receive(2, term: 2, .append(previous: .at(1, 1), entries: [], commit: 0))
        #expect(member.raft.lastIndex == 3)
    }

    @Test func `the same append twice changes nothing the second time`() throws {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        try rig.propose(1, "x")
        let appends = rig.take { $0.isAppend }
        for message in appends + appends + appends { rig.arrive(message) }
        rig.settle()
        #expect(rig.log(2) == ["1:", "1:x"])
        #expect(rig.texts(2) == ["x"])
        #expect(rig.texts(3) == ["x"])
    }

    @Test func `a leader never changes or removes entries of its own log`() throws {
        let rig = Rig(voters: [1, 2, 3])
        try rig.seed(1, terms: [1, 1, 2], term: 4)
        try rig.seed(3, terms: [1, 1, 1, 1, 1, 1], term: 4)
        rig.elect(1)
        #expect(rig.log(1) == ["1:1.1", "1:1.2", "2:2.3", "5:"])
        #expect(rig.log(3) == rig.log(1))
    }

    @Test func `what is lost is sent again`() throws {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        rig.crash(3)
        try rig.propose(1, "x")
        rig.take { $0.to == 2 }
        #expect(rig[1].commit == 1)
        // Nothing is known to be lost: the heartbeat's answer tells that the follower is behind.
        for _ in 0..<3 {
            rig.tick(1, 2)
            rig.settle()
        }
        #expect(rig[1].commit == 2)
        #expect(rig.texts(2) == ["x"])
    }

    @Test func `a follower that was out of reach and missed nothing is found again`() throws {
        var leader = Solo(1, voters: [1, 2, 3])
        try leader.lead(helpers: 2)
        try leader.receive(2, term: 1, .appended(index: 1))
        _ = leader.settle()
        leader.replica.reportUnreachable(2)
        #expect(leader.raft.membership.peers[1].progress.state == .probe)
        try leader.receive(2, term: 1, .heartbeatAnswer(round: 0))
        #expect(
            leader.settle().sent(to: 2) == [.append(previous: .at(1, 1), entries: [], commit: 1)])
        try leader.receive(2, term: 1, .appended(index: 1))
        #expect(leader.raft.membership.peers[1].progress.state == .replicate)
    }

    @Test func `going back to the common part takes a message a term, not one an entry`() throws {
        let rig = Rig(voters: [1, 2, 3])
        let common: [UInt64] = Array(repeating: 1, count: 20)
        try rig.seed(1, terms: common + Array(repeating: 5, count: 40), term: 6)
        try rig.seed(
            2, terms: common + Array(repeating: 2, count: 30) + Array(repeating: 3, count: 30),
            term: 6)
        try rig.seed(3, terms: common, term: 6)
        rig.crash(3)
        rig.quiet(2)
        rig.campaign(1)
        var refusals = 0
        while true {
            let messages = rig.take()
            if messages.isEmpty { break }
            for message in messages {
                if case .appendRejected = message.body { refusals += 1 }
                rig.arrive(message)
            }
        }
        #expect(rig[1].role == .leader)
        #expect(rig.log(2) == rig.log(1))
        #expect((1...3).contains(refusals))
    }

    @Test func `a follower that is far behind takes entries in messages of limited size`() throws {
        let rig = Rig(voters: [1, 2, 3]) {
            $0.appendBytesMax = 40
            $0.inFlightMessagesMax = 3
        }
        rig.elect(1)
        rig.crash(3)
        for n in 0..<30 { try rig.propose(1, "text \(n)") }
        rig.settle()
        try rig.restart(3)
        rig.tick(1, 2)
        var most = 0
        while true {
            let messages = rig.take()
            if messages.isEmpty { break }
            most = max(most, messages.count { $0.to == 3 && !$0.texts.isEmpty })
            for message in messages {
                #expect(message.texts.count <= 4)
                rig.arrive(message)
            }
        }
        #expect(rig.texts(3).count == 30)
        #expect((2...3).contains(most))
    }
}

@Suite("Committing entries of earlier terms, thesis 3.6.2")
struct EarlierTermTests {
    /// Figure 3.7 up to (c): term 4 is led by 1, its entry of term 2 is on a majority.
    private func figure() throws -> Rig {
        let rig = Rig(voters: [1, 2, 3, 4, 5]) {
            $0.appendBytesMax = 1
            $0.inFlightMessagesMax = 1
        }
        // (a) 1 led term 2 and reached 2. (b) 5, elected in term 3 by 3, 4 and itself, has an
        // entry of its own; it crashes.
        try rig.seed(1, terms: [1, 2], term: 3)
        try rig.seed(2, terms: [1, 2], term: 3)
        try rig.seed(3, terms: [1], term: 3, vote: 5)
        try rig.seed(4, terms: [1], term: 3, vote: 5)
        try rig.seed(5, terms: [1, 3], term: 3, vote: 5)
        rig.crash(5)
        rig.cut(1, 4)
        // (c) 1 is elected in term 4, and only its old entry reaches 3.
        for id: MemberID in [2, 3] { rig.quiet(id) }
        rig.campaign(1)
        while rig[3].lastIndex < 2 {
            let messages = rig.take()
            #expect(!messages.isEmpty)
            for message in messages where !(message.isAppend && message.to == 2) {
                rig.arrive(message)
            }
        }
        #expect(rig[1].role == .leader)
        #expect(rig[1].term == 4)
        #expect(rig.log(1) == ["1:1.1", "2:2.2", "4:"])
        return rig
    }

    @Test func `an entry of an older term on a majority is not committed, figure 3.7 d`() throws {
        let rig = try self.figure()
        // 3 and 2 say that they have stored the entry of term 2; with 1 they are a majority.
        rig.deliver { $0.isAppended && $0.from == 3 }
        rig.arrive(Message(from: 2, to: 1, term: 4, .appended(index: 2)))
        #expect(rig[1].membership.peers.map(\.progress.match) == [3, 2, 2, 0, 0])
        #expect(rig.log(3) == ["1:1.1", "2:2.2"])
        #expect(rig[1].commit == 0)
        // (d) 1 crashes; 5 comes back, is elected by 2, 3, 4 and overwrites the entry.
        rig.take()
        rig.crash(1)
        try rig.restart(5)
        rig.elect(5)
        #expect(rig[5].term == 5)
        for id: MemberID in [2, 3, 4] { #expect(rig.log(id) == rig.log(5)) }
        #expect(rig.log(5).prefix(2) == ["1:1.1", "3:3.2"])
        #expect(rig[5].commit == 3)
    }

    @Test func `an own entry on a majority commits the older ones, figure 3.7 e`() throws {
        let rig = try self.figure()
        // (e) before 1 crashes, its entry of term 4 reaches 3 and 2.
        for _ in 0..<3 {
            rig.settle()
            rig.tick(1, 2)
        }
        #expect(rig[1].commit == 3)
        #expect(rig.log(3) == ["1:1.1", "2:2.2", "4:"])
        rig.crash(1)
        try rig.restart(5)
        for id: MemberID in [2, 3, 4] { rig.quiet(id) }
        rig.campaign(5)
        rig.settle()
        #expect(rig[5].role != .leader)
        rig.elect(2)
        for id: MemberID in [3, 4, 5] { #expect(rig.log(id) == rig.log(2)) }
        #expect(rig.log(5).prefix(3) == ["1:1.1", "2:2.2", "4:"])
    }

    @Test func `acknowledgements of an older term's entries commit nothing by themselves`() throws {
        var leader = Solo(1, voters: [1, 2, 3], term: 3, terms: [1, 2])
        try leader.lead(helpers: 2)
        try leader.receive(2, term: 4, .appended(index: 2))
        try leader.receive(3, term: 4, .appended(index: 2))
        #expect(leader.raft.commit == 0)
        try leader.receive(2, term: 4, .appended(index: 3))
        #expect(leader.raft.commit == 3)
    }

    @Test func `a leader's first act is an empty entry of its own term`() throws {
        var leader = Solo(1, voters: [1, 2, 3], term: 3, terms: [1, 2])
        try leader.lead(helpers: 2)
        #expect(Rig.log(leader.raft).last == "4:")
        #expect(leader.raft.last == .at(3, 4))
    }
}

@Suite("Crashes, thesis 3.7")
struct CrashTests {
    @Test func `a follower that crashed gets what it missed, and what it has once only`() throws {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        try rig.propose(1, "a")
        rig.settle()
        rig.crash(3)
        try rig.propose(1, "b")
        rig.settle()
        try rig.restart(3)
        try rig.propose(1, "c")
        rig.tick(1, 2)
        rig.settle()
        #expect(rig.log(3) == ["1:", "1:a", "1:b", "1:c"])
        #expect(rig.texts(3) == ["a", "b", "c"])
    }

    @Test func `an append that was stored but not answered before the crash is taken again`() throws
    {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        rig.isolate(2)
        try rig.propose(1, "a")
        let append = rig.take { $0.isAppend && $0.to == 3 }
        for message in append { rig.arrive(message) }
        rig.take()
        rig.crash(3)
        try rig.restart(3)
        #expect(rig.log(3) == ["1:", "1:a"])
        for message in append { rig.arrive(message) }
        rig.settle()
        #expect(rig.log(3) == ["1:", "1:a"])
        #expect(rig[1].commit == 2)
    }

    @Test func `a leader that crashed comes back as a follower and catches up`() throws {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        rig.isolate(1)
        try rig.propose(1, "lost")
        rig.settle()
        rig.crash(1)
        rig.heal()
        rig.elect(2)
        try rig.propose(2, "kept")
        rig.settle()
        try rig.restart(1)
        #expect(rig[1].role == .follower)
        rig.tick(2, 2)
        rig.settle()
        #expect(rig.log(1) == ["1:", "2:", "2:kept"])
        #expect(rig.texts(1) == ["kept"])
    }
}

@Suite("Persistent state, thesis 3.8")
struct PersistenceTests {
    @Test func `term, vote and log survive; the vote is not given twice`() throws {
        let rig = Rig(voters: [1, 2, 3])
        try rig.seed(3, terms: [1, 2], term: 2)
        rig.arrive(Message(from: 2, to: 3, term: 5, .vote(last: .at(2, 2), isTransfer: false)))
        #expect(rig.take().map(\.body) == [.voteAnswer(isGranted: true)])
        rig.crash(3)
        try rig.restart(3)
        #expect(rig[3].term == 5)
        #expect(rig[3].vote == 2)
        #expect(rig.log(3) == ["1:1.1", "2:2.2"])
        rig.arrive(Message(from: 1, to: 3, term: 5, .vote(last: .at(9, 4), isTransfer: false)))
        #expect(rig.take().map(\.body) == [.voteAnswer(isGranted: false)])
    }

    @Test func `no answer leaves before what it promises is stored`() throws {
        let bodies: [Message.Body] = [
            .vote(last: .at(2, 2), isTransfer: false),
            .append(previous: .at(2, 2), entries: [.at(3, 5)], commit: 0),
            .append(previous: .at(9, 2), entries: [], commit: 0),
        ]
        for body in bodies {
            var member = Solo(1, voters: [1, 2, 3], term: 2, terms: [1, 2])
            try member.receive(2, term: 5, body)
            let actions = member.turn()
            #expect(actions.sent.isEmpty)
            #expect(actions.stores.map(\.hardState?.term) == [5])
            #expect(member.store().sent.count == 1)
        }
    }

    @Test func `the commit index need not be stored: it is learned again`() throws {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        try rig.propose(1, "a")
        rig.settle()
        #expect(rig.node(2).disk.hardStates.allSatisfy { $0.commit == 0 })
        for id: MemberID in [1, 2, 3] { rig.crash(id) }
        for id: MemberID in [1, 2, 3] { try rig.restart(id) }
        #expect(rig[2].commit == 0)
        rig.elect(2)
        for id: MemberID in [1, 2, 3] { #expect(rig.texts(id) == ["a"]) }
    }

    @Test func `what was applied at the checkpoint is not applied again`() throws {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        try rig.propose(1, "a")
        rig.settle()
        rig.checkpoint(2)
        try rig.propose(1, "b")
        rig.settle()
        rig.crash(2)
        try rig.restart(2)
        #expect(rig.texts(2) == ["a"])
        #expect(rig[2].applied == 2)
        rig.tick(1, 2)
        rig.settle()
        #expect(rig.texts(2) == ["a", "b"])
    }
}

extension Raft {
    var last: LogPosition { self.log.last }
}
