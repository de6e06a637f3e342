// NodeProcess.swift - a node as a child process of the demo.
//
// Never     outlives the demo: its standard input is a socket whose other end only the demo holds,
//           and it ends when that ends, however the demo ends (`serve --until-input-ends`).
// Threads   one of `reapers` waits for each child.

import Glibc
import NIOPosix
import Primitives
import Synchronization

/// Starts nodes, and knows which run.
final class NodeProcesses: Sendable {
    /// How a child has ended.
    struct End: Sendable {
        var place: Int
        var pid: pid_t
        /// "exit code 70", "signal 9".
        var text: String
    }

    private let nodes: [DemoNode]
    private let program: String
    private let lifeline: (read: Int32, write: Int32)
    private let reapers: NIOThreadPool
    /// By place; nil: does not run.
    private let pids: Mutex<[pid_t?]>
    private let ended: @Sendable (End) -> Void

    /// - Parameter ended: called on a thread of its own when a child has ended.
    init(
        _ nodes: [DemoNode], ended: @escaping @Sendable (End) -> Void
    ) throws(DemoFailure) {
        var ends: [Int32] = [0, 0]
        // A pair of sockets, not a pipe: closed in other children from its first instant.
        let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
        guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else {
            throw DemoFailure(74, "no pipe for the nodes: \(DemoFolder.reason())")
        }
        self.lifeline = (ends[0], ends[1])
        self.program = try Self.ownProgram()
        self.nodes = nodes
        self.pids = Mutex(nodes.map { _ in nil })
        self.ended = ended
        self.reapers = NIOThreadPool(numberOfThreads: nodes.count)
        self.reapers.start()
    }

    static func ownProgram() throws(DemoFailure) -> String {
        var bytes = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink("/proc/self/exe", &bytes, bytes.count)
        guard count > 0 else {
            throw DemoFailure(70, "cannot find this program: \(DemoFolder.reason())")
        }
        return String(decoding: bytes.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// By place; nil: does not run.
    var running: [pid_t?] { self.pids.withLock { $0 } }

    /// Starts the node unless it runs.
    func start(_ place: Int) throws(DemoFailure) {
        guard self.running[place] == nil else { return }
        let pid = try self.spawn(self.nodes[place])
        self.pids.withLock { $0[place] = pid }
        self.reapers.submit { _ in
            var status: Int32 = 0
            while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
            self.pids.withLock { $0[place] = nil }
            let number = status & 0x7F
            let text = number == 0 ? "exit code \((status >> 8) & 0xFF)" : "signal \(number)"
            self.ended(End(place: place, pid: pid, text: text))
        }
    }

    private func spawn(_ node: DemoNode) throws(DemoFailure) -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, self.lifeline.read, STDIN_FILENO)
        let flags = O_WRONLY | O_CREAT | O_APPEND
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, node.logPath, flags, 0o600)
        posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        var all = sigset_t()
        sigfillset(&all)
        posix_spawnattr_setsigdefault(&attributes, &all)
        // A group of its own: Ctrl-C is for the demo, which ends the nodes in order.
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(
            &attributes,
            Int16(POSIX_SPAWN_SETSIGMASK) | Int16(POSIX_SPAWN_SETSIGDEF)
                | Int16(POSIX_SPAWN_SETPGROUP))
        let words = [
            self.program, "serve", "--config", node.settingsPath, "--until-input-ends",
        ]
        let argv: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        defer { for word in argv { free(word) } }
        var pid: pid_t = 0
        let code = posix_spawn(&pid, self.program, &actions, &attributes, argv, environ)
        guard code == 0 else {
            throw DemoFailure(
                70, "cannot start node \(node.name): \(String(cString: strerror(code)))")
        }
        return pid
    }

    func signal(_ number: Int32) {
        // Under the lock: a number that has been reaped may be somebody else's.
        self.pids.withLock { pids in
            for case let pid? in pids { kill(pid, number) }
        }
    }

    /// When all have ended.
    func shutdown() async throws {
        try await self.reapers.shutdownGracefully()
        close(self.lifeline.read)
        close(self.lifeline.write)
    }
}
