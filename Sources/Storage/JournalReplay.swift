// JournalReplay.swift - the journal of an earlier start, put together again.
//
// Takes     the segments in their order.
// Gives     first the generation of the checkpoint that the journal names; then, with that
//           checkpoint's position, hard state, log entries, notes, the index of bodies, and what
//           must be written again.
// Durable   D is the greatest `durableBefore` of any batch. The batch beyond D, if it is whole, is
//           written again; damaged, it is a torn tail: dropped as a whole, since nothing in it was
//           promised, and sound records of an earlier use of the file may stand among its own.
//           Damage up to D is corruption: of a body, one copy; of the log or hard state, the
//           node's word: `.quarantined`.

import Glibc
import Primitives
import Raft
import Spool

/// Reads one segment after the other; one of them in memory at a time.
struct JournalReplay {
    struct Segment {
        var file: DataFile
        var number: UInt64
        var batches: [ScannedBatch]
    }

    private let files: any FileSystem
    private let bodies: Bodies
    /// Entries and hard state.
    private(set) var log = LogReplay(applied: .zero)
    /// Of the checkpoint file that is in force: the greatest that was named before D, or beyond D
    /// in a batch that is whole. A file of a greater one was never made current.
    private(set) var generation = CheckpointFile.firstGeneration
    private var segments: [Segment] = []
    private var durable: UInt64 = 0
    private var largest = 8
    /// Where a log base of a snapshot stood that no later one makes up for.
    private var lostBase: (file: String, offset: Int)?
    private(set) var notes: [OutcomeNote] = []
    private(set) var damage: [Damage] = []
    private(set) var contents: [UInt64: SegmentContents] = [:]
    /// Of the segment that is being read, and of the batch.
    private var current = SegmentContents(number: 0)
    private var marks: [RecordMark] = []
    /// Records beyond D, as they are: to be written and synced again before anything else.
    let carried: PendingBuffer
    private(set) var lastBatch: UInt64 = 0
    private(set) var lastCRC: UInt32 = 0
    private(set) var lastIdentity: (node: NodeName, incarnation: Incarnation)?

    init(files: any FileSystem, options: StorageOptions, bodies: Bodies) {
        self.files = files
        self.bodies = bodies
        self.carried = PendingBuffer(capacity: options.segmentBytes)
    }

    /// Finds the batches that count, and the generation.
    mutating func scan(_ found: [DataFile]) throws(StorageError) {
        for file in found { self.largest = max(self.largest, try self.size(file)) }
        let memory = UnsafeMutableRawBufferPointer.allocate(
            byteCount: self.largest, alignment: 4096)
        defer { memory.deallocate() }
        var segments: [Segment] = []
        for file in found {
            let bytes = try self.load(file, memory)
            let number = file.id.number
            var batches = SegmentScan.run(bytes, segment: number)
            for i in batches.indices { Self.readGeneration(&batches[i], bytes) }
            segments.append(Segment(file: file, number: number, batches: batches))
        }
        try self.join(&segments, memory)
        self.segments = segments
        self.durable = segments.flatMap(\.batches).map(\.durableBefore).max() ?? 0
        for batch in segments.flatMap(\.batches)
        where batch.number <= self.durable || batch.damage.isEmpty {
            self.generation = max(self.generation, batch.generation)
        }
    }

    private static func readGeneration(
        _ batch: inout ScannedBatch, _ bytes: UnsafeRawBufferPointer
    ) {
        for record in batch.records where record.kind == .logBase {
            guard let base = LogBaseRecord.read(record.content(bytes)) else { continue }
            batch.generation = max(batch.generation, base.generation)
        }
    }

    /// Reads what was found.
    ///
    /// - Parameter applied: of the checkpoint of `generation`.
    mutating func run(applied: LogPosition) throws(StorageError) {
        self.log = LogReplay(applied: applied)
        let memory = UnsafeMutableRawBufferPointer.allocate(
            byteCount: self.largest, alignment: 4096)
        defer { memory.deallocate() }
        for segment in self.segments {
            let bytes = try self.load(segment.file, memory)
            self.current = SegmentContents(number: segment.number)
            for batch in segment.batches {
                if batch.number <= self.durable {
                    try self.replay(batch, bytes, segment)
                } else {
                    try self.carry(batch, bytes, segment)
                }
            }
            self.contents[segment.number] = self.current
        }
        if let lost = self.lostBase {
            throw .quarantined(file: lost.file, offset: lost.offset, what: "a log base")
        }
        // The writer goes on after the last durable batch; later numbers are void.
        self.lastBatch = max(self.durable, self.lastBatch)
    }

