// Wake.swift - one thread waits, with a limit, until another has something for it.

import Glibc
import Primitives

/// A pipe of which only the fact counts that there is something in it.
final class Wake: Sendable {
    private let reader: Int32
    private let writer: Int32

    init() {
        var ends: [Int32] = [0, 0]
        invariant(pipe(&ends) == 0, "a pipe for the log")
        self.reader = ends[0]
        self.writer = ends[1]
        for end in ends {
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
        }
    }

    deinit {
        close(self.reader)
        close(self.writer)
    }

    /// A full pipe wakes too.
    func signal() {
        var byte: UInt8 = 1
        _ = write(self.writer, &byte, 1)
    }

    func wait(atMost duration: Duration) {
        var poller = pollfd(fd: self.reader, events: Int16(POLLIN), revents: 0)
        guard poll(&poller, 1, Int32(duration.inMilliseconds)) > 0 else { return }
        var bytes = [UInt8](repeating: 0, count: 512)
        while read(self.reader, &bytes, bytes.count) > 0 {}
    }
}
