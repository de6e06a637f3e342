// HeaderScanner.swift - what the header of a message says, while the message passes by.
//
// Takes     the content from its first byte, in pieces of any size; line ends are CRLF.
// Gives     which fields there are, how many Received fields, whether there is a header at all.
// Never     keeps a byte but the name of the present field.
// Standard  RFC 5322 §2.1, §2.2; RFC 5321 §6.3 (loops).

/// Scans one message; make another for the next.
package struct HeaderScanner: Sendable {
    /// Received fields (RFC 5321 §6.3).
    package private(set) var receivedCount = 0
    package private(set) var hasDate = false
    package private(set) var hasMessageID = false
    package private(set) var hasFrom = false
    /// A byte above 127 in the header (RFC 6532).
    package private(set) var hasUTF8 = false
    /// The first line is not a field: what we put in front needs an empty line behind it.
    package private(set) var isHeaderless = false
    /// The header is over; nothing more is learnt from what follows.
    package private(set) var isDone = false

    private enum State: UInt8 {
        case lineStart
        case name
        /// Blanks between name and colon (RFC 5322 §4.5.8: obsolete, but met).
        case nameBlanks
        case rest
        /// A CR at the start of a line: the empty line, if LF follows.
        case emptyLine
    }
    private var state = State.lineStart
    private var isFirstLine = true
    /// The first 16 bytes of the name in lower case, the first one highest; and its length.
    private var nameHigh: UInt64 = 0
    private var nameLow: UInt64 = 0
    private var nameBytes = 0

    package init() {}

    /// Reads on; once `isDone`, costs nothing.
    package mutating func scan(_ bytes: UnsafeRawBufferPointer) {
        var at = 0
        while at < bytes.count && !self.isDone {
            if self.state == .rest {
                at = self.skipRest(bytes, from: at)
            } else {
                self.take(bytes[at])
                at += 1
            }
        }
    }

    /// The content has ended.
    package mutating func finish() {
        guard !self.isDone else { return }
        if self.isFirstLine { self.isHeaderless = true }
        self.isDone = true
    }

    private mutating func take(_ byte: UInt8) {
        switch self.state {
        case .lineStart:
            self.nameHigh = 0
            self.nameLow = 0
            self.nameBytes = 0
            switch byte {
            case 0x0D: self.state = .emptyLine
            // A folded line; as the first line it is no field.
            case 0x20, 0x09:
                if self.isFirstLine { return self.endWithoutEmptyLine() }
                self.state = .rest
            case _: self.takeName(byte)
            }
        case .name: self.takeName(byte)
        case .nameBlanks:
            if byte == UInt8(ascii: ":") { return self.endName() }
            if byte != 0x20 && byte != 0x09 { self.endWithoutEmptyLine() }
        case .emptyLine:
            self.isDone = true
        case .rest: break
        }
    }

    private mutating func takeName(_ byte: UInt8) {
        if byte == UInt8(ascii: ":") {
            if self.nameBytes == 0 { return self.endWithoutEmptyLine() }
            return self.endName()
        }
        if byte == 0x20 || byte == 0x09 {
            self.state = .nameBlanks
            return
        }
        guard byte > 0x20, byte < 0x7F else { return self.endWithoutEmptyLine() }
        self.state = .name
        let value = UInt64(Syntax.lower(byte))
        if self.nameBytes < 8 {
            self.nameHigh = self.nameHigh << 8 | value
        } else if self.nameBytes < 16 {
            self.nameLow = self.nameLow << 8 | value
        }
        self.nameBytes += 1
    }

    private mutating func endName() {
        self.state = .rest
        self.isFirstLine = false
        switch (self.nameBytes, self.nameHigh, self.nameLow) {
        // "received", "date", "message-id", "from" as numbers.
        case (8, 0x7265_6365_6976_6564, _): self.receivedCount += 1
        case (4, 0x6461_7465, _): self.hasDate = true
        case (10, 0x6D65_7373_6167_652D, 0x6964): self.hasMessageID = true
        case (4, 0x6672_6F6D, _): self.hasFrom = true
        case _: break
        }
    }

    /// A line that is no field ends the header as an empty one does.
    private mutating func endWithoutEmptyLine() {
        if self.isFirstLine { self.isHeaderless = true }
        self.isDone = true
    }

    /// Behind the name: up to the line's end. Returns where to go on.
    private mutating func skipRest(_ bytes: UnsafeRawBufferPointer, from: Int) -> Int {
        var at = from
        var high: UInt8 = 0
        while at < bytes.count {
            let byte = bytes[at]
            high |= byte
            at += 1
            if byte == 0x0A {
                self.state = .lineStart
                break
            }
        }
        if high >= 0x80 { self.hasUTF8 = true }
        return at
    }
}