    private func size(_ file: DataFile) throws(StorageError) -> Int {
        do {
            return try self.files.size(file.descriptor)
        } catch {
            throw error.storageError
        }
    }

    private func load(
        _ file: DataFile, _ memory: UnsafeMutableRawBufferPointer
    ) throws(StorageError) -> UnsafeRawBufferPointer {
        do {
            let count = try self.files.read(file.descriptor, into: memory, at: 0)
            return UnsafeRawBufferPointer(rebasing: memory[..<count])
        } catch {
            throw error.storageError
        }
    }

    /// Drops what a later segment replaces and checks that no batch is missing.
    private mutating func join(
        _ segments: inout [Segment], _ memory: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        self.dropReplaced(&segments)
        var last: ScannedBatch?
        var previous: Int?
        for i in segments.indices where !segments[i].batches.isEmpty {
            if let number = last?.number, let head = segments[i].batches.first,
                head.number == number + 2, let p = previous
            {
                // The last batch of the segment before lost its header.
                let bytes = try self.load(segments[p].file, memory)
                var lost = SegmentScan.lostAtEnd(
                    bytes, from: last?.end ?? 0, segment: segments[p].number,
                    number: number + 1, crc: head.previousCRC)
                Self.readGeneration(&lost, bytes)
                segments[p].batches.append(lost)
                last = segments[p].batches.last
            }
            for batch in segments[i].batches {
                if let number = last?.number, batch.number != number + 1 {
                    throw .quarantined(
                        file: segments[i].file.path, offset: batch.offset,
                        what: "a batch is missing"
                    )
                }
                last = batch
            }
            previous = i
        }
    }

    /// A start writes what lay beyond D again, under the same batch number in a new segment. If
    /// that write is torn, what it was made from still stands and counts.
    private mutating func dropReplaced(_ segments: inout [Segment]) {
        let durable = segments.flatMap(\.batches).map(\.durableBefore).max() ?? 0
        var first: UInt64?
        for i in segments.indices.reversed() {
            if let first { segments[i].batches.removeAll { $0.number >= first } }
            guard let head = segments[i].batches.first else { continue }
            let isTorn = !head.damage.isEmpty && head.number > durable
            if isTorn,
                segments[..<i].contains(where: { earlier in
                    earlier.batches.contains { $0.number == head.number }
                })
            {
                self.note(.tornTail, segments[i].file.path, head.damage[0].offset)
                segments[i].batches = []
            } else {
                first = head.number
            }
        }
    }

    // MARK: Up to D.

    private mutating func replay(
        _ batch: ScannedBatch, _ bytes: UnsafeRawBufferPointer, _ segment: Segment
    ) throws(StorageError) {
        let path = segment.file.path
        if batch.isRepaired { self.note(.batchHeader, path, batch.offset) }
        if batch.missingHardStates > 0 {
            throw .quarantined(file: path, offset: batch.offset, what: "term and vote")
        }
        if batch.missingEntries > 0 {
            throw .quarantined(file: path, offset: batch.offset, what: "log entries")
        }
        for damage in batch.damage {
            if damage.kind == .note { self.note(.note, path, damage.offset) }
            // What each segment begins with is said again and again; this was said once.
            if damage.kind == .logBase, batch.offset > 0 {
                self.lostBase = (path, damage.offset)
            }
            self.bodyDamage(damage, bytes, path)
        }
        for record in batch.records {
            try self.take(record, bytes, segment, moved: nil)
        }
        self.bodies.enter(self.marks, segment.file.id, at: 0)
        self.marks.removeAll(keepingCapacity: true)
        self.lastBatch = batch.number
        self.lastCRC = batch.recordsCRC
    }

    private mutating func bodyDamage(
        _ damage: ScannedDamage, _ bytes: UnsafeRawBufferPointer, _ path: String
    ) {
        let start = damage.offset + RecordFormat.headerBytes
        if damage.kind == .body || damage.kind == .bodyEnd, start < bytes.count,
            let header = BodyHeader(UnsafeRawBufferPointer(rebasing: bytes[start...]))
        {
            // A sound copy among the old bodies counts.
            let isHere = self.bodies.withState { s -> Bool in
                if s.index[header.tag] != nil { return true }
                s.markDamaged(header.tag)
                return false
            }
            if isHere { return }
            self.note(.body(header.tag), path, damage.offset)
        } else if damage.kind == .chunk {
            // The body's end will miss it, and says so then.
            return
        } else if damage.kind != .identity && damage.kind != .logBase
            && damage.kind != .abandoned && damage.kind != .note
        {
            self.bodies.withState { $0.hasUnknownDamage = true }
            self.note(.unknownBodies, path, damage.offset)
        }
    }

