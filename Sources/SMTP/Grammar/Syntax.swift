// Syntax.swift - classes of bytes, and a cursor over the bytes of one line.
//
// Never     strings: a command is compared and cut as bytes.
// Standard  RFC 5321 §4.1.2, RFC 5322 §3.2.3 (atext), RFC 6531 §3.3 (bytes of UTF-8).

/// What a byte may be part of.
package enum Syntax {
    /// A letter, a digit or one of ``!#$%&'*+-/=?^_`{|}~`` (RFC 5322 §3.2.3).
    @inline(__always)
    package static func isAtom(_ byte: UInt8) -> Bool {
        Self.isIn(byte, low: 0xA3FF_ACFA_0000_0000, high: 0x7FFF_FFFF_C7FF_FFFE)
    }

    /// Letter, digit, hyphen; the underscore too, as names of hosts in use have it.
    @inline(__always)
    package static func isHostName(_ byte: UInt8) -> Bool {
        Self.isIn(byte, low: 0x03FF_2000_0000_0000, high: 0x07FF_FFFE_87FF_FFFE)
    }

    @inline(__always)
    package static func isAlphanumeric(_ byte: UInt8) -> Bool {
        Self.isIn(byte, low: 0x03FF_0000_0000_0000, high: 0x07FF_FFFE_07FF_FFFE)
    }

    @inline(__always)
    package static func isDigit(_ byte: UInt8) -> Bool { byte &- 0x30 < 10 }

    /// A printable character of ASCII other than the space.
    @inline(__always)
    package static func isGraphic(_ byte: UInt8) -> Bool { byte > 0x20 && byte < 0x7F }

    @inline(__always)
    package static func lower(_ byte: UInt8) -> UInt8 {
        byte &- 0x41 < 26 ? byte | 0x20 : byte
    }

    @inline(__always)
    private static func isIn(_ byte: UInt8, low: UInt64, high: UInt64) -> Bool {
        byte < 64 ? low >> UInt64(byte) & 1 == 1 : byte < 128 && high >> UInt64(byte & 63) & 1 == 1
    }

    /// Whether `bytes` say `word`, in any case. `word` is upper case.
    @inline(__always)
    package static func equals(
        _ bytes: Slice<UnsafeRawBufferPointer>, _ word: StaticString
    ) -> Bool {
        guard bytes.count == word.utf8CodeUnitCount else { return false }
        var at = 0
        for byte in bytes {
            if Self.lower(byte) != Self.lower(word.utf8Start[at]) { return false }
            at += 1
        }
        return true
    }
}

/// A place within the bytes of one line. Valid only while the bytes are borrowed.
struct Cursor {
    let bytes: UnsafeRawBufferPointer
    var at = 0

    init(_ bytes: UnsafeRawBufferPointer, at: Int = 0) {
        self.bytes = bytes
        self.at = at
    }

    @inline(__always)
    var isAtEnd: Bool { self.at >= self.bytes.count }

    /// The byte here; nil at the end.
    @inline(__always)
    var peek: UInt8? { self.at < self.bytes.count ? self.bytes[self.at] : nil }

    /// Steps over `byte` if it stands here.
    @inline(__always)
    mutating func skip(_ byte: UInt8) -> Bool {
        guard self.at < self.bytes.count, self.bytes[self.at] == byte else { return false }
        self.at += 1
        return true
    }

    /// Steps over spaces and tabs; false if there was none.
    @discardableResult
    mutating func skipSpaces() -> Bool {
        let start = self.at
        while let byte = self.peek, byte == 0x20 || byte == 0x09 { self.at += 1 }
        return self.at > start
    }

    /// The bytes from here up to the next space or the end.
    mutating func word() -> Slice<UnsafeRawBufferPointer> {
        let start = self.at
        while let byte = self.peek, byte != 0x20 && byte != 0x09 { self.at += 1 }
        return self.bytes[start..<self.at]
    }

    /// A decimal number of at most 64 bits; nil if there is none or it is greater.
    static func number(_ digits: Slice<UnsafeRawBufferPointer>) -> UInt64? {
        guard !digits.isEmpty else { return nil }
        var value: UInt64 = 0
        for byte in digits {
            guard Syntax.isDigit(byte) else { return nil }
            let (product, tooLarge) = value.multipliedReportingOverflow(by: 10)
            let (sum, alsoTooLarge) = product.addingReportingOverflow(UInt64(byte - 0x30))
            if tooLarge || alsoTooLarge { return nil }
            value = sum
        }
        return value
    }
}
