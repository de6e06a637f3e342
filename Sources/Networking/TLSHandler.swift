// TLSHandler.swift - TLS between the socket and the one handler above it.
//
// Takes     a connection of OpenSSL; ciphertext from the socket, plaintext from above.
// Gives     plaintext upwards, ciphertext downwards, `TLSEvent` as inbound user events,
//           `TLSFailure` as an error followed by the end of the channel.
// Never     touches what was read before it was added: after STARTTLS the handler above throws its
//           buffered plaintext away (RFC 3207 §4.2).
// Standard  RFC 8446 §6.1 (close_notify, truncation), RFC 3207, RFC 8314.

package import NIOCore
package import OpenSSL
package import Primitives

/// Inbound user events.
package enum TLSEvent: Equatable, Sendable {
    /// The handshake has finished; comes before any plaintext. Writes were held until now.
    case established(TLSInfo)
    /// The peer's close_notify: all that it sent has arrived. Unless the channel allows
    /// half-closure it is closed after this.
    case peerClosed
    /// The connection ended without close_notify: what came may be cut off.
    case truncated
}

/// Why TLS ended a channel; comes by `errorCaught`, once, before the channel closes.
package enum TLSFailure: Error, Equatable, Sendable {
    case handshake(OpenSSLError)
    case handshakeTimedOut
    /// The peer went away in the middle of the handshake.
    case handshakeCutOff
    /// A record that cannot be read, after the handshake.
    case broken(OpenSSLError)

    /// For metrics.
    package var label: StaticLabel {
        switch self {
        case .handshake(let error): error.label
        case .handshakeTimedOut: "tls_handshake_timeout"
        case .handshakeCutOff: "tls_handshake_cut_off"
        case .broken(let error): error.label
        }
    }

    /// For logs and the queue's last reply, in one line.
    package var detail: String {
        switch self {
        case .handshake(let error): error.detail
        case .handshakeTimedOut: "TLS handshake timed out"
        case .handshakeCutOff: "connection lost during the TLS handshake"
        case .broken(let error): error.detail
        }
    }
}

/// Outbound user event: the channel is about to be reset; no close_notify, no waiting.
struct TLSAbandon: Sendable {}

