// SQLite.swift - a connection and a statement of SQLite, no more than is used here.
//
// Gives     an error with SQLite's own code and words for every call that fails.

import CSQLite
import Glibc
import Primitives

/// A call that failed. `code` is SQLite's extended result code.
struct SQLiteFault: Error, Equatable {
    var code: Int32
    var message: String
    /// Of the system call that failed; 0 if none did.
    var errno: Int32 = 0

    var isFull: Bool {
        self.code & 0xFF == SQLITE_FULL || (self.isSystemFault && self.errno == ENOSPC)
    }

    /// The disk or the system said no; what stands on it may be sound.
    private var isSystemFault: Bool {
        let primary = self.code & 0xFF
        return primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN
    }

    /// Only what SQLite finds wrong with the content is damage.
    func storageError(path: String) -> StorageError {
        if self.isFull { return .full(path: path) }
        if self.isSystemFault {
            return .io(operation: "checkpoint", path: path, errno: self.errno)
        }
        return .checkpointDamaged(reason: "\(self.message), code \(self.code)")
    }
}

/// One connection; confined to one thread.
final class SQLiteConnection {
    fileprivate let handle: OpaquePointer

    /// - Parameter readOnly: an existing database, for reading.
    init(_ path: String, readOnly: Bool) throws(SQLiteFault) {
        var handle: OpaquePointer?
        let flags =
            (readOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)
            | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE
        let code = sqlite3_open_v2(path, &handle, flags, nil)
        guard let handle else {
            throw SQLiteFault(code: code, message: "no memory for a connection")
        }
        guard code == SQLITE_OK else {
            let fault = SQLiteFault(
                code: sqlite3_extended_errcode(handle),
                message: String(cString: sqlite3_errmsg(handle)),
                errno: sqlite3_system_errno(handle))
            sqlite3_close_v2(handle)
            throw fault
        }
        self.handle = handle
        sqlite3_extended_result_codes(handle, 1)
    }

    deinit { sqlite3_close_v2(self.handle) }

    fileprivate var fault: SQLiteFault {
        SQLiteFault(
            code: sqlite3_extended_errcode(self.handle),
            message: String(cString: sqlite3_errmsg(self.handle)),
            errno: sqlite3_system_errno(self.handle))
    }

    /// Runs statements that give no rows, or whose rows nobody wants.
    func run(_ sql: String) throws(SQLiteFault) {
        guard sqlite3_exec(self.handle, sql, nil, nil, nil) == SQLITE_OK else { throw self.fault }
    }

    func prepare(_ sql: String) throws(SQLiteFault) -> SQLiteStatement {
        try SQLiteStatement(self, sql)
    }

    /// The first column of the first row.
    func number(_ sql: String) throws(SQLiteFault) -> Int64? {
        let statement = try self.prepare(sql)
        return try statement.step() ? statement.number(0) : nil
    }

    /// A transaction was begun, and has not ended in either way.
    var isInTransaction: Bool { sqlite3_get_autocommit(self.handle) == 0 }
}

/// One prepared statement.
final class SQLiteStatement {
    private let connection: SQLiteConnection
    private let handle: OpaquePointer

    fileprivate init(_ connection: SQLiteConnection, _ sql: String) throws(SQLiteFault) {
        var handle: OpaquePointer?
        let code = sqlite3_prepare_v2(connection.handle, sql, -1, &handle, nil)
        guard code == SQLITE_OK, let handle else { throw connection.fault }
        self.connection = connection
        self.handle = handle
    }

    deinit { sqlite3_finalize(self.handle) }

    /// The bytes must stay where they are until `reset`.
    func bind(_ index: Int32, _ bytes: UnsafeRawBufferPointer) throws(SQLiteFault) {
        let code =
            bytes.count == 0
            ? sqlite3_bind_zeroblob(self.handle, index, 0)
            : sqlite3_bind_blob(
                self.handle, index, bytes.baseAddress, Int32(bytes.count), posthouse_sqlite_static()
            )
        guard code == SQLITE_OK else { throw self.connection.fault }
    }

    func bind(_ index: Int32, _ number: Int64) throws(SQLiteFault) {
        guard sqlite3_bind_int64(self.handle, index, number) == SQLITE_OK else {
            throw self.connection.fault
        }
    }

    /// True: there is a row. False: the statement has ended.
    func step() throws(SQLiteFault) -> Bool {
        switch sqlite3_step(self.handle) {
        case SQLITE_ROW: return true
        case SQLITE_DONE: return false
        case _: throw self.connection.fault
        }
    }

    func reset() { sqlite3_reset(self.handle) }

    func number(_ column: Int32) -> Int64 { sqlite3_column_int64(self.handle, column) }

    /// Valid until the next `step` or `reset`.
    func bytes(_ column: Int32) -> UnsafeRawBufferPointer {
        let base = sqlite3_column_blob(self.handle, column)
        return UnsafeRawBufferPointer(
            start: base, count: base == nil ? 0 : Int(sqlite3_column_bytes(self.handle, column)))
    }
}
