// Snapshots.swift - the queue's state as one file: copies of the checkpoint for other nodes, and
// copies that come from them.
//
// Export    1 the clerk copies the newest checkpoint under a temporary name. 2 It is synced by us
//           (SQLite does not), renamed, the directory synced, and digested. 3 It is read in pieces,
//           by as many as want it. 4 It is released and removed. A start removes what is left.
// Install   1 space is taken for all of it. 2 Pieces are written. 3 It is synced, read back, its
//           digest and its meta compared. 4 The queue is made of its rows: what cannot be read is
//           never made current. 5 The clerk puts it in place as the next generation; 6 a log base
//           in the journal makes it current, once durable. A crash before 6 leaves the old state.
// Threads   one for all but 1 of the first and 5 of the second.
// Limits    memory: one piece.
// See       Clerk, Docs/StorageFormat.md, Docs/Invariants.md 7, 8.

import Glibc
import Primitives
import Raft
package import Spool
import Synchronization

/// Why a snapshot cannot be made, read or taken. What was there before is as it was.
package enum SnapshotError: Error, Equatable, Sendable {
    /// No room; try again when there is.
    case full
    /// There is no checkpoint yet.
    case absent
    /// What came is not what was sent, or is no checkpoint.
    case damaged
    /// The storage is closed.
    case closed
    /// The disk has failed.
    case failed(StorageError)

    init(_ error: any Error, path: String) {
        if let fault = error as? FileFault {
            self = fault.isFull ? .full : .failed(fault.storageError)
        } else if let fault = error as? SQLiteFault {
            self = fault.isFull ? .full : .failed(fault.storageError(path: path))
        } else if let error = error as? StorageError {
            self = error.isFull ? .full : .failed(error)
        } else if let error = error as? SnapshotError {
            self = error
        } else {
            unreachable("an error of another type")
        }
    }

    func asFault(_ path: String) -> StorageError {
        switch self {
        case .full: .full(path: path)
        case .closed: .closed
        case .absent, .damaged: .checkpointDamaged(reason: "no checkpoint in \(path)")
        case .failed(let error): error
        }
    }

    /// For metrics: constant.
    package var label: StaticString {
        switch self {
        case .full: "full"
        case .absent: "absent"
        case .damaged: "damaged"
        case .closed: "closed"
        case .failed: "failed"
        }
    }
}

/// The digest of a whole file. A protocol, since Storage does not know the library that has it.
package protocol ContentDigest: AnyObject {
    func update(_ bytes: UnsafeRawBufferPointer)
    func finish() -> BodyDigest
}

/// A copy of the checkpoint, for others.
///
/// `@unchecked Sendable`: `descriptor` is the snapshot thread's.
package final class SnapshotExport: @unchecked Sendable {
    /// Of the checkpoint.
    package let meta: CheckpointMeta
    package let byteCount: UInt64
    /// Of all bytes.
    package let digest: BodyDigest
    let path: String
    fileprivate var descriptor: Int32?

    fileprivate init(
        meta: CheckpointMeta, byteCount: UInt64, digest: BodyDigest, path: String,
        descriptor: Int32
    ) {
        self.meta = meta
        self.byteCount = byteCount
        self.digest = digest
        self.path = path
        self.descriptor = descriptor
    }
}

/// A snapshot on its way in.
///
/// `@unchecked Sendable`: its state is the snapshot thread's, until it is given to the clerk.
package final class IncomingSnapshot: @unchecked Sendable {
    package let byteCount: UInt64
    let path: String
    fileprivate var descriptor: Int32?
    fileprivate var written: UInt64 = 0
    /// Set when it was checked.
    fileprivate(set) var meta: CheckpointMeta?

    fileprivate init(byteCount: UInt64, path: String, descriptor: Int32) {
        self.byteCount = byteCount
        self.path = path
        self.descriptor = descriptor
    }
}

