import NIOCore
import NIOPosix
import Networking
import OpenSSL
import Primitives
import Synchronization
import Testing

/// A server on loopback that answers as it is told and notes what it was sent.
final class ScriptedServer: Sendable {
    /// What a server does about a line, or about a message.
    enum Answer: Sendable {
        case say(String)
        /// The raw bytes, without CRLF.
        case raw(String)
        case close
        case silence
        /// A reply that is held back until the next command has come.
        case hold(String)
    }
    struct Behaviour: Sendable {
        var greeting: Answer = .say("220 sink.example")
        var keywords = ["PIPELINING", "8BITMIME", "SIZE 50000000", "DSN"]
        /// Nil: the usual answer.
        var command: @Sendable (String) -> Answer? = { _ in nil }
        /// By the number of the message at this server, from 1.
        var startTLS = "220 go\r\n"
        /// STARTTLS works with it.
        var tls: TLSServerContext?
        var message: @Sendable (Int) -> Answer = { _ in .say("250 2.0.0 taken") }
        /// By the number of the message: behind 354 nothing is read for this long, and the kernel
        /// takes only a little; nil: it is read at once.
        var pausesReading: @Sendable (Int) -> TimeAmount? = { _ in nil }
        /// What the kernel takes unread; nil: as it likes.
        var receiveBytes: Int?
        init() {}
    }
    struct Notes: Sendable {
        var connections = 0
        var open = 0
        /// The most that were open at once. One that the client has closed counts until we see it.
        var openMost = 0
        /// Transactions from MAIL to the answer to the final dot.
        var busy = 0
        /// The most that ran at once: never more than the client has connections.
        var busyMost = 0
        /// All command lines, in order of arrival.
        var lines: [String] = []
        /// Dots unstuffed, without the final one.
        var messages: [String] = []
    }

    private let notes = Mutex(Notes())
    private let channel: any Channel
    let address: IPAddress
    let port: Int

    var seen: Notes { self.notes.withLock { $0 } }

    static func start(
        _ behaviour: Behaviour = Behaviour(), address: String = "127.0.0.1", port: Int = 0
    ) async throws -> ScriptedServer {
        let box = Box()
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(ChannelOptions.socketOption(.so_reuseaddr), value: 1)
            .serverChannelInitializer { channel in
                // Before it listens: connections inherit it, and the window's scale with it.
                guard let bytes = behaviour.receiveBytes else {
                    return channel.eventLoop.makeSucceededVoidFuture()
                }
                return channel.setOption(ChannelOptions.socketOption(.so_rcvbuf), value: bytes)
            }
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        ScriptedSession(behaviour) { body in
                            box.server.withLock { $0 }?.notes.withLock { body(&$0) }
                        })
                }
            }
            .bind(host: address, port: port).get()
        let server = ScriptedServer(channel, IPAddress(address)!)
        box.server.withLock { $0 = server }
        return server
    }

    /// Two servers with one port on two addresses; the first one behaves as told. The system may
    /// have given the port to somebody on the second address: then another is taken.
    static func startTwo(
        _ behaviour: Behaviour
    ) async throws -> (first: ScriptedServer, second: ScriptedServer) {
        for _ in 0..<20 {
            let first = try await Self.start(behaviour)
            do {
                let second = try await Self.start(address: "127.0.0.2", port: first.port)
                return (first, second)
            } catch {
                try await first.stop()
            }
        }
        return (try await Self.start(behaviour), try await Self.start(address: "127.0.0.2"))
    }

    private final class Box: Sendable {
        let server = Mutex<ScriptedServer?>(nil)
    }

    private init(_ channel: any Channel, _ address: IPAddress) {
        self.channel = channel
        self.address = address
        self.port = channel.localAddress?.port ?? 0
    }

    func stop() async throws { try await self.channel.close().get() }
}

