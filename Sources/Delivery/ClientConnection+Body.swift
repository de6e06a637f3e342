// ClientConnection+Body.swift - the message behind 354, and its final dot.
//
// Takes     the body of the current piece; the channel's writability.
// Gives     small messages as one write with the dot and the next transaction's commands; large
//           ones as slices, and only their end with the dot.
// Durable   nothing; but the dot leaves only with the desk's permission, asked right before, and,
//           if there are other nodes, not behind anything that the peer's kernel has not got
//           (Docs/Invariants.md 6).
// Standard  RFC 5321 §4.1.1.4, §4.5.2, §4.5.3.2.5; RFC 2920 §3.1; RFC 5482 (user timeout).
//
// The final write is guarded if another node could get the lease (Docs/Decisions/0009): the desk
// promises that it holds for G at least, and the kernel gives the connection up when it gets no
// acknowledgement for G. So the dot is not sent again and again by TCP when somebody else has the
// lease. For that G must begin with the dot:
//   small message  354 has come; DATA was the last that was written, so the peer has all of it.
//                  Nobody is asked, nothing is waited for.
//   large message  slices were written behind 354: TCP_INFO is asked until it knows of nothing that
//                  is unsent or unacknowledged.

import Cluster
import Logging
import NIOCore
import Networking
import Primitives
import SMTP

/// What is left of a large message.
struct OutgoingBody {
    /// In order; the first is partly sent.
    var parts: ArraySlice<ByteBuffer>
    /// Of the whole rest, loaded or not.
    var bytes: Int
    /// Where the rest behind `parts` comes from; nil: there is none, and all is right.
    var source: BodySource?
    /// A piece has been asked for.
    var isReading = false
    var stuffer = DotStuffer()
    /// All but the final write has left NIO; the peer's kernel is waited for.
    var wait: AcknowledgementWait?

    init(parts: ArraySlice<ByteBuffer>, bytes: Int, source: BodySource?) {
        self.parts = parts
        self.bytes = bytes
        self.source = source
    }

    var loadedBytes: Int { self.parts.reduce(0) { $0 + $1.readableBytes } }
}

extension ClientConnection {
    enum BodyLimit {
        /// The final write: the rest of the message and the dot.
        static let finalBytes = 65_536
        /// One slice of a large message.
        static let sliceBytes = 131_072
    }

    /// 354 has come.
    func sendBody() {
        guard let lease = self.current?.lease else { unreachable("a body without a lease") }
        var outgoing: OutgoingBody
        if let opened = self.opened {
            self.opened = nil
            outgoing = OutgoingBody(
                parts: opened.parts[...], bytes: opened.source.byteCount,
                source: opened.isWhole ? nil : opened.source)
        } else if let body = lease.body {
            outgoing = OutgoingBody(parts: body.parts[...], bytes: body.byteCount, source: nil)
        } else {
            unreachable("a body that nobody has")
        }
        if self.session.options.dialect == .lmtp {
            let path = ByteBuffer(string: Piece.returnPath(lease.delivery.sender))
            outgoing.bytes += path.readableBytes
            outgoing.parts.insert(path, at: outgoing.parts.startIndex)
        }
        if outgoing.bytes <= BodyLimit.finalBytes && outgoing.source == nil {
            self.finalWrite(&outgoing)
        } else {
            self.outgoing = outgoing
            self.flush()
            self.writeSlices()
        }
    }

    /// Writes as long as the channel takes it; the end waits until all before it has left NIO.
    func writeSlices() {
        guard !self.isWritingSlices, var outgoing = self.outgoing, outgoing.wait == nil,
            let context = self.context
        else { return }
        // A write may complete before it returns; what follows from that waits for this loop.
        self.isWritingSlices = true
        self.outgoing = nil
        while outgoing.bytes > BodyLimit.finalBytes && context.channel.isWritable {
            guard var part = outgoing.parts.popFirst() else { break }
            let length = min(
                part.readableBytes, BodyLimit.sliceBytes, outgoing.bytes - BodyLimit.finalBytes)
            guard let slice = part.readSlice(length: length) else { unreachable("slice of a part") }
            if part.readableBytes > 0 { outgoing.parts.insert(part, at: outgoing.parts.startIndex) }
            outgoing.bytes -= length
            outgoing.stuffer.slices(slice) { piece in
                context.write(Self.wrapOutboundOut(piece), promise: nil)
            }
            self.unwrittenSlices += 1
            let promise = context.eventLoop.makePromise(of: Void.self)
            promise.futureResult.assumeIsolated().whenSuccess { self.sliceWritten() }
            context.writeAndFlush(Self.wrapOutboundOut(ByteBuffer()), promise: promise)
        }
        self.isWritingSlices = false
        guard !self.hasEnded else { return }
        self.rearm(NIODeadline.now())
        let isWritten =
            outgoing.bytes <= BodyLimit.finalBytes && outgoing.source == nil
            && self.unwrittenSlices == 0
        if isWritten { outgoing.wait = AcknowledgementWait() }
        self.outgoing = outgoing
        if isWritten { self.approachDot() } else { self.readOn() }
    }

    /// All but the final write has left NIO: it goes as soon as the peer's kernel has the rest, or
    /// at once if it needs no guard.
    private func approachDot() {
        // 1 The timer below was set; 2 the connection ended: nothing is outgoing any more.
        guard var outgoing = self.outgoing, outgoing.wait != nil, let context = self.context
        else { return }
        let isIdle =
            self.desk.dotGuard == nil || context.channel.transmitState()?.isIdle == true
        switch outgoing.wait?.look(isIdle: isIdle) {
        case .go:
            self.outgoing = nil
            self.prepareOut()
            self.finalWrite(&outgoing)
            self.flush()
        case .lookAgain(let pause):
            self.outgoing = outgoing
            context.eventLoop.assumeIsolated().scheduleTask(
                in: .nanoseconds(pause.inNanoseconds)
            ) { self.approachDot() }
        case .giveUp, nil:
            self.perform(self.session.end(.timedOut))
        }
    }

    private func sliceWritten() {
        self.unwrittenSlices -= 1
        self.writeSlices()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { self.writeSlices() }
        context.fireChannelWritabilityChanged()
    }

    /// The rest, the dot, and the next transaction's commands, appended to `out`.
    private func finalWrite(_ outgoing: inout OutgoingBody) {
        guard let lease = self.current?.lease else { unreachable("a body without a lease") }
        guard self.desk.mayFinish(lease.delivery) else {
            self.cut()
            return
        }
        if let time = self.desk.dotGuard { self.guardDot(for: time) }
        self.out.reserveCapacity(minimumWritableBytes: outgoing.bytes + outgoing.bytes / 64 + 512)
        for part in outgoing.parts { outgoing.stuffer.copy(part, into: &self.out) }
        outgoing.stuffer.end(into: &self.out)
        self.beginBehind()
        self.session.bodySent()
        self.rearm(NIODeadline.now())
    }

    /// How long the kernel may wait for an acknowledgement of what it has got (RFC 5482); zero: as
    /// long as it does by default, which is for everything but a final write.
    func guardDot(for timeout: Duration) {
        self.isDotGuarded = timeout > .zero
        if self.userTimeout == nil, let context = self.context {
            self.userTimeout = UserTimeout(of: context.channel)
        }
        guard self.userTimeout?.set(timeout) != true else { return }
        // Closed already: its end is on the way to us, and no byte of ours can leave it any more.
        self.owner.log.debug("user timeout refused", metadata: ["host": "\(self.host.name)"])
    }
}
