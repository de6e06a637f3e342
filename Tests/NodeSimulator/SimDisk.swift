// SimDisk.swift - the disk of one node: a journal in segments, carried bodies, checkpoints.
//
// Order     records lie in the order in which they were given; a sync covers all before it.
// Durable   what a finished sync covers. Of what lies behind, a crash keeps a prefix.
// Like      the product's Storage: a segment begins with the newest hard state; a checkpoint is
//           there as a whole or not at all; what is dropped with a segment was carried before.

import MailQueue
import Primitives
import Raft
import Spool

/// A stored body; its bytes are told by their digest.
struct SimBody: Equatable {
    var digest: BodyDigest
    var contentBytes: UInt64
}

/// The queue's rows and what belongs to their index.
struct SimCheckpoint {
    var position: LogPosition
    var meta: [UInt8]
    var stamp: QueueTime
    var wall: WallTime
    /// The members in force at it.
    var configuration: Configuration
    /// Of the state that it is of.
    var hash: UInt64 = 0
    var rows: [[UInt8]: [UInt8]]

    /// The state that it is of.
    func queue() throws -> MailQueue {
        var queue = try MailQueue(restoring: self.meta)
        let keys = self.rows.keys.sorted { $0.lexicographicallyPrecedes($1) }
        for key in keys { try queue.restore(key: key, row: self.rows[key] ?? []) }
        try queue.finishRestoring()
        return queue
    }
}

final class SimDisk {
    enum Record {
        case entry(Entry)
        case hardState(HardState)
        case body(Tag, SimBody)
        /// The log begins behind this checkpoint, which is of this generation.
        case base(LogPosition, generation: UInt64)
    }

    struct Segment {
        /// The position in front of its first record.
        var start: UInt64
        var records: [Record] = []
        /// The greatest index of an entry in it.
        var lastIndex: UInt64 = 0
        var end: UInt64 { self.start + UInt64(self.records.count) }
    }

    private(set) var segments = [Segment(start: 0)]
    private(set) var durable: UInt64 = 0
    private(set) var hardState = HardState.empty
    /// Bodies carried out of segments; synced.
    private(set) var carried: [(tag: Tag, body: SimBody)] = []
    /// Where bodies lie in the segments; looked up only.
    private var places: [Tag: (position: UInt64, body: SimBody)] = [:]
    private(set) var checkpoint: SimCheckpoint?
    /// Counts installed snapshots: each begins a generation.
    private var generation: UInt64 = 0
    /// A snapshot in place whose log base is not durable yet.
    private var staged: (generation: UInt64, checkpoint: SimCheckpoint, end: UInt64)?
    /// What each new segment begins with, behind the hard state.
    private var base: (position: LogPosition, generation: UInt64)?
    /// Bodies that were synced and cannot be read any more.
    private(set) var damaged: Set<Tag> = []
    /// Facts that are to outlive the process, and the position behind which each was written.
    private(set) var notes: [(command: Command, position: UInt64)] = []
    /// Synced with each start and each session.
    var boot: BootNumber = 0
    let segmentRecords: Int

    init(segmentRecords: Int) { self.segmentRecords = segmentRecords }

    /// The end of what was written.
    var end: UInt64 { self.segments[self.segments.count - 1].end }

    /// - Returns: the position up to which the journal is to be durable for it.
    func append(_ record: Record) -> UInt64 {
        if self.segments[self.segments.count - 1].records.count >= self.segmentRecords {
            self.segments.append(Segment(start: self.end))
            self.put(.hardState(self.hardState))
            if let base { self.put(.base(base.position, generation: base.generation)) }
        }
        self.put(record)
        return self.end
    }

    /// Puts another node's checkpoint in place; it is current when the journal has synced its base.
    ///
    /// - Returns: the position up to which the journal is to be durable for it.
    func install(_ checkpoint: SimCheckpoint) -> UInt64 {
        let next = max(self.generation, self.staged?.generation ?? 0) + 1
        self.base = (checkpoint.position, next)
        let end = self.append(.base(checkpoint.position, generation: next))
        self.staged = (next, checkpoint, end)
        return end
    }

    private func put(_ record: Record) {
        let last = self.segments.count - 1
        self.segments[last].records.append(record)
        switch record {
        case .entry(let entry):
            self.segments[last].lastIndex = max(self.segments[last].lastIndex, entry.index)
        case .hardState(let state): self.hardState = state
        case .body(let tag, let body):
            // Sent twice: the copy that is synced counts.
            if self.places[tag] == nil { self.places[tag] = (self.segments[last].end, body) }
        case .base: break
        }
    }

    func synced(to position: UInt64) {
        guard position > self.durable else { return }
        for segment in self.segments where segment.end > self.durable {
            let first = Int(max(segment.start, self.durable) - segment.start)
            let last = Int(min(segment.end, max(position, segment.start)) - segment.start)
            for record in segment.records[first..<max(first, last)] { self.keep(record) }
        }
        self.durable = position
        if let staged, staged.end <= position { self.becomesCurrent(staged) }
    }

    private func becomesCurrent(
        _ staged: (generation: UInt64, checkpoint: SimCheckpoint, end: UInt64)
    ) {
        self.checkpoint = staged.checkpoint
        self.generation = staged.generation
        self.staged = nil
    }

    // What this disk has promised, for the checks.

    private(set) var durableState = HardState.empty

    private func keep(_ record: Record) {
        if case .hardState(let state) = record { self.durableState = state }
    }

