// SimNode+Members.swift - who belongs to the cluster: the leader's care, and a node's own part.
//
// Like      NodeMembers, in its order; the founding record is the world's.

import Cluster
import MailQueue
import Primitives
import Raft
import Spool

/// See `MemberCare`.
struct SimCare {
    static let interval = Duration.milliseconds(100)
    static let silenceMax = Duration.seconds(3)
    static let handoverInterval = Duration.seconds(2)

    var nextAt = Instant.zero
    var views: [MemberView] = []
    var proposedUpTo: UInt64 = 0
    var term: UInt64 = 0
    var handoverAt = Instant.zero
    /// By place: when something was heard from there.
    var heardAt: [Instant] = []
}

extension SimNode {
    func heard(_ peer: Int) {
        if self.care.heardAt.isEmpty {
            self.care.heardAt = self.known.map { _ in .zero }
        }
        self.care.heardAt[peer] = self.clock
    }

    /// With each tick.
    func keepMembers() {
        let now = self.clock
        guard now >= self.care.nextAt else { return }
        self.care.nextAt = now + SimCare.interval
        self.lookAtRows(now)
        if self.machine.replica.raft.role == .leader { self.handOverIfPoor(now) }
        guard self.machine.isReadyLeader else { return }
        if self.care.term != self.machine.term {
            self.care.term = self.machine.term
            self.care.proposedUpTo = 0
        }
        guard self.care.proposedUpTo <= self.machine.applied.index else { return }
        if let command = self.nextMemberCommand() {
            self.care.proposedUpTo =
                self.machine.propose(command, at: self.clocks) ?? self.care.proposedUpTo
            self.isTurnPlanned = true
        } else {
            self.changeMembers(now)
        }
    }

    // MARK: Of this node.

    private func lookAtRows(_ now: Instant) {
        let views = self.machine.queue.memberViews
        guard views != self.care.views else { return }
        self.care.views = views
        let members = self.machine.queue.members
        for peer in self.known.indices where self.hasBulk[peer] {
            guard let holder = self.holder(of: peer) else { continue }
            if members.contains(holder) {
                self.joined(peer)
            } else {
                for tag in self.placings.map(\.tag) {
                    self.change(tag) { $0.lost(holder, .incarnation, now: now) }
                }
            }
        }
        let own = views.first { $0.name == self.name }
        let isDraining = own?.isDraining ?? false
        if isDraining != (self.drainingSince != nil) {
            self.drainingSince = isDraining ? now : nil
            self.sendStandings()
        }
    }

    private func handOverIfPoor(_ now: Instant) {
        let isLeaving = self.drainingSince != nil
        let isSlow = self.stores.first.map { now - $0.since >= .seconds(2) } ?? false
        guard isLeaving || self.isLowOnDisk || isSlow,
            now - self.care.handoverAt >= SimCare.handoverInterval, let heir = self.heir
        else { return }
        let isShort = self.place(of: heir).map { self.standings[$0].refusesBodies } ?? false
        guard isLeaving || !isShort else { return }
        self.care.handoverAt = now
        self.machine.handOver(to: heir)
        self.isTurnPlanned = true
    }

    private var heir: MemberID? {
        var best: (member: MemberID, match: UInt64)?
        for voter in self.machine.configuration.voters where voter != self.id {
            guard let peer = self.place(of: voter), self.answers("n\(peer)", voter),
                !self.machine.queue.isDraining("n\(peer)"), !self.standings[peer].isDraining
            else { continue }
            let match = self.machine.match(of: voter)
            guard match + MembershipPlan.laggingEntriesMax >= self.machine.lastIndex else {
                continue
            }
            if best == nil || match > best?.match ?? 0 { best = (voter, match) }
        }
        return best?.member
    }

