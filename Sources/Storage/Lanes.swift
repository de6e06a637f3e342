// Lanes.swift - what is appended and not yet written: a control lane in order, a bulk lane beside.
//
// Takes     records, from any thread; the lock is held while the bytes are copied.
// Gives     batches to the writer thread: one bulk buffer and one control buffer at a time.
// Why       chunks of large bodies must not hold up log entries, but the end of a body never
//           overtakes its chunks, nor an entry the end of a body that was appended before it:
//           ends stand in the control lane, which is written strictly in order, and each control
//           buffer says how much of the bulk lane must be written with it or before.
// Limits    a buffer holds half of `batchBytesMax` (or one larger record), so a batch has at most
//           `batchBytesMax`; body bytes in flight: `inFlightBytesMax`.

import Glibc
import Primitives
import Raft
import Spool
import Synchronization

/// What one write carries.
struct PendingBatch {
    var bulk: PendingBuffer?
    var control: PendingBuffer?
}

/// The two lanes. `@unchecked Sendable`: buffers are guarded by the monitor.
final class Lanes: @unchecked Sendable {
    private struct StreamCount {
        var chunks: UInt32 = 0
        var lastBuffer: UInt64 = 0
    }

    private struct State {
        var control = RingBuffer<PendingBuffer>(capacity: 16)
        var bulk = RingBuffer<PendingBuffer>(capacity: 16)
        var spare: [PendingBuffer] = []
        var position: UInt64 = 0
        var bulkOrdinal: UInt64 = 0
        var streams: [UInt64: StreamCount] = [:]
        var nextStream: UInt64
        var inFlight = 0
        var pressed = false
        /// Something must be written now.
        var wanted = false
        var closing = false
        var failed = false
    }

    private let bufferBytes: Int
    private let inFlightBytesMax: Int
    private let recordBytesMax: Int
    private let monitor: Monitor<State>
    private let open = Atomic<Bool>(true)
    /// Buffers kept for reuse.
    private static let spareBuffersMax = 8
    /// The bulk lane is written without being asked for from here on.
    private static let bulkWakeBytes = 256 << 10

    init(options: StorageOptions, boot: BootNumber) {
        self.bufferBytes = options.batchBytesMax / 2
        self.inFlightBytesMax = options.inFlightBytesMax
        self.recordBytesMax = min(RecordFormat.payloadBytesMax, options.segmentBytes / 2)
        self.monitor = Monitor(State(nextStream: boot << 32))
    }

    var mayTakeBytes: Bool { self.open.load(ordering: .relaxed) }
    var lastPosition: UInt64 { self.monitor.withLock { $0.position } }

    // MARK: Any thread.

    /// Entries in their order, then the hard state: what is torn off the end was promised last.
    func log(_ entries: [Entry], _ hardState: HardState?) -> UInt64 {
        let position = self.monitor.withLock { s -> UInt64 in
            for entry in entries {
                let payload = EntryRecord.headerBytes + entry.data.count
                self.control(&s, payload)?.appendEntry(entry)
            }
            if let hardState { self.control(&s, HardStateRecord.bytes)?.append(hardState) }
            s.wanted = s.wanted || !entries.isEmpty || hardState != nil
            return s.position
        }
        self.monitor.signal()
        return position
    }

    /// The log begins anew, on a state that is in place.
    func logBase(_ base: LogBase) -> UInt64 {
        let position = self.monitor.withLock { s -> UInt64 in
            self.control(&s, LogBaseRecord.bytes)?.append(base)
            s.wanted = true
            return s.position
        }
        self.monitor.signal()
        return position
    }

    func note(_ tag: Tag, _ bytes: UnsafeRawBufferPointer) -> UInt64 {
        let payload = 16 + bytes.count
        return self.monitor.withLock { s in
            guard let buffer = self.control(&s, payload) else { return s.position }
            let place = buffer.append(.note, payload: payload) { p in
                p.put(tag.session.raw, 0)
                p.put(tag.sequence, 8)
                if let source = bytes.baseAddress { memcpy(p + 16, source, bytes.count) }
            }
            buffer.marks.append(
                RecordMark(
                    kind: .note, offset: place.offset, length: place.length, stream: 0, tag: tag))
            return s.position
        }
    }

