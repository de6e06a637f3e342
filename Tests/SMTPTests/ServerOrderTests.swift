import SMTP
import Testing

@Suite("Server session, RFC 5321 §3 and §4.1")
struct ServerOrderTests {
    private let mail = "MAIL FROM:<a@x.example>\r\n"
    private let rcpt = "RCPT TO:<b@y.example>\r\n"

    @Test func `a message from greeting to quit`() {
        let t = ServerTrace(greets: false)
        t.session.greet(into: &t.out)
        #expect(t.said() == "220 mx.example ESMTP Posthouse")
        #expect(
            t.send("EHLO c.example\r\n")
                == """
                250-mx.example
                250-PIPELINING
                250-SIZE 50000000
                250-8BITMIME
                250-SMTPUTF8
                250-CHUNKING
                250-DSN
                250-ENHANCEDSTATUSCODES
                250-STARTTLS
                250 HELP
                """)
        #expect(t.send(self.mail) == "250 2.1.0 Ok")
        #expect(t.send(self.rcpt) == "250 2.1.5 Ok")
        #expect(t.send("DATA\r\n") == "354 End data with <CR><LF>.<CR><LF>")
        #expect(t.send("Subject: x\r\n\r\nbody\r\n.\r\n") == "250 2.0.0 Ok id=A-1")
        #expect(t.send("QUIT\r\n") == "221 2.0.0 Bye")
        #expect(
            t.events == [
                "sender a@x.example", "recipient b@y.example", "begin", "finish 20", "close",
            ])
        #expect(t.text == "Subject: x\r\n\r\nbody\r\n")
        #expect(t.submissions[0].keyword == .esmtp)
        #expect(t.submissions[0].envelope.recipients.map(\.address) == ["b@y.example"])
    }

    /// All that one session can meet, with two messages, one by BDAT.
    private static let long =
        "EHLO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<no@y>\r\nRCPT TO:<b@y>\r\nDATA\r\n"
        + "..one\r\ntwo\r\n.\r\nNOOP\r\nBOGUS\r\nMAIL FROM:<> SIZE=5 BODY=8BITMIME RET=HDRS\r\n"
        + "RCPT TO:<c@y> NOTIFY=NEVER\r\nBDAT 5\r\nx\r\n.\rBDAT 3 LAST\r\n\nQ\nRSET\r\n"
        + "MAIL FROM:<d@x>\r\nRCPT TO:<e@y>\r\nBDAT 4\r\nab\r\nBDAT 0 LAST\r\nVRFY x\r\nQUIT\r\n"

    private func run(pieces size: Int) -> (said: String, events: [String], content: String) {
        let t = ServerTrace()
        t.recipients = ["no@y": .fixed(.relayDenied)]
        var rest = Array(Self.long.utf8)[...]
        var said = ""
        while !rest.isEmpty {
            let part = t.send(bytes: Array(rest.prefix(size)))
            if !part.isEmpty { said += part + "\n" }
            rest = rest.dropFirst(size)
        }
        return (said, t.events, t.text)
    }

    @Test func `a session in pieces of any size is the same session`() {
        let whole = self.run(pieces: .max)
        #expect(
            whole.said.split(separator: "\n").map { $0.prefix(9) }.suffix(19) == [
                "250 HELP", "250 2.1.0", "550 5.7.1", "250 2.1.5", "354 End d", "250 2.0.0",
                "250 2.0.0", "500 5.5.1", "250 2.1.0", "250 2.1.5", "250 2.0.0", "550 5.5.2",
                "250 2.0.0", "250 2.1.0", "250 2.1.5", "250 2.0.0", "250 2.0.0", "252 2.0.0",
                "221 2.0.0",
            ])
        #expect(whole.content.hasSuffix("ab\r\n"))
        for size in 1...Self.long.utf8.count {
            let cut = self.run(pieces: size)
            #expect(cut.said == whole.said, "in pieces of \(size)")
            #expect(cut.events == whole.events)
            #expect(cut.content == whole.content)
        }
    }

    @Test func `a cut at every byte leaves a session that can be expired`() {
        let bytes = Array(Self.long.utf8)
        for count in 0...bytes.count {
            let t = ServerTrace()
            t.send(bytes: Array(bytes.prefix(count)))
            if t.isClosed { continue }
            t.session.expire(.idle, into: &t.out)
            #expect(t.said() == "421 4.4.2 Idle for too long, closing")
            #expect(t.isClosed)
        }
    }

    @Test func `commands out of order`() {
        let t = ServerTrace(limits: ServerLimits(errors: 100))
        #expect(t.send(self.mail) == "503 5.5.1 Send EHLO first")
        #expect(t.send("HELO c\r\n") == "250 mx.example")
        #expect(t.send(self.rcpt) == "503 5.5.1 Send MAIL first")
        #expect(t.send("DATA\r\n") == "503 5.5.1 Send MAIL first")
        #expect(t.send(self.mail) == "250 2.1.0 Ok")
        #expect(t.send(self.mail) == "503 5.5.1 Sender already given")
        #expect(t.send("DATA\r\n") == "503 5.5.1 Send RCPT first")
        t.recipients = ["b@y.example": .fixed(.relayDenied)]
        #expect(t.send(self.rcpt) == "550 5.7.1 Relaying denied")
        #expect(t.send("DATA\r\n") == "554 5.5.1 No valid recipients")
        #expect(t.send("RSET\r\n") == "250 2.0.0 Ok")
        #expect(t.send("DATA\r\n") == "503 5.5.1 Send MAIL first")
        #expect(t.events == ["sender a@x.example", "recipient b@y.example"])
    }

    @Test func `EHLO within a transaction ends it`() {
        let t = ServerTrace()
        t.send("EHLO c\r\n" + self.mail + self.rcpt)
        t.send("EHLO c\r\n")
        #expect(t.send("DATA\r\n") == "503 5.5.1 Send MAIL first")
    }

    @Test func `the small commands`() {
        let t = ServerTrace()
        #expect(t.send("noop whatever\r\n") == "250 2.0.0 Ok")
        #expect(t.send("VRFY\r\n") == "501 5.5.4 Argument missing")
        #expect(t.send("Vrfy joe\r\n").hasPrefix("252 2.0.0"))
        #expect(t.send("EXPN list\r\n") == "502 5.5.1 Command not implemented")
        #expect(t.send("HELP\r\n").hasPrefix("214 2.0.0"))
        #expect(t.send("QUIT now\r\n") == "501 5.5.4 No argument expected")
        #expect(t.send("\r\n") == "500 5.5.1 Command not recognized")
        #expect(t.send("EHLO\r\n") == "501 5.5.4 Argument missing")
        #expect(t.send("NOOP\n") == "500 5.5.2 A line ends with CR and LF")
        #expect(t.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n") == "500 5.5.1 This is SMTP")
        #expect(t.isClosed)
    }

    @Test func `every reply has a text with a code and its own class`() {
        for reply in ServerReply.allCases {
            let text = String(describing: reply.text)
            #expect((200...599).contains(reply.code) && text.utf8.count < 100)
            if reply.code / 100 != 3 {
                #expect(text.dropFirst(4).first == text.first, "\(text)")
            }
        }
    }

    @Test func `errors up to the limit are answered, one more ends the session`() {
        let t = ServerTrace(limits: ServerLimits(errors: 3))
        for _ in 0..<3 { #expect(t.send("BOGUS\r\n").hasPrefix("500")) }
        #expect(t.send("NOOP\r\n") == "250 2.0.0 Ok")
        #expect(t.send("BOGUS\r\nNOOP\r\n") == "421 4.7.0 Too many errors, closing")
        #expect(t.events == ["close"])
    }

    @Test func `messages up to the limit are taken, then MAIL is 421`() {
        let t = ServerTrace(limits: ServerLimits(messages: 2))
        t.send("EHLO c\r\n")
        let message = self.mail + self.rcpt + "DATA\r\n.\r\n"
        #expect(t.send(message).hasSuffix("250 2.0.0 Ok id=A-1"))
        #expect(t.send(message).hasSuffix("250 2.0.0 Ok id=A-1"))
        #expect(t.send(message).hasPrefix("421 4.7.0"))
        #expect(t.isClosed && t.submissions.count == 2)
    }

    @Test func `recipients up to the limit are taken, more are 452 and cost no memory`() {
        let t = ServerTrace(limits: ServerLimits(recipients: 3))
        t.send("EHLO c\r\n" + self.mail + self.rcpt + self.rcpt + self.rcpt)
        #expect(t.send(self.rcpt) == "452 4.5.3 Too many recipients, send the rest separately")
        let many = String(repeating: self.rcpt, count: 1000)
        for _ in 0..<1000 {
            let said = t.count(many)
            #expect(said == 1000 * 57)
        }
        #expect(t.send("DATA\r\nx\r\n.\r\n").hasSuffix("id=A-1"))
        #expect(t.submissions[0].envelope.recipients.count == 3)
    }

    @Test func `a line of the limit is read, one byte more is answered once and skipped`() {
        let limit = CommandParser.Limit.lineBytes
        let noop = "NOOP " + String(repeating: "x", count: limit - 5)
        let t = ServerTrace()
        #expect(t.send(noop + "\r\n") == "250 2.0.0 Ok")
        #expect(t.send(noop + "x\r\nNOOP\r\n") == "500 5.5.6 Line too long\n250 2.0.0 Ok")
    }

    @Test func `ten megabytes without a line end are one error, in bounded memory`() {
        let t = ServerTrace()
        let piece = [UInt8](repeating: UInt8(ascii: "A"), count: 65_536)
        #expect(t.send(bytes: piece) == "500 5.5.6 Line too long")
        for _ in 0..<160 {
            #expect(t.send(bytes: piece) == "")
            #expect(t.bufferedBytes == 0)
        }
        #expect(t.send("\r\nNOOP\r\n") == "250 2.0.0 Ok")
    }

    @Test func `answers that come late keep the order, and what comes meanwhile`() {
        let t = ServerTrace()
        t.send("EHLO c\r\n")
        t.isHolding = true
        #expect(t.send(self.mail + self.rcpt) == "")
        let action = t.session.next(into: &t.out)
        #expect(action == .wait)
        t.session.answerSender(.go, into: &t.out)
        t.run()
        #expect(t.said() == "250 2.1.0 Ok")
        #expect(t.send("DATA\r\n") == "")
        t.session.answerRecipient(.reply(Reply(450, nil, "later")), into: &t.out)
        t.run()
        #expect(t.said() == "450 later\n554 5.5.1 No valid recipients")
    }

    @Test func `shutdown ends an idle session now and a busy one behind its message`() {
        let idle = ServerTrace()
        idle.send("EHLO c\r\n")
        let now = idle.session.stop(into: &idle.out)
        #expect(now == .close)
        #expect(idle.said().hasPrefix("421 4.3.2"))

        let busy = ServerTrace()
        busy.send("EHLO c\r\n" + self.mail)
        let later = busy.session.stop(into: &busy.out)
        #expect(later == .wait)
        #expect(busy.send(self.rcpt + "DATA\r\n").hasPrefix("250 2.1.5"))
        let last = busy.send("x\r\n.\r\nNOOP\r\n").split(separator: "\n")
        #expect(last.count == 2 && last[0].hasPrefix("250 2.0.0") && last[1].hasPrefix("421 4.3.2"))
        #expect(busy.isClosed)
    }

    @Test func `who talks before the greeting is sent away`() {
        let t = ServerTrace(greets: false)
        t.send("EHLO c\r\n")
        t.session.greet(into: &t.out)
        #expect(t.said() == "554 5.5.1 Wait for the greeting")
        #expect(t.isClosed)
    }

    @Test func `no room, no leader, stopping: the queue's own words`() {
        let t = ServerTrace()
        t.send("EHLO c\r\n")
        t.senders = ["a@x.example": .reply(Reply(452, EnhancedCode(4, 3, 1), "full"))]
        #expect(t.send(self.mail) == "452 4.3.1 full")
        t.senders = [:]
        t.begin = .reply(Reply(451, EnhancedCode(4, 3, 2), "no queue"))
        #expect(t.send(self.mail + self.rcpt + "DATA\r\n").hasSuffix("451 4.3.2 no queue"))
        t.begin = .go
        t.verdict = Reply(451, EnhancedCode(4, 4, 5), "late")
        let text = self.mail + self.rcpt + "DATA\r\nx\r\n.\r\n"
        #expect(t.send(text).hasSuffix("451 4.4.5 late"))
        t.verdict = Reply(421, EnhancedCode(4, 3, 2), "stopping")
        #expect(t.send(text + "NOOP\r\n").hasSuffix("421 4.3.2 stopping"))
        #expect(t.isClosed)
    }
}
