// ElectionTests.swift - terms, timeouts, ballots: one test for each sentence that we rely on.

import Primitives
import Testing

@testable import Raft

@Suite("Terms, thesis 3.3")
struct TermTests {
    @Test func `whoever hears of a greater term takes it and follows`() throws {
        for body: Message.Body in [
            .heartbeat(commit: 0, round: 0), .append(previous: .zero, entries: [], commit: 0),
            .appended(index: 0), .heartbeatAnswer(round: 0), .voteAnswer(isGranted: false),
            .vote(last: .at(9, 8), isTransfer: true), .preVoteAnswer(isGranted: false),
        ] {
            var leader = Solo(1, voters: [1, 2, 3])
            try leader.lead(helpers: 2)
            try leader.receive(3, term: 9, body)
            #expect(leader.raft.role == .follower)
            #expect(leader.raft.term == 9)

            var candidate = Solo(1, voters: [1, 2, 3]) { $0.preVotes = false }
            candidate.replica.campaign()
            #expect(candidate.raft.role == .candidate)
            try candidate.receive(3, term: 9, body)
            #expect(candidate.raft.role == .follower)
            #expect(candidate.raft.term == 9)
        }
    }

    @Test func `a greater term comes without a vote`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 4, vote: 2)
        try member.receive(3, term: 5, .heartbeat(commit: 0, round: 0))
        #expect(member.raft.hardState == HardState(term: 5, vote: .none, commit: 0))
        #expect(member.raft.leader == 3)
    }

    @Test func `a leader of an older term learns the present one and changes nothing`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 5, terms: [1, 1])
        try member.receive(
            2, term: 4, .append(previous: .at(2, 1), entries: [.at(3, 4, "x")], commit: 3))
        #expect(
            member.settle().sent == [Message(from: 1, to: 2, term: 5, .appended(index: 0))])
        try member.receive(2, term: 4, .heartbeat(commit: 2, round: 1))
        #expect(
            member.settle().sent == [Message(from: 1, to: 2, term: 5, .appended(index: 0))])
        #expect(member.raft.lastIndex == 2)
        #expect(member.raft.commit == 0)
        #expect(member.raft.leader == .none)
    }

    @Test func `a candidate of an older term gets no vote`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 5)
        try member.receive(2, term: 4, .vote(last: .at(9, 3), isTransfer: false))
        #expect(member.settle().isEmpty)
        #expect(member.raft.vote == .none)
    }

    @Test func `answers of an older term count for nothing`() throws {
        var leader = Solo(1, voters: [1, 2, 3], term: 5)
        try leader.lead(helpers: 2)
        #expect(leader.raft.term == 6)
        try leader.receive(2, term: 5, .appended(index: 1))
        #expect(leader.raft.commit == 0)
        try leader.receive(2, term: 6, .appended(index: 1))
        #expect(leader.raft.commit == 1)

        var candidate = Solo(1, voters: [1, 2, 3], term: 5) { $0.preVotes = false }
        candidate.replica.campaign()
        try candidate.receive(2, term: 5, .voteAnswer(isGranted: true))
        try candidate.receive(3, term: 5, .voteAnswer(isGranted: true))
        #expect(candidate.raft.role == .candidate)
    }
}

@Suite("Leader election, thesis 3.4")
struct ElectionTests {
    @Test func `a member begins as a follower of nobody`() {
        let member = Solo(1, voters: [1, 2, 3], term: 3, vote: 2)
        #expect(member.raft.softState == SoftState(leader: .none, role: .follower))
        #expect(member.raft.hardState == HardState(term: 3, vote: 2, commit: 0))
    }

