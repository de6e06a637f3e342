import NIOCore
import SMTP
import Testing

@Suite("Client session: opening, RFC 5321 §3.1, §3.2, RFC 3207, RFC 4954")
struct ClientOpeningTests {
    typealias Step = ClientTrace.Step

    @Test func `greeting, EHLO, open`() {
        var trace = ClientTrace()
        #expect(trace.say("220 mx.example ESMTP") == Step(.proceed, "EHLO me.example\r\n"))
        #expect(trace.hello(["PIPELINING", "size 1000", "8bitmime"]) == Step(.ready))
        let offered = trace.session.capabilities
        #expect(offered.pipelining && offered.eightBit && offered.maxBytes == 1000 && !offered.dsn)
        let isIdle = trace.session.isIdle
        #expect(isIdle)
    }

    @Test(arguments: ["421 busy", "450 later", "554 no service", "250 odd"])
    func `another greeting ends it: next host`(text: String) {
        var trace = ClientTrace()
        let step = trace.say(text)
        guard case .failed(let failure) = step.action else {
            Issue.record("\(step)")
            return
        }
        #expect(failure.remedy == .nextHost && failure.stage == .greeting)
        #expect(failure.result == nil)
        #expect(
            step.sent
                == (text.hasPrefix("4") && !text.hasPrefix("421") || text.hasPrefix("5")
                    ? "QUIT\r\n" : ""))
    }

    @Test func `EHLO unknown: HELO, and no extension is used`() {
        var trace = ClientTrace()
        _ = trace.say("220 old.example")
        #expect(trace.say("502 what?") == Step(.proceed, "HELO me.example\r\n"))
        #expect(trace.say("250-old.example\r\n250 PIPELINING") == Step(.ready))
        #expect(trace.session.capabilities == ClientCapabilities())
    }

    @Test func `HELO refused: next host`() {
        var trace = ClientTrace()
        _ = trace.say("220 old.example")
        _ = trace.say("500 what?")
        guard case .failed(let failure) = trace.say("550 go away").action else {
            Issue.record("not failed")
            return
        }
        #expect(failure.remedy == .nextHost && failure.reply == reply(550, "go away"))
    }

    @Test func `EHLO deferred: next host without HELO`() {
        var trace = ClientTrace()
        _ = trace.say("220 x")
        guard case .failed(let failure) = trace.say("450 later").action else {
            Issue.record("not failed")
            return
        }
        #expect(failure.stage == .hello && failure.remedy == .nextHost)
    }

    @Test func `LMTP says LHLO and never falls back`() {
        var trace = ClientTrace { $0.dialect = .lmtp }
        #expect(trace.say("220 x") == Step(.proceed, "LHLO me.example\r\n"))
        guard case .failed = trace.say("500 what?").action else {
            Issue.record("not failed")
            return
        }
    }

    @Test func `STARTTLS, handshake, EHLO again; the first answer is forgotten`() {
        var trace = ClientTrace()
        _ = trace.say("220 x")
        #expect(trace.hello(["STARTTLS", "DSN"]) == Step(.proceed, "STARTTLS\r\n"))
        #expect(trace.say("220 go") == Step(.startTLS))
        #expect(trace.session.stage == .handshake)
        #expect(trace.secured() == Step(.proceed, "EHLO me.example\r\n"))
        #expect(trace.hello(["STARTTLS", "SIZE"]) == Step(.ready))
        #expect(trace.session.isUnderTLS && !trace.session.capabilities.dsn)
    }

    @Test func `level none never says STARTTLS`() {
        var trace = ClientTrace { $0.tls = .none }
        _ = trace.say("220 x")
        #expect(trace.hello(["STARTTLS"]) == Step(.ready))
    }

    @Test func `implicit TLS greets inside, and needs no STARTTLS`() {
        var trace = ClientTrace {
            $0.beginsWithTLS = true
            $0.tls = .encrypt
        }
        #expect(trace.secured() == Step(.proceed))
        _ = trace.say("220 x")
        #expect(trace.hello(["STARTTLS"]) == Step(.ready))
    }

    @Test(arguments: [TLSLevel.may, .encrypt, .verify])
    func `STARTTLS not offered or refused: plain only where it may be`(level: TLSLevel) {
        var trace = ClientTrace { $0.tls = level }
        _ = trace.say("220 x")
        let notOffered = trace.hello(["SIZE"])
        var other = ClientTrace { $0.tls = level }
        _ = other.say("220 x")
        _ = other.hello(["STARTTLS"])
        let refused = other.say("454 not now")
        if level == .may {
            #expect(notOffered == Step(.ready) && refused == Step(.ready))
            return
        }
        for step in [notOffered, refused] {
            guard case .failed(let failure) = step.action else {
                Issue.record("\(step)")
                continue
            }
            #expect(failure.reply.enhanced == EnhancedCode(4, 7, 4))
            #expect(failure.remedy == .nextHost && step.sent == "QUIT\r\n")
        }
    }

    @Test func `the table of TLS fall-backs`() {
        for obstacle in TLSObstacle.allCases {
            #expect(TLSFallback.rule(.encrypt, obstacle) == .nextHost)
            #expect(TLSFallback.rule(.verify, obstacle) == .nextHost)
            #expect(TLSFallback.rule(.none, obstacle) == .plain)
        }
        #expect(TLSFallback.rule(.may, .notOffered) == .plain)
        #expect(TLSFallback.rule(.may, .refused) == .plain)
        #expect(TLSFallback.rule(.may, .handshakeFailed) == .sameHostInPlain)
        #expect(TLSFallback.rule(.may, .certificateNotGood) == .sameHostInPlain)
    }

    @Test(arguments: [(TLSLevel.may, HostRemedy.sameHostInPlain), (.verify, .nextHost)])
    func `a failed handshake`(level: TLSLevel, remedy: HostRemedy) {
        var trace = ClientTrace { $0.tls = level }
        _ = trace.say("220 x")
        _ = trace.hello(["STARTTLS"])
        _ = trace.say("220 go")
        let action = trace.session.tlsFailed(.handshakeFailed, "bad record")
        guard case .failed(let failure) = action else {
            Issue.record("\(action)")
            return
        }
        #expect(failure.remedy == remedy && failure.reply.enhanced == EnhancedCode(4, 7, 5))
    }

    @Test func `plain text while the handshake is awaited ends the session`() {
        var trace = ClientTrace()
        _ = trace.say("220 x")
        _ = trace.hello(["STARTTLS"])
        _ = trace.say("220 go")
        guard case .failed = trace.say("250 injected").action else {
            Issue.record("injected text was taken")
            return
        }
    }

    private static func credentials(_ options: inout ClientOptions) {
        options.credentials = .init(user: "joe", password: "secret")
        options.authenticatesInPlain = true
    }

    @Test func `AUTH PLAIN with an initial response`() {
        var trace = ClientTrace(Self.credentials)
        _ = trace.say("220 x")
        #expect(
            trace.hello(["AUTH LOGIN PLAIN"]) == Step(.proceed, "AUTH PLAIN AGpvZQBzZWNyZXQ=\r\n"))
        #expect(trace.say("235 ok") == Step(.ready))
    }

    @Test func `AUTH LOGIN step by step`() {
        var trace = ClientTrace(Self.credentials)
        _ = trace.say("220 x")
        #expect(trace.hello(["AUTH=LOGIN"]) == Step(.proceed, "AUTH LOGIN\r\n"))
        #expect(trace.say("334 VXNlcm5hbWU6") == Step(.proceed, "am9l\r\n"))
        #expect(trace.say("334 UGFzc3dvcmQ6") == Step(.proceed, "c2VjcmV0\r\n"))
        #expect(trace.say("235 ok") == Step(.ready))
    }

    @Test func `a refused password is the host's failure, not the message's`() {
        var trace = ClientTrace(Self.credentials)
        _ = trace.say("220 x")
        _ = trace.hello(["AUTH PLAIN"])
        guard case .failed(let failure) = trace.say("535 5.7.8 no").action else {
            Issue.record("not failed")
            return
        }
        #expect(failure.stage == .authentication && failure.remedy == .nextHost)
        #expect(failure.result == nil)
    }

    @Test func `no password without TLS unless the route says so; no mail without AUTH`() {
        var inPlain = ClientTrace { $0.credentials = .init(user: "joe", password: "secret") }
        _ = inPlain.say("220 x")
        let step = inPlain.hello(["AUTH PLAIN"])
        #expect(step.sent == "QUIT\r\n")
        var lacking = ClientTrace(Self.credentials)
        _ = lacking.say("220 x")
        guard case .failed(let failure) = lacking.hello(["SIZE"]).action,
            case .failed = step.action
        else {
            Issue.record("not failed")
            return
        }
        #expect(failure.stage == .authentication)
    }

    @Test func `QUIT is answered, then closed; a lost connection is no failure any more`() {
        var trace = ClientTrace.open()
        var out = ByteBuffer()
        let action = trace.session.quit(into: &out)
        #expect(action == .proceed && String(buffer: out) == "QUIT\r\n")
        let patience = trace.session.patience
        #expect(patience == ClientTimeouts().quit)
        #expect(trace.say("221 bye") == Step(.close))
        let late = trace.session.end(.lost("closed"))
        #expect(late == .close)
    }

    @Test func `time-outs are those of RFC 5321 §4.5.3.2`() {
        let limits = ClientTimeouts()
        #expect(limits.greeting == .seconds(300) && limits.mail == .seconds(300))
        #expect(limits.recipient == .seconds(300) && limits.dataStart == .seconds(120))
        #expect(limits.dataBlock == .seconds(180) && limits.finalDot == .seconds(600))
        var trace = ClientTrace.open("8BITMIME")
        let idle = trace.session.patience
        #expect(idle == nil)
        for (text, patience) in [
            ("", limits.mail), ("250 ok", limits.recipient), ("250 ok", limits.dataStart),
            ("354 go", limits.dataBlock),
        ] {
            _ = text.isEmpty ? trace.begin(ClientTrace.mail("x@y.example")) : trace.say(text)
            let now = trace.session.patience
            #expect(now == patience)
        }
        trace.session.bodySent()
        let last = trace.session.patience
        #expect(last == limits.finalDot)
    }
}
