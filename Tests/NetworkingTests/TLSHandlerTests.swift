import NIOCore
import NIOEmbedded
import OpenSSL
import Primitives
import Testing

@testable import Networking

/// Notes what reaches the handler above TLS.
private final class Recorder: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    var text = ""
    var reads = 0
    var events: [TLSEvent] = []
    var failures: [TLSFailure] = []
    var isActive = true
    var onText: ((ChannelHandlerContext) -> Void)?

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.text += String(buffer: Self.unwrapInboundIn(data))
        self.reads += 1
        self.onText?(context)
    }
    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let event = event as? TLSEvent { self.events.append(event) }
    }
    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let failure = error as? TLSFailure { self.failures.append(failure) }
    }
    func channelInactive(context: ChannelHandlerContext) { self.isActive = false }
}

/// Two channels in memory, TLS between them.
private struct Pair {
    let client = EmbeddedChannel()
    let server = EmbeddedChannel()
    let above = (client: Recorder(), server: Recorder())

    func start(_ fixture: TLSHandlerTests, serverTLS: Bool = true) throws {
        let timeout = Duration.seconds(30)
        if serverTLS {
            let side = TLSHandler(
                try fixture.server.makeConnection(), handshakeTimeout: timeout)
            try self.server.pipeline.syncOperations.addHandler(side)
        }
        try self.server.pipeline.syncOperations.addHandler(self.above.server)
        let side = TLSHandler(
            try fixture.client.makeConnection(serverName: "mx.example"), handshakeTimeout: timeout)
        try self.client.pipeline.syncOperations.addHandler(side)
        try self.client.pipeline.syncOperations.addHandler(self.above.client)
        let address = try SocketAddress(ipAddress: "127.0.0.1", port: 25)
        self.server.connect(to: address, promise: nil)
        self.client.connect(to: address, promise: nil)
    }

    /// Carries bytes to and fro until there are none, in pieces of at most `step`.
    func carry(step: Int = .max) throws {
        var moved = true
        while moved {
            moved = false
            for (from, to) in [(self.client, self.server), (self.server, self.client)] {
                while var bytes = try from.readOutbound(as: ByteBuffer.self) {
                    moved = true
                    while let piece = bytes.readSlice(length: min(step, bytes.readableBytes)),
                        piece.readableBytes > 0, to.isActive
                    {
                        try to.writeInbound(piece)
                    }
                }
            }
        }
    }
}

extension EmbeddedChannel {
    fileprivate func say(_ text: String) {
        self.writeAndFlush(ByteBuffer(string: text), promise: nil)
    }
}

@Suite("TLS handler, RFC 3207 and RFC 8446")
struct TLSHandlerTests {
    private let files: Files
    fileprivate let server: TLSServerContext
    fileprivate let client: TLSClientContext

    init() throws {
        self.files = try Files()
        let authority = try Files.makeAuthority()
        let ca = try self.files.write("ca.pem", authority.certificate)
        self.server = try TLSServerContext(
            [try self.files.issue(authority, "mx", hosts: ["mx.example"])])
        self.client = try TLSClientContext(trust: .authority(ca))
    }

    @Test(arguments: [Int.max, 7, 1])
    func `text flows both ways, whatever the pieces`(step: Int) throws {
        let pair = Pair()
        try pair.start(self)
        pair.client.say("early ")  // held until the handshake has finished
        try pair.carry(step: step)
        guard case .established(let info)? = pair.above.client.events.first else {
            Issue.record("no handshake")
            return
        }
        #expect(info.peer == .verified)
        #expect(pair.above.server.events.count == 1)
        pair.client.say("late")
        pair.server.say("220 mx")
        try pair.carry(step: step)
        #expect(pair.above.server.text == "early late")
        #expect(pair.above.client.text == "220 mx")
        #expect(pair.above.client.failures.isEmpty && pair.above.server.failures.isEmpty)
    }

    @Test func `small writes of one flush share one record and one write`() throws {
        let pair = Pair()
        try pair.start(self)
        try pair.carry()
        var promises: [EventLoopPromise<Void>] = []
        for _ in 0..<100 {
            let promise = pair.client.eventLoop.makePromise(of: Void.self)
            promises.append(promise)
            pair.client.write(ByteBuffer(string: "RCPT TO:<a@b>\r\n"), promise: promise)
        }
        #expect(try pair.client.readOutbound(as: ByteBuffer.self) == nil)
        pair.client.flush()
        for promise in promises { try promise.futureResult.wait() }
        let first = try pair.client.readOutbound(as: ByteBuffer.self)
        let ciphertext = try #require(first)
        #expect(ciphertext.readableBytes < 100 * 15 + 64)
        #expect(try pair.client.readOutbound(as: ByteBuffer.self) == nil)
        try pair.server.writeInbound(ciphertext)
        #expect(pair.above.server.text.utf8.count == 100 * 15)
        #expect(pair.above.server.reads == 1)
    }

    @Test func `a large write arrives whole`() throws {
        let pair = Pair()
        try pair.start(self)
        try pair.carry()
        let text = String(repeating: "0123456789abcdef", count: 20_000)
        pair.client.write(ByteBuffer(string: "head "), promise: nil)
        pair.client.write(ByteBuffer(string: text), promise: nil)
        pair.client.say(" tail")
        try pair.carry(step: 5000)
        #expect(pair.above.server.text == "head " + text + " tail")
    }

