// JournalWriter.swift - the one thread that writes the journal.
//
// Takes     what is pending, as soon as it is idle; no timer.
// Gives     one write and one sync per batch; then the index, then the news.
// Durable   a batch says which one was durable before it; a failed write or sync is final.
// See       Docs/StorageFormat.md, BatchFormat.

import Glibc
import Primitives
import Raft
import Spool
import Synchronization

/// What each segment begins with.
struct Preamble: Sendable {
    var identity: NodeIdentity
    var hardState: HardState
    var logBase: LogBase
}

/// Confined to its thread, and to the one that opens the storage before it starts.
final class JournalWriter {
    struct Numbers {
        var batches: UInt64 = 0
        var writtenBytes: UInt64 = 0
        var syncTime: Duration = .zero
    }

    private let files: any FileSystem
    private let pool: SegmentPool
    private let bodies: Bodies
    private let segmentBytes: Int
    private let header = UnsafeMutableRawPointer.allocate(
        byteCount: BatchHeader.bytes, alignment: 8)
    private let front = PendingBuffer(capacity: 4096)
    private let zeros = UnsafeMutableRawBufferPointer.allocate(
        byteCount: JournalWriter.fillAheadBytes, alignment: 4096)
    /// Of a segment that nobody has filled, so much is filled at once, with the batch that gets
    /// there: a file system changes its own data with the first write to a block, and each sync
    /// of such a batch would wait for that, too.
    private static let fillAheadBytes = 1 << 20
    /// The clerk tells of new checkpoints; a snapshot counts from its own record on, as it may
    /// stand behind entries of another log.
    let preamble: Monitor<Preamble>
    let numbers = Monitor(Numbers())

    private var file: DataFile?
    private var contents = SegmentContents(number: 0)
    /// The segment before this one, until this one's first batch is synced.
    private var last: SealedSegment?
    private var offset = 0
    /// Blocks of the segment that have been written to, since its file was made.
    private var filledBytes = 0
    private var nextBatch: UInt64
    private var nextSegment: UInt64
    private var previousCRC: UInt32
    /// How long the last batch took to write and sync.
    private var lastSync = Duration.zero

    /// - Parameters:
    ///   - segment: the number of the next segment.
    ///   - batch: the number of the next batch; everything before is durable.
    init(
        pool: SegmentPool, bodies: Bodies, preamble: Preamble, segment: UInt64, batch: UInt64,
        previousCRC: UInt32
    ) {
        self.files = pool.files
        self.pool = pool
        self.bodies = bodies
        self.segmentBytes = pool.options.segmentBytes
        self.preamble = Monitor(preamble)
        self.nextSegment = segment
        self.nextBatch = batch
        self.previousCRC = previousCRC
        self.zeros.initializeMemory(as: UInt8.self, repeating: 0)
    }

    deinit {
        self.header.deallocate()
        self.zeros.deallocate()
    }

    /// Writes one batch and syncs it; enters its bodies in the index.
    func write(_ batch: PendingBatch) throws(StorageError) {
        let payload = (batch.bulk?.count ?? 0) + (batch.control?.count ?? 0)
        self.front.reset()
        if self.file == nil || self.offset + BatchHeader.bytes + payload > self.segmentBytes {
            try self.roll()
            self.fillPreamble()
        }
        guard let file = self.file else { unreachable("a segment is open") }
        let length = BatchHeader.bytes + self.front.count + payload
        invariant(self.offset + length <= self.segmentBytes, "a batch fits in a segment")
        let recordsCRC = self.storeHeader(batch, length: length)
        let started = monotonicNow()
        do {
            try self.put(batch, file.descriptor)
            try self.fillAhead(of: self.offset + length, file.descriptor)
            try self.files.sync(file.descriptor)
        } catch {
            // Space that we own: no space is as bad as no disk.
            throw error.storageError
        }
        let took = monotonicNow() - started
        self.lastSync = took
        self.numbers.withLock { n in
            n.batches += 1
            n.writtenBytes += UInt64(length)
            n.syncTime += took
        }
        self.sealLast()
        self.enter(batch, file)
        self.offset += length
        self.nextBatch += 1
        self.previousCRC = recordsCRC
    }

