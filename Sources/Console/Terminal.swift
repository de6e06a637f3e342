// Terminal.swift - what commands read and write; tests give another.
//
// Data goes to stdout, messages to stderr, one line each.

import Glibc

/// The process's streams, as commands see them.
package struct Terminal: Sendable {
    /// Bytes to stdout.
    package var writeBytes: @Sendable ([UInt8]) -> Void
    /// One line to stderr, without its end.
    package var tell: @Sendable (String) -> Void
    /// Whether a person sits at stdin.
    package var isInteractive: Bool
    /// Asks on stderr, and reads one line from stdin; nil at its end.
    package var ask: @Sendable (String) -> String?
    /// As `ask`, without showing what is typed.
    package var askSecret: @Sendable (String) -> String?
    /// All of stdin; nil: more than that many bytes, or a read error.
    package var readInput: @Sendable (_ limit: Int) -> [UInt8]?
    package var environment: @Sendable (String) -> String?
    /// Wall clock, milliseconds since 1970.
    package var now: @Sendable () -> Int64

    package init(
        writeBytes: @escaping @Sendable ([UInt8]) -> Void,
        tell: @escaping @Sendable (String) -> Void,
        isInteractive: Bool, ask: @escaping @Sendable (String) -> String?,
        askSecret: @escaping @Sendable (String) -> String?,
        readInput: @escaping @Sendable (Int) -> [UInt8]?,
        environment: @escaping @Sendable (String) -> String?,
        now: @escaping @Sendable () -> Int64
    ) {
        self.writeBytes = writeBytes
        self.tell = tell
        self.isInteractive = isInteractive
        self.ask = ask
        self.askSecret = askSecret
        self.readInput = readInput
        self.environment = environment
        self.now = now
    }

    /// Text to stdout.
    package func write(_ text: String) { self.writeBytes(Array(text.utf8)) }

    /// The terminal of the command that runs.
    @TaskLocal package static var current = Terminal.system

    /// That of the process.
    package static let system = Terminal(
        writeBytes: { Self.put($0, to: STDOUT_FILENO) },
        tell: { Self.put(Array(($0 + "\n").utf8), to: STDERR_FILENO) },
        isInteractive: isatty(STDIN_FILENO) == 1,
        ask: { question in
            Self.put(Array(question.utf8), to: STDERR_FILENO)
            return readLine()
        },
        askSecret: { Self.readSecret($0) },
        readInput: { Self.readAll(limit: $0) },
        environment: { name in getenv(name).map { String(cString: $0) } },
        now: {
            var time = timespec()
            clock_gettime(CLOCK_REALTIME, &time)
            return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
        })

    /// A reader that went away (`| head`) ends the process by SIGPIPE, or the write here.
    private static func put(_ bytes: [UInt8], to file: Int32) {
        var offset = 0
        while offset < bytes.count {
            let count = bytes.withUnsafeBytes { all in
                Glibc.write(file, all.baseAddress.map { $0 + offset }, all.count - offset)
            }
            if count < 0 && errno == EINTR { continue }
            if count <= 0 { return }
            offset += count
        }
    }

    private static func readAll(limit: Int) -> [UInt8]? {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = Glibc.read(STDIN_FILENO, &chunk, chunk.count)
            if count < 0 && errno == EINTR { continue }
            if count < 0 { return nil }
            if count == 0 { return bytes }
            bytes += chunk[0..<count]
            if bytes.count > limit { return nil }
        }
    }

    private static func readSecret(_ question: String) -> String? {
        Self.put(Array(question.utf8), to: STDERR_FILENO)
        var before = termios()
        guard tcgetattr(STDIN_FILENO, &before) == 0 else { return readLine() }
        var silent = before
        silent.c_lflag &= ~tcflag_t(ECHO)
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent)
        defer {
            tcsetattr(STDIN_FILENO, TCSAFLUSH, &before)
            Self.put([10], to: STDERR_FILENO)
        }
        return readLine()
    }
}
