import Foundation
import NIOCore
import NIOEmbedded
import NIOPosix
import OpenSSL
import Primitives
import Programs
import Synchronization
import Testing

@testable import Networking

/// Answers each line with itself; ends the channel on QUIT.
private final class LineEcho: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer
    private var line = ""
    private let noted: Shared<[TLSEvent]>?

    init(_ noted: Shared<[TLSEvent]>? = nil) { self.noted = noted }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.line += String(buffer: Self.unwrapInboundIn(data))
        while let end = self.line.firstIndex(of: "\n") {
            let text = String(self.line[...end])
            self.line = String(self.line[self.line.index(after: end)...])
            context.writeAndFlush(Self.wrapOutboundOut(ByteBuffer(string: text)), promise: nil)
            if text.hasPrefix("QUIT") { context.close(promise: nil) }
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let event = event as? TLSEvent { self.noted?.change { $0.append(event) } }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {}
}

/// A value behind a lock.
final class Shared<Value: Sendable>: Sendable {
    private let value: Mutex<Value>
    init(_ value: Value) { self.value = Mutex(value) }
    func change(_ body: (inout Value) -> Void) { self.value.withLock { body(&$0) } }
    var now: Value { self.value.withLock { $0 } }
}

@Suite("Sockets", .timeLimit(.minutes(1)))
struct SocketTests {
    private static let loop = MultiThreadedEventLoopGroup.singleton.next()
    private let loopback = IPAddress("127.0.0.1")!

    private func listen(
        _ initializer: @escaping @Sendable (any Channel) throws -> Void
    ) async throws -> Networking.Listener {
        try await Listener.bind(
            self.loopback, port: 0, on: Self.loop, children: Self.loop, initializer: initializer
        ).get()
    }

    @Test func `a port that is taken is named with a remedy`() async throws {
        let listener = try await self.listen { _ in }
        #expect(listener.port > 0)
        #expect(listener.address == self.loopback)
        let failure = await #expect(throws: ListenFailure.self) {
            try await Listener.bind(
                self.loopback, port: listener.port, on: Self.loop, children: Self.loop
            ) { _ in }.get()
        }
        #expect(failure?.label == "listen_in_use")
        #expect(failure?.detail == "127.0.0.1:\(listener.port) is in use")
        let elsewhere = await #expect(throws: ListenFailure.self) {
            try await Listener.bind(
                IPAddress("192.0.2.1")!, port: 0, on: Self.loop, children: Self.loop
            ) { _ in }.get()
        }
        #expect(elsewhere?.label == "listen_no_address")
        try await listener.close().get()
        try await listener.close().get()
    }

    @Test func `what connecting fails with has a kind and a text`() async throws {
        // Bound and not listening: nobody else can take the port meanwhile.
        let held = try HeldPort()
        defer { held.close() }
        let refused = await #expect(throws: DialFailure.self) {
            try await Dialer.connect(
                to: self.loopback, port: held.port, timeout: .seconds(5), on: Self.loop
            ) { _ in }.get()
        }
        #expect(refused == DialFailure(.refused, "Connection refused"))
        #expect(DialFailure(ChannelError.connectTimeout(.seconds(1))).kind == .timedOut)
        let local = await #expect(throws: DialFailure.self) {
            try await Dialer.connect(
                to: self.loopback, port: held.port, from: IPAddress("192.0.2.1"),
                timeout: .seconds(5), on: Self.loop
            ) { _ in }.get()
        }
        #expect(local?.kind == .local)
    }

    @Test func `the source address is the one that was asked for`() async throws {
        let peer = Self.loop.makePromise(of: SocketAddress?.self)
        let listener = try await self.listen { peer.succeed($0.remoteAddress) }
        let source = try #require(IPAddress("127.0.0.7"))
        let channel = try await Dialer.connect(
            to: self.loopback, port: listener.port, from: source, timeout: .seconds(5),
            on: Self.loop
        ) { _ in }.get()
        let seen = try #require(try await peer.futureResult.get())
        #expect(IPAddress(seen) == source)
        #expect(channel.remoteAddress.flatMap { IPAddress($0) } == self.loopback)
        try await channel.close().get()
        try await listener.close().get()
    }

    @Test func `what the peer's kernel has is no longer on the way`() async throws {
        let listener = try await self.listen { channel in
            // Nobody reads: its kernel takes what fits into its window.
            try channel.syncOptions?.setOption(ChannelOptions.autoRead, value: false)
        }
        let channel = try await Dialer.connect(
            to: self.loopback, port: listener.port, timeout: .seconds(5), on: Self.loop
        ) { _ in }.get()
        let idle = try await Self.loop.submit { channel.transmitState() }.get()
        #expect(idle?.isIdle == true)
        let flood = ByteBuffer(repeating: 0x61, count: 32 << 20)
        let busy = try await Self.loop.submit {
            channel.writeAndFlush(flood, promise: nil)
            return channel.transmitState()
        }.get()
        #expect(busy?.isIdle == false)
        try await Self.loop.submit { channel.abort() }.get()
        try await channel.closeFuture.get()
        let after = try await Self.loop.submit { channel.transmitState() }.get()
        #expect(after == nil)
        try await listener.close().get()
    }

    @Test func `an abort is seen as a reset`() async throws {
        let ended = Self.loop.makePromise(of: Void.self)
        let accepted = Self.loop.makePromise(of: Void.self)
        let codes = Shared<[Int32]>([])
        let listener = try await self.listen { channel in
            try channel.pipeline.syncOperations.addHandler(
                ErrorWatch(accepted) { codes.change($0) })
            channel.closeFuture.cascade(to: ended)
        }
        let channel = try await Dialer.connect(
            to: self.loopback, port: listener.port, timeout: .seconds(5), on: Self.loop
        ) { _ in }.get()
        // One that is reset before it is accepted is never seen.
        try await accepted.futureResult.get()
        try await Self.loop.submit {
            channel.writeAndFlush(ByteBuffer(string: "half a mess"), promise: nil)
            channel.abort()
        }.get()
        try await ended.futureResult.get()
        #expect(codes.now == [ECONNRESET])
        try await listener.close().get()
    }

    private final class ErrorWatch: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let accepted: EventLoopPromise<Void>
        private let note: @Sendable ((inout [Int32]) -> Void) -> Void
        init(
            _ accepted: EventLoopPromise<Void>,
            _ note: @escaping @Sendable ((inout [Int32]) -> Void) -> Void
        ) {
            self.accepted = accepted
            self.note = note
        }
        func channelActive(context: ChannelHandlerContext) { self.accepted.succeed() }
        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            if let error = error as? IOError { self.note { $0.append(error.errnoCode) } }
            context.close(promise: nil)
        }
    }

    @Test func `clocks go forward and agree with the system's`() {
        let first = SystemClock.bootTime()
        let second = SystemClock.bootTime()
        #expect(second >= first)
        let wall = Int64(Date().timeIntervalSince1970 * 1000)
        #expect(abs(SystemClock.wallTime().milliseconds - wall) < 5000)
    }
}

