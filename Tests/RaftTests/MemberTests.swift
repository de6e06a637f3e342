// MemberTests.swift - who is a member changes: singly, by learners, through joint configurations.

import Primitives
import Testing

@testable import Raft

@Suite("Single changes, thesis 4.1")
struct SingleChangeTests {
    @Test func `a member is added and gets the log`() throws {
        let rig = Rig(voters: [1, 2, 3], others: [4])
        rig.elect(1)
        try rig.propose(1, "a")
        try rig.change(1, .auto, MemberChange(.addVoter, 4))
        rig.settle()
        rig.tick(1, 2)
        rig.settle()
        for id: MemberID in [1, 2, 3, 4] {
            #expect(rig[id].configuration == Configuration(voters: [1, 2, 3, 4]))
            #expect(rig.texts(id) == ["a"])
        }
    }

    @Test func `a change is in force when it is applied, not before`() throws {
        let rig = Rig(voters: [1, 2, 3], others: [4, 5])
        rig.elect(1)
        rig.crash(3)
        try rig.change(1, .auto, MemberChange(.addVoter, 4))
        #expect(rig[1].configuration.voters == [1, 2, 3])
        // Two of three commit it; from then on three of four are needed.
        rig.deliver { $0.to == 2 }
        rig.deliver { $0.to == 1 }
        #expect(rig[1].configuration.voters == [1, 2, 3, 4])
        rig.cut(1, 4)
        try rig.propose(1, "x")
        rig.settle()
        #expect(rig[1].commit == 2)
        rig.heal()
        for _ in 0..<4 {
            rig.tick(1, 2)
            rig.settle()
        }
        #expect(rig.texts(4) == ["x"])
    }

    @Test func `no change is taken while one is not applied`() throws {
        let rig = Rig(voters: [1, 2, 3], others: [4, 5])
        rig.elect(1)
        rig.hold(1, applies: true)
        try rig.change(1, .auto, MemberChange(.addVoter, 4))
        let change = ConfigurationChange([MemberChange(.addVoter, 5)])
        #expect(rig[1].refusal(of: change) == .pending)
        try rig.change(1, .auto, MemberChange(.addVoter, 5))
        rig.settle()
        // Committed, yet not applied.
        #expect(rig[1].commit == 3)
        #expect(rig[1].refusal(of: change) == .pending)
        #expect(rig.log(1) == ["1:", "1:*", "1:"])
        rig.hold(1, applies: false)
        rig.settle()
        #expect(rig[1].configuration.voters == [1, 2, 3, 4])
        #expect(rig[1].refusal(of: change) == nil)
    }

    @Test func `in one proposal only the first change is taken`() throws {
        var leader = Solo(1, voters: [1, 2, 3])
        try leader.lead(helpers: 2)
        try leader.receive(2, term: 1, .appended(index: 1))
        _ = leader.settle()
        try leader.replica.propose([
            ConfigurationChange([MemberChange(.addVoter, 4)]).entry(),
            ConfigurationChange([MemberChange(.addVoter, 5)]).entry(),
        ])
        #expect(Rig.log(leader.raft) == ["1:", "1:*", "1:"])
    }

    @Test func `none before an entry of the own term is committed, the erratum of 2015`() throws {
        var leader = Solo(1, voters: [1, 2, 3, 4], term: 1, terms: [1])
        try leader.lead(helpers: 2, 3)
        let change = ConfigurationChange([MemberChange(.addVoter, 5)])
        #expect(leader.raft.refusal(of: change) == .pending)
        try leader.replica.propose([change.entry()])
        #expect(Rig.log(leader.raft).last == "2:")
        #expect(leader.raft.lastIndex == 3)
        for id: MemberID in [2, 3] { try leader.receive(id, term: 2, .appended(index: 3)) }
        _ = leader.settle()
        #expect(leader.raft.refusal(of: change) == nil)
        try leader.replica.propose([change.entry()])
        #expect(Rig.log(leader.raft).last == "2:*")
    }

