// Ending.swift - the faults stop: the world must agree, go on, and be whole within a bound.

import Primitives
import Raft

extension World {
    /// How long a healed world may take.
    static let healingNanos: Int64 = 30_000_000_000

    /// Everything heals; then everything must come to its end.
    package func heal() {
        self.note("the world heals")
        self.isHealing = true
        self.healedAt = self.now
        self.scenario.lossPermille = 0
        self.scenario.replayPermille = 0
        self.scenario.answerPermille = 1000
        self.scenario.network.tailPermille = 0
        self.scenario.sync.tailPermille = 0
        self.scenario.apply.tailPermille = 0
        for i in self.links.indices {
            self.links[i].cutUntil = 0
            self.links[i].flapUntil = 0
            self.links[i].clogUntil = 0
        }
        for host in self.hosts {
            host.disk.armed = nil
            if host.isPaused { self.resume(host) }
            if !host.isRunning {
                self.push(.restart, host: host.index, epoch: host.epoch, after: 0)
            }
        }
        let end = self.now + Self.healingNanos
        guard self.wait(until: end, for: { $0.unsettled }) else { return }
        // What comes now must be taken, too.
        for c in self.clients.indices {
            self.push(.client, host: c, item: 1 + c & 1, after: 0)
        }
        self.live(until: self.now + 1_000_000)
        _ = self.wait(until: self.now + 10_000_000_000, for: { $0.unsettled })
    }

    /// Lives until nothing is missing. - Returns: false after a violation.
    private func wait(until end: Int64, for missing: (World) -> String?) -> Bool {
        while self.truth.violation == nil {
            guard let text = missing(self) else {
                self.truth.check(.progress, true, "")
                return true
            }
            if self.now >= end {
                if self.isStuck {
                    self.truth.counters.stuck += 1
                } else {
                    self.truth.fail(
                        .progress,
                        "not whole \((self.now - self.healedAt) / Scenario.second) s after: \(text)"
                    )
                }
                return false
            }
            self.live(until: min(end, self.now + 200_000_000))
        }
        return false
    }

    /// Known, and no fault of this run: 1 a leader applies that it is removed and steps down; 2 the
    /// others have stored the change and do not know that it is committed, so that they need its
    /// vote; 3 its log is longer than theirs, and it does not stand itself.
    private var isStuck: Bool {
        if self.leader != nil { return false }
        for removed in self.hosts where removed.isRunning {
            guard let replica = removed.replica,
                !replica.raft.configuration.isVoter(removed.member)
            else { continue }
            let last = removed.disk.view.last
            var isLongest = true
            var isNeeded = false
            for other in self.hosts where other !== removed {
                guard let peer = other.replica,
                    peer.raft.configuration.isVoter(other.member)
                else { continue }
                if other.disk.view.last.isUpToDate(with: last) { isLongest = false }
                if peer.raft.configuration.isVoter(removed.member) { isNeeded = true }
            }
            if isLongest && isNeeded { return true }
        }
        return false
    }

    /// What is missing to a whole world; nil: nothing.
    private var unsettled: String? {
        guard let leader = self.leader else { return "nobody leads" }
        let configuration = leader.replica!.raft.configuration
        if configuration.isJoint { return "members are still changing: \(configuration.text)" }
        for (c, client) in self.clients.enumerated() where client.isBusy {
            return "client \(c) waits, command \(client.sequence), read \(client.isRead)"
        }
        if leader.state.position.index != leader.replica!.raft.lastIndex {
            return "leader \(leader.index) has not applied all of its log"
        }
        for id in configuration.allVoters + configuration.learners {
            let at = self.route[Int(id.raw)]
            if at < 0 { return "lost member \(id.raw) was not replaced" }
            let host = self.hosts[at]
            guard let replica = host.replica else { return "host \(at) does not run" }
            if replica.raft.leader != leader.member { return "host \(at) follows nobody" }
            if host.state != leader.state || host.configuration != configuration {
                return "host \(at) is at \(host.state.position.text), the leader at "
                    + leader.state.position.text
            }
        }
        return nil
    }
}
