// MemberKeeper.swift - the care for members: what the leader does next, and a node's own part.
//
// Takes     ticks, the applied state, what is known of peers, the condition of the own disk.
// Gives     what has changed in the rows of members; steps, carried out in the machine's log.
// Order     a newcomer: 1 its link says our cluster; 2 `admit`; 3 learner; 4 it has the log, opens
//           its session, works; 5 voter, if the plan wants it. Who leaves: see Members.swift.
//           One step at a time: the next one looks at what the last one did.
// Never     a change that would cost the quorum (MembershipPlan).
// See       NodeMachineMembers (each step's rule), MembershipPlan; drivers: Node, SimNode.

package import MailQueue
package import Primitives
package import Raft
package import Spool

/// Who was there in the beginning.
package struct Founders: Sendable {
    /// Of the founding record.
    package var members: [FoundingRecord.Member]
    /// The names in `cluster.seeds`.
    package var seeds: [NodeName]
    /// How many voters there should be.
    package var count: Int

    package init(members: [FoundingRecord.Member], seeds: [NodeName], count: Int) {
        self.members = members
        self.seeds = seeds
        self.count = count
    }
}

/// What the node remembers for the care of members.
package struct MemberKeeper: Sendable {
    /// Between two looks.
    package static let interval = Duration.milliseconds(100)
    /// A draining node goes on taking sessions for so long: balancers look every few seconds.
    package static let balancerTime = Duration.seconds(10)
    /// A journal that has not synced what it was given for so long is slow: nothing that this node
    /// leads would be applied here, and no session renewed.
    package static let slowDiskAfter = Duration.seconds(2)
    /// A handover that came to nothing is tried again after this.
    package static let handoverInterval = Duration.seconds(2)

    /// How the node itself is.
    package struct Condition: Sendable {
        package var isStopping: Bool
        package var isLowOnDisk: Bool
        /// When the journal was given the oldest of what it has not synced; nil: nothing.
        package var syncsSince: Instant?

        package init(isStopping: Bool, isLowOnDisk: Bool, syncsSince: Instant?) {
            self.isStopping = isStopping
            self.isLowOnDisk = isLowOnDisk
            self.syncsSince = syncsSince
        }
    }

    /// What has changed in the rows, for the driver.
    package enum News: Hashable, Sendable {
        /// Where a peer can be dialed.
        case address(MemberView)
        /// A peer with a bulk link is a member: it may take copies.
        case joined(Holder)
        /// It is none, and has none.
        case gone(Holder)
        /// An operator drains this node, or no longer does.
        case drains(Bool)
        /// This node was removed from the cluster. Once.
        case removed
    }

    /// What the leader has done, or has tried to: what found no room in the log is tried again.
    package enum Step: Hashable, Sendable {
        case settings(ClusterSettings)
        /// A disk that is not known comes in.
        case admit(Admission)
        /// The queue forgets a disk that is no member any more.
        case forget(RemoveNode)
        /// A node that is to leave, or is given up, leaves.
        case remove(RemoveNode)
        /// Is in the log.
        case change(ConfigurationChange)
        /// Another is to lead.
        case handOver(MemberID)
    }

    private var nextAt = Instant.zero
    /// Rows as they were looked at last.
    package private(set) var views: [MemberView] = []
    /// The entry of the last step; the next waits for it.
    private var proposedUpTo: UInt64 = 0
    /// The term in which it was proposed.
    private var term: UInt64 = 0
    private var handoverAt = Instant.zero
    /// Since when the node is drained by an operator; nil: it is not.
    package private(set) var drainingSince: Instant?
    private var saidRemoved = false

    package init() {}

    /// Whether a look is due; then it counts as made.
    package mutating func looks(at now: Instant) -> Bool {
        guard now >= self.nextAt else { return false }
        self.nextAt = now + Self.interval
        return true
    }

    /// Whether new sessions are refused since an operator drains this node.
    package func isDrained(at now: Instant) -> Bool {
        guard let since = self.drainingSince else { return false }
        return now - since >= Self.balancerTime
    }

    // MARK: Of this node.

    /// What has changed in the rows since the last look, in the order in which it is dealt with.
    package mutating func news(
        _ machine: borrowing NodeMachine, _ peers: MemberPeers
    ) -> [News] {
        let views = machine.queue.memberViews
        guard views != self.views else { return [] }
        self.views = views
        var news: [News] = []
        // Seeds are where the settings say.
        for view in views
        where view.name != peers.own.node && view.wish != .removed && !view.host.isEmpty {
            news.append(.address(view))
        }
        let members = machine.queue.members
        for peer in peers.lines where peer.hasBulk {
            news.append(members.contains(peer.holder) ? .joined(peer.holder) : .gone(peer.holder))
        }
        let own = views.first { $0.name == peers.own.node }
        let isDraining = own?.isDraining ?? false
        if isDraining != (self.drainingSince != nil) {
            self.drainingSince = isDraining ? peers.now : nil
            news.append(.drains(isDraining))
        }
        if own?.wish == .removed, !self.saidRemoved {
            self.saidRemoved = true
            news.append(.removed)
        }
        return news
    }

    // MARK: Of the leader.

    /// Does what is next.
    ///
    /// - Parameters:
    ///   - founders: nil: this node does not know them yet.
    ///   - settings: what the state is to have and has not.
    package mutating func keep(
        _ machine: inout NodeMachine, _ peers: MemberPeers, _ founders: Founders?,
        _ condition: Condition, settings: ClusterSettings?, at clocks: Clocks
    ) -> [Step] {
        var steps: [Step] = []
        if machine.replica.raft.role == .leader, self.isPoor(condition, peers.now),
            let heir = self.heir(machine, peers, condition)
        {
            steps.append(self.handOver(to: heir, &machine, peers.now))
        }
        guard let founders, machine.isReadyLeader else { return steps }
        if self.term != machine.term {
            self.term = machine.term
            self.proposedUpTo = 0
        }
        guard self.proposedUpTo <= machine.applied.index else { return steps }
        if let (step, command) = self.nextCommand(machine, founders, peers, settings) {
            self.proposedUpTo = machine.propose(command, at: clocks) ?? self.proposedUpTo
            steps.append(step)
        } else if let step = self.change(&machine, founders, peers) {
            steps.append(step)
        }
        return steps
    }

    private func isLeaving(_ condition: Condition) -> Bool {
        self.drainingSince != nil || condition.isStopping
    }

    /// A node that is drained or stops does not lead, if another can; nor one whose disk is full or
    /// does not sync: its heartbeats would keep everybody waiting for it.
    private func isPoor(_ condition: Condition, _ now: Instant) -> Bool {
        if self.isLeaving(condition) || condition.isLowOnDisk { return true }
        guard let oldest = condition.syncsSince else { return false }
        return now - oldest >= Self.slowDiskAfter
    }

    /// Who takes over from this leader, which is poor.
    private func heir(
        _ machine: borrowing NodeMachine, _ peers: MemberPeers, _ condition: Condition
    ) -> MemberID? {
        guard peers.now - self.handoverAt >= Self.handoverInterval,
            let heir = machine.heir(peers)
        else { return nil }
        // One that is short of space itself would hand it back.
        let isShort = peers.peer(of: heir)?.refusesBodies ?? false
        return self.isLeaving(condition) || !isShort ? heir : nil
    }

    private mutating func handOver(
        to heir: MemberID, _ machine: inout NodeMachine, _ now: Instant
    ) -> Step {
        self.handoverAt = now
        machine.handOver(to: heir)
        return .handOver(heir)
    }

    private func nextCommand(
        _ machine: borrowing NodeMachine, _ founders: Founders, _ peers: MemberPeers,
        _ settings: ClusterSettings?
    ) -> (Step, Command)? {
        if let settings { return (.settings(settings), Command(.settings(settings))) }
        if let admission = machine.nextAdmission(founders, peers) {
            return (.admit(admission), Command(.admit(admission)))
        }
        if let gone = machine.nextForgotten {
            return (.forget(gone), Command(.removeNode(gone)))
        }
        if let removal = machine.nextRemoval(founders, peers) {
            return (.remove(removal), Command(.removeNode(removal)))
        }
        return nil
    }

    private mutating func change(
        _ machine: inout NodeMachine, _ founders: Founders, _ peers: MemberPeers
    ) -> Step? {
        let plan = machine.membershipPlan(founders, peers)
        if let change = plan.next {
            guard machine.propose(change: change) else { return nil }
            // An admission must not forget a disk that is about to be a learner.
            self.proposedUpTo = machine.lastIndex
            return .change(change)
        }
        guard let heir = plan.handover, peers.now - self.handoverAt >= Self.handoverInterval
        else { return nil }
        return self.handOver(to: heir, &machine, peers.now)
    }
}
