// SimNode.swift - one node: its disk for ever, and at most one process around a NodeMachine.
//
// Like      Sources/Cluster/Node*.swift, function by function: Node, NodeStart, NodeCommit (here
//           SimNode+Turn), NodePeers, NodeBodies, NodeHolding, NodeWork, NodeUpkeep,
//           NodeRepair, NodeSnapshots, NodeInstall, NodeMembers. Event loop,
//           Storage and mesh are the world's; the machines are the product's.
// See       Docs/Simulator.md.

import Cluster
import MailQueue
import Primitives
import Raft
import Spool

final class SimNode {
    enum Phase: Equatable { case starting, opening, ready, stopping }

    /// Who is to be told a result.
    enum Purpose {
        case submission(SimSubmission, Tag)
        case givenUp(Tag)
        case cancel(Tag)
        case answer((CommandResult) -> Void)
        case nothing
    }
    struct Waiter {
        var number: UInt64
        var proposedAt: Instant
        var purpose: Purpose
    }
    struct Store {
        var ticket: UInt64
        var position: UInt64
        var since: Instant
        /// The snapshot that is current with it.
        var installs: SimSnapshot?
    }
    struct Placing {
        var tag: Tag
        var placement: BodyPlacement
        var submission: SimSubmission
        var enqueue: Enqueue
        var report: ReportID?
        var body: SimBody
        var chunks: UInt32
        var since: Instant
    }
    enum Whose {
        case own(Tag)
        case peer(Int, Tag)
        /// A copy that is made again.
        case copy(SimCopy)
    }
    struct BodyWait {
        var position: UInt64
        var whose: Whose
    }
    struct Incoming {
        var from: Int
        var number: UInt64
        var holding = BodyHolding()
        var chunks: UInt32 = 0
    }
    struct Fetch {
        var number: UInt64
        var from: Int
        var message: Tag
        var since: Instant
        var answer: (SimBody?) -> Void
    }

    unowned let world: SimWorld
    let place: Int
    let name: NodeName
    private(set) var disk: SimDisk
    /// Of the disk: another one after a wipe.
    private(set) var id: MemberID
    /// Parts in a million by which the clock is too fast.
    let drift: Int64

    // MARK: The process.

    /// Counts processes.
    private(set) var epoch: UInt32 = 0
    private(set) var isRunning = false
    private(set) var isPaused = false
    var pausedAt: Int64 = 0
    /// It stood still for longer than the slack between the two counts of a lease's time, and has
    /// just gone on: nobody has cut its connections yet.
    private(set) var isLateUntil: Int64 = 0
    private var held: [() -> Void] = []
    private var clockBase: Int64 = 0

    var machine: NodeMachine
    var phase = Phase.starting
    var boot: BootNumber = 0
    /// It is asked to end, and peers know; it has begun nothing that has not ended, and says so.
    var isLeaving = false
    var isClosing = false
    var whenEnded: (() -> Void)?
    var isReopening = false
    var isSessionRefused = false
    var sessionlessSince: Instant?
    var sessionless: [(submission: SimSubmission, since: Instant)] = []
    var leaderlessSince: Instant?
    var dutiesDoneIn: UInt64 = 0
    var isTurning = false
    var isTurnPlanned = false
    var actions: [Replica.Action] = []
    var posts: [Post] = []
    var effects: [Effect] = []
    /// Ascending.
    var waiters: [Waiter] = []
    var stores: [Store] = []
    var placings: [Placing] = []
    var bodyWaits: [BodyWait] = []
    /// Leases of messages whose clients were told no, while a Cancel is under way.
    var withheld: [(tag: Tag, leases: [DeliveryID])] = []
    var incoming: [Incoming] = []
    var nextStream: UInt64 = 0
    var fetches: [Fetch] = []
    var nextFetch: UInt64 = 0
    /// By place: the links that are up, and the disk that was last met there.
    var hasControl: [Bool]
    var hasBulk: [Bool]
    var known: [MemberID?]
    /// By place: what peers have said of themselves.
    var standings: [(refusesBodies: Bool, isDraining: Bool)]
    /// By place: when something was heard from there.
    var heardAt: [Instant]
    var care = MemberKeeper()
    var leaseClock = LeaseClock()
    var sharing = ShareKeeper()
    var isSyncing = false
    var checkpointIndex: UInt64 = 0
    var checkpointedAt = Instant.zero
    var isCheckpointing = false
    /// The members that the last checkpoint knows; nil: it was made before this start.
    var checkpointMembers: Configuration?
    var repairs: Repairs
    var isRepairPlanned = false
    var source = SnapshotSource.simulated
    var sink = SnapshotSink.simulated
    var snapshotFiles = SimSnapshotFiles()
    /// New bodies of others are refused.
    var isLowOnDisk = false
    var wake: UInt64 = 0
    let courierOut: SimDelivery
    var dice: Generator

