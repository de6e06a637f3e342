// Replica.swift - a member and the order of its promises: what drivers drive.
//
// Takes     events; the news that stores are on disk and entries applied.
// Gives     actions in the order in which they are to be carried out.
// Durable   what promises a store (answers, requests for votes) leaves with the first turn after
//           `stored(upTo:)` of its ticket; answers to the own member are stepped then. Stores end
//           in their order.
// See       Ready; Docs/Invariants.md 8.

import Primitives

/// What is to be stored, in one write.
package struct StoreRequest: Hashable, Sendable {
    /// Give it back when this and all before are on disk. Ascending.
    package var ticket: UInt64
    /// To be installed in place of log and state before the ticket is given back.
    package var snapshot: Snapshot?
    /// They replace what the log holds at their indexes and behind.
    package var entries: [Entry]
    /// Behind the others in one write, so that its commit index never stands without the entries
    /// that it speaks of. Set if term or vote has changed, or if a change of members is newly
    /// committed; else the commit index is not worth a write.
    package var hardState: HardState?

    package init(
        ticket: UInt64, snapshot: Snapshot?, entries: [Entry], hardState: HardState?
    ) {
        self.ticket = ticket
        self.snapshot = snapshot
        self.entries = entries
        self.hardState = hardState
    }
}

