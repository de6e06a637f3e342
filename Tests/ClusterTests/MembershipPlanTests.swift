// MembershipPlanTests.swift - which change of members comes next, and that none costs the quorum.

import Cluster
import Primitives
import Raft
import Testing

@Suite("Plan of members")
struct MembershipPlanTests {
    private typealias Entry = MembershipPlan.Entry

    private func id(_ raw: UInt64) -> Incarnation { Incarnation(raw: raw) }

    private func entry(
        _ name: String, _ incarnation: UInt64, _ role: MembershipPlan.Role = .seed,
        since: UInt64 = 0, match: UInt64 = 5000, isActive: Bool = true
    ) -> Entry {
        Entry(
            name: name, incarnation: self.id(incarnation), role: role, since: since, match: match,
            isActive: isActive)
    }

    private func next(
        _ voters: [UInt64], learners: [UInt64] = [], _ directory: [Entry], founders: Int = 3,
        isUnderWay: Bool = false
    ) -> ConfigurationChange? {
        self.plan(voters, learners, directory, founders: founders, isUnderWay: isUnderWay).next
    }

    /// a leads with its disk 1.
    private func plan(
        _ voters: [UInt64], _ learners: [UInt64], _ directory: [Entry], founders: Int = 3,
        isUnderWay: Bool = false
    ) -> MembershipPlan {
        MembershipPlan(
            configuration: Configuration(
                voters: voters.map(self.id), learners: learners.map(self.id)),
            directory: directory, leader: self.id(1), founders: founders, lastIndex: 5000,
            isUnderWay: isUnderWay)
    }

    private var three: [Entry] { [self.entry("a", 1), self.entry("b", 2), self.entry("c", 3)] }

    @Test func `when all is as it should be nothing changes`() {
        #expect(self.next([1, 2, 3], self.three) == nil)
    }

