// Subject.swift - the member under fire, and the driver that keeps its promises.
//
// Takes     messages of any shape, and the turns, stores, applies, crashes of a sound driver.
// Gives     a `Fault` when a fact goes back; a trap of the core ends the process by itself.
// Never     a mistake of the driver's own: what breaks here, a peer has broken.

import Primitives
import Raft

/// What must never be seen, whatever peers say.
struct Fault: Error {
    let what: String
}

struct Subject {
    /// A journal's record, in the order of the disk.
    private enum Record {
        case base(LogPosition)
        case entry(Entry)
        case hardState(HardState)
    }

    private(set) var replica: Replica
    private let options: Options
    private var stores: [StoreRequest] = []
    private var applies: [([Entry], Applied)] = []
    private var actions: [Replica.Action] = []
    private var journal: [Record] = []
    private var checkpoint: Start
    /// In force at the applied index.
    private var configuration: Configuration
    private var requests: UInt64 = 0

    /// Messages that left since the last look, the newest last.
    private(set) var sent: [Message] = []
    /// The most actions that one turn gave.
    private(set) var actionsMost = 0
    private var term: UInt64
    private var vote: MemberID
    private var commit: UInt64
    private var applied: UInt64

    init(_ options: Options, _ start: Start) {
        self.options = options
        self.replica = Replica(options, start: start, random: 0)
        self.checkpoint = Start(
            hardState: start.hardState, configuration: start.configuration, base: start.base,
            applied: start.applied)
        self.checkpoint.base = LogPosition(
            term: self.replica.raft.log.term(at: start.applied) ?? 0, index: start.applied)
        self.configuration = start.configuration
        self.journal = [.hardState(start.hardState), .base(start.base)]
        self.journal += start.entries.map { .entry($0) }
        self.term = self.replica.raft.term
        self.vote = self.replica.raft.vote
        self.commit = self.replica.raft.commit
        self.applied = self.replica.raft.applied
    }

    var raft: Raft { self.replica.raft }
    var hasStores: Bool { !self.stores.isEmpty }
    var hasApplies: Bool { !self.applies.isEmpty }

    // MARK: Events.

    mutating func step(_ message: Message) throws(StepError) { try self.replica.step(message) }
    mutating func tick(_ random: UInt64) { self.replica.tick(random: random) }
    mutating func campaign() { self.replica.campaign() }
    mutating func propose(_ entries: [Entry]) throws(StepError) {
        try self.replica.propose(entries)
    }
    mutating func transfer(to id: MemberID) { self.replica.transferLeadership(to: id) }
    mutating func reportUnreachable(_ id: MemberID) { self.replica.reportUnreachable(id) }
    mutating func reportSnapshot(_ id: MemberID, isInstalled: Bool) {
        self.replica.reportSnapshot(id, isInstalled: isInstalled)
    }
    mutating func read() throws(StepError) {
        self.requests += 1
        try self.replica.requestRead(self.requests)
    }

    // MARK: The driver's work.

    mutating func turn() {
        self.actions.removeAll(keepingCapacity: true)
        self.replica.turn(&self.actions)
        self.actionsMost = max(self.actionsMost, self.actions.count)
        for action in self.actions {
            switch action {
            case .store(let request): self.stores.append(request)
            case .apply(let entries, let applied): self.applies.append((entries, applied))
            case .send(let message):
                if self.sent.count >= 16 { self.sent.removeFirst(8) }
                self.sent.append(message)
            case .readable, .changed: continue
            }
        }
    }

    /// The oldest store ends.
    mutating func store() {
        guard !self.stores.isEmpty else { return }
        let request = self.stores.removeFirst()
        if let snapshot = request.snapshot { self.install(snapshot) }
        for entry in request.entries { self.journal.append(.entry(entry)) }
        if let state = request.hardState { self.journal.append(.hardState(state)) }
        self.replica.stored(upTo: request.ticket)
    }

