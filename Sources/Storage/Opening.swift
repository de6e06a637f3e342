// Opening.swift - a start: lock, identity, checkpoint, old bodies, journal, the first segment.
//
// Durable   the boot number is counted up, and what lay beyond the last known sync is written
//           again and synced, before anybody is told anything.

import Glibc
import Primitives
package import Raft
import Spool

/// What a start found.
package struct Recovery: Sendable {
    /// With the cluster of `founding`, if there is one.
    package var identity: NodeIdentity
    /// Nil: a cluster of one, or none yet (`identity.cluster` is 0).
    package var founding: FoundingRecord?
    /// Nil: there was never one.
    package var checkpoint: CheckpointMeta?
    /// The log behind the checkpoint, all of it durable; without the configuration, which the
    /// checkpoint's own bytes know.
    package var log: Start
    package var notes: [OutcomeNote]
    package var damage: [Damage]
    /// Bodies in the index.
    package var bodies: Int
    /// The directory was made by this start.
    package var isNew: Bool
    private let rows: CheckpointFile

    init(
        identity: NodeIdentity, founding: FoundingRecord?, checkpoint: CheckpointMeta?,
        replay: JournalReplay, log: Start, damage: [Damage], bodies: Int, isNew: Bool,
        rows: CheckpointFile
    ) {
        self.identity = identity
        self.founding = founding
        self.checkpoint = checkpoint
        self.log = log
        self.notes = replay.notes
        self.damage = damage + replay.damage
        self.bodies = bodies
        self.isNew = isNew
        self.rows = rows
    }

    /// Every row of the checkpoint in ascending order of the keys. The bytes are valid during the
    /// call only.
    package func forEachRow(
        _ body: (_ key: UnsafeRawBufferPointer, _ row: UnsafeRawBufferPointer) -> Void
    ) throws(StorageError) {
        do {
            let connection = try SQLiteConnection(self.rows.path, readOnly: true)
            try self.rows.forEachRow(connection, body)
        } catch let fault as SQLiteFault {
            throw fault.storageError(path: self.rows.path)
        } catch let error as StorageError {
            throw error
        } catch {
            unreachable("an error of another type")
        }
    }
}

struct Opening {
    let directory: String
    let options: StorageOptions
    let files: any FileSystem

    func run(
        node: NodeName, incarnation: Incarnation, cluster: ClusterID
    ) throws(StorageError) -> (Storage, Recovery) {
        do {
            return try self.open(node, incarnation, cluster)
        } catch let fault as FileFault {
            if fault.isFull { throw .full(path: fault.path) }
            throw fault.storageError
        } catch let fault as SQLiteFault {
            throw fault.storageError(path: self.directory)
        } catch let error as StorageError {
            throw error
        } catch {
            unreachable("an error of another type")
        }
    }

    private func open(
        _ node: NodeName, _ incarnation: Incarnation, _ cluster: ClusterID
    ) throws -> (Storage, Recovery) {
        invariant(
            self.options.batchBytesMax + 8192 <= self.options.segmentBytes / 2,
            "a segment holds at least two batches")
        try self.files.makeDirectory(self.directory)
        let lock = try self.files.open(self.directory + "/lock", .createIfMissing)
        do {
            guard try self.files.lock(lock) else {
                throw StorageError.locked(directory: self.directory)
            }
            return try self.open(node, incarnation, cluster, lock: lock)
        } catch {
            self.files.close(lock)
            throw error
        }
    }

    private func open(
        _ node: NodeName, _ incarnation: Incarnation, _ cluster: ClusterID, lock: Int32
    ) throws -> (Storage, Recovery) {
        let pool = SegmentPool(
            directory: self.directory, options: self.options, files: self.files)
        try self.files.makeDirectory(pool.journal)
        try self.files.makeDirectory(self.directory + "/bodies")
        try self.files.syncDirectory(self.directory)
        let file = FoundingFile(directory: self.directory, files: self.files)
        var (identity, isNew) = try IdentityFile(directory: self.directory, files: self.files)
            .countUp(
                node: node, incarnation: incarnation, cluster: cluster,
                hasData: file.exists || !self.generations().isEmpty
                    || self.files.list(pool.journal).contains { $0.hasSuffix(".seg") })
        _ = try pool.fillReserve()

        let bodies = Bodies()
        let old = OldFiles(
            directory: self.directory, options: self.options, files: self.files, bodies: bodies)
        var damage: [Damage] = []
        try old.load(&damage)
        var replay = JournalReplay(files: self.files, options: self.options, bodies: bodies)
        let found = try self.segments(pool)
        for file in found { bodies.add(file) }
        try replay.scan(found)
        let rows = CheckpointFile(directory: self.directory, generation: replay.generation)
        let connection = try self.openCheckpoint(rows, pool)
        let checkpoint = try rows.meta(connection)
        try replay.run(applied: checkpoint?.applied ?? .zero)
        if let last = replay.lastIdentity, last != (identity.node, identity.incarnation) {
            throw StorageError.otherNode(found: last.node, expected: identity.node)
        }
        let log = try self.start(replay, pool)
        let founding = try identity.join(
            file, hasLog: log.hardState != .empty || log.base != .zero || !log.entries.isEmpty)
        self.seal(found, replay, pool)
        let writer = JournalWriter(
            pool: pool, bodies: bodies,
            preamble: Preamble(
                identity: identity, hardState: log.hardState,
                logBase: LogBase(
                    position: checkpoint?.applied ?? .zero, generation: rows.generation)),
            segment: (found.map(\.id.number).max() ?? 0) + 1, batch: replay.lastBatch + 1,
            previousCRC: replay.lastCRC)
        try writer.write(PendingBatch(bulk: nil, control: replay.carried))
        try self.dropOthers(than: rows)
        self.dropDeadStreams(bodies)
        try self.recycleEmpty(pool, bodies, appliedIndex: checkpoint?.appliedIndex ?? 0)
        let storage = Storage(
            core: StorageCore(
                pool: pool, bodies: bodies,
                lanes: Lanes(options: self.options, boot: identity.boot),
                clerk: Clerk(file: rows, connection: connection, pool: pool), old: old,
                writer: writer, identity: identity, founding: founding, lockFile: lock,
                checkpointed: checkpoint?.appliedIndex ?? 0))
        return (
            storage,
            Recovery(
                identity: identity, founding: founding, checkpoint: checkpoint, replay: replay,
                log: log,
                damage: damage, bodies: bodies.count, isNew: isNew, rows: rows)
        )
    }