    func answers(_ name: NodeName, _ disk: MemberID) -> Bool {
        if disk == self.id { return true }
        guard let peer = self.place(of: disk), name == "n\(peer)", self.hasControl[peer],
            !self.care.heardAt.isEmpty
        else { return false }
        return self.clock - self.care.heardAt[peer] < SimCare.silenceMax
    }

    // MARK: Of the leader.

    private var plan: MembershipPlan {
        let record = self.world.record
        let entries = self.machine.memberEntries(founders: record, seeds: record.map(\.name)) {
            self.answers($0, $1)
        }
        return self.machine.membershipPlan(entries, founders: record.count)
    }

    private func nextMemberCommand() -> Command? {
        if let admission = self.nextAdmission() { return Command(.admit(admission)) }
        if let removal = self.nextRemoval() { return Command(.removeNode(removal)) }
        return nil
    }

    private func nextAdmission() -> Admission? {
        let views = self.machine.queue.memberViews
        let configuration = self.machine.configuration
        for peer in self.known.indices where self.hasControl[peer] {
            guard let holder = self.holder(of: peer) else { continue }
            let view = views.first { $0.name == holder.node }
            let isKnown =
                self.world.record.contains { $0.incarnation == holder.incarnation }
                || view?.incarnation == holder.incarnation
                || view?.disks.contains { $0.incarnation == holder.incarnation } == true
            guard !isKnown, !self.machine.queue.isRetired(holder.node, holder.incarnation) else {
                continue
            }
            let gone = (view?.disks ?? []).map(\.incarnation)
                .filter { !configuration.contains($0) }
            guard (view?.disks.count ?? 0) - gone.count < Admission.disksMax else { continue }
            return Admission(
                node: holder.node, incarnation: holder.incarnation, host: "", port: 0, gone: gone)
        }
        return nil
    }

    private func nextRemoval() -> RemoveNode? {
        for holder in self.machine.queue.members
        where !self.machine.configuration.contains(holder.incarnation) {
            return RemoveNode(node: holder.node, incarnation: holder.incarnation, force: true)
        }
        for view in self.machine.queue.memberViews
        where view.wish.isLeaving && view.name != self.name {
            let newest = self.machine.newestDisk(of: view.name, founders: self.world.record)
            guard let incarnation = view.incarnation ?? newest else { continue }
            let holder = Holder(node: view.name, incarnation: incarnation)
            guard view.wish == .dead || self.mayLeave(holder) else { continue }
            return RemoveNode(
                node: view.name, incarnation: incarnation, force: view.wish == .dead)
        }
        return nil
    }

    private func mayLeave(_ holder: Holder) -> Bool {
        let isThere = self.answers(holder.node, holder.incarnation)
        if isThere, self.machine.queue.leaseCount(of: holder.node) > 0 { return false }
        let leaving = self.machine.queue.leavingHolders
        let others = self.machine.queue.members.count {
            $0 != holder && !leaving.contains($0) && self.answers($0.node, $0.incarnation)
        }
        let cost = self.machine.costOfLeaving(holder, others: others)
        guard cost.lost == 0, cost.below == 0 else { return false }
        guard self.machine.configuration.contains(holder.incarnation) else { return true }
        return self.allows(removalOf: holder.incarnation)
    }

    func allows(removalOf disk: MemberID) -> Bool {
        self.plan.allows(ConfigurationChange([MemberChange(.remove, disk)]))
    }

    private func changeMembers(_ now: Instant) {
        let plan = self.plan
        if let change = plan.next {
            guard self.machine.propose(change: change) else { return }
            // An admission must not forget a disk that is about to be a learner.
            self.care.proposedUpTo = self.machine.lastIndex
            self.world.counters[.changes] += 1
            self.world.note("\(self.name) changes members: \(change.changes)")
            self.isTurnPlanned = true
        } else if let heir = plan.handover,
            now - self.care.handoverAt >= SimCare.handoverInterval
        {
            self.care.handoverAt = now
            self.machine.handOver(to: heir)
            self.isTurnPlanned = true
        }
    }
}
