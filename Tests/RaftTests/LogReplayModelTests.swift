// LogReplayModelTests.swift - random journals, written by a model that remembers what it meant.
//
// The model plays one sound member: it appends, is overwritten above what is committed by greater
// terms, installs snapshots, checkpoints what it applied, drops segments that are covered. Every
// end of the journal is a crash.

import Primitives
import Testing

@testable import Raft

private struct JournalModel {
    struct Moment {
        var log: [Entry]
        var state: HardState
        var applied: LogPosition
        /// The greatest commit index that any record so far speaks of.
        var commitSeen: UInt64
        /// For each entry of `log`, the record that holds it.
        var places: [Int]
    }

    var dice: Generator
    var records: [JournalRecord] = []
    /// After each record.
    var moments: [Moment] = []
    /// Behind `base`.
    var log: [Entry] = []
    var places: [Int] = []
    var base = LogPosition.zero
    var state = HardState(term: 1, vote: .none, commit: 0)
    var committed: UInt64 = 0
    var applied = LogPosition.zero
    var commitSeen: UInt64 = 0
    var serial = 0

    init(seed: UInt64) { self.dice = Generator(seed: seed) }

    var last: LogPosition { self.log.last?.position ?? self.base }

    private mutating func put(_ record: JournalRecord) {
        if case .hardState(let state) = record {
            self.commitSeen = max(self.commitSeen, state.commit)
        }
        self.records.append(record)
        self.moments.append(
            Moment(
                log: self.log, state: self.state, applied: self.applied,
                commitSeen: self.commitSeen, places: self.places))
    }

    private func term(at index: UInt64) -> UInt64 {
        index == self.base.index ? self.base.term : self.log[Int(index - self.base.index) - 1].term
    }

    private mutating func append(term: UInt64, count: Int) {
        for _ in 0..<count {
            self.serial += 1
            let entry = Entry(
                term: term, index: self.last.index + 1, data: [UInt8(self.serial & 0xFF)])
            self.places.append(self.records.count)
            self.log.append(entry)
            self.put(.entry(entry))
        }
    }

    private mutating func nextTerm() {
        self.state.term += UInt64(1 + self.dice.below(2))
        self.state.vote = MemberID(raw: UInt64(self.dice.below(4)))
    }

    private mutating func writeState() {
        self.state.commit = self.dice.chance(permille: 500) ? self.committed : self.state.commit
        self.put(.hardState(self.state))
    }

    mutating func event() {
        switch self.dice.below(10) {
        case 0...2: self.append(term: self.state.term, count: 1 + self.dice.below(4))
        case 3:
            self.nextTerm()
            self.writeState()
        case 4: self.overwrite()
        case 5, 6:
            let room = Int(self.last.index - self.committed)
            if room > 0 { self.committed += UInt64(self.dice.below(room + 1)) }
        case 7:
            guard self.committed > self.applied.index else { return }
            let room = Int(self.committed - self.applied.index)
            let index = self.applied.index + UInt64(1 + self.dice.below(room))
            self.applied = LogPosition(term: self.term(at: index), index: index)
            // Moved between two records: crashes from the last one on see it.
            if !self.moments.isEmpty { self.moments[self.moments.count - 1].applied = self.applied }
        case 8:
            // The head of a segment.
            self.writeState()
            self.put(.base(self.applied))
        case _: self.install()
        }
    }

    /// A leader of a greater term replaces what is not committed.
    private mutating func overwrite() {
        guard self.last.index > self.committed else { return }
        let room = Int(self.last.index - self.committed)
        let from = self.committed + UInt64(1 + self.dice.below(room))
        self.nextTerm()
        let keep = Int(from - self.base.index) - 1
        self.log.removeSubrange(keep...)
        self.places.removeSubrange(keep...)
        self.append(term: self.state.term, count: 1 + self.dice.below(2))
        self.writeState()
    }

    /// A snapshot of what another leader's group has committed: above the own commit index, of a
    /// greater term than anything here.
    private mutating func install() {
        guard self.dice.chance(permille: 300) else { return }
        self.nextTerm()
        let index = self.committed + UInt64(1 + self.dice.below(6))
        self.base = LogPosition(term: self.state.term, index: index)
        self.log = []
        self.places = []
        self.committed = index
        self.applied = self.base
        self.put(.base(self.base))
        self.writeState()
    }

    /// From which records on a journal that ends behind record `end` may begin: all that is still
    /// needed was written since.
    func begins(end: Int) -> Int {
        let moment = self.moments[end]
        var begin = end
        for (entry, place) in zip(moment.log, moment.places)
        where entry.index > moment.applied.index { begin = min(begin, place) }
        // A segment begins with its head: hard state and base.
        var head = 0
        for at in 0..<max(0, begin) {
            if at + 1 < self.records.count, case .hardState = self.records[at],
                case .base = self.records[at + 1], at + 1 <= begin
            {
                head = at
            }
        }
        return head
    }
}

@Suite("Log replay against a model of journals")
struct LogReplayModelTests {
    private static func check(_ model: JournalModel, from begin: Int, end: Int) {
        let moment = model.moments[end]
        let records = model.records[begin...end]
        do {
            let start = try JournalRecord.replay(records, applied: moment.applied)
            let kept = moment.log.filter { $0.index > moment.applied.index }
            let last = kept.last?.index ?? moment.applied.index
            #expect(start.entries == kept, "\(records)")
            #expect(start.base == moment.applied)
            #expect(start.applied == moment.applied.index)
            // Of the hard state what was written; of the term at least what the log says.
            var written = HardState.empty
            for case .hardState(let state) in records { written = state }
            let term = max(kept.last?.term ?? 0, moment.applied.term)
            #expect(start.hardState.term == max(written.term, term))
            #expect(start.hardState.vote == (term > written.term ? .none : written.vote))
            var seen = moment.applied.index
            for case .hardState(let state) in records { seen = max(seen, state.commit) }
            #expect(start.hardState.commit == min(seen, last))
            // And a member can live on it.
            var options = Options(id: 1)
            options.electionTicks = 10
            let replica = Replica(options, start: start, random: 0)
            #expect(replica.raft.lastIndex == last)
        } catch {
            Issue.record("\(error): \(records) applied \(moment.applied)")
        }
    }

    @Test(arguments: 0..<8)
    func `every end of every journal gives the log that was meant`(part: UInt64) {
        for seed in 0..<60 {
            var model = JournalModel(seed: part * 1000 + UInt64(seed))
            for _ in 0..<40 { model.event() }
            for end in model.records.indices { Self.check(model, from: 0, end: end) }
        }
    }

    @Test(arguments: 0..<8)
    func `segments that the checkpoint covers are not missed`(part: UInt64) {
        var dropped = 0
        for seed in 0..<60 {
            var model = JournalModel(seed: 9000 + part * 1000 + UInt64(seed))
            for _ in 0..<40 { model.event() }
            for end in model.records.indices {
                let begin = model.begins(end: end)
                if begin > 0 { dropped += 1 }
                Self.check(model, from: begin, end: end)
            }
        }
        #expect(dropped > 100)
    }
}
