// Clerk.swift - the thread that writes checkpoints, copies them, and puts others in their place.
//
// Takes     a checkpoint in parts: changed rows, and with the last of them the meta. One part at
//           a time; each is answered once, and its answer asks for the next: so pressure goes back.
//           Between two checkpoints: wishes for a copy, and snapshots to be made current.
// Gives     a verified checkpoint; then the journal's base and the keeper's bound move up.
// Durable   a full disk gives up the reserve, step by step, and the checkpoint begins again, before
//           fullness is an answer. Parts that are written are not kept in memory for that.
//           A snapshot is in its place, and the directory synced, before the journal names it;
//           nothing is written into it before that.
// Limits    memory: one part, and SQLite's cache.
// See       Snapshots (what becomes of copies), Docs/StorageFormat.md (generations).

import Glibc
import Primitives
import Raft

/// `@unchecked Sendable`: file and connection are the clerk's thread's once it runs.
final class Clerk: @unchecked Sendable {
    private enum Job {
        case part(RowBatch, last: CheckpointMeta?, @Sendable (CheckpointAnswer) -> Void)
        case copy(to: String, @Sendable (Result<CheckpointMeta, SnapshotError>) -> Void)
        case install(IncomingSnapshot, @Sendable (Result<UInt64, SnapshotError>) -> Void)

        /// May be done while a checkpoint is being written.
        var isPart: Bool { if case .part = self { true } else { false } }

        func refuse() {
            switch self {
            case .part(_, _, let answer): answer(.failed(.closed))
            case .copy(_, let answer): answer(.failure(.closed))
            case .install(_, let answer): answer(.failure(.closed))
            }
        }
    }
    private struct State {
        var jobs: [Job] = []
        var closing = false
        var failed = false
    }

    private var file: CheckpointFile
    private var connection: SQLiteConnection
    private let pool: SegmentPool
    private let monitor = Monitor(State())

    init(file: CheckpointFile, connection: SQLiteConnection, pool: SegmentPool) {
        self.file = file
        self.connection = connection
        self.pool = pool
    }

    func checkpoint(
        _ rows: RowBatch, _ last: CheckpointMeta?,
        _ answer: @escaping @Sendable (CheckpointAnswer) -> Void
    ) {
        self.submit(.part(rows, last: last, answer))
    }

    /// Copies the newest checkpoint into a new file, which is not synced.
    func copy(
        to path: String,
        _ answer: @escaping @Sendable (Result<CheckpointMeta, SnapshotError>) -> Void
    ) {
        self.submit(.copy(to: path, answer))
    }

    /// Puts a snapshot that was checked in the place of the checkpoint, as the next generation.
    /// The answer: the journal's position that is to be durable before anything counts on it.
    func install(
        _ snapshot: IncomingSnapshot,
        _ answer: @escaping @Sendable (Result<UInt64, SnapshotError>) -> Void
    ) {
        self.submit(.install(snapshot, answer))
    }

    private func submit(_ job: Job) {
        let isRefused = self.monitor.withLock { s -> Bool in
            if s.failed || s.closing { return true }
            s.jobs.append(job)
            return false
        }
        if isRefused { job.refuse() } else { self.monitor.signal() }
    }

    func close() {
        self.monitor.withLock { $0.closing = true }
        self.monitor.signal()
    }

    func fail() {
        self.monitor.withLock { $0.failed = true }
        self.monitor.signal()
    }

    /// The life of the thread. Parts that were given before `close` are done; a checkpoint without
    /// its last part is as if it had never begun.
    func run(_ core: StorageCore) {
        defer { self.refuseAll() }
        while let job = self.next() {
            switch job {
            case .part(let rows, let last, let answer):
                let result = self.take(rows, last)
                if case .saved = result, let last {
                    core.checkpointed(last, self.file.generation)
                }
                if case .failed(let fault) = result, !fault.isFull {
                    core.fault(fault)
                    answer(result)
                    return
                }
                answer(result)
            case .copy(let path, let answer): answer(self.copy(to: path))
            case .install(let snapshot, let answer):
                let result = self.install(snapshot, core)
                if case .failure(.failed(let fault)) = result { core.fault(fault) }
                answer(result)
            }
        }
        do {
            try self.file.rollback(self.connection)
        } catch {
            core.fault(error.storageError(path: self.file.path))
        }
    }

