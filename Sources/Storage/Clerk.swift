// Clerk.swift - the thread that writes checkpoints.
//
// Takes     changed rows and meta, one checkpoint at a time; each is answered once.
// Gives     a verified checkpoint; then the journal's base and the keeper's bound move up.
// Durable   a full disk gives up the reserve, step by step, before it is an answer.

import Glibc
import Primitives

/// `@unchecked Sendable`: the connection is the clerk's thread's once it runs.
final class Clerk: @unchecked Sendable {
    private struct Job {
        var changes: [RowChange]
        var meta: CheckpointMeta
        var completion: @Sendable (StorageError?) -> Void
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
        _ changes: [RowChange], _ meta: CheckpointMeta,
        _ completion: @escaping @Sendable (StorageError?) -> Void
    ) {
        let job = Job(changes: changes, meta: meta, completion: completion)
        let isRefused = self.monitor.withLock { s -> Bool in
            if s.failed || s.closing { return true }
            s.jobs.append(job)
            return false
        }
        if isRefused { completion(.closed) } else { self.monitor.signal() }
    }

    func close() {
        self.monitor.withLock { $0.closing = true }
        self.monitor.signal()
    }

    func fail() {
        self.monitor.withLock { $0.failed = true }
        self.monitor.signal()
    }

    /// The life of the thread. Jobs that were given before `close` are done.
    func run(_ core: StorageCore) {
        defer { self.refuseAll() }
        while let job = self.next() {
            let error = self.write(job)
            switch error {
            case nil:
                core.checkpointed(job.meta)
                job.completion(nil)
            case .full?:
                job.completion(error)
            case .some(let fault):
                core.fault(fault)
                job.completion(fault)
                return
            }
        }
    }

    /// Whoever waits for a checkpoint is told that there will be none.
    private func refuseAll() {
        let jobs = self.monitor.withLock { s -> [Job] in
            defer { s.jobs = [] }
            s.failed = true
            return s.jobs
        }
        for job in jobs { job.completion(.closed) }
    }

    private func next() -> Job? {
        self.monitor.wait { s -> Job?? in
            if s.failed { return .some(nil) }
            if !s.jobs.isEmpty { return .some(s.jobs.removeFirst()) }
            return s.closing ? .some(nil) : .none
        } ?? nil
    }

    private func write(_ job: Job) -> StorageError? {
        while true {
            do {
                try self.file.write(self.connection, job.changes, job.meta)
                try self.file.verify(job.meta)
                try self.file.shrink(self.connection)
                return nil
            } catch let fault as SQLiteFault {
                guard fault.isFull else { return fault.storageError(path: self.file.path) }
                do {
                    guard try self.pool.releaseReserve() else {
                        return .full(path: self.file.path)
                    }
                } catch {
                    return error.storageError
                }
            } catch let error as StorageError {
                return error
            } catch {
                unreachable("an error of another type")
            }
        }
    }
}
