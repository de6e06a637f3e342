// Truth.swift - what a god would know of the group, and what it would not let pass.
//
// Takes     what members store, promise, commit and apply, at the moment they do.
// Gives     the first violation.
// Never     any influence on the run.

import Primitives
import Raft

struct Truth: Sendable {
    private(set) var violation: Violation?
    var counters = Counters()
    var now: Int64 = 0

    /// One committed entry; the first stands at `offset + 1`.
    struct Committed: Sendable {
        var term: UInt64
        /// Of the member that was first seen to know it.
        var knownIn: UInt64
        /// 0 until somebody applies it.
        var hash: UInt64 = 0
        var stateHash: UInt64 = 0
    }

    /// The position in front of all entries: what the founders begin with.
    let origin: LogPosition
    private var log: ContiguousArray<Committed> = []
    /// Facts of entries by index and term: the first term seen stands in `first`.
    private var first: ContiguousArray<EntryFacts?> = []
    private var others: [LogPosition: EntryFacts] = [:]
    private var leaders: ContiguousArray<(id: MemberID, life: UInt32)> = []
    private var configurations: [(index: UInt64, configuration: Configuration)] = []
    /// By client: the index at which each sequence took effect.
    private var effects: [[UInt64]]
    /// The greatest index that anybody was told of.
    private(set) var acknowledged: UInt64 = 0
    /// The greatest index that anybody has applied.
    private(set) var newestApplied: UInt64 = 0

    init(origin: LogPosition, configuration: Configuration, clients: Int) {
        self.origin = origin
        self.configurations = [(origin.index, configuration)]
        self.effects = Array(repeating: [], count: clients + 1)
    }

    mutating func fail(_ checker: Checker, _ text: @autoclosure () -> String) {
        if self.violation == nil {
            self.violation = Violation(checker: checker, time: self.now, text: text())
        }
    }

    @inline(__always)
    mutating func check(
        _ checker: Checker, _ holds: Bool, _ text: @autoclosure () -> String
    ) {
        self.counters.checks[checker.rawValue] += 1
        if !holds { self.fail(checker, text()) }
    }

    // MARK: Elections.

    /// `id` leads in `term`, elected in that life of its process.
    ///
    /// - Returns: whether that is news.
    mutating func leads(_ id: MemberID, life: UInt32, term: UInt64) -> Bool {
        while self.leaders.count <= Int(term) { self.leaders.append((.none, 0)) }
        let known = self.leaders[Int(term)]
        self.check(
            .election, known.id == .none || known == (id, life),
            "\(known.id.raw) and \(id.raw) both lead in term \(term), in lives \(known.life) "
                + "and \(life)")
        self.leaders[Int(term)] = (id, life)
        return known.id == .none
    }

    func leader(of term: UInt64) -> MemberID {
        Int(term) < self.leaders.count ? self.leaders[Int(term)].id : .none
    }

    // MARK: Entries.

    /// Somebody stores an entry.
    mutating func stores(_ entry: Entry, termBefore: UInt64) {
        let facts = EntryFacts(
            term: entry.term, hash: EntryFacts.hash(entry), termBefore: termBefore)
        while self.first.count <= Int(entry.index) { self.first.append(nil) }
        guard let known = self.first[Int(entry.index)] else {
            self.first[Int(entry.index)] = facts
            return
        }
        if known.term == entry.term {
            self.compare(known, facts, at: entry.position)
        } else if let other = self.others[entry.position] {
            self.compare(other, facts, at: entry.position)
        } else {
            self.others[entry.position] = facts
        }
    }

    private mutating func compare(_ a: EntryFacts, _ b: EntryFacts, at position: LogPosition) {
        self.check(
            .matching,
            a.hash == b.hash
                && (a.termBefore == b.termBefore || a.termBefore == .max || b.termBefore == .max),
            "two entries at \(position.text): behind terms \(a.termBefore) and \(b.termBefore)")
    }

    // MARK: What is committed.

    var committed: UInt64 { self.origin.index + UInt64(self.log.count) }
    /// The last position that was committed before `term`: later leaders may be ahead of one
    /// that is elected late.
    func lastCommitted(before term: UInt64) -> LogPosition {
        var place = self.log.count - 1
        while place >= 0, self.log[place].knownIn >= term { place -= 1 }
        guard place >= 0 else { return self.origin }
        return LogPosition(
            term: self.log[place].term, index: self.origin.index + UInt64(place) + 1)
    }

    func committedTerm(at index: UInt64) -> UInt64? {
        if index == self.origin.index { return self.origin.term }
        guard index > self.origin.index, index <= self.committed else { return nil }
        return self.log[Int(index - self.origin.index) - 1].term
    }

    /// `id`, in `term`, takes the entry at this position for committed; positions come in order.
    ///
    /// - Returns: whether that is news.
    mutating func commits(
        _ id: MemberID, in term: UInt64, _ position: LogPosition
    ) -> Bool {
        if position.index == self.committed + 1 {
            self.log.append(Committed(term: position.term, knownIn: term))
            return true
        }
        let known = self.committedTerm(at: position.index)
        self.check(
            .agreement, known == position.term,
            "\(id.raw) commits \(position.text), committed there is term \(known ?? 0)")
        return false
    }