/// Server or client, as the connection says. Add it first in the pipeline, also of a channel that
/// is in use (`ChannelHandlerContext.startTLS`). The handshake starts when the channel is active.
///
/// Writes before its end are held; a close before its end drops them. A close afterwards sends what
/// was flushed and close_notify first, and waits for the kernel to take them, not for the peer.
package final class TLSHandler: ChannelDuplexHandler {
    package typealias InboundIn = ByteBuffer
    package typealias InboundOut = ByteBuffer
    package typealias OutboundIn = ByteBuffer
    package typealias OutboundOut = ByteBuffer

    private enum State {
        case idle, handshaking, open
        /// close_notify is on its way to the kernel.
        case closing
        case closed
    }

    /// How long a close waits for the kernel to take close_notify and what stands before it.
    static let closeTimeout = TimeAmount.seconds(5)
    /// Small writes of one flush share a record up to this size (RFC 8446 §5.1).
    private static let recordBytes = 16_384

    private let connection: TLSConnection
    private let handshakeTimeout: TimeAmount
    private var state = State.idle
    private var timer: Scheduled<Void>?
    private var pending = MarkedCircularBuffer<PendingWrite>(initialCapacity: 4)
    private var gathered = ByteBuffer()
    private var closePromise: EventLoopPromise<Void>?
    private var peerHasClosed = false
    /// Ciphertext is written and not flushed.
    private var owesFlush = false
    private var readRequested = false

    private struct PendingWrite {
        var bytes: ByteBuffer
        var promise: EventLoopPromise<Void>?
    }

    /// - Parameter handshakeTimeout: from the moment in which the channel is active.
    package init(_ connection: TLSConnection, handshakeTimeout: Duration) {
        self.connection = connection
        self.handshakeTimeout = .nanoseconds(handshakeTimeout.inNanoseconds)
    }

    package func handlerAdded(context: ChannelHandlerContext) {
        if context.channel.isActive { self.start(context) }
    }

    package func handlerRemoved(context: ChannelHandlerContext) {
        self.end(context)
    }

    package func channelActive(context: ChannelHandlerContext) {
        self.start(context)
        context.fireChannelActive()
    }

    private func start(_ context: ChannelHandlerContext) {
        guard case .idle = self.state else { return }
        self.state = .handshaking
        let loop = context.eventLoop.assumeIsolated()
        self.timer = loop.scheduleTask(in: self.handshakeTimeout) {
            self.fail(.handshakeTimedOut, context)
        }
        if self.connection.role == .client {
            self.shakeHands(context)
            self.flushIfOwed(context)
        }
        context.read()
    }

    // MARK: Inbound

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let ciphertext = Self.unwrapInboundIn(data)
        ciphertext.withUnsafeReadableBytes { bytes in
            self.connection.withInput(bytes) { self.takeInput(context) }
        }
    }

    private func takeInput(_ context: ChannelHandlerContext) {
        if case .handshaking = self.state { self.shakeHands(context) }
        if case .open = self.state { self.decrypt(context) }
    }

    private func shakeHands(_ context: ChannelHandlerContext) {
        switch self.connection.handshake() {
        case .finished:
            self.state = .open
            self.timer?.cancel()
            self.timer = nil
            self.writeOutput(context, promise: nil)
            context.fireUserInboundEventTriggered(
                TLSEvent.established(self.connection.info))
            if case .open = self.state { self.encrypt(context) }
        case .wantsInput:
            self.writeOutput(context, promise: nil)
        case .failed(let error):
            self.fail(.handshake(error), context)
        }
    }

    /// Reads all lent input, passes it on in one piece, then what ended the reading.
    private func decrypt(_ context: ChannelHandlerContext) {
        if self.peerHasClosed { return }
        // Plaintext is shorter than its ciphertext, so the buffer grows only for a record of which
        // the greater part came before.
        var plaintext = context.channel.allocator.buffer(capacity: self.connection.inputBytes)
        var last = TLSConnection.Read.wantsInput
        repeat {
            let room = max(self.connection.inputBytes, self.connection.pendingBytes, 1)
            plaintext.writeWithUnsafeMutableBytes(minimumWritableBytes: room) { target in
                last = self.connection.read(into: target)
                guard case .bytes(let count) = last else { return 0 }
                return count
            }
        } while last.isBytes && self.connection.inputBytes + self.connection.pendingBytes > 0
        // An alert or the answer to a key update.
        self.writeOutput(context, promise: nil)
        if plaintext.readableBytes > 0 {
            self.readRequested = false
            context.fireChannelRead(Self.wrapInboundOut(plaintext))
        }
        switch last {
        case .bytes, .wantsInput:
            break
        case .peerClosed:
            self.peerHasClosed = true
            context.fireUserInboundEventTriggered(TLSEvent.peerClosed)
            if case .open = self.state, !Self.allowsHalfClosure(context) {
                context.channel.close(promise: nil)
            }
        case .failed(let error):
            self.fail(.broken(error), context)
        }
    }

    private static func allowsHalfClosure(_ context: ChannelHandlerContext) -> Bool {
        do {
            let options = context.channel.syncOptions
            return try options?.getOption(ChannelOptions.allowRemoteHalfClosure) ?? false
        } catch {
            return false  // a channel without this option has no half-closure
        }
    }

    package func channelReadComplete(context: ChannelHandlerContext) {
        context.fireChannelReadComplete()
        self.flushIfOwed(context)
        // The reader above waits for plaintext and got none, or waits for nothing while we shake
        // hands: the next bytes are ours to ask for.
        switch self.state {
        case .handshaking: context.read()
        case .open: if self.readRequested { context.read() }
        case .idle, .closing, .closed: break
        }
    }

    package func read(context: ChannelHandlerContext) {
        self.readRequested = true
        context.read()
    }

    package func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let channelEvent = event as? ChannelEvent, channelEvent == .inputClosed {
            switch self.state {
            case .handshaking: self.fail(.handshakeCutOff, context)
            case .open: self.noticeTruncation(context)
            case .idle, .closing, .closed: break
            }
        }
        context.fireUserInboundEventTriggered(event)
    }

    package func channelInactive(context: ChannelHandlerContext) {
        switch self.state {
        case .handshaking:
            self.end(context)
            context.fireErrorCaught(TLSFailure.handshakeCutOff)
        case .open:
            self.noticeTruncation(context)
            self.end(context)
        case .idle, .closing, .closed:
            self.end(context)
        }
        context.fireChannelInactive()
    }

    private func noticeTruncation(_ context: ChannelHandlerContext) {
        if self.peerHasClosed { return }
        self.peerHasClosed = true
        context.fireUserInboundEventTriggered(TLSEvent.truncated)
    }

    // MARK: Outbound

    package func write(
        context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?
    ) {
        switch self.state {
        case .idle, .handshaking, .open:
            self.pending.append(PendingWrite(bytes: Self.unwrapOutboundIn(data), promise: promise))
        case .closing, .closed:
            promise?.fail(ChannelError.ioOnClosedChannel)
        }
    }

    package func flush(context: ChannelHandlerContext) {
        self.pending.mark()
        if case .open = self.state { self.encrypt(context) }
        self.owesFlush = false
        context.flush()
    }

    /// Encrypts what was flushed from above. One write goes down for all of it; the first promise
    /// rides on it and the others follow that one.
    private func encrypt(_ context: ChannelHandlerContext) {
        guard self.pending.hasMark else { return }
        var promise: EventLoopPromise<Void>?
        var fault: OpenSSLError?
        while self.pending.hasMark, fault == nil {
            var write = self.pending.removeFirst()
            if let own = write.promise {
                if let promise { promise.futureResult.cascade(to: own) } else { promise = own }
            }
            let alone = self.gathered.readableBytes == 0 && !self.pending.hasMark
            if alone || write.bytes.readableBytes >= Self.recordBytes {
                fault = self.encryptGathered() ?? self.encrypt(write.bytes)
            } else {
                self.gathered.writeBuffer(&write.bytes)
                if self.gathered.readableBytes >= Self.recordBytes {
                    fault = self.encryptGathered()
                }
            }
        }
        if let fault = fault ?? self.encryptGathered() {
            promise?.fail(TLSFailure.broken(fault))
            self.fail(.broken(fault), context)
            return
        }
        self.writeOutput(context, promise: promise)
    }

    private func encryptGathered() -> OpenSSLError? {
        guard self.gathered.readableBytes > 0 else { return nil }
        let fault = self.encrypt(self.gathered)
        self.gathered.clear(minimumCapacity: 0)
        return fault
    }

    private func encrypt(_ plaintext: ByteBuffer) -> OpenSSLError? {
        plaintext.withUnsafeReadableBytes { self.connection.write($0) }
    }

    /// Hands OpenSSL's output to the socket; it is flushed later.
    private func writeOutput(_ context: ChannelHandlerContext, promise: EventLoopPromise<Void>?) {
        guard self.connection.outputBytes > 0 else {
            promise?.succeed()
            return
        }
        let ciphertext = self.connection.takeOutput { bytes in
            var buffer = context.channel.allocator.buffer(capacity: bytes.count)
            buffer.writeBytes(bytes)
            return buffer
        }
        self.owesFlush = true
        context.write(Self.wrapOutboundOut(ciphertext), promise: promise)
    }

    private func flushIfOwed(_ context: ChannelHandlerContext) {
        guard self.owesFlush else { return }
        self.owesFlush = false
        context.flush()
    }

    // MARK: The end

    package func close(
        context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?
    ) {
        switch (self.state, mode) {
        case (_, .input), (.idle, .output), (.closed, _), (.idle, .all):
            self.failPending()
            context.close(mode: mode, promise: promise)
        case (.handshaking, .output), (.handshaking, .all):
            self.end(context)
            context.close(mode: .all, promise: promise)
        case (.open, .output):
            self.sendNotice(context, promise: nil)
            self.flushIfOwed(context)
            context.close(mode: .output, promise: promise)
        case (.open, .all):
            self.closeAfterNotice(context, promise)
        case (.closing, _):
            if let promise {
                if let first = self.closePromise {
                    first.futureResult.cascade(to: promise)
                } else {
                    self.closePromise = promise
                }
            }
        }
    }

    private func sendNotice(_ context: ChannelHandlerContext, promise: EventLoopPromise<Void>?) {
        self.encrypt(context)
        self.connection.close()
        self.writeOutput(context, promise: promise)
    }

    /// NIO drops what it has not written when a channel closes, so the close waits until the kernel
    /// has taken close_notify, at most `closeTimeout`.
    private func closeAfterNotice(
        _ context: ChannelHandlerContext, _ promise: EventLoopPromise<Void>?
    ) {
        self.closePromise = promise
        let written = context.eventLoop.makePromise(of: Void.self)
        self.sendNotice(context, promise: written)
        // Not open: encrypting failed, and that has closed the channel.
        guard case .open = self.state else { return }
        self.state = .closing
        self.failPending()
        let loop = context.eventLoop.assumeIsolated()
        self.timer = loop.scheduleTask(in: Self.closeTimeout) { self.finish(context) }
        written.futureResult.assumeIsolated().whenComplete { _ in self.finish(context) }
        self.flushIfOwed(context)
    }

    private func finish(_ context: ChannelHandlerContext) {
        guard case .closing = self.state else { return }
        let promise = self.closePromise
        self.closePromise = nil
        self.end(context)
        context.close(mode: .all, promise: promise)
    }

    /// Sends the alert that OpenSSL may have made, says why, and closes.
    private func fail(_ failure: TLSFailure, _ context: ChannelHandlerContext) {
        if case .closed = self.state { return }
        self.writeOutput(context, promise: nil)
        self.flushIfOwed(context)
        self.end(context)
        context.fireErrorCaught(failure)
        context.close(mode: .all, promise: nil)
    }

    private func end(_ context: ChannelHandlerContext) {
        self.state = .closed
        self.timer?.cancel()
        self.timer = nil
        self.failPending()
        let promise = self.closePromise
        self.closePromise = nil
        promise?.succeed()
    }

    private func failPending() {
        while let write = self.pending.popFirst() {
            write.promise?.fail(ChannelError.ioOnClosedChannel)
        }
    }

    package func triggerUserOutboundEvent(
        context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?
    ) {
        if event is TLSAbandon {
            self.end(context)
            promise?.succeed()
        } else {
            context.triggerUserOutboundEvent(event, promise: promise)
        }
    }
}

extension TLSConnection.Read {
    fileprivate var isBytes: Bool {
        switch self {
        case .bytes: true
        case .wantsInput, .peerClosed, .failed: false
        }
    }
}

extension ChannelHandlerContext {
    /// Puts TLS under this handler on a channel in use. A server flushes its go-ahead first and
    /// throws away all plaintext that it has not interpreted (RFC 3207 §4.2).
    package func startTLS(
        _ connection: TLSConnection, handshakeTimeout: Duration
    ) throws {
        let handler = TLSHandler(connection, handshakeTimeout: handshakeTimeout)
        try self.pipeline.syncOperations.addHandler(handler, position: .first)
    }
}