    @Test func `a wiped voter becomes a learner, catches up, and is replaced in one change`() {
        let gone = [self.entry("c", 3, isActive: false)]
        let others = [self.entry("a", 1), self.entry("b", 2)]
        let new = { (match: UInt64) in [self.entry("c", 30, since: 40, match: match)] }
        #expect(
            self.next([1, 2, 3], others + gone + new(0))
                == ConfigurationChange([MemberChange(.addLearner, self.id(30))]))
        let behind = 5000 - MembershipPlan.laggingEntriesMax - 1
        #expect(self.next([1, 2, 3], learners: [30], others + gone + new(behind)) == nil)
        #expect(
            self.next([1, 2, 3], learners: [30], others + gone + new(behind + 1))
                == ConfigurationChange(
                    transition: .implicit,
                    [MemberChange(.addVoter, self.id(30)), MemberChange(.remove, self.id(3))]))
        #expect(self.next([1, 2, 30], others + gone + new(5000)) == nil)
    }

    @Test func `a disk that was wiped twice is replaced by the newest`() {
        let directory =
            [self.entry("a", 1), self.entry("b", 2), self.entry("c", 3, isActive: false)] + [
                self.entry("c", 30, since: 40, isActive: false), self.entry("c", 31, since: 50),
            ]
        #expect(
            self.next([1, 2, 3], learners: [30], directory)
                == ConfigurationChange([MemberChange(.addLearner, self.id(31))]))
        #expect(
            self.next([1, 2, 3], learners: [30, 31], directory)?.changes.first
                == MemberChange(.addVoter, self.id(31)))
        #expect(
            self.next([1, 2, 31], learners: [30], directory)
                == ConfigurationChange([MemberChange(.remove, self.id(30))]))
    }

    @Test func `no change while one is under way or a configuration is joint`() {
        let directory = self.three + [self.entry("d", 4, .worker, since: 9)]
        #expect(self.next([1, 2, 3], directory) != nil)
        #expect(self.next([1, 2, 3], directory, isUnderWay: true) == nil)
        let joint = MembershipPlan(
            configuration: Configuration(
                voters: [1, 2].map(self.id), outgoing: [1, 3].map(self.id)),
            directory: directory, leader: self.id(1), founders: 3, lastIndex: 5000,
            isUnderWay: false)
        #expect(joint.next == nil)
    }

    @Test func `when a voter is removed the most caught-up worker takes its place, seeds first`() {
        var directory = self.three
        directory[2].role = .removed
        directory += [
            self.entry("d", 4, .worker, since: 8, match: 4990),
            self.entry("e", 5, .worker, since: 9, match: 4999),
        ]
        #expect(
            self.next([1, 2, 3], learners: [4, 5], directory)
                == ConfigurationChange([MemberChange(.remove, self.id(3))]))
        #expect(
            self.next([1, 2], learners: [4, 5], directory)
                == ConfigurationChange([MemberChange(.addVoter, self.id(5))]))
        #expect(self.next([1, 2, 5], learners: [4], directory) == nil)
        directory.append(self.entry("f", 6, .seed, since: 10, match: 4500))
        #expect(
            self.next([1, 2], learners: [4, 5, 6], directory)
                == ConfigurationChange([MemberChange(.addVoter, self.id(6))]))
    }

    @Test func `who is removed comes back under no disk`() {
        let directory =
            [self.entry("a", 1), self.entry("b", 2)] + [
                self.entry("c", 3, .removed), self.entry("c", 30, .removed, since: 60),
            ]
        #expect(self.next([1, 2], directory, founders: 3) == nil)
    }

    @Test func `the operator's word counts over the number of founders`() {
        var directory = self.three + [self.entry("d", 4, .promoted, since: 9)]
        #expect(
            self.next([1, 2, 3], learners: [4], directory)
                == ConfigurationChange([MemberChange(.addVoter, self.id(4))]))
        directory[3].role = .demoted
        #expect(
            self.next([1, 2, 3, 4], directory)
                == ConfigurationChange([MemberChange(.addLearner, self.id(4))]))
        directory[2].role = .demoted
        directory[3].role = .worker
        #expect(
            self.next([1, 2, 3], learners: [4], directory)
                == ConfigurationChange([MemberChange(.addLearner, self.id(3))]))
        #expect(
            self.next([1, 2], learners: [3, 4], directory)
                == ConfigurationChange([MemberChange(.addVoter, self.id(4))]))
    }

    @Test func `a change that would cost the quorum is not made`() {
        // b is down: without c, which is to go, a alone would be left of two.
        var directory = self.three
        directory[1].isActive = false
        directory[2].role = .removed
        #expect(self.next([1, 2, 3], directory) == nil)
        directory[1].isActive = true
        #expect(self.next([1, 2, 3], directory) != nil)
        // The last voter stays.
        #expect(self.next([1], [self.entry("a", 1, .removed)], founders: 1) == nil)
        // A promotion to two voters with one of them down.
        let two = [self.entry("a", 1), self.entry("b", 2, since: 3, isActive: false)]
        #expect(self.next([1], learners: [2], two) == nil)
    }

    @Test func `a leader hands over before it loses its vote`() {
        var directory = self.three
        directory[0].role = .demoted
        directory[2].match = 4999
        let plan = self.plan([1, 2, 3], [], directory)
        #expect(plan.next == nil)
        #expect(plan.handover == self.id(2))
        directory[1].isActive = false
        #expect(self.plan([1, 2, 3], [], directory).handover == nil, "one of two would be left")
        #expect(self.plan([1, 2, 3], [], self.three).handover == nil)
        // The next leader makes the change.
        directory[1].isActive = true
        let next = MembershipPlan(
            configuration: Configuration(voters: [1, 2, 3].map(self.id)), directory: directory,
            leader: self.id(2), founders: 3, lastIndex: 5000, isUnderWay: false)
        #expect(next.next == ConfigurationChange([MemberChange(.addLearner, self.id(1))]))
    }

    @Test(arguments: UInt64(1)...40)
    func `whatever happens, changes end, keep the quorum and leave no old disk`(seed: UInt64) throws
    {
        var dice = Generator(seed: seed)
        for _ in 0..<60 {
            var world = PlannedGroup(&dice)
            var changes = 0
            while let change = world.plan.next {
                changes += 1
                try #require(changes < 60, "plans do not end: \(world)")
                try #require(world.keepsQuorum, "before \(change)")
                try world.apply(change)
                try #require(world.keepsQuorum, "after \(change): \(world)")
            }
            if world.isAllActive { #expect(world.isSettled, "\(world)") }
        }
    }
}

