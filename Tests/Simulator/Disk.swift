// Disk.swift - the disk of one machine: a journal of records in segments, and checkpoints.
//
// Order     one batch at a time is written and synced; what waits meanwhile goes together.
// Durable   records of a batch whose sync has returned. Of what lies behind, a crash keeps a
//           prefix: nothing, all, or something between (torn).
// Like      the product's journal: each segment begins with the newest hard state and log base; a
//           log base record makes the state of a snapshot the current one; what lies behind the
//           last known sync is written again and synced at the start, before anything is told.

import Primitives
import Raft

/// The state machine as it stands in a file: atomic, durable by itself.
struct Checkpoint: Sendable {
    /// A snapshot begins a new one; checkpoints of the same replace each other.
    var generation: Int
    var state: Register
    var configuration: Configuration
    var position: LogPosition { self.state.position }
}

struct Disk: Sendable {
    enum Record: Sendable {
        case entry(Entry)
        case hardState(HardState)
        /// The log begins behind it, on the state of that generation.
        case base(LogPosition, generation: Int)
    }

    struct Segment: Sendable {
        var records: ContiguousArray<Record> = []
        var lastIndex: UInt64 = 0
    }

    /// What is being written, or waits for that.
    struct Write: Sendable {
        var ticket: UInt64
        var records: [Record]
        var installs: Checkpoint?
    }

    private(set) var segments: [Segment] = [Segment()]
    /// Left by a crash behind what is known to be synced.
    private(set) var tail: [Record] = []
    var pending: [Write] = []
    private(set) var flight: [Write] = []
    /// One for each generation that may be needed, oldest first.
    private(set) var checkpoints: [Checkpoint]
    /// What is synced.
    private(set) var view = LogView()
    /// What is handed to the disk, synced or not: for the order of stores only.
    var written = LogView()
    private(set) var base: LogPosition
    private(set) var generation = 0
    /// Synced since somebody asked.
    private var hardStates: [HardState] = []
    /// A checkpoint under way.
    var checkpointing: Checkpoint?
    var armed: Fault?
    var isDamaged = false

    init(founding: Checkpoint, hardState: HardState) {
        self.checkpoints = [founding]
        self.base = founding.position
        self.put(.hardState(hardState))
        self.put(.base(founding.position, generation: founding.generation))
        self.generation = founding.generation
        self.written = self.view
    }

    var isIdle: Bool { self.flight.isEmpty }
    /// The state in force: those behind it wait for the record that names them.
    var current: Checkpoint { self.checkpoints[0] }

    /// Takes what waits, at most `limit` stores. - Returns: how many.
    mutating func begin(limit: Int) -> Int {
        let count = min(limit, self.pending.count)
        if count == self.pending.count {
            swap(&self.flight, &self.pending)
        } else {
            self.flight = Array(self.pending[..<count])
            self.pending.removeFirst(count)
        }
        // The state of a snapshot is durable before the record that names it.
        for write in self.flight {
            if let checkpoint = write.installs { self.checkpoints.append(checkpoint) }
        }
        return count
    }

    /// The batch under way is written and synced.
    ///
    /// - Returns: the last ticket, and the state that was installed.
    mutating func finish(recordsMax: Int) -> (ticket: UInt64, installed: Checkpoint?) {
        var installed: Checkpoint?
        var ticket: UInt64 = 0
        for write in self.flight {
            ticket = write.ticket
            installed = write.installs ?? installed
            for record in write.records { self.put(record) }
            self.roll(recordsMax: recordsMax)
        }
        self.flight.removeAll(keepingCapacity: true)
        return (ticket, installed)
    }

    /// A full segment is followed by a new one, if there is space for that.
    private mutating func roll(recordsMax: Int) {
        guard self.segments[self.segments.count - 1].records.count >= recordsMax else { return }
        if self.armed == .refusedSegment {
            self.armed = nil
            return
        }
        self.segments.append(Segment())
        self.put(.hardState(self.view.hardState))
        self.put(.base(self.base, generation: self.generation))
    }

    private mutating func put(_ record: Record) {
        let last = self.segments.count - 1
        self.segments[last].records.append(record)
        switch record {
        case .entry(let entry):
            self.segments[last].lastIndex = max(self.segments[last].lastIndex, entry.index)
        case .hardState(let state): self.hardStates.append(state)
        case .base(let position, let generation):
            if generation > self.generation {
                self.base = position
                self.generation = generation
                // Of no more use: the record that names its successor is synced.
                self.checkpoints.removeAll { $0.generation < generation }
            }
        }
        let isWhole = self.view.take(record)
        invariant(isWhole, "the simulated disk has no gaps")
    }

    /// Those that became durable since the last call.
    mutating func takeHardStates() -> [HardState] {
        var taken: [HardState] = []
        swap(&taken, &self.hardStates)
        return taken
    }

    /// The checkpoint under way is durable. - Returns: false if a snapshot came between.
    mutating func finishCheckpoint() -> Bool {
        guard let new = self.checkpointing else { return false }
        self.checkpointing = nil
        guard new.generation == self.generation else { return false }
        self.checkpoints[0] = new
        return true
    }

    /// Drops segments of which nothing is needed behind the checkpoint. - Returns: how many.
    mutating func dropSegments(below index: UInt64) -> Int {
        let end = min(index, self.current.position.index)
        var count = 0
        while count + 1 < self.segments.count, self.segments[count].lastIndex <= end { count += 1 }
        if count > 0 { self.segments.removeFirst(count) }
        return count
    }

    /// What the view need not know any more.
    mutating func forget(to position: LogPosition) {
        self.view.drop(to: position)
        self.written.drop(to: position)
    }

    /// The process ends, or the machine: a checkpoint under way is there, or the one before it
    /// (its file was not renamed yet, or the directory not synced).
    ///
    /// - Returns: whether a batch was torn.
    mutating func crash(isPower: Bool, dice: inout Generator) -> Bool {
        var isTorn = false
        if isPower { isTorn = Self.tear(&self.tail, dice: &dice) }
        if !self.flight.isEmpty {
            var written: [Record] = []
            for write in self.flight { written.append(contentsOf: write.records) }
            let wasTorn = Self.tear(&written, dice: &dice)
            // Behind a hole nothing is valid.
            if !isTorn {
                self.tail.append(contentsOf: written)
                isTorn = wasTorn
            }
        }
        if self.checkpointing != nil, dice.chance(permille: 500) { _ = self.finishCheckpoint() }
        self.checkpointing = nil
        self.flight = []
        self.pending = []
        self.armed = nil
        return isTorn
    }

    /// Keeps a prefix. - Returns: whether something is missing.
    private static func tear(_ records: inout [Record], dice: inout Generator) -> Bool {
        guard !records.isEmpty else { return false }
        switch dice.below(3) {
        case 0: return false
        case 1: records.removeAll()
        default: records.removeLast(1 + dice.below(records.count))
        }
        return true
    }

    /// At the start: what lies behind the last known sync is written again and synced.
    mutating func rewrite() {
        for record in self.tail { self.put(record) }
        self.tail.removeAll()
        self.checkpoints.removeAll { $0.generation > self.generation }
        self.written = self.view
    }
}
