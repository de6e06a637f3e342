// AdminQuestion.swift - one question to a node's admin interface.
//
// Limits    answerTimeout, answerBytesMax; each question has a connection of its own.

import NIOCore
import NIOPosix
import Primitives

struct AdminAnswer: Sendable {
    var status: Int
    var body: [UInt8]

    /// Nil: not JSON.
    var json: JSON? {
        do {
            return try JSON.parse(self.body)
        } catch {
            return nil
        }
    }
}

enum AdminQuestion {
    static let answerTimeout = TimeAmount.seconds(3)
    static let answerBytesMax = 256 << 20

    /// - Returns: nil: no answer.
    static func ask(_ port: Int, _ path: String, on group: any EventLoopGroup) async -> AdminAnswer?
    {
        let loop = group.next()
        let promise = loop.makePromise(of: [UInt8]?.self)
        let timeout = loop.scheduleTask(in: Self.answerTimeout) { promise.succeed(nil) }
        ClientBootstrap(group: loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Collector(promise))
                }
            }
            .connect(host: "127.0.0.1", port: port)
            .whenComplete { result in
                switch result {
                case .failure: promise.succeed(nil)
                case .success(let channel):
                    // Version 1.0: the answer comes in one piece and ends with the connection.
                    let text =
                        "GET \(path) HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
                    channel.writeAndFlush(ByteBuffer(string: text), promise: nil)
                    promise.futureResult.whenComplete { _ in channel.close(promise: nil) }
                }
            }
        let bytes: [UInt8]?
        do {
            bytes = try await promise.futureResult.get()
        } catch {
            bytes = nil
        }
        timeout.cancel()
        return bytes.flatMap { Self.parse($0) }
    }

    static func parse(_ bytes: [UInt8]) -> AdminAnswer? {
        let blank = Array("\r\n\r\n".utf8)
        var at = 0
        while at + 4 <= bytes.count, !bytes[at..<(at + 4)].elementsEqual(blank) { at += 1 }
        let head = String(decoding: bytes.prefix(at), as: UTF8.self)
        guard at + 4 <= bytes.count,
            let status = head.split(separator: " ").dropFirst().first.flatMap({ Int($0) })
        else { return nil }
        return AdminAnswer(status: status, body: Array(bytes[(at + 4)...]))
    }

    private final class Collector: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        private let promise: EventLoopPromise<[UInt8]?>
        private var bytes: [UInt8] = []

        init(_ promise: EventLoopPromise<[UInt8]?>) { self.promise = promise }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            self.bytes.append(contentsOf: self.unwrapInboundIn(data).readableBytesView)
            if self.bytes.count > AdminQuestion.answerBytesMax { context.close(promise: nil) }
        }

        func channelInactive(context: ChannelHandlerContext) { self.promise.succeed(self.bytes) }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            context.close(promise: nil)
        }
    }
}
