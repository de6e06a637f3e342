// PitfallElectionTests.swift - how groups have split or stood still, rows 23 … 32, 37, 38, 48, 49.
//
// See       the table of pitfalls; each test's name begins with its row.

import Primitives
import Testing

@testable import Raft

@Suite("Pitfalls: elections and members")
struct PitfallElectionTests {
    @Test func `row 23: a member is a value with one owner, and the same events make the same one`()
        throws
    {
        var member = Solo(1, voters: [1, 2, 3])
        try member.lead(helpers: 2)
        let before = member.replica
        var fork = member
        try fork.receive(3, term: 9, .heartbeat(commit: 0, round: 0))
        fork.tick(5)
        #expect(fork.raft.term == 9)
        #expect(member.replica == before)
        var other = Solo(1, voters: [1, 2, 3])
        try other.lead(helpers: 2)
        #expect(other.replica == before)
    }

    @Test func `row 24: a leader that hears nobody gives way, though it is heard`() {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        rig.silence(from: 2, to: 1)
        rig.silence(from: 3, to: 1)
        for _ in 0..<60 {
            for id: MemberID in [1, 2, 3] { rig.tick(id, random: id.raw) }
            rig.settle()
        }
        #expect(rig[1].role != .leader)
        let leader = rig.leader
        #expect(leader == 2 || leader == 3)
    }

    @Test func `row 24: a leader with a majority is not disturbed by who misses it alone`() {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        rig.cut(1, 3)
        for _ in 0..<100 {
            for id: MemberID in [1, 2, 3] { rig.tick(id, random: id.raw) }
            rig.settle()
        }
        #expect(rig[1].role == .leader)
        #expect(rig[1].term == 1)
    }