    @Test func `an election timeout without a leader begins an election in a new term`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 3) { $0.preVotes = false }
        member.tick(18)
        #expect(member.turn().isEmpty)
        member.tick()
        #expect(member.raft.hardState == HardState(term: 4, vote: 1, commit: 0))
        let actions = member.settle()
        #expect(actions.stores.map(\.hardState?.term) == [4])
        #expect(
            actions.sent == [
                Message(from: 1, to: 2, term: 4, .vote(last: .zero, isTransfer: false)),
                Message(from: 1, to: 3, term: 4, .vote(last: .zero, isTransfer: false)),
            ])
    }

    @Test func `a word of the leader puts the election off`() throws {
        for body: Message.Body in [
            .heartbeat(commit: 0, round: 0), .append(previous: .zero, entries: [], commit: 0),
        ] {
            var member = Solo(1, voters: [1, 2, 3], term: 3)
            member.tick(18)
            try member.receive(2, term: 3, body)
            member.tick(18)
            #expect(member.raft.role == .follower)
            member.tick()
            #expect(member.raft.role == .preCandidate)
        }
    }

    @Test func `a vote that is granted puts the own election off, a refused one does not`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 3, terms: [1, 2])
        member.tick(15)
        try member.receive(2, term: 4, .vote(last: .at(2, 2), isTransfer: false))
        member.tick(15)
        #expect(member.raft.role == .follower)

        // In a term that it knows already, too.
        var same = Solo(1, voters: [1, 2, 3], term: 4, terms: [1, 2])
        same.tick(15)
        try same.receive(2, term: 4, .vote(last: .at(2, 2), isTransfer: false))
        same.tick(15)
        #expect(same.raft.role == .follower)

        var other = Solo(1, voters: [1, 2, 3], term: 3, terms: [1, 2])
        other.tick(15)
        try other.receive(2, term: 3, .vote(last: .at(2, 1), isTransfer: false))
        other.tick(4)
        #expect(other.raft.role == .preCandidate)
    }

    @Test(arguments: [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (6, 3), (7, 3)])
    func `a majority of all voters makes a leader, one less does not`(
        voters: Int, helpers: Int
    ) throws {
        let all = (1...UInt64(voters)).map(MemberID.init(raw:))
        var member = Solo(1, voters: all) { $0.preVotes = false }
        member.replica.campaign()
        #expect(member.raft.role == .candidate)
        _ = member.turn()
        for id in all.dropFirst().prefix(helpers) {
            try member.receive(id, term: 1, .voteAnswer(isGranted: true))
            _ = member.turn()
            #expect(member.raft.role == .candidate)
        }
        // Its own vote is the last one.
        _ = member.store()
        #expect(member.raft.role == .leader)
    }

    @Test func `refusals of a majority end the candidacy, and the term stays`() throws {
        var member = Solo(1, voters: [1, 2, 3, 4, 5]) { $0.preVotes = false }
        member.replica.campaign()
        _ = member.settle()
        for id: MemberID in [2, 3] {
            try member.receive(id, term: 1, .voteAnswer(isGranted: false))
            #expect(member.raft.role == .candidate)
        }
        try member.receive(4, term: 1, .voteAnswer(isGranted: false))
        #expect(member.raft.softState == SoftState(leader: .none, role: .follower))
        #expect(member.raft.hardState == HardState(term: 1, vote: 1, commit: 0))
    }

    @Test func `one member's vote counts once, and its first word counts`() throws {
        var member = Solo(1, voters: [1, 2, 3, 4, 5]) { $0.preVotes = false }
        member.replica.campaign()
        _ = member.settle()
        for _ in 0..<3 { try member.receive(2, term: 1, .voteAnswer(isGranted: true)) }
        try member.receive(3, term: 1, .voteAnswer(isGranted: false))
        try member.receive(3, term: 1, .voteAnswer(isGranted: true))
        #expect(member.raft.role == .candidate)
        try member.receive(4, term: 1, .voteAnswer(isGranted: true))
        #expect(member.raft.role == .leader)
    }

    @Test func `each member votes for one candidate in a term, for the first that comes`() throws {
        var member = Solo(1, voters: [1, 2, 3])
        try member.receive(2, term: 1, .vote(last: .zero, isTransfer: false))
        try member.receive(3, term: 1, .vote(last: .zero, isTransfer: false))
        try member.receive(2, term: 1, .vote(last: .zero, isTransfer: false))
        let answers = member.settle().sent
        #expect(answers.map(\.to) == [2, 3, 2])
        #expect(
            answers.map(\.body) == [
                .voteAnswer(isGranted: true), .voteAnswer(isGranted: false),
                .voteAnswer(isGranted: true),
            ])
        #expect(member.raft.vote == 2)
    }

    @Test func `a candidate that hears a leader of its term follows it, of an older one not`()
        throws
    {
        for body: Message.Body in [
            .heartbeat(commit: 0, round: 0), .append(previous: .zero, entries: [], commit: 0),
        ] {
            var member = Solo(1, voters: [1, 2, 3], term: 3) { $0.preVotes = false }
            member.replica.campaign()
            _ = member.settle()
            try member.receive(2, term: 3, body)
            #expect(member.raft.role == .candidate)
            try member.receive(2, term: 4, body)
            #expect(member.raft.softState == SoftState(leader: 2, role: .follower))
            // The vote for itself stays: it was given in this very term.
            #expect(member.raft.vote == 1)
        }
    }

    @Test func `a split vote ends with the next timeout, in a greater term`() {
        let rig = Rig(voters: [1, 2, 3, 4]) { $0.preVotes = false }
        rig.campaign(1)
        rig.campaign(2)
        rig.deliver { $0.isVote && ($0.from == 1 && $0.to == 3 || $0.from == 2 && $0.to == 4) }
        rig.deliver { $0.isVoteAnswer }
        rig.settle()
        #expect(rig.leader == nil)
        #expect(rig[1].term == 1 && rig[2].term == 1)
        rig.tick(1, 19)
        rig.settle()
        #expect(rig.leader == 1)
        #expect(rig[1].term == 2)
    }

    @Test func `election timeouts are drawn anew, evenly, from one interval`() {
        var counts = Array(repeating: 0, count: 30)
        var dice = Generator(seed: 34)
        for _ in 0..<2000 {
            var member = Solo(1, voters: [1, 2, 3]) { $0.preVotes = false }
            member.tick(1, random: dice.next())
            member.replica.campaign()
            counts[member.raft.drawnElectionTicks] += 1
        }
        for (ticks, count) in counts.enumerated() {
            if (10..<20).contains(ticks) { #expect((140...260).contains(count)) }
            if !(10..<20).contains(ticks) { #expect(count == 0) }
        }
    }

    @Test func `a leader announces itself at once and again with every heartbeat`() throws {
        var leader = Solo(1, voters: [1, 2, 3]) { $0.preVotes = false }
        leader.replica.campaign()
        _ = leader.settle()
        try leader.receive(2, term: 1, .voteAnswer(isGranted: true))
        let first = Message.Body.append(previous: .zero, entries: [.at(1, 1)], commit: 0)
        let actions = leader.settle()
        #expect(actions.sent(to: 2) == [first])
        #expect(actions.sent(to: 3) == [first])
        leader.tick()
        #expect(leader.turn().isEmpty)
        leader.tick()
        let beat = Message.Body.heartbeat(commit: 0, round: 0)
        let beats = leader.turn()
        #expect(beats.sent(to: 2) == [beat])
        #expect(beats.sent(to: 3) == [beat])
    }
}

@Suite("Election restriction, thesis 3.6.1")
struct RestrictionTests {
    @Test(arguments: [
        (LogPosition.at(3, 2), true), (.at(4, 2), true), (.at(1, 3), true), (.at(2, 2), false),
        (.at(9, 1), false), (.zero, false),
    ])
    func `a vote goes only to a log that is at least as up to date`(
        last: LogPosition, isGranted: Bool
    ) throws {
        var member = Solo(1, voters: [1, 2, 3], term: 3, terms: [1, 1, 2])
        try member.receive(2, term: 4, .preVote(last: last, isTransfer: false))
        #expect(member.settle().sent.map(\.body) == [.preVoteAnswer(isGranted: isGranted)])
        try member.receive(2, term: 4, .vote(last: last, isTransfer: false))
        #expect(member.settle().sent.map(\.body) == [.voteAnswer(isGranted: isGranted)])
        #expect(member.raft.vote == (isGranted ? 2 : .none))
    }

    @Test func `a refused ballot of a greater term still brings the term`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 3, terms: [1, 1, 2])
        try member.receive(2, term: 7, .vote(last: .at(1, 1), isTransfer: false))
        #expect(
            member.settle().sent == [
                Message(from: 1, to: 2, term: 7, .voteAnswer(isGranted: false))
            ])
        #expect(member.raft.hardState == HardState(term: 7, vote: .none, commit: 0))
    }

    @Test func `a member without a committed entry cannot be elected`() throws {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        rig.isolate(3)
        try rig.propose(1, "x")
        rig.settle()
        #expect(rig[1].commit == 2)
        rig.heal()
        rig.crash(1)
        rig.quiet(2)
        rig.campaign(3)
        rig.settle()
        #expect(rig[3].role != .leader)
        rig.elect(2)
        #expect(rig.texts(2) == ["x"])
        #expect(rig.texts(3) == ["x"])
    }
}
