// NodeMembers.swift - who belongs to the cluster: the driver of the leader's care for members, and
// of a node's own part in it.
//
// Takes     links and what peers say of themselves, the applied rows of members, ticks.
// Gives     to the MemberKeeper its facts; what it says to mesh, bodies, operators.
// See       MemberKeeper (what is done when), NodeMachineMembers, NodeChanges (operators'
//           commands), Docs/Architecture.md.

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

extension Node {
    /// What is known of peers now.
    var memberPeers: MemberPeers {
        let lines = self.directory.lines.map { line in
            var peer = MemberPeer(
                line.holder, isOfCluster: line.cluster == self.cluster,
                hasControl: line.hasControl, hasBulk: line.hasBulk, heardAt: line.heardAt)
            peer.host = line.host
            peer.port = line.port
            peer.isDraining = line.standing?.isDraining ?? false
            peer.refusesBodies = line.standing?.refusesBodies ?? false
            return peer
        }
        return MemberPeers(own: self.ownHolder, lines, now: SystemClock.bootTime())
    }

    /// Nil: this node is alone, or does not know yet.
    var founders: Founders? {
        guard self.mesh != nil, let record else { return nil }
        return self.founders(of: record)
    }

    func founders(of record: FoundingRecord) -> Founders {
        Founders(
            members: record.members, seeds: self.seeds?.names ?? [], count: self.seedCount)
    }

    /// With each tick.
    func keepMembers(_ now: Instant) {
        guard self.care.looks(at: now) else { return }
        for news in self.care.news(self.machine, self.memberPeers) { self.take(news, now) }
        self.forgetRemoved(now)
        let peers = self.memberPeers
        let condition = MemberKeeper.Condition(
            isStopping: self.phase == .stopping, isLowOnDisk: self.storage.level != .normal,
            syncsSince: self.stores.first?.since)
        let (founders, settings, clocks) = (self.founders, self.newSettings, self.clocks)
        let steps = self.care.keep(
            &self.machine, peers, founders, condition, settings: settings, at: clocks)
        for step in steps { self.say(step) }
        if !steps.isEmpty { self.planTurn() }
    }

    // MARK: Of this node.

    private func take(_ news: MemberKeeper.News, _ now: Instant) {
        switch news {
        case .address(let view):
            self.mesh?.learn(view.name, address: Endpoint(host: view.host, port: Int(view.port)))
        // Bodies wait for copies: who has become a member may take them, who is none any more has
        // none.
        case .joined(let holder): self.holderJoined(holder)
        case .gone(let holder): self.holderRemoved(holder)
        case .drains(let isDraining):
            self.shared.isDraining.store(isDraining, ordering: .relaxed)
            self.logger.notice(
                isDraining ? "draining, as an operator wants" : "no longer draining")
            self.updateObstacle()
            // Others give it work, or the leadership, by its word.
            self.sendStandings()
        case .removed:
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

    /// Whether new sessions are refused since an operator drains this node.
    var isDrained: Bool { self.care.isDrained(at: SystemClock.bootTime()) }

    // MARK: Of the leader.

    /// The voter that should lead instead of this leader; nil: there is none.
    var heir: MemberID? { self.machine.heir(self.memberPeers) }

    private func say(_ step: MemberKeeper.Step) {
        switch step {
        case .settings, .forget, .handOver: break
        case .admit(let admission):
            self.logger.notice(
                "a node comes into the cluster",
                metadata: [
                    "peer": "\(admission.node)",
                    "incarnation": "\(Base32.text(admission.incarnation.raw))",
                ])
        case .remove(let removal):
            self.logger.notice(
                "a node leaves the cluster", metadata: ["peer": "\(removal.node)"])
        case .change(let change):
            self.logger.notice(
                "the members change",
                metadata: [
                    "change": "\(change.changes.map { "\($0.what) \(self.text(of: $0.member))" })"
                ])
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
