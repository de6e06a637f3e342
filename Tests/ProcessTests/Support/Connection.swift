// Connection.swift - blocking TCP on loopback, with a deadline on every wait.

import Foundation

/// One end of a TCP connection.
final class Connection: @unchecked Sendable {  // used by one thread at a time
    static let bytesMax = 64 << 10
    private var descriptor: Int32
    private var pending: [UInt8] = []
    private var pendingStart = 0
    /// How long a read or write may wait.
    var seconds = 20.0
    /// How the stream ended.
    private(set) var hangUp = "the server hung up"

    init(adopting descriptor: Int32) {
        self.descriptor = descriptor
        var on: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, 4)
    }

    /// - Parameters:
    ///   - space: the network in which it is dialed; nil: this process's own.
    ///   - seconds: how long the other end may take to answer.
    convenience init(
        port: Int, address: String = "127.0.0.1", space: NetworkSpace? = nil, seconds: Double = 20
    ) throws {
        let descriptor = try streamSocket(in: space)
        let code = Self.connect(descriptor, socketAddress(address, port), seconds)
        guard code == 0 else {
            Glibc.close(descriptor)
            throw Failure("connect to \(address):\(port): errno \(code)")
        }
        self.init(adopting: descriptor)
    }

    /// 0, or why not.
    private static func connect(
        _ descriptor: Int32, _ address: sockaddr_in, _ seconds: Double
    ) -> Int32 {
        let flags = fcntl(descriptor, F_GETFL)
        _ = fcntl(descriptor, F_SETFL, flags | O_NONBLOCK)
        defer { _ = fcntl(descriptor, F_SETFL, flags) }
        var target = address
        let result = withUnsafePointer(to: &target) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        if result == 0 { return 0 }
        guard errno == EINPROGRESS else { return errno }
        let end = now() + seconds
        var entry = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        while poll(&entry, 1, Int32(max(0, end - now()) * 1000)) <= 0 {
            if now() >= end { return ETIMEDOUT }
        }
        var code: Int32 = 0
        var size = socklen_t(4)
        getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &size)
        return code
    }

    deinit { self.close() }

    /// Whoever reads or writes there sees the end. From any thread, while the owner keeps it.
    func endBothWays() { shutdown(self.descriptor, Int32(SHUT_RDWR)) }

    func close() {
        if self.descriptor >= 0 { Glibc.close(self.descriptor) }
        self.descriptor = -1
    }

    /// Ends the connection with RST.
    func reset() {
        guard self.descriptor >= 0 else { return }
        var option = linger(l_onoff: 1, l_linger: 0)
        setsockopt(
            self.descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
        self.close()
    }

    /// The other end's port.
    var peerPort: Int? {
        var target = sockaddr_in()
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &target) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                getpeername(self.descriptor, $0, &size)
            }
        }
        return result == 0 ? Int(in_port_t(bigEndian: target.sin_port)) : nil
    }

    /// Whether a read would not wait: bytes, or the end.
    var hasInput: Bool {
        if self.pendingStart < self.pending.count { return true }
        var entry = pollfd(fd: self.descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&entry, 1, 0) > 0
    }

    /// Wakes a thread that waits in a read here; the descriptor stays until `close`.
    func interrupt() {
        if self.descriptor >= 0 { shutdown(self.descriptor, Int32(SHUT_RDWR)) }
    }

    private func wait(_ events: Int32, _ deadline: Double) throws {
        var entry = pollfd(fd: self.descriptor, events: Int16(events), revents: 0)
        while true {
            let left = deadline - now()
            guard left > 0 else { throw Failure("no answer within \(self.seconds) s") }
            let count = poll(&entry, 1, Int32(left * 1000) + 1)
            if count > 0 { return }
        }
    }

    func send(_ text: String) throws { try self.send(Array(text.utf8)) }

    func send(_ bytes: some Collection<UInt8>) throws {
        let bytes = Array(bytes)
        let deadline = now() + self.seconds
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.send(
                    self.descriptor, $0.baseAddress! + sent, bytes.count - sent,
                    Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
            }
            if count >= 0 {
                sent += count
            } else if errno == EAGAIN {
                try self.wait(POLLOUT, deadline)
            } else {
                throw Failure("send: errno \(errno)")
            }
        }
    }

    /// What has arrived, at least one byte; nil at the end of the stream or after a reset.
    func receive() throws -> [UInt8]? {
        if self.pendingStart < self.pending.count {
            defer { self.drop() }
            return Array(self.pending[self.pendingStart...])
        }
        return try self.fill(deadline: now() + self.seconds) ? try self.receive() : nil
    }

    private func drop() {
        self.pending.removeAll(keepingCapacity: true)
        self.pendingStart = 0
    }

    private func fill(deadline: Double) throws -> Bool {
        if self.pendingStart == self.pending.count { self.drop() }
        try self.wait(POLLIN, deadline)
        var chunk = [UInt8](repeating: 0, count: Self.bytesMax)
        let count = recv(self.descriptor, &chunk, chunk.count, 0)
        if count <= 0 {
            self.hangUp = count == 0 ? "the server hung up" : "the server hung up: errno \(errno)"
            return false
        }
        self.pending.append(contentsOf: chunk[..<count])
        return true
    }

    /// The next line without its end; nil at the end of the stream.
    func line() throws -> String? {
        try self.lineBytes().map { String(decoding: $0, as: UTF8.self) }
    }

    func lineBytes() throws -> [UInt8]? {
        let deadline = now() + self.seconds
        var searched = self.pendingStart
        while true {
            if let end = self.pending[searched...].firstIndex(of: 0x0A) {
                var line = self.pending[self.pendingStart..<end]
                if line.last == 0x0D { line.removeLast() }
                self.pendingStart = end + 1
                return Array(line)
            }
            searched = self.pending.count
            let before = self.pendingStart
            guard try self.fill(deadline: deadline) else { return nil }
            if self.pendingStart != before { searched = 0 }
        }
    }
}