    /// What the member starts from.
    private func start(_ replay: JournalReplay, _ pool: SegmentPool) throws(StorageError) -> Start {
        do {
            return try replay.log.start(configuration: Configuration())
        } catch {
            throw .quarantined(
                file: pool.journal, offset: 0, what: "log entries behind the checkpoint")
        }
    }

    /// On a full disk SQLite gets a part of the reserve for its own journal.
    private func openCheckpoint(_ rows: CheckpointFile, _ pool: SegmentPool) throws
        -> SQLiteConnection
    {
        // An empty one never takes the place of one that was lost.
        let others = try self.generations().filter { $0 != rows.generation }
        guard others.isEmpty || self.files.exists(rows.path) else {
            throw StorageError.checkpointDamaged(reason: "\(rows.path) is missing")
        }
        while true {
            do {
                let connection = try rows.open()
                try self.files.syncDirectory(self.directory)
                return connection
            } catch let fault as SQLiteFault {
                guard fault.isFull, try pool.releaseReserve() else { throw fault }
            }
        }
    }

    /// Of the checkpoints that are here, ascending.
    private func generations() throws(FileFault) -> [UInt64] {
        try self.files.list(self.directory).compactMap(CheckpointFile.generation(of:)).sorted()
    }

    /// The journal names the generation in force, synced: others go, and what snapshots have left.
    private func dropOthers(than current: CheckpointFile) throws(FileFault) {
        for generation in try self.generations() where generation != current.generation {
            try CheckpointFile(directory: self.directory, generation: generation)
                .remove(self.files)
        }
        for name in try self.files.list(self.directory) where SnapshotFiles.isTemporary(name) {
            try self.files.remove(self.directory + "/" + name)
        }
        try self.files.syncDirectory(self.directory)
    }

    /// The segments of earlier starts in their order; spare files are taken up.
    private func segments(_ pool: SegmentPool) throws -> [DataFile] {
        var found: [DataFile] = []
        for name in try self.files.list(pool.journal) {
            if name.hasPrefix("spare.") {
                try pool.adopt(spare: name)
            } else if let number = SegmentPool.number(of: name) {
                let path = pool.journal + "/" + name
                found.append(
                    DataFile(
                        .segment(number), path: path,
                        descriptor: try self.files.open(path, .read), files: self.files))
            }
        }
        return found.sorted { $0.id.number < $1.id.number }
    }

    /// Every segment that was found is sealed; the keeper empties them in their order.
    private func seal(_ found: [DataFile], _ replay: JournalReplay, _ pool: SegmentPool) {
        for file in found {
            let contents = replay.contents[file.id.number]
            pool.seal(
                SealedSegment(
                    contents: contents ?? SegmentContents(number: file.id.number), file: file))
        }
    }

    /// The oldest segments are spare files again if they hold nothing that is needed: a node that
    /// starts over and over needs no more space.
    private func recycleEmpty(
        _ pool: SegmentPool, _ bodies: Bodies, appliedIndex: UInt64
    ) throws(FileFault) {
        while let oldest = pool.oldest, oldest.contents.tags.isEmpty,
            oldest.contents.streams.isEmpty, !oldest.contents.hasNotes,
            oldest.contents.lastEntryIndex <= appliedIndex
        {
            pool.removeOldest(oldest.contents.number)
            bodies.forget(oldest.file.id)
            try pool.recycle(oldest.file)
        }
    }

    /// A stream of an earlier start never ends.
    private func dropDeadStreams(_ bodies: Bodies) {
        bodies.withState { s in
            for (stream, state) in s.streams {
                if case .arriving = state { s.abandoned(stream) }
            }
        }
    }
}
