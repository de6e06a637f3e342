// UserCommand.swift - posthouse user: who may authenticate.
//
// The file is rewritten as a whole beside the old one and renamed over it, so that a reader sees
// either; the new one is on disk before the name changes.

package import ArgumentParser
import Glibc
import OpenSSL
import Settings

package struct UserCommand: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "user", abstract: "Change the users for AUTH.",
        subcommands: [UserAdd.self, UserRemove.self])
    package init() {}
}

struct UserFileOptions: ParsableArguments {
    @Option(help: "The file of users (relay.users).")
    var file = "/etc/posthouse/users"

    /// The users in the file; none if it does not exist.
    func load() throws(CommandFailure) -> UserFile {
        let bytes: [UInt8]
        do {
            bytes = try FileAccess.system.read(self.file)
        } catch .missing {
            return UserFile()
        } catch {
            throw CommandFailure(
                error == .notPermitted ? .notPermitted : .inputOutput, "\(self.file) \(error.text)")
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw CommandFailure(.badData, "\(self.file) is not UTF-8")
        }
        do {
            return try UserFile(text)
        } catch {
            throw CommandFailure(.badData, "\(self.file):\(error.line): \(error.what)")
        }
    }

    func save(_ users: UserFile) throws(CommandFailure) {
        do {
            try AtomicFile.replace(self.file, with: Array(users.text.utf8), mode: 0o600)
        } catch {
            throw CommandFailure(
                error.code == EACCES || error.code == EPERM ? .notPermitted : .inputOutput,
                "cannot write \(self.file): \(String(cString: strerror(error.code)))")
        }
    }
}

struct UserAdd: Command {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Add a user, or give one another password.",
        discussion: "The password comes from the terminal, standard input or a file. A running "
            + "node learns of it with SIGHUP.")
    @Argument(help: "The user's name.") var name: String
    @OptionGroup var file: UserFileOptions
    @Option(help: "File whose first line is the password.")
    var passwordFile: String?

    func perform(_ terminal: Terminal) throws(CommandFailure) {
        guard UserFile.isValid(name: self.name) else {
            throw CommandFailure(
                .badData, "a user name has 1 … 255 bytes, no space, colon or control character")
        }
        var users = try self.file.load()
        let password = try self.password(terminal)
        guard let hash = PasswordHash.make(Array(password.utf8)) else {
            throw CommandFailure(
                .badData, "a password has 1 … \(PasswordHash.longestPasswordBytes) bytes")
        }
        let isNew = users.hash(of: self.name) == nil
        users.set(self.name, hash: hash)
        try self.file.save(users)
        terminal.tell("\(isNew ? "added" : "changed") \(self.name)")
    }

    private func password(_ terminal: Terminal) throws(CommandFailure) -> String {
        if let passwordFile { return try ServerOptions.secret(in: passwordFile) }
        guard terminal.isInteractive else {
            guard let line = terminal.ask("") else {
                throw CommandFailure(.badData, "standard input holds no password")
            }
            return line
        }
        let first = terminal.askSecret("Password: ") ?? ""
        guard terminal.askSecret("Again: ") == first else {
            throw CommandFailure(.badData, "the passwords differ; nothing changed")
        }
        return first
    }
}

struct UserRemove: Command {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Remove a user.")
    @Argument(help: "The user's name.") var name: String
    @OptionGroup var file: UserFileOptions

    func perform(_ terminal: Terminal) throws(CommandFailure) {
        var users = try self.file.load()
        guard users.remove(self.name) else {
            throw CommandFailure(
                .noSuchThing, "no user \(Human.safe(self.name)) in \(self.file.file)")
        }
        try self.file.save(users)
        terminal.tell("removed \(self.name)")
    }
}

/// Files that are never seen half written.
enum AtomicFile {
    struct Failure: Error {
        var code: Int32
    }

    /// Writes beside `path`, syncs, renames, syncs the directory. An existing file keeps its
    /// mode and owner; a new one gets `mode`.
    static func replace(_ path: String, with bytes: [UInt8], mode: mode_t) throws(Failure) {
        var facts = stat()
        let exists = stat(path, &facts) == 0
        let beside = "\(path).new.\(getpid())"
        let file = open(
            beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, exists ? facts.st_mode & 0o777 : mode)
        guard file >= 0 else { throw Failure(code: errno) }
        if exists { _ = fchown(file, facts.st_uid, facts.st_gid) }
        let code = Self.fill(file, bytes)
        close(file)
        guard code == 0 else {
            unlink(beside)
            throw Failure(code: code)
        }
        guard rename(beside, path) == 0 else {
            let code = errno
            unlink(beside)
            throw Failure(code: code)
        }
        try Self.syncDirectory(of: path)
    }

    /// Writes a file that must not exist yet.
    static func create(_ path: String, with bytes: [UInt8], mode: mode_t) throws(Failure) {
        let file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
        guard file >= 0 else { throw Failure(code: errno) }
        let code = Self.fill(file, bytes)
        close(file)
        guard code == 0 else { throw Failure(code: code) }
        try Self.syncDirectory(of: path)
    }

    /// 0, or the error's number.
    private static func fill(_ file: Int32, _ bytes: [UInt8]) -> Int32 {
        var offset = 0
        while offset < bytes.count {
            let count = bytes.withUnsafeBytes { all in
                write(file, all.baseAddress.map { $0 + offset }, all.count - offset)
            }
            if count < 0 && errno == EINTR { continue }
            if count <= 0 { return count == 0 ? EIO : errno }
            offset += count
        }
        return fsync(file) == 0 ? 0 : errno
    }

    private static func syncDirectory(of path: String) throws(Failure) {
        var name = "."
        if let slash = path.lastIndex(of: "/") {
            name = slash == path.startIndex ? "/" : String(path[..<slash])
        }
        let directory = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard directory >= 0 else { throw Failure(code: errno) }
        defer { close(directory) }
        guard fsync(directory) == 0 else { throw Failure(code: errno) }
    }
}
