import NIOCore
import Primitives
import SMTP
import Testing

@Suite("Dot stuffing, RFC 5321 §4.5.2")
struct ClientDotStufferTests {
    /// Byte by byte, as the RFC says it.
    private static func plain(_ text: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        var last: UInt8 = 0x0A
        for byte in text {
            if last == 0x0A && byte == 0x2E { result.append(0x2E) }
            result.append(byte)
            last = byte
        }
        let ends = text.isEmpty || (text.count > 1 && text.suffix(2) == [0x0D, 0x0A])
        return result + Array((ends ? ".\r\n" : "\r\n.\r\n").utf8)
    }

    private static func stuffed(_ parts: [[UInt8]], sliced: Bool) -> [UInt8] {
        var stuffer = DotStuffer()
        var out = ByteBuffer()
        for part in parts {
            if sliced {
                stuffer.slices(ByteBuffer(bytes: part)) { slice in
                    out.writeImmutableBuffer(slice)
                }
            } else {
                stuffer.copy(ByteBuffer(bytes: part), into: &out)
            }
        }
        stuffer.end(into: &out)
        return Array(out.readableBytesView)
    }

    @Test(arguments: [
        ("", ".\r\n"), ("a\r\n", "a\r\n.\r\n"), ("a", "a\r\n.\r\n"), (".", "..\r\n.\r\n"),
        (".\r\n", "..\r\n.\r\n"), ("a\r\n.\r\nb\r\n", "a\r\n..\r\nb\r\n.\r\n"),
        ("a\r\n..b\r\n", "a\r\n...b\r\n.\r\n"), ("a.b\r\n", "a.b\r\n.\r\n"),
        ("\r\n.", "\r\n..\r\n.\r\n"), ("a\n.\r\n", "a\n..\r\n.\r\n"), ("a\r", "a\r\r\n.\r\n"),
    ])
    func `known texts`(text: String, expected: String) {
        for sliced in [false, true] {
            #expect(
                String(decoding: Self.stuffed([Array(text.utf8)], sliced: sliced), as: UTF8.self)
                    == expected)
        }
    }

    @Test func `a message cut at every byte is stuffed alike`() {
        let text = Array(".a\r\n.\r\n..\r\nabcdefghijk\r\n.lmnopqrst.\r\n.\r\n".utf8)
        let expected = Self.plain(text)
        for cut in 0...text.count {
            let parts = [Array(text[..<cut]), Array(text[cut...])]
            #expect(Self.stuffed(parts, sliced: false) == expected)
            #expect(Self.stuffed(parts, sliced: true) == expected)
        }
    }

    @Test func `random texts agree with the plain loop`() {
        var dice = Generator(seed: 7)
        for _ in 0..<2000 {
            let alphabet = Array("\r\n..ab".utf8)
            let text = (0..<dice.below(90)).map { _ in alphabet[dice.below(alphabet.count)] }
            let cut = dice.below(text.count + 1)
            let parts = [Array(text[..<cut]), Array(text[cut...])]
            #expect(Self.stuffed(parts, sliced: false) == Self.plain(text))
            #expect(Self.stuffed(parts, sliced: true) == Self.plain(text))
        }
    }

    @Test func `slices share the storage of the part`() {
        let part = ByteBuffer(string: "no dot at all\r\nin this text\r\n")
        var stuffer = DotStuffer()
        var count = 0
        stuffer.slices(part) { slice in
            count += 1
            #expect(slice == part)
        }
        #expect(count == 1)
    }
}
