// ContentReader.swift - the bytes of one message: dots taken off, line ends held to the standard.
//
// Takes     what has arrived, behind DATA or in a BDAT chunk.
// Gives     one piece of content per read, a slice of what was read where no dot is in the way.
// Limits    size and Received fields; a message over them is read to its end and not passed on.
// Standard  RFC 5321 §2.3.8 (a CR or LF on its own is never a line end), §4.5.2 (dots), §6.3;
//           RFC 3030 §2.
//
// Only CR LF . CR LF ends the data. `LF . CR LF` and its kin do not: who sends them wants another
// server to see an end where we see none. They make the message refused, at its true end.

package import struct NIOCore.ByteBuffer

/// Reads one message; make another for the next.
package struct ContentReader: Sendable {
    private enum Line: UInt8 {
        case start
        /// A dot at the start of a line: stuffed, or the end.
        case dot
        case dotCR
        case text
        case cr
    }
    private var line = Line.start
    private let maxBytes: UInt64
    private let maxReceived: Int

    /// Content bytes up to now: CRLF line ends, dots taken off.
    package private(set) var bytes: UInt64 = 0
    /// A byte above 127 was seen.
    package private(set) var hasEightBit = false
    package private(set) var header = HeaderScanner()
    /// Why the message is refused; the first reason counts.
    package private(set) var fault: ServerReply?

    package init(maxBytes: UInt64, maxReceived: Int) {
        self.maxBytes = maxBytes
        self.maxReceived = maxReceived
    }

    /// Reads on behind DATA. Nothing behind the end of data is read.
    package mutating func readDotted(_ input: inout ByteBuffer) -> (piece: ByteBuffer?, isEnd: Bool)
    {
        let start = input.readerIndex
        var runs = Runs()
        let (read, isEnd) = input.withUnsafeReadableBytes { bytes in
            self.scanDotted(bytes) { runs.add($0, of: bytes) }
        }
        let piece = self.fault == nil ? runs.piece(of: input, from: start) : nil
        input.moveReaderIndex(forwardBy: read)
        let passed = self.pass(piece)
        if isEnd { self.header.finish() }
        return (passed, isEnd)
    }

    /// Reads at most `count` bytes of a BDAT chunk, as they are.
    package mutating func readChunk(_ input: inout ByteBuffer, count: Int) -> ByteBuffer? {
        guard let piece = input.readSlice(length: min(count, input.readableBytes)) else {
            return nil
        }
        piece.withUnsafeReadableBytes { bytes in
            var at = 0
            while at < bytes.count { at = self.scanText(bytes, from: at) }
        }
        return self.pass(self.fault == nil ? piece : nil)
    }

    /// The last chunk is over: a CR that waits for its LF will not get it.
    package mutating func finishChunks() {
        if self.line == .cr { self.refuse(.bareBytes) }
        self.header.finish()
    }

    /// Counts and looks at what is to be passed on.
    private mutating func pass(_ piece: ByteBuffer?) -> ByteBuffer? {
        guard let piece, piece.readableBytes > 0 else { return nil }
        self.bytes += UInt64(piece.readableBytes)
        if self.bytes > self.maxBytes { self.refuse(.tooLarge) }
        if !self.header.isDone {
            piece.withUnsafeReadableBytes { self.header.scan($0) }
            if self.header.receivedCount > self.maxReceived { self.refuse(.loop) }
        }
        return self.fault == nil ? piece : nil
    }

    private mutating func refuse(_ reason: ServerReply) {
        if self.fault == nil { self.fault = reason }
    }
}

extension ContentReader {
    /// The parts of one read that are content.
    private struct Runs {
        var first: Range<Int>?
        /// Made when there is a second run: one copy is cheaper than a buffer for each line.
        var copy: ByteBuffer?

        mutating func add(_ run: Range<Int>, of bytes: UnsafeRawBufferPointer) {
            if run.isEmpty { return }
            guard let first = self.first else {
                self.first = run
                return
            }
            if self.copy == nil {
                var copy = ByteBuffer()
                copy.reserveCapacity(bytes.count)
                copy.writeBytes(UnsafeRawBufferPointer(rebasing: bytes[first]))
                self.copy = copy
            }
            self.copy?.writeBytes(UnsafeRawBufferPointer(rebasing: bytes[run]))
        }

        func piece(of input: ByteBuffer, from start: Int) -> ByteBuffer? {
            if let copy = self.copy { return copy }
            guard let first = self.first else { return nil }
            return input.getSlice(at: start + first.lowerBound, length: first.count)
        }
    }

    /// Gives out runs of content; returns how much was read and whether the end of data was.
    private mutating func scanDotted(
        _ bytes: UnsafeRawBufferPointer, _ emit: (Range<Int>) -> Void
    ) -> (read: Int, isEnd: Bool) {
        var at = 0
        var run = 0
        while at < bytes.count {
            switch self.line {
            case .start where bytes[at] == UInt8(ascii: "."):
                emit(run..<at)
                at += 1
                run = at
                self.line = .dot
            case .dot:
                if bytes[at] == 0x0D {
                    at += 1
                    self.line = .dotCR
                } else {
                    run = at
                    self.line = .text
                }
            case .dotCR:
                if bytes[at] == 0x0A {
                    self.line = .start
                    return (at + 1, true)
                }
                self.refuse(.bareBytes)
                self.line = .text
            case .start, .text, .cr:
                at = self.scanText(bytes, from: at)
            }
        }
        if self.line != .dot && self.line != .dotCR { emit(run..<bytes.count) }
        return (bytes.count, false)
    }

    /// Reads up to and with the next line end, or all. Returns where to go on.
    private mutating func scanText(_ bytes: UnsafeRawBufferPointer, from: Int) -> Int {
        var at = from
        if self.line == .cr {
            guard bytes[at] == 0x0A else {
                self.refuse(.bareBytes)
                self.line = .text
                return at
            }
            self.line = .start
            return at + 1
        }
        self.line = .text
        at = self.findLineEnd(bytes, from: at)
        guard at < bytes.count else { return at }
        if bytes[at] == 0x0A {
            // Not a line start for us: a dot behind it is text.
            self.refuse(.bareBytes)
            return at + 1
        }
        guard at + 1 < bytes.count, bytes[at + 1] == 0x0A else {
            self.line = .cr
            return at + 1
        }
        self.line = .start
        return at + 2
    }

    /// The first CR or LF at or behind `from`, else the end; eight bytes a step.
    private mutating func findLineEnd(_ bytes: UnsafeRawBufferPointer, from: Int) -> Int {
        let low: UInt64 = 0x0101_0101_0101_0101
        let high: UInt64 = 0x8080_8080_8080_8080
        var at = from
        var seen: UInt64 = 0
        defer { if seen & high != 0 { self.hasEightBit = true } }
        while at + 8 <= bytes.count {
            let word = UInt64(
                littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self))
            let lf = word ^ (low &* 0x0A)
            let cr = word ^ (low &* 0x0D)
            let found = ((lf &- low) & ~lf | (cr &- low) & ~cr) & high
            if found != 0 {
                // The lowest mark is exact; those above it may be carries.
                let offset = found.trailingZeroBitCount / 8
                seen |= word & ((1 << UInt64(offset * 8)) &- 1)
                return at + offset
            }
            seen |= word
            at += 8
        }
        while at < bytes.count {
            let byte = bytes[at]
            if byte == 0x0A || byte == 0x0D { return at }
            seen |= UInt64(byte)
            at += 1
        }
        return at
    }
}
