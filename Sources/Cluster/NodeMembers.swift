// NodeMembers.swift - who belongs to the cluster: the leader's care for members, and a node's own
// part in it.
//
// Takes     links and what peers say of themselves, the applied rows of members, ticks.
// Gives     commands and changes of members into the leader's log; the leadership to another.
// Order     a newcomer: 1 its link says our cluster; 2 `admit`; 3 learner; 4 it has the log, opens
//           its session, works; 5 voter, if the plan wants it. Who leaves: see Members.swift.
//           One step at a time: the next one looks at what the last one did.
// Never     a change that would cost the quorum (MembershipPlan).
// See       MembershipPlan, NodeChanges (operators' commands), Docs/Architecture.md.

import Logging
import MailQueue
import NIOCore
import Networking
package import Primitives
import Raft
import Settings
import Spool
import Storage
import Synchronization

/// What the node remembers for the care of members.
struct MemberCare {
    /// Between two looks.
    static let interval = Duration.milliseconds(100)
    /// A peer that said nothing for so long does not answer.
    static let silenceMax = Duration.seconds(3)
    /// A draining node goes on taking sessions for so long: balancers look every few seconds.
    static let balancerTime = Duration.seconds(10)
    /// A journal that has not synced what it was given for so long is slow: nothing that this node
    /// leads would be applied here, and no session renewed.
    static let slowDiskAfter = Duration.seconds(2)
    /// A handover that came to nothing is tried again after this.
    static let handoverInterval = Duration.seconds(2)

    var nextAt = Instant.zero
    /// Rows as they were looked at last.
    var views: [MemberView] = []
    /// The entry of the last step; the next waits for it.
    var proposedUpTo: UInt64 = 0
    /// The term in which it was proposed.
    var term: UInt64 = 0
    var handoverAt = Instant.zero
    /// Since when the node is drained by an operator; nil: it is not.
    var drainingSince: Instant?
    var saidRemoved = false
}

extension Node {
    /// With each tick.
    func keepMembers(_ now: Instant) {
        guard now >= self.care.nextAt else { return }
        self.care.nextAt = now + MemberCare.interval
        self.lookAtRows(now)
        self.forgetRemoved(now)
        if self.mesh != nil, self.machine.replica.raft.role == .leader { self.handOverIfPoor(now) }
        guard self.mesh != nil, let record, self.machine.isReadyLeader else { return }
        if self.care.term != self.machine.term {
            self.care.term = self.machine.term
            self.care.proposedUpTo = 0
        }
        guard self.care.proposedUpTo <= self.machine.applied.index else { return }
        if let command = self.nextMemberCommand(record, now) {
            self.care.proposedUpTo =
                self.machine.propose(command, at: self.clocks) ?? self.care.proposedUpTo
            self.planTurn()
        } else {
            self.changeMembers(record, now)
        }
    }

    // MARK: Of this node.

    /// What has changed in the rows and concerns this node.
    private func lookAtRows(_ now: Instant) {
        let views = self.machine.queue.memberViews
        guard views != self.care.views else { return }
        self.care.views = views
        for view in views where view.name != self.identity.node && view.wish != .removed {
            // Seeds are where the settings say.
            guard !view.host.isEmpty else { continue }
            self.mesh?.learn(view.name, address: Endpoint(host: view.host, port: Int(view.port)))
        }
        self.bodiesFollow(now)
        let own = views.first { $0.name == self.identity.node }
        self.drain(own?.isDraining ?? false, now)
        if let own, own.wish == .removed, !self.care.saidRemoved {
            self.care.saidRemoved = true
            self.raise("removed")
            self.logger.error(
                "this node was removed from the cluster",
                metadata: [
                    "remedy": "Stop it. With an empty data directory it can join again."
                ])
        }
    }

    /// Peers that may take copies: an Enqueue that names anybody but members is refused. Those that
    /// are to leave come last, but for those that were slow.
    func bodyHolders(_ now: Instant) -> [BodyPeer] {
        let members = self.machine.queue.members
        let leaving = self.machine.queue.leavingHolders
        var peers = self.directory.bodyPeers.filter { members.contains($0.holder) }
        for place in peers.indices where leaving.contains(peers[place].holder) {
            peers[place].isDraining = true
        }
        for place in peers.indices {
            peers[place].isSlow = self.directory.isSlow(peers[place].holder, at: now)
        }
        return peers
    }