/// Accepts on a loopback address and hands each connection to a thread of its own.
final class Listener: @unchecked Sendable {  // `connections` and `isOpen` guard themselves
    let port: Int
    private let descriptor: Int32
    private let connections = Shared<[Connection]>([])
    private let isOpen = Shared(true)

    init(
        address: String = "127.0.0.1", port: Int = 0, space: NetworkSpace? = nil,
        _ handle: @escaping @Sendable (Connection) -> Void
    ) throws {
        let descriptor = try streamSocket(in: space)
        self.descriptor = descriptor
        var on: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, 4)
        self.port = try bound(descriptor, address, port)
        guard listen(descriptor, 1024) == 0 else { throw Failure("listen: errno \(errno)") }
        Thread.detachNewThread { [connections, isOpen] in
            while true {
                let client = accept(descriptor, nil, nil)
                if client < 0 {
                    if errno == EINTR || errno == ECONNABORTED { continue }
                    return
                }
                _ = fcntl(client, F_SETFD, FD_CLOEXEC)
                let connection = Connection(adopting: client)
                connections.with { $0.append(connection) }
                guard isOpen.current else { return connection.close() }
                Thread.detachNewThread {
                    handle(connection)
                    connections.with { all in all.removeAll { $0 === connection } }
                }
            }
        }
    }

    deinit { self.stop() }

    /// No new connections, and the present ones end.
    func stop() {
        guard
            self.isOpen.with({ open in
                defer { open = false }
                return open
            })
        else { return }
        shutdown(self.descriptor, Int32(SHUT_RDWR))
        Glibc.close(self.descriptor)
        for connection in self.connections.current { connection.interrupt() }
    }
}

/// Closed in children.
func streamSocket(in space: NetworkSpace?) throws -> Int32 {
    let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
    return try space?.socket(kind) ?? socket(AF_INET, kind, 0)
}

func socketAddress(_ address: String, _ port: Int) -> sockaddr_in {
    var target = sockaddr_in()
    target.sin_family = sa_family_t(AF_INET)
    target.sin_port = in_port_t(port).bigEndian
    inet_pton(AF_INET, address, &target.sin_addr)
    return target
}

/// Binds, and says to which port.
func bound(_ descriptor: Int32, _ address: String, _ port: Int) throws -> Int {
    var target = socketAddress(address, port)
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let result = withUnsafeMutablePointer(to: &target) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            bind(descriptor, $0, size) == 0 && getsockname(descriptor, $0, &size) == 0
        }
    }
    guard result else { throw Failure("bind to \(address):\(port): errno \(errno)") }
    return Int(in_port_t(bigEndian: target.sin_port))
}