    init(place: Int, id: MemberID, world: SimWorld) {
        let count = world.scenario.nodes
        self.place = place
        self.id = id
        self.world = world
        self.name = "n\(place)"
        self.disk = SimDisk(segmentRecords: world.scenario.segmentRecords)
        self.drift = world.draw(-40_000, 40_000)
        self.hasControl = [Bool](repeating: false, count: count)
        self.hasBulk = self.hasControl
        self.known = [MemberID?](repeating: nil, count: count)
        self.standings = self.hasBulk.map { _ in (false, false) }
        self.heardAt = self.hasBulk.map { _ in .zero }
        self.repairs = Repairs(own: Holder(node: self.name, incarnation: id), world.scenario)
        self.dice = Generator(seed: world.dice.next())
        self.machine = NodeMachine(
            queue: MailQueue(), options: Options(id: id),
            start: Start(configuration: Configuration(voters: [id])), known: [],
            clock: QueueClock(last: .zero, stopped: .zero, now: .zero), random: 0)
        self.courierOut = SimDelivery()
        self.courierOut.node = self
    }

    var holder: Holder { Holder(node: self.name, incarnation: self.id) }
    /// The disk that was last met at a place.
    func holder(of place: Int) -> Holder? {
        self.known[place].map { Holder(node: "n\(place)", incarnation: $0) }
    }
    /// Where a disk was last met.
    func place(of disk: MemberID) -> Int? { self.known.firstIndex { $0 == disk } }

    /// CLOCK_BOOTTIME here.
    var clock: Instant {
        let passed = self.world.now
        return Instant(
            nanoseconds: self.clockBase + passed + passed / 1_000_000 * self.drift)
    }
    var wall: WallTime {
        WallTime(milliseconds: 1_700_000_000_000 + self.world.now / SimWorld.millisecond)
    }
    var clocks: Clocks { Clocks(now: self.clock, wall: self.wall) }

    // MARK: Life.

    /// Something happens to the process `epoch`: at once, when it goes on, or never.
    func happen(_ epoch: UInt32, _ body: @escaping () -> Void) {
        guard self.isRunning, self.epoch == epoch else { return }
        guard !self.isPaused else {
            self.held.append(body)
            return
        }
        body()
        self.afterEvent()
    }

    private func afterEvent() {
        guard self.isTurnPlanned, self.isRunning else { return }
        self.isTurnPlanned = false
        let lazy = self.world.scenario.lazyPermille
        if lazy > 0, self.world.chance(lazy) {
            self.world.after(self.world.draw(0, 3 * SimWorld.millisecond), on: self) {
                self.isTurnPlanned = true
            }
        } else {
            self.turn()
        }
    }

