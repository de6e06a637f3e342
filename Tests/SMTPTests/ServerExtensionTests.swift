import Primitives
import SMTP
import Testing

@Suite("STARTTLS and AUTH, RFC 3207 and RFC 4954")
struct ServerSecurityTests {
    private func plain(_ user: String, _ password: String) -> String {
        Base64.text([0] + Array(user.utf8) + [0] + Array(password.utf8))
    }

    @Test func `what stands behind STARTTLS is thrown away and the session begins anew`() {
        let t = ServerTrace()
        t.send("EHLO c\r\nMAIL FROM:<evil@x>\r\n")
        #expect(t.send("STARTTLS\r\nRCPT TO:<b@y>\r\nNOOP\r\n") == "220 2.0.0 Ready to start TLS")
        #expect(t.events.last == "startTLS")
        #expect(t.send("NOOP\r\n") == "")
        #expect(t.bufferedBytes == 0)
        t.session.tlsEstablished()
        t.run()
        #expect(t.said() == "")
        #expect(t.send("RCPT TO:<b@y>\r\n") == "503 5.5.1 Send MAIL first")
        #expect(t.send("MAIL FROM:<a@x>\r\n") == "503 5.5.1 Send EHLO first")
        let hello = t.send("EHLO c\r\n")
        #expect(hello.contains("250-AUTH PLAIN LOGIN") && !hello.contains("STARTTLS"))
        #expect(t.send("STARTTLS\r\n") == "503 5.5.1 TLS is active already")
        #expect(t.session.keyword(utf8: false) == .esmtps)
    }

    @Test func `STARTTLS takes no argument and must be offered`() {
        #expect(ServerTrace().send("STARTTLS x\r\n") == "501 5.5.4 No argument expected")
        let t = ServerTrace(offersTLS: false)
        #expect(!t.send("EHLO c\r\n").contains("STARTTLS"))
        #expect(t.send("STARTTLS\r\n") == "502 5.5.1 STARTTLS is not offered")
    }

    @Test func `AUTH is neither offered nor taken without TLS`() {
        let t = ServerTrace()
        #expect(!t.send("EHLO c\r\n").contains("AUTH"))
        #expect(t.send("AUTH PLAIN \(self.plain("u", "p"))\r\n").hasPrefix("538 5.7.11"))
        #expect(t.events == [])
    }

    @Test func `PLAIN with and without an initial response`() {
        let t = ServerTrace(hasTLS: true)
        t.auth = .user("joe")
        #expect(t.send("AUTH PLAIN\r\n") == "503 5.5.1 Send EHLO first")
        t.send("EHLO c\r\n")
        #expect(t.send("AUTH PLAIN \(self.plain("joe", "pw"))\r\n").hasPrefix("235 2.7.0"))
        #expect(t.events == ["auth joe pw"])
        #expect(t.session.keyword(utf8: true) == .utf8smtpsa)
        #expect(t.send("AUTH PLAIN\r\n") == "503 5.5.1 Already authenticated")

        let u = ServerTrace(hasTLS: true)
        u.send("EHLO c\r\n")
        #expect(u.send("auth plain\r\n") == "334 ")
        #expect(u.send("\(self.plain("joe", "no"))\r\n").hasPrefix("535 5.7.8"))
        #expect(u.session.user == nil)
    }

    @Test func `LOGIN in its three forms`() {
        let t = ServerTrace(hasTLS: true)
        t.auth = .user("joe")
        t.send("EHLO c\r\n")
        #expect(t.send("AUTH LOGIN\r\n") == "334 VXNlcm5hbWU6")
        #expect(t.send("am9l\r\n") == "334 UGFzc3dvcmQ6")
        #expect(t.send("*\r\n") == "501 5.7.0 Authentication cancelled")
        #expect(t.send("AUTH LOGIN am9l\r\n") == "334 UGFzc3dvcmQ6")
        #expect(t.send("cHc=\r\n").hasPrefix("235"))
        #expect(t.events == ["auth joe pw"])
    }