/// The rows of a snapshot that was checked.
package struct SnapshotRows {
    fileprivate let file: CheckpointFile
    package let meta: CheckpointMeta

    /// Every row in ascending order of the keys. The bytes are valid during the call only.
    package func forEach(
        _ body: (_ key: UnsafeRawBufferPointer, _ row: UnsafeRawBufferPointer) -> Void
    ) throws(StorageError) {
        do {
            let connection = try SQLiteConnection(self.file.path, readOnly: true)
            try self.file.forEachRow(connection, body)
        } catch let fault as SQLiteFault {
            throw fault.storageError(path: self.file.path)
        } catch let error as StorageError {
            throw error
        } catch {
            unreachable("an error of another type")
        }
    }
}

/// The thread and its files.
final class SnapshotFiles: Sendable {
    private struct State {
        /// Called with true: the storage is closed.
        var jobs = RingBuffer<@Sendable (Bool) -> Void>(capacity: 16)
        var closing = false
        var next = 1
    }

    private let pool: SegmentPool
    private var files: any FileSystem { self.pool.files }
    private let monitor = Monitor(State())
    /// Bytes that are digested at a time.
    private static let sliceBytes = 1 << 20

    init(pool: SegmentPool) { self.pool = pool }

    /// What is of no use after a start.
    static func isTemporary(_ name: String) -> Bool { name.hasPrefix("snapshot.") }

    /// A name that no other snapshot has.
    func path(_ suffix: String) -> String {
        let number = self.monitor.withLock { s -> Int in
            defer { s.next += 1 }
            return s.next
        }
        return "\(self.pool.directory)/snapshot.\(number).\(suffix)"
    }

    // MARK: The thread.

    func submit<R: Sendable>(
        _ answer: @escaping @Sendable (Result<R, SnapshotError>) -> Void,
        path: String, _ body: @escaping @Sendable (SnapshotFiles) throws -> R
    ) {
        let job: @Sendable (Bool) -> Void = { isClosed in
            guard !isClosed else { return answer(.failure(.closed)) }
            do {
                answer(.success(try body(self)))
            } catch {
                answer(.failure(SnapshotError(error, path: path)))
            }
        }
        let isRefused = self.monitor.withLock { s -> Bool in
            if s.closing { return true }
            s.jobs.append(job)
            return false
        }
        if isRefused { job(true) } else { self.monitor.signal() }
    }

    func close() {
        self.monitor.withLock { $0.closing = true }
        self.monitor.signal()
    }

    func run() {
        while true {
            let next = self.monitor.wait { s -> (@Sendable (Bool) -> Void)?? in
                if s.closing { return .some(nil) }
                return s.jobs.popFirst().map { .some($0) }
            }
            guard case .some(.some(let job)) = next else { break }
            job(false)
        }
        while let job = self.monitor.withLock({ $0.jobs.popFirst() }) { job(true) }
    }

    // MARK: Export. On the thread.

    /// Puts a copy in place, under a name of its own.
    func seal(
        _ temporary: String, _ meta: CheckpointMeta, _ digest: any ContentDigest
    ) throws -> SnapshotExport {
        do {
            let descriptor = try self.files.open(temporary, .read)
            do {
                try self.files.sync(descriptor)
                let path = self.path("sqlite")
                try self.files.rename(temporary, to: path)
                try self.files.syncDirectory(self.pool.directory)
                let (sum, count) = try self.sum(descriptor, digest)
                return SnapshotExport(
                    meta: meta, byteCount: count, digest: sum, path: path, descriptor: descriptor)
            } catch {
                self.files.close(descriptor)
                throw error
            }
        } catch {
            self.drop(temporary)
            throw error
        }
    }

    private func sum(
        _ descriptor: Int32, _ digest: any ContentDigest
    ) throws(FileFault) -> (BodyDigest, UInt64) {
        let memory = UnsafeMutableRawBufferPointer.allocate(
            byteCount: Self.sliceBytes, alignment: 4096)
        defer { memory.deallocate() }
        var offset = 0
        while true {
            let count = try self.files.read(descriptor, into: memory, at: offset)
            guard count > 0 else { return (digest.finish(), UInt64(offset)) }
            digest.update(UnsafeRawBufferPointer(rebasing: memory[..<count]))
            offset += count
        }
    }