    func body(
        _ header: BodyHeader, head: UnsafeRawBufferPointer, blocks: UnsafeRawBufferPointer
    ) -> UInt64 {
        let payload = BodyHeader.bytes + head.count + blocks.count
        return self.monitor.withLock { s in
            guard let buffer = self.control(&s, payload) else { return s.position }
            let place = buffer.append(.body, payload: payload) { p in
                header.store(at: p)
                if let h = head.baseAddress { memcpy(p + BodyHeader.bytes, h, head.count) }
                if let b = blocks.baseAddress {
                    memcpy(p + BodyHeader.bytes + head.count, b, blocks.count)
                }
            }
            buffer.marks.append(
                RecordMark(
                    kind: .body, offset: place.offset, length: place.length, stream: 0,
                    tag: header.tag))
            self.count(&s, buffer, payload)
            return s.position
        }
    }

    func openStream() -> BodyStream {
        self.monitor.withLock { s in
            s.nextStream += 1
            s.streams[s.nextStream] = StreamCount()
            return BodyStream(raw: s.nextStream)
        }
    }

    func chunk(_ stream: BodyStream, _ blocks: UnsafeRawBufferPointer) {
        let payload = ChunkHeader.bytes + blocks.count
        let wake = self.monitor.withLock { s -> Bool in
            guard var count = s.streams[stream.raw], let buffer = self.bulk(&s, payload)
            else { return false }
            let place = buffer.append(.chunk, payload: payload) { p in
                p.put(stream.raw, 0)
                p.put(count.chunks, 8)
                p.put(UInt32(0), 12)
                if let b = blocks.baseAddress {
                    memcpy(p + ChunkHeader.bytes, b, blocks.count)
                }
            }
            buffer.marks.append(
                RecordMark(
                    kind: .chunk, offset: place.offset, length: place.length, stream: stream.raw,
                    tag: Tag(session: .none, sequence: UInt64(count.chunks))))
            count.chunks += 1
            count.lastBuffer = buffer.ordinal
            s.streams[stream.raw] = count
            self.count(&s, buffer, payload)
            guard s.bulk.count > 1 || buffer.count >= Self.bulkWakeBytes else { return false }
            s.wanted = true
            return true
        }
        if wake { self.monitor.signal() }
    }

    func end(
        _ stream: BodyStream, tag: Tag, head: UnsafeRawBufferPointer, blockCount: Int,
        contentBytes: UInt64, digest: BodyDigest
    ) -> UInt64 {
        let payload = BodyHeader.bytes + head.count
        return self.monitor.withLock { s in
            guard let count = s.streams.removeValue(forKey: stream.raw) else {
                unreachable("the end of a stream that is not open")
            }
            guard let buffer = self.control(&s, payload) else { return s.position }
            let header = BodyHeader(
                stream: stream.raw, tag: tag, digest: digest, contentBytes: contentBytes,
                headBytes: UInt32(head.count), blockCount: UInt32(blockCount),
                chunkCount: count.chunks)
            let place = buffer.append(.bodyEnd, payload: payload) { p in
                header.store(at: p)
                if let h = head.baseAddress { memcpy(p + BodyHeader.bytes, h, head.count) }
            }
            buffer.marks.append(
                RecordMark(
                    kind: .end, offset: place.offset, length: place.length, stream: stream.raw,
                    tag: tag))
            buffer.bulkNeeded = max(buffer.bulkNeeded, count.lastBuffer)
            return s.position
        }
    }

    func abandon(_ stream: BodyStream) {
        self.monitor.withLock { s in
            guard let count = s.streams.removeValue(forKey: stream.raw), count.chunks > 0,
                let buffer = self.control(&s, 8)
            else { return }
            let place = buffer.append(.abandoned, payload: 8) { $0.put(stream.raw, 0) }
            // Behind its chunks, so that nothing is entered after it was given up.
            buffer.bulkNeeded = max(buffer.bulkNeeded, count.lastBuffer)
            buffer.marks.append(
                RecordMark(
                    kind: .abandoned, offset: place.offset, length: place.length,
                    stream: stream.raw, tag: Tag(session: .none, sequence: 0)))
        }
    }

