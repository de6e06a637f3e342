// SinkPort.swift - an SMTP server that takes everything, and notes every arrival.
//
// Takes     mail of the nodes: their route is "*".
// Gives     each message's mark, or a few words about one that is not of the load, at its final
//           dot and before the 250: what is noted may be sent again, and counts then.

import NIOCore
import NIOPosix
import Primitives

/// One message that came.
enum DemoArrival: Equatable, Sendable {
    /// Of a load.
    case marked(DemoMark)
    /// Somebody's.
    case other(from: String, to: [String], subject: String)
}

enum SinkPort {
    /// Begins to listen.
    ///
    /// - Returns: the port, chosen by the system.
    static func start(
        on group: any EventLoopGroup, arrived: @escaping @Sendable (DemoArrival) -> Void
    ) async throws -> Int {
        let channel = try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 1024)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(SinkSession(arrived))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        return channel.localAddress?.port ?? 0
    }
}

private final class SinkSession: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer
    private static let recipientsMax = 1000

    private enum State {
        case commands
        case header
        case body
    }

    private let arrived: @Sendable (DemoArrival) -> Void
    private var state = State.commands
    private var lines = LineReader()
    private var from = ""
    private var to: [String] = []
    private var mark: DemoMark?
    private var subject = ""

    init(_ arrived: @escaping @Sendable (DemoArrival) -> Void) { self.arrived = arrived }

    func channelActive(context: ChannelHandlerContext) {
        self.say("220 sink.demo.example ESMTP", context)
        context.flush()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var part = self.unwrapInboundIn(data)
        self.lines.append(&part)
        while let line = self.lines.next() {
            switch self.state {
            case .commands: self.command(String(buffer: line), context)
            case .header: self.header(line, context)
            case .body: if Self.isDot(line) { self.end(context) }
            }
        }
        if self.lines.isTooLong { context.close(promise: nil) }
    }

    func channelReadComplete(context: ChannelHandlerContext) { context.flush() }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    private func say(_ text: String, _ context: ChannelHandlerContext) {
        context.write(self.wrapOutboundOut(ByteBuffer(string: text + "\r\n")), promise: nil)
    }

    private func command(_ line: String, _ context: ChannelHandlerContext) {
        switch line.prefix(4).uppercased() {
        case "EHLO": self.say("250-sink.demo.example\r\n250-PIPELINING\r\n250 8BITMIME", context)
        case "MAIL":
            self.from = Self.path(line)
            self.to = []
            self.say("250 2.1.0 Ok", context)
        case "RCPT":
            if self.to.count < Self.recipientsMax { self.to.append(Self.path(line)) }
            self.say("250 2.1.5 Ok", context)
        case "DATA":
            self.mark = nil
            self.subject = ""
            self.state = .header
            self.say("354 go ahead", context)
        case "QUIT":
            self.say("221 2.0.0 Bye", context)
            context.flush()
            context.close(promise: nil)
        case _: self.say("250 2.0.0 Ok", context)
        }
    }

    private func header(_ line: ByteBuffer, _ context: ChannelHandlerContext) {
        if Self.isDot(line) { return self.end(context) }
        if line.readableBytes == 0 {
            self.state = .body
            return
        }
        let text = String(buffer: line)
        if let value = Self.value(text, of: DemoMark.field) { self.mark = DemoMark(value) }
        if let value = Self.value(text, of: "Subject") { self.subject = String(value) }
    }

    private func end(_ context: ChannelHandlerContext) {
        self.state = .commands
        if let mark = self.mark {
            self.arrived(.marked(mark))
        } else {
            self.arrived(.other(from: self.from, to: self.to, subject: self.subject))
        }
        self.say("250 2.0.0 Ok taken", context)
    }

    private static func isDot(_ line: ByteBuffer) -> Bool {
        line.readableBytes == 1 && line.readableBytesView.first == UInt8(ascii: ".")
    }

    private static func value(_ line: String, of field: String) -> Substring? {
        guard line.utf8.count > field.utf8.count,
            line.prefix(field.count + 1).lowercased() == field.lowercased() + ":"
        else { return nil }
        return line.dropFirst(field.count + 1).drop { $0 == " " }
    }

    /// What is between `<` and `>`.
    private static func path(_ line: String) -> String {
        guard let open = line.firstIndex(of: "<"), let close = line.lastIndex(of: ">"),
            open < close
        else { return "" }
        return String(line[line.index(after: open)..<close])
    }
}
