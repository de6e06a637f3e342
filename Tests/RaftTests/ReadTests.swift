// ReadTests.swift - reads that see everything acknowledged before them; duplicates.

import Primitives
import Testing

@testable import Raft

@Suite("Linearizable reads, thesis 6.4")
struct ReadTests {
    @Test func `a read waits for a round of heartbeats that began after it`() throws {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        // A round is under way already; its answers prove nothing for a read that comes now.
        rig.tick(1, 2)
        let old = rig.take { $0.isHeartbeat }
        try rig.at(1) { try $0.requestRead(7) }
        let fresh = rig.take { $0.isHeartbeat }
        #expect(fresh.map(\.to) == [2, 3])
        for message in old { rig.arrive(message) }
        rig.settle()
        #expect(rig.node(1).reads.isEmpty)
        rig.arrive(fresh[0])
        rig.settle()
        #expect(rig.node(1).reads == [ReadState(index: 1, request: 7)])
    }

    @Test func `it takes a majority's answers`() throws {
        let rig = Rig(voters: [1, 2, 3, 4, 5], learners: [6, 7])
        rig.elect(1)
        try rig.at(1) { try $0.requestRead(7) }
        rig.deliver { $0.isHeartbeat }
        rig.deliver { $0.isHeartbeatAnswer && [2, 6, 7].contains($0.from) }
        #expect(rig.node(1).reads.isEmpty)
        rig.deliver { $0.isHeartbeatAnswer && $0.from == 5 }
        #expect(rig.node(1).reads == [ReadState(index: 1, request: 7)])
    }

    @Test func `its index is the commit index of when it came, at least`() throws {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        try rig.propose(1, "a")
        rig.settle()
        try rig.at(1) { try $0.requestRead(7) }
        rig.settle()
        #expect(rig.node(1).reads == [ReadState(index: 2, request: 7)])
    }

    @Test func `a new leader first commits an entry of its term`() throws {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        try rig.propose(1, "a")
        rig.settle()
        rig.crash(1)
        for id: MemberID in [2, 3] { rig.quiet(id) }
        rig.campaign(2)
        while rig[2].role != .leader { rig.deliver { !$0.isAppend } }
        try rig.at(2) { try $0.requestRead(7) }
        rig.deliver { $0.isHeartbeat }
        rig.deliver { $0.isHeartbeatAnswer }
        #expect(rig.node(2).reads.isEmpty)
        rig.settle()
        #expect(rig[2].commit == 3)
        #expect(rig.node(2).reads == [ReadState(index: 3, request: 7)])
    }

    @Test func `a leader that was deposed without knowing answers no reads`() throws {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        rig.isolate(1)
        rig.elect(2)
        try rig.propose(2, "new")
        rig.settle()
        #expect(rig[1].role == .leader)
        try rig.at(1) { try $0.requestRead(7) }
        rig.settle()
        rig.heal()
        rig.tick(1, 2)
        rig.settle()
        #expect(rig[1].role == .follower)
        #expect(rig.node(1).reads.isEmpty)
    }