    @Test func `broken exchanges are refused and leave the session in order`() {
        let t = ServerTrace(limits: ServerLimits(errors: 100), hasTLS: true)
        t.send("EHLO c\r\n")
        #expect(t.send("AUTH\r\n") == "501 5.5.4 Argument missing")
        #expect(t.send("AUTH SCRAM-SHA-1 x\r\n") == "504 5.5.4 Mechanism not offered")
        #expect(t.send("AUTH PLAIN a b\r\n") == "501 5.5.4 No argument expected")
        #expect(t.send("AUTH PLAIN ???\r\n") == "501 5.5.2 Not base64")
        #expect(t.send("AUTH PLAIN =\r\n").hasPrefix("535"))
        #expect(t.send("AUTH PLAIN \(Base64.text([97, 0, 98]))\r\n").hasPrefix("535"))
        #expect(t.send("AUTH PLAIN \(Base64.text([97, 0, 98, 0, 99]))\r\n").hasPrefix("535"))
        #expect(t.send("AUTH LOGIN\r\n") == "334 VXNlcm5hbWU6")
        #expect(t.send("am9l\n") == "500 5.5.2 A line ends with CR and LF")
        #expect(t.send("MAIL FROM:<a@x>\r\n") == "250 2.1.0 Ok")
        #expect(t.send("AUTH LOGIN\r\n") == "503 5.5.1 Not within a transaction")
        #expect(t.events == ["sender a@x"])
    }

    @Test func `a line of an exchange may have 12,288 bytes, one more is too long`() {
        let t = ServerTrace(hasTLS: true)
        t.auth = .user("joe")
        t.send("EHLO c\r\nAUTH PLAIN\r\n")
        let limit = CommandParser.Limit.authLineBytes
        let password = [UInt8](repeating: 97, count: limit / 4 * 3 - 3)
        let line = Base64.text([0, 98, 0] + password)
        #expect(line.utf8.count == limit)
        #expect(t.send(line + "\r\n").hasPrefix("235"))
        let u = ServerTrace(hasTLS: true)
        u.send("EHLO c\r\nAUTH PLAIN\r\n")
        #expect(u.send(line + "A\r\nNOOP\r\n") == "500 5.5.6 Line too long\n250 2.0.0 Ok")
    }

    @Test func `too many failures end the session, no answer is a 454`() {
        let t = ServerTrace(hasTLS: true)
        t.send("EHLO c\r\n")
        t.auth = .unavailable
        #expect(t.send("AUTH PLAIN \(self.plain("u", "p"))\r\n").hasPrefix("454 4.7.0"))
        t.auth = .tooMany
        #expect(t.send("AUTH PLAIN \(self.plain("u", "p"))\r\nNOOP\r\n").hasPrefix("421 4.7.0"))
        #expect(t.isClosed)
    }

    @Test func `submission demands TLS, then AUTH, but for trusted clients`() {
        let mail = "MAIL FROM:<a@x>\r\n"
        let t = ServerTrace(requiresAuth: true)
        t.send("EHLO c\r\n")
        #expect(t.send(mail) == "530 5.7.0 Send STARTTLS first")
        t.send("STARTTLS\r\n")
        t.session.tlsEstablished()
        t.send("EHLO c\r\n")
        #expect(t.send(mail) == "530 5.7.0 Authentication required")
        #expect(t.events == ["startTLS"])
        t.auth = .user("joe")
        t.send("AUTH PLAIN \(self.plain("joe", "p"))\r\n")
        #expect(t.send(mail) == "250 2.1.0 Ok")
        let trusted = ServerTrace(requiresAuth: true, isTrusted: true)
        trusted.send("EHLO c\r\n")
        #expect(trusted.send(mail) == "250 2.1.0 Ok")
    }
}

@Suite("BDAT, RFC 3030")
struct ServerChunkTests {
    private func trace(_ limits: ServerLimits = ServerLimits()) -> ServerTrace {
        let t = ServerTrace(limits: limits)
        t.send("EHLO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\n")
        t.events = []
        return t
    }

    @Test func `chunks make one message, dots are not special`() {
        let t = self.trace()
        #expect(t.send("BDAT 5\r\n.\r\n.\r") == "250 2.0.0 5 octets received")
        #expect(t.send("BDAT 4 last\r\n\nx\r\n") == "250 2.0.0 Ok id=A-1")
        #expect(t.text == ".\r\n.\r\nx\r\n")
        #expect(t.events == ["begin", "finish 9"])
    }

