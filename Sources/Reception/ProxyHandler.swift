// ProxyHandler.swift - first in the pipeline of a listener with `proxy_protocol`: waits for the
// header, then makes way for TLS and the session.
//
// Takes     bytes; the peer is one of `proxy_trusted`.
// Gives     the header and what came behind it in the same piece, once; or closes without a word.
// Limits    `Limit.headerTime`, from the moment in which the connection was accepted.
// Standard  The PROXY protocol §2: the receiver waits for the whole header before anything else is
//           said or read, and gives up after 3 s at the earliest.

import Logging
import NIOCore
import Networking
import Primitives
import SMTP

final class ProxyHandler: ChannelInboundHandler, RemovableChannelHandler, SessionGuest {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    enum Limit {
        /// A header, all of it.
        static let headerTime = TimeAmount.seconds(5)
    }

    private let shared: SessionContext
    private let door: ProxyDoor
    private let peer: IPAddress
    private let onStart: (ProxyHandler) -> Void
    private let onEnd: (ProxyHandler) -> Void
    /// Adds the handlers behind this one. The buffer holds what came behind the header; what it
    /// gives back goes to the first of those handlers.
    private let open: (Caller, ByteBuffer) throws -> ByteBuffer
    private var parser = ProxyParser()
    private var timer: Scheduled<Void>?
    private var context: ChannelHandlerContext?
    private var isWaiting = false

    init(
        _ shared: SessionContext, _ door: ProxyDoor, peer: IPAddress,
        onStart: @escaping (ProxyHandler) -> Void = { _ in },
        onEnd: @escaping (ProxyHandler) -> Void = { _ in },
        open: @escaping (Caller, ByteBuffer) throws -> ByteBuffer
    ) {
        self.shared = shared
        self.door = door
        self.peer = peer
        self.onStart = onStart
        self.onEnd = onEnd
        self.open = open
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        guard self.door.enter() else { return self.refuse(.tooMany, context) }
        self.isWaiting = true
        self.onStart(self)
        let loop = context.eventLoop.assumeIsolated()
        self.timer = loop.scheduleTask(in: Limit.headerTime) {
            self.timer = nil
            if self.isWaiting { self.refuse(.timeout, context) }
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.end()
        self.context = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // Closed, and the rest of the same read.
        guard self.isWaiting else { return }
        var bytes = Self.unwrapInboundIn(data)
        while let byte = bytes.readInteger(as: UInt8.self) {
            switch self.parser.receive(byte) {
            case .more: continue
            case .refused(let reason): return self.refuse(reason, context)
            case .header(let header): return self.makeWay(header, bytes, context)
            }
        }
    }

    private func makeWay(
        _ header: ProxyHeader, _ rest: ByteBuffer, _ context: ChannelHandlerContext
    ) {
        self.end()
        do {
            let rest = try self.open(Caller(header, from: self.peer), rest)
            if rest.readableBytes > 0 { context.fireChannelRead(Self.wrapInboundOut(rest)) }
            context.pipeline.syncOperations.removeHandler(self, promise: nil)
        } catch {
            self.shared.log.warning(
                "session cannot start", metadata: ["reason": "\(error)", "peer": "\(self.peer)"])
            context.close(promise: nil)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        if self.isWaiting {
            if self.parser.isEmpty {
                // A look at the port, as balancers and monitors do it.
                self.shared.meters.probe(.silent)
            } else {
                self.door.note(.cutOff, from: self.peer, at: SystemClock.bootTime())
            }
        }
        self.end()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    private func refuse(_ reason: ProxyRefusal, _ context: ChannelHandlerContext) {
        self.door.note(reason, from: self.peer, at: SystemClock.bootTime())
        self.end()
        context.close(promise: nil)
    }

    /// Nothing is awaited any more.
    private func end() {
        guard self.isWaiting else { return }
        self.isWaiting = false
        self.timer?.cancel()
        self.timer = nil
        self.door.leave()
        self.onEnd(self)
    }

    // MARK: The node stops

    func stop() {
        guard let context = self.context, self.isWaiting else { return }
        self.refuse(.stopping, context)
    }

    func cut() { self.stop() }
}
