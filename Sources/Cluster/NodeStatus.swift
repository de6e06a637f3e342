// NodeStatus.swift - what this node knows of the cluster, as operators see it.
//
// Takes     the applied state, the links, what peers say of themselves once a second.
// Gives     `ClusterStatus`; at once, whatever the peers do.

import MailQueue
import Networking
import Primitives
import Raft
import Settings
import Spool
import Storage
import Synchronization

extension Node {
    func status() -> ClusterStatus {
        let configuration = self.machine.configuration
        let nodes = self.nodeStatuses()
        let facts = self.healthFacts(nodes)
        var status = ClusterStatus(
            clusterName: self.clusterName, clusterID: self.cluster,
            health: facts.health, canLose: self.canLose,
            leader: self.leaderName, term: self.machine.term, nodes: nodes,
            queue: self.queueStatus,
            rates: ClusterStatus.Rates(
                accepted: self.rates.accepted.perSecond, delivered: self.rates.delivered.perSecond,
                deferred: self.rates.deferred.perSecond, bounced: self.rates.bounced.perSecond),
            possibleDuplicates: self.machine.queue.totals.possibleDuplicates, alarms: self.alarms)
        status.reasons = facts.reasons
        status.notes = facts.notes
        status.node = self.identity.node
        status.applied = self.machine.applied.index
        status.committed = self.machine.commit
        status.voters = configuration.voters.count
        status.votersReachable = self.reachable(configuration.voters)
        status.waitsFor = self.founding?.wait?.sentence
        status.leaderlessMilliseconds = self.leaderlessSince.map {
            (SystemClock.bootTime() - $0).inMilliseconds
        }
        return status
    }

    /// Nil until all is applied that was committed when this node came: its own OpenSession is
    /// behind all that.
    private var queueStatus: ClusterStatus.Queue? {
        guard self.phase != .starting, self.phase != .opening else { return nil }
        let counts = self.machine.queue.counts
        let now = self.machine.queueTime(at: SystemClock.bootTime())
        return ClusterStatus.Queue(
            messages: counts.messages, recipients: counts.recipients, due: counts.due,
            leased: counts.leased, deferred: counts.deferred, held: counts.held,
            storedBytes: counts.storedBytes, originalBytes: counts.originalBytes,
            oldestSeconds: counts.oldest.map { (now - $0).inMilliseconds / 1000 })
    }

    var leaderName: NodeName? {
        guard self.mesh != nil else { return self.identity.node }
        let leader = self.machine.replica.raft.leader
        if leader == self.machine.id { return self.identity.node }
        return leader == .none ? nil : self.directory.name(of: leader)
    }

    // MARK: What may fail.

    /// How many of these are this node or linked to it.
    func reachable(_ members: [MemberID]) -> Int {
        members.count { member in
            member == self.machine.id
                || self.directory.lines.contains { $0.incarnation == member && $0.hasControl }
        }
    }

    /// Both halves of a joint configuration count.
    private var voterSets: [[MemberID]] {
        let configuration = self.machine.configuration
        return [configuration.voters, configuration.outgoing].filter { !$0.isEmpty }
    }

    /// Voters that may fail with a majority left; below 0: there is none now.
    var votersToLose: Int {
        self.voterSets.map { self.reachable($0) - Quorum.majority(of: $0.count) }.min() ?? -1
    }

    /// The same if all voters were there.
    var votersToLoseAtBest: Int {
        self.voterSets.map { $0.count - Quorum.majority(of: $0.count) }.min() ?? 0
    }

    /// Nodes that may fail: a majority of the voters and a copy of each message stay. What is not
    /// reached counts as failed.
    var canLose: Int {
        guard self.mesh != nil else { return 0 }
        let voters = max(0, self.votersToLose)
        let absent = self.machine.queue.members.filter { self.reachable([$0.incarnation]) == 0 }
        guard let copies = self.machine.queue.fewestCopies(without: absent) else {
            return voters
        }
        return min(voters, max(0, copies - 1))
    }

    // MARK: Nodes.

    private func nodeStatuses() -> [ClusterStatus.Node] {
        let standings = self.directory.lines.compactMap { $0.standing?.applied.index }
        let newest = max(
            standings.max() ?? 0, self.machine.applied.index + self.machine.backlog)
        let others = self.otherNames.map { self.status(of: $0, newest: newest) }
        return ([self.ownStatus(newest: newest)] + others).sorted { $0.name < $1.name }
    }

    /// All that belong to the cluster, linked or not, and who is linked.
    private var otherNames: [NodeName] {
        let views = self.machine.queue.memberViews
        let removed = views.filter { $0.wish == .removed }.map(\.name)
        let names =
            (self.record?.members.map(\.name) ?? self.seeds?.names ?? []) + views.map(\.name)
            + self.directory.lines.filter { $0.hasControl }.map(\.name)
        var known: [NodeName] = []
        for name in names
        where name != self.identity.node && !removed.contains(name) && !known.contains(name) {
            known.append(name)
        }
        return known
    }

    private func ownStatus(newest: UInt64) -> ClusterStatus.Node {
        let disk = self.storage.statistics()
        let state: ClusterStatus.Node.State =
            switch self.phase {
            case .starting, .opening: .starting
            case .ready: self.care.drainingSince == nil ? .ready : .draining
            case .stopping, .stopped: .stopping
            }
        var own = ClusterStatus.Node(
            name: self.identity.node, role: self.role(of: self.machine.id, self.identity.node),
            state: state,
            isLeader: self.leaderName == self.identity.node,
            lag: newest - self.machine.applied.index, applied: self.machine.applied.index,
            leases: self.ownLeases,
            sessionsIn: self.shared.sessionsIn.load(ordering: .relaxed),
            sessionsOut: self.shared.connectionsOut.load(ordering: .relaxed),
            diskFreeRatio: Double(disk.freeBytes) / Double(max(1, disk.totalBytes)),
            seenMilliseconds: 0)
        own.address = self.mesh?.advertised.description ?? ""
        return own
    }

    /// Before there is a cluster: what the node will be.
    private func role(of member: MemberID?, _ name: NodeName) -> String {
        guard self.mesh != nil else { return "voter" }
        guard self.record != nil else {
            return self.seeds?.names.contains(name) == true ? "voter" : "worker"
        }
        return member.map { self.machine.configuration.isVoter($0) } == true ? "voter" : "worker"
    }

    private func status(of name: NodeName, newest: UInt64) -> ClusterStatus.Node {
        let line = self.directory[name]
        let standing = line?.standing
        let applied = standing?.applied.index ?? 0
        let state: ClusterStatus.Node.State =
            line?.hasControl != true
            ? .unreachable
            : self.machine.isDraining(name, self.memberPeers) ? .draining : .ready
        let disk =
            line?.incarnation
            ?? self.machine.newestDisk(of: name, founders: self.record?.members ?? [])
        let seenAt = line?.heardAt ?? self.startedAt
        var status = ClusterStatus.Node(
            name: name, role: self.role(of: disk, name), state: state,
            isLeader: self.leaderName == name, lag: newest - min(newest, applied),
            applied: applied, leases: self.machine.queue.leaseCount(of: name),
            sessionsIn: Int(standing?.sessionsIn ?? 0),
            sessionsOut: Int(standing?.sessionsOut ?? 0),
            diskFreeRatio: Double(standing?.diskFreePermille ?? 0) / 1000,
            seenMilliseconds: (SystemClock.bootTime() - seenAt).inMilliseconds)
        status.address = self.mesh?.address(of: name)?.description ?? ""
        status.lastError = state == .unreachable ? self.mesh?.lastError(of: name) : nil
        return status
    }
}