    @Test func `the erratum's run: two leaders, two changes, no two majorities apart`() throws {
        // 1 adds 5 and only keeps the entry itself; 2 is elected without it and removes 1; then 1
        // comes back to the fore. Each of the two configurations alone would have a majority.
        let rig = Rig(voters: [1, 2, 3, 4], others: [5])
        rig.elect(1)
        for id: MemberID in [2, 3, 4] { rig.cut(1, id) }
        try rig.change(1, .auto, MemberChange(.addVoter, 5))
        rig.settle()
        rig.elect(2)
        try rig.change(2, .auto, MemberChange(.remove, 1))
        rig.settle()
        #expect(rig[2].configuration.voters == [2, 3, 4])
        try rig.propose(2, "x")
        rig.settle()
        #expect(rig.texts(2) == ["x"])
        // 1 and 5 would be a majority of {1, 5} only; 1 finds that it is behind.
        rig.crash(2)
        rig.tick(1, 20)
        rig.heal()
        rig.campaign(1)
        rig.settle()
        #expect(rig[1].role != .leader)
        rig.elect(3)
        #expect(rig.texts(3) == ["x"])
        #expect(rig[3].configuration.voters == [2, 3, 4])
    }

    @Test func `what is impossible is refused and leaves an empty entry`() throws {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        let all = ConfigurationChange(
            [1, 2, 3].map { MemberChange(.remove, MemberID(raw: $0)) })
        #expect(rig[1].refusal(of: all) == .impossible(.noVoters))
        #expect(rig[1].refusal(of: .leaveJoint) == .notJoint)
        try rig.at(1) { try $0.propose([all.entry()]) }
        rig.settle()
        #expect(rig[1].configuration.voters == [1, 2, 3])
        #expect(rig.log(1) == ["1:", "1:"])
    }

    @Test func `adding who is there and removing who is not changes nothing`() throws {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        try rig.change(1, .auto, MemberChange(.addVoter, 2))
        rig.settle()
        try rig.change(1, .auto, MemberChange(.remove, 9))
        rig.settle()
        #expect(rig[2].configuration == Configuration(voters: [1, 2, 3]))
        #expect(rig.log(1) == ["1:", "1:*", "1:*"])
    }
}

@Suite("Learners, thesis 4.2.1")
struct LearnerTests {
    @Test func `a learner gets the log and applies it, and counts for nothing`() throws {
        let rig = Rig(voters: [1, 2, 3], learners: [4])
        rig.elect(1)
        rig.crash(2)
        rig.cut(1, 3)
        try rig.propose(1, "x")
        rig.settle()
        #expect(rig[4].lastIndex == 2)
        #expect(rig[1].commit == 1)
        rig.heal()
        for _ in 0..<3 {
            rig.tick(1, 2)
            rig.settle()
        }
        #expect(rig.texts(4) == ["x"])
    }

    @Test func `a learner never stands, however long it hears nobody`() {
        let rig = Rig(voters: [2], learners: [1])
        rig.tick(1, 100)
        rig.campaign(1)
        #expect(rig.take().isEmpty)
        #expect(rig[1].role == .follower)
        #expect(rig[1].term == 0)
    }

    @Test func `a learner's vote does not count; its answers need no quorum's check`() throws {
        var member = Solo(1, voters: [1, 2, 3], learners: [4, 5]) { $0.preVotes = false }
        member.replica.campaign()
        let asked = member.settle().sent.map(\.to)
        #expect(asked == [2, 3])
        for id: MemberID in [4, 5] {
            try member.receive(id, term: 1, .voteAnswer(isGranted: true))
        }
        #expect(member.raft.role == .candidate)
    }

    @Test func `a learner that has caught up is made a voter, and may lead`() throws {
        let rig = Rig(voters: [1], others: [2])
        rig.elect(1)
        try rig.propose(1, "a")
        try rig.change(1, .auto, MemberChange(.addLearner, 2))
        rig.settle()
        rig.tick(1, 2)
        rig.settle()
        #expect(rig[1].membership.peers.last?.progress.match == rig[1].lastIndex)
        try rig.change(1, .auto, MemberChange(.addVoter, 2))
        rig.settle()
        #expect(rig[2].configuration == Configuration(voters: [1, 2]))
        rig.at(1) { $0.transferLeadership(to: 2) }
        rig.settle()
        #expect(rig[2].role == .leader)
    }