    /// Bodies that wait for copies: who has become a member may take them, who is none any more
    /// has none.
    private func bodiesFollow(_ now: Instant) {
        let members = self.machine.queue.members
        for line in self.directory.lines where line.hasBulk {
            if members.contains(line.holder) {
                self.holderJoined(line.holder)
            } else {
                self.holderRemoved(line.holder)
            }
        }
    }

    private func drain(_ isDraining: Bool, _ now: Instant) {
        guard isDraining != (self.care.drainingSince != nil) else { return }
        self.care.drainingSince = isDraining ? now : nil
        self.shared.isDraining.store(isDraining, ordering: .relaxed)
        self.logger.notice(isDraining ? "draining, as an operator wants" : "no longer draining")
        self.updateObstacle()
        // Others give it work, or the leadership, by its word.
        self.sendStandings()
    }

    /// Whether new sessions are refused since an operator drains this node.
    var isDrained: Bool {
        guard let since = self.care.drainingSince else { return false }
        return SystemClock.bootTime() - since >= MemberCare.balancerTime
    }

    /// A node that is drained or stops does not lead, if another can; nor one whose disk is full or
    /// does not sync: its heartbeats would keep everybody waiting for it.
    private func handOverIfPoor(_ now: Instant) {
        let isLeaving = self.care.drainingSince != nil || self.phase == .stopping
        guard isLeaving || self.isDiskPoor(now),
            now - self.care.handoverAt >= MemberCare.handoverInterval,
            let heir = self.heir
        else { return }
        // One that is short of space itself would hand it back.
        let name = self.directory.name(of: heir)
        let isShort = name.flatMap { self.directory[$0]?.standing?.refusesBodies } ?? false
        guard isLeaving || !isShort else { return }
        self.care.handoverAt = now
        self.machine.handOver(to: heir)
        self.planTurn()
    }

    private func isDiskPoor(_ now: Instant) -> Bool {
        if self.storage.level != .normal { return true }
        guard let oldest = self.stores.first else { return false }
        return now - oldest.since >= MemberCare.slowDiskAfter
    }

    /// The voter that should lead instead of this leader: of those that are not drained the most
    /// caught up; nil: there is none.
    var heir: MemberID? {
        var best: (member: MemberID, match: UInt64)?
        for voter in self.machine.configuration.voters where voter != self.machine.id {
            guard let name = self.directory.name(of: voter), self.answers(name, voter),
                !self.isDraining(name)
            else { continue }
            let match = self.machine.match(of: voter)
            guard match + MembershipPlan.laggingEntriesMax >= self.machine.lastIndex else {
                continue
            }
            if best == nil || match > best?.match ?? 0 { best = (voter, match) }
        }
        return best?.member
    }

    /// By an operator, or since it stops.
    func isDraining(_ name: NodeName) -> Bool {
        self.machine.queue.isDraining(name)
            || self.directory[name]?.standing?.isDraining ?? false
    }

    /// Whether this disk of the name is linked and has said something lately.
    func answers(_ name: NodeName, _ incarnation: Incarnation) -> Bool {
        if incarnation == self.identity.incarnation { return true }
        guard let line = self.directory[name], line.incarnation == incarnation, line.hasControl
        else { return false }
        return SystemClock.bootTime() - line.heardAt < MemberCare.silenceMax
    }

    // MARK: Of the leader.

    func membershipPlan(_ record: FoundingRecord) -> MembershipPlan {
        let entries = self.machine.memberEntries(
            founders: record.members, seeds: self.seeds?.names ?? []
        ) { self.answers($0, $1) }
        return self.machine.membershipPlan(entries, founders: self.seedCount)
    }

    private func nextMemberCommand(_ record: FoundingRecord, _ now: Instant) -> Command? {
        if let settings = self.newSettings { return Command(.settings(settings)) }
        if let admission = self.nextAdmission(record) { return Command(.admit(admission)) }
        if let removal = self.nextRemoval(record) { return Command(.removeNode(removal)) }
        return nil
    }