/// A program of openssl with its standard input closed after `input`.
private struct OpenSSLProgram {
    let output: String
    let status: Int32

    static func run(_ arguments: [String], input: String, in files: Files) async throws -> Self {
        let inputFile = try files.write("input-\(UUID().uuidString)", input)
        let outputFile = try files.write("output-\(UUID().uuidString)", "")
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
        process.arguments = arguments
        process.standardInput = FileHandle(forReadingAtPath: inputFile)
        let out = FileHandle(forWritingAtPath: outputFile)
        process.standardOutput = out
        process.standardError = out
        let status: Int32 = try await withCheckedThrowingContinuation { continuation in
            process.terminationHandler = { continuation.resume(returning: $0.terminationStatus) }
            do { try process.run() } catch { continuation.resume(throwing: error) }
        }
        return Self(
            output: try String(contentsOfFile: outputFile, encoding: .utf8), status: status)
    }
}

@Suite("TLS with the openssl program", .timeLimit(.minutes(1)))
struct OpenSSLProgramTests {
    private static let loop = MultiThreadedEventLoopGroup.singleton.next()
    private let loopback = IPAddress("127.0.0.1")!
    private let files: Files
    private let ca: String
    private let authority: IssuedCertificate

    init() throws {
        self.files = try Files()
        self.authority = try Files.makeAuthority()
        self.ca = try self.files.write("ca.pem", self.authority.certificate)
    }

    private func serve(
        _ context: TLSServerContext, _ events: Shared<[TLSEvent]>
    ) async throws -> Networking.Listener {
        try await Listener.bind(
            self.loopback, port: 0, on: Self.loop, children: Self.loop
        ) { channel in
            let tls = TLSHandler(
                try context.makeConnection(), handshakeTimeout: .seconds(10))
            try channel.pipeline.syncOperations.addHandlers(tls, LineEcho(events))
        }.get()
    }

