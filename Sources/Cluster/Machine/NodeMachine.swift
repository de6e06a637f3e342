// NodeMachine.swift - the node's decisions: what is proposed, in which order it is applied.
//
// Takes     commands, readings of the clocks, the news that entries are committed.
// Gives     log entries to append, results and effects in log order.
// Never     disk, sockets, clocks, promises: `Node` has those.
// See       MailQueue.apply (what a command does), QueueClock (stamps).

package import MailQueue
package import Primitives

/// The pure composite of queue, log view and session. One voter: what is durable is committed.
package struct NodeMachine: ~Copyable {
    package private(set) var queue: MailQueue
    private var clock: QueueClock
    /// Entries proposed and not yet applied, in index order.
    private var pending = RingBuffer<LogEntry>(capacity: 256)
    package private(set) var lastIndex: UInt64
    package private(set) var appliedIndex: UInt64
    package private(set) var appliedTerm: UInt64
    package let term: UInt64
    /// `.none` until the node's OpenSession has been applied.
    package private(set) var session = SessionID.none
    private var nextSequence: UInt64 = 1
    private var acknowledgements = Acknowledgements()

    /// - Parameters:
    ///   - queue: the state at `index`; everything up to there is applied.
    ///   - term: greater than that of every entry so far.
    package init(
        queue: consuming MailQueue, index: UInt64, indexTerm: UInt64, term: UInt64,
        clock: QueueClock
    ) {
        self.queue = queue
        self.lastIndex = index
        self.appliedIndex = index
        self.appliedTerm = indexTerm
        self.term = term
        self.clock = clock
    }

    /// Queue time at `now`.
    package func queueTime(at now: Instant) -> QueueTime { self.clock.reading(at: now) }

    /// Entries proposed and not yet applied.
    package var backlog: Int { self.pending.count }

    /// The next tag of the own session; nil without an open session.
    package mutating func drawTag() -> Tag? {
        guard self.session != .none else { return nil }
        defer { self.nextSequence += 1 }
        return Tag(session: self.session, sequence: self.nextSequence)
    }

    /// A command of the own session under a tag that was drawn before.
    package mutating func command(_ tag: Tag, _ action: Command.Action) -> Command {
        Command(
            Origin(
                session: tag.session, sequence: tag.sequence,
                acknowledged: self.acknowledgements.take()),
            action)
    }

    /// A drawn tag that no command will bear: its number is acknowledged unused.
    package mutating func giveUp(_ tag: Tag) {
        if tag.session == self.session { self.acknowledgements.add(tag.sequence) }
    }

    /// The entry for `command`: append it to the journal; its turn to be applied comes when it is
    /// durable.
    package mutating func propose(_ command: Command, now: Instant, wall: WallTime) -> LogEntry {
        self.lastIndex += 1
        let entry = LogEntry(
            index: self.lastIndex, term: self.term, stamp: self.clock.stamp(at: now), wall: wall,
            command: command)
        self.pending.append(entry)
        return entry
    }

    /// Applies the oldest entry not yet applied, which is committed now.
    package mutating func applyNext(
        effects: inout [Effect]
    ) -> (entry: LogEntry, result: CommandResult) {
        guard let entry = self.pending.popFirst() else { unreachable("commit without an entry") }
        let result = self.queue.apply(
            entry.command, index: entry.index, stamp: entry.stamp, effects: &effects)
        self.appliedIndex = entry.index
        self.appliedTerm = entry.term
        if case .openSession(let open) = entry.command.action,
            case .sessionOpened(let id) = result, open.nonce == self.openNonce
        {
            self.session = id
            self.nextSequence = 1
            self.acknowledgements = Acknowledgements()
        } else if let origin = entry.command.origin, origin.session == self.session {
            // The proposer is this node: the result is known with the apply.
            self.acknowledgements.add(origin.sequence)
        }
        return (entry, result)
    }

    /// Tells the machine's own OpenSession from an older one that is replayed.
    private var openNonce: UInt64 = 0

    package mutating func openSession(_ open: OpenSession) -> Command {
        self.openNonce = open.nonce
        return Command(.openSession(open))
    }

    /// What the leader should propose now: grants, expiries.
    package mutating func nextWork(at now: Instant, limit: Int) -> [Command] {
        self.queue.nextWork(now: self.clock.reading(at: now), limit: limit, term: self.term)
    }

    /// Rows changed since the last checkpoint; they count as saved from now on.
    package mutating func takeDirty() -> CheckpointDelta { self.queue.takeDirty() }
}

/// Results that are known and need not be remembered for us any longer: sent along in ranges, not
/// with every command.
private struct Acknowledgements {
    /// Numbers that are collected before they are sent.
    private static let batch = 64
    private var ranges: [ClosedRange<UInt64>] = []
    private var count = 0

    mutating func add(_ sequence: UInt64) {
        self.count += 1
        if let last = self.ranges.last, last.upperBound + 1 == sequence {
            self.ranges[self.ranges.count - 1] = last.lowerBound...sequence
        } else {
            self.ranges.append(sequence...sequence)
        }
    }

    /// The ranges to send now; empty while few are known.
    mutating func take() -> [ClosedRange<UInt64>] {
        guard self.count >= Self.batch else { return [] }
        self.count = 0
        defer { self.ranges.removeAll(keepingCapacity: true) }
        return self.ranges
    }
}