    @Test func `an empty last chunk ends the message, an empty message is one`() {
        let t = self.trace()
        #expect(t.send("BDAT 3\r\na\r\nBDAT 0 LAST\r\n").hasSuffix("250 2.0.0 Ok id=A-1"))
        let u = self.trace()
        #expect(u.send("BDAT 0 LAST\r\n") == "250 2.0.0 Ok id=A-1")
        #expect(u.events == ["begin", "finish 0"])
    }

    @Test func `a chunk out of order is read over and then refused`() {
        let t = ServerTrace()
        t.send("EHLO c\r\n")
        #expect(
            t.send("BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n") == "503 5.5.1 Send MAIL first\n250 2.0.0 Ok")
        t.send("MAIL FROM:<a@x>\r\n")
        #expect(t.send("BDAT 6\r\nQUIT\r\nNOOP\r\n") == "503 5.5.1 Send RCPT first\n250 2.0.0 Ok")
        #expect(t.events == ["sender a@x"])
    }

    @Test func `after a failed chunk all others are read over until RSET`() {
        let t = self.trace()
        #expect(t.send("BDAT 3\r\na\nb") == "550 5.5.2 The message holds a CR or LF on its own")
        #expect(t.send("BDAT 6\r\nQUIT\r\n") == "503 5.5.1 The transaction has failed, send RSET")
        #expect(t.send("RCPT TO:<c@y>\r\n") == "503 5.5.1 The message has begun with BDAT")
        #expect(t.send("RSET\r\n") == "250 2.0.0 Ok")
        #expect(t.events == ["begin", "abandon"])
        #expect(t.send("MAIL FROM:<a@x>\r\n") == "250 2.1.0 Ok")
    }

    @Test func `DATA and BDAT do not mix`() {
        let t = self.trace()
        t.send("BDAT 3\r\na\r\n")
        #expect(t.send("DATA\r\n") == "503 5.5.1 The message has begun with BDAT")
        #expect(t.send("MAIL FROM:<a@x>\r\n") == "503 5.5.1 Sender already given")
        #expect(t.send("RSET\r\n") == "250 2.0.0 Ok")
        #expect(t.events.last == "abandon")
    }

    @Test(arguments: [
        "BDAT\r\n", "BDAT x\r\n", "BDAT -1\r\n", "BDAT 5 FIRST\r\n", "BDAT 5 LAST x\r\n",
        "BDAT 18446744073709551616\r\n", "BDAT 0x5\r\n",
    ]) func `a length that cannot be read ends the session`(command: String) {
        let t = self.trace()
        #expect(t.send(command + "QUIT\r\n") == "501 5.5.4 Syntax: BDAT size [LAST]")
        #expect(t.isClosed)
    }

    @Test func `sizes are 64 bits wide and hold nothing in memory`() {
        let t = self.trace()
        #expect(t.send("BDAT 18446744073709551615\r\n") == "")
        for _ in 0..<10 {
            #expect(t.send(String(repeating: "x", count: 65_536)) == "")
            #expect(t.bufferedBytes == 0)
        }
        #expect(t.events == [])
    }

    @Test func `chunks up to the message limit are taken, one byte more is not`() {
        let t = self.trace(ServerLimits(messageBytes: 10))
        #expect(t.send("BDAT 6\r\nabcd\r\n").hasPrefix("250"))
        #expect(t.send("BDAT 4 LAST\r\nab\r\n") == "250 2.0.0 Ok id=A-1")
        let u = self.trace(ServerLimits(messageBytes: 10))
        #expect(u.send("BDAT 6\r\nabcd\r\n").hasPrefix("250"))
        #expect(
            u.send("BDAT 5 LAST\r\nabc\r\nNOOP\r\n") == "552 5.3.4 Message too large\n250 2.0.0 Ok")
        #expect(u.events == ["begin", "abandon"])
        #expect(u.send("MAIL FROM:<a@x>\r\n") == "250 2.1.0 Ok")
    }

    @Test func `a CR that waits for its LF at the end is refused`() {
        let t = self.trace()
        #expect(t.send("BDAT 2 LAST\r\na\r").hasPrefix("550 5.5.2"))
        #expect(t.events == ["begin", "abandon"])
    }

    @Test func `a queue without room refuses once and reads the chunk over`() {
        let t = self.trace()
        t.begin = .reply(Reply(452, EnhancedCode(4, 3, 1), "full"))
        #expect(t.send("BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n") == "452 4.3.1 full\n250 2.0.0 Ok")
        #expect(t.send("DATA\r\n") == "503 5.5.1 Send MAIL first")
    }
}

