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
        /// The position that the keeper waits for: it is not woken for every batch.
        var awaited: UInt64?
    }

    enum Pass: Equatable { case done, notNow, closing }

    /// A record that is to be copied forward.
    private struct Survivor {
        var owner: RecordOwner
        var extent: RecordExtent
        var stream: UInt64
    }

    private let core: StorageCore
    private let events: StorageEvents
    private let pool: SegmentPool
    private let files: any FileSystem
    private let old: OldFiles
    private let wake = Monitor(Wake())
    private var askedFor: UInt64 = 0
    private var isFull = false
    private var alarmed = false
    /// Rounds until every old file is looked at again, hints or not.
    private var roundsLeft = Keeper.roundsMax
    /// Tags of one question; items of one turn with the lock.
    private static let questionTagsMax = 1024
    private static let turnItems = 256
    private static let roundsMax = 60
    private static let pauseMax: Duration = .milliseconds(100)

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
        let isAwaited = self.wake.withLock { w -> Bool in
            w.durable = position
            return w.awaited.map { position >= $0 } ?? false
        }
        if isAwaited { self.wake.signal() }
    }

    func close() {
        self.wake.withLock { $0.closing = true }
        self.wake.signal()
    }

    private var isClosing: Bool { self.wake.withLock { $0.closing } }

    func run() {
        while !self.isClosing {
            do throws(FileFault) {
                try self.dropReplaced()
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

    /// Checkpoints that a snapshot has replaced.
    private func dropReplaced() throws(FileFault) {
        let durable = self.wake.withLock { $0.durable }
        let files = self.core.takeReplaced(durable: durable)
        guard !files.isEmpty else { return }
        for file in files { try file.remove(self.files) }
        try self.files.syncDirectory(self.pool.directory)
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
        self.wake.withLock { $0.awaited = last }
        self.core.lanes.flush()
        return self.wake.wait { w -> Bool? in
            guard w.closing || w.durable >= last else { return nil }
            w.awaited = nil
            return !w.closing
        } ?? false
    }

    // MARK: Old files.

    private func lookAfterOldFiles() throws(FileFault) {
        self.roundsLeft -= 1
        if self.roundsLeft <= 0 {
            self.roundsLeft = Self.roundsMax
            self.old.unseen = self.core.bodies.withState { s in
                s.files.keys.filter(\.isOld).sorted { $0.raw > $1.raw }
            }
        }
        var mayLookAtUnseen = true
        // Each file once a round: whatever keeps one from getting empty, the round ends.
        var seen: Set<RecordFileID> = []
        while !self.isClosing, let file = self.nextOldFile(&mayLookAtUnseen, but: seen) {
            seen.insert(file.id)
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

    /// A file that seems less than half alive, or one that has not been looked at for long.
    private func nextOldFile(
        _ mayLookAtUnseen: inout Bool, but seen: Set<RecordFileID>
    ) -> DataFile? {
        let full = self.core.bodies.withState { s -> DataFile? in
            // The least number that qualifies: the same one whatever the table's order.
            s.files.values.filter { entry in
                entry.file.id.isOld && entry.bytes > 0 && !seen.contains(entry.file.id)
                    && entry.hintedBytes + entry.bytes - entry.liveBytes > entry.bytes / 2
            }.map(\.file).min { $0.id.number < $1.id.number }
        }
        if let full {
            self.old.unseen.removeAll { $0 == full.id }
            return full
        }
        guard mayLookAtUnseen, let id = self.old.unseen.popLast() else { return nil }
        mayLookAtUnseen = false
        return self.core.bodies.withState { $0.files[id]?.file }
    }

    // MARK: Proof, and copying forward.

    /// Deletes what is provably garbage in `file` and copies the rest forward.
    ///
    /// - Parameter unlessLive: nothing is copied if at least this percentage is live.
    private func empty(
        _ file: DataFile, _ contents: SegmentContents, unlessLive percent: Int? = nil
    ) throws(FileFault) -> Pass {
        let tags = self.owners(contents)
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
        self.inTurns(deletable) { s, tag in s.delete(tag) }
        let isWorth = self.core.bodies.withState { s -> Bool in
            guard let percent, let entry = s.files[file.id] else { return true }
            return entry.liveBytes * 100 < entry.bytes * percent
        }
        guard isWorth else { return .done }
        return try self.copyForward(self.survivors(file, contents), file)
    }

    /// Bodies of which something may be here, as far as the index still knows them.
    private func owners(_ contents: SegmentContents) -> [Tag] {
        var tags: [Tag] = []
        self.inTurns(contents.tags) { s, tag in
            if s.index[tag] != nil { tags.append(tag) }
        }
        self.inTurns(contents.streams.sorted()) { s, stream in
            if case .ended(let tag)? = s.streams[stream] { tags.append(tag) }
        }
        return tags
    }

    /// The lock is given back after some hundred items: event loops wait for it.
    private func inTurns<T>(_ items: [T], _ body: (inout Bodies.State, T) -> Void) {
        var start = 0
        while start < items.count {
            let end = min(items.count, start + Self.turnItems)
            self.core.bodies.withState { s in
                for item in items[start..<end] { body(&s, item) }
            }
            start = end
        }
    }

    private func survivors(_ file: DataFile, _ contents: SegmentContents) -> [Survivor] {
        var found: [Survivor] = []
        self.inTurns(contents.tags) { s, tag in
            guard let extent = s.index[tag] else { return }
            if extent.file == file.id {
                found.append(Survivor(owner: .tag(tag), extent: extent, stream: 0))
            } else if extent.file == BodyIndex.large, let large = s.large[tag],
                large.end.file == file.id
            {
                found.append(Survivor(owner: .tag(tag), extent: large.end, stream: large.stream))
            }
        }
        self.inTurns(contents.streams.sorted()) { s, stream in
            let chunks: [RecordExtent?] =
                switch s.streams[stream] {
                case .arriving(let chunks): chunks
                case .ended(let tag): s.large[tag]?.chunks ?? []
                case nil: []
                }
            for case (let i, .some(let extent)) in chunks.enumerated()
            where extent.file == file.id {
                found.append(
                    Survivor(
                        owner: .chunk(stream: stream, ordinal: i), extent: extent, stream: stream))
            }
        }
        found.sort { $0.extent.offset < $1.extent.offset }
        return found
    }

    private func copyForward(
        _ records: [Survivor], _ file: DataFile
    ) throws(FileFault) -> Pass {
        var memory = [UInt8]()
        var slices = self.old.slices
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
            self.yield(&slices)
        }
        try self.old.settle()
        return .done
    }

    /// After each slice the disk is the writer's for as long as the slice took.
    private func yield(_ slices: inout Int) {
        guard slices != self.old.slices, self.core.level == .normal else { return }
        slices = self.old.slices
        let pause = min(self.old.sliceTime, Self.pauseMax)
        _ = self.wake.wait(timeout: pause) { $0.closing ? true : nil }
    }

    /// A copy is lost: it answers as damaged from now on, never as absent.
    private func damaged(_ owner: RecordOwner) {
        self.core.bodies.withState { s in
            switch owner {
            case .tag(let tag): s.markDamaged(tag)
            case .chunk(let stream, let ordinal):
                switch s.streams[stream] {
                case .ended(let tag): s.markDamaged(tag)
                case .arriving: s.lost(stream, ordinal)
                case nil: break
                }
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
