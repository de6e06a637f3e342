// NodeUpkeep.swift - what happens by itself: renewals, ticks, time limits, alarms.

import Logging
import MailQueue
import NIOCore
import Networking
import Primitives
import Raft
import Spool
import Storage
import Synchronization

extension Node {
    /// While anything waits, queue time is brought into the log at least this often.
    private static let tickInterval = Duration.seconds(30)

    func startTimers() {
        let pace = min(self.renewal, SessionTiming.renewalLeast)
        self.timers.append(
            self.loop.scheduleRepeatedTask(
                initialDelay: .zero, delay: .nanoseconds(pace.inNanoseconds)
            ) { _ in self.renewIfDue(pace) })
        self.timers.append(
            self.loop.scheduleRepeatedTask(initialDelay: .seconds(1), delay: .seconds(1)) { _ in
                self.eachSecond()
            })
    }

    /// The own session is open: what this node reckons with is of its times.
    func useTiming(_ timing: SessionTiming) {
        self.leaseClock.begin(timing)
        self.renewedLast = .zero
        self.shared.sessionTerm.store(timing.term.inNanoseconds, ordering: .relaxed)
        self.shared.guardTime.store(
            min(self.guardTime, timing.guardMax).inNanoseconds, ordering: .relaxed)
    }

    private func renewIfDue(_ pace: Duration) {
        let now = SystemClock.bootTime()
        let pause = min(self.renewal, self.leaseClock.timing.renewalMax)
        // Half a turn early rather than half a turn late.
        guard now - self.renewedLast + pace / 2 >= pause else { return }
        self.renewedLast = now
        self.renew()
    }

    /// The session's renewal. This node is its own leader, and the only voter: the quorum round is
    /// itself. A process that stood still for longer than T sends no final dot until this runs;
    /// then its leases go on, since only its own command could have given them to another.
    func renew() {
        guard self.machine.session != .none, self.phase == .ready || self.phase == .stopping
        else { return }
        let now = SystemClock.bootTime()
        guard self.mesh == nil else {
            if self.mayRenew { self.machine.renew(now: now) }
            self.planTurn()
            return
        }
        self.leaseClock.renewed(sentAt: now)
        // With the permission for final dots comes how they are to be sent.
        let isAlone = self.machine.queue.isAlone(self.identity.node)
        self.shared.hasOthers.store(!isAlone, ordering: .relaxed)
        self.publishLease()
    }

    private func eachSecond() {
        self.rates.accepted.sample()
        self.rates.delivered.sample()
        self.rates.deferred.sample()
        self.rates.bounced.sample()
        let now = SystemClock.bootTime()
        // In case the news of a sync came to nobody: never later than this.
        self.drain()
        self.giveUpOverdue(now)
        self.giveUpSessionless(now)
        self.countHolders(now)
        self.checkpointIfWanted(now)
        self.keepMembers(now)
        self.planRepairsSoon()
        self.markState(now)
        self.compareClocks()
        self.updateObstacle()
        self.tellDrained(self.isDrained)
        self.sampleMetrics()
        self.sampleQuota()
        let waiting = self.machine.queue.counts.messages > 0
        let stamped = self.machine.queue.time
        if self.phase == .ready, waiting, self.waiters.isEmpty, self.machine.isReadyLeader,
            self.machine.queueTime(at: now) - stamped >= Self.tickInterval
        {
            self.proposeAsLeader(Command(.tick))
        }
    }

    private func sampleMetrics() { self.metrics.record(self.metricsSample) }

    /// The queue's states are the cluster's; the rest is of this node alone.
    var metricsSample: NodeMetrics.Sample {
        let counts = self.machine.queue.counts
        let disk = self.storage.statistics()
        return NodeMetrics.Sample(
            due: counts.due, leased: counts.leased, deferred: counts.deferred, held: counts.held,
            leases: self.ownLeases, isLeader: self.machine.isReadyLeader, term: self.machine.term,
            lag: self.machine.backlog,
            diskFreeRatio: Double(disk.freeBytes) / Double(max(1, disk.totalBytes)))
    }

    /// Deliveries that this node may attempt now.
    var ownLeases: Int { self.machine.queue.leaseCount(of: self.identity.node) }

    /// New mail is refused; for less than `patience` it waits.
    private var isLeaderless: Bool {
        guard self.mesh != nil, let since = self.leaderlessSince else { return false }
        return SystemClock.bootTime() - since >= Self.patience
    }

    /// What new mail meets now.
    func updateObstacle() {
        let obstacle: Obstacle
        switch self.phase {
        case .stopping, .stopped: obstacle = .stopping
        case .starting where self.isLeaderless, .opening where self.isLeaderless,
            .ready where self.isLeaderless:
            obstacle = .noLeader
        case .starting, .opening: obstacle = .catchingUp
        // Among others it needs a session to draw tags of.
        case .ready where self.mesh != nil && self.isSessionlessForLong: obstacle = .catchingUp
        case .ready where self.isDrained: obstacle = .stopping
        case .ready where self.storage.level != .normal: obstacle = .full
        case .ready: obstacle = self.copiesObstacle ?? (self.quota.isOver ? .overQuota : .none)
        }
        self.shared.obstacle.store(obstacle.rawValue, ordering: .relaxed)
    }
}
