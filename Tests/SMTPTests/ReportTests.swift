import Foundation
import NIOCore
import Primitives
import SMTP
import Testing

@Suite("Reports, RFC 3464, RFC 3461 §6, RFC 6522, RFC 6533", .timeLimit(.minutes(1)))
struct ReportTests {
    private static let original = "From: Joe <joe@a.example>\r\nSubject: hello\r\n\r\nThe body.\r\n"

    private static func line(
        _ address: String, _ action: DeliveryReport.Action, _ reply: Reply,
        orcpt: String? = nil, host: String? = "mx.d.example"
    ) -> DeliveryReport.Line {
        DeliveryReport.Line(
            recipient: Recipient(address: address, orcpt: orcpt), action: action,
            verdict: Verdict(action == .failed ? .failed : .deferred, reply, remoteHost: host))
    }

    private static func report(_ lines: DeliveryReport.Line...) -> DeliveryReport {
        DeliveryReport(
            host: "relay.example", recipient: "joe@a.example", lines: lines,
            originalSender: "joe@a.example",
            arrivedAt: WallTime(milliseconds: 1_772_471_045_000),
            madeAt: WallTime(milliseconds: 1_772_474_645_000), queueID: "1D-4KZ")
    }

    private static func compose(
        _ report: DeliveryReport, _ original: String = Self.original, maxBytes: Int = 50_000
    ) -> (composed: ComposedReport, text: String) {
        let composed = ReportComposer.compose(
            report, original: original.isEmpty ? [] : [ByteBuffer(string: original)],
            maxBytes: maxBytes)
        let head = ReportComposer.head("2E-5", host: "relay.example", at: report.madeAt)
        return (composed, String(buffer: head) + String(buffer: composed.content))
    }

    private static let no = Reply(550, EnhancedCode(5, 1, 1), "no such user")

    /// What Python's own parser and flufl.bounce make of it.
    private static func python(_ text: String) throws -> [String: Any] {
        let script = """
            import sys, json, email, email.policy
            raw = sys.stdin.buffer.read()
            m = email.message_from_bytes(raw, policy=email.policy.SMTPUTF8)
            old = email.message_from_bytes(raw)
            from flufl.bounce import all_failures
            temporary, permanent = all_failures(old)
            parts = list(m.iter_parts())
            status = parts[1]
            blocks = [dict((k, str(v)) for k, v in b.items()) for b in
                      email.message_from_bytes(raw).get_payload()[1].get_payload()]
            print(json.dumps({
              "type": m.get_content_type(), "report": m.get_param("report-type"),
              "types": [x.get_content_type() for x in parts],
              "defects": [repr(d) for x in m.walk() for d in x.defects],
              "from": str(m["From"]), "to": str(m["To"]), "auto": str(m["Auto-Submitted"]),
              "id": str(m["Message-ID"]), "date": str(m["Date"]), "subject": str(m["Subject"]),
              "blocks": blocks, "text": parts[0].get_content(),
              "temporary": sorted(x.decode() for x in temporary),
              "permanent": sorted(x.decode() for x in permanent),
              "last": parts[-1].as_string()}))
            """
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/python3")
        process.arguments = ["-c", script]
        let input = Pipe()
        let output = Pipe()
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        input.fileHandleForWriting.write(Data(text.utf8))
        try input.fileHandleForWriting.close()
        let data = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        let value = try JSONSerialization.jsonObject(with: data)
        return try #require(value as? [String: Any])
    }

    private static func blocks(_ parsed: [String: Any]) throws -> [[String: String]] {
        try #require(parsed["blocks"] as? [[String: String]])
    }