    func start() {
        guard !self.isRunning else { return }
        self.epoch += 1
        self.isRunning = true
        self.world.counters[.starts] += 1
        self.clockBase = self.world.draw(0, 1000) * SimWorld.second
        self.reset()
        self.disk.recovered()
        self.disk.boot += 1
        self.boot = self.disk.boot
        self.restore()
        self.world.note("\(self.name) starts, boot \(self.boot), at \(self.machine.applied.index)")
        self.every(20 * SimWorld.millisecond) { self.peerTick() }
        self.every(LeaseClock.renewal.inNanoseconds) { self.renew() }
        self.every(SimWorld.second) { self.eachSecond() }
    }

    private func every(_ nanos: Int64, _ body: @escaping () -> Void) {
        self.world.after(nanos, on: self) {
            body()
            self.every(nanos, body)
        }
    }

    /// The disk is empty: whoever starts on it is another member.
    func wipe(_ id: MemberID) {
        invariant(!self.isRunning, "a disk is wiped between two processes")
        self.id = id
        self.disk = SimDisk(segmentRecords: self.world.scenario.segmentRecords)
        self.world.truth.losesCancels(of: self)
    }

    private func reset() {
        self.phase = .starting
        self.isLeaving = false
        self.isClosing = false
        self.whenEnded = nil
        self.isReopening = false
        self.isSessionRefused = false
        self.sessionlessSince = nil
        self.sessionless = []
        self.leaderlessSince = nil
        self.dutiesDoneIn = 0
        self.isTurning = false
        self.isTurnPlanned = false
        self.waiters = []
        self.stores = []
        self.placings = []
        self.bodyWaits = []
        self.withheld = []
        self.incoming = []
        self.fetches = []
        for place in self.known.indices {
            self.hasControl[place] = false
            self.hasBulk[place] = false
            self.known[place] = nil
            self.standings[place] = (false, false)
            self.heardAt[place] = .zero
        }
        self.repairs = Repairs(own: self.holder, self.world.scenario)
        self.isRepairPlanned = false
        self.source = .simulated
        self.sink = .simulated
        self.snapshotFiles = SimSnapshotFiles()
        self.checkpointMembers = nil
        self.care = MemberKeeper()
        self.leaseClock = LeaseClock()
        self.sharing = ShareKeeper()
        self.isSyncing = false
        self.isCheckpointing = false
        self.isLowOnDisk = false
        self.courierOut.reset()
    }

    /// The machine of what is on the disk; see NodeStart's `Restored`.
    private func restore() {
        var queue = MailQueue()
        let checkpoint = self.disk.checkpoint
        var known: [LogEntry] = []
        let start: Start
        do {
            if let checkpoint { queue = try checkpoint.queue() }
            var replay = LogReplay(applied: checkpoint?.position ?? .zero)
            self.disk.forEachRecord { record in
                switch record {
                case .entry(let entry): replay.take(entry)
                case .hardState(let state): replay.take(state)
                case .base(let position, generation: _): replay.take(base: position)
                case .body: break
                }
            }
            start = try replay.start(
                configuration: checkpoint?.configuration
                    ?? Configuration(voters: self.world.founders))
            for entry in start.entries where entry.kind == .normal && !entry.data.isEmpty {
                known.append(
                    try LogEntry(index: entry.index, term: entry.term, bytes: entry.data))
            }
        } catch {
            self.world.fail(7, "\(self.name) cannot start: \(error)")
            return
        }
        self.world.truth.restarts(self, start)
        let newest = known.last.map { ($0.stamp, $0.wall) }
        let last = max(queue.time, newest?.0 ?? checkpoint?.stamp ?? .zero)
        // Walls are always believed here.
        let stopped = (newest?.1 ?? checkpoint?.wall).map { self.wall - $0 } ?? .zero
        var options = Options(id: self.id)
        options.appendBytesMax = 64 << 10
        self.machine = NodeMachine(
            queue: queue, options: options, start: start, known: known,
            clock: QueueClock(last: last, stopped: stopped, now: self.clock),
            random: self.dice.next())
        self.sayNoted(known, commit: start.hardState.commit)
        self.checkpointIndex = self.machine.applied.index
        self.checkpointedAt = self.clock
        self.world.truth.compare(self)
        self.findDamage()
    }

