// NetworkSpace.swift - a network namespace of the tests: what is cut here is cut as by a cable, and
// nothing outside notices.
//
// Method    a socket belongs for ever to the namespace in which its thread stood when it was made:
//           so a test dials into a namespace by entering it for the time of one call.
// Limits    needs root, and the package iproute2. What a killed run left is removed by the next.
// See       NodeNetwork.

import Foundation

final class NetworkSpace: Sendable {
    private static let prefix = "posthouse-"
    let name: String
    private let descriptor: Int32

    /// - Parameter role: says which of this process it is.
    init(_ role: String) throws {
        self.name = "\(Self.prefix)\(getpid())-\(role)"
        try Self.ip("netns", "add", self.name)
        self.descriptor = open("/run/netns/\(self.name)", O_RDONLY | O_CLOEXEC)
        guard self.descriptor >= 0 else { throw Failure("\(self.name): errno \(errno)") }
        try self.ip("link", "set", "lo", "up")
    }

    deinit {
        close(self.descriptor)
        do {
            try Self.ip("netns", "del", self.name)
        } catch {
            print("cannot remove \(self.name): \(error)")
        }
    }

    static var isPossible: Bool { geteuid() == 0 }

    /// Removes what processes of earlier runs left, which were killed.
    static func removeOrphans() throws {
        let folder = "/run/netns"
        guard FileManager.default.fileExists(atPath: folder) else { return }
        for name in try FileManager.default.contentsOfDirectory(atPath: folder)
        where name.hasPrefix(Self.prefix) {
            let pid = name.dropFirst(Self.prefix.count).prefix { $0.isNumber }
            guard let pid = pid_t(pid), kill(pid, 0) != 0, errno == ESRCH else { continue }
            for process in try Self.ip("netns", "pids", name).split(separator: "\n") {
                if let process = pid_t(process) { kill(process, SIGKILL) }
            }
            try Self.ip("netns", "del", name)
        }
    }

    /// A program that waits for the end of this process, then ends all that lives in `spaces`, and
    /// removes them.
    static func keeper(of spaces: [NetworkSpace]) throws -> ChildProcess {
        let script = """
            trap '' INT TERM HUP
            cat >/dev/null
            for space in "$@"; do
                for process in $(ip netns pids "$space"); do kill -9 "$process"; done
                ip netns del "$space"
            done 2>/dev/null
            """
        return try ChildProcess(
            "sh", ["-c", script, "keeper"] + spaces.map(\.name), keepsInput: true)
    }

    @discardableResult
    static func ip(_ arguments: String...) throws -> String { try Self.call("ip", arguments) }

    /// `ip` in this namespace.
    @discardableResult
    func ip(_ arguments: String...) throws -> String {
        try Self.call("ip", ["-n", self.name] + arguments)
    }

    /// A program in this namespace, that ends by itself; its output.
    @discardableResult
    func call(_ arguments: String...) throws -> String { try self.call(arguments) }

    @discardableResult
    func call(_ arguments: [String]) throws -> String {
        let whole = self.entering + arguments
        return try Self.call(whole[0], Array(whole.dropFirst()))
    }

    private static func call(_ program: String, _ arguments: [String]) throws -> String {
        let ended = try run(program, arguments)
        guard ended.status == 0 else {
            let line = ([program] + arguments).joined(separator: " ")
            throw Failure("\(line): \(ended.errorText)")
        }
        return ended.outputText
    }

    /// What stands before a program that is to live here; it becomes that program.
    var entering: [String] { ["nsenter", "--net=/run/netns/\(self.name)"] }

    /// A socket of this namespace.
    func socket(_ kind: Int32) throws -> Int32 {
        let home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)
        guard home >= 0 else { throw Failure("/proc/thread-self/ns/net: errno \(errno)") }
        defer { close(home) }
        guard let enter = Self.enter else { throw Failure("there is no setns") }
        guard enter(self.descriptor, Self.network) == 0 else {
            throw Failure("setns \(self.name): errno \(errno)")
        }
        let made = Glibc.socket(AF_INET, kind, 0)
        // A thread that stays would take later sockets with it.
        guard enter(home, Self.network) == 0 else { fatalError("setns: errno \(errno)") }
        return made
    }

    /// setns(2), which Swift's Glibc does not show.
    private static let enter: (@convention(c) (Int32, Int32) -> Int32)? =
        dlsym(nil, "setns").map {
            unsafeBitCast($0, to: (@convention(c) (Int32, Int32) -> Int32).self)
        }
    /// `CLONE_NEWNET`.
    private static let network: Int32 = 0x4000_0000
}