    @Test func `a failure is understood by Python's email and flufl.bounce`() throws {
        var report = Self.report(
            Self.line("x@d.example", .failed, Self.no, orcpt: "rfc822;X+2Bx@d.example"))
        report.envid = "QQ+2B1"
        let (composed, text) = Self.compose(report)
        let parsed = try Self.python(text)
        #expect(parsed["type"] as? String == "multipart/report")
        #expect(parsed["report"] as? String == "delivery-status")
        #expect(
            parsed["types"] as? [String]
                == ["text/plain", "message/delivery-status", "message/rfc822"])
        #expect(parsed["defects"] as? [String] == [])
        // flufl.bounce takes the address that the sender used.
        #expect(parsed["permanent"] as? [String] == ["X+x@d.example"])
        #expect(parsed["temporary"] as? [String] == [])
        #expect((parsed["from"] as? String)?.contains("MAILER-DAEMON@relay.example") == true)
        #expect(
            parsed["to"] as? String == "joe@a.example"
                || parsed["to"] as? String == "<joe@a.example>")
        #expect(parsed["auto"] as? String == "auto-replied")
        #expect(parsed["id"] as? String == "<2E-5.1772474645000@relay.example>")
        let blocks = try Self.blocks(parsed)
        #expect(blocks[0]["Reporting-MTA"] == "dns; relay.example")
        #expect(blocks[0]["Original-Envelope-Id"] == "QQ+1")
        #expect(blocks[0]["Arrival-Date"] == "Mon, 2 Mar 2026 17:04:05 +0000")
        #expect(blocks[1]["Original-Recipient"] == "rfc822; X+x@d.example")
        #expect(blocks[1]["Final-Recipient"] == "rfc822; x@d.example")
        #expect(blocks[1]["Action"] == "failed" && blocks[1]["Status"] == "5.1.1")
        #expect(blocks[1]["Remote-MTA"] == "dns; mx.d.example")
        #expect(blocks[1]["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user")
        #expect((parsed["last"] as? String)?.contains("The body.") == true)
        #expect(!composed.eightBit && !composed.utf8)
    }

    @Test func `a delay says until when, returns the header only, and fails nobody`() throws {
        var report = Self.report(
            Self.line("x@d.example", .delayed, Reply(451, EnhancedCode(4, 4, 1), "refused")))
        report.retriesUntil = WallTime(milliseconds: 1_772_903_045_000)
        let parsed = try Self.python(Self.compose(report).text)
        #expect(parsed["permanent"] as? [String] == [])
        #expect(parsed["temporary"] as? [String] == ["x@d.example"])
        let block = try Self.blocks(parsed)[1]
        #expect(block["Action"] == "delayed" && block["Status"] == "4.4.1")
        #expect(block["Will-Retry-Until"] == "Sat, 7 Mar 2026 17:04:05 +0000")
        #expect((parsed["types"] as? [String])?.last == "text/rfc822-headers")
        #expect((parsed["last"] as? String)?.contains("The body.") == false)
    }

    @Test(arguments: [DeliveryReport.Action.delivered, .relayed])
    func `success is told with its action`(action: DeliveryReport.Action) throws {
        let report = Self.report(Self.line("x@d.example", action, Reply(250, nil, "ok")))
        let parsed = try Self.python(Self.compose(report).text)
        let block = try Self.blocks(parsed)[1]
        #expect(block["Action"] == action.rawValue && block["Status"] == "2.0.0")
        #expect(parsed["permanent"] as? [String] == [])
    }

    @Test func `several recipients, each with its own fate`() throws {
        let report = Self.report(
            Self.line("x@d.example", .failed, Self.no),
            Self.line("y@d.example", .failed, Reply(451, nil, "tired"), host: nil))
        let parsed = try Self.python(Self.compose(report).text)
        let blocks = try Self.blocks(parsed)
        #expect(blocks.count == 3)
        #expect(blocks[2]["Status"] == "5.0.0" && blocks[2]["Remote-MTA"] == nil)
        #expect(blocks[2]["Diagnostic-Code"] == "x-posthouse; 451 tired")
        #expect(parsed["permanent"] as? [String] == ["x@d.example", "y@d.example"])
    }

    @Test func `a status of its own stands over the reply's`() throws {
        var line = Self.line("x@d.example", .failed, Reply(450, EnhancedCode(4, 2, 0), "later"))
        line.status = EnhancedCode(4, 4, 7)
        let text = Self.compose(Self.report(line)).text
        #expect(text.contains("\r\nStatus: 4.4.7\r\n"))
        #expect(text.contains("\r\nDiagnostic-Code: smtp; 450 4.2.0 later\r\n"))
    }

    @Test func `RET=HDRS and size decide about the third part, at the limit and above`() {
        let size = Self.original.utf8.count
        let plain = Self.report(Self.line("x@d.example", .failed, Self.no))
        var headers = plain
        headers.ret = .headers
        let cases: [(DeliveryReport, Int, Bool)] = [
            (plain, size, true), (plain, size - 1, false), (headers, size, false),
        ]
        for (report, limit, isWhole) in cases {
            let text = Self.compose(report, maxBytes: limit).text
            #expect(text.contains("The body.") == isWhole)
            #expect(text.contains("Subject: hello"))
            #expect(text.contains("Content-Type: message/rfc822") == isWhole)
        }
    }

    @Test func `an original that is gone leaves two parts`() throws {
        let report = Self.report(Self.line("x@d.example", .failed, Self.no))
        let parsed = try Self.python(Self.compose(report, "").text)
        #expect((parsed["types"] as? [String])?.count == 2)
        #expect(parsed["permanent"] as? [String] == ["x@d.example"])
    }

    @Test func `a huge header is cut behind a whole line`() {
        let report = Self.report(Self.line("x@d.example", .delayed, Reply(450, nil, "later")))
        let field = "X-Filler: " + String(repeating: "y", count: 88) + "\r\n"
        let text = Self.compose(report, String(repeating: field, count: 5000) + "\r\nbody").text
        #expect(text.utf8.count < ReportComposer.Limit.headerBytes + 8192)
        #expect(text.contains("yyy\r\n\r\n--=_"))
    }

    @Test func `lines stay below 998 bytes whatever a server says`() {
        let long = String(repeating: "z", count: 5000)
        let words = Array(repeating: "word", count: 500).joined(separator: " ")
        for said in [long, words, "a\r\nInjected: yes"] {
            let report = Self.report(Self.line("x@d.example", .failed, Reply(550, nil, said)))
            let text = Self.compose(report).text
            for line in text.split(separator: "\r\n") { #expect(line.utf8.count <= 998) }
            #expect(!text.contains("\r\nInjected"))
            #expect(text.utf8.count < 12_000)
        }
    }

    @Test func `a UTF-8 address makes the global forms, RFC 6533`() throws {
        let report = Self.report(Self.line("jörg@d.example", .failed, Self.no))
        let (composed, text) = Self.compose(report)
        #expect(composed.utf8 && composed.eightBit)
        #expect(text.contains("Content-Type: message/global-delivery-status"))
        #expect(text.contains("Final-Recipient: utf-8; jörg@d.example"))
        #expect(text.contains("Content-Type: message/global\r\n"))
        let parsed = try Self.python(text)
        #expect(parsed["type"] as? String == "multipart/report")
    }

    @Test func `UTF-8 in a reply does not get into an ASCII report`() {
        let report = Self.report(Self.line("x@d.example", .failed, Reply(550, nil, "ungültig")))
        let (composed, text) = Self.compose(report)
        #expect(text.contains("550 ung?ltig") && !composed.eightBit)
    }

    @Test func `an 8-bit original makes an 8-bit report`() {
        let report = Self.report(Self.line("x@d.example", .failed, Self.no))
        let (composed, text) = Self.compose(report, "Subject: x\r\n\r\nsüß\r\n")
        #expect(composed.eightBit && !composed.utf8)
        #expect(text.contains("Content-Transfer-Encoding: 8bit"))
    }

    @Test func `an original with our boundary in it gets another boundary`() throws {
        let report = Self.report(Self.line("x@d.example", .failed, Self.no))
        func boundary(_ text: String) throws -> Substring {
            let start = try #require(text.range(of: "boundary=\""))
            return text[start.upperBound...].prefix { $0 != "\"" }
        }
        let first = try boundary(Self.compose(report).text)
        let (_, text) = Self.compose(report, "Subject: x\r\n\r\n--\(first)--\r\n")
        #expect(try boundary(text) != first)
        let parsed = try Self.python(text)
        #expect((parsed["types"] as? [String])?.count == 3)
    }

    @Test func `the postmaster is told that nobody else can be`() {
        var report = Self.report(Self.line("x@d.example", .failed, Self.no))
        report.audience = .postmaster
        report.recipient = "pm@p.example"
        let text = Self.compose(report).text
        #expect(text.contains("\r\nTo: <pm@p.example>\r\n"))
        #expect(text.contains("the message has no sender who can be told"))
    }

    @Test func `many recipients: the text names some, the status all`() {
        var report = Self.report()
        report.lines = (0...ReportComposer.Limit.namedRecipients).map {
            Self.line("u\($0)@d.example", .failed, Self.no)
        }
        let text = Self.compose(report).text
        #expect(text.contains("... and 1 more recipients."))
        #expect(text.components(separatedBy: "\r\nAction: failed").count == report.lines.count + 1)
    }
}
