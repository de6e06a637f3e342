// ReturnedMessage.swift - the third part of a report: the original, or its header.
//
// Standard  RFC 3461 §4.3 (RET; reports other than of failure carry the header only),
//           RFC 6522 §3 (text/rfc822-headers), RFC 6533 §4 (message/global).

import Primitives

import struct NIOCore.ByteBuffer

/// As much of the original as the report gives back.
struct Returned {
    let parts: [ByteBuffer]
    let isWhole: Bool
    let hasEightBit: Bool

    var byteCount: Int { self.parts.reduce(0) { $0 + $1.readableBytes } }

    init(_ report: DeliveryReport, _ original: [ByteBuffer], maxBytes: Int) {
        let bytes = original.reduce(0) { $0 + $1.readableBytes }
        self.isWhole = report.theme == .failed && report.ret != .headers && bytes <= maxBytes
        self.parts = self.isWhole ? original : Self.header(original)
        self.hasEightBit = self.parts.contains { part in
            part.withUnsafeReadableBytes { $0.contains { $0 >= 0x80 } }
        }
    }

    /// Everything before the first empty line, cut behind a whole line at the limit.
    private static func header(_ original: [ByteBuffer]) -> [ByteBuffer] {
        var header = ByteBuffer()
        var newlines = 0
        for part in original {
            let room = ReportComposer.Limit.headerBytes - header.readableBytes
            for byte in part.readableBytesView.prefix(room) {
                if byte == 0x0A {
                    newlines += 1
                } else if byte != 0x0D {
                    newlines = 0
                }
                // The header's last line end and the empty line's CR have been written.
                if newlines == 2 { return [Self.withoutEmptyLine(header)] }
                header.writeInteger(byte)
            }
        }
        let view = header.readableBytesView
        guard let end = view.lastIndex(of: 0x0A) else { return [] }
        header.moveWriterIndex(to: end + 1)
        return [header]
    }

    private static func withoutEmptyLine(_ header: ByteBuffer) -> ByteBuffer {
        var result = header
        if result.readableBytesView.last == 0x0D {
            result.moveWriterIndex(to: result.writerIndex - 1)
        }
        return result
    }

    func write(utf8: Bool, into out: inout MessageText) {
        out.line(
            "Content-Description: "
                + (self.isWhole ? "Undelivered message" : "Header of the message"))
        let type =
            switch (self.isWhole, utf8) {
            case (true, false): "message/rfc822"
            case (true, true): "message/global"
            case (false, false): "text/rfc822-headers"
            case (false, true): "message/global-headers"
            }
        out.line("Content-Type: \(type)")
        if self.hasEightBit { out.line("Content-Transfer-Encoding: 8bit") }
        out.line("")
        for part in self.parts { out.bytes(part) }
        out.line("")
    }

    /// Whether `text` stands in the parts, also across their borders.
    static func contain(_ text: String, _ parts: [ByteBuffer]) -> Bool {
        let wanted = Array(text.utf8)
        var matched = 0
        for part in parts {
            for byte in part.readableBytesView {
                // The text's first byte occurs in it once ("="), so a mismatch starts it anew.
                if byte == wanted[matched] {
                    matched += 1
                } else {
                    matched = byte == wanted[0] ? 1 : 0
                }
                if matched == wanted.count { return true }
            }
        }
        return false
    }
}

/// Lines of a message, with CRLF.
struct MessageText {
    private(set) var buffer: ByteBuffer

    init(capacity: Int) {
        self.buffer = ByteBuffer()
        self.buffer.reserveCapacity(capacity)
    }

    mutating func line(_ text: String) {
        self.buffer.writeString(text)
        self.buffer.writeStaticString("\r\n")
    }

    mutating func bytes(_ part: ByteBuffer) {
        self.buffer.writeImmutableBuffer(part)
    }

    /// A line that is folded at spaces behind 72 bytes (RFC 5322 §2.2.3), and without any at 900.
    mutating func folded(_ text: String) {
        var column = 0
        for byte in text.utf8 {
            if byte == 0x20 && column >= 72 {
                self.buffer.writeStaticString("\r\n ")
                column = 1
                continue
            }
            if column >= 900 && byte & 0xC0 != 0x80 {
                self.buffer.writeStaticString("\r\n ")
                column = 1
            }
            self.buffer.writeInteger(byte)
            column += 1
        }
        self.buffer.writeStaticString("\r\n")
    }
}