    @Test func `a learner far behind gets a snapshot, then the log`() throws {
        let rig = Rig(voters: [1, 2], others: [3])
        rig.elect(1)
        for text in ["a", "b", "c"] { try rig.propose(1, text) }
        rig.settle()
        rig.checkpoint(1)
        #expect(rig[1].firstIndex == 5)
        try rig.change(1, .auto, MemberChange(.addLearner, 3))
        rig.settle()
        rig.tick(1, 2)
        var snapshots = 0
        while true {
            let messages = rig.take()
            if messages.isEmpty { break }
            snapshots += messages.count(where: \.isSnapshot)
            for message in messages { rig.arrive(message) }
        }
        // The first does not know the learner; one that does must be offered.
        rig.checkpoint(1)
        rig.at(1) { $0.reportSnapshot(3, isInstalled: false) }
        for _ in 0..<3 {
            rig.tick(1, 2)
            while true {
                let messages = rig.take()
                if messages.isEmpty { break }
                snapshots += messages.count(where: \.isSnapshot)
                for message in messages { rig.arrive(message) }
            }
        }
        #expect(snapshots >= 1)
        #expect(rig.texts(3) == ["a", "b", "c"])
        #expect(rig[3].configuration == Configuration(voters: [1, 2], learners: [3]))
    }
}

@Suite("Removing the leader, thesis 4.2.2")
struct RemovedLeaderTests {
    @Test func `a leader that removes itself commits that without its own copy and steps down`()
        throws
    {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        try rig.change(1, .auto, MemberChange(.remove, 1))
        rig.settle()
        #expect(rig[1].softState == SoftState(leader: .none, role: .follower))
        #expect(rig[1].configuration.voters == [2, 3])
        #expect(rig[2].commit >= 1)
        rig.tick(1, 100)
        #expect(rig.take().isEmpty)
        rig.elect(2)
        #expect(rig[2].configuration.voters == [2, 3])
        try rig.propose(2, "x")
        rig.settle()
        #expect(rig.texts(3) == ["x"])
        #expect(rig.texts(1).isEmpty)
    }

    @Test func `a leader that is made a learner steps down`() throws {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        try rig.change(1, .auto, MemberChange(.addLearner, 1))
        rig.settle()
        #expect(rig[1].role == .follower)
        #expect(rig[1].configuration == Configuration(voters: [2, 3], learners: [1]))
    }

    @Test func `a candidate needs no place in the voter's configuration`() throws {
        // The voter has not heard of 4 yet; 4's configuration governs.
        var member = Solo(1, voters: [1, 2, 3], term: 3, terms: [1])
        try member.receive(4, term: 4, .vote(last: .at(2, 3), isTransfer: false))
        #expect(member.settle().sent.map(\.body) == [.voteAnswer(isGranted: true)])
    }

    @Test func `a member that is not in its own configuration still votes`() throws {
        var member = Solo(1, voters: [2, 3, 4], term: 3, terms: [1])
        try member.receive(2, term: 4, .vote(last: .at(2, 3), isTransfer: false))
        #expect(member.settle().sent.map(\.body) == [.voteAnswer(isGranted: true)])
    }
}

@Suite("Joint consensus, thesis 4.3")
struct JointTests {
    private func joint(_ transition: Transition = .explicit) throws -> Rig {
        let rig = Rig(voters: [1, 2, 3], others: [4, 5])
        rig.elect(1)
        try rig.change(
            1, transition, MemberChange(.addVoter, 4), MemberChange(.addVoter, 5),
            MemberChange(.remove, 2), MemberChange(.remove, 3))
        rig.settle()
        return rig
    }

