// Storage.swift - one node's disk: journal, bodies, checkpoint.
//
// Takes     log entries, hard state, notes, bodies, checkpoints; from any thread, never blocking.
// Gives     the position up to which everything is durable; bodies read back; what a start finds.
// Threads   writer (journal), keeper (space, evacuation), clerk (checkpoints), reader (bodies).
// Durable   positions become durable in their order. Chunks have no position: a body's end is
//           never durable before its chunks, and an entry never before a body's end that was
//           appended before it.
// See       Docs/StorageFormat.md, Docs/Invariants.md 1, 3, 8, 9.

package import Primitives
package import Raft
package import Spool
import Synchronization

/// One node's disk.
package final class Storage: Sendable {
    let core: StorageCore

    init(core: StorageCore) { self.core = core }

    /// Opens the data directory, or makes it: takes its lock, counts the boot number up, reads
    /// what is there. Blocks. Nothing runs before `start`.
    ///
    /// - Parameters:
    ///   - incarnation: drawn at random; used if the directory is made now.
    ///   - cluster: likewise; 0: it has none until `keepFounding`.
    package static func open(
        directory: String, node: NodeName, incarnation: Incarnation, cluster: ClusterID,
        options: StorageOptions = StorageOptions(), files: any FileSystem = DiskFiles()
    ) throws(StorageError) -> (Storage, Recovery) {
        try Opening(directory: directory, options: options, files: files)
            .run(node: node, incarnation: incarnation, cluster: cluster)
    }

    /// Starts the threads. Appends made before are kept and written then. Call once.
    package func start(_ events: StorageEvents) { self.core.start(events) }

    /// Writes what is pending, ends the threads and closes the files. Blocks; never call it on a
    /// thread that answers `prove`. Reads that were not begun are answered with `.closed`.
    package func close() { self.core.close() }

    // MARK: Appending. Any thread; a lock for as long as the bytes are copied.

    /// Appends entries of the log, then the hard state if there is one, and wakes the writer. An
    /// entry replaces the one of its index and all behind.
    ///
    /// - Returns: the position of the last record; durable after every body whose end was appended
    ///   before it. With nothing to append: the last position given.
    @discardableResult
    package func append(_ entries: [Entry], _ hardState: HardState? = nil) -> UInt64 {
        self.core.lanes.log(entries, hardState)
    }

    /// Notes an outcome before it is proposed; is written with whatever comes next.
    @discardableResult
    package func appendNote(_ tag: Tag, _ bytes: [UInt8]) -> UInt64 {
        bytes.withUnsafeBytes { self.core.lanes.note(tag, $0) }
    }

    /// Appends a whole body as one record. It is written with the next entry, or by `flush`.
    ///
    /// - Parameters:
    ///   - blocks: of `BlockCodec.encode`; at most 8 MiB.
    ///   - contentBytes: before compression.
    @discardableResult
    package func appendBody(
        tag: Tag, head: UnsafeRawBufferPointer, blocks: UnsafeRawBufferPointer, blockCount: Int,
        contentBytes: UInt64, digest: BodyDigest
    ) -> UInt64 {
        self.core.lanes.body(
            BodyHeader(
                stream: 0, tag: tag, digest: digest, contentBytes: contentBytes,
                headBytes: UInt32(head.count), blockCount: UInt32(blockCount), chunkCount: 0),
            head: head, blocks: blocks)
    }

    /// Appends a whole body as one record. It is written with the next entry, or by `flush`.
    @discardableResult
    package func appendBody(
        tag: Tag, head: [UInt8], blocks: [UInt8], blockCount: Int, contentBytes: UInt64,
        digest: BodyDigest
    ) -> UInt64 {
        head.withUnsafeBytes { head in
            blocks.withUnsafeBytes { blocks in
                self.appendBody(
                    tag: tag, head: head, blocks: blocks, blockCount: blockCount,
                    contentBytes: contentBytes, digest: digest)
            }
        }
    }

    /// Begins a body that arrives in chunks.
    package func openStream() -> BodyStream { self.core.lanes.openStream() }

    /// Appends blocks of a stream (whole blocks, at most 1 MiB).
    ///
    /// - Returns: `mayTakeBytes`.
    @discardableResult
    package func appendChunk(_ stream: BodyStream, blocks: [UInt8]) -> Bool {
        blocks.withUnsafeBytes { self.core.lanes.chunk(stream, $0) }
        return self.mayTakeBytes
    }

    /// Ends a stream: its chunks and `head` are the body of `tag`. It is written with the next
    /// entry, or by `flush`.
    @discardableResult
    package func endStream(
        _ stream: BodyStream, tag: Tag, head: UnsafeRawBufferPointer, blockCount: Int,
        contentBytes: UInt64, digest: BodyDigest
    ) -> UInt64 {
        self.core.lanes.end(
            stream, tag: tag, head: head, blockCount: blockCount, contentBytes: contentBytes,
            digest: digest)
    }

    /// Ends a stream: its chunks and `head` are the body of `tag`.
    @discardableResult
    package func endStream(
        _ stream: BodyStream, tag: Tag, head: [UInt8], blockCount: Int, contentBytes: UInt64,
        digest: BodyDigest
    ) -> UInt64 {
        head.withUnsafeBytes {
            self.endStream(
                stream, tag: tag, head: $0, blockCount: blockCount, contentBytes: contentBytes,
                digest: digest)
        }
    }

    /// The stream will never end; what was written of it is garbage.
    package func abandon(_ stream: BodyStream) { self.core.lanes.abandon(stream) }

    /// Wakes the writer for what is pending.
    package func flush() { self.core.lanes.flush() }

    /// The last position given.
    package var lastPosition: UInt64 { self.core.lanes.lastPosition }

    /// False from `inFlightBytesMax` body bytes on that are not durable; `relieved` tells when it
    /// is true again.
    package var mayTakeBytes: Bool { self.core.lanes.mayTakeBytes }

    /// How much space is left.
    package var level: SpaceLevel { self.core.level }

    // MARK: Reading and upkeep.

    /// Reads a body as a whole; `answer` is called once, on the reader's thread. Blocks are
    /// checked; the digest is the caller's to check.
    package func readBody(
        _ tag: Tag, answer: @escaping @Sendable (Result<StoredBody, BodyError>) -> Void
    ) {
        self.core.reader.read(tag, answer)
    }

    /// Reads a body piece by piece, for bodies that should not stand in memory: `answer` gets
    /// what the end says (`content` empty) and a cursor for `readMore`.
    ///
    /// - Parameter raw: pieces are blocks as they lie on the disk, for who sends them on; their
    ///   checksums are the receiver's to check.
    package func openBody(
        _ tag: Tag, raw: Bool = false,
        answer: @escaping @Sendable (Result<(StoredBody, BodyCursor), BodyError>) -> Void
    ) {
        self.core.reader.open(tag, isRaw: raw, answer)
    }

    /// The next piece (usually 64 KiB to 1 MiB); empty at the end. One at a time.
    package func readMore(
        _ cursor: BodyCursor, answer: @escaping @Sendable (Result<[UInt8], BodyError>) -> Void
    ) {
        self.core.reader.more(cursor, answer)
    }

    /// One chunk of a body that may still be arriving: its blocks as they lie on the disk. Nil: it
    /// is not written yet; look again after the next sync.
    package func readChunk(
        _ stream: BodyStream, _ ordinal: Int,
        answer: @escaping @Sendable (Result<[UInt8]?, BodyError>) -> Void
    ) {
        self.core.reader.chunk(stream.raw, ordinal, answer)
    }

    /// Those of these bodies that are not to be found here, or are known to be damaged.
    package func lacking(_ tags: [Tag]) -> [Tag] { tags.filter { self.core.bodies.lacks($0) } }

    /// A hint, not a proof: the message has ended. Old files with many hints are looked at.
    package func hintEnded(_ tag: Tag) { self.core.bodies.hintEnded(tag) }

    /// Takes a part of a checkpoint: the first one begins a transaction, the one with `last` ends
    /// it, and is verified on a second connection. `answer` is called once, on the clerk's thread;
    /// only then may the next part come.
    package func checkpoint(
        _ rows: RowBatch, last: CheckpointMeta?,
        answer: @escaping @Sendable (CheckpointAnswer) -> Void
    ) {
        self.core.clerk.checkpoint(rows, last, answer)
    }

    /// Keeps the founding record: synced when it returns. Blocks: not on an event loop. The same
    /// record again does nothing; another one is a fault of the caller.
    ///
    /// - Throws: `.full` if there is no space, not even in the reserve: nothing is kept, it may be
    ///   tried again. Any other error is final, and told by `fault` as well.
    package func keepFounding(_ record: FoundingRecord) throws(StorageError) {
        try self.core.keepFounding(record)
    }

    /// Numbers for metrics and status.
    package func statistics() -> StorageStatistics { self.core.statistics() }
}

/// Numbers for metrics and status; cheap to get.
package struct StorageStatistics: Equatable, Sendable {
    /// Bodies in the index, garbage among them until its segment is evacuated.
    package var bodies = 0
    package var segments = 0
    package var oldFiles = 0
    package var oldBytes = 0
    package var batches: UInt64 = 0
    package var writtenBytes: UInt64 = 0
    /// Sum and count of the syncs' times; their quotient is the mean.
    package var syncTime: Duration = .zero
    package var freeBytes = 0
    package var totalBytes = 0
}
