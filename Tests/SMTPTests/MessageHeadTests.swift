import NIOCore
import Primitives
import SMTP
import Testing

@Suite("Received, Date, Message-ID: RFC 5321 §4.4, RFC 5322 §3.6")
struct MessageHeadTests {
    private let time = WallTime(milliseconds: 1_772_471_045_678)

    private func head(
        helo: String = "client.example", client: String = "192.0.2.7",
        keyword: ProtocolKeyword = .esmtp, tls: (String, String)? = nil,
        recipient: String? = "b@y.example", added: AddedFields = []
    ) -> String {
        guard let address = IPAddress(client) else { return "" }
        let trace = TraceHead(
            helo: helo, client: address, hostname: "mx.example", keyword: keyword, tls: tls)
        return String(
            buffer: trace.head(id: "1D-4KZ", at: self.time, recipient: recipient, added: added))
    }

    @Test func `a plain Received field`() {
        #expect(
            self.head()
                == "Received: from client.example ([192.0.2.7])\r\n"
                + "\tby mx.example with ESMTP id 1D-4KZ\r\n"
                + "\tfor <b@y.example>; \(self.time.rfc5322)\r\n")
    }

    @Test func `TLS, IPv6, several recipients`() {
        #expect(
            self.head(
                client: "2001:db8::7", keyword: .esmtpsa,
                tls: ("TLSv1.3", "TLS_AES_256_GCM_SHA384"), recipient: nil)
                == "Received: from client.example ([IPv6:2001:db8::7])\r\n"
                + "\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384)\r\n"
                + "\tby mx.example with ESMTPSA id 1D-4KZ; \(self.time.rfc5322)\r\n")
    }

    @Test func `lines have at most 78 columns where words allow it`() {
        for length in 1...60 {
            let text = self.head(
                helo: String(repeating: "h", count: length),
                recipient: String(repeating: "r", count: length) + "@y",
                added: [.date, .messageID])
            for line in text.split(separator: "\r\n") {
                #expect(line.replacing("\t", with: "        ").utf8.count <= 78, "\(line)")
            }
        }
    }

    @Test func `what a client said cannot break out of its place`() {
        let text = self.head(helo: "a(b)\\<\"é;\r\nX: y")
        #expect(text.contains("from a?b?????????X:?y ([192.0.2.7])\r\n\tby"))
    }

    @Test func `Date, Message-ID and the empty line are added where they are asked for`() {
        let text = self.head(added: [.date, .messageID, .emptyLine])
        #expect(text.contains("\r\nDate: Mon, 2 Mar 2026 17:04:05 +0000\r\nMessage-ID: <1D-4KZ."))
        #expect(text.hasSuffix("@mx.example>\r\n\r\n"))
    }

    @Test func `submission adds what is missing, relaying does not`() {
        var scanner = HeaderScanner()
        Array("Subject: x\r\nDate: y\r\n\r\n".utf8).withUnsafeBytes { scanner.scan($0) }
        #expect(AddedFields(missingIn: scanner, isSubmission: true) == [.messageID])
        #expect(AddedFields(missingIn: scanner, isSubmission: false) == [])
        var none = HeaderScanner()
        Array("text\r\n".utf8).withUnsafeBytes { none.scan($0) }
        #expect(AddedFields(missingIn: none, isSubmission: false) == [.emptyLine])
    }

    @Test func `dates are those of RFC 5322, at turns of month and year`() {
        for milliseconds: Int64 in [
            0, 951_782_399_000, 951_868_800_000, 4_102_444_799_999, 1_767_225_600_000,
        ] {
            var out = ByteBuffer()
            DateField.write(WallTime(milliseconds: milliseconds), into: &out)
            #expect(String(buffer: out) == WallTime(milliseconds: milliseconds).rfc5322)
        }
    }

    @Test(arguments: [
        (false, false, false, false, "SMTP"), (true, false, false, false, "ESMTP"),
        (true, false, true, false, "ESMTPS"), (true, false, false, true, "ESMTPA"),
        (true, false, true, true, "ESMTPSA"), (true, true, false, false, "UTF8SMTP"),
        (true, true, true, false, "UTF8SMTPS"), (true, true, false, true, "UTF8SMTPA"),
        (true, true, true, true, "UTF8SMTPSA"),
    ]) func `the keyword behind with, RFC 3848`(
        isExtended: Bool, utf8: Bool, tls: Bool, authenticated: Bool, text: String
    ) {
        let keyword = ProtocolKeyword(
            isExtended: isExtended, utf8: utf8, tls: tls, authenticated: authenticated)
        #expect("\(keyword.text)" == text)
    }
}
