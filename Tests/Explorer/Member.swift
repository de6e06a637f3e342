// Member.swift - one node of the small world: the product's replica, its disk, its stores.
//
// Takes     one event; then turns until nothing is left to do.
// Gives     the node afterwards, what it sent, and what was wrong with that.
// Order     a store writes its records as `Write.init` lists them; a crash keeps the first few.
//           Entries are applied at once.

import Primitives
import Raft

/// What one member can meet by itself.
enum LocalEvent {
    case deliver(Message)
    case sync(Int)
    case crash(kept: Int)
    case campaign
    case tick
    case propose(UInt8)
    case unreachable(MemberID)
}

/// One line of a journal.
enum Record: Hashable {
    case entry(Entry)
    case hardState(HardState)
}

/// A store on its way to the disk.
struct Write: Hashable {
    var ticket: UInt64
    var records: [Record]

    init(_ request: StoreRequest) {
        invariant(request.snapshot == nil, "nobody compacts: no snapshots")
        self.ticket = request.ticket
        self.records = request.entries.map { .entry($0) }
        if let state = request.hardState { self.records.append(.hardState(state)) }
    }
}

struct Member: Hashable {
    fileprivate(set) var replica: Replica
    /// What is synced.
    fileprivate(set) var disk = LogReplay(applied: .zero)
    fileprivate(set) var stores: [Write] = []
    /// What arrived while stores were under way; of a boundless search only.
    fileprivate var heard: Set<Message> = []

    /// One that never ran.
    init(_ options: Options) {
        let start = Start(configuration: Scope.configuration)
        self.replica = Replica(options, start: start, random: 0)
    }

    /// What a restart would begin with.
    var durable: Start { Self.start(self.disk) }

    var unsynced: [Record] { self.stores.flatMap(\.records) }

    private static func start(_ disk: LogReplay) -> Start {
        do {
            return try disk.start(configuration: Scope.configuration)
        } catch {
            unreachable("a journal without gaps: \(error)")
        }
    }

    /// What the member does about `event`.
    ///
    /// - Parameter isBoundless: a message arrives once at most while the same stores are under way:
    ///   each time it is answered anew behind them, which would have no end.
    func step(_ event: LocalEvent, isBoundless: Bool) -> Step {
        var step = Step(member: self)
        guard isBoundless, case .deliver(let message) = event else {
            step.take(event)
            return step
        }
        if self.heard.contains(message) { return step }
        step.take(event)
        if step.member != self { step.member.heard.insert(message) }
        if step.member.stores.isEmpty { step.member.heard = [] }
        return step
    }

    // MARK: Parts of a step.

    fileprivate mutating func write(_ record: Record) {
        switch record {
        case .hardState(let state): self.disk.take(state)
        case .entry(let entry): self.disk.take(entry)
        }
    }

    fileprivate mutating func restart(_ options: Options) {
        self.stores = []
        self.replica = Replica(options, start: self.durable, random: 0)
    }
}

/// An event at a member, with all that follows at once.
struct Step {
    var member: Member
    private(set) var sent: [Message] = []
    /// What must never happen, and did.
    private(set) var fault: String?
    /// What the disk held, or came to hold in this step: promises may name any of it.
    private var kept: [Start]

    init(member: Member) {
        self.member = member
        self.kept = [member.durable]
    }

    mutating func take(_ event: LocalEvent) {
        let before = self.member.replica.raft
        var isCrash = false
        do {
            switch event {
            case .deliver(let message): try self.member.replica.step(message)
            case .sync(let count): self.sync(count)
            case .crash(let count):
                isCrash = true
                self.crash(kept: count)
            case .campaign: self.member.replica.campaign()
            case .tick: self.member.replica.tick(random: 0)
            case .propose(let data): try self.member.replica.propose([Entry(data: [data])])
            case .unreachable(let id): self.member.replica.reportUnreachable(id)
            }
        } catch {
            // All members are sound: only a proposal may be refused.
            if error != .proposalDropped { self.fail("refused: \(error)") }
        }
        self.settle()
        if self.member.stores.isEmpty { self.member.heard = [] }
        let after = self.member.replica.raft
        if !isCrash {
            if after.term < before.term { self.fail("the term went back") }
            if after.commit < before.commit { self.fail("the commit index went back") }
            // Old entries are committed by one of the own term behind them only (thesis 3.6.2).
            if after.role == .leader, after.commit > before.commit, !after.hasCommittedInTerm {
                self.fail("a leader committed up to an entry of a past term")
            }
        }
        if after.term < self.kept[self.kept.count - 1].hardState.term {
            self.fail("the term is behind the disk")
        }
        self.checkLog()
        for message in self.sent { self.check(promise: message) }
    }

