// CheckpointFile.swift - the rows of the queue as of one applied index, in one SQLite file.
//
// Takes     changed rows, part by part; each checkpoint is one transaction.
// Gives     all rows, streamed; the newest meta.
// Durable   `synchronous=FULL` with a rollback journal: one writer and one transaction at a time
//           gain nothing from a write-ahead log, which writes everything twice. A checkpoint
//           counts after a second connection has read its meta back.

import Glibc
import Primitives

struct CheckpointFile {
    /// Of a directory into which no snapshot was ever installed.
    static let firstGeneration: UInt64 = 1
    /// Stands in the file; another number is another layout.
    private static let format: Int64 = 1
    /// Pages that are given back to the file system after one checkpoint, at most.
    private static let vacuumPagesMax = 4096

    let generation: UInt64
    let path: String

    init(directory: String, generation: UInt64 = CheckpointFile.firstGeneration) {
        self.init(path: directory + "/" + Self.name(generation), generation: generation)
    }

    /// A file that is not in place.
    init(path: String, generation: UInt64) {
        self.generation = generation
        self.path = path
    }

    static func name(_ generation: UInt64) -> String { "queue.\(generation).sqlite" }

    /// Of a checkpoint in place; nil: another file's name.
    static func generation(of name: String) -> UInt64? {
        guard name.hasPrefix("queue."), name.hasSuffix(".sqlite") else { return nil }
        return UInt64(name.dropFirst("queue.".count).dropLast(".sqlite".count))
    }

    /// Removes the file, and SQLite's journal of it first: one that is left over would be taken for
    /// that of the next file with this name.
    func remove(_ files: any FileSystem) throws(FileFault) {
        for path in [self.path + "-journal", self.path] where files.exists(path) {
            try files.remove(path)
        }
    }

    /// Opens the file for writing; makes it if there is none.
    func open() throws(SQLiteFault) -> SQLiteConnection {
        let connection = try SQLiteConnection(self.path, readOnly: false)
        try connection.run("PRAGMA auto_vacuum = INCREMENTAL")
        try connection.run("PRAGMA journal_mode = TRUNCATE")
        try connection.run("PRAGMA synchronous = FULL")
        try connection.run("PRAGMA cache_size = -8192")
        try connection.run("PRAGMA busy_timeout = 10000")
        try connection.run(
            """
            CREATE TABLE IF NOT EXISTS meta (
                id INTEGER PRIMARY KEY CHECK (id = 1), format INTEGER NOT NULL,
                applied INTEGER NOT NULL, term INTEGER NOT NULL, meta BLOB NOT NULL);
            CREATE TABLE IF NOT EXISTS row (key BLOB PRIMARY KEY, row BLOB NOT NULL)
                WITHOUT ROWID;
            """)
        return connection
    }

    func meta(_ connection: SQLiteConnection) throws(StorageError) -> CheckpointMeta? {
        do {
            let statement = try connection.prepare(
                "SELECT format, applied, term, meta FROM meta WHERE id = 1")
            guard try statement.step() else { return nil }
            guard statement.number(0) == Self.format else {
                throw StorageError.unknownFormat(file: self.path)
            }
            return CheckpointMeta(
                appliedIndex: UInt64(bitPattern: statement.number(1)),
                appliedTerm: UInt64(bitPattern: statement.number(2)),
                meta: Array(statement.bytes(3)))
        } catch let fault as SQLiteFault {
            throw fault.storageError(path: self.path)
        } catch let error as StorageError {
            throw error
        } catch {
            unreachable("an error of another type")
        }
    }

    /// Every row, in ascending order of the keys. The bytes are valid during the call only.
    func forEachRow(
        _ connection: SQLiteConnection,
        _ body: (_ key: UnsafeRawBufferPointer, _ row: UnsafeRawBufferPointer) -> Void
    ) throws(StorageError) {
        do {
            let statement = try connection.prepare("SELECT key, row FROM row ORDER BY key")
            while try statement.step() { body(statement.bytes(0), statement.bytes(1)) }
        } catch {
            throw error.storageError(path: self.path)
        }
    }

    /// Starts the transaction of a checkpoint.
    func begin(_ connection: SQLiteConnection) throws(SQLiteFault) {
        try connection.run("BEGIN IMMEDIATE")
    }

    /// Writes one part of the rows.
    func write(_ connection: SQLiteConnection, _ rows: RowBatch) throws(SQLiteFault) {
        let upsert = try connection.prepare("INSERT OR REPLACE INTO row (key, row) VALUES (?, ?)")
        let delete = try connection.prepare("DELETE FROM row WHERE key = ?")
        try rows.forEach { key, row throws(SQLiteFault) in
            guard let row else {
                try delete.bind(1, key)
                _ = try delete.step()
                delete.reset()
                return
            }
            try upsert.bind(1, key)
            try upsert.bind(2, row)
            _ = try upsert.step()
            upsert.reset()
        }
    }

    /// Ends the transaction: all its rows and `meta` stand, or none of it.
    func commit(_ connection: SQLiteConnection, _ meta: CheckpointMeta) throws(SQLiteFault) {
        let store = try connection.prepare(
            "INSERT OR REPLACE INTO meta (id, format, applied, term, meta) VALUES (1, ?, ?, ?, ?)")
        try meta.meta.withBytes { bytes throws(SQLiteFault) in
            try store.bind(1, Self.format)
            try store.bind(2, Int64(bitPattern: meta.appliedIndex))
            try store.bind(3, Int64(bitPattern: meta.appliedTerm))
            try store.bind(4, bytes)
            _ = try store.step()
            store.reset()
        }
        try connection.run("COMMIT")
    }

    /// Undoes what was written since `begin`, if that still stands.
    func rollback(_ connection: SQLiteConnection) throws(SQLiteFault) {
        // After some errors SQLite has rolled back already.
        if connection.isInTransaction { try connection.run("ROLLBACK") }
    }

    /// Reads the meta on a second connection.
    func verify(_ expected: CheckpointMeta) throws(StorageError) {
        let found: CheckpointMeta?
        do {
            found = try self.meta(try SQLiteConnection(self.path, readOnly: true))
        } catch let fault as SQLiteFault {
            throw fault.storageError(path: self.path)
        } catch let error as StorageError {
            throw error
        } catch {
            unreachable("an error of another type")
        }
        guard found == expected else {
            throw .checkpointDamaged(reason: "a second connection reads something else")
        }
    }

    /// Of the file, free pages among them.
    func byteCount(_ connection: SQLiteConnection) throws(SQLiteFault) -> Int {
        let pages = try connection.number("PRAGMA page_count") ?? 0
        return Int(pages * (try connection.number("PRAGMA page_size") ?? 0))
    }

    /// Writes all rows and the meta into a new file. SQLite does not sync it.
    func copy(_ connection: SQLiteConnection, to path: String) throws(SQLiteFault) {
        var quoted = ""
        for character in path { quoted += character == "'" ? "''" : String(character) }
        try connection.run("VACUUM INTO '\(quoted)'")
    }

    /// Gives free pages back when they are many, a part at a time.
    func shrink(_ connection: SQLiteConnection) throws(SQLiteFault) {
        let pages = try connection.number("PRAGMA page_count") ?? 0
        let free = try connection.number("PRAGMA freelist_count") ?? 0
        guard free > 1024, free * 4 > pages else { return }
        try connection.run("PRAGMA incremental_vacuum(\(Self.vacuumPagesMax))")
    }
}
