// TransferTests.swift - a leader hands over.

import Primitives
import Testing

@testable import Raft

@Suite("Leadership transfer, thesis 3.10")
struct TransferTests {
    @Test func `the leader tells a member that has everything to begin an election at once`() throws
    {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        rig.at(1) { $0.transferLeadership(to: 2) }
        #expect(rig[1].transferee == 2)
        rig.deliver { $0.isTimeoutNow }
        // No pre-vote, and the others are told that the leader wishes it.
        let votes = rig.take { $0.isVote }
        #expect(votes.map(\.to) == [1, 3])
        #expect(votes.allSatisfy { $0.body == .vote(last: .at(1, 1), isTransfer: true) })
        for vote in votes { rig.arrive(vote) }
        rig.settle()
        #expect(rig[2].role == .leader)
        #expect(rig[1].softState == SoftState(leader: 2, role: .follower))
        #expect(rig[2].term == 2)
    }

    @Test func `one that lags behind is brought up to date first`() throws {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        rig.isolate(2)
        for text in ["a", "b"] { try rig.propose(1, text) }
        rig.settle()
        rig.heal()
        rig.at(1) { $0.transferLeadership(to: 2) }
        #expect(rig.take { $0.isTimeoutNow }.isEmpty)
        rig.tick(1, 2)
        rig.settle()
        #expect(rig[2].role == .leader)
        #expect(rig.texts(2) == ["a", "b"])
    }

    @Test func `meanwhile the leader takes no proposals`() throws {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        rig.isolate(2)
        rig.at(1) { $0.transferLeadership(to: 2) }
        #expect(throws: StepError.proposalDropped) { try rig.propose(1, "x") }
        #expect(rig[1].lastIndex == 1)
    }

    @Test func `after an election timeout the leader goes on as before`() throws {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        rig.tick(1, 5)
        rig.settle()
        rig.isolate(2)
        rig.at(1) { $0.transferLeadership(to: 2) }
        for _ in 0..<9 {
            rig.tick(1)
            rig.settle()
        }
        #expect(rig[1].transferee == 2)
        rig.tick(1)
        #expect(rig[1].transferee == .none)
        try rig.propose(1, "x")
        rig.settle()
        #expect(rig[1].role == .leader)
        #expect(rig.texts(3) == ["x"])
    }

    @Test func `asked twice for the same the time does not begin anew; another one replaces it`() {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        rig.isolate(2)
        rig.at(1) { $0.transferLeadership(to: 2) }
        rig.tick(1, 9)
        rig.at(1) { $0.transferLeadership(to: 2) }
        rig.tick(1)
        #expect(rig[1].transferee == .none)
        rig.at(1) { $0.transferLeadership(to: 2) }
        rig.at(1) { $0.transferLeadership(to: 3) }
        #expect(rig[1].transferee == 3)
        rig.settle()
        #expect(rig[3].role == .leader)
    }

    @Test func `to itself, to a learner, to a stranger: nothing happens`() throws {
        let rig = Rig(voters: [1, 2, 3], learners: [4])
        rig.elect(1)
        for id: MemberID in [1, 4, 9, .none] {
            let actions = rig.at(1) { $0.transferLeadership(to: id) }
            #expect(actions.isEmpty)
            #expect(rig[1].transferee == .none)
        }
        try rig.propose(1, "x")
    }

    @Test func `a follower hands the wish on, a candidate has nobody to hand it to`() {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        rig.at(3) { $0.transferLeadership(to: 3) }
        #expect(rig.take() == [Message(from: 3, to: 1, term: 1, .transferLeader)])
        rig.at(3) { $0.transferLeadership(to: 2) }
        rig.settle()
        #expect(rig[2].role == .leader)
        rig.isolate(3)
        rig.campaign(3)
        rig.take()
        rig.at(3) { $0.transferLeadership(to: 3) }
        #expect(rig.take().isEmpty)
    }

    @Test func `who must not stand does not, though it is told to`() throws {
        var learner = Solo(1, voters: [2, 3], learners: [1], term: 3)
        try learner.receive(2, term: 3, .timeoutNow)
        #expect(learner.settle().isEmpty)
        var stranger = Solo(1, voters: [2, 3], term: 3)
        try stranger.receive(2, term: 3, .timeoutNow)
        #expect(stranger.settle().isEmpty)
        #expect(stranger.raft.term == 3)
        // An old leader's word of an older term.
        var member = Solo(1, voters: [1, 2, 3], term: 3)
        try member.receive(2, term: 2, .timeoutNow)
        #expect(member.settle().isEmpty)
    }

    @Test func `a leader that is asked to take over leads already`() throws {
        var leader = Solo(1, voters: [1, 2, 3])
        try leader.lead(helpers: 2)
        _ = leader.settle()
        try leader.receive(2, term: 1, .timeoutNow)
        #expect(leader.raft.role == .leader)
        #expect(leader.raft.term == 1)
    }
}
