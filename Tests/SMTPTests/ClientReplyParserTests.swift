import NIOCore
import Primitives
import SMTP
import Testing

@Suite("Reply parser, RFC 5321 §4.2")
struct ClientReplyParserTests {
    private static func parse(_ text: String) -> [ReplyParser.Step] {
        self.parse(pieces: [Array(text.utf8)])
    }

    private static func parse(pieces: [[UInt8]]) -> [ReplyParser.Step] {
        var parser = ReplyParser()
        var steps: [ReplyParser.Step] = []
        for piece in pieces {
            var buffer = ByteBuffer(bytes: piece)
            while true {
                let step = parser.next(from: &buffer)
                if step == .more { break }
                steps.append(step)
                if case .fault = step { return steps }
            }
        }
        return steps
    }

    @Test func `one line with an enhanced code`() {
        let reply = Reply(550, EnhancedCode(5, 1, 1), "no such user")
        #expect(Self.parse("550 5.1.1 no such user\r\n") == [.reply(reply)])
    }

    @Test func `several lines share one code and lose it`() {
        let reply = Reply(250, EnhancedCode(2, 0, 0), ["a", "b", "c"])
        #expect(Self.parse("250-2.0.0 a\r\n250-2.0.0 b\r\n250 2.0.0 c\r\n") == [.reply(reply)])
    }

    @Test func `the same session split at every byte gives the same replies`() {
        let text =
            "220-one.example ESMTP\r\n220 ready\r\n250-8BITMIME\r\n250 SIZE 100\r\n354 go\r\n"
        let whole = Self.parse(text)
        let bytes = Array(text.utf8)
        #expect(whole.count == 3)
        for cut in 0...bytes.count {
            let parts = [Array(bytes[..<cut]), Array(bytes[cut...])]
            #expect(Self.parse(pieces: parts) == whole)
        }
        #expect(Self.parse(pieces: bytes.map { [$0] }) == whole)
    }

    @Test(arguments: [
        "hello\r\n", "25\r\n", "2500 x\r\n", "150 x\r\n", "650 x\r\n", "\r\n", "250x\r\n",
        "HTTP/1.1 400 Bad Request\r\n", "\u{0}\u{1}\u{2}\n",
    ])
    func `what is no reply is a fault`(text: String) {
        #expect(Self.parse(text) == [.fault(.notAReply)])
    }

    @Test func `a bare LF ends a line, a code may stand alone`() {
        #expect(Self.parse("250\n") == [.reply(Reply(250, nil, ""))])
        #expect(Self.parse("250 \r\n") == [.reply(Reply(250, nil, ""))])
    }

    @Test func `an enhanced code of another class is text`() {
        #expect(Self.parse("250 5.1.1 odd\r\n") == [.reply(Reply(250, nil, "5.1.1 odd"))])
        #expect(Self.parse("550 5.1 x\r\n") == [.reply(Reply(550, nil, "5.1 x"))])
        #expect(Self.parse("550 5.1234.1 x\r\n") == [.reply(Reply(550, nil, "5.1234.1 x"))])
    }

    @Test func `the code of the last line counts`() {
        #expect(Self.parse("250-a\r\n550 b\r\n") == [.reply(Reply(550, nil, ["a", "b"]))])
    }

    @Test func `control characters and broken UTF-8 become question marks`() {
        let bytes = Array("550 a\u{1B}[2Jb ".utf8) + [0xFF] + Array("\r\n".utf8)
        #expect(Self.parse(pieces: [bytes]) == [.reply(Reply(550, nil, "a?[2Jb ?"))])
        #expect(Self.parse("550 süß\r\n") == [.reply(Reply(550, nil, "süß"))])
    }

    @Test func `a line is kept up to its limit`() {
        let limit = ReplyParser.Limit.lineBytes
        for (length, kept) in [(limit - 4, limit - 4), (limit - 3, limit - 4), (5000, limit - 4)] {
            let text = String(repeating: "x", count: length)
            let expected = Reply(250, nil, String(repeating: "x", count: kept))
            #expect(Self.parse("250 \(text)\r\n") == [.reply(expected)])
            let bytes = Array("250 \(text)\r\n".utf8)
            #expect(
                Self.parse(pieces: [Array(bytes[..<7]), Array(bytes[7...])]) == [.reply(expected)])
        }
    }

    @Test func `lines are kept up to their limit`() {
        for count in [ReplyParser.Limit.lines, ReplyParser.Limit.lines + 1] {
            let text = String(repeating: "250-x\r\n", count: count - 1) + "250 x\r\n"
            let lines = Array(repeating: "x", count: ReplyParser.Limit.lines)
            #expect(Self.parse(text) == [.reply(Reply(250, nil, lines))])
        }
    }

    @Test func `a reply of a hundred thousand lines is a fault`() {
        let text = String(repeating: "250-x\r\n", count: 100_000)
        #expect(Self.parse(text) == [.fault(.tooLong)])
    }

    @Test func `a reply may be as long as its limit and not a byte longer`() {
        let limit = ReplyParser.Limit.replyBytes
        let line = "250-" + String(repeating: "x", count: 1018) + "\r\n"
        let front = String(repeating: line, count: limit / 1024 - 1)
        let last = limit - front.utf8.count
        let fits = front + "250 " + String(repeating: "x", count: last - 6) + "\r\n"
        #expect(fits.utf8.count == limit)
        #expect(Self.parse(fits).first != .fault(.tooLong))
        let over = front + "250-" + String(repeating: "x", count: last - 5) + "\r\n250 x\r\n"
        #expect(Self.parse(over) == [.fault(.tooLong)])
    }

    @Test func `a line without an end uses bounded memory and ends as a fault`() {
        #expect(
            Self.parse("250 " + String(repeating: "x", count: 1_000_000)) == [.fault(.tooLong)])
    }

    @Test func `text that nobody wants is not kept, refusals always are`() {
        var parser = ReplyParser()
        var buffer = ByteBuffer(string: "250 2.1.0 sender ok\r\n550 5.1.1 no\r\n")
        #expect(
            parser.next(from: &buffer, keepsText: false)
                == .reply(Reply(250, EnhancedCode(2, 1, 0), "")))
        #expect(
            parser.next(from: &buffer, keepsText: false)
                == .reply(Reply(550, EnhancedCode(5, 1, 1), "no")))
    }
}
