// NodeMachineMembers.swift - the members as this node's state has them, and changes of them.
//
// Takes     the founding record, the applied state, the core's progress, who answers.
// Gives     the entries of a MembershipPlan; changes into the log of a leader.
// See       MembershipPlan (the rules), MailQueue's Members (what is replicated).

package import MailQueue
package import Primitives
package import Raft
package import Spool

extension NodeMachine {
    package var configuration: Configuration { self.replica.raft.configuration }

    package var lastIndex: UInt64 { self.replica.raft.lastIndex }

    package var commit: UInt64 { self.replica.raft.commit }

    /// How far a member's log is, as this leader knows; 0: not known.
    package func match(of member: MemberID) -> UInt64 {
        guard let place = self.replica.raft.membership.place(of: member) else { return 0 }
        return self.replica.raft.membership.peers[place].progress.match
    }

    /// All disks that are known by name: the founders', those that came later, and those that are
    /// gone and still in the configuration. 1 A node comes back with an empty disk, for the second
    /// time. 2 It opens its session, as a learner: the disk before is retired. 3 That one votes on
    /// until the plan has it replaced, or removed; the plan must know whose it was.
    ///
    /// - Parameters:
    ///   - seeds: the names in `cluster.seeds`.
    ///   - isActive: whether a disk answers.
    package func memberEntries(
        founders: [FoundingRecord.Member], seeds: [NodeName],
        isActive: (NodeName, Incarnation) -> Bool
    ) -> [MembershipPlan.Entry] {
        let views = self.queue.memberViews
        var entries: [MembershipPlan.Entry] = []
        func add(_ name: NodeName, _ incarnation: Incarnation, since: UInt64, _ wish: MemberWish) {
            entries.append(
                MembershipPlan.Entry(
                    name: name, incarnation: incarnation,
                    role: self.role(wish, incarnation, isSeed: seeds.contains(name)),
                    since: since, match: self.match(of: incarnation),
                    isActive: isActive(name, incarnation)))
        }
        for founder in founders {
            let wish = views.first { $0.name == founder.name }?.wish ?? .none
            add(founder.name, founder.incarnation, since: 0, wish)
        }
        for view in views {
            for disk in view.disks
            where !founders.contains(where: { $0.incarnation == disk.incarnation }) {
                add(view.name, disk.incarnation, since: disk.since, view.wish)
            }
            for disk in view.retired
            where self.configuration.contains(disk)
                && !founders.contains(where: { $0.incarnation == disk })
            {
                // Older than all that were admitted.
                add(view.name, disk, since: 0, view.wish)
            }
        }
        return entries
    }

    private func role(
        _ wish: MemberWish, _ incarnation: Incarnation, isSeed: Bool
    ) -> MembershipPlan.Role {
        switch wish {
        case .none: isSeed ? .seed : .worker
        case .promoted: .promoted
        case .demoted: .demoted
        // It votes until it goes; nobody is made a voter who is to go.
        case .leaving, .dead: self.configuration.isVoter(incarnation) ? .seed : .demoted
        case .removed: .removed
        }
    }

    /// The newest disk of a name; nil: it is not known.
    package func newestDisk(
        of name: NodeName, founders: [FoundingRecord.Member]
    ) -> Incarnation? {
        let view = self.queue.memberViews.first { $0.name == name }
        return view?.disks.last?.incarnation ?? view?.incarnation
            ?? founders.first { $0.name == name }?.incarnation
    }

    /// The plan of this node, as if it led.
    package func membershipPlan(
        _ entries: [MembershipPlan.Entry], founders: Int
    ) -> MembershipPlan {
        MembershipPlan(
            configuration: self.configuration, directory: entries, leader: self.id,
            founders: founders, lastIndex: self.lastIndex,
            isUnderWay: !self.replica.raft.hasCommittedInTerm)
    }

    /// Puts a change of members into the log of this node, which leads.
    ///
    /// - Returns: false: it does not lead, or one is under way.
    package mutating func propose(change: ConfigurationChange) -> Bool {
        guard self.isReadyLeader, self.replica.raft.refusal(of: change) == nil else {
            return false
        }
        do {
            try self.replica.propose([change.entry()])
        } catch {
            return false
        }
        return true
    }

    /// Asks for `member` to lead; whoever leads now hands over when its log is complete.
    package mutating func handOver(to member: MemberID) {
        self.replica.transferLeadership(to: member)
    }

    /// Messages that would have too few copies if `holder` went now.
    ///
    /// - Parameter others: members that can have copies.
    package func costOfLeaving(
        _ holder: Holder, others: Int
    ) -> (lost: Int, below: Int) {
        let copies = min(Int(self.queue.settings.copies), others)
        return (
            self.queue.shortage(without: holder, copies: 1),
            self.queue.shortage(without: holder, copies: copies)
        )
    }
}