    @Test(arguments: [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")])
    func `s_client talks to us, verifies us and is closed with close_notify`(
        option: String, version: String
    ) async throws {
        let a = try self.files.issue(self.authority, "a", hosts: ["a.example"])
        let b = try self.files.issue(self.authority, "b", hosts: ["b.example"])
        let events = Shared<[TLSEvent]>([])
        let listener = try await self.serve(try TLSServerContext([a, b]), events)
        let run = try await OpenSSLProgram.run(
            [
                "s_client", option, "-connect", "127.0.0.1:\(listener.port)", "-ign_eof",
                "-CAfile", self.ca, "-verify_return_error", "-verify_hostname", "b.example",
                "-servername", "b.example", "-state",
            ], input: "hello\nQUIT\n", in: self.files)
        #expect(run.status == 0)
        #expect(run.output.contains("hello\nQUIT\n"))
        #expect(run.output.contains("Verify return code: 0 (ok)"))
        #expect(run.output.contains("SSL3 alert read:warning:close notify"))
        guard case .established(let info)? = events.now.first else {
            Issue.record("no handshake")
            return
        }
        #expect(info.version == version)
        #expect(info.serverName == "b.example")
        #expect(info.peer == .anonymous)
        try await listener.close().get()
    }

    @Test func `TLS 1.1 and renegotiation are refused`() async throws {
        let a = try self.files.issue(self.authority, "a", hosts: ["a.example"])
        let events = Shared<[TLSEvent]>([])
        let listener = try await self.serve(try TLSServerContext([a]), events)
        let old = try await OpenSSLProgram.run(
            [
                "s_client", "-tls1_1", "-cipher", "ALL@SECLEVEL=0", "-connect",
                "127.0.0.1:\(listener.port)",
            ], input: "", in: self.files)
        #expect(old.status != 0)
        #expect(events.now.isEmpty)
        // "R" alone on a line makes s_client ask for another handshake.
        let again = try await OpenSSLProgram.run(
            ["s_client", "-tls1_2", "-connect", "127.0.0.1:\(listener.port)"],
            input: "R\nQ\n", in: self.files)
        #expect(again.output.contains("no renegotiation"))
        try await listener.close().get()
    }

    @Test(arguments: ["-tls1_2", "-tls1_3"])
    func `a ticket makes the next handshake short`(option: String) async throws {
        let a = try self.files.issue(self.authority, "a", hosts: ["a.example"])
        let events = Shared<[TLSEvent]>([])
        let listener = try await self.serve(try TLSServerContext([a]), events)
        let session = "\(self.files.path)/session.pem"
        for flag in ["-sess_out", "-sess_in"] {
            let run = try await OpenSSLProgram.run(
                [
                    "s_client", option, "-connect", "127.0.0.1:\(listener.port)", "-ign_eof",
                    flag, session,
                ], input: "hello\nQUIT\n", in: self.files)
            #expect(run.output.contains("hello\nQUIT\n"))
        }
        let resumed = events.now.compactMap { event -> Bool? in
            guard case .established(let info) = event else { return nil }
            return info.resumed
        }
        #expect(resumed == [false, true])
        try await listener.close().get()
    }

    @Test(
        arguments: [
            ("-tls1_2", "mx.example", nil), ("-tls1_3", "mx.example", nil),
            ("-tls1_3", "other.example", "certificate_name"),
        ] as [(String, String, String?)])
    func `we talk to s_server and check its name`(
        option: String, name: String, fault: String?
    ) async throws {
        let identity = try self.files.issue(self.authority, "mx", hosts: ["mx.example"])
        let options = [
            option, "-rev", "-naccept", "1", "-cert", identity.certificate, "-key", identity.key,
        ]
        try await withOpenSSLServer(options) { try await self.talk(to: $0, name, fault) }
    }

    /// With a server for one connection, that answers each line with itself reversed.
    private func talk(to port: Int, _ name: String, _ fault: String?) async throws {
        let text = Self.loop.makePromise(of: String.self)
        let context = try TLSClientContext(trust: .authority(self.ca))
        let channel = try await Dialer.connect(
            to: self.loopback, port: port, timeout: .seconds(5), on: Self.loop
        ) { channel in
            let tls = TLSHandler(
                try context.makeConnection(serverName: name), handshakeTimeout: .seconds(10))
            try channel.pipeline.syncOperations.addHandlers(tls, FirstLine(text))
        }.get()
        channel.writeAndFlush(ByteBuffer(string: "olleh\n"), promise: nil)
        do {
            let line = try await text.futureResult.get()
            #expect(fault == nil)
            #expect(line == "hello\n")
        } catch let failure as TLSFailure {
            #expect(failure.label.text == fault)
        }
        channel.close(promise: nil)
        try await channel.closeFuture.get()
    }

    @Test func `one direction may end while the other goes on`() async throws {
        let identity = try self.files.issue(self.authority, "mx", hosts: ["mx.example"])
        let server = try TLSServerContext([identity])
        let events = Shared<[TLSEvent]>([])
        let listener = try await Listener.bind(
            self.loopback, port: 0, on: Self.loop, children: Self.loop
        ) { channel in
            try channel.syncOptions?.setOption(ChannelOptions.allowRemoteHalfClosure, value: true)
            let tls = TLSHandler(try server.makeConnection(), handshakeTimeout: .seconds(10))
            try channel.pipeline.syncOperations.addHandlers(tls, LastWord(events))
        }.get()
        let client = try TLSClientContext(trust: .nobody)
        let text = Self.loop.makePromise(of: String.self)
        let channel = try await Dialer.connect(
            to: self.loopback, port: listener.port, timeout: .seconds(5), on: Self.loop
        ) { channel in
            let tls = TLSHandler(
                try client.makeConnection(serverName: nil), handshakeTimeout: .seconds(10))
            try channel.pipeline.syncOperations.addHandlers(
                tls, HangUpWhenEstablished(), FirstLine(text))
        }.get()
        #expect(try await text.futureResult.get() == "last word\n")
        try await channel.closeFuture.get()
        #expect(events.now.count == 2)
        #expect(events.now.last == .peerClosed)
        try await listener.close().get()
    }

    @Test func `a reader that asks for each read gets all, though records come in pieces`()
        async throws
    {
        let identity = try self.files.issue(self.authority, "mx", hosts: ["mx.example"])
        let server = try TLSServerContext([identity])
        let count = Self.loop.makePromise(of: Int.self)
        let answered = Self.loop.makePromise(of: Void.self)
        let listener = try await Listener.bind(
            self.loopback, port: 0, on: Self.loop, children: Self.loop
        ) { channel in
            try channel.syncOptions?.setOption(ChannelOptions.autoRead, value: false)
            let small = FixedSizeRecvByteBufferAllocator(capacity: 1000)
            try channel.syncOptions?.setOption(ChannelOptions.recvAllocator, value: small)
            let tls = TLSHandler(try server.makeConnection(), handshakeTimeout: .seconds(10))
            try channel.pipeline.syncOperations.addHandlers(tls, OneByOne(count))
        }.get()
        let client = try TLSClientContext(trust: .nobody)
        let channel = try await Dialer.connect(
            to: self.loopback, port: listener.port, timeout: .seconds(5), on: Self.loop
        ) { channel in
            let tls = TLSHandler(
                try client.makeConnection(serverName: nil), handshakeTimeout: .seconds(10))
            try channel.pipeline.syncOperations.addHandlers(tls, FirstRead(answered))
        }.get()
        // A close drops what waits for the handshake, so the write comes first.
        try await channel.writeAndFlush(ByteBuffer(repeating: 0x61, count: 200_000)).get()
        // Not closed before: tickets that the client has not read make its kernel send a reset,
        // which would overtake the rest. They come before the answer.
        try await answered.futureResult.get()
        try await channel.close().get()
        #expect(try await count.futureResult.get() == 200_000)
        try await listener.close().get()
    }

    /// Has nothing to say, but listens on.
    private final class HangUpWhenEstablished: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            if let event = event as? TLSEvent, case .established = event {
                context.close(mode: .output, promise: nil)
            }
        }
    }

    /// Answers the end of the client's direction, then ends its own.
    private final class LastWord: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        private let noted: Shared<[TLSEvent]>
        init(_ noted: Shared<[TLSEvent]>) { self.noted = noted }
        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            guard let event = event as? TLSEvent else { return }
            self.noted.change { $0.append(event) }
            guard event == .peerClosed else { return }
            let word = ByteBuffer(string: "last word\n")
            context.writeAndFlush(Self.wrapOutboundOut(word), promise: nil)
            context.close(promise: nil)
        }
    }

    private final class FirstLine: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let promise: EventLoopPromise<String>
        private var text = ""
        init(_ promise: EventLoopPromise<String>) { self.promise = promise }
        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            self.text += String(buffer: Self.unwrapInboundIn(data))
            if self.text.hasSuffix("\n") { self.promise.succeed(self.text) }
        }
        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            self.promise.fail(error)
        }
        func channelInactive(context: ChannelHandlerContext) {
            self.promise.fail(ChannelError.eof)
        }
    }
}