    private mutating func note(_ kind: Damage.Kind, _ path: String, _ offset: Int) {
        self.damage.append(Damage(kind: kind, file: path, offset: offset))
    }

    // MARK: Beyond D.

    /// Keeps a batch that is whole; it will be written again.
    private mutating func carry(
        _ batch: ScannedBatch, _ bytes: UnsafeRawBufferPointer, _ segment: Segment
    ) throws(StorageError) {
        if let first = batch.damage.first {
            self.note(.tornTail, segment.file.path, first.offset)
            return
        }
        for record in batch.records {
            switch record.kind {
            case .identity: continue
            // In its place: what stands before it may be another log's.
            case .logBase, .entry, .hardState, .chunk, .bodyEnd, .body, .abandoned, .note: break
            }
            let mark = UInt32(self.carried.count)
            self.carried.append(
                sealed: UnsafeRawBufferPointer(
                    rebasing: bytes[record.offset..<record.offset + record.bytes]),
                crc: record.crc)
            try self.take(record, bytes, segment, moved: mark)
        }
    }

    // MARK: Records.

    /// - Parameter moved: where the record will stand among the carried ones.
    private mutating func take(
        _ record: ScannedRecord, _ bytes: UnsafeRawBufferPointer, _ segment: Segment, moved: UInt32?
    ) throws(StorageError) {
        let content = record.content(bytes)
        guard let p = content.baseAddress else { return }
        let at = moved ?? UInt32(record.offset)
        var mark = RecordMark(
            kind: .body, offset: at, length: UInt32(record.bytes), stream: 0,
            tag: Tag(session: .none, sequence: 0))
        switch record.kind {
        case .entry:
            try self.take(entry: content, segment, record, isCarried: moved != nil)
            return
        case .hardState:
            guard let state = HardStateRecord.read(content) else {
                throw .quarantined(
                    file: segment.file.path, offset: record.offset, what: "term and vote")
            }
            self.log.take(state)
            if moved != nil { self.carried.hardStates += 1 }
            return
        case .logBase:
            guard let base = LogBaseRecord.read(content) else {
                throw .quarantined(
                    file: segment.file.path, offset: record.offset, what: "a log base")
            }
            self.log.take(base: base.position)
            self.lostBase = nil
            return
        case .identity where record.payload >= 24:
            let name = String(decoding: content[24...], as: UTF8.self)
            self.lastIdentity = (name, Incarnation(raw: p.u64(0)))
            return
        case .chunk where record.payload >= ChunkHeader.bytes:
            mark.kind = .chunk
            mark.stream = p.u64(0)
            mark.tag.sequence = UInt64(p.u32(8))
        case .bodyEnd, .body:
            guard let header = BodyHeader(content) else { return }
            mark.kind = record.kind == .body ? .body : .end
            mark.stream = header.stream
            mark.tag = header.tag
        case .abandoned where record.payload >= 8:
            mark.kind = .abandoned
            mark.stream = p.u64(0)
        case .note where record.payload >= 16:
            mark.kind = .note
            mark.tag = Tag(session: SessionID(raw: p.u64(0)), sequence: p.u64(8))
            self.notes.append(OutcomeNote(tag: mark.tag, bytes: Array(content[16...])))
        case .identity, .chunk, .abandoned, .note: return
        }
        if moved != nil {
            self.carried.marks.append(mark)
        } else {
            self.marks.append(mark)
            self.current.add(mark)
        }
    }

    private mutating func take(
        entry content: UnsafeRawBufferPointer, _ segment: Segment, _ record: ScannedRecord,
        isCarried: Bool
    ) throws(StorageError) {
        guard let entry = EntryRecord.read(content, for: self.log) else {
            throw .quarantined(
                file: segment.file.path, offset: record.offset, what: "a log entry's kind")
        }
        if isCarried {
            self.carried.entries += 1
            self.carried.lastEntryIndex = max(self.carried.lastEntryIndex, entry.index)
        } else {
            self.current.lastEntryIndex = max(self.current.lastEntryIndex, entry.index)
        }
        self.log.take(entry)
    }
}