    func read(_ export: SnapshotExport, at offset: UInt64, bytes: Int) throws -> [UInt8] {
        guard let descriptor = export.descriptor, offset < export.byteCount else {
            throw SnapshotError.absent
        }
        let count = min(UInt64(bytes), export.byteCount - offset)
        var piece = [UInt8](repeating: 0, count: Int(count))
        let found = try piece.withMutableBytes { b throws(FileFault) in
            try self.files.read(descriptor, into: b, at: Int(offset))
        }
        guard found == piece.count else { throw SnapshotError.damaged }
        return piece
    }

    func release(_ export: SnapshotExport) {
        guard let descriptor = export.descriptor else { return }
        export.descriptor = nil
        self.files.close(descriptor)
        self.drop(export.path)
    }

    /// What stays although it should go is removed by the next start.
    func drop(_ path: String) {
        guard self.files.exists(path) else { return }
        do {
            try self.files.remove(path)
        } catch {
            return
        }
    }

    // MARK: Install. On the thread.

    func begin(byteCount: UInt64) throws -> IncomingSnapshot {
        let (free, _) = try self.files.space(self.pool.directory)
        guard byteCount > 0, byteCount <= UInt64(max(0, free - self.pool.options.lowWaterBytes))
        else { throw byteCount == 0 ? SnapshotError.damaged : .full }
        let path = self.path("new")
        let descriptor = try self.files.open(path, .create)
        do {
            // All of it now, so that no shortage comes between.
            try self.files.allocate(descriptor, bytes: Int(byteCount))
        } catch {
            self.files.close(descriptor)
            self.drop(path)
            throw error
        }
        return IncomingSnapshot(byteCount: byteCount, path: path, descriptor: descriptor)
    }

    /// - Returns: how much of it is written.
    func write(_ snapshot: IncomingSnapshot, _ bytes: [UInt8]) throws -> UInt64 {
        guard let descriptor = snapshot.descriptor, snapshot.meta == nil,
            UInt64(bytes.count) <= snapshot.byteCount - snapshot.written
        else { throw SnapshotError.damaged }
        try bytes.withBytes { b throws(FileFault) in
            try self.files.writeAll(descriptor, b, at: Int(snapshot.written))
        }
        snapshot.written += UInt64(bytes.count)
        return snapshot.written
    }

    /// Syncs it, reads it back and compares.
    func check(
        _ snapshot: IncomingSnapshot, _ expected: BodyDigest, _ digest: any ContentDigest
    ) throws -> CheckpointMeta {
        guard let descriptor = snapshot.descriptor, snapshot.written == snapshot.byteCount else {
            throw SnapshotError.damaged
        }
        try self.files.sync(descriptor)
        let (sum, count) = try self.sum(descriptor, digest)
        guard sum == expected, count == snapshot.byteCount else { throw SnapshotError.damaged }
        let file = CheckpointFile(path: snapshot.path, generation: 0)
        let found: CheckpointMeta?
        do {
            found = try file.meta(try SQLiteConnection(file.path, readOnly: true))
        } catch {
            // Its bytes are those that were sent, so they were no checkpoint there.
            throw SnapshotError.damaged
        }
        guard let meta = found else { throw SnapshotError.damaged }
        snapshot.meta = meta
        return meta
    }

    func rows(_ snapshot: IncomingSnapshot) throws -> SnapshotRows {
        guard let meta = snapshot.meta else { throw SnapshotError.damaged }
        return SnapshotRows(
            file: CheckpointFile(path: snapshot.path, generation: 0), meta: meta)
    }

    /// It is given to the clerk, or of no use.
    func end(_ snapshot: IncomingSnapshot, removes: Bool) {
        if let descriptor = snapshot.descriptor { self.files.close(descriptor) }
        snapshot.descriptor = nil
        if removes { self.drop(snapshot.path) }
    }
}
