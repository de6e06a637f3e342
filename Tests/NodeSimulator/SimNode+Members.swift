// SimNode+Members.swift - who belongs to the cluster: the driver of the product's MemberKeeper.
//
// Like      NodeMembers; the founding record is the world's.

import Cluster
import MailQueue
import Primitives
import Raft
import Spool

extension SimNode {
    var drainingSince: Instant? { self.care.drainingSince }

    func heard(_ peer: Int) { self.heardAt[peer] = self.clock }

    /// What is known of peers now.
    var memberPeers: MemberPeers {
        let lines = self.known.indices.compactMap { peer -> MemberPeer? in
            guard let holder = self.holder(of: peer) else { return nil }
            var line = MemberPeer(
                holder, isOfCluster: true, hasControl: self.hasControl[peer],
                hasBulk: self.hasBulk[peer], heardAt: self.heardAt[peer])
            line.isDraining = self.standings[peer].isDraining
            line.refusesBodies = self.standings[peer].refusesBodies
            return line
        }
        return MemberPeers(own: self.holder, lines, now: self.clock)
    }

    private var founders: Founders {
        let record = self.world.record
        return Founders(members: record, seeds: record.map(\.name), count: record.count)
    }

    /// With each tick.
    func keepMembers() {
        guard self.care.looks(at: self.clock) else { return }
        let peers = self.memberPeers
        for news in self.care.news(self.machine, peers) { self.take(news) }
        let condition = MemberKeeper.Condition(
            isStopping: self.phase == .stopping, isLowOnDisk: self.isLowOnDisk,
            syncsSince: self.stores.first?.since)
        let (founders, clocks) = (self.founders, self.clocks)
        // A new leader's first duty gives the state its settings: they are the same everywhere.
        let steps = self.care.keep(
            &self.machine, peers, founders, condition, settings: nil, at: clocks)
        for step in steps { self.note(step) }
        if !steps.isEmpty { self.isTurnPlanned = true }
    }

    private func take(_ news: MemberKeeper.News) {
        switch news {
        case .address, .removed: break
        case .joined(let holder):
            if let peer = self.place(of: holder.incarnation) { self.joined(peer) }
        case .gone(let holder):
            let now = self.clock
            for tag in self.placings.map(\.tag) {
                self.change(tag) { $0.lost(holder, .incarnation, now: now) }
            }
        case .drains: self.sendStandings()
        }
    }

    private func note(_ step: MemberKeeper.Step) {
        guard case .change(let change) = step else { return }
        self.world.counters[.changes] += 1
        self.world.note("\(self.name) changes members: \(change.changes)")
    }

    func allows(removalOf disk: MemberID) -> Bool {
        self.machine.allowsRemoval(of: disk, self.founders, self.memberPeers)
    }
}
