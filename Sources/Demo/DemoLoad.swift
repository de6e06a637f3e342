// DemoLoad.swift - small mails at an even rate, through the front port, by a client that is good.
//
// Takes     a rate; the ledger's numbers.
// Gives     each 250 with its queue id. What is refused for now or cut off is sent again, as the
//           same message, until it has a 250 or the load ends.
// Limits    `sessions` connections, mailsPerSession each, one second of rate saved up.
// Threads   everything on one event loop.

import NIOCore
import NIOPosix
import Primitives
import Synchronization

/// One message to send.
struct DemoMail: Equatable, Sendable {
    var number: Int
    /// Of the client, from 0.
    var attempt = 0
}

/// What became of one attempt.
enum DemoAttempt: Equatable, Sendable {
    case accepted(DemoMail, id: String)
    /// 4xx, or cut off: again later.
    case again(DemoMail)
    /// 5xx: never again.
    case refused(DemoMail, String)
}

/// Confined to `loop`.
final class DemoLoad {
    static let sessions = 16
    /// Then the client connects again, and meets the next node.
    static let mailsPerSession = 10
    private static let step = TimeAmount.milliseconds(20)
    private static let pause = TimeAmount.milliseconds(300)

    private let loop: any EventLoop
    private let port: Int
    private let run: UInt64
    private let perSecond: Int
    private let ledger: @Sendable (DemoAttempt) -> Void
    private let draw: @Sendable () -> Int?
    /// Messages that may be sent now.
    private var credit = 0.0
    private var again: [DemoMail] = []
    /// Connections that are open or opening.
    private var open = 0
    private var isOver = false
    private var timer: RepeatedTask?

    /// - Parameters:
    ///   - draw: the next message's number; nil: no more.
    ///   - ledger: is told of every attempt.
    init(
        loop: any EventLoop, port: Int, run: UInt64, perSecond: Int,
        draw: @escaping @Sendable () -> Int?, ledger: @escaping @Sendable (DemoAttempt) -> Void
    ) {
        self.loop = loop
        self.port = port
        self.run = run
        self.perSecond = perSecond
        self.draw = draw
        self.ledger = ledger
    }

    func start() {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.timer = self.loop.scheduleRepeatedTask(initialDelay: .zero, delay: Self.step) { _ in
            bound.value.tick()
        }
    }

    /// Nothing new is sent; what is under way goes on.
    func stop() {
        self.isOver = true
        self.timer?.cancel()
        self.again = []
    }

    /// Stopped, and no attempt is under way.
    var hasEnded: Bool { self.isOver && self.open == 0 }

    private func tick() {
        let added = Double(self.perSecond) * Double(Self.step.nanoseconds) / 1e9
        self.credit = min(self.credit + added, max(1, Double(self.perSecond)))
        let wanted = min(Self.sessions, Int(self.credit))
        while self.open < wanted { self.connect() }
    }

    private func connect() {
        self.open += 1
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        ClientBootstrap(group: self.loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(LoadSession(bound.value))
                }
            }
            .connect(host: "127.0.0.1", port: self.port)
            .whenFailure { _ in bound.value.sessionEnded() }
    }

    // MARK: Sessions call these

    /// What to send now; nil: nothing.
    func next() -> DemoMail? {
        guard !self.isOver, self.credit >= 1 else { return nil }
        if !self.again.isEmpty {
            self.credit -= 1
            return self.again.removeFirst()
        }
        guard let number = self.draw() else { return nil }
        self.credit -= 1
        return DemoMail(number: number)
    }

    func text(of mail: DemoMail) -> String {
        let mark = DemoMark(run: self.run, number: mail.number, attempt: mail.attempt)
        return "From: load@client.example\r\nTo: all@dest.example\r\n"
            + "Subject: message \(mail.number) of the demo\r\n"
            + "Message-ID: <\(self.run).\(mail.number)@client.example>\r\n"
            + "\(DemoMark.field): \(mark.text)\r\n\r\nA small mail of the demo's load.\r\n"
    }

    func note(_ attempt: DemoAttempt) {
        self.ledger(attempt)
        guard case .again(var mail) = attempt, !self.isOver else { return }
        mail.attempt += 1
        let (bound, later) = (NIOLoopBound(self, eventLoop: self.loop), mail)
        self.loop.scheduleTask(in: Self.pause) {
            if !bound.value.isOver { bound.value.again.append(later) }
        }
    }

    func sessionEnded() { self.open -= 1 }
}

