// Keeper.swift - the background thread: spare files, the level of space, evacuation.
//
// Takes     sealed segments, answers to questions for proof, the checkpoint's index.
// Gives     free segments; files of old bodies; levels, alarms, the wish for a checkpoint.
// Never     deletes what is not provably garbage: everything else is copied forward first.
// See       GarbageRule, GarbageBreaker; Docs/Invariants.md 3, 9.

import Primitives
import Spool
import Synchronization

/// `@unchecked Sendable`: `old` and the private state are touched by the keeper's thread only.
final class Keeper: @unchecked Sendable {
    private struct Wake {
        var wanted = false
        var closing = false
        var durable: UInt64 = 0
    }

    enum Pass: Equatable { case done, notNow, closing }

    private let core: StorageCore
    private let events: StorageEvents
    private let pool: SegmentPool
    private let files: any FileSystem
    private let old: OldFiles
    private let wake = Monitor(Wake())
    private var askedFor: UInt64 = 0
    private var isFull = false
    private var alarmed = false
    /// Tags of one question.
    private static let questionTagsMax = 1024

    init(core: StorageCore, old: OldFiles, events: StorageEvents) {
        self.core = core
        self.events = events
        self.pool = core.pool
        self.files = core.pool.files
        self.old = old
    }

    /// Something has changed: look now.
    func signal() {
        self.wake.withLock { $0.wanted = true }
        self.wake.signal()
    }

    func reached(_ position: UInt64) {
        self.wake.withLock { $0.durable = position }
        self.wake.signal()
    }

    func close() {
        self.wake.withLock { $0.closing = true }
        self.wake.signal()
    }

    private var isClosing: Bool { self.wake.withLock { $0.closing } }

    func run() {
        while !self.isClosing {
            do throws(FileFault) {
                try self.lookAfterSpace()
                try self.evacuateSegments()
                try self.lookAfterOldFiles()
                var more = true
                while more, !self.isClosing { more = try self.pool.fillSpare() }
            } catch {
                if error.isFull {
                    self.full()
                } else {
                    self.core.fault(error.storageError)
                    return
                }
            }
            _ = self.wake.wait(timeout: self.pool.options.upkeepInterval) { w -> Bool? in
                guard w.wanted || w.closing else { return nil }
                w.wanted = false
                return true
            }
        }
    }

    // MARK: Space.

    private func lookAfterSpace() throws(FileFault) {
        var isShort = false
        while self.pool.spareCount < self.pool.options.spareSegments {
            if try !self.pool.makeSpare() {
                isShort = true
                break
            }
        }
        let (free, total) = try self.files.space(self.pool.directory)
        self.core.noteSpace(free: free, total: total)
        if self.pool.reserveBytes < self.pool.options.reserveBytes, !isShort,
            free > self.pool.options.lowWaterBytes + self.pool.options.reserveBytes
        {
            _ = try self.pool.fillReserve()
        }
        let level: SpaceLevel =
            if self.pool.reserveBytes < self.pool.options.reserveBytes {
                .reserve
            } else if isShort || free < self.pool.options.lowWaterBytes || self.isFull {
                .low
            } else {
                .normal
            }
        if free >= self.pool.options.lowWaterBytes { self.isFull = false }
        self.core.set(level, self.events)
    }

    private func full() {
        self.isFull = true
        do throws(FileFault) {
            try self.old.giveUp()
            _ = try self.pool.releaseReserve()
        } catch {
            self.core.fault(error.storageError)
        }
    }

    // MARK: Segments.

    private func evacuateSegments() throws(FileFault) {
        // Short of space, every sealed segment is worth the work.
        let keep = self.core.level == .normal ? self.pool.options.youngSegments : 0
        while self.pool.sealedCount > keep, let oldest = self.pool.oldest {
            guard try self.evacuate(oldest) == .done else { return }
        }
    }

    /// Empties the oldest segment and gives its file back.
    private func evacuate(_ segment: SealedSegment) throws(FileFault) -> Pass {
        let contents = segment.contents
        guard contents.lastEntryIndex <= self.core.checkpointed else {
            if self.askedFor < contents.lastEntryIndex {
                self.askedFor = contents.lastEntryIndex
                self.events.checkpointWanted(contents.lastEntryIndex)
            }
            return .notNow
        }
        let pass = try self.empty(segment.file, contents)
        guard pass == .done else { return pass }
        if contents.hasNotes {
            guard try self.carryNotes(segment) else { return .closing }
        }
        self.pool.removeOldest(contents.number)
        self.core.bodies.forget(segment.file.id)
        try self.pool.recycle(segment.file)
        return .done
    }

