import NIOCore
import SMTP
import Testing

/// A client session with its outbound bytes, for traces: `#expect(trace.say("220 hi") == …)`.
struct ClientTrace: ~Copyable {
    var session: ClientSession
    private var parser = ReplyParser()

    init(_ change: (inout ClientOptions) -> Void = { _ in }) {
        var options = ClientOptions(helo: "me.example", remoteHost: "mx.example")
        change(&options)
        self.session = ClientSession(options)
    }

    /// Opened with these EHLO keywords and idle.
    static func open(
        _ keywords: String = "PIPELINING 8BITMIME SIZE SMTPUTF8 DSN",
        _ change: (inout ClientOptions) -> Void = { _ in }
    ) -> ClientTrace {
        var trace = ClientTrace(change)
        _ = trace.say("220 mx.example")
        let lines = keywords.split(separator: " ").map {
            $0.split(separator: "_").joined(separator: " ")
        }
        let step = trace.hello(lines)
        #expect(step.action == .ready)
        return trace
    }

    mutating func hello(_ keywords: [String]) -> Step {
        var text = keywords.isEmpty ? "250 mx.example" : "250-mx.example\r\n"
        for (i, keyword) in keywords.enumerated() {
            text += i + 1 == keywords.count ? "250 \(keyword)" : "250-\(keyword)\r\n"
        }
        return self.say(text)
    }

    struct Step: Equatable {
        var action: ClientSession.Action
        var sent: String
        init(_ action: ClientSession.Action, _ sent: String = "") {
            self.action = action
            self.sent = sent
        }
    }

    /// The server says one reply.
    mutating func say(_ text: String) -> Step {
        var buffer = ByteBuffer(string: text + "\r\n")
        guard case .reply(let reply) = self.parser.next(from: &buffer) else {
            Issue.record("no reply: \(text)")
            return Step(.proceed)
        }
        #expect(buffer.readableBytes == 0)
        var out = ByteBuffer()
        let action = self.session.receive(reply, into: &out)
        return Step(action, String(buffer: out))
    }

    mutating func begin(_ mail: ClientMail) -> Step {
        var out = ByteBuffer()
        let action = self.session.begin(mail, into: &out)
        return Step(action, String(buffer: out))
    }

    mutating func pipeline(_ mail: ClientMail) -> String {
        var out = ByteBuffer()
        self.session.pipeline(mail, into: &out)
        return String(buffer: out)
    }

    mutating func secured() -> Step {
        var out = ByteBuffer()
        let action = self.session.tlsEstablished(into: &out)
        return Step(action, String(buffer: out))
    }

    static func mail(_ recipients: String..., from sender: String = "a@b.example") -> ClientMail {
        ClientMail(sender: sender, recipients: recipients.map { Recipient(address: $0) })
    }
}

func reply(_ code: UInt16, _ text: String) -> Reply { Reply(code, nil, text) }
