// ClientConnection.swift - the one handler around a client session.
//
// Takes     bytes, TLS events, the loss of the channel, deadlines; pieces from its destination.
// Gives     bytes, one flush a read; results to be settled before the next transaction begins.
// Threads   confined to its loop.
// Standard  RFC 5321 §4.5.3.2 (time is checked by the loop's tick), RFC 3207 §6 (plain text behind
//           220 is dropped).
//
// See ClientConnection+Fetch.swift for bodies that are read, ClientConnection+Body.swift for the
// message and its final dot.

import Cluster
import MailQueue
import NIOCore
import Networking
import OpenSSL
import Primitives
import SMTP

/// `@unchecked Sendable`: the dialer's closures carry it to its own loop, nothing else does.
final class ClientConnection: ChannelInboundHandler, @unchecked Sendable {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    enum State {
        case dialing
        /// Greeting, EHLO, TLS, AUTH.
        case opening
        case idle
        case busy
        /// A piece is taken and its body is being read.
        case fetching
        /// Over; nothing is carried any more.
        case ended
    }

    /// What an idle connection keeps of its outbound buffer.
    private static let idleBytes = 16_384

    let host: PlannedHost
    unowned let destination: Destination
    let owner: DeliveryLoop
    var session: ClientSession
    var state = State.dialing
    var context: ChannelHandlerContext?
    var parser = ReplyParser()
    var inbound = ByteBuffer()
    /// Commands of this read; see `append`.
    var out = ByteBuffer()
    private var isOutSent = false
    /// The running transaction's piece, and the one written behind its final dot.
    var current: Piece?
    var upcoming: Piece?
    /// The body of `current`, opened and not yet asked for; see ClientConnection+Fetch.swift.
    var opened: OpenedBody?
    /// What is left of a large message; see ClientConnection+Body.swift.
    var outgoing: OutgoingBody?
    /// Slices that NIO has not handed to the kernel.
    var unwrittenSlices = 0
    var isWritingSlices = false
    /// The kernel gives the connection up soon if the final write is not acknowledged.
    var isDotGuarded = false
    /// Made with the first guarded dot.
    var userTimeout: UserTimeout?
    var deadline = NIODeadline.distantFuture
    private let openedAt = NIODeadline.now()
    private var begunAt = NIODeadline.now()
    var transactions = 0
    var isStopping = false
    /// QUIT is said: nothing more is taken.
    var isLeaving = false
    private var isReading = false
    private var tls: String?

    init(to host: PlannedHost, inPlain: Bool, _ destination: Destination) {
        self.host = host
        self.destination = destination
        self.owner = destination.owner
        let routing = destination.owner.routing
        let manners = destination.manners
        var options = ClientOptions(helo: routing.helo, remoteHost: host.name)
        options.dialect = manners.dialect
        options.tls = inPlain && manners.tls == .may ? .none : manners.tls
        options.beginsWithTLS = manners.beginsWithTLS
        options.credentials = manners.credentials
        options.authenticatesInPlain = manners.tls == .none
        options.timeouts = routing.timeouts
        self.session = ClientSession(options)
    }

    var desk: any DeliveryDesk { self.owner.desk }
    var isIdle: Bool { if case .idle = self.state { true } else { false } }
    var isOpening: Bool {
        switch self.state {
        case .dialing, .opening: true
        case .idle, .busy, .fetching, .ended: false
        }
    }
    var hasEnded: Bool { if case .ended = self.state { true } else { false } }

    // MARK: - Opening

