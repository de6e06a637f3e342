// Bodies.swift - every body on this node: where its records lie, and who is reading them.
//
// Takes     what the writer made durable, what the keeper moved or deleted, hints.
// Gives     extents with an open file each.
// Threads   any; the lock is held for as long as tables are looked at.

import Primitives
import Spool

/// A body of more than one record.
struct LargeBody {
    var stream: UInt64
    /// The chunks in their order; nil: lost.
    var chunks: [RecordExtent?]
    var end: RecordExtent
}

/// A file that an extent may name.
struct FileEntry {
    var file: DataFile
    /// Bytes of records in it, and how many of them the index refers to.
    var bytes = 0
    var liveBytes = 0
    /// Bytes of bodies whose message is said to have ended.
    var hintedBytes = 0
}

/// A record of a body that is asked for.
enum BodyPart: Equatable {
    /// The whole body, or the end of a large one.
    case end
    /// Of a large body, by its ordinal.
    case chunk(Int)
}

/// A record with its file held open.
struct RecordPlace: Sendable {
    var extent: RecordExtent
    var file: DataFile
}

final class Bodies: Sendable {
    enum StreamState {
        case arriving([RecordExtent?])
        case ended(Tag)
    }

    struct State: ~Copyable {
        var index = BodyIndex()
        var large: [Tag: LargeBody] = [:]
        var streams: [UInt64: StreamState] = [:]
        var files: [RecordFileID: FileEntry] = [:]
        /// Records of unknown bodies were damaged: what is missing may be among them.
        var hasUnknownDamage = false
    }

    private let monitor = Monitor(Table())

    /// A box: the monitor's state is copyable, the table is not.
    final class Table {
        var state = State()
    }

    func withState<R, E: Error>(_ body: (inout State) throws(E) -> R) throws(E) -> R {
        try self.monitor.withLock { table throws(E) -> R in try body(&table.state) }
    }

    var count: Int { self.withState { $0.index.count } }

    func add(_ file: DataFile, bytes: Int = 0) {
        self.withState { $0.files[file.id] = FileEntry(file: file, bytes: bytes) }
    }

    /// The file is about to go: no new reader finds it.
    func forget(_ file: RecordFileID) {
        self.withState { _ = $0.files.removeValue(forKey: file) }
    }

    /// Enters what stands in `file` from `base` on.
    func enter(_ marks: [RecordMark], _ file: RecordFileID, at base: Int) {
        guard !marks.isEmpty else { return }
        self.withState { s in
            for mark in marks {
                let extent = RecordExtent(
                    file: file, offset: UInt32(base) + mark.offset, length: mark.length)
                switch mark.kind {
                case .body: s.place(mark.tag, extent)
                case .chunk: s.arrived(mark.stream, Int(mark.tag.sequence), extent)
                case .end: s.ended(mark.stream, mark.tag, extent)
                case .abandoned: s.abandoned(mark.stream)
                case .note: break
                }
            }
        }
    }

    /// Where a part of a body lies. A lost chunk is damage for who asks for that chunk: what is
    /// before it can be read.
    func find(_ tag: Tag, _ part: BodyPart) -> Result<RecordPlace, BodyError> {
        self.withState { s in
            guard let extent = s.index[tag] else {
                return .failure(s.hasUnknownDamage ? .damaged : .absent)
            }
            if extent.file == BodyIndex.damaged { return .failure(.damaged) }
            let wanted: RecordExtent?
            switch (part, extent.file == BodyIndex.large) {
            case (.end, false): wanted = extent
            case (.end, true): wanted = s.large[tag]?.end
            case (.chunk, false): wanted = nil
            case (.chunk(let ordinal), true):
                let chunks = s.large[tag]?.chunks ?? []
                wanted = ordinal < chunks.count ? chunks[ordinal] : nil
            }
            guard let wanted, let file = s.files[wanted.file]?.file else {
                return .failure(.damaged)
            }
            return .success(RecordPlace(extent: wanted, file: file))
        }
    }

    /// Where a chunk of a stream lies, whether it has ended or not; nil: not written yet.
    func find(_ stream: UInt64, _ ordinal: Int) -> Result<RecordPlace?, BodyError> {
        self.withState { s in
            let chunks: [RecordExtent?]
            switch s.streams[stream] {
            case nil: return .success(nil)
            case .arriving(let known)?:
                chunks = known
                guard ordinal < chunks.count else { return .success(nil) }
            case .ended(let tag)?:
                chunks = s.large[tag]?.chunks ?? []
                guard ordinal < chunks.count else { return .failure(.absent) }
            }
            guard let extent = chunks[ordinal], let file = s.files[extent.file]?.file else {
                return .failure(.damaged)
            }
            return .success(RecordPlace(extent: extent, file: file))
        }
    }

    /// Nothing of it can be read from here, as far as the index knows.
    func lacks(_ tag: Tag) -> Bool {
        self.withState { s in
            guard let extent = s.index[tag] else { return true }
            if extent.file == BodyIndex.damaged { return true }
            guard extent.file == BodyIndex.large else { return false }
            return s.large[tag]?.chunks.contains { $0 == nil } ?? true
        }
    }

    func hintEnded(_ tag: Tag) {
        self.withState { s in
            guard let extent = s.index[tag] else { return }
            if extent.file == BodyIndex.large {
                guard let large = s.large[tag] else { return }
                for case .some(let chunk) in large.chunks { s.hint(chunk) }
                s.hint(large.end)
            } else {
                s.hint(extent)
            }
        }
    }
}

