// Clerk.swift - the thread that writes checkpoints.
//
// Takes     a checkpoint in parts: changed rows, and with the last of them the meta. One part at
//           a time; each is answered once, and its answer asks for the next: so pressure goes back.
// Gives     a verified checkpoint; then the journal's base and the keeper's bound move up.
// Durable   a full disk gives up the reserve, step by step, and the checkpoint begins again, before
//           fullness is an answer. Parts that are written are not kept in memory for that.
// Limits    memory: one part, and SQLite's cache.

import Glibc
import Primitives

/// `@unchecked Sendable`: the connection is the clerk's thread's once it runs.
final class Clerk: @unchecked Sendable {
    private struct Job {
        var rows: RowBatch
        var last: CheckpointMeta?
        var answer: @Sendable (CheckpointAnswer) -> Void
    }
    private struct State {
        var jobs: [Job] = []
        var closing = false
        var failed = false
    }

    private let file: CheckpointFile
    private let connection: SQLiteConnection
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
        let job = Job(rows: rows, last: last, answer: answer)
        let isRefused = self.monitor.withLock { s -> Bool in
            if s.failed || s.closing { return true }
            s.jobs.append(job)
            return false
        }
        if isRefused { answer(.failed(.closed)) } else { self.monitor.signal() }
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
            let answer = self.take(job.rows, job.last)
            switch answer {
            case .saved:
                if let meta = job.last { core.checkpointed(meta) }
            case .next, .again, .failed(.full):
                break
            case .failed(let fault):
                core.fault(fault)
                job.answer(answer)
                return
            }
            job.answer(answer)
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
        for job in jobs { job.answer(.failed(.closed)) }
    }

    private func next() -> Job? {
        self.monitor.wait { s -> Job?? in
            if s.failed { return .some(nil) }
            if !s.jobs.isEmpty { return .some(s.jobs.removeFirst()) }
            return s.closing ? .some(nil) : .none
        } ?? nil
    }

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
