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
    var rows: [[UInt8]: [UInt8]]
}

final class SimDisk {
    enum Record {
        case entry(Entry)
        case hardState(HardState)
        case body(Tag, SimBody)
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
        }
        self.put(record)
        return self.end
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
    }

    // What this disk has promised, for the checks.

    private(set) var durableState = HardState.empty
    /// By index - 1.
    private var durableTerms: [UInt64] = []

    private func keep(_ record: Record) {
        switch record {
        case .entry(let entry):
            let count = Int(entry.index) - 1
            guard count <= self.durableTerms.count else { return }
            self.durableTerms.removeLast(self.durableTerms.count - count)
            self.durableTerms.append(entry.term)
        case .hardState(let state): self.durableState = state
        case .body: break
        }
    }

    func durableTerm(of index: UInt64) -> UInt64? {
        index <= UInt64(self.durableTerms.count) ? self.durableTerms[Int(index) - 1] : nil
    }

    /// What the process reads: written is enough.
    func body(_ tag: Tag) -> SimBody? {
        self.places[tag]?.body ?? self.carried.first { $0.tag == tag }?.body
    }

    /// Whether it would outlive a loss of power now.
    func hasDurable(_ tag: Tag) -> Bool {
        if let place = self.places[tag], place.position <= self.durable { return true }
        return self.carried.contains { $0.tag == tag }
    }

    var bodyCount: Int { self.carried.count + self.places.count }

    // MARK: Space.

    /// Gives the oldest segments free, as far as the checkpoint covers their entries and the next
    /// one's first record, the newest hard state, is synced.
    ///
    /// - Parameter prove: the proof of garbage, on the applied state.
    /// - Returns: bodies that are gone, and how many were carried, and segments dropped.
    func evacuate(_ prove: (Tag) -> BodyState) -> (gone: [Tag], carried: Int, segments: Int) {
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
        return (gone, count, dropped)
    }

    private func mustCarry(_ state: BodyState) -> Bool { state != .garbage }

    func save(_ checkpoint: SimCheckpoint) { self.checkpoint = checkpoint }

    // MARK: The end of a process.

    /// - Parameter keeps: of the records behind what is synced, so many stay.
    func crash(keeps: Int) {
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
        // What is there is read, written again and synced by the next start.
        self.places = [:]
        self.hardState = .empty
        for i in self.segments.indices {
            self.segments[i].lastIndex = 0
            for (offset, record) in self.segments[i].records.enumerated() {
                switch record {
                case .entry(let entry):
                    self.segments[i].lastIndex = max(self.segments[i].lastIndex, entry.index)
                case .hardState(let state): self.hardState = state
                case .body(let tag, let body):
                    if self.places[tag] == nil {
                        self.places[tag] = (self.segments[i].start + UInt64(offset) + 1, body)
                    }
                }
            }
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
