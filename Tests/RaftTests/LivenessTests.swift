// LivenessTests.swift - pre-votes, the check of the quorum, members that disturb.

import Primitives
import Testing

@testable import Raft

@Suite("Pre-vote, thesis 9.6")
struct PreVoteTests {
    @Test func `a candidate asks first, and changes neither term nor vote`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 3, vote: 2, terms: [1, 2])
        member.tick(19)
        let actions = member.settle()
        #expect(member.raft.role == .preCandidate)
        #expect(member.raft.hardState == HardState(term: 3, vote: 2, commit: 0))
        #expect(
            actions.stores.allSatisfy { $0.hardState == HardState(term: 3, vote: 2, commit: 0) })
        let ask = Message.Body.preVote(last: .at(2, 2), isTransfer: false)
        #expect(
            actions.sent == [
                Message(from: 1, to: 2, term: 4, ask), Message(from: 1, to: 3, term: 4, ask),
            ])
    }

    @Test func `a majority that would vote begins the election itself`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 3)
        member.replica.campaign()
        _ = member.settle()
        try member.receive(2, term: 4, .preVoteAnswer(isGranted: true))
        #expect(member.raft.role == .candidate)
        #expect(member.raft.hardState == HardState(term: 4, vote: 1, commit: 0))
    }

    @Test func `pre-votes are no votes`() throws {
        var member = Solo(1, voters: [1, 2, 3, 4, 5], term: 3)
        member.replica.campaign()
        _ = member.settle()
        for id: MemberID in [2, 3] {
            try member.receive(id, term: 4, .preVoteAnswer(isGranted: true))
        }
        #expect(member.raft.role == .candidate)
        _ = member.settle()
        for id: MemberID in [4, 5] {
            try member.receive(id, term: 4, .preVoteAnswer(isGranted: true))
        }
        #expect(member.raft.role == .candidate)
        // Nor are votes pre-votes.
        var asking = Solo(1, voters: [1, 2, 3], term: 3)
        asking.replica.campaign()
        _ = asking.settle()
        try asking.receive(2, term: 3, .voteAnswer(isGranted: true))
        #expect(asking.raft.role == .preCandidate)
    }

    @Test func `a majority that would not vote ends the matter in the old term`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 3)
        member.replica.campaign()
        _ = member.settle()
        try member.receive(2, term: 3, .preVoteAnswer(isGranted: false))
        try member.receive(3, term: 3, .preVoteAnswer(isGranted: false))
        #expect(member.raft.role == .follower)
        #expect(member.raft.term == 3)
    }

    @Test func `a pre-vote for a term that has begun is granted only to who has the vote`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 3, vote: 2)
        try member.receive(3, term: 3, .preVote(last: .zero, isTransfer: false))
        try member.receive(2, term: 3, .preVote(last: .zero, isTransfer: false))
        #expect(
            member.settle().sent.map(\.body) == [
                .preVoteAnswer(isGranted: false), .preVoteAnswer(isGranted: true),
            ])
    }

    @Test func `a member that was cut off does not disturb when it comes back`() throws {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        rig.isolate(3)
        rig.tick(3, 100)
        #expect(rig[3].term == 1)
        try rig.propose(1, "x")
        rig.settle()
        rig.heal()
        rig.tick(3, 19)
        rig.settle()
        #expect(rig[1].role == .leader)
        #expect(rig[1].term == 1)
        rig.tick(1, 2)
        rig.settle()
        #expect(rig[3].leader == 1)
        #expect(rig.texts(3) == ["x"])
    }
}

@Suite("Leaders without a quorum, thesis 6.2")
struct QuorumCheckTests {
    @Test func `a leader that hears no majority for an election timeout steps down`() {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        rig.isolate(1)
        // The first check finds what was heard before the cut.
        rig.tick(1, 10)
        #expect(rig[1].role == .leader)
        rig.tick(1, 10)
        #expect(rig[1].softState == SoftState(leader: .none, role: .follower))
        #expect(rig[1].term == 1)
    }

