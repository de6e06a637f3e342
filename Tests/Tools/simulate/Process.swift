// Process.swift - another process of this program, and the lines that it says.

import Glibc

final class Process {
    let number: pid_t
    /// Its standard output and error, both.
    let output: Int32
    private var rest: [UInt8] = []
    private(set) var isAtEnd = false

    /// Nil: it could not be started.
    init?(_ words: [String]) {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { return nil }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 2)
        posix_spawn_file_actions_addclose(&actions, ends[0])
        defer { posix_spawn_file_actions_destroy(&actions) }
        let path = "/proc/self/exe"
        var arguments: [UnsafeMutablePointer<CChar>?] = ([path] + words).map { strdup($0) }
        arguments.append(nil)
        // The trap's own words are enough.
        var environment: [UnsafeMutablePointer<CChar>?] = [
            strdup("SWIFT_BACKTRACE=enable=no"), nil,
        ]
        defer { for text in arguments + environment { free(text) } }
        var id: pid_t = 0
        let code = posix_spawn(&id, path, &actions, nil, &arguments, &environment)
        close(ends[1])
        guard code == 0 else {
            close(ends[0])
            return nil
        }
        self.number = id
        self.output = ends[0]
    }

    /// Waits for something to read. - Returns: whole lines.
    func readLines() -> [String] {
        var buffer = [UInt8](repeating: 0, count: 65536)
        let count = buffer.withUnsafeMutableBytes { read(self.output, $0.baseAddress, $0.count) }
        guard count > 0 else {
            self.isAtEnd = true
            close(self.output)
            defer { self.rest = [] }
            return self.rest.isEmpty ? [] : [String(decoding: self.rest, as: UTF8.self)]
        }
        self.rest += buffer[..<count]
        var lines: [String] = []
        var start = 0
        for i in self.rest.indices where self.rest[i] == UInt8(ascii: "\n") {
            lines.append(String(decoding: self.rest[start..<i], as: UTF8.self))
            start = i + 1
        }
        self.rest.removeFirst(start)
        return lines
    }

    func end() { kill(self.number, SIGKILL) }

    /// After the end of its output. - Returns: the exit code; 128 and more: by a signal.
    func wait() -> Int32 {
        var status: Int32 = 0
        waitpid(self.number, &status, 0)
        let signal = status & 0x7F
        return signal == 0 ? (status >> 8) & 0xFF : 128 + signal
    }

    /// Waits until one of them has something to read. - Returns: which.
    static func ready(_ all: [Process]) -> [Process] {
        var polls = all.map { pollfd(fd: $0.output, events: Int16(POLLIN), revents: 0) }
        _ = poll(&polls, nfds_t(polls.count), -1)
        return zip(all, polls).filter { $0.1.revents != 0 }.map { $0.0 }
    }
}
