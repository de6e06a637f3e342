// FileSystem.swift - the system calls that the storage makes on files, so that tests can fail them.
//
// Gives     a fault with errno for every call that does not do what it should.
// Standard  POSIX.1-2017; Linux for statvfs, flock, posix_fallocate.

package import Glibc
package import Primitives

/// A system call that failed.
package struct FileFault: Error, Equatable, Sendable {
    package var operation: StaticLabel
    package var path: String
    package var errno: Int32
    package init(_ operation: StaticLabel, _ path: String, _ errno: Int32) {
        self.operation = operation
        self.path = path
        self.errno = errno
    }
    package var isFull: Bool { self.errno == ENOSPC || self.errno == EDQUOT }
    /// A file is larger than whoever reads it takes.
    package var isTooLarge: Bool { self.errno == EFBIG }
    package var storageError: StorageError {
        .io(operation: self.operation, path: self.path, errno: self.errno)
    }
}

/// How a file is opened.
package enum OpenMode: Sendable {
    case read
    case readWrite
    /// Makes it; it must not exist.
    case create
    case createIfMissing
}

/// The calls. One existential call per batch on the hot path, for the sake of the fault tests.
package protocol FileSystem: Sendable {
    func open(_ path: String, _ mode: OpenMode) throws(FileFault) -> Int32
    func close(_ file: Int32)
    /// May write less than asked.
    func write(
        _ file: Int32, _ pieces: UnsafeMutableBufferPointer<iovec>, at offset: Int
    ) throws(FileFault) -> Int
    /// Reads less than asked only at the end of the file.
    func read(
        _ file: Int32, into bytes: UnsafeMutableRawBufferPointer, at offset: Int
    ) throws(FileFault) -> Int
    func sync(_ file: Int32) throws(FileFault)
    func size(_ file: Int32) throws(FileFault) -> Int
    /// Makes the file at least this long, all of it backed by blocks.
    func allocate(_ file: Int32, bytes: Int) throws(FileFault)
    func truncate(_ file: Int32, bytes: Int) throws(FileFault)
    func rename(_ from: String, to: String) throws(FileFault)
    func remove(_ path: String) throws(FileFault)
    func exists(_ path: String) -> Bool
    /// Names, sorted; without `.` and `..`.
    func list(_ directory: String) throws(FileFault) -> [String]
    /// With its mode 0700; it is no fault if it exists.
    func makeDirectory(_ path: String) throws(FileFault)
    func syncDirectory(_ path: String) throws(FileFault)
    func space(_ path: String) throws(FileFault) -> (free: Int, total: Int)
    /// False: someone else has it.
    func lock(_ file: Int32) throws(FileFault) -> Bool
}

extension FileSystem {
    /// Writes all of it.
    func writeAll(_ file: Int32, _ bytes: UnsafeRawBufferPointer, at offset: Int)
        throws(FileFault)
    {
        var piece = iovec(
            iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress), iov_len: bytes.count)
        try withUnsafeMutablePointer(to: &piece) { p throws(FileFault) in
            try self.writeAll(file, UnsafeMutableBufferPointer(start: p, count: 1), at: offset)
        }
    }

    /// Writes all pieces in their order; changes `pieces` when a write was short.
    func writeAll(
        _ file: Int32, _ pieces: UnsafeMutableBufferPointer<iovec>, at offset: Int
    ) throws(FileFault) {
        var first = 0
        var at = offset
        while first < pieces.count {
            let left = UnsafeMutableBufferPointer(rebasing: pieces[first...])
            let written = try self.write(file, left, at: at)
            at += written
            var rest = written
            let before = first
            while first < pieces.count, rest >= pieces[first].iov_len {
                rest -= pieces[first].iov_len
                first += 1
            }
            if rest > 0 {
                pieces[first].iov_base += rest
                pieces[first].iov_len -= rest
            } else if written == 0, first == before {
                throw FileFault("write", "a file", EIO)
            }
        }
    }

    /// Puts a small file in place as a whole: temporary name, sync, rename, sync of the directory.
    func replace(_ directory: String, _ name: String, with bytes: [UInt8]) throws(FileFault) {
        let temporary = directory + "/" + name + ".new"
        let file = try self.open(temporary, .createIfMissing)
        defer { self.close(file) }
        try self.truncate(file, bytes: 0)
        try bytes.withBytes { b throws(FileFault) in
            try self.writeAll(file, b, at: 0)
        }
        try self.sync(file)
        try self.rename(temporary, to: directory + "/" + name)
        try self.syncDirectory(directory)
    }

    /// A whole file of at most `limit` bytes; nil if it does not exist.
    func contents(_ path: String, limit: Int) throws(FileFault) -> [UInt8]? {
        guard self.exists(path) else { return nil }
        let file = try self.open(path, .read)
        defer { self.close(file) }
        let size = try self.size(file)
        guard size <= limit else { throw FileFault("read", path, EFBIG) }
        var bytes = [UInt8](repeating: 0, count: size)
        let count = try bytes.withMutableBytes { b throws(FileFault) in
            try self.read(file, into: b, at: 0)
        }
        bytes.removeLast(size - count)
        return bytes
    }
}

extension [UInt8] {
    /// `withUnsafeBytes` that keeps the error's type.
    func withBytes<R, E: Error>(
        _ body: (UnsafeRawBufferPointer) throws(E) -> R
    ) throws(E) -> R {
        let result = self.withUnsafeBytes { bytes -> Result<R, E> in
            do throws(E) {
                return .success(try body(bytes))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    /// `withUnsafeMutableBytes` that keeps the error's type.
    mutating func withMutableBytes<R, E: Error>(
        _ body: (UnsafeMutableRawBufferPointer) throws(E) -> R
    ) throws(E) -> R {
        let result = self.withUnsafeMutableBytes { bytes -> Result<R, E> in
            do throws(E) {
                return .success(try body(bytes))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }
}

/// What the system says of an errno.
func errorText(_ code: Int32) -> String {
    guard let text = strerror(code) else { return "error \(code)" }
    return String(cString: text)
}
