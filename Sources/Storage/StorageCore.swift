// StorageCore.swift - the parts of the storage and the threads that run them.

import Glibc
import Primitives
import Raft
import Spool
import Synchronization

/// `@unchecked Sendable`: `writer` is its thread's once started; the rest guards itself.
final class StorageCore: @unchecked Sendable {
    private struct Running {
        var threads: [StorageThread] = []
        var keeper: Keeper?
        var events: StorageEvents?
        var isClosed = false
        var faulted = false
    }
    private struct KeptFounding {
        var record: FoundingRecord?
        var hasFailed = false
    }
    private struct Space {
        var free = 0
        var total = 0
    }

    /// A checkpoint file that goes when the journal is durable up to `position`.
    private struct Replaced {
        var file: CheckpointFile
        /// Of the snapshot in its place.
        var appliedIndex: UInt64
        var position: UInt64
    }

    let pool: SegmentPool
    let bodies: Bodies
    let lanes: Lanes
    let reader: Reader
    let clerk: Clerk
    let snapshots: SnapshotFiles
    let identity: NodeIdentity
    private let old: OldFiles
    private let writer: JournalWriter
    /// Held while it is written: one at a time, one at all.
    private let founding: Monitor<KeptFounding>
    private let lockFile: Int32
    private let running = Monitor(Running())
    private let replaced = Monitor<[Replaced]>([])
    private let space = Monitor(Space())
    private let levelRaw = Atomic<UInt8>(0)
    private let checkpointedIndex: Atomic<UInt64>

    init(
        pool: SegmentPool, bodies: Bodies, lanes: Lanes, clerk: Clerk, old: OldFiles,
        writer: JournalWriter, identity: NodeIdentity, founding: FoundingRecord?, lockFile: Int32,
        checkpointed: UInt64
    ) {
        self.pool = pool
        self.bodies = bodies
        self.lanes = lanes
        self.clerk = clerk
        self.old = old
        self.writer = writer
        self.identity = identity
        self.founding = Monitor(KeptFounding(record: founding))
        self.lockFile = lockFile
        self.reader = Reader(bodies: bodies, files: pool.files)
        self.snapshots = SnapshotFiles(pool: pool)
        self.checkpointedIndex = Atomic(checkpointed)
    }

    var level: SpaceLevel {
        SpaceLevel(rawValue: self.levelRaw.load(ordering: .relaxed)) ?? .reserve
    }
    var checkpointed: UInt64 { self.checkpointedIndex.load(ordering: .acquiring) }

    func start(_ events: StorageEvents) {
        let keeper = Keeper(core: self, old: self.old, events: events)
        let started = self.running.withLock { r -> Bool in
            guard r.events == nil, !r.isClosed else { return false }
            r.events = events
            r.keeper = keeper
            return true
        }
        invariant(started, "the storage is started once")
        var told = events
        told.progress = { position in
            keeper.reached(position)
            events.progress(position)
        }
        let (lanes, writer, pool) = (self.lanes, Handed(self.writer), self.pool)
        let threads = [
            StorageThread("journal") { [told] in
                var sealed = pool.sealedCount
                writer.value.run(
                    lanes, told, onFault: { self.fault($0) },
                    afterBatch: {
                        let count = pool.sealedCount
                        if count != sealed { keeper.signal() }
                        sealed = count
                    })
            },
            StorageThread("keeper") { keeper.run() },
            StorageThread("clerk") { self.clerk.run(self) },
            StorageThread("bodies") { self.reader.run() },
            StorageThread("snapshots") { self.snapshots.run() },
        ]
        self.running.withLock { $0.threads = threads }
    }

    /// The first fault is final: told once, nothing is written or acknowledged any more.
    func fault(_ error: StorageError) {
        self.lanes.fail()
        self.clerk.fail()
        let events = self.running.withLock { r -> StorageEvents? in
            defer { r.faulted = true }
            return r.faulted ? nil : r.events
        }
        events?.fault(error)
    }

    /// Runs `body` on a thread of its own; what it throws is a fault.
    func errand(_ body: @escaping @Sendable () throws -> Void) {
        let thread = StorageThread("errand") {
            do {
                try body()
            } catch let error as StorageError {
                self.fault(error)
            } catch let fault as FileFault {
                self.fault(fault.storageError)
            } catch {
                unreachable("an error of another type")
            }
        }
        self.running.withLock { $0.threads.append(thread) }
    }

