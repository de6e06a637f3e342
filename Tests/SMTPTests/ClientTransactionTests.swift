import NIOCore
import SMTP
import Testing

@Suite("Client session: transactions, RFC 5321 §3.3, RFC 2920, RFC 2033")
struct ClientTransactionTests {
    typealias Step = ClientTrace.Step

    private static func finished(_ ending: RecipientEnding) -> Step {
        Step(.finished(.all(ending)))
    }

    @Test func `a group in one write, then the body, then the verdict`() {
        var trace = ClientTrace.open("PIPELINING")
        #expect(
            trace.begin(ClientTrace.mail("x@y.example", "z@y.example"))
                == Step(
                    .proceed,
                    "MAIL FROM:<a@b.example>\r\nRCPT TO:<x@y.example>\r\n"
                        + "RCPT TO:<z@y.example>\r\nDATA\r\n"))
        #expect(trace.say("250 ok") == Step(.proceed))
        #expect(trace.say("250 ok") == Step(.proceed))
        #expect(trace.say("250 ok") == Step(.proceed))
        #expect(trace.say("354 go") == Step(.sendBody))
        trace.session.bodySent()
        #expect(trace.say("250 queued") == Self.finished(.delivered(reply(250, "queued"))))
        let isIdle = trace.session.isIdle
        #expect(isIdle)
    }

    @Test func `without PIPELINING every command waits for its answer`() {
        var trace = ClientTrace.open("8BITMIME")
        #expect(
            trace.begin(ClientTrace.mail("x@y.example", "z@y.example"))
                == Step(.proceed, "MAIL FROM:<a@b.example>\r\n"))
        #expect(trace.say("250 ok") == Step(.proceed, "RCPT TO:<x@y.example>\r\n"))
        #expect(trace.say("250 ok") == Step(.proceed, "RCPT TO:<z@y.example>\r\n"))
        #expect(trace.say("251 ok") == Step(.proceed, "DATA\r\n"))
        #expect(trace.say("354 go") == Step(.sendBody))
        let mayPipeline = trace.session.mayPipeline
        #expect(!mayPipeline)
        trace.session.bodySent()
        #expect(trace.say("250 queued") == Self.finished(.delivered(reply(250, "queued"))))
    }

    @Test func `the next transaction follows the final dot in the same write`() {
        var trace = ClientTrace.open("PIPELINING")
        _ = trace.begin(ClientTrace.mail("x@y.example"))
        for text in ["250 ok", "250 ok", "354 go"] { _ = trace.say(text) }
        let mayPipeline = trace.session.mayPipeline
        #expect(mayPipeline)
        #expect(
            trace.pipeline(ClientTrace.mail("n@y.example"))
                == "MAIL FROM:<a@b.example>\r\nRCPT TO:<n@y.example>\r\nDATA\r\n")
        trace.session.bodySent()
        #expect(trace.say("451 disk") == Self.finished(.elsewhere(reply(451, "disk"))))
        let isIdle = trace.session.isIdle
        #expect(!isIdle)
        #expect(trace.say("250 ok") == Step(.proceed))
        #expect(trace.say("250 ok") == Step(.proceed))
        #expect(trace.say("354 go") == Step(.sendBody))
        trace.session.bodySent()
        #expect(trace.say("250 two") == Self.finished(.delivered(reply(250, "two"))))
    }

    @Test func `lost behind the dot: unknown, and only that one; the next comes back unattempted`()
    {
        var trace = ClientTrace.open("PIPELINING")
        _ = trace.begin(ClientTrace.mail("x@y.example"))
        for text in ["250 ok", "250 ok", "354 go"] { _ = trace.say(text) }
        _ = trace.pipeline(ClientTrace.mail("n@y.example"))
        trace.session.bodySent()
        let action = trace.session.end(.lost("reset"))
        guard case .failed(let failure) = action, case .all(.deferred(let reply))? = failure.result
        else {
            Issue.record("\(action)")
            return
        }
        #expect(failure.returnsNext && failure.stage == .finalDot)
        #expect(reply.enhanced == EnhancedCode(4, 4, 2))
        #expect(reply.lines[0].contains("may be sent more than once"))
    }

    @Test func `a time-out behind the dot is unknown too; before it another host may try`() {
        var behind = ClientTrace.open("PIPELINING")
        _ = behind.begin(ClientTrace.mail("x@y.example"))
        for text in ["250 ok", "250 ok", "354 go"] { _ = behind.say(text) }
        var before = ClientTrace.open("PIPELINING")
        _ = before.begin(ClientTrace.mail("x@y.example"))
        behind.session.bodySent()
        guard case .failed(let unknown) = behind.session.end(.timedOut),
            case .failed(let known) = before.session.end(.timedOut),
            case .all(.deferred)? = unknown.result, case .all(.elsewhere)? = known.result
        else {
            Issue.record("not as expected")
            return
        }
        #expect(known.stage == .mail && !known.returnsNext)
    }

    @Test(arguments: [("450 later", false), ("550 5.7.1 no", true), ("354 odd", false)])
    func `MAIL refused, pipelined: the others' answers are read and do not matter`(
        text: String, isPermanent: Bool
    ) {
        var trace = ClientTrace.open("PIPELINING")
        _ = trace.begin(ClientTrace.mail("x@y.example"))
        #expect(trace.say(text) == Step(.proceed))
        #expect(trace.say("503 no MAIL") == Step(.proceed))
        let step = trace.say("503 no MAIL")
        guard case .finished(let result) = step.action else {
            Issue.record("\(step)")
            return
        }
        // The recipient's own 503 must not hide what MAIL was told.
        switch result[0] {
        case .failed(let said): #expect(isPermanent && said.enhanced == EnhancedCode(5, 7, 1))
        case .elsewhere: #expect(!isPermanent)
        case _: Issue.record("\(result)")
        }
    }

    @Test func `MAIL refused without PIPELINING ends the transaction at once`() {
        var trace = ClientTrace.open("SIZE")
        _ = trace.begin(ClientTrace.mail("x@y.example"))
        #expect(trace.say("550 no") == Self.finished(.failed(reply(550, "no"))))
        let isIdle = trace.session.isIdle
        #expect(isIdle)
    }

    @Test func `some recipients refused: the rest is delivered`() {
        var trace = ClientTrace.open("PIPELINING")
        _ = trace.begin(ClientTrace.mail("x@y.example", "no@y.example", "later@y.example"))
        for text in ["250 ok", "250 ok", "550 no", "450 later", "354 go"] { _ = trace.say(text) }
        trace.session.bodySent()
        #expect(
            trace.say("250 queued").action
                == .finished(
                    .each([
                        .delivered(reply(250, "queued")), .failed(reply(550, "no")),
                        .elsewhere(reply(450, "later")),
                    ])))
    }

    @Test func `all recipients refused without PIPELINING: no DATA, RSET`() {
        var trace = ClientTrace.open("SIZE")
        _ = trace.begin(ClientTrace.mail("x@y.example"))
        _ = trace.say("250 ok")
        #expect(trace.say("550 no") == Step(.proceed, "RSET\r\n"))
        #expect(trace.say("250 ok").action == .finished(.each([.failed(reply(550, "no"))])))
    }

    @Test func `all recipients refused with PIPELINING: RSET behind the refused DATA`() {
        var trace = ClientTrace.open("PIPELINING")
        _ = trace.begin(ClientTrace.mail("x@y.example"))
        _ = trace.say("250 ok")
        _ = trace.say("550 no")
        #expect(trace.say("554 no valid recipients") == Step(.proceed, "RSET\r\n"))
        #expect(trace.say("250 ok").action == .finished(.each([.failed(reply(550, "no"))])))
        let isIdle = trace.session.isIdle
        #expect(isIdle)
    }

    @Test func `354 without a recipient gets an empty message, RFC 2920 §3.1`() {
        var trace = ClientTrace.open("PIPELINING")
        _ = trace.begin(ClientTrace.mail("x@y.example"))
        _ = trace.say("250 ok")
        _ = trace.say("550 no")
        #expect(trace.say("354 go") == Step(.proceed, ".\r\n"))
        #expect(
            trace.say("554 no recipients").action == .finished(.each([.failed(reply(550, "no"))])))
    }

    @Test func `354 behind a refused MAIL is cut off without a word`() {
        var trace = ClientTrace.open("PIPELINING")
        _ = trace.begin(ClientTrace.mail("x@y.example"))
        _ = trace.say("550 no")
        _ = trace.say("250 odd")
        let step = trace.say("354 go")
        guard case .failed(let failure) = step.action else {
            Issue.record("\(step)")
            return
        }
        #expect(step.sent == "" && failure.result == .all(.failed(reply(550, "no"))))
    }

    @Test(arguments: [("450 later", false), ("554 no", true)])
    func `DATA refused: RSET, the accepted recipients get that answer`(
        text: String, isPermanent: Bool
    ) {
        var trace = ClientTrace.open("PIPELINING")
        _ = trace.begin(ClientTrace.mail("x@y.example"))
        _ = trace.say("250 ok")
        _ = trace.say("250 ok")
        #expect(trace.say(text) == Step(.proceed, "RSET\r\n"))
        let code: UInt16 = isPermanent ? 554 : 450
        let said = reply(code, String(text.dropFirst(4)))
        #expect(
            trace.say("250 ok") == Self.finished(isPermanent ? .failed(said) : .elsewhere(said)))
    }

    @Test func `RSET refused: what was found out stands, the connection does not`() {
        var trace = ClientTrace.open("PIPELINING")
        _ = trace.begin(ClientTrace.mail("x@y.example"))
        for text in ["250 ok", "250 ok", "554 no"] { _ = trace.say(text) }
        guard case .failed(let failure) = trace.say("500 what?").action else {
            Issue.record("not failed")
            return
        }
        #expect(failure.result == .all(.failed(reply(554, "no"))) && failure.remedy == .reconnect)
    }

    @Test(arguments: [UInt16(452), 552])
    func `too many recipients: the rest goes in the next transaction`(code: UInt16) {
        var trace = ClientTrace.open("PIPELINING")
        _ = trace.begin(ClientTrace.mail("x@y.example", "z@y.example"))
        for text in ["250 ok", "250 ok", "\(code) too many", "354 go"] { _ = trace.say(text) }
        trace.session.bodySent()
        #expect(
            trace.say("250 q").action
                == .finished(
                    .each([.delivered(reply(250, "q")), .again(reply(code, "too many"))])))
    }

    @Test func `452 and 552 to the first recipient are what they say`() {
        for (code, expected) in [
            (UInt16(452), RecipientEnding.elsewhere(reply(452, "full"))),
            (552, .failed(reply(552, "full"))),
        ] {
            var trace = ClientTrace.open("SIZE")
            _ = trace.begin(ClientTrace.mail("x@y.example"))
            _ = trace.say("250 ok")
            _ = trace.say("\(code) full")
            #expect(trace.say("250 ok").action == .finished(.each([expected])))
        }
    }

    @Test(arguments: [
        ("550 spam", RecipientEnding.failed(reply(550, "spam"))),
        ("451 disk", .elsewhere(reply(451, "disk"))),
    ])
    func `the verdict behind the dot`(text: String, ending: RecipientEnding) {
        var trace = ClientTrace.open("PIPELINING")
        _ = trace.begin(ClientTrace.mail("x@y.example"))
        for text in ["250 ok", "250 ok", "354 go"] { _ = trace.say(text) }
        trace.session.bodySent()
        #expect(trace.say(text) == Self.finished(ending))
    }

    @Test(arguments: [0, 1, 2, 3])
    func `421 at any step: another host, the connection is over`(step: Int) {
        var trace = ClientTrace.open("PIPELINING")
        _ = trace.begin(ClientTrace.mail("x@y.example"))
        for text in ["250 ok", "250 ok", "354 go"].prefix(step) { _ = trace.say(text) }
        if step == 3 { trace.session.bodySent() }
        let last = trace.say("421 shutting down")
        guard case .failed(let failure) = last.action else {
            Issue.record("\(last)")
            return
        }
        #expect(last.sent == "")
        #expect(failure.result == .all(.elsewhere(reply(421, "shutting down"))))
    }

    @Test func `a refusal in the middle of the body counts`() {
        var trace = ClientTrace.open("PIPELINING")
        _ = trace.begin(ClientTrace.mail("x@y.example"))
        for text in ["250 ok", "250 ok", "354 go"] { _ = trace.say(text) }
        let step = trace.say("552 too big")
        guard case .failed(let failure) = step.action else {
            Issue.record("\(step)")
            return
        }
        #expect(step.sent == "" && failure.result == .all(.failed(reply(552, "too big"))))
    }

    @Test func `a stray reply on an idle connection ends it without harm`() {
        var trace = ClientTrace.open()
        guard case .failed(let failure) = trace.say("421 idle too long").action else {
            Issue.record("not failed")
            return
        }
        #expect(failure.remedy == .reconnect && failure.result == nil)
    }

    @Test func `LMTP: each accepted recipient is answered behind the dot, RFC 2033 §4.2`() {
        var trace = ClientTrace.open("PIPELINING") { $0.dialect = .lmtp }
        _ = trace.begin(ClientTrace.mail("x@y.example", "no@y.example", "z@y.example"))
        for text in ["250 ok", "250 ok", "550 no", "250 ok", "354 go"] { _ = trace.say(text) }
        trace.session.bodySent()
        #expect(trace.say("250 x stored") == Step(.proceed))
        #expect(
            trace.say("552 z full").action
                == .finished(
                    .each([
                        .stored(reply(250, "x stored")), .failed(reply(550, "no")),
                        .failed(reply(552, "z full")),
                    ])))
    }

    @Test func `LMTP lost between two verdicts: the first stands, the second is unknown`() {
        var trace = ClientTrace.open("PIPELINING") { $0.dialect = .lmtp }
        _ = trace.begin(ClientTrace.mail("x@y.example", "z@y.example"))
        for text in ["250 ok", "250 ok", "250 ok", "354 go"] { _ = trace.say(text) }
        trace.session.bodySent()
        _ = trace.say("250 x stored")
        guard case .failed(let failure) = trace.session.end(.lost("reset")),
            let result = failure.result
        else {
            Issue.record("not failed")
            return
        }
        #expect(result[0] == .stored(reply(250, "x stored")))
        guard case .deferred = result[1] else {
            Issue.record("\(result)")
            return
        }
    }

    @Test func `a probe asks about the recipient and sends no DATA`() {
        for keywords in ["PIPELINING", "SIZE"] {
            var trace = ClientTrace.open(keywords)
            var mail = ClientTrace.mail("x@y.example", from: "")
            mail.isProbe = true
            var sent = trace.begin(mail).sent
            sent += trace.say("250 ok").sent
            sent += trace.say("550 no").sent
            let last = trace.say("250 reset")
            #expect(sent == "MAIL FROM:<>\r\nRCPT TO:<x@y.example>\r\nRSET\r\n")
            #expect(last.action == .finished(.each([.failed(reply(550, "no"))])))
            _ = trace.begin(mail)
            _ = trace.say("250 ok")
            _ = trace.say("250 fine")
            #expect(
                trace.say("250 reset").action == .finished(.each([.delivered(reply(250, "fine"))])))
        }
    }
}