    /// Unresolved notes are written again, at the journal's end, before the segment goes.
    private func carryNotes(_ segment: SealedSegment) throws(FileFault) -> Bool {
        let memory = UnsafeMutableRawBufferPointer.allocate(
            byteCount: try self.files.size(segment.file.descriptor), alignment: 4096)
        defer { memory.deallocate() }
        let count = try self.files.read(segment.file.descriptor, into: memory, at: 0)
        let bytes = UnsafeRawBufferPointer(rebasing: memory[..<count])
        var notes: [(tag: Tag, content: UnsafeRawBufferPointer)] = []
        for batch in SegmentScan.run(bytes, segment: segment.contents.number) {
            for record in batch.records where record.kind == .note && record.payload >= 16 {
                let content = record.content(bytes)
                guard let p = content.baseAddress else { continue }
                notes.append((Tag(session: SessionID(raw: p.u64(0)), sequence: p.u64(8)), content))
            }
        }
        guard let answer = self.ask(notes.map(\.tag)) else { return false }
        var last: UInt64 = 0
        for (i, note) in notes.enumerated() where !answer.mayDelete[i] {
            last = self.core.lanes.note(
                note.tag, UnsafeRawBufferPointer(rebasing: note.content[16...]))
        }
        guard last > 0 else { return true }
        self.core.lanes.flush()
        return self.wake.wait { w -> Bool? in
            w.closing ? false : (w.durable >= last ? true : nil)
        } ?? false
    }

    // MARK: Old files.

    private func lookAfterOldFiles() throws(FileFault) {
        while !self.isClosing, let file = self.nextOldFile() {
            if self.old.current == file.id { self.old.closeCurrent() }
            var damage: [Damage] = []
            var contents = SegmentContents(number: file.id.number)
            for entry in try self.old.sidecar(file, &damage).entries {
                switch entry.owner {
                case .tag(let tag): contents.tags.append(tag)
                case .chunk(let stream, _): contents.streams.insert(stream)
                }
            }
            guard try self.empty(file, contents, unlessLive: 50) == .done else { return }
            let live = self.core.bodies.withState { s -> Int in
                s.files[file.id]?.hintedBytes = 0
                return s.files[file.id]?.liveBytes ?? 0
            }
            if live == 0 { try self.old.remove(file) }
        }
    }

    /// A file that seems less than half alive, or that was not looked at since the start.
    private func nextOldFile() -> DataFile? {
        let full = self.core.bodies.withState { s -> DataFile? in
            // The least number that qualifies: the same one whatever the table's order.
            s.files.values.filter { entry in
                entry.file.id.isOld && entry.bytes > 0
                    && entry.hintedBytes + entry.bytes - entry.liveBytes > entry.bytes / 2
            }.map(\.file).min { $0.id.number < $1.id.number }
        }
        if let full {
            self.old.unseen.removeAll { $0 == full.id }
            return full
        }
        guard let id = self.old.unseen.popLast() else { return nil }
        return self.core.bodies.withState { $0.files[id]?.file }
    }

    // MARK: Proof, and copying forward.

    /// Deletes what is provably garbage in `file` and copies the rest forward.
    ///
    /// - Parameter unlessLive: nothing is copied if at least this percentage is live.
    private func empty(
        _ file: DataFile, _ contents: SegmentContents, unlessLive percent: Int? = nil
    ) throws(FileFault) -> Pass {
        var tags = contents.tags
        self.core.bodies.withState { s in
            for stream in contents.streams.sorted() {
                if case .ended(let tag)? = s.streams[stream] { tags.append(tag) }
            }
            tags.removeAll { s.index[$0] == nil }
        }
        guard let answer = self.ask(tags) else { return .closing }
        var deletable = zip(tags, answer.mayDelete).filter(\.1).map(\.0)
        deletable.sort()
        let freeing = Set(deletable).count
        let indexed = self.core.bodies.count
        guard !GarbageBreaker.trips(freeing: freeing, indexed: indexed, live: answer.live) else {
            if !self.alarmed { self.events.alarm("garbage pass refused: live bodies would go") }
            self.alarmed = true
            return .notNow
        }
        self.alarmed = false
        let isWorth = self.core.bodies.withState { s -> Bool in
            for tag in deletable { s.delete(tag) }
            guard let percent, let entry = s.files[file.id] else { return true }
            return entry.liveBytes * 100 < entry.bytes * percent
        }
        guard isWorth else { return .done }
        return try self.copyForward(self.survivors(file, contents), file)
    }

