// ReplyParser.swift - the bytes of a server, cut into replies.
//
// Takes     what has arrived, in pieces of any size.
// Gives     one complete reply a call, or what is wrong with the bytes.
// Never     waits, and never keeps more than `Limit.lineBytes` of a line or `Limit.lines` lines.
// Standard  RFC 5321 §4.2, §4.2.1, §4.5.3.1.5; RFC 2034 §4; RFC 3463 §2.
//
// Liberal where nothing is lost by it: a bare LF ends a line, the code of the last line counts,
// a line without text is one. Control characters become "?" so that a reply can stand in a log
// and in a report.

package import struct NIOCore.ByteBuffer

/// Makes replies of bytes; one per connection.
package struct ReplyParser: Sendable {
    package enum Limit {
        /// Bytes of one line that are kept; RFC 5321 §4.5.3.1.5 allows 512. The rest is skipped.
        package static let lineBytes = 1024
        /// Lines of one reply that are kept; more are read and forgotten.
        package static let lines = 100
        /// Bytes of one reply, kept or not; one more is a fault.
        package static let replyBytes = 262_144
    }

    package enum Fault: Equatable, Sendable {
        /// A line that does not begin with a code of 200 … 599.
        case notAReply
        /// More than `Limit.replyBytes`.
        case tooLong

        package var text: String {
            switch self {
            case .notAReply: "the server answered something that is not an SMTP reply"
            case .tooLong: "the server's reply is longer than \(Limit.replyBytes) bytes"
            }
        }
    }

    package enum Step: Equatable, Sendable {
        /// All bytes are read, the reply is not complete.
        case more
        case reply(Reply)
        /// The connection is of no more use.
        case fault(Fault)
    }

    /// Shared by all replies whose text nobody wants: no allocation for "250 Ok".
    private static let noText = [""]

    private var lines: [String] = []
    private var enhanced: EnhancedCode?
    /// The begin of a line whose end has not arrived.
    private var partial: [UInt8] = []
    /// Bytes of the reply up to now.
    private var replyBytes = 0

    package init() {}

    /// Whether a reply has begun and is not complete.
    package var isInside: Bool { self.replyBytes > 0 }

    /// Reads up to the end of the next reply.
    ///
    /// - Parameter keepsText: false: the text of a positive reply of one line is not kept.
    package mutating func next(from buffer: inout ByteBuffer, keepsText: Bool = true) -> Step {
        while buffer.readableBytes > 0 {
            let (step, read) = buffer.withUnsafeReadableBytes {
                self.line(in: $0, keepsText: keepsText)
            }
            buffer.moveReaderIndex(forwardBy: read)
            self.replyBytes += read
            if let step {
                self.reset()
                return step
            }
            if self.replyBytes > Limit.replyBytes {
                self.reset()
                return .fault(.tooLong)
            }
        }
        return .more
    }

    private mutating func reset() {
        self.replyBytes = 0
        self.enhanced = nil
        if !self.lines.isEmpty { self.lines = [] }
        self.partial.removeAll(keepingCapacity: true)
    }

    /// Reads one line or the part of it that is there; nil: the reply goes on.
    private mutating func line(
        in bytes: UnsafeRawBufferPointer, keepsText: Bool
    ) -> (step: Step?, read: Int) {
        var end = 0
        while end < bytes.count && bytes[end] != 0x0A { end += 1 }
        guard end < bytes.count else {
            self.keep(UnsafeRawBufferPointer(rebasing: bytes[..<end]))
            return (nil, end)
        }
        guard self.partial.isEmpty else {
            self.keep(UnsafeRawBufferPointer(rebasing: bytes[..<end]))
            let line = self.partial
            self.partial.removeAll(keepingCapacity: true)
            return (line.withUnsafeBytes { self.take($0, keepsText: keepsText) }, end + 1)
        }
        let line = UnsafeRawBufferPointer(rebasing: bytes[..<min(end, Limit.lineBytes)])
        return (self.take(line, keepsText: keepsText), end + 1)
    }

    private mutating func keep(_ bytes: UnsafeRawBufferPointer) {
        let room = Limit.lineBytes - self.partial.count
        self.partial.append(contentsOf: bytes.prefix(max(0, room)))
    }

    /// A whole line without its LF.
    private mutating func take(_ raw: UnsafeRawBufferPointer, keepsText: Bool) -> Step? {
        var line = raw
        if line.last == 0x0D { line = UnsafeRawBufferPointer(rebasing: line.dropLast()) }
        guard line.count >= 3, (0x32...0x35).contains(line[0]), isDigit(line[1]), isDigit(line[2])
        else { return .fault(.notAReply) }
        let continues = line.count > 3 && line[3] == UInt8(ascii: "-")
        guard line.count == 3 || continues || line[3] == 0x20 else { return .fault(.notAReply) }
        let code =
            UInt16(line[0] - 0x30) * 100 + UInt16(line[1] - 0x30) * 10 + UInt16(line[2] - 0x30)
        var text = UnsafeRawBufferPointer(rebasing: line.dropFirst(4))
        if let (enhanced, length) = Self.enhancedCode(text, kind: line[0] - 0x30) {
            if self.enhanced == nil { self.enhanced = enhanced }
            text = UnsafeRawBufferPointer(rebasing: text.dropFirst(length))
        }
        if !continues && !keepsText && code < 400 && self.lines.isEmpty {
            return .reply(Reply(code, self.enhanced, Self.noText))
        }
        if self.lines.count < Limit.lines { self.lines.append(Self.printable(text)) }
        return continues ? nil : .reply(Reply(code, self.enhanced, self.lines))
    }

    /// `5.1.1` and the space behind it; only of the reply's own class (RFC 2034 §4).
    private static func enhancedCode(
        _ text: UnsafeRawBufferPointer, kind: UInt8
    ) -> (EnhancedCode, length: Int)? {
        guard text.count >= 5, text[0] == kind + 0x30, text[1] == 0x2E, kind != 3 else {
            return nil
        }
        var at = 2
        guard let subject = Self.number(text, &at), at < text.count, text[at] == 0x2E else {
            return nil
        }
        at += 1
        guard let detail = Self.number(text, &at), at == text.count || text[at] == 0x20 else {
            return nil
        }
        return (EnhancedCode(kind, subject, detail), min(at + 1, text.count))
    }

    /// One to three digits.
    private static func number(_ text: UnsafeRawBufferPointer, _ at: inout Int) -> UInt16? {
        let start = at
        var value: UInt16 = 0
        while at < text.count, at - start < 3, isDigit(text[at]) {
            value = value * 10 + UInt16(text[at] - 0x30)
            at += 1
        }
        return at > start ? value : nil
    }

    private static func printable(_ text: UnsafeRawBufferPointer) -> String {
        var isPlain = true
        var isASCII = true
        for byte in text {
            if byte < 0x20 || byte == 0x7F { isPlain = false }
            if byte >= 0x80 { isASCII = false }
        }
        if isPlain && isASCII { return String(decoding: text, as: UTF8.self) }
        let clean = text.map { $0 == 0x09 ? 0x20 : $0 < 0x20 || $0 == 0x7F ? 0x3F : $0 }
        if let valid = String(validating: clean, as: UTF8.self) { return valid }
        return String(decoding: clean.map { $0 >= 0x80 ? 0x3F : $0 }, as: UTF8.self)
    }
}

private func isDigit(_ byte: UInt8) -> Bool { byte >= 0x30 && byte <= 0x39 }