/// One member as its node knows it.
package struct Replica: Hashable, Sendable {
    package enum Action: Equatable, Sendable {
        /// Write and sync it, after those before. What follows does not wait.
        case store(StoreRequest)
        /// Never to the own member. May be lost.
        case send(Message)
        /// Apply in order, `apply(_:)` for changes of members; then give `Applied` back.
        case apply([Entry], Applied)
        /// The read with this number may be answered once its index is applied.
        case readable(ReadState)
        /// Leader or role has changed.
        case changed(SoftState)
    }

    package private(set) var raft: Raft
    private var promised: [Promise] = []
    /// Of all promises, in their order.
    private var answers: [Message] = []
    /// Empty between turns; its memory is used again.
    private var ready = Ready()
    /// Empty lists whose memory is used again.
    private var spare: [[Entry]] = []
    private static let spareMax = 4
    /// Memory for more entries than this is given back.
    private static let spareEntriesMax = 1024
    private var lastTicket: UInt64 = 0
    private var outbox: [Message] = []
    /// A snapshot that came while entries are being applied.
    private var held: Message?
    /// As it was last given to be stored by this replica: after a start it is written anew.
    private var written: HardState

    /// What waits for a store.
    private struct Promise: Hashable {
        var ticket: UInt64
        var answerCount: Int
        var stored: Stored?
    }

    package init(_ options: Options, start: Start, random: UInt64) {
        invariant(options.storesAsynchronously, "a replica's store has its own time")
        self.raft = Raft(options, start: start, random: random)
        self.written = .empty
    }

    // MARK: Events. What they lead to comes with the next turn.

    package mutating func tick(random: UInt64) {
        self.raft.tick(random: random)
        self.raft.leaveJointIfDue()
    }

    /// A message of a peer. What it throws is the peer's mistake, and counted.
    package mutating func step(_ message: Message) throws(StepError) {
        guard message.to == self.raft.id else { throw .malformed("addressee") }
        switch message.body {
        case .propose, .read, .transferLeader:
            // May come back to who sent it: the others had another leader in mind.
            try self.raft.step(message)
        case .preVote, .preVoteAnswer, .vote, .voteAnswer, .append, .appended, .appendRejected,
            .heartbeat, .heartbeatAnswer, .snapshot, .timeoutNow, .readAnswer:
            guard message.from != self.raft.id else { throw .malformed("sender") }
            try self.checkLeader(message)
            // A change of members among what is being applied would be made to the snapshot's
            // configuration, which has it already, or has left it behind.
            if case .snapshot = message.body, self.raft.log.isApplying {
                self.held = message
                return
            }
            try self.raft.step(message)
        }
    }

    /// One term has one leader: else a member has voted twice, and has lost its word.
    private func checkLeader(_ message: Message) throws(StepError) {
        switch message.body {
        case .append, .heartbeat, .snapshot:
            guard
                message.term != self.raft.term || self.raft.leader == .none
                    || self.raft.leader == message.from
            else { throw .contradiction("two leaders of one term") }
        case .preVote, .preVoteAnswer, .vote, .voteAnswer, .appended, .appendRejected,
            .heartbeatAnswer, .timeoutNow, .transferLeader, .propose, .read, .readAnswer:
            return
        }
    }

    package mutating func propose(_ entries: [Entry]) throws(StepError) {
        try self.raft.propose(entries)
    }

    package mutating func propose(_ data: [UInt8], onlyInTerm term: UInt64) throws(StepError) {
        try self.raft.propose(data, onlyInTerm: term)
    }

    package mutating func campaign() { self.raft.campaign() }

    /// The link to the leader broke: this follower helps to elect another, and stands itself.
    package mutating func leaderIsGone() {
        self.raft.forgetLeader()
        self.raft.campaign()
    }

    package mutating func requestRead(_ request: UInt64) throws(StepError) {
        try self.raft.requestRead(request)
    }

    package mutating func transferLeadership(to id: MemberID) {
        self.raft.transferLeadership(to: id)
    }

    package mutating func reportUnreachable(_ id: MemberID) { self.raft.reportUnreachable(id) }

    package mutating func reportSnapshot(_ id: MemberID, isInstalled: Bool) {
        self.raft.reportSnapshot(id, isInstalled: isInstalled)
    }

    package mutating func offer(_ snapshot: Snapshot) { self.raft.offer(snapshot) }

    package mutating func compact(to index: UInt64) { self.raft.compact(to: index) }

    package mutating func compact(to index: UInt64, within limits: LogLimits, snapshot: UInt64?) {
        self.raft.compact(to: index, within: limits, snapshot: snapshot)
    }

    /// Every store with this ticket or a lesser one is on disk, its snapshot installed.
    package mutating func stored(upTo ticket: UInt64) {
        while let first = self.promised.first, first.ticket <= ticket {
            self.promised.removeFirst()
            self.keep(first)
        }
    }

    private mutating func keep(_ promise: Promise) {
        for i in 0..<promise.answerCount {
            let answer = self.answers[i]
            if answer.to != self.raft.id {
                self.outbox.append(answer)
            } else {
                // It may be of a term that is over, or come after the own removal: then it counts
                // for nothing.
                try? self.raft.step(answer)
            }
        }
        self.answers.removeFirst(promise.answerCount)
        if let stored = promise.stored { self.raft.stored(stored) }
    }

    package mutating func applied(_ applied: Applied) {
        self.raft.applied(applied)
        guard let message = self.held, !self.raft.log.isApplying else { return }
        self.held = nil
        // Of a term that is over, or old by now: the leader sends another.
        try? self.raft.step(message)
    }

    /// An entry of kind `.change` or `.changes` is being applied.
    ///
    /// - Returns: the configuration from now on; nil: it changes nothing, on any member.
    package mutating func apply(_ entry: Entry) -> Configuration? {
        do {
            return try self.raft.apply(ConfigurationChange(entry))
        } catch {
            // A change that is impossible, or none at all, is so on every member.
            return nil
        }
    }

    // MARK: Turns.

    /// Appends what is to be done now.
    package mutating func turn(_ actions: inout [Action]) {
        while self.raft.hasReady || !self.outbox.isEmpty {
            for message in self.outbox { actions.append(.send(message)) }
            self.outbox.removeAll(keepingCapacity: true)
            guard self.raft.hasReady else { return }
            var ready = Ready()
            swap(&ready, &self.ready)
            self.raft.takeReady(&ready)
            self.take(&ready, &actions)
            ready.clear()
            swap(&ready, &self.ready)
        }
    }

    private mutating func take(_ ready: inout Ready, _ actions: inout [Action]) {
        if let state = ready.softState { actions.append(.changed(state)) }
        for read in ready.reads { actions.append(.readable(read)) }
        self.send(&ready, &actions)
        self.store(&ready, &actions)
        if let applied = ready.applied {
            actions.append(.apply(self.handOver(&ready.committed), applied))
        }
    }

    /// The entries, for good; a spare list takes their place.
    private mutating func handOver(_ entries: inout [Entry]) -> [Entry] {
        if entries.isEmpty { return [] }
        var list = self.spare.popLast() ?? []
        swap(&list, &entries)
        return list
    }

    /// All of the actions are carried out: they go, and the memory of their entries serves again.
    /// A driver that does not call it loses nothing but that.
    package mutating func recycle(_ actions: inout [Action]) {
        while let action = actions.popLast() {
            switch consume action {
            case .store(let request): self.recycle(consume request)
            case .apply(let entries, _): self.recycle(consume entries)
            case .send, .readable, .changed: continue
            }
        }
    }

    private mutating func recycle(_ request: consuming StoreRequest) {
        var entries: [Entry] = []
        swap(&entries, &request.entries)
        self.recycle(entries)
    }

    private mutating func recycle(_ entries: consuming [Entry]) {
        guard entries.capacity > 0, entries.capacity <= Self.spareEntriesMax,
            self.spare.count < Self.spareMax
        else { return }
        entries.removeAll(keepingCapacity: true)
        self.spare.append(entries)
    }

    /// Messages that promise nothing leave at once. A request for a vote does: 1 This member
    /// campaigns in term T; the others store and grant. 2 It crashes before its own store ends,
    /// and starts again in the term before T. 3 It campaigns in term T once more, and the grants
    /// of step 1 count for another leader of the same term, with another log. So a request leaves
    /// when its term and the log that it boasts of are stored.
    private func send(_ ready: inout Ready, _ actions: inout [Action]) {
        for message in ready.messages {
            if case .vote = message.body {
                ready.answers.append(message)
            } else {
                actions.append(.send(message))
            }
        }
    }

    /// The hard state, if it is to be written.
    ///
    /// The commit index counts where it covers a change of members: 1 A change C1 commits and is
    /// applied by the leader. 2 Only then C2 is proposed, and the append that carries it says that
    /// C1 is committed. 3 So whoever acknowledges C2 has stored that C1 is committed, and after a
    /// restart stands for election with C1 applied. Without that it might win by a majority of the
    /// configuration before C1, which need not know what C2's has committed.
    private mutating func hardStateToWrite() -> HardState? {
        let state = self.raft.hardState
        guard
            state.term != self.written.term || state.vote != self.written.vote
                || self.raft.log.committedChange > self.written.commit
        else { return nil }
        self.written = state
        return state
    }

    private mutating func store(_ ready: inout Ready, _ actions: inout [Action]) {
        let hardState = self.hardStateToWrite()
        let entries = self.handOver(&ready.entries)
        let writes = hardState != nil || !entries.isEmpty || ready.snapshot != nil
        if writes {
            self.lastTicket += 1
            actions.append(
                .store(
                    StoreRequest(
                        ticket: self.lastTicket, snapshot: ready.snapshot, entries: entries,
                        hardState: hardState)))
        }
        guard writes || !ready.answers.isEmpty || ready.stored != nil else { return }
        let promise = Promise(
            ticket: self.lastTicket, answerCount: ready.answers.count, stored: ready.stored)
        self.answers.append(contentsOf: ready.answers)
        if writes || !self.promised.isEmpty {
            // With nothing to write it waits for what is being written.
            self.promised.append(promise)
        } else {
            self.keep(promise)
        }
    }
}