    /// Whoever waits for a checkpoint is told that there will be none.
    private func refuseAll() {
        let jobs = self.monitor.withLock { s -> [Job] in
            defer { s.jobs = [] }
            s.failed = true
            return s.jobs
        }
        for job in jobs { job.refuse() }
    }

    private func next() -> Job? {
        let isWriting = self.connection.isInTransaction
        return self.monitor.wait { s -> Job?? in
            if s.failed { return .some(nil) }
            if let place = s.jobs.firstIndex(where: { $0.isPart || !isWriting }) {
                return .some(s.jobs.remove(at: place))
            }
            return s.closing ? .some(nil) : .none
        } ?? nil
    }

    // MARK: Snapshots. On the clerk's thread, between two checkpoints.

    private func copy(to path: String) -> Result<CheckpointMeta, SnapshotError> {
        do {
            guard let meta = try self.file.meta(self.connection) else {
                return .failure(.absent)
            }
            let bytes = try self.file.byteCount(self.connection)
            let (free, _) = try self.pool.files.space(self.pool.directory)
            guard free >= bytes + self.pool.options.lowWaterBytes else { return .failure(.full) }
            try self.file.copy(self.connection, to: path)
            return .success(meta)
        } catch {
            return .failure(SnapshotError(error, path: path))
        }
    }

    /// What fails before the new name stands is an answer: the old state is in force. From then on
    /// it is a fault of the storage, and a start finds one or the other.
    private func install(
        _ snapshot: IncomingSnapshot, _ core: StorageCore
    ) -> Result<UInt64, SnapshotError> {
        let files = self.pool.files
        let next = CheckpointFile(
            directory: self.pool.directory, generation: self.file.generation + 1)
        do {
            try next.remove(files)
            try files.rename(snapshot.path, to: next.path)
        } catch {
            return .failure(SnapshotError(error, path: next.path))
        }
        do {
            try files.syncDirectory(self.pool.directory)
            let connection = try next.open()
            guard let meta = try next.meta(connection), meta == snapshot.meta else {
                throw StorageError.checkpointDamaged(reason: "not the snapshot that was checked")
            }
            let old = self.file
            self.file = next
            self.connection = connection
            return .success(
                core.installed(
                    LogBase(position: meta.applied, generation: next.generation), replacing: old))
        } catch {
            return .failure(.failed(SnapshotError(error, path: next.path).asFault(next.path)))
        }
    }

    // MARK: Checkpoints.

    /// Writes one part. On the clerk's thread only.
    func take(_ rows: RowBatch, _ last: CheckpointMeta?) -> CheckpointAnswer {
        do {
            if !self.connection.isInTransaction { try self.file.begin(self.connection) }
            try self.file.write(self.connection, rows)
            guard let last else { return .next }
            try self.file.commit(self.connection, last)
            try self.file.verify(last)
            try self.file.shrink(self.connection)
            return .saved
        } catch let fault as SQLiteFault {
            return self.undo(fault)
        } catch let error as StorageError {
            return .failed(error)
        } catch {
            unreachable("an error of another type")
        }
    }

    private func undo(_ fault: SQLiteFault) -> CheckpointAnswer {
        do {
            try self.file.rollback(self.connection)
        } catch {
            return .failed(error.storageError(path: self.file.path))
        }
        guard fault.isFull else { return .failed(fault.storageError(path: self.file.path)) }
        do {
            return try self.pool.releaseReserve() ? .again : .failed(.full(path: self.file.path))
        } catch {
            return .failed(error.storageError)
        }
    }
}
