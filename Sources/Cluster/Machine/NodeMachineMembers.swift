// NodeMachineMembers.swift - the members as this node's state has them, and changes of them.
//
// Takes     the founding record, the applied state, the core's progress, who answers.
// Gives     the MembershipPlan; who is to come, leave, lead; changes into the log of a leader.
// See       MemberKeeper (when), MembershipPlan (the rules), MailQueue's Members (what is
//           replicated).

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
    package func membershipPlan(_ founders: Founders, _ peers: MemberPeers) -> MembershipPlan {
        let entries = self.memberEntries(founders: founders.members, seeds: founders.seeds) {
            peers.answers($0, $1)
        }
        return MembershipPlan(
            configuration: self.configuration, directory: entries, leader: self.id,
            founders: founders.count, lastIndex: self.lastIndex,
            isUnderWay: !self.replica.raft.hasCommittedInTerm)
    }

    // MARK: Who leads.

    /// The voter that should lead instead of this leader: of those that are not drained the most
    /// caught up; nil: there is none.
    package func heir(_ peers: MemberPeers) -> MemberID? {
        var best: (member: MemberID, match: UInt64)?
        for voter in self.configuration.voters where voter != self.id {
            guard let name = peers.peer(of: voter)?.name, peers.answers(name, voter),
                !self.isDraining(name, peers)
            else { continue }
            let match = self.match(of: voter)
            guard match + MembershipPlan.laggingEntriesMax >= self.lastIndex else { continue }
            if best == nil || match > best?.match ?? 0 { best = (voter, match) }
        }
        return best?.member
    }

    /// By an operator, or since it stops.
    package func isDraining(_ name: NodeName, _ peers: MemberPeers) -> Bool {
        self.queue.isDraining(name) || peers[name]?.isDraining ?? false
    }

    // MARK: Who comes, who leaves.

    /// A disk that is linked, says that it is of this cluster, and is not known.
    func nextAdmission(_ founders: Founders, _ peers: MemberPeers) -> Admission? {
        let views = self.queue.memberViews
        let configuration = self.configuration
        for peer in peers.lines where peer.hasControl && peer.isOfCluster {
            let view = views.first { $0.name == peer.name }
            let isKnown =
                founders.members.contains { $0.incarnation == peer.incarnation }
                || view?.incarnation == peer.incarnation
                || view?.disks.contains { $0.incarnation == peer.incarnation } == true
            guard !isKnown, !self.queue.isRetired(peer.name, peer.incarnation) else { continue }
            let gone = (view?.disks ?? []).map(\.incarnation)
                .filter { !configuration.contains($0) }
            guard (view?.disks.count ?? 0) - gone.count < Admission.disksMax else { continue }
            return Admission(
                node: peer.name, incarnation: peer.incarnation, host: peer.host, port: peer.port,
                gone: gone)
        }
        return nil
    }

    /// A disk that the queue takes for a member's, and that is none's any more.
    var nextForgotten: RemoveNode? {
        for holder in self.queue.members
        where !self.configuration.contains(holder.incarnation) {
            return RemoveNode(node: holder.node, incarnation: holder.incarnation, force: true)
        }
        return nil
    }

    /// Who is to be taken out of the queue now: nodes that an operator gives up, and those that are
    /// to leave once their copies are elsewhere.
    func nextRemoval(_ founders: Founders, _ peers: MemberPeers) -> RemoveNode? {
        for view in self.queue.memberViews
        where view.wish.isLeaving && view.name != peers.own.node {
            let newest = self.newestDisk(of: view.name, founders: founders.members)
            guard let incarnation = view.incarnation ?? newest else { continue }
            let holder = Holder(node: view.name, incarnation: incarnation)
            guard view.wish == .dead || self.mayLeave(holder, founders, peers) else { continue }
            return RemoveNode(
                node: view.name, incarnation: incarnation, force: view.wish == .dead)
        }
        return nil
    }

    private func mayLeave(
        _ holder: Holder, _ founders: Founders, _ peers: MemberPeers
    ) -> Bool {
        let isThere = peers.answers(holder.node, holder.incarnation)
        // What it has begun should end; a node that is gone ends nothing.
        if isThere, self.queue.leaseCount(of: holder.node) > 0 { return false }
        let cost = self.costOfLeaving(holder, peers)
        guard cost.lost == 0, cost.below == 0 else { return false }
        guard self.configuration.contains(holder.incarnation) else { return true }
        return self.allowsRemoval(of: holder.incarnation, founders, peers)
    }

    /// Whether a disk could go without costing the quorum.
    package func allowsRemoval(
        of disk: Incarnation, _ founders: Founders, _ peers: MemberPeers
    ) -> Bool {
        self.membershipPlan(founders, peers)
            .allows(ConfigurationChange([MemberChange(.remove, disk)]))
    }

    // MARK: Changes.

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

    /// Messages that would have too few copies if `holder` went now: none outside of it; or, with
    /// members that stay, fewer than those that can have copies in its place, or none in reach.
    package func costOfLeaving(
        _ holder: Holder, _ peers: MemberPeers
    ) -> (lost: Int, below: Int) {
        let leaving = self.queue.leavingHolders
        let others = self.queue.members.count {
            $0 != holder && !leaving.contains($0) && peers.answers($0.node, $0.incarnation)
        }
        let copies = min(Int(self.queue.settings.copies), others)
        let below = self.queue.shortage(without: holder) { left in
            let staying = left.filter { !leaving.contains($0) && self.isThere($0, peers) }
            let isReached = staying.contains { peers.answers($0.node, $0.incarnation) }
            return staying.count < copies || others > 0 && !isReached
        }
        let lost = self.queue.shortage(without: holder) { left in
            !left.contains { self.isThere($0, peers) }
        }
        return (lost, below)
    }

    /// False: another disk has come under its name, so that it was wiped or replaced.
    package func isThere(_ holder: Holder, _ peers: MemberPeers) -> Bool {
        !self.queue.isSuperseded(holder) || peers.answers(holder.node, holder.incarnation)
    }
}
