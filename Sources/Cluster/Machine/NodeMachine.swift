// NodeMachine.swift - the node's decisions: what is proposed, in which order it is applied.
//
// Takes     commands, messages of peers, readings of the clocks, the news that entries are stored.
// Gives     what is to be stored, sent and applied; results and effects in log order.
// Never     disk, sockets, clocks, promises: `Node` has those.
// See       Replica (agreement), Courier (the way to the leader), SessionKeeper (the leader's half
//           of sessions), MailQueue.apply (what a command does), QueueClock (stamps).

package import MailQueue
package import Primitives
package import Raft
package import Spool

/// What nodes say to each other beside the words of agreement. May be lost with its link.
package enum Post: Equatable, Sendable {
    /// A command of the sender's, for the leader's log.
    case forward(to: MemberID, command: [UInt8])
    /// The leader takes no commands, or does not lead.
    case declined(to: MemberID)
    /// The session asks the leader for more time; `sentAt` is the sender's own clock.
    case renew(to: MemberID, session: SessionID, sentAt: Int64)
    /// To the own member too.
    case renewed(to: MemberID, session: SessionID, sentAt: Int64)
}

/// The pure composite of agreement, queue and session.
package struct NodeMachine: ~Copyable {
    package private(set) var queue: MailQueue
    package internal(set) var replica: Replica
    var clock: QueueClock
    var wallClocks = WallClocks()
    /// Entries whose command is known without being decoded, in index order: those that this node
    /// proposed, and those that a start has read.
    private var known = RingBuffer<LogEntry>(capacity: 256)
    package private(set) var applied: LogPosition
    /// `.none` until the node's OpenSession has been applied, and after it was closed.
    package private(set) var session = SessionID.none
    /// Of the own session.
    package private(set) var timing = SessionTiming()
    /// The last one that was closed.
    private var lastSession = SessionID.none
    /// Beyond the numbers that any session draws.
    private var factSequence: UInt64 = 1 << 48
    private var nextSequence: UInt64 = 1
    private var acknowledgements = Acknowledgements()
    private var writer = ByteWriter(capacity: 4096)
    var courier = Courier()
    var keeper = SessionKeeper()
    /// Of the last batch that the leader proposed by itself, and the term in which it did: in a
    /// later one that batch is applied, or gone.
    private var work: (upTo: UInt64, term: UInt64) = (0, 0)
    var posts: [Post] = []
    /// One that the driver has, checked and read: the only one that is taken from a leader.
    package var readySnapshot: Snapshot?
    /// Commands may have been lost on their way.
    var isStalled = false
    var ticksSinceRetry = 0
    var underWay = CommandsUnderWay()
    /// The last reading.
    var clocks = Clocks(now: .zero, wall: WallTime(milliseconds: 0))

    /// - Parameters:
    ///   - queue: the state at `start.applied`.
    ///   - known: the commands of `start.entries`, in index order.
    package init(
        queue: consuming MailQueue, options: Options, start: Start, known: [LogEntry],
        clock: QueueClock, random: UInt64
    ) {
        self.queue = queue
        self.applied = start.base
        invariant(start.base.index == start.applied, "a start begins at its checkpoint")
        self.replica = Replica(options, start: start, random: random)
        self.clock = clock
        for entry in known { self.known.append(entry) }
    }

    /// Queue time at `now`.
    package func queueTime(at now: Instant) -> QueueTime { self.clock.reading(at: now) }

    /// Entries in the log and not yet applied.
    package var backlog: UInt64 { self.replica.raft.lastIndex - self.applied.index }

    package var term: UInt64 { self.replica.raft.term }

    package var id: MemberID { self.replica.raft.id }

    /// Whether this node leads and has applied all that was committed before its term: only then
    /// does its state tell what to propose.
    package var isReadyLeader: Bool {
        self.replica.raft.role == .leader && self.applied.term == self.replica.raft.term
    }

    /// Somebody leads, as far as this node knows.
    package var hasLeader: Bool { self.replica.raft.leader != .none }

    /// The end of the log that is known to be synced here.
    package var durable: LogPosition { self.replica.raft.durable }

    /// There are no members yet: nothing can be agreed on.
    package var isUnfounded: Bool { self.replica.raft.configuration.allVoters.isEmpty }

    /// This node is the whole group.
    package var isSoleVoter: Bool {
        let configuration = self.replica.raft.configuration
        return configuration.allVoters.count == 1 && configuration.learners.isEmpty
    }

    // MARK: The session's commands.

    /// The next tag of the own session; nil without an open session.
    package mutating func drawTag() -> Tag? {
        guard self.session != .none else { return nil }
        defer { self.nextSequence += 1 }
        return Tag(session: self.session, sequence: self.nextSequence)
    }

    /// A drawn tag that no command will bear: its number is acknowledged unused, with the very next
    /// command. Until then nobody may delete a body under it.
    package mutating func giveUp(_ tag: Tag) {
        if tag.session == self.session { self.acknowledgements.addUrgent(tag.sequence) }
    }

    /// A tag that was drawn long ago and has no result holds back those behind it: the state
    /// remembers results only so far above the oldest one that is not acknowledged.
    ///
    /// - Parameter limit: numbers drawn behind it; half of what the state remembers.
    package func holdsOthersBack(
        _ tag: Tag, limit: UInt64 = MailQueue.resultsMax / 2
    ) -> Bool {
        tag.session == self.session
            && self.nextSequence - min(tag.sequence, self.nextSequence) >= limit
    }

    /// Takes a command of the own session under a tag that was drawn before. It goes to the leader
    /// with the next turn, again and again until its result is known.
    ///
    /// - Returns: false: the tag's session is closed.
    package mutating func submit(_ tag: Tag, _ action: Command.Action) -> Bool {
        guard tag.session == self.session else { return false }
        if case .cancel(let target) = action, target.session == tag.session {
            self.acknowledgements.hold(target.sequence)
        }
        self.courier.add(
            Command(
                Origin(
                    session: tag.session, sequence: tag.sequence,
                    acknowledged: self.acknowledgements.take()),
                action), number: tag.sequence)
        return true
    }

    /// Tells the machine's own OpenSession from an older one that is replayed. Nil once it has its
    /// answer: what was sent again is answered again, perhaps behind the end of that session.
    private var openNonce: UInt64?
    /// What became of the own OpenSession, until it is taken.
    private var opening: CommandResult?

    package mutating func takeOpening() -> CommandResult? {
        defer { self.opening = nil }
        return self.opening
    }

    /// A fact of a session that is closed: goes to the leader until it is in the log.
    ///
    /// - Returns: under which it goes.
    @discardableResult
    package mutating func submitFact(_ action: Command.Action) -> Tag {
        self.factSequence += 1
        let origin = Origin(session: self.lastSession, sequence: self.factSequence)
        self.courier.add(fact: Command(origin, action))
        return Tag(session: origin.session, sequence: origin.sequence)
    }

    /// Something that this node has said is not in the log yet, as far as it knows.
    package var awaitsResults: Bool { self.courier.owes }

    /// A fact of a former process, as it was noted: in front of the session that this one opens.
    package mutating func resume(fact command: Command) {
        invariant(command.isFact, "only a fact outlives its session")
        self.courier.add(fact: command)
    }

    /// A fact with this number is not in the log yet, as far as is known here.
    package func isFactUnderWay(_ tag: Tag) -> Bool { self.courier.hasFact(tag) }

    package mutating func openSession(_ open: OpenSession) {
        self.openNonce = open.nonce
        self.opening = nil
        self.courier.open(Command(.openSession(open)))
    }

    // MARK: Agreement.

    /// Puts a command into the log of this node, which leads.
    ///
    /// - Returns: its index; nil: this node does not lead, or takes nothing now.
    package mutating func propose(_ command: Command, at clocks: Clocks) -> UInt64? {
        self.clocks = clocks
        return self.propose(command)
    }

    /// The same at the last reading of the clocks, which is this event's.
    mutating func propose(_ command: Command) -> UInt64? {
        guard self.replica.raft.role == .leader else { return nil }
        self.judgeGuess()
        let entry = LogEntry(
            index: self.replica.raft.lastIndex + 1, term: self.term,
            stamp: self.clock.stamp(at: self.clocks.now), wall: self.believed(self.clocks.wall),
            command: command)
        do {
            self.writer.bytes.removeAll(keepingCapacity: true)
            entry.encode(into: &self.writer)
            // A copy of just its size: it stays in the log's memory for a while.
            try self.replica.propose(
                self.writer.bytes.withUnsafeBytes { Array($0) }, onlyInTerm: entry.term)
        } catch {
            return nil
        }
        self.known.append(entry)
        self.noteClosing(command, at: entry.index)
        return entry.index
    }

    /// Stands for election.
    package mutating func campaign() { self.replica.campaign() }

    /// Appends what is to be done now. Commands that wait go into the log, or to the leader.
    package mutating func turn(_ actions: inout [Replica.Action], at clocks: Clocks) {
        self.clocks = clocks
        self.sendCommands()
        self.replica.turn(&actions)
    }

    /// The actions are carried out: they go, and their memory serves again.
    package mutating func recycle(_ actions: inout [Replica.Action]) {
        self.replica.recycle(&actions)
    }

    package mutating func stored(upTo ticket: UInt64) { self.replica.stored(upTo: ticket) }

    package mutating func appliedAll(_ applied: Applied) { self.replica.applied(applied) }

    /// Applies the next committed entry.
    ///
    /// - Returns: its command and the result; nil: an entry without a command.
    /// - Throws: what is committed is not a command of ours: written by a later version.
    package mutating func apply(
        _ entry: Entry, effects: inout [Effect]
    ) throws(CodecError) -> (entry: LogEntry, result: CommandResult)? {
        invariant(entry.index == self.applied.index + 1, "entries are applied in their order")
        let logged = try self.command(of: entry)
        self.applied = entry.position
        guard let logged else {
            self.queue.pass(entry.index)
            return nil
        }
        self.clock.observe(logged.stamp, at: self.clocks.now)
        // What only the leader of one term may author dies with the term.
        if let term = logged.command.leaderTerm, term != entry.term {
            self.queue.pass(entry.index)
            return (logged, .refused(.unknown))
        }
        if let tag = logged.command.tag { self.underWay.applied(tag) }
        let from = effects.count
        let result = self.queue.apply(
            logged.command, index: entry.index, stamp: logged.stamp, effects: &effects)
        self.learn(logged, result)
        self.keeper.applied(entry.index)
        for place in from..<effects.count {
            switch effects[place] {
            case .sessionOpened(let id): self.opened(id)
            case .sessionClosed(let id): self.closed(id)
            case .leased, .reportLeased, .leaseEnded, .messageFinished, .possibleDuplicates,
                .recipientsFailed:
                continue
            }
        }
        return (logged, result)
    }

    private mutating func command(of entry: Entry) throws(CodecError) -> LogEntry? {
        switch entry.kind {
        case .change, .changes:
            _ = self.replica.apply(entry)
            return nil
        case .normal where entry.data.isEmpty: return nil
        case .normal:
            while let first = self.known.first, first.index <= entry.index {
                _ = self.known.popFirst()
                // One of another term was replaced: somebody else's stands in its place.
                if first.index == entry.index, first.term == entry.term { return first }
            }
            return try LogEntry(index: entry.index, term: entry.term, bytes: entry.data)
        }
    }

    private mutating func learn(_ logged: LogEntry, _ result: CommandResult) {
        if case .openSession(let open) = logged.command.action {
            guard open.nonce == self.openNonce else { return }
            self.openNonce = nil
            self.courier.opened()
            self.opening = result
            guard case .sessionOpened(let id) = result, id != self.session else { return }
            self.begin(id)
        } else if let origin = logged.command.origin {
            if origin.session == self.session {
                // The result is known with the apply.
                self.acknowledge(origin.sequence, logged.command.action)
                self.courier.resolve(origin.sequence)
            } else {
                self.courier.resolveFact(origin)
            }
        }
    }

    /// The result of an own command is known.
    private mutating func acknowledge(_ sequence: UInt64, _ action: Command.Action) {
        self.acknowledgements.add(sequence)
        if case .cancel(let target) = action, target.session == self.session {
            self.acknowledgements.release(target.sequence)
        }
    }

    private mutating func opened(_ id: SessionID) {
        guard let timing = self.queue.timing(of: id) else { return }
        self.keeper.opened(id, limit: timing.leaderTerm, now: self.clocks.now)
    }

    private mutating func closed(_ id: SessionID) {
        self.keeper.closed(id)
        guard id == self.session else { return }
        self.session = .none
        self.lastSession = id
        self.courier.close()
    }

    // MARK: Snapshots.

    /// Another member's state takes the place of this one's, which is behind it. Before the
    /// replica is told that it is stored.
    package mutating func install(
        _ queue: consuming MailQueue, at position: LogPosition, at clocks: Clocks
    ) -> Installed {
        invariant(position.index > self.applied.index, "the state never goes back")
        invariant(queue.applied == position.index, "a snapshot is of its position")
        self.clocks = clocks
        var held = HeldLeases(of: self.session, in: self.queue)
        self.queue = queue
        self.applied = position
        self.clock.observe(self.queue.time, at: clocks.now)
        self.keeper.end()
        self.keeper.applied(position.index)
        while let first = self.known.first, first.index <= position.index {
            _ = self.known.popFirst()
        }
        var installed = Installed()
        self.resumeSession(&installed, &held)
        if self.session != .none {
            let now = HeldLeases(of: self.session, in: self.queue)
            installed.leases = now.deliveries.keys.sorted().filter {
                held.deliveries[$0] != now.deliveries[$0]
            }
            installed.reports = now.reports.filter { !held.reports.contains($0) }
        }
        // What has no result here goes to the leader again, who knows it or takes it.
        self.commandsMayBeLost()
        return installed
    }

    /// A snapshot that this leader's driver can have sent; it replaces the one before.
    package mutating func offer(_ snapshot: Snapshot) { self.replica.offer(snapshot) }

    /// A snapshot for `member` has arrived there, or has not.
    package mutating func reportSnapshot(_ member: MemberID, isInstalled: Bool) {
        self.replica.reportSnapshot(member, isInstalled: isInstalled)
    }

    private mutating func resumeSession(_ installed: inout Installed, _ held: inout HeldLeases) {
        if self.session != .none {
            if self.queue.isOpen(self.session) {
                for number in self.courier.waiting {
                    let tag = Tag(session: self.session, sequence: number)
                    guard let result = self.queue.result(of: tag) else { continue }
                    if let command = self.courier.command(number) {
                        held.end(by: command.action)
                        self.acknowledge(number, command.action)
                    }
                    self.courier.resolve(number)
                    installed.results.append((number, result))
                }
            } else {
                installed.closed = self.session
                self.closed(self.session)
            }
        }
        guard let open = self.courier.openingSession else { return }
        switch self.queue.fate(of: open) {
        case .unknown: return
        case .open(let id):
            // Copies of it that follow in the log are no answer to anything any more.
            self.openNonce = nil
            self.courier.opened()
            self.opening = .sessionOpened(id)
            self.begin(id)
        case .closed:
            self.openNonce = nil
            self.courier.opened()
            installed.missedOpening = true
        }
    }

    private mutating func begin(_ session: SessionID) {
        invariant(self.session == .none, "a process opens a session when it has none")
        self.session = session
        self.timing = self.queue.timing(of: session) ?? SessionTiming()
        self.nextSequence = 1
        self.acknowledgements = Acknowledgements()
    }

    // MARK: Upkeep.

    /// Whether the leader may look for what to propose by itself: not while the last of it is not
    /// applied, since that is about to change the state.
    package var mayLookForWork: Bool {
        self.isReadyLeader
            && (self.work.term != self.term || self.work.upTo <= self.applied.index)
    }

    /// What the leader should propose by itself now: grants, expiries.
    ///
    /// - Parameter isThere: whether a node seems to be alive; asked when there is work to give.
    package mutating func nextWork(
        at now: Instant, limit: Int, isThere: (Holder) -> Bool = { _ in true }
    ) -> [Command] {
        self.judgeGuess()
        return self.queue.nextWork(
            now: self.clock.reading(at: now), limit: limit, term: self.term, isThere: isThere)
    }

    /// Proposes what `nextWork` gave.
    package mutating func propose(work: [Command], at clocks: Clocks) {
        self.clocks = clocks
        for command in work {
            if let index = self.propose(command) { self.work = (index, self.term) }
        }
    }

    /// Of the queue at `applied`: equal on all nodes (invariant 7).
    package mutating func stateHash() -> UInt64 { self.queue.stateHash() }

    // The queue's checkpoint, of `applied` at its begin: see there.

    package mutating func beginCheckpoint() { self.queue.beginCheckpoint() }

    package mutating func encodeCheckpoint(
        rows limit: Int, bytesMax: Int, into batch: inout RowBatch
    ) -> Bool {
        self.queue.encodeCheckpoint(rows: limit, bytesMax: bytesMax, into: &batch)
    }

    package mutating func sealCheckpoint() -> CheckpointSeal { self.queue.sealCheckpoint() }

    package mutating func endCheckpoint() { self.queue.endCheckpoint() }

    package mutating func giveBackCheckpoint(rows limit: Int) -> Bool {
        self.queue.giveBackCheckpoint(rows: limit)
    }

    /// Lets go of entries that nobody asks for: with nobody to send them to, all that are applied;
    /// else what the newest checkpoint has, within limits.
    ///
    /// - Parameters:
    ///   - checkpoint: its index.
    ///   - snapshot: of one that is being made; nil: none is.
    package mutating func compact(
        checkpoint: UInt64, within limits: LogLimits, snapshot: UInt64?
    ) {
        guard !self.isSoleVoter else { return self.replica.compact(to: self.applied.index) }
        self.replica.compact(to: checkpoint, within: limits, snapshot: snapshot)
    }
}