    /// A disk that is linked, says that it is of this cluster, and is not known.
    private func nextAdmission(_ record: FoundingRecord) -> Admission? {
        let views = self.machine.queue.memberViews
        let configuration = self.machine.configuration
        for line in self.directory.lines where line.hasControl && line.cluster == self.cluster {
            let view = views.first { $0.name == line.name }
            let isKnown =
                record.members.contains { $0.incarnation == line.incarnation }
                || view?.incarnation == line.incarnation
                || view?.disks.contains { $0.incarnation == line.incarnation } == true
            guard !isKnown, !self.machine.queue.isRetired(line.name, line.incarnation) else {
                continue
            }
            let gone = (view?.disks ?? []).map(\.incarnation)
                .filter { !configuration.contains($0) }
            guard (view?.disks.count ?? 0) - gone.count < Admission.disksMax else { continue }
            self.logger.notice(
                "a node comes into the cluster",
                metadata: [
                    "peer": "\(line.name)",
                    "incarnation": "\(Base32.text(line.incarnation.raw))",
                ])
            return Admission(
                node: line.name, incarnation: line.incarnation, host: line.host, port: line.port,
                gone: gone)
        }
        return nil
    }

    /// Who is to be taken out of the queue now: disks that are no members any more, nodes that an
    /// operator gives up, and those that are to leave once their copies are elsewhere.
    private func nextRemoval(_ record: FoundingRecord) -> RemoveNode? {
        for holder in self.machine.queue.members
        where !self.machine.configuration.contains(holder.incarnation) {
            return RemoveNode(node: holder.node, incarnation: holder.incarnation, force: true)
        }
        for view in self.machine.queue.memberViews
        where view.wish.isLeaving && view.name != self.identity.node {
            let newest = self.machine.newestDisk(of: view.name, founders: record.members)
            guard let incarnation = view.incarnation ?? newest else { continue }
            let holder = Holder(node: view.name, incarnation: incarnation)
            guard view.wish == .dead || self.mayLeave(holder, record) else { continue }
            self.logger.notice("a node leaves the cluster", metadata: ["peer": "\(view.name)"])
            return RemoveNode(
                node: view.name, incarnation: incarnation, force: view.wish == .dead)
        }
        return nil
    }

    private func mayLeave(_ holder: Holder, _ record: FoundingRecord) -> Bool {
        let isThere = self.answers(holder.node, holder.incarnation)
        // What it has begun should end; a node that is gone ends nothing.
        if isThere, self.machine.queue.leaseCount(of: holder.node) > 0 { return false }
        let cost = self.machine.costOfLeaving(holder, others: self.otherHolders(than: holder))
        guard cost.lost == 0, cost.below == 0 else { return false }
        guard self.machine.configuration.contains(holder.incarnation) else { return true }
        return self.membershipPlan(record).allows(
            ConfigurationChange([MemberChange(.remove, holder.incarnation)]))
    }

    /// Members that can have copies in its place.
    func otherHolders(than holder: Holder) -> Int {
        let leaving = self.machine.queue.leavingHolders
        return self.machine.queue.members.count {
            $0 != holder && !leaving.contains($0) && self.answers($0.node, $0.incarnation)
        }
    }

    private func changeMembers(_ record: FoundingRecord, _ now: Instant) {
        let plan = self.membershipPlan(record)
        if let change = plan.next {
            guard self.machine.propose(change: change) else { return }
            // An admission must not forget a disk that is about to be a learner.
            self.care.proposedUpTo = self.machine.lastIndex
            self.logger.notice(
                "the members change",
                metadata: [
                    "change": "\(change.changes.map { "\($0.what) \(self.text(of: $0.member))" })"
                ])
            self.planTurn()
        } else if let heir = plan.handover,
            now - self.care.handoverAt >= MemberCare.handoverInterval
        {
            self.care.handoverAt = now
            self.machine.handOver(to: heir)
            self.planTurn()
        }
    }

    private func text(of member: MemberID) -> String {
        let id = Base32.text(member.raw)
        return self.directory.name(of: member).map { "\($0) (\(id))" } ?? id
    }

    /// What members have acknowledged, for the judgement of their disks. Once a second.
    func noteAcknowledged() {
        guard let mesh, self.machine.isReadyLeader else { return }
        for peer in self.machine.replica.raft.membership.peers where peer.id != self.machine.id {
            guard peer.progress.match > 0 else { continue }
            mesh.acknowledged(
                peer.id, index: peer.progress.match, term: self.machine.term,
                commit: self.machine.commit)
        }
    }
}
