import SMTP

import struct NIOCore.ByteBuffer

/// A session, its driver played by rules, and all that went over the wire.
final class ServerTrace {
    var session: ServerSession
    var out = ByteBuffer()
    /// What was asked and given out, content joined; replies are in `said`.
    var events: [String] = []
    var content: [UInt8] = []
    var submissions: [ReceivedMessage] = []
    /// Decisions by address; anything else may go.
    var senders: [String: ServerDecision] = [:]
    var recipients: [String: ServerDecision] = [:]
    var begin = ServerDecision.go
    var verdict: Reply?
    var auth = AuthDecision.failed
    /// Questions stay open.
    var isHolding = false

    init(
        limits: ServerLimits = ServerLimits(), offersTLS: Bool = true, offersAuth: Bool = true,
        requiresAuth: Bool = false, isSubmission: Bool = false, hasTLS: Bool = false,
        isTrusted: Bool = false, greets: Bool = true
    ) {
        let options = ServerOptions(
            hostname: "mx.example", limits: limits, offersTLS: offersTLS, offersAuth: offersAuth,
            requiresAuth: requiresAuth, isSubmission: isSubmission)
        self.session = ServerSession(options: options, hasTLS: hasTLS, isTrusted: isTrusted)
        if greets {
            self.session.greet(into: &self.out)
            self.out.clear()
        }
    }

    /// Sends `text` in one piece; returns what was said since.
    @discardableResult
    func send(_ text: String) -> String { self.send(bytes: Array(text.utf8)) }

    @discardableResult
    func send(bytes: [UInt8]) -> String {
        self.session.receive(ByteBuffer(bytes: bytes))
        self.run()
        return self.said()
    }

    /// Sends `text`; returns how many bytes were said.
    func count(_ text: String) -> Int {
        self.session.receive(ByteBuffer(string: text))
        self.run()
        defer { self.out.clear() }
        return self.out.readableBytes
    }

    /// The replies since the last call, a line each, without line ends.
    func said() -> String {
        defer { self.out.clear() }
        return String(buffer: self.out).split(separator: "\r\n").joined(separator: "\n")
    }

    func run() {
        while self.step(self.session.next(into: &self.out)) {}
    }

    private func step(_ action: ServerSession.Action) -> Bool {
        switch action {
        case .read, .wait: return false
        case .close:
            if self.events.last != "close" { self.events.append("close") }
            return false
        case .startTLS:
            self.events.append("startTLS")
            return false
        case .askSender(let address):
            self.events.append("sender \(address)")
            if self.isHolding { return false }
            self.session.answerSender(self.senders[address] ?? .go, into: &self.out)
        case .askRecipient(let recipient):
            self.events.append("recipient \(recipient.address)")
            if self.isHolding { return false }
            self.session.answerRecipient(
                self.recipients[recipient.address] ?? .go, into: &self.out)
        case .begin:
            self.events.append("begin")
            self.session.answerBegin(self.begin, into: &self.out)
        case .content(let piece):
            self.content += piece.readableBytesView
        case .abandon:
            self.content = []
            self.events.append("abandon")
        case .finish(let submission):
            self.submissions.append(submission)
            self.events.append("finish \(submission.bytes)")
            if self.isHolding { return false }
            if let verdict = self.verdict {
                self.session.answerFinish(refused: verdict, into: &self.out)
            } else {
                self.session.answerFinish(accepted: "A-1", into: &self.out)
            }
        case .authenticate(let user, let password):
            self.events.append(
                "auth \(String(decoding: user, as: UTF8.self))"
                    + " \(String(decoding: password, as: UTF8.self))")
            self.session.answerAuth(self.auth, into: &self.out)
        }
        return true
    }

    var isClosed: Bool { self.session.isClosed }
    var bufferedBytes: Int { self.session.bufferedBytes }
    var text: String { String(decoding: self.content, as: UTF8.self) }
}