    private func enter(_ batch: PendingBatch, _ file: DataFile) {
        var at = self.offset + BatchHeader.bytes + self.front.count
        for buffer in [batch.bulk, batch.control] {
            guard let buffer else { continue }
            self.bodies.enter(buffer.marks, file.id, at: at)
            self.contents.add(buffer)
            if let state = buffer.hardState {
                self.preamble.withLock { $0.hardState = state }
            }
            if let base = buffer.logBase { self.preamble.withLock { $0.logBase = base } }
            at += buffer.count
        }
        self.contents.usedBytes = at
    }

    private func storeHeader(_ batch: PendingBatch, length: Int) -> UInt32 {
        var crc = CRC32C.start
        var records: UInt32 = 0
        var entries: UInt32 = 0
        var hardStates: UInt32 = 0
        for buffer in [self.front, batch.bulk, batch.control] {
            guard let buffer else { continue }
            crc = buffer.crcs.withUnsafeBytes { CRC32C.update(crc, $0) }
            records += UInt32(buffer.crcs.count)
            entries += buffer.entries
            hardStates += buffer.hardStates
        }
        let header = BatchHeader(
            length: UInt32(length), segment: self.contents.number, number: self.nextBatch,
            durableBefore: self.nextBatch - 1, offset: UInt32(self.offset),
            previousCRC: self.previousCRC, recordsCRC: CRC32C.finish(crc), records: records,
            entries: entries, hardStates: hardStates)
        header.store(at: self.header)
        return header.recordsCRC
    }

    private func put(_ batch: PendingBatch, _ descriptor: Int32) throws(FileFault) {
        var pieces = (iovec(), iovec(), iovec(), iovec())
        pieces.0 = iovec(iov_base: self.header, iov_len: BatchHeader.bytes)
        pieces.1 = iovec(iov_base: self.front.base, iov_len: self.front.count)
        pieces.2 = iovec(iov_base: batch.bulk?.base, iov_len: batch.bulk?.count ?? 0)
        pieces.3 = iovec(iov_base: batch.control?.base, iov_len: batch.control?.count ?? 0)
        try withUnsafeMutableBytes(of: &pieces) { raw throws(FileFault) in
            try self.files.writeAll(descriptor, raw.bindMemory(to: iovec.self), at: self.offset)
        }
    }

    /// Zeros behind the batch, which is what a start takes for the end of the journal.
    private func fillAhead(of end: Int, _ descriptor: Int32) throws(FileFault) {
        guard end > self.filledBytes else { return }
        let count = min(self.zeros.count, self.segmentBytes - end)
        if count > 0 {
            try self.files.writeAll(
                descriptor, UnsafeRawBufferPointer(rebasing: self.zeros[..<count]), at: end)
        }
        self.filledBytes = end + count
    }

    /// Seals the segment and begins the next.
    private func roll() throws(StorageError) {
        self.sealLast()
        self.last = self.file.map { SealedSegment(contents: self.contents, file: $0) }
        self.file = nil
        invariant(self.nextSegment < RecordFileID.numberMax, "segments can be numbered")
        let (file, isFilled) = try self.pool.takeForWriting(self.nextSegment)
        self.filledBytes = isFilled ? self.segmentBytes : 0
        self.contents = SegmentContents(number: self.nextSegment)
        self.nextSegment += 1
        self.offset = 0
        self.file = file
        self.bodies.add(file)
    }

    /// The segment before this one may go from now on: the hard state and the log base that it
    /// held are synced in this one's first batch.
    private func sealLast() {
        guard let last else { return }
        self.last = nil
        self.pool.seal(last)
    }

    private func fillPreamble() {
        let preamble = self.preamble.withLock { $0 }
        self.front.appendIdentity(preamble.identity)
        self.front.append(preamble.hardState)
        self.front.append(preamble.logBase)
    }

    /// The life of the thread.
    func run(
        _ lanes: Lanes, _ events: StorageEvents, onFault: (StorageError) -> Void,
        afterBatch: () -> Void
    ) {
        while let batch = lanes.next() {
            do {
                try self.write(batch)
            } catch {
                lanes.fail()
                onFault(error)
                return
            }
            let (position, relieved) = lanes.written(batch)
            if let position { events.progress(position) }
            events.synced(self.lastSync)
            if relieved { events.relieved() }
            afterBatch()
        }
    }
}
