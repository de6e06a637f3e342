// Faults.swift - what can go wrong, by name, and how often each kind did.
//
// See       the last section of the pitfalls: each kind there has a case here.

/// One kind of fault. Raw values index the rates and the counters.
package enum Fault: Int, CaseIterable, Sendable {
    /// The process ends (kill -9): what was written stays, what was not is lost.
    case crash
    /// The machine ends: what was not synced is lost, kept or torn.
    case powerLoss
    /// All machines end at once.
    case blackout
    /// SIGSTOP; messages wait, ticks do not happen.
    case pause
    /// The same, but the clock that counts ticks went on.
    case suspend
    /// The clock runs up to 10 % too fast or too slow from now on.
    case clockRate
    /// Some ticks at once.
    case clockJump
    /// Two groups, nothing between them.
    case partition
    /// One machine hears nobody, or nobody hears it.
    case oneWay
    /// One machine is alone.
    case isolate
    /// One link comes and goes.
    case flap
    /// One link holds everything back and releases it at once.
    case clog
    /// A connection breaks: what is under way on it is lost, both ends learn of it.
    case reset
    /// The next sync takes seconds.
    case stall
    /// The next write fails: the process ends; its content is there or not.
    case writeError
    /// The next sync fails: the process ends; its content is there or not.
    case syncError
    /// No space for a write: the process ends.
    case full
    /// No space for a new segment: the old one goes on.
    case refusedSegment
    /// A synced record has rotted; found at the next start.
    case rot
    /// A write went to the place of another record; found at the next start.
    case misdirected
    /// A record cannot be read at the next start.
    case readError
    /// The checkpoint has rotted; found at the next start.
    case checkpointRot
    /// The disk is empty at the next start.
    case wipe
    /// The leadership is handed over.
    case transfer
    /// Somebody is told to campaign.
    case campaign
    /// A change of one member.
    case change
    /// A change of several members.
    case joint

    package var name: String { "\(self)" }

    /// Costs a member its identity.
    package var isDestructive: Bool {
        switch self {
        case .rot, .misdirected, .readError, .checkpointRot, .wipe: true
        case .crash, .powerLoss, .blackout, .pause, .suspend, .clockRate, .clockJump, .partition,
            .oneWay, .isolate, .flap, .clog, .reset, .stall, .writeError, .syncError, .full,
            .refusedSegment, .transfer, .campaign, .change, .joint:
            false
        }
    }
}

/// How often things happened: a check that never runs and a fault that never strikes prove nothing.
package struct Counters: Sendable {
    package var faults = [Int](repeating: 0, count: Fault.allCases.count)
    package var checks = [Int](repeating: 0, count: Checker.allCases.count)
    package var events = 0
    package var messages = 0
    package var lost = 0
    package var replayed = 0
    package var batches = 0
    package var stores = 0
    package var torn = 0
    package var starts = 0
    /// Crashes with a checkpoint under way.
    package var halfCheckpoints = 0
    package var checkpoints = 0
    package var compactions = 0
    package var segmentsDropped = 0
    package var snapshotsSent = 0
    package var snapshotsInstalled = 0
    package var leaders = 0
    package var proposals = 0
    package var applied = 0
    package var commands = 0
    package var duplicates = 0
    package var reads = 0
    package var changesApplied = 0
    package var jointApplied = 0
    package var destroyed = 0
    package var replaced = 0
    /// Groups that stand still because a leader was removed: see `World.isStuck`.
    package var stuck = 0
    package var simulatedNanos: Int64 = 0

    package init() {}

    package mutating func add(_ other: Counters) {
        for i in self.faults.indices { self.faults[i] += other.faults[i] }
        for i in self.checks.indices { self.checks[i] += other.checks[i] }
        for path in Self.numbers { self[keyPath: path.1] += other[keyPath: path.1] }
        self.simulatedNanos += other.simulatedNanos
    }

    /// The plain counters by name, for adding and printing.
    package static var numbers: [(String, WritableKeyPath<Counters, Int>)] {
        [
            ("events", \.events), ("messages", \.messages), ("lost", \.lost),
            ("replayed", \.replayed), ("batches", \.batches), ("stores", \.stores),
            ("torn", \.torn), ("starts", \.starts), ("halfCheckpoints", \.halfCheckpoints),
            ("checkpoints", \.checkpoints),
            ("compactions", \.compactions), ("segmentsDropped", \.segmentsDropped),
            ("snapshotsSent", \.snapshotsSent), ("snapshotsInstalled", \.snapshotsInstalled),
            ("leaders", \.leaders), ("proposals", \.proposals), ("applied", \.applied),
            ("commands", \.commands), ("duplicates", \.duplicates), ("reads", \.reads),
            ("changesApplied", \.changesApplied), ("jointApplied", \.jointApplied),
            ("destroyed", \.destroyed), ("replaced", \.replaced), ("stuck", \.stuck),
        ]
    }
}
