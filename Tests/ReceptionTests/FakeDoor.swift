import Cluster
import Logging
import NIOCore
import NIOEmbedded
import Networking
import Primitives
import SMTP
import Settings
import Synchronization

@testable import Reception

/// A queue that keeps what it is given and answers by rule.
final class FakeDoor: MessageDoor, Sendable {
    struct State: Sendable {
        var obstacle: IntakeRefusal?
        var refusal: IntakeRefusal?
        /// Verdicts wait for `FakeSink.decide`.
        var isHolding = false
        /// `append` answers false.
        var isFull = false
        /// `shed` gives all memory back.
        var canShed = false
        var messages: [Message] = []
        var abandoned = 0
        var refused = 0
        var sessions = 0
        var sequence: UInt64 = 0
    }
    struct Message: Equatable, Sendable {
        var envelope: Envelope
        var destinations: [String]
        var receivedFrom: String
        var head: String
        var content: String
    }
    let state = Mutex(State())
    /// The last sink, on the only loop of a test.
    let last = Mutex<NIOLoopBound<FakeSink>?>(nil)

    var obstacle: IntakeRefusal? { self.state.withLock { $0.obstacle } }
    var messages: [Message] { self.state.withLock { $0.messages } }

    func count(sessions change: Int) { self.state.withLock { $0.sessions += change } }

    func open(
        on loop: any EventLoop, resume: @escaping () -> Void
    ) -> Result<any MessageSink, IntakeRefusal> {
        if let refusal = self.state.withLock({ $0.refusal }) { return .failure(refusal) }
        let sink = FakeSink(self, resume: resume)
        let bound = NIOLoopBound(sink, eventLoop: loop)
        self.last.withLock { $0 = bound }
        return .success(sink)
    }
}

final class FakeSink: MessageSink {
    private let door: FakeDoor
    let resume: () -> Void
    private var content = ByteBuffer()
    private(set) var decide: (() -> Void)?

    init(_ door: FakeDoor, resume: @escaping () -> Void) {
        self.door = door
        self.resume = resume
    }

    private(set) var heldBytes = 0
    /// What it may forget when memory is short.
    func shed() { if self.door.state.withLock({ $0.canShed }) { self.heldBytes = 0 } }

    func append(_ piece: consuming ByteBuffer) -> Bool {
        self.heldBytes += piece.readableBytes
        self.content.writeBuffer(&piece)
        return !self.door.state.withLock { $0.isFull }
    }

    func finish(
        envelope: Envelope, destinations: [String], receivedFrom: String,
        head: @escaping @Sendable (Tag) -> ByteBuffer,
        verdict: @escaping (IntakeVerdict) -> Void
    ) {
        let content = String(buffer: self.content)
        self.decide = { [door] in
            let tag = door.state.withLock { state in
                state.sequence += 1
                let tag = Tag(session: SessionID(raw: 1), sequence: state.sequence)
                state.messages.append(
                    FakeDoor.Message(
                        envelope: envelope, destinations: destinations, receivedFrom: receivedFrom,
                        head: String(buffer: head(tag)), content: content))
                return tag
            }
            verdict(.accepted(tag))
        }
        if !self.door.state.withLock({ $0.isHolding }) { self.decide?() }
    }

    func abandon() { self.door.state.withLock { $0.abandoned += 1 } }
    func refuse() { self.door.state.withLock { $0.refused += 1 } }
}

/// Answers as it was told.
final class FakeVerifier: RecipientVerifier, Sendable {
    let answers: [String: RecipientAnswer]
    let asked = Mutex<[String]>([])

    init(_ answers: [String: RecipientAnswer]) { self.answers = answers }

    func verify(
        _ address: String, on loop: any EventLoop,
        answer: @escaping @Sendable (RecipientAnswer) -> Void
    ) {
        self.asked.withLock { $0.append(address) }
        let known = self.answers[address] ?? .unknown
        loop.execute { answer(known) }
    }
}

/// Counts flushes and reads between handler and channel.
final class Meter: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer
    private(set) var flushes = 0
    private(set) var reads = 0

    func flush(context: ChannelHandlerContext) {
        self.flushes += 1
        context.flush()
    }
    func read(context: ChannelHandlerContext) {
        self.reads += 1
        context.read()
    }
}

/// One session on an embedded channel.
final class Desk {
    let loop = EmbeddedEventLoop()
    let channel: EmbeddedChannel
    let handler: SessionHandler
    let meter = Meter()
    let door: FakeDoor
    let shared: SessionContext

    init(
        _ settings: Settings = Desk.settings(), users: UserFile? = nil, door: FakeDoor = FakeDoor(),
        verifier: FakeVerifier? = nil, client: String = "192.0.2.7", ledger: Ledger = Ledger(),
        memory: ContentMemory = ContentMemory(), mode: Settings.Listener.Mode = .relay
    ) throws {
        var listener = Settings.Listener()
        listener.mode = mode
        let policy = ReceptionPolicy(settings, users: users)
        self.door = door
        self.shared = SessionContext(
            door: door, verifier: verifier, ledger: ledger, memory: memory,
            authenticator: Authenticator(ledger: ledger), meters: ReceptionMeters(),
            log: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }),
            rules: SessionRules(settings, listener, policy))
        self.handler = SessionHandler(
            self.shared, caller: Caller(IPAddress(client) ?? IPAddress(v4: 0)))
        self.channel = EmbeddedChannel(loop: self.loop)
        try self.channel.pipeline.syncOperations.addHandlers([self.meter, self.handler])
        try self.channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 25)).wait()
    }

    static func settings(_ change: (inout Settings) -> Void = { _ in }) -> Settings {
        var settings = Settings()
        settings.node.hostname = "mx.example"
        settings.relay.domains = ["ours.example", "*.sub.example"]
        change(&settings)
        return settings
    }

    /// What was said since the last call, lines joined by `\n`.
    func said() throws -> String {
        var text = ""
        while let piece = try self.channel.readOutbound(as: ByteBuffer.self) {
            text += String(buffer: piece)
        }
        return text.split(separator: "\r\n").joined(separator: "\n")
    }

    @discardableResult
    func send(_ text: String) throws -> String {
        if self.channel.isActive { try self.channel.writeInbound(ByteBuffer(string: text)) }
        self.loop.run()
        return try self.said()
    }

    /// Greeting and EHLO are behind us.
    func hello() throws -> Desk {
        try self.send("EHLO client.example\r\n")
        return self
    }
}
