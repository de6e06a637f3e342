// FrontPort.swift - a small balancer: one port in front of the nodes.
//
// Takes     TCP connections on 127.0.0.1; which nodes answer /readyz.
// Gives     each connection to the next node in turn; one that refuses is passed over for the next.
// Limits    one buffer of a read in each direction: who does not read is not read from.

import NIOCore
import NIOPosix
import Synchronization

final class FrontPort: Sendable {
    private struct State: Sendable {
        var isReady: [Bool]
        var next = 0
    }

    private let ports: [Int]
    private let state: Mutex<State>

    /// - Parameter ports: of the nodes, by place.
    init(_ ports: [Int]) {
        self.ports = ports
        self.state = Mutex(State(isReady: ports.map { _ in false }))
    }

    /// Begins to listen.
    ///
    /// - Returns: the port, chosen by the system.
    func start(on group: any EventLoopGroup) async throws -> Int {
        let channel = try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 1024)
            .childChannelOption(.autoRead, value: false)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let half = Half()
                    try channel.pipeline.syncOperations.addHandler(half)
                    self.connect(half, channel, self.order[...])
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        return channel.localAddress?.port ?? 0
    }

    func note(_ place: Int, isReady: Bool) {
        self.state.withLock { $0.isReady[place] = isReady }
    }

    /// In which order a connection tries the nodes: those that are ready, in turn.
    var order: [Int] {
        self.state.withLock { state in
            let places = (0..<self.ports.count).map { (state.next + $0) % self.ports.count }
                .filter { state.isReady[$0] }
            if let first = places.first { state.next = (first + 1) % self.ports.count }
            return places
        }
    }

    private func connect(_ half: Half, _ channel: any Channel, _ places: ArraySlice<Int>) {
        guard let place = places.first else {
            let text = "421 4.3.2 no node takes mail now\r\n"
            channel.writeAndFlush(ByteBuffer(string: text)).whenComplete { _ in
                channel.close(promise: nil)
            }
            return
        }
        let near = NIOLoopBound(half, eventLoop: channel.eventLoop)
        ClientBootstrap(group: channel.eventLoop)
            .connectTimeout(.seconds(2))
            .channelOption(.autoRead, value: false)
            .channelOption(.allowRemoteHalfClosure, value: true)
            .channelInitializer { other in
                other.eventLoop.makeCompletedFuture {
                    let far = Half()
                    far.partner = near.value
                    try other.pipeline.syncOperations.addHandler(far)
                }
            }
            .connect(host: "127.0.0.1", port: self.ports[place])
            .whenComplete { result in
                switch result {
                case .success(let other): Self.join(near.value, channel, other)
                case .failure: self.connect(near.value, channel, places.dropFirst())
                }
            }
    }

    private static func join(_ near: Half, _ channel: any Channel, _ other: any Channel) {
        do {
            near.partner = try other.pipeline.syncOperations.handler(type: Half.self)
        } catch {
            // It has been closed in the meantime.
            channel.close(promise: nil)
            other.close(promise: nil)
            return
        }
        guard channel.isActive else { return other.close(promise: nil) }
        channel.read()
        other.read()
    }
}

/// One side of a connection through the front port; both sides are on one event loop.
private final class Half: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    var partner: Half?
    private var context: ChannelHandlerContext?

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        self.partner = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard let other = self.partner?.context else { return }
        let bytes = self.unwrapInboundIn(data)
        other.write(NIOAny(bytes), promise: nil)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        guard let other = self.partner?.context else { return }
        other.flush()
        if other.channel.isWritable { context.read() }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { self.partner?.context?.read() }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let event = event as? ChannelEvent, event == .inputClosed {
            self.partner?.context?.close(mode: .output, promise: nil)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.partner?.context?.close(promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}
