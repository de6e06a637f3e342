// Reader.swift - the thread that reads bodies.
//
// Takes     tags, from any thread.
// Gives     bodies whose every record and block is what was written, or the reason why not.
// Race      1. the index is asked; 2. the keeper moves the record and the file is used again;
//           3. the read finds other bytes. So bytes that are not sound count only if the index
//           still names the same place afterwards.

import Glibc
import Primitives
import Spool
import Synchronization

/// A place in a body that is read piece by piece. One call of `readMore` at a time.
///
/// `@unchecked Sendable`: touched by the reader's thread only.
package final class BodyCursor: @unchecked Sendable {
    let tag: Tag
    fileprivate let header: BodyHeader
    /// Blocks are given as they lie on the disk.
    fileprivate let isRaw: Bool
    fileprivate var nextChunk = 0

    init(tag: Tag, header: BodyHeader, isRaw: Bool) {
        self.tag = tag
        self.header = header
        self.isRaw = isRaw
    }

    /// Of the whole body.
    package var blockCount: Int { Int(self.header.blockCount) }

    /// Of the content, before compression, as the body's end says.
    package var contentBytes: UInt64 { self.header.contentBytes }
}

final class Reader: Sendable {
    private struct State {
        var jobs = RingBuffer<Job>(capacity: 16)
        var closing = false
    }
    private enum Job: Sendable {
        case whole(Tag, @Sendable (Result<StoredBody, BodyError>) -> Void)
        case open(Tag, isRaw: Bool, @Sendable (Result<(StoredBody, BodyCursor), BodyError>) -> Void)
        case more(BodyCursor, @Sendable (Result<[UInt8], BodyError>) -> Void)
        case chunk(UInt64, Int, @Sendable (Result<[UInt8]?, BodyError>) -> Void)

        func refuse() {
            switch self {
            case .whole(_, let answer): answer(.failure(.closed))
            case .open(_, _, let answer): answer(.failure(.closed))
            case .more(_, let answer): answer(.failure(.closed))
            case .chunk(_, _, let answer): answer(.failure(.closed))
            }
        }
    }

    private let bodies: Bodies
    private let files: any FileSystem
    private let monitor = Monitor(State())

    init(bodies: Bodies, files: any FileSystem) {
        self.bodies = bodies
        self.files = files
    }

    func read(_ tag: Tag, _ answer: @escaping @Sendable (Result<StoredBody, BodyError>) -> Void) {
        self.submit(.whole(tag, answer))
    }

    func open(
        _ tag: Tag, isRaw: Bool,
        _ answer: @escaping @Sendable (Result<(StoredBody, BodyCursor), BodyError>) -> Void
    ) {
        self.submit(.open(tag, isRaw: isRaw, answer))
    }

    func more(
        _ cursor: BodyCursor, _ answer: @escaping @Sendable (Result<[UInt8], BodyError>) -> Void
    ) {
        self.submit(.more(cursor, answer))
    }

    func chunk(
        _ stream: UInt64, _ ordinal: Int,
        _ answer: @escaping @Sendable (Result<[UInt8]?, BodyError>) -> Void
    ) {
        self.submit(.chunk(stream, ordinal, answer))
    }

    private func submit(_ job: Job) {
        let refused = self.monitor.withLock { s -> Bool in
            if s.closing { return true }
            s.jobs.append(job)
            return false
        }
        if refused { job.refuse() } else { self.monitor.signal() }
    }

    func close() {
        self.monitor.withLock { $0.closing = true }
        self.monitor.signal()
    }

    /// The life of the thread.
    func run() {
        while true {
            let next = self.monitor.wait { s -> Job?? in
                if s.closing { return .some(nil) }
                return s.jobs.popFirst().map { .some($0) }
            }
            guard case .some(.some(let job)) = next else { break }
            switch job {
            case .whole(let tag, let answer): answer(self.whole(tag))
            case .open(let tag, let isRaw, let answer): answer(self.openBody(tag, isRaw: isRaw))
            case .more(let cursor, let answer): answer(self.piece(cursor))
            case .chunk(let stream, let ordinal, let answer): answer(self.chunk(stream, ordinal))
            }
        }
        while let job = self.monitor.withLock({ $0.jobs.popFirst() }) { job.refuse() }
    }

    // MARK: On the thread.

    private func whole(_ tag: Tag) -> Result<StoredBody, BodyError> {
        self.openBody(tag, isRaw: false).flatMap { opened in
            var (body, cursor) = opened
            while true {
                switch self.piece(cursor) {
                case .failure(let error): return .failure(error)
                case .success(let bytes):
                    if bytes.isEmpty {
                        guard UInt64(body.content.count) == cursor.header.contentBytes else {
                            return .failure(.damaged)
                        }
                        return .success(body)
                    }
                    body.content += bytes
                }
            }
        }
    }