@Suite("Parameters and limits of MAIL and RCPT")
struct ServerParameterTests {
    private func mail(_ text: String) -> (said: String, trace: ServerTrace) {
        let t = ServerTrace()
        t.send("EHLO c\r\n")
        return (t.send("MAIL FROM:" + text + "\r\n"), t)
    }

    @Test(arguments: [
        ("<>", "250 2.1.0 Ok"), (" <a@x>", "250 2.1.0 Ok"), ("<a@x>  ", "250 2.1.0 Ok"),
        ("<a@x> SIZE=50000000", "250 2.1.0 Ok"),
        ("<a@x> SIZE=50000001", "552 5.3.4 Message too large"),
        ("<a@x> SIZE=99999999999999999999", "552 5.3.4 Message too large"),
        ("<a@x> SIZE=999999999999999999999", "501 5.5.4 Malformed parameter"),
        ("<a@x> SIZE", "501 5.5.4 Malformed parameter"),
        ("<a@x> SIZE=", "501 5.5.4 Malformed parameter"),
        ("<a@x> SIZE=-1", "501 5.5.4 Malformed parameter"),
        ("<a@x> SIZE=1 size=2", "501 5.5.4 Parameter given twice"),
        ("<a@x> BODY=8bitmime SMTPUTF8", "250 2.1.0 Ok"),
        ("<a@x> BODY=7BIT", "250 2.1.0 Ok"),
        ("<a@x> BODY=BINARYMIME", "501 5.5.4 Malformed parameter"),
        ("<a@x> SMTPUTF8=1", "501 5.5.4 Malformed parameter"),
        ("<a@x> RET=FULL ENVID=a+2Bb", "250 2.1.0 Ok"),
        ("<a@x> RET=SOME", "501 5.5.4 Malformed parameter"),
        ("<a@x> ENVID=a+2b", "501 5.5.4 Malformed parameter"),
        ("<a@x> AUTH=<>", "250 2.1.0 Ok"),
        ("<a@x> AUTH=joe+40x", "250 2.1.0 Ok"),
        ("<a@x> FOO=BAR", "555 5.5.4 Parameter not recognized"),
        ("<a@x> =1", "501 5.5.4 Malformed parameter"),
        ("<a@x> A=B=C", "501 5.5.4 Malformed parameter"),
        ("<a@x>SIZE=1", "501 5.5.4 Malformed parameter"),
        ("<a@x> -A=1", "501 5.5.4 Malformed parameter"),
        ("a@x", "501 5.1.7 Bad sender address syntax"),
        ("<a@x", "501 5.1.7 Bad sender address syntax"),
        ("<a@x>>", "501 5.5.4 Malformed parameter"),
        ("<postmaster>", "501 5.1.7 Bad sender address syntax"),
        ("<jörg@x>", "553 5.6.7 The address needs SMTPUTF8"),
        ("<a@bücher.example>", "553 5.6.7 The address needs SMTPUTF8"),
        ("<jörg@x> SMTPUTF8", "250 2.1.0 Ok"),
    ]) func `MAIL`(text: String, reply: String) {
        #expect(self.mail(text).said == reply)
    }

    @Test func `ENVID has at most 100 characters`() {
        let text = String(repeating: "e", count: 100)
        #expect(self.mail("<a@x> ENVID=\(text)").said == "250 2.1.0 Ok")
        #expect(self.mail("<a@x> ENVID=\(text)e").said == "501 5.5.4 Malformed parameter")
    }

    @Test(arguments: [
        ("MAIL\r\n", "501 5.5.4 Syntax: MAIL FROM:<address> [parameters]"),
        ("MAIL <a@x>\r\n", "501 5.5.4 Syntax: MAIL FROM:<address> [parameters]"),
        ("MAIL FROM <a@x>\r\n", "501 5.5.4 Syntax: MAIL FROM:<address> [parameters]"),
        ("MAILFROM:<a@x>\r\n", "500 5.5.1 Command not recognized"),
        ("MAIL TO:<a@x>\r\n", "501 5.5.4 Syntax: MAIL FROM:<address> [parameters]"),
        ("RCPT FROM:<a@x>\r\n", "501 5.5.4 Syntax: RCPT TO:<address> [parameters]"),
        ("mAiL fRoM:<a@x>\r\n", "250 2.1.0 Ok"),
    ]) func `the words in front of the path`(line: String, reply: String) {
        let t = ServerTrace()
        t.send("EHLO c\r\n")
        #expect(t.send(line) == reply)
    }