private final class ScriptedSession: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let behaviour: ScriptedServer.Behaviour
    private let note: ((inout ScriptedServer.Notes) -> Void) -> Void
    private var inbound = ByteBuffer()
    private var message: String?
    private var held: String?

    init(
        _ behaviour: ScriptedServer.Behaviour,
        _ note: @escaping ((inout ScriptedServer.Notes) -> Void) -> Void
    ) {
        self.behaviour = behaviour
        self.note = note
    }

    func channelActive(context: ChannelHandlerContext) {
        self.note {
            $0.connections += 1
            $0.open += 1
            $0.openMost = max($0.openMost, $0.open)
        }
        self.answer(self.behaviour.greeting, context)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.note { $0.open -= 1 }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = Self.unwrapInboundIn(data)
        self.inbound.writeBuffer(&bytes)
        while let end = self.inbound.readableBytesView.firstIndex(of: 0x0A) {
            guard let line = self.inbound.readString(length: end - self.inbound.readerIndex - 1)
            else { return }
            self.inbound.moveReaderIndex(forwardBy: 2)
            self.take(line, context)
        }
        self.inbound.discardReadBytes()
    }

    private func take(_ line: String, _ context: ChannelHandlerContext) {
        if let held {
            self.held = nil
            self.answer(.say(held), context)
        }
        guard self.message != nil else {
            self.command(line, context)
            return
        }
        if line == ".", let message = self.message {
            self.message = nil
            var count = 0
            self.note {
                $0.messages.append(message)
                $0.busy -= 1
                count = $0.messages.count
            }
            self.answer(self.behaviour.message(count), context)
        } else {
            let isStuffed = line.utf8.first == UInt8(ascii: ".")
            self.message?.append(isStuffed ? String(line.dropFirst()) : line)
            self.message?.append("\r\n")
        }
    }

    private func command(_ line: String, _ context: ChannelHandlerContext) {
        self.note { $0.lines.append(line) }
        if let special = self.behaviour.command(line) {
            if case .say(let text) = special, text.hasPrefix("354") { self.message = "" }
            self.answer(special, context)
            return
        }
        let verb = String(line.prefix(4)).uppercased()
        switch verb {
        case "STAR":
            guard let tls = self.behaviour.tls else {
                self.answer(.say("502 no"), context)
                return
            }
            self.answer(.raw(self.behaviour.startTLS), context)
            self.inbound.clear()
            do {
                try context.startTLS(tls.makeConnection(), handshakeTimeout: .seconds(5))
            } catch {
                Issue.record("\(error)")
            }
        case "EHLO", "LHLO":
            let all = ["sink.example"] + self.behaviour.keywords
            let lines = all.enumerated().map {
                "250\($0.offset + 1 == all.count ? " " : "-")\($0.element)"
            }
            self.answer(.say(lines.joined(separator: "\r\n")), context)
        case "DATA":
            self.message = ""
            var number = 0
            self.note { number = $0.messages.count + 1 }
            self.pauseReading(for: self.behaviour.pausesReading(number), context)
            self.answer(.say("354 go"), context)
        case "MAIL":
            self.note {
                $0.busy += 1
                $0.busyMost = max($0.busyMost, $0.busy)
            }
            self.answer(.say("250 ok"), context)
        case "QUIT":
            self.answer(.say("221 bye"), context)
            context.close(promise: nil)
        case _: self.answer(.say("250 ok"), context)
        }
    }

    private func pauseReading(for pause: TimeAmount?, _ context: ChannelHandlerContext) {
        guard let pause, let options = context.channel.syncOptions else { return }
        do {
            try options.setOption(ChannelOptions.autoRead, value: false)
        } catch {
            Issue.record("\(error)")
        }
        let loop = context.eventLoop.assumeIsolated()
        loop.scheduleTask(in: pause) {
            context.channel.setOption(ChannelOptions.autoRead, value: true).whenFailure { _ in }
        }
    }

    private func answer(_ answer: ScriptedServer.Answer, _ context: ChannelHandlerContext) {
        switch answer {
        case .say(let text):
            context.writeAndFlush(
                Self.wrapOutboundOut(ByteBuffer(string: text + "\r\n")), promise: nil)
        case .raw(let text):
            context.writeAndFlush(Self.wrapOutboundOut(ByteBuffer(string: text)), promise: nil)
        case .close: context.close(promise: nil)
        case .silence: break
        case .hold(let text): self.held = text
        }
    }
}