@Suite("Client session: what the server offers, RFC 1870, 6152, 6531, 3461")
struct ClientCapabilityTests {
    private static func sent(_ mail: ClientMail, _ keywords: String) -> String {
        var trace = ClientTrace.open(keywords)
        return trace.begin(mail).sent
    }

    private static func rich() -> ClientMail {
        var mail = ClientMail(
            sender: "a@b.example",
            recipients: [
                Recipient(
                    address: "x@y.example", notify: [.explicit, .success, .delay],
                    orcpt: "rfc822;X@y.example"),
                Recipient(address: "z@y.example", notify: [.explicit, .never]),
                Recipient(address: "d@y.example"),
            ], eightBit: true, utf8: true, ret: .headers, envid: "QQ+2B1", bytes: 4711)
        mail.utf8 = true
        return mail
    }

    @Test func `everything is passed on to a server that has everything`() {
        #expect(
            Self.sent(Self.rich(), "PIPELINING SIZE_10000 8BITMIME SMTPUTF8 DSN")
                == "MAIL FROM:<a@b.example> SIZE=4711 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ+2B1\r\n"
                + "RCPT TO:<x@y.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;X@y.example\r\n"
                + "RCPT TO:<z@y.example> NOTIFY=NEVER\r\nRCPT TO:<d@y.example>\r\nDATA\r\n")
    }

    @Test func `nothing is said that was not offered; 8-bit mail goes unchanged`() {
        var mail = Self.rich()
        mail.utf8 = false
        #expect(
            Self.sent(mail, "PIPELINING")
                == "MAIL FROM:<a@b.example>\r\nRCPT TO:<x@y.example>\r\n"
                + "RCPT TO:<z@y.example>\r\nRCPT TO:<d@y.example>\r\nDATA\r\n")
    }

    @Test func `SIZE at the limit and one byte above`() {
        let trace = ClientTrace.open("SIZE_1000")
        var mail = ClientTrace.mail("x@y.example")
        mail.bytes = 1000
        #expect(trace.session.obstacle(to: mail) == nil)
        mail.bytes = 1001
        guard case .all(.failed(let reply))? = trace.session.obstacle(to: mail) else {
            Issue.record("a message above SIZE was not refused")
            return
        }
        #expect(reply.code == 552 && reply.enhanced == EnhancedCode(5, 3, 4))
    }

    @Test(arguments: ["SIZE", "SIZE_0", "SIZE_x"])
    func `SIZE without a number is no limit`(keyword: String) {
        let trace = ClientTrace.open(keyword)
        var mail = ClientTrace.mail("x@y.example")
        mail.bytes = 1 << 40
        #expect(trace.session.obstacle(to: mail) == nil)
    }

    @Test func `SMTPUTF8 lacking where it is needed: 5.6.7`() {
        let trace = ClientTrace.open("PIPELINING")
        var mail = ClientTrace.mail("jörg@y.example")
        mail.utf8 = true
        guard case .all(.failed(let reply))? = trace.session.obstacle(to: mail) else {
            Issue.record("not refused")
            return
        }
        #expect(reply.enhanced == EnhancedCode(5, 6, 7))
    }

    @Test func `success report asked for, no DSN at the server: relayed`() {
        for (keywords, relayed) in [("PIPELINING", true), ("PIPELINING DSN", false)] {
            var trace = ClientTrace.open(keywords)
            var mail = ClientTrace.mail("x@y.example", "z@y.example")
            mail.recipients[1].notify = [.explicit, .success]
            _ = trace.begin(mail)
            for text in ["250 ok", "250 ok", "250 ok", "354 go"] { _ = trace.say(text) }
            trace.session.bodySent()
            guard case .finished(let result) = trace.say("250 q").action else {
                Issue.record("not finished")
                return
            }
            #expect(result[0] == .delivered(reply(250, "q")))
            #expect(
                result[1] == (relayed ? .relayed(reply(250, "q")) : .delivered(reply(250, "q"))))
        }
    }

    @Test func `LMTP without DSN: stored, and we report; with DSN the server was asked to`() {
        for (keywords, asked) in [("PIPELINING", false), ("PIPELINING DSN", true)] {
            var trace = ClientTrace.open(keywords) { $0.dialect = .lmtp }
            var mail = ClientTrace.mail("x@y.example")
            mail.recipients[0].notify = [.explicit, .success]
            #expect(trace.begin(mail).sent.contains("NOTIFY=SUCCESS") == asked)
            for text in ["250 ok", "250 ok", "354 go"] { _ = trace.say(text) }
            trace.session.bodySent()
            let stored = reply(250, "stored")
            #expect(
                trace.say("250 stored").action
                    == .finished(.each([asked ? .delivered(stored) : .stored(stored)])))
        }
    }

    @Test(arguments: ["x@y\r\nRCPT TO:<z@z>", "x\u{0}@y", "x\u{7F}@y"])
    func `an address that could end its command is never sent`(address: String) {
        let trace = ClientTrace.open("PIPELINING")
        #expect(trace.session.obstacle(to: ClientTrace.mail(address)) != nil)
        #expect(trace.session.obstacle(to: ClientTrace.mail("x@y", from: address)) != nil)
    }
}
