// MembershipPlan.swift - the leader's next change of members, or none.
//
// Takes     the configuration in force, who is known by which name, how far each one's log is, and
//           who answers.
// Gives     one change; after it is applied, the next. The same facts give the same change.
// Order     1 who was removed goes. 2 Who is new becomes a learner. 3 A voter whose name has
//           another disk by now is replaced by it, in one joint change, once that one has caught
//           up. 4 The operator's promotions and demotions. 5 With fewer voters than founders, the
//           learner that is farthest becomes one, seeds first. 6 Learners whose name has another
//           disk go.
// Never     a change while one is under way or before an entry of this term is committed (thesis
//           errata of 4.1); one after which, or on the way to which, those that answer are no
//           majority; one that takes the leader's own vote: it hands the leadership over first.
// See       Docs/Decisions/0015-founding.md; pitfalls of reused ids: MembershipPlanTests.

package import Primitives
package import Raft

package struct MembershipPlan: Hashable, Sendable {
    /// What a member should be, as the cluster has it.
    package enum Role: Hashable, Sendable {
        /// Named in `cluster.seeds`: a voter while there are fewer than founders.
        case seed
        /// Not named there: likewise, after the seeds.
        case worker
        /// A voter by the operator's word.
        case promoted
        /// No voter by the operator's word, however few there are.
        case demoted
        /// No member by the operator's word.
        case removed
    }

    /// One disk that is or was known.
    package struct Entry: Hashable, Sendable {
        package var name: NodeName
        package var incarnation: Incarnation
        package var role: Role
        /// Of the entry of the log with which the cluster learnt of it; 0: a founder. The newest
        /// disk of a name is the one that counts.
        package var since: UInt64
        /// Its log holds this much.
        package var match: UInt64
        /// It has answered within an election timeout.
        package var isActive: Bool

        package init(
            name: NodeName, incarnation: Incarnation, role: Role, since: UInt64, match: UInt64,
            isActive: Bool
        ) {
            self.name = name
            self.incarnation = incarnation
            self.role = role
            self.since = since
            self.match = match
            self.isActive = isActive
        }
    }

    /// A learner that lacks at most this many entries has caught up (thesis 4.2.1): the rest
    /// reaches it in one round.
    package static let laggingEntriesMax: UInt64 = 1000

    private let configuration: Configuration
    /// By age, the oldest first.
    private let directory: [Entry]
    private let leader: Incarnation
    private let founders: Int
    private let lastIndex: UInt64
    private let isUnderWay: Bool

    /// - Parameters:
    ///   - founders: how many voters there should be.
    ///   - lastIndex: of the leader's log.
    ///   - isUnderWay: a change is in the log and not applied, or no entry of this term is
    ///     committed yet.
    package init(
        configuration: Configuration, directory: [Entry], leader: Incarnation, founders: Int,
        lastIndex: UInt64, isUnderWay: Bool
    ) {
        self.configuration = configuration
        self.directory = directory.sorted {
            ($0.since, $0.incarnation) < ($1.since, $1.incarnation)
        }
        self.leader = leader
        self.founders = founders
        self.lastIndex = lastIndex
        self.isUnderWay = isUnderWay || configuration.isJoint
    }

    /// Nil: all is as it should be, or must wait.
    package var next: ConfigurationChange? {
        if self.isUnderWay { return nil }
        return self.candidates.first { !self.takesLeadersVote($0) && self.keepsQuorum($0) }
    }

    /// Who is to lead now, as this leader is to lose its vote; nil: nothing of the kind, or another
    /// change comes first.
    package var handover: Incarnation? {
        if self.isUnderWay || self.next != nil { return nil }
        let isDue = self.candidates.contains { self.takesLeadersVote($0) && self.keepsQuorum($0) }
        guard isDue else { return nil }
        return self.directory.filter {
            self.isVoter($0) && $0.incarnation != self.leader && self.hasCaughtUp($0)
                && $0.role != .removed && $0.role != .demoted
        }.max { ($0.match, $1.incarnation) < ($1.match, $0.incarnation) }?.incarnation
    }

    /// Whether a change could be made without costing the quorum.
    package func allows(_ change: ConfigurationChange) -> Bool { self.keepsQuorum(change) }

    private func takesLeadersVote(_ change: ConfigurationChange) -> Bool {
        change.changes.contains {
            $0.member == self.leader && ($0.what == .remove || $0.what == .addLearner)
        }
    }

    /// Changes that would be right, the most urgent first.
    private var candidates: [ConfigurationChange] {
        self.removals + self.arrivals + self.replacements + self.orders + self.promotions
            + self.leftovers
    }

    /// Whether this disk is the newest of its name.
    private func isCurrent(_ entry: Entry) -> Bool {
        self.directory.last { $0.name == entry.name }?.incarnation == entry.incarnation
    }

    private func isVoter(_ entry: Entry) -> Bool {
        self.configuration.voters.contains(entry.incarnation)
    }

    private func isLearner(_ entry: Entry) -> Bool {
        self.configuration.learners.contains(entry.incarnation)
    }

    private func hasCaughtUp(_ entry: Entry) -> Bool {
        entry.isActive && entry.match + Self.laggingEntriesMax >= self.lastIndex
    }

    /// An operator's word is about a name, whichever disk it has.
    private var removals: [ConfigurationChange] {
        self.directory.filter {
            $0.role == .removed && self.configuration.contains($0.incarnation)
        }.map { ConfigurationChange([MemberChange(.remove, $0.incarnation)]) }
    }

    private var arrivals: [ConfigurationChange] {
        self.directory.filter {
            self.isCurrent($0) && $0.role != .removed
                && !self.configuration.contains($0.incarnation)
        }.map { ConfigurationChange([MemberChange(.addLearner, $0.incarnation)]) }
    }

    private var replacements: [ConfigurationChange] {
        self.directory.compactMap { old in
            guard self.isVoter(old),
                let new = self.directory.last(where: { $0.name == old.name }),
                new.incarnation != old.incarnation, self.isLearner(new), self.hasCaughtUp(new),
                new.role != .demoted, new.role != .removed
            else { return nil }
            return ConfigurationChange(
                transition: .implicit,
                [MemberChange(.addVoter, new.incarnation), MemberChange(.remove, old.incarnation)])
        }
    }

    private var orders: [ConfigurationChange] {
        let demoted = self.directory.filter { $0.role == .demoted && self.isVoter($0) }
            .map { ConfigurationChange([MemberChange(.addLearner, $0.incarnation)]) }
        let promoted = self.directory.filter {
            $0.role == .promoted && self.isCurrent($0) && self.isLearner($0)
                && self.hasCaughtUp($0)
        }.map { ConfigurationChange([MemberChange(.addVoter, $0.incarnation)]) }
        return demoted + promoted
    }

    private var promotions: [ConfigurationChange] {
        guard self.configuration.voters.count < self.founders else { return [] }
        let able = self.directory.filter {
            self.isLearner($0) && self.isCurrent($0) && self.hasCaughtUp($0)
                && ($0.role == .seed || $0.role == .worker)
        }
        let best = able.sorted { a, b in
            if a.role != b.role { return a.role == .seed }
            return a.match != b.match ? a.match > b.match : a.incarnation < b.incarnation
        }
        return best.map { ConfigurationChange([MemberChange(.addVoter, $0.incarnation)]) }
    }

    private var leftovers: [ConfigurationChange] {
        self.directory.filter { self.isLearner($0) && !self.isCurrent($0) }
            .map { ConfigurationChange([MemberChange(.remove, $0.incarnation)]) }
    }

    /// Whether those that answer are a majority after the change and on the way to it.
    private func keepsQuorum(_ change: ConfigurationChange) -> Bool {
        var membership = Membership(
            self.configuration, lastIndex: self.lastIndex,
            window: InFlight(messagesMax: 1, bytesMax: 0))
        do {
            try membership.apply(change)
        } catch {
            // It would leave no voter: the plan has nothing better, so nothing is done.
            return false
        }
        let after = membership.configuration
        return [self.configuration.voters, after.voters, after.outgoing].allSatisfy { voters in
            let active = voters.count { id in
                self.directory.contains { $0.incarnation == id && $0.isActive }
            }
            return voters.isEmpty || active >= Quorum.majority(of: voters.count)
        }
    }
}
