// NodeUpkeep.swift - what happens by itself: renewals, ticks, time limits, checkpoints, alarms.

import Logging
import MailQueue
import NIOCore
import Networking
import Primitives
import Raft
import Spool
import Storage
import Synchronization

/// Where the last checkpoint stands, and whether one is being written.
struct CheckpointState {
    /// Entries applied since the last one; a long tail makes a restart slow.
    static let entriesMax: UInt64 = 100_000
    /// With anything applied at all, a checkpoint is made after this time.
    static let interval = Duration.seconds(60)

    var isRunning = false
    /// Everything up to here is in the newest checkpoint.
    var index: UInt64 = 0
    var madeAt = Instant.zero
    /// The journal waits for a checkpoint up to here; 0: it does not wait.
    var wanted: UInt64 = 0
    /// Not saved by a checkpoint that failed for want of space: goes into the next.
    var unsaved: [RowChange] = []
}

extension Node {
    /// While anything waits, queue time is brought into the log at least this often.
    private static let tickInterval = Duration.seconds(30)

    func startTimers() {
        self.timers.append(
            self.loop.scheduleRepeatedTask(
                initialDelay: .zero, delay: .nanoseconds(LeaseClock.renewal.inNanoseconds)
            ) { _ in self.renew() })
        self.timers.append(
            self.loop.scheduleRepeatedTask(initialDelay: .seconds(1), delay: .seconds(1)) { _ in
                self.eachSecond()
            })
    }

    /// The session's renewal. This node is its own leader, and the only voter: the quorum round is
    /// itself. A process that stood still for longer than T sends no final dot until this runs;
    /// then its leases go on, since only its own command could have given them to another.
    func renew() {
        guard self.machine.session != .none, self.phase == .ready || self.phase == .stopping
        else { return }
        let now = SystemClock.bootTime()
        self.leaseClock.renewed(sentAt: now)
        // With the permission for final dots comes how they are to be sent.
        let isAlone = self.machine.queue.isAlone(self.identity.node)
        self.shared.hasOthers.store(!isAlone, ordering: .relaxed)
        self.shared.lapsesAt.store(
            self.leaseClock.lapsesAt?.nanoseconds ?? 0, ordering: .relaxed)
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
        self.checkpointIfWanted(now)
        self.updateObstacle()
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

    private func sampleMetrics() {
        let counts = self.machine.queue.counts
        let disk = self.storage.statistics()
        self.metrics.sample(
            due: counts.due, leased: counts.leased, deferred: counts.deferred, held: counts.held,
            leases: counts.leased, isLeader: true, term: self.machine.term,
            lag: self.machine.backlog,
            diskFreeRatio: Double(disk.freeBytes) / Double(max(1, disk.totalBytes)))
    }

    /// Clients that have waited `commit_timeout` for their result are told 451 4.4.5. The entry
    /// may still be applied: then it is cancelled (the client will send the message again).
    func giveUpOverdue(_ now: Instant) {
        for number in self.waiters.numbers {
            guard var waiter = self.waiters[number] else { continue }
            guard now - waiter.proposedAt >= self.commitTimeout else { return }
            guard case .submission(let submission, _, let tag) = waiter.purpose else { continue }
            waiter.purpose = .givenUp(tag)
            self.waiters.update(number, waiter)
            guard let bound = submission.body, let loop = submission.loop else { continue }
            loop.execute { bound.value.decide(.refused(.timedOut)) }
        }
    }

    /// What new mail meets now.
    func updateObstacle() {
        let obstacle: Obstacle
        switch self.phase {
        case .starting, .opening: obstacle = .noLeader
        case .stopping, .stopped: obstacle = .stopping
        case .ready where self.storage.level != .normal: obstacle = .full
        case .ready: obstacle = self.quota.isOver ? .overQuota : .none
        }
        self.shared.obstacle.store(obstacle.rawValue, ordering: .relaxed)
    }

    // MARK: Checkpoints

    /// The journal asks for a checkpoint, to be able to drop a segment. From a storage thread.
    func checkpointWanted(upTo index: UInt64) {
        self.loop.execute {
            self.checkpoint.wanted = max(self.checkpoint.wanted, index)
            self.checkpointIfWanted(SystemClock.bootTime())
        }
    }

    private func checkpointIfWanted(_ now: Instant) {
        let applied = self.machine.applied.index
        let behind = applied - self.checkpoint.index
        let wanted = self.checkpoint.wanted > self.checkpoint.index
        guard !self.checkpoint.isRunning, behind > 0,
            wanted || behind >= CheckpointState.entriesMax
                || now - self.checkpoint.madeAt >= CheckpointState.interval
        else { return }
        self.makeCheckpoint { _ in }
    }

    /// Saves the rows changed since the last checkpoint.
    ///
    /// - Parameter completion: on the node's loop.
    func makeCheckpoint(_ completion: @escaping @Sendable (StorageError?) -> Void) {
        let delta = self.machine.takeDirty()
        let index = self.machine.applied.index
        let changes = self.checkpoint.unsaved + Self.changes(delta)
        self.checkpoint.unsaved = []
        self.checkpoint.isRunning = true
        let meta = CheckpointMeta(
            appliedIndex: index, appliedTerm: self.machine.applied.term,
            meta: NodeMeta(
                stamp: self.machine.queue.time, wall: SystemClock.wallTime(),
                configuration: self.machine.replica.raft.configuration
            ).encoded(queue: delta.meta))
        self.storage.checkpoint(changes, meta: meta) { error in
            self.loop.execute {
                self.checkpoint.isRunning = false
                self.checkpoint.madeAt = SystemClock.bootTime()
                if error == nil {
                    self.checkpoint.index = index
                } else {
                    self.checkpoint.unsaved = changes
                }
                completion(error)
            }
        }
    }
}

extension Node {
    /// The queue's rows as storage takes them.
    private static func changes(_ delta: CheckpointDelta) -> [RowChange] {
        var changes: [RowChange] = []
        changes.reserveCapacity(delta.upserts.count + delta.deletes.count)
        for key in delta.deletes { changes.append(RowChange(key: key, row: nil)) }
        for (key, row) in delta.upserts { changes.append(RowChange(key: key, row: row)) }
        return changes
    }
}

/// What the node keeps beside the queue's own meta blob.
struct NodeMeta {
    /// Queue time and wall clock belong together: after a stop, time goes on by their difference.
    var stamp: QueueTime
    var wall: WallTime
    /// The members in force at the checkpoint.
    var configuration: Configuration

    func encoded(queue: [UInt8]) -> [UInt8] {
        var writer = ByteWriter(capacity: queue.count + 32)
        writer.u8(2)
        writer.varint(self.stamp.milliseconds)
        writer.varint(UInt64(max(0, self.wall.milliseconds)))
        self.configuration.encode(into: &writer)
        writer.blob(queue)
        return writer.bytes
    }

    /// The node's part and the queue's.
    static func decode(_ bytes: [UInt8]) throws(CodecError) -> (NodeMeta, queue: [UInt8]) {
        var reader = ByteReader(bytes)
        guard try reader.u8() == 2 else { throw .unknown("meta") }
        let stamp = QueueTime(milliseconds: try reader.varint())
        let wall = WallTime(milliseconds: Int64(truncatingIfNeeded: try reader.varint()))
        let configuration = try Configuration(from: &reader)
        let queue = try reader.blob(atMost: 1 << 30)
        try reader.finish()
        return (NodeMeta(stamp: stamp, wall: wall, configuration: configuration), queue)
    }
}