    @Test func `closing sends close_notify behind what was flushed`() throws {
        let pair = Pair()
        try pair.start(self)
        try pair.carry()
        pair.server.say("221 bye")
        let closed = pair.server.close()
        try pair.carry()
        try closed.wait()
        #expect(!pair.server.isActive)
        #expect(pair.above.client.text == "221 bye")
        #expect(pair.above.client.events.last == .peerClosed)
        #expect(!pair.client.isActive, "the other side closes as well")
        #expect(pair.above.client.failures.isEmpty)
    }

    @Test func `a connection that ends without close_notify is cut off`() throws {
        let pair = Pair()
        try pair.start(self)
        try pair.carry()
        pair.client.pipeline.fireChannelInactive()
        #expect(pair.above.client.events.last == .truncated)
        #expect(!pair.above.client.isActive)
    }

    @Test func `the handshake has its time and not more`() throws {
        let pair = Pair()
        try pair.start(self)
        pair.server.embeddedEventLoop.advanceTime(by: .seconds(29))
        #expect(pair.server.isActive)
        pair.server.embeddedEventLoop.advanceTime(by: .seconds(1))
        #expect(pair.above.server.failures == [.handshakeTimedOut])
        #expect(!pair.server.isActive)
    }

    @Test func `a finished handshake is not timed out`() throws {
        let pair = Pair()
        try pair.start(self)
        try pair.carry()
        pair.server.embeddedEventLoop.advanceTime(by: .seconds(3600))
        #expect(pair.server.isActive)
    }

    @Test func `a peer that speaks plaintext gets an alert and the end`() throws {
        let pair = Pair()
        try pair.start(self)
        try pair.server.writeInbound(ByteBuffer(string: "EHLO client.example\r\n"))
        #expect(pair.above.server.failures.map(\.label) == ["tls_handshake"])
        #expect(pair.above.server.text.isEmpty)
        #expect(!pair.server.isActive)
    }

    @Test func `a peer that goes away in the handshake is no silent end`() throws {
        let pair = Pair()
        try pair.start(self)
        pair.server.pipeline.fireChannelInactive()
        #expect(pair.above.server.failures == [.handshakeCutOff])
    }

    @Test func `what is read before STARTTLS stays above, what comes after is ciphertext`() throws {
        let pair = Pair()
        let fixture = self
        pair.above.server.onText = { context in
            pair.above.server.onText = nil
            do {
                let connection = try fixture.server.makeConnection()
                try context.startTLS(connection, handshakeTimeout: .seconds(30))
            } catch {
                Issue.record(error)
            }
        }
        try pair.start(self, serverTLS: false)
        try pair.server.writeInbound(ByteBuffer(string: "STARTTLS\r\nRCPT TO:<evil>\r\n"))
        try pair.carry()
        pair.client.say("EHLO a\r\n")
        try pair.carry()
        // The first read went up whole, before TLS; nothing of it comes again.
        #expect(pair.above.server.text == "STARTTLS\r\nRCPT TO:<evil>\r\nEHLO a\r\n")
        #expect(pair.above.server.reads == 2)
    }

    @Test func `plaintext sent behind STARTTLS in its own packet breaks the handshake`() throws {
        let pair = Pair()
        try pair.start(self)
        try pair.server.writeInbound(ByteBuffer(string: "RCPT TO:<evil>\r\n"))
        #expect(pair.above.server.text.isEmpty)
        #expect(pair.above.server.failures.count == 1)
    }

    @Test func `unflushed writes fail when the channel closes`() throws {
        let pair = Pair()
        try pair.start(self)
        try pair.carry()
        let lost = pair.client.write(ByteBuffer(string: "never flushed"))
        pair.client.close(promise: nil)
        #expect(throws: ChannelError.self) { try lost.wait() }
        try pair.carry()
        #expect(pair.above.server.text.isEmpty)
        let late = pair.client.writeAndFlush(ByteBuffer(string: "too late"))
        #expect(throws: (any Error).self) { try late.wait() }
    }

    @Test func `a changed record ends the connection with its reason`() throws {
        let pair = Pair()
        try pair.start(self)
        try pair.carry()
        pair.client.say("MAIL FROM:<>")
        let sent = try pair.client.readOutbound(as: ByteBuffer.self)
        var bytes = try #require(sent)
        let last = try #require(bytes.getInteger(at: bytes.writerIndex - 1, as: UInt8.self))
        bytes.setInteger(last ^ 1, at: bytes.writerIndex - 1)
        try pair.server.writeInbound(bytes)
        #expect(pair.above.server.failures.map(\.label) == ["tls_record"])
        #expect(pair.above.server.text.isEmpty)
        #expect(!pair.server.isActive)
    }

    @Test func `an aborted channel sends no close_notify`() throws {
        let pair = Pair()
        try pair.start(self)
        try pair.carry()
        pair.client.abort()
        #expect(try pair.client.readOutbound(as: ByteBuffer.self) == nil)
        #expect(!pair.client.isActive)
    }
}
