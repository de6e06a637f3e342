// SessionHandler.swift - the driver of one ServerSession: one handler per connection.
//
// Takes     bytes, what happens to the channel, verdicts of the queue.
// Gives     replies in one buffer, one flush per read; content to the queue as it was read.
// Limits    reading stops while an answer is owed, while the queue has enough in flight, and while
//           the client does not take our replies.
// Standard  RFC 5321 §4.5.3.2.7 (idle), §3.8; RFC 3207 §4.

import Cluster
import Logging
import Metrics
import NIOCore
import Networking
import OpenSSL
import Primitives
import SMTP

final class SessionHandler: ChannelDuplexHandler, SessionGuest {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// First room for replies; kept for the whole session.
    private static let outBytes = 256

    let shared: SessionContext
    private let face: ListenerFace
    /// As they were when the session began, but for `policy`, which is looked up per message.
    let rules: SessionRules
    let caller: Caller
    /// The caller's address.
    let client: IPAddress
    /// The same as text, for logs; and as a literal, for listings.
    let clientText: String
    let clientLiteral: String
    let isTrusted: Bool
    var session: ServerSession
    var out = ByteBuffer()
    var context: ChannelHandlerContext?
    /// The message that is on its way in.
    var sink: (any MessageSink)?
    /// When its last byte came.
    var endedAt = NIODeadline.uptimeNanoseconds(0)
    var tls: TLSInfo?
    /// The part of Received fields that stays the same; nil: to be made.
    var trace: (keyword: ProtocolKeyword, helo: String, head: TraceHead)?
    /// The last domain and what it is grouped under.
    var destination: (domain: String, name: String)?

    private var timer: Scheduled<Void>?
    private var startedAt = NIODeadline.uptimeNanoseconds(0)
    private var lastReadAt = NIODeadline.uptimeNanoseconds(0)
    private var isCounted = false
    /// Came with the PROXY header, before the greeting.
    private var arrived: ByteBuffer
    /// A byte has come.
    private var hasSpoken = false
    private var isRunning = false
    /// The last reply is on its way; nothing more is read or said.
    private var isEnding = false
    private var hasEnded = false
    /// The session owes nothing and wants bytes.
    private var wantsBytes = true
    var sinkIsFull = false
    /// What the sink holds, as it was told to `ContentMemory`.
    var heldBytes = 0
    /// The message is refused for want of memory; the rest of it is read over.
    var isOverMemory = false
    /// The queue has the whole message and owes its verdict.
    var isFinishing = false
    private var isWritable = true
    /// The channel asked to read while we would not.
    private var owesRead = false
    /// Made once, not per message.
    private(set) lazy var onRoom: () -> Void = { [weak self] in self?.resume() }
    private let onStart: (SessionHandler) -> Void
    private let onEnd: (SessionHandler) -> Void

    /// - Parameters:
    ///   - face: the listener's as the connection was accepted.
    ///   - arrived: what came before the session began; always empty with implicit TLS.
    init(
        _ shared: SessionContext, _ face: ListenerFace = ListenerFace(), caller: Caller,
        arrived: ByteBuffer = ByteBuffer(),
        onStart: @escaping (SessionHandler) -> Void = { _ in },
        onEnd: @escaping (SessionHandler) -> Void = { _ in }
    ) {
        let rules = shared.currentRules
        self.shared = shared
        self.face = face
        self.rules = rules
        self.caller = caller
        self.arrived = arrived
        self.client = caller.address
        self.clientText = caller.address.description
        self.clientLiteral = DomainName.literal(caller.address)
        self.isTrusted = rules.policy.isTrusted(caller)
        self.session = ServerSession(
            options: rules.options, hasTLS: face.isImplicit, isTrusted: self.isTrusted)
        self.onStart = onStart
        self.onEnd = onEnd
    }