    @Test(arguments: [
        ("<b@y>", "250 2.1.5 Ok"), ("<Postmaster>", "250 2.1.5 Ok"),
        ("<>", "501 5.1.3 Bad recipient address syntax"),
        ("<@r.example:b@y>", "250 2.1.5 Ok"),
        ("<b@y> NOTIFY=NEVER", "250 2.1.5 Ok"),
        ("<b@y> NOTIFY=SUCCESS,FAILURE,DELAY", "250 2.1.5 Ok"),
        ("<b@y> NOTIFY=NEVER,DELAY", "501 5.5.4 Malformed parameter"),
        ("<b@y> NOTIFY=DELAY,DELAY", "501 5.5.4 Malformed parameter"),
        ("<b@y> NOTIFY=", "501 5.5.4 Malformed parameter"),
        ("<b@y> NOTIFY=,", "501 5.5.4 Malformed parameter"),
        ("<b@y> ORCPT=rfc822;b+2Bc@y", "250 2.1.5 Ok"),
        ("<b@y> ORCPT=b@y", "501 5.5.4 Malformed parameter"),
        ("<b@y> ORCPT=rfc822;", "501 5.5.4 Malformed parameter"),
        ("<b@y> ORCPT=rfc822;a+b", "501 5.5.4 Malformed parameter"),
        ("<b@y> ORCPT=utf-8;bücher@y", "250 2.1.5 Ok"),
        ("<b@y> ORCPT=rfc822;a ORCPT=rfc822;a", "501 5.5.4 Parameter given twice"),
        ("<b@y> SIZE=1", "555 5.5.4 Parameter not recognized"),
        ("<bücher@y>", "553 5.6.7 The address needs SMTPUTF8"),
    ]) func `RCPT`(text: String, reply: String) {
        let t = ServerTrace()
        t.send("EHLO c\r\nMAIL FROM:<>\r\n")
        #expect(t.send("RCPT TO:" + text + "\r\n") == reply)
    }

    @Test func `ORCPT has at most 500 characters`() {
        let text = "rfc822;" + String(repeating: "o", count: 493)
        let t = ServerTrace()
        t.send("EHLO c\r\nMAIL FROM:<>\r\n")
        #expect(t.send("RCPT TO:<b@y> ORCPT=\(text)\r\n") == "250 2.1.5 Ok")
        #expect(t.send("RCPT TO:<b@y> ORCPT=\(text)o\r\n") == "501 5.5.4 Malformed parameter")
    }

    @Test func `what was asked for is in the envelope`() {
        let t = ServerTrace()
        t.send("EHLO c\r\nMAIL FROM:<a@x> RET=HDRS ENVID=e1 SMTPUTF8 BODY=8BITMIME\r\n")
        t.send("RCPT TO:<b@Y> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o@y\r\nRCPT TO:<c@y>\r\n")
        t.send("DATA\r\n.\r\n")
        let expected = Envelope(
            sender: "a@x",
            recipients: [
                Recipient(
                    address: "b@y", notify: [.success, .delay, .explicit], orcpt: "rfc822;o@y"),
                Recipient(address: "c@y"),
            ], eightBit: true, utf8: true, ret: .headers, envid: "e1")
        #expect(t.submissions.map(\.envelope) == [expected])
        #expect(t.submissions[0].keyword == .utf8smtp)
    }

    @Test func `a message with bytes above 127 is 8BITMIME whatever MAIL said`() {
        let t = ServerTrace()
        t.send("EHLO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\nSubject: ü\r\n.\r\n")
        #expect(t.submissions[0].envelope.eightBit)
    }

    @Test func `SIZE that lies is found out at the end`() {
        let t = ServerTrace(limits: ServerLimits(messageBytes: 100))
        t.send("EHLO c\r\nMAIL FROM:<a@x> SIZE=1\r\nRCPT TO:<b@y>\r\nDATA\r\n")
        let text = String(repeating: "x", count: 99) + "\r\n.\r\n"
        #expect(t.send(text) == "552 5.3.4 Message too large")
        #expect(t.events.last == "abandon")
        #expect(t.send("NOOP\r\n") == "250 2.0.0 Ok")
    }
}