    func keepFounding(_ record: FoundingRecord) throws(StorageError) {
        try self.founding.withLock { kept throws(StorageError) in
            if kept.hasFailed { throw .closed }
            if let held = kept.record {
                invariant(held == record, "a node takes one founding, ever")
                return
            }
            let own = self.identity.cluster
            invariant(own.raw == 0 || own == record.cluster, "a node has one cluster, ever")
            do throws(FileFault) {
                try self.writeFounding(record)
            } catch {
                if error.isFull { throw .full(path: error.path) }
                // Whether it is on the disk is not known: nothing may be promised any more.
                kept.hasFailed = true
                self.fault(error.storageError)
                throw error.storageError
            }
            kept.record = record
        }
    }

    private func writeFounding(_ record: FoundingRecord) throws(FileFault) {
        let file = FoundingFile(directory: self.pool.directory, files: self.pool.files)
        while true {
            do throws(FileFault) {
                return try file.write(record)
            } catch {
                guard error.isFull, try self.pool.releaseReserve() else { throw error }
            }
        }
    }

    /// - Parameter generation: of the file.
    func checkpointed(_ meta: CheckpointMeta, _ generation: UInt64) {
        self.checkpointedIndex.store(meta.appliedIndex, ordering: .releasing)
        self.writer.preamble.withLock { preamble in
            // Of a snapshot whose own record is not written yet, it says nothing.
            guard preamble.logBase.generation == generation else { return }
            preamble.logBase.position = meta.applied
        }
        self.running.withLock { $0.keeper }?.signal()
    }

    /// A snapshot is in place as `base.generation`: says so in the journal, behind all that was
    /// appended before. Until that is durable, the log of `old` is needed.
    ///
    /// No segment may begin with it before: 1 entries of an old term wait to be written. 2 The
    /// snapshot is installed. 3 A segment begins, with the base in front of those entries. 4 The
    /// power fails before the record is durable. 5 A start would take the old entries for what
    /// follows the snapshot.
    ///
    /// - Returns: the position of the record.
    func installed(_ base: LogBase, replacing old: CheckpointFile) -> UInt64 {
        let position = self.lanes.logBase(base)
        self.replaced.withLock {
            $0.append(
                Replaced(file: old, appliedIndex: base.position.index, position: position))
        }
        return position
    }

    /// Generations that were replaced by one that is named in the journal up to `durable`.
    func takeReplaced(durable: UInt64) -> [CheckpointFile] {
        self.replaced.withLock { list in
            let gone = list.filter { $0.position <= durable }
            list.removeAll { $0.position <= durable }
            for one in gone {
                let index = max(self.checkpointed, one.appliedIndex)
                self.checkpointedIndex.store(index, ordering: .releasing)
            }
            return gone.map(\.file)
        }
    }

    func set(_ level: SpaceLevel, _ events: StorageEvents) {
        let before = self.levelRaw.exchange(level.rawValue, ordering: .relaxed)
        if before != level.rawValue { events.level(level) }
    }

    func noteSpace(free: Int, total: Int) {
        self.space.withLock { $0 = Space(free: free, total: total) }
    }

    func close() {
        let (threads, keeper) = self.running.withLock { r -> ([StorageThread], Keeper?) in
            defer {
                r.isClosed = true
                r.threads = []
            }
            return (r.threads, r.keeper)
        }
        keeper?.close()
        self.reader.close()
        self.snapshots.close()
        self.clerk.close()
        self.lanes.close()
        for thread in threads { thread.join() }
        // The keeper and its old files may not outlive the lock.
        let isFirst = self.running.withLock { r -> Bool in
            defer { r.keeper = nil }
            return !threads.isEmpty || r.events == nil
        }
        if isFirst {
            self.pool.files.close(self.lockFile)
        }
    }

    func statistics() -> StorageStatistics {
        var result = StorageStatistics()
        let numbers = self.writer.numbers.withLock { $0 }
        result.batches = numbers.batches
        result.writtenBytes = numbers.writtenBytes
        result.syncTime = numbers.syncTime
        result.segments = self.pool.sealedCount + 1
        self.bodies.withState { s in
            result.bodies = s.index.count
            for (id, entry) in s.files where id.isOld {
                result.oldFiles += 1
                result.oldBytes += entry.bytes
            }
        }
        let space = self.space.withLock { $0 }
        (result.freeBytes, result.totalBytes) = (space.free, space.total)
        return result
    }
}

/// Hands a value to the one thread that uses it from then on. `@unchecked Sendable` for that.
private struct Handed<Value>: @unchecked Sendable {
    let value: Value
    init(_ value: Value) { self.value = value }
}