    private mutating func install(_ snapshot: Snapshot) {
        self.journal.append(.base(snapshot.position))
        self.checkpoint.base = snapshot.position
        self.checkpoint.applied = snapshot.position.index
        self.checkpoint.configuration = snapshot.configuration
        self.configuration = snapshot.configuration
        // The state is the snapshot's now: what lies before it is applied by it. Those entries are
        // given back all the same, as the core counts their bytes.
        for (_, applied) in self.applies { self.replica.applied(applied) }
        self.applies.removeAll()
    }

    /// The oldest apply ends.
    mutating func apply() {
        guard !self.applies.isEmpty else { return }
        let (entries, applied) = self.applies.removeFirst()
        for entry in entries where entry.kind != .normal {
            if let configuration = self.replica.apply(entry) { self.configuration = configuration }
        }
        self.replica.applied(applied)
    }

    /// A checkpoint at the applied index, which is offered to those that lag behind.
    mutating func save(compacts: Bool) {
        let index = self.raft.applied
        guard index > self.checkpoint.applied, index <= self.raft.log.stored,
            let term = self.raft.log.term(at: index)
        else { return }
        self.checkpoint.base = LogPosition(term: term, index: index)
        self.checkpoint.applied = index
        self.checkpoint.configuration = self.configuration
        self.replica.offer(
            Snapshot(
                position: self.checkpoint.base, configuration: self.configuration, data: [7]))
        if compacts { self.replica.compact(to: index) }
    }

    /// What is not stored is lost; the rest must make a member again.
    mutating func restart() throws {
        var replay = LogReplay(applied: self.checkpoint.base)
        for record in self.journal {
            switch record {
            case .base(let position): replay.take(base: position)
            case .entry(let entry): replay.take(entry)
            case .hardState(let state): replay.take(state)
            }
        }
        let start = try replay.start(configuration: self.checkpoint.configuration)
        self.replica = Replica(self.options, start: start, random: 3)
        self.configuration = self.checkpoint.configuration
        self.stores.removeAll()
        self.applies.removeAll()
        self.sent.removeAll()
        self.term = self.raft.term
        self.vote = self.raft.vote
        self.commit = self.raft.commit
        self.applied = self.raft.applied
    }

    // MARK: What always holds.

    /// Facts only grow; the log has no gap and no descending term in its last `depth` entries.
    mutating func check(depth: UInt64) throws(Fault) {
        let log = self.replica.raft.log
        let term = self.replica.raft.term
        guard term >= self.term else { throw Fault(what: "the term went back") }
        guard log.committed >= self.commit else { throw Fault(what: "the commit went back") }
        guard log.applied >= self.applied else { throw Fault(what: "applied went back") }
        guard log.applied <= log.committed, log.committed <= log.lastIndex,
            log.stored <= log.handed, log.handed <= log.lastIndex,
            log.base.index <= log.stored, log.applied <= log.applying
        else { throw Fault(what: "the order of indexes") }
        let vote = self.replica.raft.vote
        guard term > self.term || self.vote == .none || self.vote == vote else {
            throw Fault(what: "a second vote in one term")
        }
        self.term = term
        self.vote = vote
        self.commit = log.committed
        self.applied = log.applied
        for peer in self.replica.raft.membership.peers where self.replica.raft.role == .leader {
            let progress = peer.progress
            guard progress.inFlight.count <= self.options.inFlightMessagesMax else {
                throw Fault(what: "a window without a limit")
            }
            guard progress.match < progress.next, progress.next <= log.lastIndex + 1 else {
                throw Fault(what: "progress beyond the log")
            }
        }
        guard self.replica.raft.role != .leader || self.replica.raft.leader == self.options.id
        else { throw Fault(what: "a leader that follows") }
        try self.checkLog(log, depth: depth)
    }

    private func checkLog(_ log: RaftLog, depth: UInt64) throws(Fault) {
        var index = log.base.index
        if log.lastIndex - index > depth { index = log.lastIndex - depth }
        var last: UInt64 = 0
        while index <= log.lastIndex {
            guard let term = log.term(at: index) else { throw Fault(what: "a gap in the log") }
            guard term >= last else { throw Fault(what: "terms that descend") }
            last = term
            index += 1
        }
        guard log.last == LogPosition(term: last, index: log.lastIndex) else {
            throw Fault(what: "the log's end")
        }
    }
}