    private mutating func fail(_ text: String) { self.fault = self.fault ?? text }

    // MARK: Disk.

    private mutating func sync(_ count: Int) {
        let done = self.member.stores.prefix(count)
        self.member.stores.removeFirst(count)
        for record in done.flatMap(\.records) { self.put(record) }
        if let last = done.last { self.member.replica.stored(upTo: last.ticket) }
    }

    private mutating func crash(kept count: Int) {
        for record in self.member.unsynced.prefix(count) { self.put(record) }
        self.member.restart(self.member.replica.raft.options)
    }

    private mutating func put(_ record: Record) {
        let before = self.kept[self.kept.count - 1].hardState
        self.member.write(record)
        let after = self.member.durable
        self.kept.append(after)
        if after.hardState.term < before.term { self.fail("the disk's term went back") }
        if after.hardState.term == before.term, before.vote != .none,
            after.hardState.vote != before.vote
        {
            self.fail("a second vote in one term on disk")
        }
    }

    // MARK: Turns.

    private mutating func settle() {
        var actions: [Replica.Action] = []
        repeat {
            actions.removeAll(keepingCapacity: true)
            self.member.replica.turn(&actions)
            for action in actions {
                switch action {
                case .store(let request): self.member.stores.append(Write(request))
                case .send(let message): self.sent.append(message)
                case .apply(let entries, let applied): self.apply(entries, applied)
                case .readable, .changed: continue
                }
            }
        } while !actions.isEmpty
    }

    private mutating func apply(_ entries: [Entry], _ applied: Applied) {
        let raft = self.member.replica.raft
        var next = raft.applied
        for entry in entries {
            next += 1
            if entry.index != next || raft.log.term(at: next) != entry.term {
                self.fail("applied out of order: \(entry.index) after \(next - 1)")
            }
            if next > raft.commit { self.fail("applied before it was committed: \(next)") }
        }
        if applied.index != next { self.fail("the end of what is applied is not its index") }
        self.member.replica.applied(applied)
    }

    // MARK: Promises.

    /// With nothing under way, the disk holds what the member goes by.
    private mutating func checkLog() {
        let raft = self.member.replica.raft
        let last = raft.lastIndex
        let log = last == 0 ? [] : raft.log.slice(1...last, bytesMax: .max)
        for (a, b) in zip(log, log.dropFirst()) where a.term > b.term {
            self.fail("terms in a log go back: \(a.code.entryText) \(b.code.entryText)")
        }
        guard self.member.stores.isEmpty else { return }
        let durable = self.member.durable
        if durable.entries != log { self.fail("another log on disk, and no store under way") }
        if durable.hardState.term != raft.term || durable.hardState.vote != raft.vote {
            self.fail("another term or vote on disk, and no store under way")
        }
    }

    /// A promise that leaves is on the disk, or was in the course of this step.
    private mutating func check(promise message: Message) {
        switch message.body {
        case .voteAnswer(isGranted: true):
            let isKept = self.kept.contains {
                $0.hardState.term == message.term && $0.hardState.vote == message.to
            }
            if !isKept { self.fail("a vote left before it was stored") }
        case .appended(let index):
            let isKept = self.kept.contains {
                $0.hardState.term >= message.term
                    && ($0.entries.last?.index ?? 0) >= index
            }
            if !isKept { self.fail("an acknowledgement left before it was stored") }
        case .preVote, .preVoteAnswer, .vote, .voteAnswer, .append, .appendRejected, .heartbeat,
            .heartbeatAnswer, .snapshot, .timeoutNow, .transferLeader, .propose, .read,
            .readAnswer:
            return
        }
    }
}
