// ChildProcess.swift - runs a program, reads its output, ends it.

import Foundation

/// A program that runs, with what it has written so far.
final class ChildProcess: @unchecked Sendable {  // `state` guards itself
    struct State {
        var output: [UInt8] = []
        var errors: [UInt8] = []
        var openPipes = 2
        /// The exit code, or 128 + the signal.
        var status: Int?

        var errorText: String { String(decoding: self.errors, as: UTF8.self) }
        var outputText: String { String(decoding: self.output, as: UTF8.self) }
    }

    let pid: pid_t
    let name: String
    let state = Shared(State())

    /// - Parameters:
    ///   - input: written to standard input, which then ends.
    ///   - keepsInput: standard input ends only with this process.
    init(
        _ program: String, _ arguments: [String], input: [UInt8] = [], keepsInput: Bool = false,
        environment: [String: String] = [:]
    ) throws {
        self.name = ([program] + arguments).joined(separator: " ")
        var pipes: [Int32] = []
        for _ in 0..<3 {
            var ends: [Int32] = [0, 0]
            // A pair of sockets, not a pipe: closed in other children from its first instant.
            let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
            guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else {
                throw Failure("socketpair: errno \(errno)")
            }
            pipes += ends
        }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_adddup2(&actions, pipes[0], 0)
        posix_spawn_file_actions_adddup2(&actions, pipes[3], 1)
        posix_spawn_file_actions_adddup2(&actions, pipes[5], 2)
        // The thread that starts it may block signals; the child must not.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        var usual = sigset_t()
        sigfillset(&usual)
        posix_spawnattr_setsigdefault(&attributes, &usual)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETSIGMASK) | Int16(POSIX_SPAWN_SETSIGDEF))
        var variables = ProcessInfo.processInfo.environment
        variables.merge(environment) { $1 }
        let argv = ([program] + arguments).map { strdup($0) } + [nil]
        let envp = variables.map { strdup("\($0)=\($1)") } + [nil]
        var pid: pid_t = 0
        let code = posix_spawnp(&pid, program, &actions, &attributes, argv, envp)
        for text in argv + envp { free(text) }
        posix_spawn_file_actions_destroy(&actions)
        posix_spawnattr_destroy(&attributes)
        for end in [pipes[0], pipes[3], pipes[5]] { Glibc.close(end) }
        guard code == 0 else {
            for end in [pipes[1], pipes[2], pipes[4]] { Glibc.close(end) }
            throw Failure("cannot start \(program): errno \(code)")
        }
        let child = pid
        self.pid = child
        self.collect(pipes[2]) { $0.output += $1 }
        self.collect(pipes[4]) { $0.errors += $1 }
        let state = self.state
        Thread.detachNewThread {
            var status: Int32 = 0
            while waitpid(child, &status, 0) < 0 && errno == EINTR {}
            let signal = status & 0x7F
            state.with { $0.status = signal == 0 ? Int((status >> 8) & 0xFF) : 128 + Int(signal) }
        }
        let inputEnd = pipes[1]
        Thread.detachNewThread {
            writeAll(input, to: inputEnd)
            if !keepsInput { Glibc.close(inputEnd) }
        }
    }

    private func collect(_ end: Int32, _ add: @escaping @Sendable (inout State, [UInt8]) -> Void) {
        let state = self.state
        Thread.detachNewThread {
            var chunk = [UInt8](repeating: 0, count: 64 << 10)
            while true {
                let count = read(end, &chunk, chunk.count)
                if count < 0 && errno == EINTR { continue }
                if count <= 0 { break }
                let bytes = Array(chunk[..<count])
                state.with { add(&$0, bytes) }
            }
            Glibc.close(end)
            state.with { $0.openPipes -= 1 }
        }
    }

    var isRunning: Bool { self.state.current.status == nil }

    func signal(_ number: Int32) {
        if self.isRunning { Glibc.kill(self.pid, number) }
    }

    /// Waits for the end, and for all of its output.
    ///
    /// - Throws: when it has not ended within `seconds`; it is killed then.
    @discardableResult
    func wait(seconds: Double) throws -> State {
        let ended = self.state.wait(seconds: seconds) {
            $0.status != nil && $0.openPipes == 0 ? $0 : nil
        }
        if let ended { return ended }
        Glibc.kill(self.pid, SIGKILL)
        throw Failure("\(self.name) did not end within \(seconds) s")
    }

    deinit {
        if self.isRunning { Glibc.kill(self.pid, SIGKILL) }
    }
}

/// Writes what the reader takes; a reader that has gone is not a fault here.
private func writeAll(_ bytes: [UInt8], to end: Int32) {
    var sent = 0
    while sent < bytes.count {
        let count = bytes.withUnsafeBytes {
            send(end, $0.baseAddress! + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
        }
        if count < 0 && errno == EINTR { continue }
        if count <= 0 { return }
        sent += count
    }
}

/// Runs a program to its end.
@discardableResult
func run(
    _ program: String, _ arguments: [String], input: String = "", seconds: Double = 60,
    environment: [String: String] = [:]
) throws -> ChildProcess.State {
    try ChildProcess(program, arguments, input: Array(input.utf8), environment: environment)
        .wait(seconds: seconds)
}

/// A test that needs a program fails without it, and says which package has it.
func need(_ name: String, package: String) throws {
    guard hasProgram(name) else { throw Failure("\(name) is missing: apt-get install \(package)") }
}

/// Whether a program is on the path: for tools that a machine may lack.
func hasProgram(_ name: String) -> Bool {
    let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin"
    return (path.split(separator: ":") + ["/usr/sbin", "/usr/bin"]).contains {
        access("\($0)/\(name)", X_OK) == 0
    }
}

/// A folder that goes with its owner.
final class Folder: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/posthouse-test.XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure("mkdtemp: errno \(errno)") }
        self.path = String(
            decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    @discardableResult
    func write(_ name: String, _ text: String) throws -> String {
        let path = self.path + "/" + name
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        return path
    }

    deinit {
        do {
            try FileManager.default.removeItem(atPath: self.path)
        } catch {
            print("cannot remove \(self.path): \(error)")
        }
    }
}