    func dial() {
        let routing = self.owner.routing
        Dialer.connect(
            to: self.host.address, port: self.host.port,
            from: routing.source(for: self.host.address), timeout: routing.timeouts.connect,
            on: self.owner.loop
        ) { [self] channel in
            if self.session.options.beginsWithTLS {
                let tls = try self.owner.trust.connection(
                    verifies: self.session.options.tls == .verify, host: self.host)
                try channel.pipeline.syncOperations.addHandler(
                    TLSHandler(tls, handshakeTimeout: routing.timeouts.handshake))
            }
            try channel.pipeline.syncOperations.addHandler(self)
        }.assumeIsolated().whenFailure { error in
            let failure = DialFailure(error)
            self.leave(
                .nextHost,
                FailureTable.reply(
                    at: .connect,
                    .lost(
                        "connect to \(self.host.name)[\(self.host.address)]:"
                            + "\(self.host.port): \(failure.detail)")))
        }
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }
    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        self.userTimeout = nil
    }

    func channelActive(context: ChannelHandlerContext) {
        guard !self.hasEnded else {
            context.close(promise: nil)
            return
        }
        self.state = .opening
        self.rearm(NIODeadline.now())
    }

    // MARK: - Reading

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !self.hasEnded else { return }
        var bytes = Self.unwrapInboundIn(data)
        self.isReading = true
        if self.inbound.readableBytes == 0 {
            self.read(&bytes)
            if bytes.readableBytes > 0 && !self.hasEnded { self.inbound = bytes }
        } else {
            self.inbound.writeBuffer(&bytes)
            var all = self.inbound
            self.inbound = ByteBuffer()
            self.read(&all)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.isReading = false
        self.flush()
    }

    private func read(_ bytes: inout ByteBuffer) {
        while !self.hasEnded {
            switch self.parser.next(from: &bytes, keepsText: self.session.wantsText) {
            case .more: return
            case .fault(let fault):
                self.perform(self.session.end(.garbage(fault)))
                return
            case .reply(let reply):
                self.prepareOut()
                let action = self.session.receive(reply, into: &self.out)
                if case .startTLS = action {
                    bytes.clear()
                    self.inbound = ByteBuffer()
                }
                self.perform(action)
            }
        }
    }

    /// Does what the session says; deadlines follow.
    func perform(_ action: ClientSession.Action) {
        switch action {
        case .proceed: self.rearm(NIODeadline.now())
        case .startTLS: self.startTLS()
        case .ready:
            self.state = .idle
            self.destination.connectionOpened()
            self.pull()
        case .sendBody: self.sendBody()
        case .finished(let result): self.finished(result)
        case .failed(let failure): self.failed(failure)
        case .close: self.leave(.reconnect, Self.closed)
        }
    }

    static let closed = Reply(221, EnhancedCode(2, 0, 0), "closed")

    // MARK: - TLS

    private func startTLS() {
        guard let context = self.context else { return }
        self.parser = ReplyParser()
        do {
            let tls = try self.owner.trust.connection(
                verifies: self.session.options.tls == .verify, host: self.host)
            try context.startTLS(tls, handshakeTimeout: self.session.options.timeouts.handshake)
            self.rearm(NIODeadline.now())
        } catch {
            self.perform(self.session.tlsFailed(.handshakeFailed, "\(error)"))
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let event = event as? TLSEvent, case .established(let info) = event {
            self.tls = info.version
            self.prepareOut()
            self.perform(self.session.tlsEstablished(into: &self.out))
            self.flush()
        }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard !self.hasEnded else { return }
        if let failure = error as? TLSFailure, self.session.stage == .handshake {
            self.perform(self.session.tlsFailed(Self.obstacle(failure), failure.detail))
        } else {
            let detail = (error as? TLSFailure)?.detail ?? DialFailure(error).detail
            self.perform(self.session.end(.lost(detail)))
        }
    }

    private static func obstacle(_ failure: TLSFailure) -> TLSObstacle {
        guard case .handshake(let error) = failure, ClientTrust.notGood.contains(error.label)
        else {
            return .handshakeFailed
        }
        return .certificateNotGood
    }

    func channelInactive(context: ChannelHandlerContext) {
        guard !self.hasEnded else { return }
        self.perform(self.session.end(.lost("the host closed it")))
    }

    // MARK: - Transactions

    /// Takes work if there is any; the session is idle.
    func pull() {
        self.state = .idle
        let now = NIODeadline.now()
        let age = TimeAmount.nanoseconds(self.owner.routing.connectionAge.inNanoseconds)
        if self.isStopping || now - self.openedAt > age || self.destination.isOverShare
            || self.destination.wantsSlot(of: self)
        {
            self.quit()
            return
        }
        while self.isIdle, let piece = self.destination.next(for: self) {
            guard piece.isInMemory else {
                self.fetch(piece)
                return
            }
            self.begin(piece)
        }
        guard self.isIdle else { return }
        if self.isOutSent && self.out.capacity > Self.idleBytes { self.out = ByteBuffer() }
        self.deadline = now + .nanoseconds(self.owner.routing.idle.inNanoseconds)
    }

    func begin(_ piece: Piece) {
        let mail = piece.mail(
            self.owner.routing, isLMTP: self.session.options.dialect == .lmtp,
            opening: self.opened)
        if let result = self.session.obstacle(to: mail) {
            self.opened = nil
            self.owner.settle(piece, result, self.destination, self.circumstances)
            return
        }
        self.state = .busy
        self.current = piece
        self.begunAt = NIODeadline.now()
        self.prepareOut()
        self.perform(self.session.begin(mail, into: &self.out))
        if !self.isReading { self.flush() }
    }

    /// Another piece for the same write as the final dot; called with `out` being filled.
    func beginBehind() {
        guard self.session.mayPipeline, !self.isStopping, !self.isTooOld,
            !self.destination.isOverShare,
            let piece = self.destination.next(for: self, inMemory: true)
        else { return }
        let mail = piece.mail(
            self.owner.routing, isLMTP: self.session.options.dialect == .lmtp)
        if let result = self.session.obstacle(to: mail) {
            self.owner.settle(piece, result, self.destination, self.circumstances)
            return
        }
        self.session.pipeline(mail, into: &self.out)
        self.upcoming = piece
    }

    private var isTooOld: Bool {
        NIODeadline.now() - self.openedAt
            > .nanoseconds(self.owner.routing.connectionAge.inNanoseconds)
    }

    private func finished(_ result: ClientResult) {
        guard let piece = self.current else { unreachable("a result without a transaction") }
        self.transactions += 1
        // Refused before its content was sent: nobody reads on.
        self.opened = nil
        // The verdict has come, so the peer has the dot and all that was written with it.
        if self.isDotGuarded { self.guardDot(for: .zero) }
        let circumstances = self.circumstances
        self.current = self.upcoming
        self.upcoming = nil
        self.begunAt = NIODeadline.now()
        self.owner.settle(piece, result, self.destination, circumstances)
        if self.session.isIdle {
            self.pull()
        } else if self.current == nil {
            // Its piece was taken away while the one before was behind its dot.
            self.cut()
        } else {
            self.rearm(self.begunAt)
        }
    }

    var circumstances: DeliveryLoop.Circumstances {
        DeliveryLoop.Circumstances(
            host: self.host, tls: self.tls,
            seconds: Double((NIODeadline.now() - self.begunAt).nanoseconds) / 1e9)
    }

    // MARK: - Writing

    /// Makes `out` ready for more. A buffer that was flushed is emptied only now: by then NIO has
    /// let go of it as a rule, and no new one is allocated.
    func prepareOut() {
        guard self.isOutSent else { return }
        self.isOutSent = false
        self.out.clear()
    }

    /// One flush for all that was appended.
    func flush() {
        guard !self.isOutSent, self.out.readableBytes > 0, let context = self.context else {
            return
        }
        self.isOutSent = true
        context.writeAndFlush(Self.wrapOutboundOut(self.out), promise: nil)
    }
}