    @Test func `an entry needs a majority of both halves`() throws {
        let rig = try self.joint()
        #expect(
            rig[1].configuration == Configuration(voters: [1, 4, 5], outgoing: [1, 2, 3]))
        for _ in 0..<3 {
            rig.tick(1, 2)
            rig.settle()
        }
        let before = rig[1].commit
        // The whole incoming half does not do.
        rig.cut(1, 2)
        rig.cut(1, 3)
        try rig.propose(1, "x")
        rig.settle()
        #expect(rig[5].lastIndex == before + 1)
        #expect(rig[1].commit == before)
        // Nor the whole outgoing half.
        rig.heal()
        rig.cut(1, 4)
        rig.cut(1, 5)
        for _ in 0..<3 {
            rig.tick(1, 2)
            rig.settle()
        }
        #expect(rig[1].commit == before + 1)
        try rig.propose(1, "y")
        rig.settle()
        #expect(rig[2].lastIndex == before + 2)
        #expect(rig[1].commit == before + 1)
    }

    @Test func `an election needs a majority of both halves`() throws {
        let rig = try self.joint()
        rig.tick(1, 2)
        rig.settle()
        rig.crash(1)
        rig.crash(2)
        rig.crash(3)
        for id: MemberID in [4, 5] { rig.quiet(id) }
        rig.campaign(4)
        rig.settle()
        #expect(rig[4].role == .preCandidate)
        try rig.restart(2)
        rig.campaign(4)
        rig.settle()
        #expect(rig[4].role == .preCandidate)
        try rig.restart(3)
        rig.elect(4)
    }

    @Test func `it is left by itself where that is asked for`() throws {
        for transition: Transition in [.auto, .implicit] {
            let rig = try self.joint(transition)
            for _ in 0..<3 {
                rig.tick(1, 2)
                rig.settle()
            }
            for id: MemberID in [1, 4, 5] {
                #expect(rig[id].configuration == Configuration(voters: [1, 4, 5]))
            }
        }
    }

    @Test func `the next leader leaves it if the first one died`() throws {
        let rig = Rig(voters: [1, 2, 3], others: [4])
        rig.elect(1)
        try rig.change(1, .implicit, MemberChange(.addVoter, 4))
        // Committed and applied by 2, but the entry that leaves goes nowhere.
        for _ in 0..<8 {
            for message in rig.take() {
                let leaves =
                    message.isAppend && rig[1].configuration.isJoint
                    && rig[2].configuration.isJoint
                if !leaves { rig.arrive(message) }
            }
        }
        #expect(rig[2].configuration.isJoint)
        rig.crash(1)
        rig.elect(2)
        for _ in 0..<3 {
            rig.tick(2, 2)
            rig.settle()
        }
        #expect(rig[2].configuration == Configuration(voters: [1, 2, 3, 4]))
        #expect(rig[4].configuration == Configuration(voters: [1, 2, 3, 4]))
    }

    @Test func `left on request it stays until then, and takes no other change`() throws {
        let rig = try self.joint(.explicit)
        for _ in 0..<3 {
            rig.tick(1, 2)
            rig.settle()
        }
        #expect(rig[4].configuration.isJoint)
        let more = ConfigurationChange([MemberChange(.addVoter, 2)])
        #expect(rig[1].refusal(of: more) == .joint)
        try rig.at(1) { try $0.propose([ConfigurationChange.leaveJoint.entry()]) }
        rig.settle()
        #expect(rig[1].configuration == Configuration(voters: [1, 4, 5]))
        #expect(rig[4].configuration == Configuration(voters: [1, 4, 5]))
    }

    @Test func `a voter of the outgoing half becomes a learner when it is left, not before`() throws
    {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        try rig.change(1, .explicit, MemberChange(.addLearner, 3))
        rig.settle()
        #expect(
            rig[1].configuration
                == Configuration(voters: [1, 2], outgoing: [1, 2, 3], learnersNext: [3]))
        #expect(rig[3].isPromotable)
        try rig.at(1) { try $0.propose([ConfigurationChange.leaveJoint.entry()]) }
        rig.settle()
        #expect(rig[1].configuration == Configuration(voters: [1, 2], learners: [3]))
        #expect(!rig[3].isPromotable)
    }

    @Test func `a leader of the outgoing half alone leads until it is left`() throws {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        try rig.change(1, .explicit, MemberChange(.remove, 1))
        rig.settle()
        #expect(rig[1].role == .leader)
        try rig.propose(1, "x")
        rig.settle()
        #expect(rig.texts(2) == ["x"])
        try rig.at(1) { try $0.propose([ConfigurationChange.leaveJoint.entry()]) }
        rig.settle()
        #expect(rig[1].role == .follower)
        rig.elect(3)
        #expect(rig[3].configuration == Configuration(voters: [2, 3]))
    }
}