    private func openBody(
        _ tag: Tag, isRaw: Bool
    ) -> Result<(StoredBody, BodyCursor), BodyError> {
        self.record(tag, .end) { kind, content in
            guard kind == .body || kind == .bodyEnd, let header = BodyHeader(content),
                header.tag == tag, content.count >= BodyHeader.bytes + Int(header.headBytes)
            else { return nil }
            let head = content[BodyHeader.bytes..<BodyHeader.bytes + Int(header.headBytes)]
            let body = StoredBody(head: Array(head), content: [], digest: header.digest)
            return (body, BodyCursor(tag: tag, header: header, isRaw: isRaw))
        }
    }

    private func piece(_ cursor: BodyCursor) -> Result<[UInt8], BodyError> {
        let header = cursor.header
        let ordinal = cursor.nextChunk
        if header.stream == 0 {
            guard ordinal == 0 else { return .success([]) }
            cursor.nextChunk = 1
            return self.record(cursor.tag, .end) { kind, content in
                let start = BodyHeader.bytes + Int(header.headBytes)
                guard kind == .body, content.count >= start else { return nil }
                return self.take(UnsafeRawBufferPointer(rebasing: content[start...]), cursor)
            }
        }
        guard ordinal < Int(header.chunkCount) else { return .success([]) }
        cursor.nextChunk += 1
        return self.record(cursor.tag, .chunk(ordinal)) { kind, content in
            Self.blocks(of: header.stream, ordinal, kind, content).flatMap {
                self.take($0, cursor)
            }
        }
    }

    private func chunk(_ stream: UInt64, _ ordinal: Int) -> Result<[UInt8]?, BodyError> {
        self.record {
            self.bodies.find(stream, ordinal)
        } take: { kind, content in
            Self.blocks(of: stream, ordinal, kind, content).map { Array($0) }
        }
    }

    /// The blocks in a chunk's record; nil: it is another one's.
    private static func blocks(
        of stream: UInt64, _ ordinal: Int, _ kind: RecordKind, _ content: UnsafeRawBufferPointer
    ) -> UnsafeRawBufferPointer? {
        guard kind == .chunk, content.count >= ChunkHeader.bytes,
            let p = content.baseAddress, p.u64(0) == stream, Int(p.u32(8)) == ordinal
        else { return nil }
        return UnsafeRawBufferPointer(rebasing: content[ChunkHeader.bytes...])
    }

    private func take(_ blocks: UnsafeRawBufferPointer, _ cursor: BodyCursor) -> [UInt8]? {
        cursor.isRaw ? Array(blocks) : self.expand(blocks, cursor.header.contentBytes)
    }

    private func expand(_ blocks: UnsafeRawBufferPointer, _ contentBytes: UInt64) -> [UInt8]? {
        var out: [UInt8] = []
        out.reserveCapacity(min(Int(contentBytes), 1 << 20))
        guard BlockCodec.decode(blocks, into: &out) != nil else { return nil }
        return out
    }

    /// Reads one record of a body and hands its payload to `take`; nil from it is damage.
    private func record<R>(
        _ tag: Tag, _ part: BodyPart,
        _ take: (RecordKind, UnsafeRawBufferPointer) -> R?
    ) -> Result<R, BodyError> {
        let found: Result<R?, BodyError> = self.record {
            self.bodies.find(tag, part).map { .some($0) }
        } take: {
            take($0, $1)
        }
        return found.map { result in
            guard let result else { unreachable("what was found was read") }
            return result
        }
    }

    /// Reads the record that `find` names; nil if it names none.
    private func record<R>(
        _ find: () -> Result<RecordPlace?, BodyError>,
        take: (RecordKind, UnsafeRawBufferPointer) -> R?
    ) -> Result<R?, BodyError> {
        var tried: RecordExtent?
        while true {
            let place: RecordPlace
            switch find() {
            case .failure(let error): return .failure(error)
            case .success(nil): return .success(nil)
            case .success(let found?): place = found
            }
            // The same place twice, and twice not sound.
            if tried == place.extent { return .failure(.damaged) }
            tried = place.extent
            let length = Int(place.extent.length)
            let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: length, alignment: 8)
            defer { memory.deallocate() }
            do {
                let count = try self.files.read(
                    place.file.descriptor, into: memory, at: Int(place.extent.offset))
                let bytes = UnsafeRawBufferPointer(memory)
                guard count == length,
                    case .sound(let kind, let payload, _) = RecordFormat.inspect(bytes)
                else { continue }
                let start = RecordFormat.headerBytes
                let content = UnsafeRawBufferPointer(rebasing: bytes[start..<start + payload])
                if let result = take(kind, content) { return .success(result) }
            } catch {
                return .failure(.io(errno: error.errno))
            }
        }
    }
}