/// One connection: greets, sends while there is something to send, says QUIT.
private final class LoadSession: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer
    /// More than a node may hold a reply back (`commit_timeout`).
    private static let silenceMax = TimeAmount.seconds(60)

    private enum State {
        case banner
        case greeting
        case mail(DemoMail)
        case recipient(DemoMail)
        case data(DemoMail)
        case dot(DemoMail)
        case leaving

        var underWay: DemoMail? {
            switch self {
            case .mail(let mail), .recipient(let mail), .data(let mail), .dot(let mail): mail
            case .banner, .greeting, .leaving: nil
            }
        }
    }

    private let load: DemoLoad
    private var state = State.banner
    private var lines = LineReader()
    private var sent = 0
    private var timeout: Scheduled<Void>?

    init(_ load: DemoLoad) { self.load = load }

    func channelActive(context: ChannelHandlerContext) { self.wait(context) }

    private func wait(_ context: ChannelHandlerContext) {
        self.timeout?.cancel()
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        self.timeout = context.eventLoop.scheduleTask(in: Self.silenceMax) {
            bound.value.close(promise: nil)
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var part = self.unwrapInboundIn(data)
        self.lines.append(&part)
        while let line = self.lines.next() {
            let text = String(buffer: line)
            // "250-…" goes on.
            if text.utf8.dropFirst(3).first == UInt8(ascii: "-") { continue }
            self.wait(context)
            self.reply(text, context)
        }
        if self.lines.isTooLong { context.close(promise: nil) }
    }

    private func reply(_ text: String, _ context: ChannelHandlerContext) {
        let isGood = text.hasPrefix("2")
        switch self.state {
        case .banner:
            if !isGood { return self.leave(context) }
            self.state = .greeting
            self.say("EHLO client.example\r\n", context)
        case .greeting:
            isGood ? self.begin(context) : self.leave(context)
        case .mail(let mail):
            if !isGood { return self.refused(mail, text, context) }
            self.state = .recipient(mail)
            self.say("RCPT TO:<all@dest.example>\r\n", context)
        case .recipient(let mail):
            if !isGood { return self.refused(mail, text, context) }
            self.state = .data(mail)
            self.say("DATA\r\n", context)
        case .data(let mail):
            if !text.hasPrefix("354") { return self.refused(mail, text, context) }
            self.state = .dot(mail)
            self.say(self.load.text(of: mail) + ".\r\n", context)
        case .dot(let mail):
            if !isGood { return self.refused(mail, text, context) }
            self.load.note(.accepted(mail, id: Self.id(text)))
            self.begin(context)
        case .leaving: context.close(promise: nil)
        }
    }

    private func begin(_ context: ChannelHandlerContext) {
        guard self.sent < DemoLoad.mailsPerSession, let mail = self.load.next() else {
            return self.leave(context)
        }
        self.sent += 1
        self.state = .mail(mail)
        self.say("MAIL FROM:<load@client.example>\r\n", context)
    }

    private func refused(_ mail: DemoMail, _ text: String, _ context: ChannelHandlerContext) {
        self.load.note(text.hasPrefix("5") ? .refused(mail, text) : .again(mail))
        self.leave(context)
    }

    private func leave(_ context: ChannelHandlerContext) {
        self.state = .leaving
        self.say("QUIT\r\n", context)
    }

    private func say(_ text: String, _ context: ChannelHandlerContext) {
        context.writeAndFlush(self.wrapOutboundOut(ByteBuffer(string: text)), promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.timeout?.cancel()
        if let mail = self.state.underWay {
            self.state = .leaving
            self.load.note(.again(mail))
        }
        self.load.sessionEnded()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    /// Of `250 2.0.0 Ok id=…`; "": there is none.
    private static func id(_ text: String) -> String {
        let words = text.split(separator: " ").filter { $0.hasPrefix("id=") }
        return words.first.map { String($0.dropFirst(3)) } ?? ""
    }
}
