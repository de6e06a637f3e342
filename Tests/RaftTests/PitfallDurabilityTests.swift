// PitfallDurabilityTests.swift - how consensus has lost data, rows 1 … 12: what is stored when.
//
// See       the table of pitfalls; each test's name begins with its row.

import Primitives
import Testing

@testable import Raft

@Suite("Pitfalls: durability")
struct PitfallDurabilityTests {
    @Test func `row 1: a vote leaves when it is stored, and a crash before that takes it back`()
        throws
    {
        let rig = Rig(voters: [1, 2, 3])
        rig.hold(3, stores: true)
        rig.arrive(Message(from: 1, to: 3, term: 5, .vote(last: .zero, isTransfer: false)))
        #expect(rig.take().isEmpty)
        rig.crash(3)
        try rig.restart(3)
        #expect(rig[3].hardState == .empty)
        // Nobody was promised anything: the other one may have it.
        rig.arrive(Message(from: 2, to: 3, term: 5, .vote(last: .zero, isTransfer: false)))
        rig.hold(3, stores: false)
        #expect(rig.take().map(\.body) == [.voteAnswer(isGranted: true)])
        #expect(rig[3].vote == 2)
    }

    @Test func `row 1: the own vote counts when it is stored`() throws {
        var member = Solo(1, voters: [1, 2, 3]) { $0.preVotes = false }
        member.replica.campaign()
        _ = member.turn()
        try member.receive(2, term: 1, .voteAnswer(isGranted: true))
        _ = member.turn()
        #expect(member.raft.role == .candidate)
        _ = member.store()
        #expect(member.raft.role == .leader)
    }

    @Test func `row 1: a candidate asks for votes when its own is stored`() {
        var member = Solo(1, voters: [1, 2, 3]) { $0.preVotes = false }
        member.replica.campaign()
        let actions = member.turn()
        #expect(actions.stores.map(\.hardState) == [HardState(term: 1, vote: 1, commit: 0)])
        #expect(actions.sent.isEmpty)
        #expect(member.store().sent.map(\.isVote) == [true, true])
    }

    @Test func `row 1: no member leads one term twice`() throws {
        // 1 is elected by the votes of the others while its own is on its way to the disk.
        let rig = Rig(voters: [1, 2, 3])
        rig.hold(1, stores: true)
        rig.campaign(1)
        rig.settle()
        if rig[1].role == .leader {
            try rig.propose(1, "x")
            rig.deliver { $0.to == 2 }
            rig.take()
        }
        let led = rig[1].role == .leader ? rig[1].term : 0
        rig.crash(1)
        try rig.restart(1)
        rig.hold(1, stores: false)
        for id: MemberID in [2, 3] { rig.quiet(id) }
        rig.cut(1, 2)
        rig.campaign(1)
        rig.settle()
        #expect(rig[1].role != .leader || rig[1].term > led)
        if rig[1].role == .leader {
            try rig.propose(1, "y")
            rig.settle()
            rig.heal()
            for _ in 0..<4 {
                rig.tick(1, 2)
                rig.settle()
            }
        }
        #expect(Set([1, 2, 3].map { rig.texts($0) }).count == 1)
    }

