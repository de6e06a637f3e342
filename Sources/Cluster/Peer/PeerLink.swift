// PeerLink.swift - one connection with a peer: greeting, frames in, frames out, the end.
//
// Takes     plaintext from TLSHandler below it, messages from the mesh.
// Gives     to the mesh: a Hello to judge, `linkUp`, messages in their order, `linkEnded` once.
// Order     the dialer's Hello, the acceptor's Hello, then `alive` of the dialer: with it the
//           acceptor knows that it was not refused either. Who refuses says goodbye instead and
//           reads on, so that no reset takes the sentence from the peer.
// Limits    one frame at a time; a bulk link stops reading while the mesh says so.
// See       Docs/PeerProtocol.md, "Order of a connection".

import NIOCore
import Networking
import OpenSSL
import Primitives

/// Confined to the mesh's loop.
final class PeerLink: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum State {
        /// TLS shakes hands.
        case securing
        /// The peer's Hello has to come.
        case greeting
        /// We have answered the dialer's Hello; its first frame says that it agrees.
        case confirming
        case up
        /// Goodbye is said; what comes is thrown away.
        case leaving
        case closed
    }

    /// Whom we have dialed; nil: we were dialed.
    let dialed: NodeName?
    /// Known from the start if we dial, else from the peer's Hello.
    private(set) var kind: PeerLinkKind?
    /// The peer's, once the mesh has admitted it.
    private(set) var hello: Hello?
    private let mesh: PeerMesh
    private let tls: TLSConnection
    private var state = State.securing
    private var context: ChannelHandlerContext?
    private var decoder = PeerFrameDecoder()
    private var outbox = PeerOutbox()
    private var isFlushDue = false
    private var isPaused = false
    private var isProcessing = false
    /// `queuedBytes` has reached the high water since it was low.
    private var isHigh = false
    private var remote = ""
    /// Ticks since the last state, read and progress of writing; since the last frame of ours.
    private var stateTicks = 0
    private var silentTicks = 0
    private var stalledTicks = 0
    private var hasSpoken = false

    init(_ mesh: PeerMesh, _ tls: TLSConnection, dialed: (NodeName, PeerLinkKind)?) {
        self.mesh = mesh
        self.tls = tls
        self.dialed = dialed?.0
        self.kind = dialed?.1
    }

    var isUp: Bool { if case .up = self.state { true } else { false } }
    var isGreeted: Bool { self.hello != nil }
    /// In the mesh's table no longer, or about to be.
    var isOver: Bool {
        switch self.state {
        case .leaving, .closed: true
        case .securing, .greeting, .confirming, .up: false
        }
    }
    /// How many ticks it has been greeted, if it has.
    var ageTicks: Int { self.isGreeted ? self.stateTicks : 0 }
    var closeFuture: EventLoopFuture<Void>? { self.context?.channel.closeFuture }
    var queuedBytes: Int { self.outbox.queuedBytes }
    /// For logs: the peer's name as far as it is known, else its address.
    var who: String { self.hello?.node ?? self.dialed ?? self.remote }
    /// "" if it shows none.
    var certificateName: String { self.tls.peerCertificate?.commonName ?? "" }

    // MARK: The channel

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        self.noteRemote(context)
    }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelActive(context: ChannelHandlerContext) {
        self.noteRemote(context)
        context.fireChannelActive()
    }

    private func noteRemote(_ context: ChannelHandlerContext) {
        guard let address = context.remoteAddress else { return }
        self.remote = IPAddress(address)?.description ?? "unknown"
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .established? = event as? TLSEvent, case .securing = self.state {
            self.state = .greeting
            self.stateTicks = 0
            if self.dialed != nil, let kind = self.kind { self.sendHello(kind) }
            context.read()
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = Self.unwrapInboundIn(data)
        self.silentTicks = 0
        switch self.state {
        case .leaving, .closed:
            return
        case .securing, .greeting, .confirming, .up:
            self.mesh.count(in: bytes.readableBytes, self.kind ?? .control)
            self.decoder.append(bytes)
            self.process()
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        if !self.isPaused { context.read() }
        context.fireChannelReadComplete()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // Who goes away in the middle has refused nothing: a probe, or a dial that was overtaken.
        if let failure = error as? TLSFailure, failure != .handshakeCutOff {
            self.end(PeerRefusal(Self.cause(failure), failure.detail))
        }
        // The channel closes by itself, or has.
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.end(nil)
        context.fireChannelInactive()
    }

    private static func cause(_ failure: TLSFailure) -> PeerRefusal.Cause {
        switch failure.label {
        case "certificate_name": .certificateName
        case "certificate_expired": .certificateExpired
        case "certificate_untrusted": .certificateUntrusted
        case "certificate_missing": .certificateMissing
        case _: .tls
        }
    }

    // MARK: In

    /// Hands on frames until there is none, or the mesh wants no more for now.
    private func process() {
        // A message's receiver may ask to go on: it is going on.
        guard !self.isProcessing else { return }
        self.isProcessing = true
        defer { self.isProcessing = false }
        while !self.isOver {
            if self.isUp, self.kind == .bulk, !self.mesh.mayRead(self) {
                self.isPaused = true
                return
            }
            do {
                guard let frame = try self.decoder.next() else { return }
                try self.take(frame)
            } catch let refusal as PeerRefusal {
                self.refuse(refusal)
            } catch let error as PeerFrameError {
                self.refuse(PeerRefusal(.frame, error.sentence))
            } catch let error as CodecError {
                let cause = self.isGreeted ? PeerRefusal.Cause.payload : .hello
                self.refuse(PeerRefusal(cause, "a frame makes no sense: \(error)"))
            } catch {
                unreachable("no other error: \(error)")
            }
        }
    }

    /// Reads again after `mayRead` has said no.
    func resume() {
        guard self.isPaused else { return }
        self.isPaused = false
        self.process()
        if !self.isPaused { self.context?.read() }
    }

    private func take(_ frame: PeerFrame) throws {
        switch self.state {
        case .greeting:
            try self.greet(frame)
        case .confirming:
            if frame.kind != PeerFrameKind.goodbye.rawValue { self.becomeUp() }
            try self.takeGreeted(frame)
        case .up:
            try self.takeGreeted(frame)
        case .securing, .leaving, .closed:
            break
        }
    }

    private func greet(_ frame: PeerFrame) throws {
        if frame.kind == PeerFrameKind.goodbye.rawValue {
            try self.takeGoodbye(frame)
            return
        }
        guard frame.kind == PeerFrameKind.hello.rawValue else {
            throw PeerRefusal(.hello, "the first frame has to be a Hello")
        }
        var reader = ByteReader(Array(frame.payload.readableBytesView))
        let hello = try Hello(from: &reader)
        if let kind = self.kind, kind != hello.link {
            throw PeerRefusal(.hello, "the answer is for another kind of connection")
        }
        self.kind = hello.link
        switch self.mesh.judge(hello, self) {
        case .refuse(let refusal): throw refusal
        case .leave(let sentence): self.leave(Goodbye(label: "duplicate", sentence: sentence))
        case .admit:
            self.hello = hello
            self.decoder.isGreeting = false
            self.stateTicks = 0
            if self.dialed != nil {
                self.sendAlive()
                self.becomeUp()
            } else {
                self.state = .confirming
                self.sendHello(hello.link)
            }
        }
    }

    private func becomeUp() {
        guard let hello = self.hello, let kind = self.kind else { return }
        self.state = .up
        self.mesh.linkUp(self, hello, kind)
    }

    private func takeGreeted(_ frame: PeerFrame) throws {
        switch PeerFrameKind(rawValue: frame.kind) {
        case nil: self.mesh.skipped()
        case .alive?: break
        case .goodbye?: try self.takeGoodbye(frame)
        case .hello?: throw PeerRefusal(.payload, "a second Hello")
        case let kind?:
            guard kind.link == self.kind, let message = try PeerMessage(frame) else {
                throw PeerRefusal(.payload, "\(kind) belongs to the other connection")
            }
            guard let hello = self.hello else { return }
            self.mesh.received(message, hello, self)
        }
    }

    private func takeGoodbye(_ frame: PeerFrame) throws {
        let goodbye = try Goodbye(frame.payload)
        let isQuiet = goodbye.label == "duplicate" || goodbye.label == "stopping"
        let isRemoved = goodbye.label == PeerRefusal.Cause.removed.rawValue
        let cause = isRemoved ? PeerRefusal.Cause.toldRemoved : .told
        self.end(isQuiet ? nil : PeerRefusal(cause, goodbye.sentence), label: goodbye.label)
        self.context?.close(promise: nil)
    }

    // MARK: Out

    /// False: not up, or its queue is full; a full control queue ends the connection.
    func send(_ message: PeerMessage) -> Bool {
        guard self.isUp, let kind = self.kind else { return false }
        guard self.outbox.queuedBytes < self.mesh.limits.queueBytes(kind) else {
            if kind == .control {
                self.end(
                    PeerRefusal(
                        .queueFull, "\(self.outbox.queuedBytes) bytes wait to be sent: cut off"))
                self.context?.channel.abort()
            }
            return false
        }
        self.enqueue { buffer in message.encode(into: &buffer) }
        return true
    }

    private func sendHello(_ kind: PeerLinkKind) {
        let hello = self.mesh.ownHello(kind)
        self.sendWhole { buffer in
            var writer = ByteWriter()
            hello.encode(into: &writer)
            PeerFrame.write(PeerFrameKind.hello.rawValue, into: &buffer) {
                $0.writeBytes(writer.bytes)
            }
        }
    }

    private func sendAlive() {
        self.sendWhole { PeerFrame.write(PeerFrameKind.alive.rawValue, into: &$0) { _ in } }
    }

    private func sendWhole(_ encode: (inout ByteBuffer) -> Void) {
        self.enqueue { buffer in
            encode(&buffer)
            return nil
        }
    }

    private func enqueue(_ encode: (inout ByteBuffer) -> ByteBuffer?) {
        self.hasSpoken = true
        self.outbox.add(encode)
        if let kind = self.kind, self.outbox.queuedBytes >= self.mesh.limits.queueBytes(kind) {
            self.isHigh = true
        }
        guard !self.isFlushDue, let context = self.context else { return }
        self.isFlushDue = true
        // All that is sent in this turn of the loop goes in one flush.
        context.eventLoop.assumeIsolated().execute {
            self.isFlushDue = false
            self.flush()
        }
    }

    private func flush() {
        guard let context = self.context, !self.outbox.isEmpty else { return }
        if case .closed = self.state { return }
        var held: ByteBuffer?
        let taken = self.outbox.take { buffer in
            if let held { context.write(Self.wrapOutboundOut(held), promise: nil) }
            held = buffer
        }
        guard let last = held else { return }
        let promise = context.eventLoop.makePromise(of: Void.self)
        promise.futureResult.assumeIsolated().whenComplete { _ in self.written(taken) }
        context.writeAndFlush(Self.wrapOutboundOut(last), promise: promise)
        self.mesh.count(out: taken, self.kind ?? .control)
    }

    private func written(_ bytes: Int) {
        self.outbox.written(bytes)
        self.stalledTicks = 0
        self.flush()
        guard self.isHigh, let kind = self.kind,
            self.outbox.queuedBytes <= self.mesh.limits.queueBytes(kind) / 2
        else { return }
        self.isHigh = false
        if self.isUp { self.mesh.drained(self) }
    }

    // MARK: Time

    /// Once a tick of the mesh.
    func tick() {
        self.stateTicks += 1
        let limits = self.mesh.limits
        switch self.state {
        case .securing, .greeting, .confirming:
            if self.stateTicks > limits.greetingTicks {
                self.refuse(PeerRefusal(.timeout, "no Hello in time"))
            }
        case .up:
            if !self.isPaused { self.silentTicks += 1 }
            if self.outbox.queuedBytes > 0 { self.stalledTicks += 1 }
            if self.silentTicks > limits.silenceTicks {
                self.refuse(PeerRefusal(.silent, "nothing was heard for too long"))
            } else if self.stalledTicks > limits.stallTicks {
                self.end(PeerRefusal(.stalled, "nothing was taken for too long"))
                self.context?.channel.abort()
            } else if !self.hasSpoken, self.outbox.queuedBytes == 0 {
                self.sendAlive()
            }
            self.hasSpoken = false
        case .leaving:
            if self.stateTicks > limits.leavingTicks { self.context?.close(promise: nil) }
        case .closed:
            break
        }
    }

    // MARK: The end

    /// Says why, and ends.
    private func refuse(_ refusal: PeerRefusal) {
        let isSecured = if case .securing = self.state { false } else { true }
        self.end(refusal)
        if isSecured {
            self.leave(Goodbye(label: refusal.cause.rawValue, sentence: refusal.sentence))
        } else {
            self.context?.close(promise: nil)
        }
    }

    /// Says goodbye and reads on until the peer closes or its time is over.
    private func leave(_ goodbye: Goodbye) {
        self.end(nil)
        guard self.context != nil else { return }
        self.state = .leaving
        self.stateTicks = 0
        self.isPaused = false
        self.outbox.clear()
        self.sendWhole { goodbye.encode(into: &$0) }
        self.mesh.watchLeaving(self)
        self.context?.read()
    }

    /// Closes without a word of blame: another connection takes its place, or the mesh stops.
    func close(_ goodbye: Goodbye? = nil) {
        if let goodbye, self.isGreeted || self.dialed != nil {
            if case .securing = self.state {
            } else {
                self.leave(goodbye)
                return
            }
        }
        self.end(nil)
        self.context?.close(promise: nil)
    }

    /// Tells the mesh, once; the channel is the caller's to close.
    private func end(_ refusal: PeerRefusal?, label: String? = nil) {
        switch self.state {
        case .closed:
            return
        case .leaving:
            self.state = .closed
            self.mesh.left(self)
        case .securing, .greeting, .confirming, .up:
            let wasUp = self.isUp
            self.state = .closed
            self.outbox.clear()
            self.mesh.linkEnded(self, wasUp: wasUp, refusal, label: label)
        }
    }
}

extension PeerFrameError {
    /// What the peer and the operator read.
    var sentence: String {
        switch self {
        case .tooLong(let kind, let bytes): "a frame of kind \(kind) with \(bytes) bytes"
        case .checksum: "a frame whose checksum is wrong"
        case .flags(let flags): "a frame with flags that are not known (\(flags))"
        }
    }
}
