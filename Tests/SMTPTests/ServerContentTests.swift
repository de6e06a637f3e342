import SMTP
import Testing

import struct NIOCore.ByteBuffer

@Suite("Content, RFC 5321 §4.5.2 and §2.3.8")
struct ServerContentTests {
    /// Reads `text` in pieces of `size`; gives what came out, the fault, and what was left.
    private func read(
        _ text: String, size: Int = .max, maxBytes: UInt64 = 1000, maxReceived: Int = 3
    ) -> (content: String, isEnd: Bool, fault: ServerReply?, left: String) {
        var reader = ContentReader(maxBytes: maxBytes, maxReceived: maxReceived)
        var content: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            var buffer = ByteBuffer(bytes: rest.prefix(size))
            rest = rest.dropFirst(size)
            let (piece, isEnd) = reader.readDotted(&buffer)
            if let piece { content += piece.readableBytesView }
            if isEnd {
                let left = Array(buffer.readableBytesView) + rest
                return (
                    String(decoding: content, as: UTF8.self), true, reader.fault,
                    String(decoding: left, as: UTF8.self)
                )
            }
        }
        return (String(decoding: content, as: UTF8.self), false, reader.fault, "")
    }

    @Test(arguments: [
        (".\r\n", ""),
        ("a\r\n.\r\n", "a\r\n"),
        ("a\r\n\r\n.\r\n", "a\r\n\r\n"),
        ("..\r\n.\r\n", ".\r\n"),
        ("..a\r\n...b\r\nc.d\r\n..\r\n.\r\n", ".a\r\n..b\r\nc.d\r\n.\r\n"),
        (".x\r\n.\r\n", "x\r\n"),
        (
            "0123456789.0123456789\r\n..0123456789\r\n.\r\n",
            "0123456789.0123456789\r\n.0123456789\r\n"
        ),
    ]) func `dots come off, in pieces of every size`(given: String, expected: String) {
        for size in 1...(given.utf8.count + 1) {
            let result = self.read(given + "QUIT\r\n", size: size)
            #expect(result.content == expected, "in pieces of \(size)")
            #expect(result.isEnd && result.fault == nil && result.left == "QUIT\r\n")
        }
    }

    @Test(arguments: [
        "a\n.\r\nb\r\n.\r\n", "a\r\n.\nb\r\n.\r\n", "a\n.\nb\r\n.\r\n", "a\r.\r\nb\r\n.\r\n",
        "a\r\n.\rb\r\n.\r\n", "a\rb\r\n.\r\n", "a\nb\r\n.\r\n", "a\r\r\n.\r\n", "\n.\r\n\r\n.\r\n",
        "a\r\n.\r\r\nb\r\n.\r\n", "a\n\r\n.\r\n", "a\r.\rb\r\n.\r\n",
    ]) func `a CR or LF on its own never ends anything and is refused`(given: String) {
        for size in 1...(given.utf8.count + 1) {
            let result = self.read(given + "NEXT", size: size)
            #expect(result.isEnd, "\(given.debugDescription) in pieces of \(size)")
            #expect(result.fault == .bareBytes)
            #expect(result.left == "NEXT")
        }
    }

    @Test func `a message of the limit is taken, one byte more is not`() {
        let line = String(repeating: "x", count: 98) + "\r\n"
        let text = String(repeating: line, count: 10)
        #expect(self.read(text + ".\r\n").fault == nil)
        #expect(self.read("y" + text + ".\r\n").fault == .tooLarge)
        #expect(self.read("y" + text + ".\r\n").isEnd)
    }

    @Test func `Received fields up to the limit are taken, one more is a loop`() {
        let field = "Received: from a\r\n\tby b\r\n"
        let three = String(repeating: field, count: 3)
        #expect(self.read(three + "\r\n" + field + "\r\n.\r\n").fault == nil)
        #expect(self.read(three + "Subject: x\r\n\r\n.\r\n").fault == nil)
        #expect(self.read(three + "RECEIVED : x\r\n\r\nbody\r\n.\r\n").fault == .loop)
    }

    @Test func `bytes above 127 are noticed wherever they stand, and none behind the end`() {
        for offset in 0..<20 {
            var bytes = Array(repeating: UInt8(ascii: "a"), count: 20)
            bytes[offset] = 0xC3
            var reader = ContentReader(maxBytes: 1000, maxReceived: 3)
            var buffer = ByteBuffer(bytes: bytes + Array("\r\n.\r\n".utf8))
            _ = reader.readDotted(&buffer)
            #expect(reader.hasEightBit)
        }
        var reader = ContentReader(maxBytes: 1000, maxReceived: 3)
        var buffer = ByteBuffer(bytes: Array("a\r\n.\r\n".utf8) + [0xC3, 0xC3, 0xC3, 0xC3])
        _ = reader.readDotted(&buffer)
        #expect(!reader.hasEightBit)
    }

    @Test func `a read without dots is passed on as a slice, one with dots as one copy`() {
        var reader = ContentReader(maxBytes: 1000, maxReceived: 3)
        var buffer = ByteBuffer(string: "one\r\ntwo\r\n")
        let whole = buffer
        #expect(reader.readDotted(&buffer).piece == whole)
        buffer = ByteBuffer(string: "..a\r\n..b\r\n.\r\n")
        #expect(reader.readDotted(&buffer).piece == ByteBuffer(string: ".a\r\n.b\r\n"))
    }

    @Test func `the header is known, in pieces of every size`() {
        let text =
            "Date: x\r\nMESSAGE-ID : <a@b>\r\nfrom:\u{E4}\r\n Received: folded\r\n\r\nReceived: no\r\n"
        let bytes = Array(text.utf8)
        for size in 1...bytes.count {
            var scanner = HeaderScanner()
            var rest = bytes[...]
            while !rest.isEmpty {
                Array(rest.prefix(size)).withUnsafeBytes { scanner.scan($0) }
                rest = rest.dropFirst(size)
            }
            #expect(scanner.isDone && scanner.hasDate && scanner.hasMessageID && scanner.hasFrom)
            #expect(scanner.hasUTF8 && scanner.receivedCount == 0 && !scanner.isHeaderless)
        }
    }

    @Test(arguments: [
        ("Hello world, no header\r\n", true), (" folded first\r\n", true), (": x\r\n", true),
        ("", true), ("Subject", true), ("\r\nbody\r\n", false), ("Subject:\r\n", false),
        ("Subject: x\r\nnot a field\r\n", false),
    ]) func `a message without a header is told apart`(text: String, isHeaderless: Bool) {
        var scanner = HeaderScanner()
        Array(text.utf8).withUnsafeBytes { scanner.scan($0) }
        scanner.finish()
        #expect(scanner.isHeaderless == isHeaderless)
    }
}
