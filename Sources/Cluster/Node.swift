// Node.swift - the driver of the node's machine: journal below, sessions and deliveries above.
//
// Takes     submissions, outcomes, operators' wishes; the journal's progress.
// Gives     verdicts, leased work, views.
// Threads   everything here is confined to `loop`; others come in by `execute`. What is read from
//           other threads stands in `shared`.
// Durable   an entry is applied, and its result told, only after the journal has synced it.
// See       NodeStart (first and last steps), NodeIntake, NodeCommit, NodeWork, NodeUpkeep.

package import Logging
import MailQueue
package import NIOCore
import Networking
import OpenSSL
package import Primitives
import Raft
import SMTP
package import Settings
import Spool
import Storage
import Synchronization

/// Reads the wall clock, on any thread.
package typealias WallClock = @Sendable () -> WallTime

/// One node of the cluster.
///
/// `@unchecked Sendable`: mutable state is touched on `loop` only; `shared` guards itself.
package final class Node: @unchecked Sendable {
    let loop: any EventLoop
    let storage: Storage
    let logger: Logger
    /// For people, and for the time after a stop of all.
    let wallClock: WallClock
    let identity: NodeIdentity
    /// This node alone: the placement of what it accepts.
    let holders: [Holder]
    let delivers: Bool
    /// Of a cluster of several nodes.
    let isSeveral: Bool
    let clusterName: String
    /// Founders.
    let seedCount: Int
    /// Connections that are open to other hosts, and how many may be; of a node among others.
    let shares = ShareBoard()
    let credit: UInt32
    let commitTimeout: Duration
    /// As the node's file says; of a short session at most its share (`SessionTiming`).
    let renewal: Duration
    let guardTime: Duration
    var renewedLast = Instant.zero
    let startedAt = SystemClock.bootTime()
    let shared = Shared()
    let metrics = NodeMetrics()

    var clusterSettings: ClusterSettings
    /// No R is set: it follows the voters.
    let copiesFollowVoters: Bool
    var machine: NodeMachine
    /// Who waits for results of the own session's commands, by their numbers.
    var waiters = NumberedRing<Waiter>(capacity: 256)
    /// In the order of their tickets.
    var stores = RingBuffer<Store>(capacity: 256)
    var actions: [Replica.Action] = []
    var isTurning = false
    var isTurnPlanned = false
    var followerLag = FollowerLag()
    /// Bodies are to be written with this turn.
    var isFlushWanted = false
    /// Nothing is applied any more: the process is to end.
    var hasFailed = false
    /// Tells what ends the process.
    var fault: @Sendable (StorageError) -> Void = { _ in }
    // Among others; all empty for a node alone.
    /// Nil: a cluster of one.
    var mesh: PeerMesh?
    var directory = PeerDirectory()
    var founding: Founding?
    var seeds: SeedList?
    /// As the disk had it at the start.
    var foundingOwn: Founding.Own?
    /// With what the cluster began, as soon as this node knows.
    var record: FoundingRecord?
    var care = MemberKeeper()
    var removals = RemovedNodes()
    /// Where peers reach this node.
    var peerPort = 0
    var saidWorks = false
    /// None before it is founded.
    var cluster: ClusterID
    /// Of the hard state that is known to be synced.
    var durableTerm: UInt64
    /// Leases of messages whose clients were told no, while a Cancel is under way: not attempted.
    var withheld: [Tag: [DeliveryID]] = [:]
    /// Cancels that were proposed.
    var cancelCount: UInt64 = 0
    var comparison = Comparison()
    /// Counts sessions that are opened in this process, too.
    var boot: BootNumber
    /// The start has found damage: notes of what was attempted may be lost.
    var mayLackNotes = false
    var posts: [Post] = []
    var generator: Generator
    /// Bodies of ours that are not on R disks.
    var placings: [PlacingKey: Placing] = [:]
    /// Of those that were streamed and have their tags.
    var placingKeys: [Tag: PlacingKey] = [:]
    var streamSenders: [StreamSender] = []
    /// Ascending by position.
    var bodyWaits = RingBuffer<BodyWait>()
    var incoming: [IncomingStream] = []
    var senders: [BodySender] = []
    var nextStream: UInt64 = 0
    var fetches: [UInt64: BodyFetch] = [:]
    var nextFetch: UInt64 = 0
    var repairs: Repairs
    var repairWork = RepairWork()
    /// Snapshots for others, and from them.
    var source = SnapshotSource()
    var sink = SnapshotSink()
    var snapshotFiles = SnapshotFiles()
    var sharing = ShareKeeper()
    /// Another session of this process is being opened.
    var isReopening = false
    var wants = Wants()
    var leaving = Leaving()
    /// Since when there is no leader; nil: there is one.
    var leaderlessSince: Instant?
    var effects: [Effect] = []
    var taker: (any LeaseTaker)?
    var recentBodies = RecentBodies()
    var leaseClock = LeaseClock()
    /// The term in which this node has done a new leader's first duties.
    var dutiesDoneIn: UInt64 = 0
    var checkpoint = CheckpointState()
    var phase = Phase.starting
    var rates = Rates()
    var timers: [RepeatedTask] = []
    var wake: Scheduled<Void>?
    /// When `wake` fires; nil: no timer is set.
    var wakeAt: Instant?
    var alarms: [String] = []
    /// Messages whose only copy is lost, until they have ended: said once each.
    var lostBodies: Set<Tag> = []
    var quota: QueueQuota
    /// Called once, when the node is ready.
    var whenReady: ((Result<Void, any Error>) -> Void)?

    package enum Phase: Equatable, Sendable { case starting, opening, ready, stopping, stopped }

    /// A store that the journal has not synced yet.
    struct Store {
        var ticket: UInt64
        var position: UInt64
        /// Of the hard state in it; nil: there is none.
        var term: UInt64?
        /// Takes the place of the queue when it is synced.
        var installs: PreparedSnapshot?
        /// When it was handed to the journal.
        var since = SystemClock.bootTime()
    }

    /// Who is to be told a result.
    struct Waiter {
        var proposedAt: Instant
        var purpose: Purpose
    }

    enum Purpose {
        case submission(Submission, MessageBody?, Tag)
        /// The client was told 451, and the Cancel goes behind the Enqueue.
        case givenUp(Tag)
        case cancel(Tag)
        case answer((CommandResult) -> Void)
        case nothing
    }

    struct Rates {
        var accepted = RateCounter()
        var delivered = RateCounter()
        var deferred = RateCounter()
        var bounced = RateCounter()
    }

    /// A session that waits for room in the journal.
    struct Paused: Sendable {
        var loop: any EventLoop
        var resume: NIOLoopBound<() -> Void>
    }

    /// What other threads read and write at any time.
    final class Shared: Sendable {
        let obstacle = Atomic<UInt8>(Obstacle.catchingUp.rawValue)
        let sessionsIn = Atomic<Int>(0)
        let connectionsOut = Atomic<Int>(0)
        let connectionsPerDestination = Atomic<Int>(1)
        /// The journal is durable up to here.
        let durable = Atomic<UInt64>(0)
        let drainScheduled = Atomic<Bool>(false)
        /// Somebody waits for chunks to be written.
        let streamsWait = Atomic<Bool>(false)
        /// When the leases lapse, in nanoseconds of CLOCK_BOOTTIME; 0: they have.
        let lapsesAt = Atomic<Int64>(0)
        /// The session that `lapsesAt` is of.
        let renewedSession = Atomic<UInt64>(0)
        /// G, in nanoseconds.
        let guardTime = Atomic<Int64>(LeaseClock.guardTime.inNanoseconds)
        /// T of the own session, in nanoseconds.
        let sessionTerm = Atomic<Int64>(SessionTiming().term.inNanoseconds)
        /// Other nodes have opened sessions: what lapses here may be leased elsewhere.
        let hasOthers = Atomic<Bool>(false)
        /// By an operator.
        let isDraining = Atomic<Bool>(false)
        /// It will stop: see NodeLeaving.
        let isLeaving = Atomic<Bool>(false)
        /// When somebody asked for the readiness last, in nanoseconds of CLOCK_BOOTTIME; 0: never.
        let checkedAt = Atomic<Int64>(0)
        let paused = Mutex<[Paused]>([])
    }

    enum Obstacle: UInt8 {
        case none = 0
        case full = 1
        case noLeader = 2
        case stopping = 3
        case overQuota = 4
        /// The applied state is not known to be new enough.
        case catchingUp = 5
        /// Too few nodes take bodies.
        case noCopies = 6
    }

    init(
        loop: any EventLoop, storage: Storage, identity: NodeIdentity, settings: Settings,
        clusterSettings: ClusterSettings, machine: consuming NodeMachine, logger: Logger,
        wallClock: @escaping WallClock
    ) {
        self.loop = loop
        self.storage = storage
        self.identity = identity
        self.holders = [Holder(node: identity.node, incarnation: identity.incarnation)]
        self.repairs = Repairs(own: self.holders[0])
        self.delivers = settings.delivery.enabled
        self.isSeveral = settings.isSeveral
        self.clusterName = settings.cluster?.name ?? ""
        self.seedCount = settings.cluster?.seeds.count ?? 1
        self.credit = UInt32(clamping: 2 * settings.delivery.connections)
        self.commitTimeout = settings.cluster?.commitTimeout ?? .seconds(30)
        self.renewal = settings.cluster?.renewal ?? LeaseClock.renewal
        self.guardTime = settings.cluster?.dotGuard ?? LeaseClock.guardTime
        self.clusterSettings = clusterSettings
        self.copiesFollowVoters = settings.cluster.map { $0.copies == nil } ?? false
        self.quota = QueueQuota(settings.relay)
        self.durableTerm = machine.term
        self.machine = machine
        self.logger = logger
        self.wallClock = wallClock
        self.cluster = identity.cluster
        self.boot = identity.boot
        self.generator = Generator(seed: Secrets.randomWord())
        self.shared.connectionsPerDestination.store(
            settings.delivery.connectionsPerDestination, ordering: .relaxed)
    }

    /// Whether mail can be taken now; from any thread.
    var obstacle: IntakeRefusal? {
        switch Obstacle(rawValue: self.shared.obstacle.load(ordering: .relaxed)) {
        case .some(.none): nil
        case .full: .full
        case .overQuota: .overQuota
        case .noLeader, .catchingUp, nil: .noLeader
        case .stopping: .stopping
        case .noCopies: .noCopies
        }
    }

    /// For balancers; from any thread.
    var readiness: Readiness {
        if self.shared.isDraining.load(ordering: .relaxed)
            || self.shared.isLeaving.load(ordering: .relaxed)
        {
            return .notReady(.draining)
        }
        switch Obstacle(rawValue: self.shared.obstacle.load(ordering: .relaxed)) {
        // A full queue refuses by 452; the balancer would find no better node.
        case .some(.none), .overQuota: return .ready
        case .full: return .notReady(.disk)
        case .stopping: return .notReady(.draining)
        case .noLeader: return .notReady(.noQuorum)
        case .noCopies: return .notReady(.storage)
        case .catchingUp, nil: return .notReady(.catchingUp)
        }
    }

    /// Runs `body` on the node's loop: at once if this is it.
    func onLoop(_ body: @escaping @Sendable (Node) -> Void) {
        if self.loop.inEventLoop {
            body(self)
        } else {
            self.loop.execute { body(self) }
        }
    }

    func note(connectionsOut: Int) {
        self.shared.connectionsOut.store(connectionsOut, ordering: .relaxed)
    }

    /// Whether a session may go on reading; if not, `resume` is called on its loop later.
    func mayReadOn(_ loop: any EventLoop, resume: @escaping () -> Void) -> Bool {
        if self.storage.mayTakeBytes { return true }
        let paused = Paused(loop: loop, resume: NIOLoopBound(resume, eventLoop: loop))
        self.shared.paused.withLock { $0.append(paused) }
        // 1 The writer was relieved before the line above: nobody would come. 2 So look again.
        if self.storage.mayTakeBytes { self.resumePaused() }
        return false
    }

    /// From any thread: all that wait may read again.
    func resumePaused() {
        let all = self.shared.paused.withLock { paused in
            defer { paused = [] }
            return paused
        }
        for paused in all { paused.loop.execute { paused.resume.value() } }
    }
}
