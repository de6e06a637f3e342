// DiskFiles.swift - the real file system.

package import Glibc
import Primitives

package struct DiskFiles: FileSystem {
    package init() {}

    package func open(_ path: String, _ mode: OpenMode) throws(FileFault) -> Int32 {
        let flags =
            switch mode {
            case .read: O_RDONLY | O_CLOEXEC
            case .readWrite: O_RDWR | O_CLOEXEC
            case .create: O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC
            case .createIfMissing: O_RDWR | O_CREAT | O_CLOEXEC
            }
        while true {
            let file = Glibc.open(path, flags, 0o600)
            if file >= 0 { return file }
            if errno != EINTR { throw FileFault("open", path, errno) }
        }
    }

    package func close(_ file: Int32) {
        // A child that is being started has a copy of the descriptor until its exec, and would
        // hold the lock till then.
        _ = flock(file, LOCK_UN)
        _ = Glibc.close(file)
    }

    package func write(
        _ file: Int32, _ pieces: UnsafeMutableBufferPointer<iovec>, at offset: Int
    ) throws(FileFault) -> Int {
        let count = min(pieces.count, 1024)  // IOV_MAX
        while true {
            let written = pwritev(file, pieces.baseAddress, Int32(count), offset)
            if written >= 0 { return written }
            if errno != EINTR { throw FileFault("write", name(file), errno) }
        }
    }

    package func read(
        _ file: Int32, into bytes: UnsafeMutableRawBufferPointer, at offset: Int
    ) throws(FileFault) -> Int {
        var done = 0
        while done < bytes.count {
            let count = pread(
                file, bytes.baseAddress.map { $0 + done }, bytes.count - done, offset + done)
            if count == 0 { break }
            if count > 0 {
                done += count
            } else if errno != EINTR {
                throw FileFault("read", name(file), errno)
            }
        }
        return done
    }

    package func sync(_ file: Int32) throws(FileFault) {
        if fdatasync(file) != 0 { throw FileFault("sync", name(file), errno) }
    }

    package func size(_ file: Int32) throws(FileFault) -> Int {
        var status = stat()
        if fstat(file, &status) != 0 { throw FileFault("stat", name(file), errno) }
        return Int(status.st_size)
    }

    package func allocate(_ file: Int32, bytes: Int) throws(FileFault) {
        while true {
            let code = posix_fallocate(file, 0, bytes)
            if code == 0 { return }
            if code != EINTR { throw FileFault("allocate", name(file), code) }
        }
    }

    package func truncate(_ file: Int32, bytes: Int) throws(FileFault) {
        if ftruncate(file, bytes) != 0 { throw FileFault("truncate", name(file), errno) }
    }

    package func rename(_ from: String, to: String) throws(FileFault) {
        if Glibc.rename(from, to) != 0 { throw FileFault("rename", from, errno) }
    }

    package func remove(_ path: String) throws(FileFault) {
        if unlink(path) != 0 { throw FileFault("remove", path, errno) }
    }

    package func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    package func list(_ directory: String) throws(FileFault) -> [String] {
        guard let handle = opendir(directory) else { throw FileFault("list", directory, errno) }
        defer { closedir(handle) }
        var names: [String] = []
        while let entry = readdir(handle) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    package func makeDirectory(_ path: String) throws(FileFault) {
        if mkdir(path, 0o700) != 0 && errno != EEXIST {
            throw FileFault("make directory", path, errno)
        }
    }

    package func syncDirectory(_ path: String) throws(FileFault) {
        let file = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard file >= 0 else { throw FileFault("open", path, errno) }
        defer { _ = Glibc.close(file) }
        if fsync(file) != 0 { throw FileFault("sync directory", path, errno) }
    }

    package func space(_ path: String) throws(FileFault) -> (free: Int, total: Int) {
        var status = statvfs()
        if statvfs(path, &status) != 0 { throw FileFault("statvfs", path, errno) }
        return (
            Int(status.f_bavail) * Int(status.f_frsize), Int(status.f_blocks) * Int(status.f_frsize)
        )
    }

    package func lock(_ file: Int32) throws(FileFault) -> Bool {
        if flock(file, LOCK_EX | LOCK_NB) == 0 { return true }
        if errno == EWOULDBLOCK { return false }
        throw FileFault("lock", name(file), errno)
    }

    /// A descriptor's path, for the remedy; only asked for after a failure.
    private func name(_ file: Int32) -> String {
        let code = errno
        defer { errno = code }
        var buffer = [CChar](repeating: 0, count: 1024)
        let count = readlink("/proc/self/fd/\(file)", &buffer, buffer.count - 1)
        guard count > 0 else { return "descriptor \(file)" }
        return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