    // MARK: The channel

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        self.onStart(self)
        if context.channel.isActive { self.start(context) }
    }

    func handlerRemoved(context: ChannelHandlerContext) { self.end() }

    func channelActive(context: ChannelHandlerContext) {
        self.start(context)
        context.fireChannelActive()
    }

    private func start(_ context: ChannelHandlerContext) {
        guard !self.isCounted, !self.isEnding else { return }
        let now = context.eventLoop.now
        self.startedAt = now
        self.lastReadAt = now
        self.shared.meters.connections.increment()
        guard
            self.shared.ledger.open(
                self.caller.counted, total: self.rules.limits.sessions,
                perAddress: self.rules.limits.sessionsPerAddress)
        else {
            // Before TLS there is nobody to talk to.
            if self.face.isImplicit { return self.close(context) }
            ServerReply.tooManySessions.write(into: &self.out)
            self.shared.log.debug(
                "session refused",
                metadata: ["client": "\(self.client)", "reason": "too many sessions"])
            return self.close(context)
        }
        self.isCounted = true
        self.shared.door.count(sessions: 1)
        self.shared.meters.sessions.record(self.shared.ledger.sessions)
        if self.face.isImplicit {
            self.arm(context)
        } else {
            self.receive(self.arrived)
            self.arrived = ByteBuffer()
            self.awaitSilence(context)
        }
    }

    private func receive(_ bytes: ByteBuffer) {
        guard bytes.readableBytes > 0 else { return }
        self.hasSpoken = true
        self.session.receive(bytes)
    }

    /// The greeting, at once or when the client has kept silent for a while.
    private func awaitSilence(_ context: ChannelHandlerContext) {
        let delay = self.rules.limits.earlyTalkerDelay
        guard delay > .zero else {
            self.greet(context)
            return self.arm(context)
        }
        let loop = context.eventLoop.assumeIsolated()
        self.timer = loop.scheduleTask(in: .nanoseconds(delay.inNanoseconds)) {
            self.timer = nil
            guard !self.isEnding else { return }
            self.greet(context)
            self.arm(context)
        }
    }

    private func greet(_ context: ChannelHandlerContext) {
        let refusal: Reply? =
            switch self.shared.door.obstacle {
            case .stopping: IntakeRefusal.stopping.reply
            case .noLeader, .noCopies:
                Reply(421, EnhancedCode(4, 3, 2), "Queue not available, try again later")
            case .full, .overQuota, .timedOut, nil: nil
            }
        self.session.greet(refusal: refusal, into: &self.out)
        self.run(context)
        self.flush(context)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !self.isEnding else { return }
        self.lastReadAt = context.eventLoop.now
        self.receive(Self.unwrapInboundIn(data))
        self.run(context)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.flush(context)
        context.fireChannelReadComplete()
    }

    func read(context: ChannelHandlerContext) {
        if self.mayRead { context.read() } else { self.owesRead = true }
    }

    private var mayRead: Bool { self.wantsBytes && !self.sinkIsFull && self.isWritable }

    private func readOn(_ context: ChannelHandlerContext) {
        guard self.owesRead, self.mayRead else { return }
        self.owesRead = false
        context.read()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        self.isWritable = context.channel.isWritable
        self.readOn(context)
        context.fireChannelWritabilityChanged()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard let event = event as? TLSEvent else {
            return context.fireUserInboundEventTriggered(event)
        }
        switch event {
        case .established(let info):
            self.tls = info
            self.lastReadAt = context.eventLoop.now
            if self.face.isImplicit {
                self.greet(context)
            } else {
                self.session.tlsEstablished()
                self.trace = nil
                self.run(context)
            }
        case .peerClosed, .truncated: break
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.end()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let failure = error as? TLSFailure {
            // A health check looks at the port, not at the certificate.
            if !self.caller.isLocal { self.shared.meters.tlsFailures.increment() }
            self.shared.log.debug(
                "TLS failed", metadata: ["client": "\(self.client)", "reason": "\(failure.detail)"])
        } else {
            self.shared.log.debug(
                "connection lost", metadata: ["client": "\(self.client)", "reason": "\(error)"])
        }
        context.close(promise: nil)
    }

    /// The channel is gone, or about to be.
    private func end() {
        guard !self.hasEnded else { return }
        self.hasEnded = true
        self.context = nil
        self.timer?.cancel()
        self.timer = nil
        // Behind `finish` this only says that nobody waits any more.
        self.dropSink()
        if self.isCounted {
            self.isCounted = false
            if self.caller.isLocal {
                self.shared.meters.probe(.local)
            } else if !self.hasSpoken {
                self.shared.meters.probe(.silent)
            }
            self.shared.ledger.close(self.caller.counted)
            self.shared.door.count(sessions: -1)
            self.shared.meters.sessions.record(self.shared.ledger.sessions)
        }
        self.isEnding = true
        self.onEnd(self)
    }

    // MARK: The session

    /// Carries out what the session says until it wants bytes or an answer.
    func run(_ context: ChannelHandlerContext) {
        guard !self.isRunning, !self.isEnding else { return }
        self.isRunning = true
        defer { self.isRunning = false }
        while true {
            if self.isEnding {
                // A write that failed has ended the channel under us.
                return self.dropSink()
            }
            let action = self.session.next(into: &self.out)
            switch action {
            case .read, .wait:
                self.wantsBytes = action == .read
                return self.readOn(context)
            case .close: return self.close(context)
            case .startTLS: return self.startTLS(context)
            case .askSender(let address): self.askSender(address)
            case .askRecipient(let recipient): self.askRecipient(recipient, context)
            case .begin: self.begin(context)
            case .content(let piece): self.take(piece)
            case .abandon:
                self.dropSink()
                self.isOverMemory = false
                self.sinkIsFull = false
            case .finish(let message): self.finish(message, context)
            case .authenticate(let user, let password):
                self.authenticate(user, password, context)
            }
        }
    }

    /// What an answer that came later has set going, and the flush behind it.
    func goOn() {
        guard let context = self.context else { return }
        self.run(context)
        self.flush(context)
    }

    /// The queue has room again.
    func resume() {
        self.sinkIsFull = false
        if let context = self.context { self.readOn(context) }
    }

    func flush(_ context: ChannelHandlerContext) {
        guard self.out.readableBytes > 0 else { return }
        self.shared.meters.add(self.session.takeCounts())
        context.writeAndFlush(Self.wrapOutboundOut(self.out), promise: nil)
        // The same memory again, unless the socket could not take the bytes.
        self.out.clear(minimumCapacity: Self.outBytes)
    }

    private func startTLS(_ context: ChannelHandlerContext) {
        self.flush(context)
        self.wantsBytes = true
        guard let store = self.face.certificates else { return self.close(context) }
        do {
            try context.startTLS(
                store.current.makeConnection(), handshakeTimeout: self.rules.limits.handshake)
        } catch {
            self.shared.log.warning("TLS cannot start", metadata: ["reason": "\(error)"])
            self.close(context)
        }
    }

    /// Closes when the last reply has left.
    func close(_ context: ChannelHandlerContext) {
        guard !self.isEnding else { return }
        self.isEnding = true
        self.dropSink()
        guard self.out.readableBytes > 0 else { return context.close(promise: nil) }
        self.shared.meters.add(self.session.takeCounts())
        let written = context.eventLoop.makePromise(of: Void.self)
        context.writeAndFlush(Self.wrapOutboundOut(self.out), promise: written)
        self.out = ByteBuffer()
        written.futureResult.assumeIsolated().whenComplete { _ in context.close(promise: nil) }
    }

    /// The node stops: see `ServerSession.stop`.
    func stop() {
        guard let context = self.context, !self.isEnding else { return }
        if self.session.stop(into: &self.out) == .close { self.close(context) }
    }

    /// The time for finishing is over.
    func cut() {
        guard let context = self.context else { return }
        // It does not take its last reply.
        if self.isEnding { return context.channel.abort() }
        if self.session.isAwaitingVerdict { self.sink?.refuse() }
        self.session.expire(.stopping, into: &self.out)
        self.close(context)
    }

    // MARK: Time

    /// One task per connection, which sleeps until the next deadline could have passed.
    private func arm(_ context: ChannelHandlerContext) {
        let idle = self.lastReadAt + .nanoseconds(self.rules.limits.idle.inNanoseconds)
        let total = self.startedAt + .nanoseconds(self.rules.limits.session.inNanoseconds)
        let loop = context.eventLoop.assumeIsolated()
        self.timer = loop.scheduleTask(deadline: min(idle, total)) {
            self.timer = nil
            self.wake(context)
        }
    }

    private func wake(_ context: ChannelHandlerContext) {
        if self.isEnding {
            // It did not take its last reply.
            return context.close(promise: nil)
        }
        let now = context.eventLoop.now
        let limits = self.rules.limits
        let isLate = now >= self.startedAt + .nanoseconds(limits.session.inNanoseconds)
        let isIdle = now >= self.lastReadAt + .nanoseconds(limits.idle.inNanoseconds)
        if isLate || isIdle {
            if self.session.isAwaitingVerdict || self.sinkIsFull {
                // We are the ones who are late; the queue answers within its own time.
                self.lastReadAt = now
                self.startedAt = now
            } else {
                self.session.expire(isLate ? .sessionTooLong : .idle, into: &self.out)
                self.close(context)
            }
        }
        if !self.hasEnded { self.arm(context) }
    }
}
