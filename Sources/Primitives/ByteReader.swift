// ByteReader.swift - the one way in which bytes become values: checked, bounded, never trusting.

/// What is wrong with bytes that were to be decoded.
package enum CodecError: Error, Equatable, Sendable {
    /// Fewer bytes than the shape needs.
    case truncated
    /// A length, count or number out of its range; the label says which.
    case outOfRange(StaticLabel)
    /// A kind, flag or version that is not known; the label says of what.
    case unknown(StaticLabel)
    /// Text that is not UTF-8.
    case notText
    /// Bytes left over behind a whole value.
    case trailing
}

/// A constant text that may stand in an `Equatable` error.
package struct StaticLabel: Hashable, Sendable, ExpressibleByStringLiteral,
    CustomStringConvertible
{
    package let text: String
    package init(stringLiteral value: StaticString) { self.text = value.description }
    package var description: String { self.text }
}

/// Reads values from bytes; each read checks what is left first.
package struct ByteReader: Sendable {
    private let bytes: [UInt8]
    private var offset: Int
    private let end: Int

    package init(_ bytes: [UInt8]) {
        self.bytes = bytes
        self.offset = 0
        self.end = bytes.count
    }

    package init(_ bytes: [UInt8], range: Range<Int>) {
        invariant(range.lowerBound >= 0 && range.upperBound <= bytes.count, "range of a reader")
        self.bytes = bytes
        self.offset = range.lowerBound
        self.end = range.upperBound
    }

    /// Bytes not read yet.
    package var remaining: Int { self.end - self.offset }

    package mutating func u8() throws(CodecError) -> UInt8 {
        guard self.offset < self.end else { throw .truncated }
        defer { self.offset += 1 }
        return self.bytes[self.offset]
    }

    /// 0 or 1; everything else is an error, so that one value has one encoding.
    package mutating func bool() throws(CodecError) -> Bool {
        switch try self.u8() {
        case 0: return false
        case 1: return true
        case _: throw .outOfRange("bool")
        }
    }

    package mutating func u16() throws(CodecError) -> UInt16 { try self.fixed() }
    package mutating func u32() throws(CodecError) -> UInt32 { try self.fixed() }
    package mutating func u64() throws(CodecError) -> UInt64 { try self.fixed() }

    package mutating func varint() throws(CodecError) -> UInt64 {
        var result: UInt64 = 0
        var shift: UInt64 = 0
        while true {
            let byte = try self.u8()
            if shift == 63 && byte > 1 { throw .outOfRange("varint") }
            result |= UInt64(byte & 0x7F) << shift
            if byte & 0x80 == 0 { return result }
            shift += 7
            if shift > 63 { throw .outOfRange("varint") }
        }
    }

    /// A varint that is at most `limit`.
    package mutating func count(atMost limit: Int) throws(CodecError) -> Int {
        let value = try self.varint()
        guard value <= UInt64(limit) else { throw .outOfRange("count") }
        return Int(value)
    }

    package mutating func milliseconds() throws(CodecError) -> Duration {
        let value = try self.varint()
        guard value <= 0x7FFF_FFFF_FFFF else { throw .outOfRange("duration") }
        return .milliseconds(Int64(value))
    }

    package mutating func blob(atMost limit: Int = 1 << 26) throws(CodecError) -> [UInt8] {
        try self.raw(self.count(atMost: limit))
    }

    package mutating func string(atMost limit: Int = 1 << 20) throws(CodecError) -> String {
        let length = try self.count(atMost: limit)
        guard length <= self.remaining else { throw .truncated }
        let slice = self.bytes[self.offset..<self.offset + length]
        guard let text = String(validating: slice, as: UTF8.self) else { throw .notText }
        self.offset += length
        return text
    }

    // Inlinable: generic, and called for each message.
    @inlinable package mutating func optional<T>(
        _ body: (inout ByteReader) throws(CodecError) -> T
    ) throws(CodecError) -> T? {
        guard try self.bool() else { return nil }
        return try body(&self)
    }

    package mutating func raw(_ length: Int) throws(CodecError) -> [UInt8] {
        guard length >= 0, length <= self.remaining else { throw .truncated }
        defer { self.offset += length }
        return Array(self.bytes[self.offset..<self.offset + length])
    }

    package mutating func skip(_ length: Int) throws(CodecError) {
        guard length >= 0, length <= self.remaining else { throw .truncated }
        self.offset += length
    }

    /// Throws if anything is left.
    package func finish() throws(CodecError) {
        if self.remaining != 0 { throw .trailing }
    }

    private mutating func fixed<T: FixedWidthInteger>() throws(CodecError) -> T {
        let size = MemoryLayout<T>.size
        guard size <= self.remaining else { throw .truncated }
        let start = self.offset
        self.offset += size
        return self.bytes.withUnsafeBytes {
            T(littleEndian: $0.loadUnaligned(fromByteOffset: start, as: T.self))
        }
    }
}