    /// What the process reads: written is enough.
    func body(_ tag: Tag) -> SimBody? {
        if self.damaged.contains(tag) { return nil }
        return self.places[tag]?.body ?? self.carried.first { $0.tag == tag }?.body
    }

    /// Whether it would outlive a loss of power now.
    func hasDurable(_ tag: Tag) -> Bool {
        if self.damaged.contains(tag) { return false }
        if let place = self.places[tag], place.position <= self.durable { return true }
        return self.carried.contains { $0.tag == tag }
    }

    /// Whether a change of members stands in the journal behind this index.
    func hasChange(behind index: UInt64) -> Bool {
        self.segments.contains { segment in
            guard segment.lastIndex > index else { return false }
            return segment.records.contains { record in
                guard case .entry(let entry) = record else { return false }
                return entry.index > index && entry.kind != .normal
            }
        }
    }

    /// What was synced can be read no more.
    func damage(_ tag: Tag) { self.damaged.insert(tag) }

    var bodyCount: Int { self.carried.count + self.places.count }

    /// Notes a fact in front of its proposal: written behind all that is there, not synced.
    func note(_ command: Command) { self.notes.append((command, self.end)) }

    // MARK: Space.

    /// Gives the oldest segments free, as far as the checkpoint covers their entries and the next
    /// one's first record, the newest hard state, is synced.
    ///
    /// - Parameters:
    ///   - prove: the proof of garbage, on the applied state.
    ///   - isUnderWay: whether a fact with this number waits for its leader.
    /// - Returns: bodies that are gone, and how many were carried, and segments dropped.
    func evacuate(
        _ prove: (Tag) -> BodyState, isUnderWay: (Tag) -> Bool
    ) -> (gone: [Tag], carried: Int, segments: Int) {
        var gone: [Tag] = []
        var count = 0
        var dropped = 0
        let covered = self.checkpoint?.position.index ?? 0
        while self.segments.count > 1, self.segments[0].lastIndex <= covered,
            self.segments[1].start < self.durable
        {
            for record in self.segments[0].records {
                guard case .body(let tag, let body) = record else { continue }
                if self.mustCarry(prove(tag)) {
                    if !self.carried.contains(where: { $0.tag == tag }) {
                        self.carried.append((tag, body))
                        count += 1
                    }
                } else {
                    gone.append(tag)
                }
                if let place = self.places[tag], place.position <= self.segments[0].end {
                    self.places[tag] = nil
                }
            }
            self.segments.removeFirst()
            dropped += 1
        }
        var kept: [(tag: Tag, body: SimBody)] = []
        for item in self.carried {
            if self.mustCarry(prove(item.tag)) {
                kept.append(item)
            } else {
                gone.append(item.tag)
            }
        }
        self.carried = kept
        self.notes.removeAll { note in
            guard let tag = note.command.tag else { return true }
            return note.position < self.segments[0].start && prove(tag) == .garbage
                && !isUnderWay(tag)
        }
        for tag in gone where self.places[tag] == nil { self.damaged.remove(tag) }
        return (gone, count, dropped)
    }

    private func mustCarry(_ state: BodyState) -> Bool { state != .garbage }

    func save(_ checkpoint: SimCheckpoint) {
        self.checkpoint = checkpoint
        self.base = (checkpoint.position, self.generation)
    }

    // MARK: The end of a process.

    /// - Parameters:
    ///   - keeps: of the records behind what is synced, so many stay.
    ///   - isWhole: all that the process has given is there.
    func crash(keeps: Int, isWhole: Bool) {
        var left = keeps
        var kept: [Segment] = []
        for segment in self.segments {
            guard segment.start < self.durable || left > 0 || kept.isEmpty else { break }
            let sure = Int(min(segment.end, max(self.durable, segment.start)) - segment.start)
            let more = min(left, segment.records.count - sure)
            left -= more
            var short = segment
            short.records = Array(segment.records.prefix(sure + more))
            kept.append(short)
        }
        self.segments = kept
        let end = self.end
        self.notes.removeAll { $0.position > end || !isWhole && $0.position == end }
        // What is there is read, written again and synced by the next start.
        self.places = [:]
        self.hardState = .empty
        self.base = nil
        for i in self.segments.indices {
            self.segments[i].lastIndex = 0
            for (offset, record) in self.segments[i].records.enumerated() {
                self.find(record, i, end: self.segments[i].start + UInt64(offset) + 1)
            }
        }
        if let staged, self.base?.generation == staged.generation { self.becomesCurrent(staged) }
        self.staged = nil
        if let checkpoint { self.base = (checkpoint.position, self.generation) }
    }

    private func find(_ record: Record, _ segment: Int, end: UInt64) {
        switch record {
        case .entry(let entry):
            self.segments[segment].lastIndex = max(self.segments[segment].lastIndex, entry.index)
        case .hardState(let state): self.hardState = state
        case .body(let tag, let body):
            if self.places[tag] == nil { self.places[tag] = (end, body) }
        case .base(let position, let generation): self.base = (position, generation)
        }
    }

    var unsynced: Int { Int(self.end - min(self.end, self.durable)) }

    /// The start has synced all that it found.
    func recovered() { self.synced(to: self.end) }

    /// Everything in the order in which it was written.
    func forEachRecord<E: Error>(_ body: (Record) throws(E) -> Void) throws(E) {
        for segment in self.segments {
            for record in segment.records { try body(record) }
        }
    }
}
