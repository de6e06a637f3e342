// DotStuffer.swift - a message as SMTP sends it: a dot doubled at each line start, a lone dot last.
//
// Takes     the message in parts of any size; line ends are CRLF (Reception refuses others).
// Gives     one stuffed copy, or slices of the parts where they are large.
// Standard  RFC 5321 §4.5.2.
//
// A dot behind a bare LF is doubled too: should one ever get here, a server that takes LF for a
// line end must not find an end of data in the middle of a message.

package import struct NIOCore.ByteBuffer

/// Stuffs one message; make another for the next.
package struct DotStuffer: Sendable {
    /// The last two bytes seen; a message begins as if behind a CRLF.
    private var last: UInt8 = 0x0A
    private var beforeLast: UInt8 = 0x0D

    package init() {}

    /// Appends a stuffed copy of `part`.
    package mutating func copy(_ part: ByteBuffer, into out: inout ByteBuffer) {
        part.withUnsafeReadableBytes { bytes in
            self.cut(bytes) { range in
                out.writeBytes(UnsafeRawBufferPointer(rebasing: bytes[range]))
            }
        }
    }

    /// Gives out slices of `part` which together are its stuffed form. Two slices that meet at a
    /// stuffed dot both contain it, so no byte is copied.
    package mutating func slices(_ part: ByteBuffer, _ emit: (ByteBuffer) -> Void) {
        let start = part.readerIndex
        part.withUnsafeReadableBytes { bytes in
            self.cut(bytes) { range in
                guard let slice = part.getSlice(at: start + range.lowerBound, length: range.count)
                else { return }
                emit(slice)
            }
        }
    }

    /// Appends the end of data: CRLF unless the message ended with one, then the lone dot.
    package mutating func end(into out: inout ByteBuffer) {
        if self.last != 0x0A || self.beforeLast != 0x0D { out.writeStaticString("\r\n") }
        out.writeStaticString(".\r\n")
    }

    /// Cuts `bytes` behind each dot at a line start; the next range begins with that dot again.
    @inline(__always)
    private mutating func cut(
        _ bytes: UnsafeRawBufferPointer, _ emit: (Range<Int>) -> Void
    ) {
        guard !bytes.isEmpty else { return }
        var start = 0
        if self.last == 0x0A && bytes[0] == 0x2E { emit(0..<1) }
        var at = 0
        while let dot = Self.dotBehindLF(bytes, from: at) {
            emit(start..<dot + 1)
            start = dot
            at = dot
        }
        emit(start..<bytes.count)
        self.beforeLast = bytes.count > 1 ? bytes[bytes.count - 2] : self.last
        self.last = bytes[bytes.count - 1]
    }

    /// The first dot behind a LF at or behind `from`; both within `bytes`. Eight bytes a step.
    private static func dotBehindLF(_ bytes: UnsafeRawBufferPointer, from: Int) -> Int? {
        let low: UInt64 = 0x0101_0101_0101_0101
        let high: UInt64 = 0x8080_8080_8080_8080
        var i = from
        while i + 9 <= bytes.count {
            let here = bytes.loadUnaligned(fromByteOffset: i, as: UInt64.self)
            let following = bytes.loadUnaligned(fromByteOffset: i + 1, as: UInt64.self)
            // A byte is zero exactly where LF stands here and a dot behind it.
            let both = (here ^ 0x0A0A_0A0A_0A0A_0A0A) | (following ^ 0x2E2E_2E2E_2E2E_2E2E)
            if (both &- low) & ~both & high != 0 {
                for k in i..<i + 8 where bytes[k] == 0x0A && bytes[k + 1] == 0x2E { return k + 1 }
            }
            i += 8
        }
        while i + 1 < bytes.count {
            if bytes[i] == 0x0A && bytes[i + 1] == 0x2E { return i + 1 }
            i += 1
        }
        return nil
    }
}