    func flush() {
        self.monitor.withLock { $0.wanted = true }
        self.monitor.signal()
    }

    // MARK: The writer.

    /// Waits for the next batch; nil: closed, or `timeout`less end.
    func next() -> PendingBatch? {
        self.monitor.wait { s -> PendingBatch?? in
            if s.failed { return .some(nil) }
            let empty = s.control.isEmpty && s.bulk.isEmpty
            if empty {
                s.wanted = false
                return s.closing ? .some(nil) : .none
            }
            guard s.wanted || s.closing else { return .none }
            var batch = PendingBatch()
            if !s.bulk.isEmpty { batch.bulk = s.bulk.popFirst() }
            if let control = s.control.first,
                s.bulk.first.map({ control.bulkNeeded < $0.ordinal }) ?? true
            {
                batch.control = s.control.popFirst()
            }
            return .some(batch)
        } ?? nil
    }

    /// The batch is durable, its buffers may be reused.
    ///
    /// - Returns: the position reached, if any, and whether readers may go on now.
    func written(_ batch: PendingBatch) -> (position: UInt64?, relieved: Bool) {
        let position = batch.control?.lastPosition
        let relieved = self.monitor.withLock { s -> Bool in
            for buffer in [batch.bulk, batch.control] {
                guard let buffer else { continue }
                s.inFlight -= buffer.bodyBytes
                buffer.reset()
                if buffer.capacity == self.bufferBytes, s.spare.count < Self.spareBuffersMax {
                    s.spare.append(buffer)
                }
            }
            guard s.pressed, s.inFlight < self.inFlightBytesMax / 2 else { return false }
            s.pressed = false
            self.open.store(true, ordering: .relaxed)
            return true
        }
        return (position, relieved)
    }

    func close() {
        self.monitor.withLock { $0.closing = true }
        self.monitor.signal()
    }

    /// Nothing is taken any more.
    func fail() {
        self.monitor.withLock { $0.failed = true }
        self.monitor.signal()
    }

    // MARK: With the lock held.

    /// The control buffer for a record; counts the position up. Nil after a fault.
    private func control(_ s: inout State, _ payload: Int) -> PendingBuffer? {
        invariant(payload <= self.recordBytesMax, "a record has a limit (\(payload) bytes)")
        s.position += 1
        if s.failed { return nil }
        var buffer = s.control.isEmpty ? nil : s.control[s.control.count - 1]
        if buffer?.fits(payload: payload) != true {
            let fresh = self.fresh(&s, payload)
            s.control.append(fresh)
            buffer = fresh
        }
        buffer?.lastPosition = s.position
        return buffer
    }

    private func bulk(_ s: inout State, _ payload: Int) -> PendingBuffer? {
        invariant(payload <= self.recordBytesMax, "a record has a limit (\(payload) bytes)")
        if s.failed { return nil }
        if !s.bulk.isEmpty {
            let last = s.bulk[s.bulk.count - 1]
            if last.fits(payload: payload) { return last }
        }
        let fresh = self.fresh(&s, payload)
        s.bulkOrdinal += 1
        fresh.ordinal = s.bulkOrdinal
        s.bulk.append(fresh)
        return fresh
    }

    private func fresh(_ s: inout State, _ payload: Int) -> PendingBuffer {
        let bytes = RecordFormat.bytes(payload: payload)
        if bytes > self.bufferBytes { return PendingBuffer(capacity: bytes) }
        return s.spare.popLast() ?? PendingBuffer(capacity: self.bufferBytes)
    }

    private func count(_ s: inout State, _ buffer: PendingBuffer, _ bytes: Int) {
        buffer.bodyBytes += bytes
        s.inFlight += bytes
        if !s.pressed, s.inFlight >= self.inFlightBytesMax {
            s.pressed = true
            s.wanted = true
            self.open.store(false, ordering: .relaxed)
            self.monitor.signal()
        }
    }
}
