// MembershipModelTests.swift - runs of changes against a model that is nothing but sets.

import Primitives
import Testing

@testable import Raft

/// The members as sets, each rule written as one set operation.
private struct SetModel: Equatable {
    var voters: Set<MemberID>
    var outgoing: Set<MemberID> = []
    var learners: Set<MemberID> = []
    var learnersNext: Set<MemberID> = []
    var autoLeave = false

    var all: Set<MemberID> { voters.union(outgoing).union(learners).union(learnersNext) }

    mutating func make(_ change: MemberChange) {
        let id = change.member
        guard id != .none else { return }
        switch change.what {
        case .update: return
        case .addVoter:
            voters.insert(id)
            learners.remove(id)
            learnersNext.remove(id)
        case .addLearner:
            if learners.contains(id) { return }
            if learnersNext.contains(id) { return }
            voters.remove(id)
            if outgoing.contains(id) { learnersNext.insert(id) } else { learners.insert(id) }
        case .remove:
            voters.remove(id)
            learners.remove(id)
            learnersNext.remove(id)
        }
    }

    func after(_ change: ConfigurationChange) -> Result<SetModel, ChangeError> {
        var next = self
        if change.leavesJoint {
            if outgoing.isEmpty { return .failure(.notJoint) }
            next.learners.formUnion(learnersNext)
            next.outgoing = []
            next.learnersNext = []
            next.autoLeave = false
            return .success(next)
        }
        if change.entersJoint {
            if !outgoing.isEmpty { return .failure(.alreadyJoint) }
            if voters.isEmpty { return .failure(.nothingToLeave) }
            next.outgoing = voters
            for one in change.changes { next.make(one) }
            if next.voters.isEmpty { return .failure(.noVoters) }
            next.autoLeave = change.transition != .explicit
            return .success(next)
        }
        if !outgoing.isEmpty { return .failure(.joint) }
        for one in change.changes { next.make(one) }
        if next.voters.isEmpty { return .failure(.noVoters) }
        if voters.symmetricDifference(next.voters).count > 1 { return .failure(.tooManyAtOnce) }
        return .success(next)
    }

    var configuration: Configuration {
        Configuration(
            voters: voters.sorted(), outgoing: outgoing.sorted(), learners: learners.sorted(),
            learnersNext: learnersNext.sorted(), autoLeave: autoLeave)
    }
}

@Suite("Membership against a model of sets, thesis 4.1, 4.3")
struct MembershipModelTests {
    private static let window = InFlight(messagesMax: 4, bytesMax: 0)

    private static func change(_ dice: inout Generator) -> ConfigurationChange {
        if dice.chance(permille: 250) { return .leaveJoint }
        let whats: [MemberChange.What] = [.addVoter, .remove, .update, .addLearner]
        let transitions: [Transition] = [.auto, .auto, .auto, .implicit, .explicit]
        let changes = (0..<dice.below(4)).map { _ in
            MemberChange(whats[dice.below(4)], MemberID(raw: UInt64(dice.below(7))))
        }
        return ConfigurationChange(transition: transitions[dice.below(5)], changes)
    }

    @Test func `thousands of runs of changes give what the sets say, and every error`() throws {
        var dice = Generator(seed: 41)
        var errors: Set<ChangeError> = []
        var taken = 0
        for _ in 0..<3000 {
            var model = SetModel(voters: [1, 2, 3])
            var membership = Membership(
                model.configuration, lastIndex: 9, window: Self.window)
            for _ in 0..<12 {
                let change = Self.change(&dice)
                let before = membership
                do {
                    try membership.apply(change)
                    taken += 1
                    model = try model.after(change).get()
                } catch {
                    errors.insert(error)
                    #expect(model.after(change) == .failure(error), "\(change)")
                    #expect(membership == before)
                }
                #expect(membership.configuration == model.configuration, "\(change)")
                #expect(membership.configuration.isSound)
                #expect(membership.peers.map(\.id) == model.all.sorted())
                for peer in membership.peers {
                    #expect(peer.progress.isLearner == model.learners.contains(peer.id))
                }
            }
        }
        #expect(taken > 10_000)
        // From a sound configuration there are always voters to leave, and an entry with several
        // changes goes through a joint configuration.
        #expect(errors == [.alreadyJoint, .notJoint, .joint, .noVoters])
    }

