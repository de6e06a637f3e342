// FileAccess.swift - the files that settings name: read whole, or not at all.

import Glibc

/// How settings reach files; tests give another.
package struct FileAccess: Sendable {
    /// Bytes of a file that settings read, at most.
    package static let limitBytes = 16 << 20

    /// Why a file cannot be read.
    package enum Failure: Error, Hashable, Sendable {
        case missing
        case notPermitted
        case notAFile
        case tooLarge
        case other(code: Int32)

        /// What to tell, behind the file's name.
        package var text: String {
            switch self {
            case .missing: "does not exist"
            case .notPermitted: "may not be read by this user"
            case .notAFile: "is not a file"
            case .tooLarge: "is larger than \(FileAccess.limitBytes >> 20) MiB"
            case .other(let code): "cannot be read: \(String(cString: strerror(code)))"
            }
        }
    }

    /// The whole content of the file at a path.
    package var read: @Sendable (String) throws(Failure) -> [UInt8]

    package init(read: @escaping @Sendable (String) throws(Failure) -> [UInt8]) {
        self.read = read
    }

    /// The real file system.
    package static let system = FileAccess { path throws(Failure) in
        try FileAccess.readAll(path)
    }

    private static func readAll(_ path: String) throws(Failure) -> [UInt8] {
        let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard file >= 0 else { throw Failure(errno) }
        defer { _ = close(file) }
        var facts = stat()
        guard fstat(file, &facts) == 0 else { throw Failure(errno) }
        let shape = facts.st_mode & S_IFMT
        guard shape == S_IFREG || shape == S_IFIFO || shape == S_IFCHR else { throw .notAFile }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = Glibc.read(file, &chunk, chunk.count)
            if count < 0 {
                if errno == EINTR { continue }
                throw Failure(errno)
            }
            if count == 0 { return bytes }
            bytes += chunk[0..<count]
            guard bytes.count <= Self.limitBytes else { throw .tooLarge }
        }
    }
}

extension FileAccess.Failure {
    fileprivate init(_ code: Int32) {
        self =
            switch code {
            case ENOENT, ENOTDIR: .missing
            case EACCES, EPERM: .notPermitted
            case EISDIR: .notAFile
            case _: .other(code: code)
            }
    }
}
