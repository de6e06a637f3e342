// ByteWriter.swift - the one way in which values become bytes: little-endian, lengths in front.
//
// Pairs with ByteReader; every format that we own (commands, rows, records, frames) is made of
// these few shapes.

/// Appends values to an array of bytes.
package struct ByteWriter: Sendable {
    package var bytes: [UInt8]

    package init(capacity: Int = 0) {
        self.bytes = []
        if capacity > 0 { self.bytes.reserveCapacity(capacity) }
    }

    package var count: Int { self.bytes.count }

    @inline(__always)
    package mutating func u8(_ value: UInt8) { self.bytes.append(value) }

    @inline(__always)
    package mutating func bool(_ value: Bool) { self.bytes.append(value ? 1 : 0) }

    package mutating func u16(_ value: UInt16) { self.fixed(value.littleEndian) }

    package mutating func u32(_ value: UInt32) { self.fixed(value.littleEndian) }

    package mutating func u64(_ value: UInt64) { self.fixed(value.littleEndian) }

    /// LEB128: 7 bits a byte, least first; at most 10 bytes.
    package mutating func varint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            self.bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        self.bytes.append(UInt8(rest))
    }

    package mutating func varint(_ value: Int) { self.varint(UInt64(value)) }

    /// A duration of zero or more, in whole milliseconds.
    package mutating func milliseconds(_ value: Duration) {
        self.varint(UInt64(max(0, value.inMilliseconds)))
    }

    /// Length (varint), then the bytes.
    package mutating func blob(_ value: [UInt8]) {
        self.varint(value.count)
        self.bytes.append(contentsOf: value)
    }

    /// Length (varint), then UTF-8.
    package mutating func string(_ value: String) {
        var copy = value
        copy.withUTF8 { utf8 in
            self.varint(utf8.count)
            self.bytes.append(contentsOf: utf8)
        }
    }

    /// 0, or 1 and what `body` writes.
    // Inlinable: generic, and called for each message.
    @inlinable package mutating func optional<T>(_ value: T?, _ body: (inout ByteWriter, T) -> Void)
    {
        self.bool(value != nil)
        if let value { body(&self, value) }
    }

    package mutating func raw(_ value: UnsafeRawBufferPointer) {
        self.bytes.append(contentsOf: value)
    }

    private mutating func fixed<T: FixedWidthInteger>(_ value: T) {
        withUnsafeBytes(of: value) { self.bytes.append(contentsOf: $0) }
    }
}