    /// `id` has applied the entry at this position.
    mutating func applies(
        _ id: MemberID, _ entry: Entry, state: UInt64, effect: (command: Command, isNew: Bool)?
    ) {
        let place = Int(entry.index - self.origin.index) - 1
        guard entry.index > self.origin.index, place < self.log.count else {
            return self.fail(.agreement, "\(id.raw) applies \(entry.position.text), uncommitted")
        }
        let known = self.log[place]
        let hash = EntryFacts.hash(entry)
        if known.hash == 0 {
            self.check(
                .agreement, known.term == entry.term,
                "\(id.raw) applies \(entry.position.text), committed is term \(known.term)")
            self.log[place].hash = hash
            self.log[place].stateHash = state
            self.newestApplied = max(self.newestApplied, entry.index)
            if let effect { self.takesEffect(effect, at: entry.index) }
            return
        }
        self.check(
            .agreement, known.term == entry.term && known.hash == hash,
            "\(id.raw) applies another entry at \(entry.position.text)")
        self.check(
            .state, known.stateHash == state, "\(id.raw) has another state at \(entry.index)")
    }

    private mutating func takesEffect(_ effect: (command: Command, isNew: Bool), at index: UInt64) {
        let client = Int(effect.command.client)
        let sequence = Int(effect.command.sequence)
        while self.effects[client].count <= sequence { self.effects[client].append(0) }
        guard effect.isNew else {
            self.counters.duplicates += 1
            return
        }
        let before = self.effects[client][sequence]
        self.check(
            .once, before == 0,
            "command \(sequence) of client \(client) took effect at \(before) and \(index)")
        self.effects[client][sequence] = index
    }

    /// Where a command took effect; 0: nowhere yet.
    func effect(client: Int, sequence: UInt64) -> UInt64 {
        guard Int(sequence) < self.effects[client].count else { return 0 }
        return self.effects[client][Int(sequence)]
    }

    /// A state came to `id` as a whole.
    mutating func installs(_ id: MemberID, position: LogPosition, state: UInt64) {
        let place = Int(position.index) - Int(self.origin.index) - 1
        guard place >= 0, place < self.log.count else {
            self.check(
                .snapshot, position == self.origin || position == .zero,
                "\(id.raw) starts at \(position.text)")
            return
        }
        let known = self.log[place]
        self.check(
            .state,
            known.term == position.term && (known.stateHash == 0 || known.stateHash == state),
            "\(id.raw) has another state at \(position.text)")
    }

    // MARK: Members.

    /// `id` has applied a change at `index`; `configuration` is in force there.
    mutating func configures(
        _ id: MemberID, _ configuration: Configuration, at index: UInt64
    ) {
        if index > self.configurations[self.configurations.count - 1].index {
            self.configurations.append((index, configuration))
            self.counters.changesApplied += 1
            if configuration.isJoint { self.counters.jointApplied += 1 }
            return
        }
        let known = self.configuration(at: index)
        self.check(
            .configuration, known == configuration,
            "\(id.raw) has \(configuration.text) at \(index), others have \(known.text)")
    }

    func configuration(at index: UInt64) -> Configuration {
        self.configurations.last { $0.index <= index }?.configuration ?? Configuration()
    }

    var newestConfiguration: Configuration {
        self.configurations[self.configurations.count - 1].configuration
    }

    /// All that are in force at `index` or later.
    func configurations(
        from index: UInt64
    ) -> ArraySlice<(index: UInt64, configuration: Configuration)> {
        let at = self.configurations.lastIndex { $0.index <= index } ?? 0
        return self.configurations[at...]
    }

    // MARK: Clients.

    mutating func acknowledges(_ index: UInt64, since: UInt64) {
        self.check(
            .order, index > since, "acknowledged at \(index), asked for behind \(since)")
        self.acknowledged = max(self.acknowledged, index)
    }

    mutating func reads(index: UInt64, applied: UInt64, since: UInt64, at host: Int) {
        self.check(
            .read, index >= since && applied >= index,
            "a read at host \(host) sees \(index), committed was \(since) when it was asked for")
    }
}

extension LogPosition {
    /// Index, then term: `17/t3`.
    package var text: String { "\(self.index)/t\(self.term)" }
}

extension Configuration {
    package var text: String {
        func list(_ ids: [MemberID]) -> String {
            "(" + ids.map { String($0.raw) }.joined(separator: " ") + ")"
        }
        var text = list(self.voters)
        if self.isJoint { text += "&" + list(self.outgoing) + (self.autoLeave ? " auto" : "") }
        if !self.learners.isEmpty { text += " learners " + list(self.learners) }
        if !self.learnersNext.isEmpty { text += " next " + list(self.learnersNext) }
        return text
    }
}