    private func survivors(
        _ file: DataFile, _ contents: SegmentContents
    ) -> [(owner: RecordOwner, extent: RecordExtent, stream: UInt64)] {
        self.core.bodies.withState { s in
            var found: [(owner: RecordOwner, extent: RecordExtent, stream: UInt64)] = []
            for tag in contents.tags {
                guard let extent = s.index[tag] else { continue }
                if extent.file == file.id {
                    found.append((.tag(tag), extent, 0))
                } else if extent.file == BodyIndex.large, let large = s.large[tag],
                    large.end.file == file.id
                {
                    found.append((.tag(tag), large.end, large.stream))
                }
            }
            for stream in contents.streams {
                let chunks: [RecordExtent?] =
                    switch s.streams[stream] {
                    case .arriving(let chunks): chunks
                    case .ended(let tag): s.large[tag]?.chunks ?? []
                    case nil: []
                    }
                for case (let i, .some(let extent)) in chunks.enumerated()
                where extent.file == file.id {
                    found.append((.chunk(stream: stream, ordinal: i), extent, stream))
                }
            }
            found.sort { $0.extent.offset < $1.extent.offset }
            return found
        }
    }

    private func copyForward(
        _ records: [(owner: RecordOwner, extent: RecordExtent, stream: UInt64)], _ file: DataFile
    ) throws(FileFault) -> Pass {
        var memory = [UInt8]()
        for (n, record) in records.enumerated() {
            if n & 0xFF == 0, self.isClosing {
                try self.old.giveUp()
                return .closing
            }
            let length = Int(record.extent.length)
            if memory.count < length { memory = [UInt8](repeating: 0, count: length) }
            let isSound = try memory.withMutableBytes { m throws(FileFault) in
                let target = UnsafeMutableRawBufferPointer(rebasing: m[..<length])
                let offset = Int(record.extent.offset)
                let count = try self.files.read(file.descriptor, into: target, at: offset)
                let bytes = UnsafeRawBufferPointer(target)
                guard count == length, case .sound = RecordFormat.inspect(bytes) else {
                    return false
                }
                try self.old.append(
                    bytes, owner: record.owner, stream: record.stream, from: record.extent)
                return true
            }
            if !isSound { self.damaged(record.owner) }
        }
        try self.old.settle()
        return .done
    }

    /// A copy is lost: it answers as damaged from now on, never as absent.
    private func damaged(_ owner: RecordOwner) {
        self.core.bodies.withState { s in
            switch owner {
            case .tag(let tag): s.markDamaged(tag)
            case .chunk(let stream, _):
                if case .ended(let tag)? = s.streams[stream] { s.markDamaged(tag) }
            }
        }
        self.events.alarm("a body on this disk is damaged")
    }

    /// Asks for proof in questions of at most 1,024 tags; nil: closing.
    private func ask(_ tags: [Tag]) -> GarbageAnswer? {
        var all = GarbageAnswer(mayDelete: [], live: 0)
        var start = 0
        while start < tags.count {
            let part = Array(tags[start..<min(tags.count, start + Self.questionTagsMax)])
            let box = Monitor<GarbageAnswer?>(nil)
            self.events.prove(part) { answer in
                box.withLock { $0 = answer }
                box.signal()
            }
            var answer: GarbageAnswer?
            while answer == nil {
                answer = box.wait(timeout: .milliseconds(100)) { $0 }
                if self.isClosing { return nil }
            }
            guard let answer else { return nil }
            invariant(answer.mayDelete.count == part.count, "an answer for each tag")
            all.mayDelete += answer.mayDelete
            all.live = answer.live
            start += part.count
        }
        return all
    }
}