    @Test func `directly one voter changes at most, and learners as many as there are`() throws {
        var dice = Generator(seed: 45)
        var refused = 0
        for _ in 0..<3000 {
            let model = SetModel(voters: [1, 2, 3], learners: [4])
            var membership = Membership(model.configuration, lastIndex: 9, window: Self.window)
            let changes = Self.change(&dice).changes
            var next = model
            for change in changes { next.make(change) }
            let moved = model.voters.symmetricDifference(next.voters).count
            do {
                try membership.simple(changes)
                #expect(moved <= 1)
                #expect(membership.configuration == next.configuration)
            } catch {
                #expect(error == (next.voters.isEmpty ? .noVoters : .tooManyAtOnce))
                #expect(moved > 1)
                #expect(membership.configuration == model.configuration)
                refused += 1
            }
        }
        #expect(refused > 100)
        var joint = Membership(
            Configuration(voters: [1], outgoing: [2]), lastIndex: 9, window: Self.window)
        #expect(throws: ChangeError.joint) { try joint.simple([]) }
    }

    @Test func `a group without voters cannot become joint`() {
        var nobody = Membership(lastIndex: 0, window: Self.window)
        #expect(throws: ChangeError.nothingToLeave) {
            try nobody.enterJoint(autoLeave: true, [MemberChange(.addVoter, 1)])
        }
        #expect(throws: ChangeError.noVoters) { try nobody.simple([]) }
        #expect(nobody.peers.isEmpty)
    }

    @Test func `restored from its configuration a membership is as the changes made it`() throws {
        var dice = Generator(seed: 42)
        for _ in 0..<2000 {
            var membership = Membership(
                Configuration(voters: [1, 2, 3], learners: [4]), lastIndex: 9,
                window: Self.window)
            for _ in 0..<8 {
                do { try membership.apply(Self.change(&dice)) } catch { continue }
                let restored = Membership(
                    membership.configuration, lastIndex: 9, window: Self.window)
                #expect(restored.configuration == membership.configuration)
                #expect(restored == membership)
            }
        }
    }

    @Test func `any run of changes encodes and decodes`() throws {
        var dice = Generator(seed: 44)
        for _ in 0..<1000 {
            var membership = Membership(
                Configuration(voters: [1, 2, 3]), lastIndex: 9, window: Self.window)
            for _ in 0..<8 {
                let change = Self.change(&dice)
                let entry = change.entry(asSingle: dice.chance(permille: 500))
                let read = try ConfigurationChange(entry)
                // The older kind knows no transition.
                if entry.kind == .changes { #expect(read == change) }
                #expect(read.changes == change.changes)
                do { try membership.apply(read) } catch { continue }
                var writer = ByteWriter()
                membership.configuration.encode(into: &writer)
                var reader = ByteReader(writer.bytes)
                #expect(try Configuration(from: &reader) == membership.configuration)
                try reader.finish()
            }
        }
    }

    @Test func `a member that stays keeps its progress, one that comes starts at the log's end`()
        throws
    {
        var membership = Membership(
            Configuration(voters: [1, 2, 3]), lastIndex: 9, window: Self.window)
        membership.peers[1].progress.match = 7
        membership.peers[1].progress.becomeReplicate()
        membership.lastIndex = 20
        try membership.apply(
            ConfigurationChange([MemberChange(.addLearner, 2), MemberChange(.addVoter, 4)]))
        #expect(membership.peers[1].progress.match == 7)
        #expect(membership.peers[1].progress.state == .replicate)
        #expect(membership.peers[3].progress.match == 0)
        #expect(membership.peers[3].progress.next == 20)
        #expect(membership.peers[3].progress.isRecentlyActive)
        try membership.apply(.leaveJoint)
        #expect(membership.peers[1].progress.match == 7)
        #expect(membership.peers[1].progress.isLearner)
    }

    @Test(arguments: [
        Configuration(), Configuration(voters: [2, 1]), Configuration(voters: [1, 1]),
        Configuration(voters: [0, 1]), Configuration(learners: [1]),
        Configuration(voters: [1, 2], learners: [2]),
        Configuration(voters: [1], outgoing: [2], learners: [2]),
        Configuration(voters: [1], learnersNext: [2]), Configuration(voters: [1], autoLeave: true),
        Configuration(voters: [1], outgoing: [2], learnersNext: [3]),
        Configuration(voters: [1], outgoing: [1, 2], learnersNext: [1]),
        Configuration(voters: [1], outgoing: [2], learners: [3, 3]),
        Configuration(voters: [1], outgoing: [2], learners: [0]),
        Configuration(voters: [1], outgoing: [2, 2]),
    ])
    func `no run of changes leads to these`(configuration: Configuration) {
        #expect(!configuration.isSound)
    }

    @Test(arguments: [
        Configuration(voters: [1]), Configuration(voters: [1, 2], learners: [3]),
        Configuration(voters: [1], outgoing: [2]),
        Configuration(voters: [1, 2], outgoing: [1, 2]),
        Configuration(
            voters: [1], outgoing: [1, 2], learners: [3], learnersNext: [2], autoLeave: true),
    ])
    func `to these some run leads`(configuration: Configuration) {
        #expect(configuration.isSound)
    }
}