    @Test func `a leader that hears a majority stays, whatever the rest does`() {
        let rig = Rig(voters: [1, 2, 3, 4, 5], learners: [6])
        rig.elect(1)
        for id: MemberID in [4, 5, 6] { rig.crash(id) }
        for _ in 0..<100 {
            rig.tick(1)
            rig.settle()
        }
        #expect(rig[1].role == .leader)
        // A learner's word is no voter's.
        rig.crash(3)
        for _ in 0..<20 {
            rig.tick(1)
            rig.settle()
        }
        #expect(rig[1].role == .follower)
    }

    @Test func `a learner's answers keep no leader in office`() throws {
        let rig = Rig(voters: [1, 2, 3], learners: [4, 5])
        rig.elect(1)
        rig.crash(2)
        rig.crash(3)
        for _ in 0..<20 {
            rig.tick(1)
            rig.settle()
        }
        #expect(rig[1].role == .follower)
    }

    @Test func `without the check a leader stays for ever`() {
        let rig = Rig(voters: [1, 2, 3]) { $0.checksQuorum = false }
        rig.elect(1)
        rig.isolate(1)
        rig.tick(1, 100)
        #expect(rig[1].role == .leader)
    }

    @Test func `a leader that stepped down takes no proposals and drops its reads`() throws {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        rig.isolate(1)
        try rig.at(1) { try $0.requestRead(7) }
        rig.tick(1, 20)
        #expect(throws: StepError.proposalDropped) { try rig.propose(1, "x") }
        rig.heal()
        rig.settle()
        rig.elect(2)
        #expect(rig.node(1).reads.isEmpty)
    }
}

@Suite("Disruptive servers, thesis 4.2.3")
struct DisruptionTests {
    @Test func `who has heard a leader within the least timeout takes no ballot`() throws {
        for body: Message.Body in [
            .vote(last: .at(9, 3), isTransfer: false), .preVote(last: .at(9, 3), isTransfer: false),
        ] {
            var member = Solo(1, voters: [1, 2, 3], term: 3)
            try member.receive(2, term: 3, .heartbeat(commit: 0, round: 0))
            _ = member.settle()
            member.tick(9)
            try member.receive(3, term: 8, body)
            #expect(member.settle().isEmpty)
            #expect(member.raft.hardState == HardState(term: 3, vote: .none, commit: 0))
            #expect(member.raft.leader == 2)
            member.tick()
            try member.receive(3, term: 8, body)
            #expect(member.settle().sent.count == 1)
        }
    }

    @Test func `a leader takes no ballot while it leads`() throws {
        var leader = Solo(1, voters: [1, 2, 3])
        try leader.lead(helpers: 2)
        leader.tick(9)
        _ = leader.settle()
        try leader.receive(3, term: 8, .vote(last: .at(9, 3), isTransfer: false))
        #expect(leader.raft.role == .leader)
        #expect(leader.raft.term == 1)
    }

    @Test func `a transfer's ballot is taken though a leader is heard`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 3)
        try member.receive(2, term: 3, .heartbeat(commit: 0, round: 0))
        _ = member.settle()
        try member.receive(3, term: 4, .vote(last: .zero, isTransfer: true))
        #expect(member.settle().sent.map(\.body) == [.voteAnswer(isGranted: true)])
    }

    @Test func `a removed member does not disturb those that stay`() throws {
        let rig = Rig(voters: [1, 2, 3, 4])
        rig.elect(1)
        rig.isolate(4)
        try rig.change(1, .auto, MemberChange(.remove, 4))
        rig.settle()
        #expect(rig[2].configuration.voters == [1, 2, 3])
        rig.heal()
        // 4 never heard of its removal.
        for _ in 0..<60 {
            rig.tick(4)
            for id: MemberID in [1, 2, 3] { rig.tick(id) }
            rig.settle()
        }
        #expect(rig[1].role == .leader)
        #expect(rig[1].term == 1)
    }
}