    @Test func `row 25: a pre-vote that is granted changes nothing at all`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 3, vote: 2, terms: [1])
        member.tick(12)
        _ = member.settle()
        let before = member.raft
        try member.receive(3, term: 4, .preVote(last: .at(1, 1), isTransfer: false))
        let actions = member.settle()
        #expect(
            actions.sent == [Message(from: 1, to: 3, term: 4, .preVoteAnswer(isGranted: true))])
        #expect(member.raft == before)
        // And grants as many as are asked for.
        try member.receive(2, term: 4, .preVote(last: .at(1, 1), isTransfer: false))
        #expect(member.settle().sent.map(\.body) == [.preVoteAnswer(isGranted: true)])
        member.tick(7)
        #expect(member.raft.role == .preCandidate)
    }

    @Test func `row 25: only a refusal's greater term is taken over`() throws {
        for isGranted in [true, false] {
            var member = Solo(1, voters: [1, 2, 3, 4, 5], term: 3)
            member.replica.campaign()
            _ = member.settle()
            try member.receive(2, term: 8, .preVoteAnswer(isGranted: isGranted))
            #expect(member.raft.term == (isGranted ? 3 : 8))
        }
    }

    @Test func `row 26: a refusal brings the term to who is behind`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 8, terms: [1])
        try member.receive(2, term: 4, .preVote(last: .at(9, 3), isTransfer: false))
        let answer = try #require(member.settle().sent.first)
        #expect(answer == Message(from: 1, to: 2, term: 8, .preVoteAnswer(isGranted: false)))
        var behind = Solo(2, voters: [1, 2, 3], term: 3)
        behind.replica.campaign()
        _ = behind.settle()
        try behind.replica.step(answer)
        #expect(behind.raft.term == 8)
        #expect(behind.raft.role == .follower)
    }

    @Test func `row 26: candidates of both kinds answer pre-votes`() throws {
        var asking = Solo(1, voters: [1, 2, 3], term: 3)
        asking.replica.campaign()
        _ = asking.settle()
        try asking.receive(2, term: 4, .preVote(last: .zero, isTransfer: false))
        #expect(asking.settle().sent.map(\.body) == [.preVoteAnswer(isGranted: true)])
        #expect(asking.raft.role == .preCandidate)
        var candidate = Solo(1, voters: [1, 2, 3], term: 3) { $0.preVotes = false }
        candidate.replica.campaign()
        _ = candidate.settle()
        try candidate.receive(2, term: 5, .preVote(last: .zero, isTransfer: false))
        #expect(candidate.settle().sent.map(\.body) == [.preVoteAnswer(isGranted: true)])
    }

    @Test(arguments: [
        ([2, 3, 5], [1, 2, 3]), ([5, 3, 2], [1, 2, 3]), ([9, 1, 1], [1, 4, 4]),
        ([1, 9, 4], [3, 1, 2]), ([7, 7, 7], [1, 1, 1]),
    ])
    func `row 26: from any mixture of terms and logs a leader emerges`(
        terms: [UInt64], lengths: [Int]
    ) throws {
        let rig = Rig(voters: [1, 2, 3])
        for (at, id) in [MemberID](arrayLiteral: 1, 2, 3).enumerated() {
            try rig.seed(
                id, terms: Array(repeating: 1, count: lengths[at]), term: terms[at], vote: id)
        }
        var dice = Generator(seed: 26)
        for _ in 0..<400 where rig.leader == nil {
            for id: MemberID in [1, 2, 3] { rig.tick(id, random: dice.next()) }
            rig.settle()
        }
        #expect(rig.leader != nil)
    }

    @Test func `row 27: a new leader knows of no pending change and takes none until it does`()
        throws
    {
        let rig = Rig(voters: [1, 2, 3, 4], others: [5])
        rig.elect(1)
        rig.cut(1, 3)
        rig.cut(1, 4)
        try rig.change(1, .auto, MemberChange(.remove, 4))
        rig.settle()
        // 2 has the change; nobody knows whether it is committed.
        rig.crash(1)
        for id: MemberID in [3, 4] { rig.quiet(id) }
        rig.campaign(2)
        while rig[2].role != .leader { rig.deliver { !$0.isAppend } }
        let change = ConfigurationChange([MemberChange(.addVoter, 5)])
        #expect(rig[2].refusal(of: change) == .pending)
        rig.settle()
        #expect(rig[2].configuration.voters == [1, 2, 3])
        #expect(rig[2].refusal(of: change) == nil)
    }

    @Test func `row 28: a change that is overwritten never was`() throws {
        let rig = Rig(voters: [1, 2, 3], others: [4])
        rig.elect(1)
        rig.isolate(1)
        try rig.change(1, .auto, MemberChange(.addVoter, 4))
        rig.settle()
        rig.elect(2)
        try rig.propose(2, "x")
        rig.settle()
        rig.heal()
        rig.tick(2, 2)
        rig.settle()
        #expect(rig.log(1) == ["1:", "2:", "2:x"])
        #expect(rig[1].configuration.voters == [1, 2, 3])
    }

    @Test func `row 28: a checkpoint holds what is applied, and a restart forgets nothing`() throws
    {
        let rig = Rig(voters: [1, 2, 3], others: [4])
        rig.elect(1)
        rig.hold(2, applies: true)
        try rig.change(1, .auto, MemberChange(.addVoter, 4))
        rig.settle()
        rig.tick(1, 2)
        rig.settle()
        #expect(rig[1].configuration.voters == [1, 2, 3, 4])
        #expect(rig[2].commit == 2)
        rig.checkpoint(2)
        #expect(rig.node(2).disk.configuration.voters == [1, 2, 3])
        rig.crash(2)
        try rig.restart(2)
        rig.hold(2, applies: false)
        rig.tick(1, 2)
        rig.settle()
        #expect(rig[2].configuration.voters == [1, 2, 3, 4])
    }

    @Test func `row 28: a committed change that is not applied stays the election`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 1, terms: [1])
        var change = ConfigurationChange([MemberChange(.remove, 3)]).entry()
        change.term = 1
        change.index = 2
        try member.receive(2, term: 1, .append(previous: .at(1, 1), entries: [change], commit: 2))
        _ = member.turn()
        _ = member.store()
        member.tick(40)
        member.replica.campaign()
        #expect(member.raft.role == .follower)
        #expect(member.replica.apply(change)?.voters == [1, 2])
        member.replica.applied(Applied(index: 2, sizeBytes: 0, dataBytes: 0))
        member.replica.campaign()
        #expect(member.raft.role == .preCandidate)
    }

    @Test func `row 28: who knew a change committed knows it after a crash`() throws {
        // 1 removes 3 and then 2; 2 has both entries and knows that the first is committed.
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        rig.isolate(3)
        rig.hold(2, applies: true)
        try rig.change(1, .auto, MemberChange(.remove, 3))
        rig.settle()
        try rig.change(1, .auto, MemberChange(.remove, 2))
        rig.settle()
        #expect(rig[1].configuration.voters == [1])
        try rig.propose(1, "alone")
        #expect(rig.texts(1) == ["alone"])
        rig.settle()
        rig.crash(1)
        rig.crash(2)
        try rig.restart(2)
        rig.heal()
        // With 3 it must not lead: 1 has gone on by itself.
        rig.quiet(3)
        for _ in 0..<3 {
            rig.campaign(2)
            rig.settle()
        }
        #expect(rig[2].role != .leader)
    }

    @Test func `row 29: a learner in its own eyes votes for who counts it`() throws {
        var learner = Solo(1, voters: [2, 3], learners: [1], term: 3, terms: [1])
        try learner.receive(2, term: 4, .preVote(last: .at(1, 1), isTransfer: false))
        try learner.receive(2, term: 4, .vote(last: .at(1, 1), isTransfer: false))
        #expect(
            learner.settle().sent.map(\.body) == [
                .preVoteAnswer(isGranted: true), .voteAnswer(isGranted: true),
            ])
    }

    @Test func `row 30: words of who is no member any more count for nothing`() throws {
        var leader = Solo(1, voters: [1, 2, 3, 4])
        try leader.lead(helpers: 2, 3)
        for id: MemberID in [2, 3] { try leader.receive(id, term: 1, .appended(index: 1)) }
        _ = leader.settle()
        try leader.replica.propose([ConfigurationChange([MemberChange(.remove, 4)]).entry()])
        _ = leader.settle()
        for id: MemberID in [2, 3] { try leader.receive(id, term: 1, .appended(index: 2)) }
        _ = leader.settle()
        #expect(leader.raft.configuration.voters == [1, 2, 3])
        try leader.replica.propose([Entry(data: [1])])
        _ = leader.settle()
        for body: Message.Body in [
            .appended(index: 3), .heartbeatAnswer(round: 1), .voteAnswer(isGranted: true),
            .appendRejected(index: 3, hint: .zero),
        ] {
            #expect(throws: StepError.unknownPeer) { try leader.receive(4, term: 1, body) }
        }
        #expect(leader.raft.commit == 2)
        try leader.receive(3, term: 1, .appended(index: 3))
        #expect(leader.raft.commit == 3)

        var candidate = Solo(1, voters: [1, 2, 3]) { $0.preVotes = false }
        candidate.replica.campaign()
        _ = candidate.settle()
        for id: MemberID in [7, 8, 9] {
            #expect(throws: StepError.unknownPeer) {
                try candidate.receive(id, term: 1, .voteAnswer(isGranted: true))
            }
        }
        #expect(candidate.raft.role == .candidate)
    }

    @Test func `row 31: a leader that shall go hands over first, or steps down and another leads`()
        throws
    {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        try rig.change(1, .auto, MemberChange(.remove, 1))
        rig.settle()
        #expect(rig[1].role == .follower)
        #expect(throws: StepError.proposalDropped) { try rig.propose(1, "x") }
        for _ in 0..<40 where rig.leader == nil {
            for id: MemberID in [1, 2, 3] { rig.tick(id, random: id.raw) }
            rig.settle()
        }
        #expect(rig.leader == 2 || rig.leader == 3)
    }

    @Test func `row 32: a message for another identity is not for this member`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 3)
        let before = member.raft
        let message = Message(from: 2, to: 4, term: 9, .vote(last: .at(9, 8), isTransfer: false))
        #expect(throws: StepError.malformed("addressee")) { try member.replica.step(message) }
        #expect(member.raft == before)
    }

    @Test func `row 32: a member without the log that it had acknowledged says so`() throws {
        // Its disk was wiped, its name was not.
        var wiped = Solo(1, voters: [1, 2, 3])
        #expect(throws: StepError.contradiction("a leader knows entries here that are not")) {
            try wiped.receive(2, term: 3, .heartbeat(commit: 5, round: 0))
        }
        #expect(wiped.raft.commit == 0)
    }

    @Test func `row 37: what only one term's leader may author is never handed on`() throws {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        try rig.at(1) { try $0.propose([1], onlyInTerm: 1) }
        #expect(rig[1].lastIndex == 2)
        #expect(throws: StepError.proposalDropped) {
            try rig.at(1) { try $0.propose([1], onlyInTerm: 2) }
        }
        #expect(throws: StepError.proposalDropped) {
            try rig.at(3) { try $0.propose([1], onlyInTerm: 1) }
        }
        rig.settle()
        rig.elect(2)
        rig.elect(1)
        #expect(rig[1].term > 1)
        let last = rig[1].lastIndex
        #expect(throws: StepError.proposalDropped) {
            try rig.at(1) { try $0.propose([1], onlyInTerm: 1) }
        }
        #expect(rig[1].lastIndex == last)
    }

    @Test func `row 38: a stale leader proves nothing with answers to older heartbeats`() throws {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        try rig.at(1) { try $0.requestRead(1) }
        rig.deliver { $0.isHeartbeat }
        let answers = rig.take { $0.isHeartbeatAnswer }
        rig.isolate(1)
        rig.elect(2)
        rig.heal()
        // Asked after the others have gone on; the answers are to what was sent before.
        try rig.at(1) { try $0.requestRead(2) }
        rig.take()
        for answer in answers + answers { rig.arrive(answer) }
        #expect(rig.node(1).reads.map(\.request) == [1])
    }

    @Test func `row 48: the word to take over goes to who has stored everything`() throws {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        rig.hold(2, stores: true)
        try rig.propose(1, "x")
        rig.settle()
        rig.at(1) { $0.transferLeadership(to: 2) }
        rig.settle()
        #expect(rig[2].lastIndex == 2)
        #expect(rig[2].role == .follower)
        rig.hold(2, stores: false)
        rig.settle()
        #expect(rig[2].role == .leader)
    }

    @Test func `row 48: a member that is removed is not handed anything`() throws {
        var leader = Solo(1, voters: [1, 2, 3])
        try leader.lead(helpers: 2)
        for id: MemberID in [2, 3] { try leader.receive(id, term: 1, .appended(index: 1)) }
        _ = leader.settle()
        try leader.replica.propose([ConfigurationChange([MemberChange(.remove, 3)]).entry()])
        _ = leader.settle()
        leader.replica.transferLeadership(to: 3)
        try leader.receive(2, term: 1, .appended(index: 2))
        _ = leader.settle()
        #expect(leader.raft.configuration.voters == [1, 2])
        #expect(leader.raft.transferee == .none)
        try leader.replica.propose([Entry(data: [1])])
    }

    @Test func `row 49: what is committed is handed out once in a life, in order, by any leader`()
        throws
    {
        let rig = Rig(voters: [1, 2, 3])
        var expected: [String] = []
        for (at, id) in [MemberID](arrayLiteral: 1, 2, 3, 1, 3, 2).enumerated() {
            rig.elect(id)
            try rig.propose(id, "\(at)")
            expected.append("\(at)")
            rig.settle()
        }
        let last = try #require(rig.leader)
        rig.tick(last, 2)
        rig.settle()
        for id: MemberID in [1, 2, 3] { #expect(rig.texts(id) == expected) }
        // The next life begins behind its checkpoint.
        rig.checkpoint(3)
        rig.crash(3)
        try rig.restart(3)
        rig.tick(last, 2)
        rig.settle()
        #expect(rig.texts(3) == expected)
    }
}