    @Test func `row 2: term and vote are one record`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 2, vote: 3)
        try member.receive(2, term: 5, .vote(last: .zero, isTransfer: false))
        let stores = member.turn().stores
        #expect(stores.map(\.hardState) == [HardState(term: 5, vote: 2, commit: 0)])
    }

    @Test func `row 3: stepping down within a term keeps the vote`() throws {
        // A candidate that finds the term's leader.
        var member = Solo(1, voters: [1, 2, 3], term: 4) { $0.preVotes = false }
        member.replica.campaign()
        _ = member.settle()
        try member.receive(2, term: 5, .heartbeat(commit: 0, round: 0))
        #expect(member.raft.role == .follower)
        #expect(member.raft.vote == 1)
        // A leader without a quorum.
        var leader = Solo(1, voters: [1, 2, 3], term: 4)
        try leader.lead(helpers: 2)
        leader.tick(20)
        _ = leader.settle()
        #expect(leader.raft.softState == SoftState(leader: .none, role: .follower))
        try leader.receive(3, term: 5, .vote(last: .at(9, 4), isTransfer: false))
        #expect(leader.settle().sent.map(\.body) == [.voteAnswer(isGranted: false)])
    }

    @Test func `row 4: a term never goes back, whatever the log loses`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 7, terms: [1, 5, 6, 6])
        try member.receive(
            2, term: 8, .append(previous: .at(1, 1), entries: [.at(2, 2)], commit: 0))
        _ = member.settle()
        #expect(member.raft.term == 8)
        #expect(member.raft.last == .at(2, 2))
        try member.receive(
            3, term: 3, .append(previous: .at(1, 1), entries: [.at(2, 3)], commit: 0))
        #expect(member.raft.term == 8)
        #expect(member.raft.last == .at(2, 2))

        let rig = Rig(voters: [1, 2, 3])
        try rig.seed(1, terms: [1, 5, 6], term: 7)
        rig.arrive(
            Message(
                from: 2, to: 1, term: 8,
                .append(previous: .at(1, 1), entries: [.at(2, 2)], commit: 0)))
        rig.crash(1)
        try rig.restart(1)
        #expect(rig[1].term == 8)
        #expect(rig[1].last == .at(2, 2))
    }

    @Test func `row 5: counting copies commits entries of the own term only`() throws {
        var leader = Solo(1, voters: [1, 2, 3, 4, 5], term: 4, terms: [1, 2, 4])
        try leader.lead(helpers: 2, 3)
        for id: MemberID in [2, 3, 4, 5] {
            try leader.receive(id, term: 5, .appended(index: 3))
        }
        #expect(leader.raft.commit == 0)
        for id: MemberID in [2, 3] { try leader.receive(id, term: 5, .appended(index: 4)) }
        #expect(leader.raft.commit == 4)
    }

    @Test func `row 6: the first entry of a term is empty, and reads wait for it`() throws {
        var leader = Solo(1, voters: [1, 2, 3], term: 4, terms: [1, 2, 4], commit: 2)
        try leader.lead(helpers: 2)
        try leader.replica.requestRead(7)
        let early = leader.settle()
        #expect(early.readable.isEmpty)
        #expect(early.sent.filter(\.isHeartbeat).isEmpty)
        try leader.receive(2, term: 5, .appended(index: 4))
        #expect(leader.settle().sent.filter(\.isHeartbeat).count == 2)
        try leader.receive(2, term: 5, .heartbeatAnswer(round: 1))
        #expect(leader.settle().readable == [ReadState(index: 4, request: 7)])
    }

    @Test func `row 7: a leader's own copy counts when it is stored`() throws {
        let rig = Rig(voters: [1])
        rig.elect(1)
        rig.hold(1, stores: true)
        try rig.propose(1, "x")
        #expect(rig[1].lastIndex == 2)
        #expect(rig[1].commit == 1)
        #expect(rig.texts(1).isEmpty)
        rig.crash(1)
        try rig.restart(1)
        #expect(rig.log(1) == ["1:"])

        var leader = Solo(1, voters: [1, 2, 3])
        try leader.lead(helpers: 2)
        try leader.replica.propose([Entry(data: [1])])
        _ = leader.turn()
        try leader.receive(2, term: 1, .appended(index: 2))
        #expect(leader.raft.commit < 2)
        _ = leader.store()
        #expect(leader.raft.commit == 2)
    }

    @Test func `row 8: an acknowledgement is of what this leader's append vouches for`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 2, terms: [1, 2, 2, 2])
        // The log goes to 4; the new leader knows of it only up to 1.
        try member.receive(2, term: 3, .append(previous: .at(1, 1), entries: [], commit: 0))
        #expect(member.settle().sent.map(\.body) == [.appended(index: 1)])
        // It replaces 2 … 4; until that is stored nothing from 2 on is acknowledged.
        try member.receive(
            2, term: 3, .append(previous: .at(1, 1), entries: [.at(2, 3)], commit: 0))
        let actions = member.turn()
        #expect(actions.sent.isEmpty)
        #expect(member.raft.log.stored == 1)
        try member.receive(2, term: 3, .append(previous: .at(1, 1), entries: [], commit: 0))
        #expect(member.turn().sent.isEmpty)
        #expect(member.store().sent.map(\.body) == [.appended(index: 2), .appended(index: 1)])
    }

    @Test func `row 9: a commit index goes no further than what its message matches`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 2, terms: [1, 2, 2])
        try member.receive(2, term: 3, .append(previous: .at(1, 1), entries: [], commit: 3))
        #expect(member.raft.commit == 1)
        try member.receive(
            2, term: 3, .append(previous: .at(1, 1), entries: [.at(2, 3)], commit: 9))
        #expect(member.raft.commit == 2)
        #expect(member.raft.lastIndex == 2)

        // A leader tells by heartbeat only what the follower is known to have.
        var leader = Solo(1, voters: [1, 2, 3])
        try leader.lead(helpers: 2)
        try leader.receive(2, term: 1, .appended(index: 1))
        _ = leader.settle()
        leader.tick(2)
        let beats = leader.turn()
        #expect(beats.sent(to: 2) == [.heartbeat(commit: 1, round: 0)])
        #expect(beats.sent(to: 3) == [.heartbeat(commit: 0, round: 0)])
    }

    @Test func `row 10: a late store of entries that were overwritten counts for nothing`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 2, terms: [1])
        // A: 2@2, its store begins. B: another leader's 2@3. A again: 2@2 of the next leader.
        try member.receive(
            2, term: 2, .append(previous: .at(1, 1), entries: [.at(2, 2)], commit: 0))
        _ = member.turn()
        try member.receive(
            3, term: 3, .append(previous: .at(1, 1), entries: [.at(2, 3)], commit: 0))
        _ = member.turn()
        try member.receive(
            2, term: 4, .append(previous: .at(1, 1), entries: [.at(2, 2)], commit: 2))
        #expect(member.turn().applies.map(\.index) == [1])
        #expect(member.tickets.count == 3)
        member.replica.applied(Applied(index: 1, sizeBytes: 0, dataBytes: 0))
        // The first A is stored; B is still going to overwrite it.
        var actions = member.storeOne()
        #expect(member.raft.log.stored == 1)
        #expect(actions.applies.isEmpty)
        actions = member.storeOne()
        #expect(member.raft.log.stored == 1)
        #expect(actions.applies.isEmpty)
        actions = member.storeOne()
        #expect(member.raft.log.stored == 2)
        #expect(actions.applies.map(\.index) == [2])
        #expect(actions.sent.map(\.term) == [4])
    }

    @Test func `row 10: entries that were never given to the store are not stored`() throws {
        // Nobody sound replaces entries of its own term; whoever does must not be believed more
        // than the store.
        var member = Solo(1, voters: [1, 2, 3], term: 6, terms: [1])
        try member.receive(
            2, term: 6,
            .append(previous: .at(1, 1), entries: [.at(2, 5), .at(3, 5), .at(4, 6)], commit: 0))
        _ = member.turn()
        try member.receive(
            2, term: 6,
            .append(previous: .at(1, 1), entries: [.at(2, 6), .at(3, 6), .at(4, 6)], commit: 0))
        let stores = member.storeOne().stores
        #expect(member.raft.log.stored == 1)
        #expect(stores.map(\.entries) == [[.at(2, 6), .at(3, 6), .at(4, 6)]])
        _ = member.store()
        #expect(member.raft.log.stored == 4)
    }

    @Test func `row 11: a ballot claims only what is stored`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 2, terms: [1]) { $0.preVotes = false }
        try member.receive(
            2, term: 2, .append(previous: .at(1, 1), entries: [.at(2, 2), .at(3, 2)], commit: 0))
        _ = member.turn()
        member.tick(19)
        #expect(member.raft.role == .candidate)
        #expect(member.turn().sent.isEmpty)
        // The entries are on disk; term and vote are not.
        #expect(member.storeOne().sent.filter(\.isVote).isEmpty)
        let votes = member.store().sent.filter(\.isVote)
        #expect(votes.map(\.to) == [2, 3])
        #expect(votes.first?.body == .vote(last: .at(3, 2), isTransfer: false))
    }

    @Test func `row 11: a late vote for a longer log elects nobody after a crash`() throws {
        // 3 led term 1 and committed x with 2. 1 has x in memory only and stands for election.
        let rig = Rig(voters: [1, 2, 3]) { $0.preVotes = false }
        rig.elect(3)
        rig.hold(1, stores: true)
        try rig.propose(3, "x")
        rig.settle()
        #expect(rig[3].commit == 2)
        rig.crash(3)
        rig.quiet(2)
        rig.campaign(1)
        rig.deliver { $0.isVote }
        let late = rig.take { $0.isVoteAnswer }
        rig.crash(1)
        try rig.restart(1)
        rig.hold(1, stores: false)
        rig.campaign(1)
        rig.take()
        for answer in late { rig.arrive(answer) }
        #expect(rig[1].role != .leader)
    }

    @Test func `row 12: nothing is applied here before it is stored here`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 2, terms: [1])
        try member.receive(
            2, term: 2, .append(previous: .at(1, 1), entries: [.at(2, 2), .at(3, 2)], commit: 3))
        #expect(member.turn().applies.map(\.index) == [1])
        #expect(member.store().applies.map(\.index) == [2, 3])
    }
}