    /// Facts of the process before go in front of its successor's session; see OutcomeNotes.
    private func sayNoted(_ known: [LogEntry], commit: UInt64) {
        let committed = known.filter { $0.index <= commit }.compactMap(\.command.tag)
        for note in self.disk.notes where note.command.tag.map(committed.contains) == false {
            if NotedFacts.mayBeNews(note.command, to: self.machine.queue) {
                self.world.counters[.noted] += 1
                self.machine.resume(fact: note.command)
            }
        }
    }

    /// The process ends; what was not synced is there or not.
    func end(isPower: Bool) {
        guard self.isRunning else { return }
        self.isRunning = false
        self.isPaused = false
        self.held = []
        self.epoch += 1
        let unsynced = self.disk.unsynced
        var keeps = unsynced
        var isWhole = true
        // What a process has written is the kernel's; part of it may have waited in the process.
        if isPower || self.world.chance(300) {
            isWhole = false
            keeps = Int(self.world.draw(0, Int64(unsynced)))
            self.world.counters[.torn] += 1
        }
        self.endProcess(keeps: keeps, isWhole: isWhole, isSudden: true)
    }

    /// The process ends by itself: all that it has written is the kernel's.
    func endAsAsked() {
        self.isRunning = false
        self.held = []
        self.epoch += 1
        self.endProcess(keeps: self.disk.unsynced, isWhole: true, isSudden: false)
    }

    private func endProcess(keeps: Int, isWhole: Bool, isSudden: Bool) {
        self.disk.crash(keeps: keeps, isWhole: isWhole)
        for waiter in self.waiters { self.cut(waiter.purpose, isSudden: isSudden) }
        for placing in self.placings { self.cut(placing.submission, isSudden: isSudden) }
        self.courierOut.processEnded()
        self.world.network.ended(self.place)
        self.world.truth.crashed(self)
    }

    private func cut(_ purpose: Purpose, isSudden: Bool) {
        if case .submission(let submission, _) = purpose {
            self.cut(submission, isSudden: isSudden)
        }
    }

    private func cut(_ submission: SimSubmission, isSudden: Bool) {
        if submission.isRefused {
            // Told 421, and nobody lives who could take it back.
            if isSudden { self.world.truth.excused.insert(submission.content) }
        } else {
            submission.client?.wasCut(submission)
        }
    }

    /// Of 0.95 and 1.05 of T + H, with clocks that differ by 8 %, and of a tick, is left for a
    /// process that stands still.
    private var slack: Int64 {
        let timing = self.machine.timing
        let left = (timing.term + timing.holdDown).scaled(permille: 20) - .milliseconds(25)
        return left.inNanoseconds
    }
    /// In which a process that goes on has cut its connections.
    private static let cutTime = 50 * SimWorld.millisecond

    /// Its connections are not its fault (Decisions/0021).
    var isExcusedForShares: Bool {
        self.isPaused
            ? self.world.now - self.pausedAt > self.slack : self.world.now < self.isLateUntil
    }

    func pause(_ nanos: Int64) {
        guard self.isRunning, !self.isPaused else { return }
        self.isPaused = true
        self.pausedAt = self.world.now
        self.world.note("\(self.name) stands still for \(nanos / SimWorld.millisecond) ms")
        let epoch = self.epoch
        self.world.after(nanos) {
            guard self.isRunning, self.epoch == epoch, self.isPaused else { return }
            self.isPaused = false
            if nanos > self.slack { self.isLateUntil = self.world.now + SimNode.cutTime }
            self.world.note("\(self.name) goes on")
            let all = self.held
            self.held = []
            for one in all { self.happen(epoch, one) }
        }
    }
}
