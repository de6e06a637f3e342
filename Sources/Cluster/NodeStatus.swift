// NodeStatus.swift - what this node knows of the cluster, as operators see it.
//
// Takes     the applied state, the links, what peers say of themselves once a second.
// Gives     `ClusterStatus`; at once, whatever the peers do.

import MailQueue
import Networking
import Primitives
import Raft
import Storage
import Synchronization

extension Node {
    func status() -> ClusterStatus {
        let counts = self.machine.queue.counts
        let now = self.machine.queueTime(at: SystemClock.bootTime())
        let queue = ClusterStatus.Queue(
            messages: counts.messages, recipients: counts.recipients, due: counts.due,
            leased: counts.leased, deferred: counts.deferred, held: counts.held,
            storedBytes: counts.storedBytes, originalBytes: counts.originalBytes,
            oldestSeconds: counts.oldest.map { (now - $0).inMilliseconds / 1000 })
        let nodes = self.nodeStatuses()
        return ClusterStatus(
            clusterName: self.clusterName, clusterID: self.cluster,
            health: self.health, canLose: self.canLose,
            leader: self.leaderName, term: self.machine.term, nodes: nodes,
            queue: self.phase == .starting ? nil : queue,
            rates: ClusterStatus.Rates(
                accepted: self.rates.accepted.perSecond, delivered: self.rates.delivered.perSecond,
                deferred: self.rates.deferred.perSecond, bounced: self.rates.bounced.perSecond),
            possibleDuplicates: self.machine.queue.totals.possibleDuplicates, alarms: self.alarms)
    }

    private var leaderName: NodeName? {
        guard self.mesh != nil else { return self.identity.node }
        let leader = self.machine.replica.raft.leader
        if leader == self.machine.id { return self.identity.node }
        return leader == .none ? nil : self.directory.name(of: leader)
    }

    /// Voters that this node reaches, itself among them.
    private var reachableVoters: Int {
        self.machine.replica.raft.configuration.allVoters.count { voter in
            voter == self.machine.id
                || self.directory.lines.contains { $0.incarnation == voter && $0.hasControl }
        }
    }

    /// Voters that may fail with a majority left.
    private var canLose: Int {
        let voters = self.machine.replica.raft.configuration.allVoters.count
        return max(0, self.reachableVoters - (voters / 2 + 1))
    }

    private var health: ClusterStatus.Health {
        guard self.mesh != nil else { return self.alarms.isEmpty ? .healthy : .degraded }
        let voters = self.machine.replica.raft.configuration.allVoters.count
        if self.leaderName == nil || voters == 0 { return .noQuorum }
        return self.alarms.isEmpty && self.reachableVoters == voters ? .healthy : .degraded
    }

    private func nodeStatuses() -> [ClusterStatus.Node] {
        let disk = self.storage.statistics()
        let state: ClusterStatus.Node.State =
            switch self.phase {
            case .starting, .opening: .starting
            case .ready: .ready
            case .stopping, .stopped: .stopping
            }
        let applied = self.directory.lines.compactMap { $0.standing?.applied.index }
        let newest = max(
            applied.max() ?? 0, self.machine.applied.index + self.machine.backlog)
        let own = ClusterStatus.Node(
            name: self.identity.node, role: self.role(of: self.machine.id), state: state,
            isLeader: self.leaderName == self.identity.node,
            lag: newest - self.machine.applied.index, applied: self.machine.applied.index,
            leases: self.machine.queue.leaseCount(of: self.identity.node),
            sessionsIn: self.shared.sessionsIn.load(ordering: .relaxed),
            sessionsOut: self.shared.connectionsOut.load(ordering: .relaxed),
            diskFreeRatio: Double(disk.freeBytes) / Double(max(1, disk.totalBytes)),
            seenMilliseconds: 0)
        let others = self.directory.lines.map { self.status(of: $0, newest: newest) }
        return ([own] + others).sorted { $0.name < $1.name }
    }

    private func role(of member: MemberID) -> String {
        guard self.mesh != nil else { return "voter" }
        let configuration = self.machine.replica.raft.configuration
        return configuration.allVoters.contains(member) ? "voter" : "worker"
    }

    private func status(of line: PeerLine, newest: UInt64) -> ClusterStatus.Node {
        let standing = line.standing
        let applied = standing?.applied.index ?? 0
        let state: ClusterStatus.Node.State =
            !line.hasControl ? .unreachable : standing?.isDraining == true ? .draining : .ready
        return ClusterStatus.Node(
            name: line.name, role: self.role(of: line.incarnation), state: state,
            isLeader: self.leaderName == line.name, lag: newest - min(newest, applied),
            applied: applied, leases: self.machine.queue.leaseCount(of: line.name),
            sessionsIn: Int(standing?.sessionsIn ?? 0),
            sessionsOut: Int(standing?.sessionsOut ?? 0),
            diskFreeRatio: Double(standing?.diskFreePermille ?? 0) / 1000,
            seenMilliseconds: (SystemClock.bootTime() - line.heardAt).inMilliseconds)
    }
}