    @Test func `a follower asks its leader; without one it says so`() throws {
        let rig = Rig(voters: [1, 2, 3])
        #expect(throws: StepError.proposalDropped) {
            try rig.at(3) { try $0.requestRead(1) }
        }
        rig.elect(1)
        try rig.propose(1, "a")
        rig.settle()
        try rig.at(3) { try $0.requestRead(2) }
        rig.settle()
        #expect(rig.node(3).reads == [ReadState(index: 2, request: 2)])
        rig.campaign(3)
        #expect(throws: StepError.proposalDropped) {
            try rig.at(3) { try $0.requestRead(3) }
        }
    }

    @Test func `several reads are answered by one round, in order, each once`() throws {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        for request: UInt64 in 1...5 { try rig.at(1) { try $0.requestRead(request) } }
        // Only the last round is answered.
        let last = rig.take { $0.isHeartbeat }.last { $0.to == 2 }
        rig.arrive(try #require(last))
        rig.settle()
        #expect(rig.node(1).reads.map(\.request) == [1, 2, 3, 4, 5])
        rig.tick(1, 2)
        rig.settle()
        #expect(rig.node(1).reads.count == 5)
    }

    @Test func `as many reads wait as the limit says, and not one more`() throws {
        var leader = Solo(1, voters: [1, 2, 3]) { $0.readsMax = 3 }
        try leader.lead(helpers: 2)
        try leader.replica.requestRead(1)
        try leader.receive(2, term: 1, .appended(index: 1))
        for request: UInt64 in 2...3 { try leader.replica.requestRead(request) }
        #expect(throws: StepError.proposalDropped) { try leader.replica.requestRead(4) }
        try leader.receive(2, term: 1, .heartbeatAnswer(round: 3))
        #expect(leader.settle().readable.map(\.request) == [1, 2, 3])
        try leader.replica.requestRead(5)
    }

    @Test func `in a joint configuration both halves prove it`() throws {
        let rig = Rig(voters: [1, 2, 3], others: [4, 5])
        rig.elect(1)
        try rig.change(
            1, .explicit, MemberChange(.addVoter, 4), MemberChange(.addVoter, 5),
            MemberChange(.remove, 2), MemberChange(.remove, 3))
        for _ in 0..<3 {
            rig.settle()
            rig.tick(1, 2)
        }
        rig.settle()
        try rig.at(1) { try $0.requestRead(7) }
        rig.deliver { $0.isHeartbeat }
        rig.deliver { $0.isHeartbeatAnswer && [4, 5].contains($0.from) }
        #expect(rig.node(1).reads.isEmpty)
        rig.deliver { $0.isHeartbeatAnswer && $0.from == 3 }
        #expect(rig.node(1).reads.map(\.request) == [7])
    }

    @Test func `a voter alone commits an entry of its term first, too`() throws {
        // Up to 3 it had acknowledged; it has forgotten how much of that was committed.
        var alone = Solo(1, voters: [1], term: 3, terms: [1, 2, 3], commit: 1, applied: 1)
        alone.replica.campaign()
        while alone.raft.role != .leader { _ = alone.storeOne() }
        #expect(!alone.raft.hasCommittedInTerm)
        try alone.replica.requestRead(7)
        let early = alone.turn()
        #expect(early.readable.isEmpty)
        #expect(alone.settle().readable == [ReadState(index: 4, request: 7)])
        try alone.replica.requestRead(8)
        #expect(alone.settle().readable == [ReadState(index: 4, request: 8)])
    }
}

@Suite("Duplicates, thesis 6.3")
struct DuplicateTests {
    @Test func `a proposal that is sent twice is in the log twice: the state machine tells`() throws
    {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        try rig.propose(3, "x")
        let forwarded = rig.take()
        #expect(forwarded.map(\.body) == [.propose([Entry(data: Array("x".utf8))])])
        for message in forwarded + forwarded { rig.arrive(message) }
        rig.settle()
        #expect(rig.texts(1) == ["x", "x"])
        #expect(rig.texts(2) == ["x", "x"])
    }

    @Test func `a proposal of a leader that lost its office is gone or applied once`() throws {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        try rig.propose(1, "x")
        // It reaches 2 alone, which leads next and takes it over; the client asks there again.
        rig.deliver { $0.to == 2 }
        rig.take()
        rig.crash(1)
        rig.elect(2)
        try rig.propose(2, "x")
        rig.settle()
        #expect(rig.texts(3) == ["x", "x"])
    }

    @Test func `who does not hand proposals on says so`() throws {
        let rig = Rig(voters: [1, 2, 3]) { $0.forwardsProposals = false }
        rig.elect(1)
        #expect(throws: StepError.proposalDropped) { try rig.propose(3, "x") }
        try rig.propose(1, "y")
    }
}