extension Bodies.State {
    mutating func hint(_ extent: RecordExtent) {
        guard extent.file.isOld else { return }
        self.files[extent.file]?.hintedBytes += Int(extent.length)
    }

    mutating func count(_ extent: RecordExtent, _ sign: Int) {
        self.files[extent.file]?.liveBytes += sign * Int(extent.length)
    }

    /// A whole body at its place; takes the place of an older copy.
    mutating func place(_ tag: Tag, _ extent: RecordExtent) {
        self.release(tag)
        self.index.set(tag, extent)
        self.count(extent, 1)
    }

    /// A chunk at its place; a copy of it that was known before is replaced.
    mutating func arrived(_ stream: UInt64, _ ordinal: Int, _ extent: RecordExtent) {
        guard ordinal <= Self.chunksMax else { return }
        self.count(extent, 1)
        switch self.streams[stream] {
        case .ended(let tag):
            guard let large = self.large[tag], ordinal < large.chunks.count else { return }
            if let before = large.chunks[ordinal] { self.count(before, -1) }
            self.large[tag]?.chunks[ordinal] = extent
        case .arriving(var chunks):
            self.streams[stream] = nil
            while chunks.count <= ordinal { chunks.append(nil) }
            if let before = chunks[ordinal] { self.count(before, -1) }
            chunks[ordinal] = extent
            self.streams[stream] = .arriving(chunks)
        case nil:
            var chunks = [RecordExtent?](repeating: nil, count: ordinal)
            chunks.append(extent)
            self.streams[stream] = .arriving(chunks)
        }
    }

    mutating func ended(_ stream: UInt64, _ tag: Tag, _ extent: RecordExtent) {
        switch self.streams[stream] {
        case .ended(let known) where known == tag && self.large[tag] != nil:
            // The same body, read from a second place after a crash in the middle of a move.
            if let before = self.large[tag]?.end { self.count(before, -1) }
            self.large[tag]?.end = extent
            self.count(extent, 1)
        case .arriving(let chunks):
            self.place(tag, LargeBody(stream: stream, chunks: chunks, end: extent))
        case .ended, nil:
            self.place(tag, LargeBody(stream: stream, chunks: [], end: extent))
        }
    }

    /// Chunks of one body, at most: 8 GiB of single blocks.
    static let chunksMax = 1 << 17

    /// The chunks are counted already, the end is not.
    mutating func place(_ tag: Tag, _ large: LargeBody) {
        self.release(tag)
        self.large[tag] = large
        self.streams[large.stream] = .ended(tag)
        self.index.set(tag, RecordExtent(file: BodyIndex.large, offset: 0, length: 0))
        self.count(large.end, 1)
    }

    /// A chunk of a stream that still arrives cannot be read: its place is given up, and the body
    /// will be damaged when it has arrived.
    mutating func lost(_ stream: UInt64, _ ordinal: Int) {
        guard case .arriving(var chunks)? = self.streams[stream], ordinal < chunks.count,
            let extent = chunks[ordinal]
        else { return }
        chunks[ordinal] = nil
        self.streams[stream] = .arriving(chunks)
        self.count(extent, -1)
    }

    mutating func abandoned(_ stream: UInt64) {
        guard case .arriving(let chunks)? = self.streams.removeValue(forKey: stream) else { return }
        for case .some(let chunk) in chunks { self.count(chunk, -1) }
    }

    /// What is known of the tag is given up.
    mutating func release(_ tag: Tag) {
        guard let extent = self.index[tag] else { return }
        if extent.file == BodyIndex.large {
            guard let large = self.large.removeValue(forKey: tag) else { return }
            self.streams[large.stream] = nil
            for case .some(let chunk) in large.chunks { self.count(chunk, -1) }
            self.count(large.end, -1)
        } else {
            self.count(extent, -1)
        }
    }

    /// The body is garbage by proof: nothing of it is known any more.
    mutating func delete(_ tag: Tag) {
        self.release(tag)
        self.index.remove(tag)
    }

    /// The body is here and is not what was written.
    mutating func markDamaged(_ tag: Tag) {
        self.release(tag)
        self.index.set(tag, RecordExtent(file: BodyIndex.damaged, offset: 0, length: 0))
    }

    /// A record was copied to another place.
    mutating func move(_ owner: RecordOwner, from: RecordExtent, to: RecordExtent) {
        switch owner {
        case .tag(let tag):
            guard let extent = self.index[tag] else { return }
            if extent == from {
                self.index.set(tag, to)
            } else if extent.file == BodyIndex.large, self.large[tag]?.end == from {
                self.large[tag]?.end = to
            } else {
                return
            }
        case .chunk(let stream, let ordinal):
            switch self.streams[stream] {
            case .arriving(var chunks):
                guard ordinal < chunks.count, chunks[ordinal] == from else { return }
                chunks[ordinal] = to
                self.streams[stream] = .arriving(chunks)
            case .ended(let tag):
                guard let large = self.large[tag], ordinal < large.chunks.count,
                    large.chunks[ordinal] == from
                else { return }
                self.large[tag]?.chunks[ordinal] = to
            case nil:
                return
            }
        }
        self.count(from, -1)
        self.count(to, 1)
    }
}

/// Whose a record is.
enum RecordOwner: Hashable {
    /// A whole body, or the end of a large one.
    case tag(Tag)
    case chunk(stream: UInt64, ordinal: Int)
}
