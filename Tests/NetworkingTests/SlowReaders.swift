// SlowReaders.swift - handlers that read one piece after the other, for SocketTests.

import NIOCore
import Networking

/// Tells that something has come.
final class FirstRead: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    private let promise: EventLoopPromise<Void>
    init(_ promise: EventLoopPromise<Void>) { self.promise = promise }
    func channelRead(context: ChannelHandlerContext, data: NIOAny) { self.promise.succeed() }
    func channelInactive(context: ChannelHandlerContext) {
        self.promise.fail(ChannelError.alreadyClosed)
    }
}

/// Asks for the next read only after it has got something; answers when it has got all, and
/// tells how much had come when the peer says that it has ended.
final class OneByOne: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer
    private let promise: EventLoopPromise<Int>
    private var count = 0
    init(_ promise: EventLoopPromise<Int>) { self.promise = promise }
    func channelActive(context: ChannelHandlerContext) { context.read() }
    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.count += Self.unwrapInboundIn(data).readableBytes
        if self.count == 200_000 {
            let answer = ByteBuffer(string: "all")
            context.writeAndFlush(Self.wrapOutboundOut(answer), promise: nil)
        }
        context.read()
    }
    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let event = event as? TLSEvent, event == .peerClosed {
            self.promise.succeed(self.count)
        }
    }
    func channelInactive(context: ChannelHandlerContext) { self.promise.succeed(-1) }
}