/// A group with a leader, drawn at random, with a majority that answers.
private struct PlannedGroup {
    var membership: Membership
    var directory: [MembershipPlan.Entry] = []
    let founders: Int
    let lastIndex: UInt64 = 5000

    init(_ dice: inout Generator) {
        let founders = 1 + dice.below(5)
        self.founders = founders
        let roles: [MembershipPlan.Role] = [.seed, .seed, .worker, .promoted, .demoted, .removed]
        let mayFail = dice.chance(permille: 500)
        for i in 0..<founders + dice.below(4) {
            var role = i < founders ? .seed : roles[dice.below(roles.count)]
            if i > 0, dice.chance(permille: 150) { role = roles[dice.below(roles.count)] }
            var incarnation = UInt64(10 * (i + 1))
            for age in 0...dice.below(3) {
                // An old disk never answers; of the leader there is one.
                if age > 0, i == 0 { break }
                if age > 0 { self.directory[self.directory.count - 1].isActive = false }
                incarnation += 1
                self.directory.append(
                    MembershipPlan.Entry(
                        name: "n\(i)", incarnation: Incarnation(raw: incarnation), role: role,
                        since: i < founders && age == 0 ? 0 : UInt64(10 + 3 * i + age),
                        match: UInt64(3900 + dice.below(1101)),
                        isActive: i == 0 || !mayFail || !dice.chance(permille: 250)))
            }
        }
        let voters = self.directory.filter { $0.since == 0 }.map(\.incarnation)
        self.membership = Membership(
            Configuration(voters: voters), lastIndex: 5000,
            window: InFlight(messagesMax: 1, bytesMax: 0))
        // Without a majority there is no leader that could plan.
        for i in self.directory.indices where !self.keepsQuorum {
            if voters.contains(self.directory[i].incarnation) { self.directory[i].isActive = true }
        }
    }

    var plan: MembershipPlan {
        MembershipPlan(
            configuration: self.membership.configuration, directory: self.directory,
            leader: self.directory[0].incarnation, founders: self.founders,
            lastIndex: self.lastIndex, isUnderWay: false)
    }

    private func isActive(_ id: Incarnation) -> Bool {
        self.directory.contains { $0.incarnation == id && $0.isActive }
    }

    var keepsQuorum: Bool {
        let configuration = self.membership.configuration
        return [configuration.voters, configuration.outgoing].allSatisfy { voters in
            voters.isEmpty
                || voters.count { self.isActive($0) } >= Quorum.majority(of: voters.count)
        }
    }

    mutating func apply(_ change: ConfigurationChange) throws {
        try self.membership.apply(change)
        guard self.membership.configuration.isJoint else { return }
        #expect(self.keepsQuorum, "in the middle of \(change)")
        try self.membership.leaveJoint()
    }

    /// The newest disk of every name answers, with all of the log.
    var isAllActive: Bool {
        self.directory.allSatisfy { entry in
            let isNewest = !self.directory.contains {
                $0.name == entry.name && $0.since > entry.since
            }
            return !isNewest || (entry.isActive && entry.match >= 4000)
        }
    }

    /// Nothing that is left could be better.
    var isSettled: Bool {
        let configuration = self.membership.configuration
        let isVoter = { (entry: MembershipPlan.Entry) in
            configuration.voters.contains(entry.incarnation)
        }
        let newest = self.directory.filter { entry in
            !self.directory.contains { $0.name == entry.name && $0.since > entry.since }
        }
        let able = newest.filter { $0.role == .seed || $0.role == .worker || $0.role == .promoted }
        let areMembers = newest.allSatisfy {
            $0.role == .removed || configuration.contains($0.incarnation)
        }
        let wanted = min(self.founders, able.count)
        return areMembers && newest.allSatisfy { $0.role != .promoted || isVoter($0) }
            && configuration.voters.count >= min(wanted, able.count)
    }
}
