// Base64.swift - bytes as text in the alphabet of RFC 4648 §4.
//
// Never     tolerant: a foreign character, white space or bits left over are refused.

/// Encoding and decoding of base64.
package enum Base64 {
    private static let alphabet: [UInt8] = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    /// The value of each character; 0xFF: not one of the alphabet.
    private static let values: [UInt8] = {
        var table = [UInt8](repeating: 0xFF, count: 256)
        for (value, character) in Self.alphabet.enumerated() {
            table[Int(character)] = UInt8(value)
        }
        return table
    }()

    /// ASCII characters for `bytes`, filled up with `=` to a multiple of four if `padded`.
    package static func encode(_ bytes: [UInt8], padded: Bool = true) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity((bytes.count + 2) / 3 * 4)
        var i = 0
        while i < bytes.count {
            let left = bytes.count - i
            let b0 = UInt32(bytes[i])
            let b1 = left > 1 ? UInt32(bytes[i + 1]) : 0
            let b2 = left > 2 ? UInt32(bytes[i + 2]) : 0
            let word = b0 << 16 | b1 << 8 | b2
            result.append(Self.alphabet[Int(word >> 18)])
            result.append(Self.alphabet[Int(word >> 12 & 63)])
            if left > 1 { result.append(Self.alphabet[Int(word >> 6 & 63)]) }
            if left > 2 { result.append(Self.alphabet[Int(word & 63)]) }
            i += 3
        }
        while padded && result.count % 4 != 0 { result.append(UInt8(ascii: "=")) }
        return result
    }

    /// `encode` as text.
    package static func text(_ bytes: [UInt8], padded: Bool = true) -> String {
        String(decoding: Self.encode(bytes, padded: padded), as: UTF8.self)
    }

    /// The bytes that `characters` stand for; nil if they are not base64. Padding is demanded if
    /// `padded`, refused if not. Bits behind the last byte must be zero (RFC 4648 §3.5).
    package static func decode(
        _ characters: some Collection<UInt8>, padded: Bool = true
    ) -> [UInt8]? {
        var digits = Array(characters)
        if padded {
            guard digits.count % 4 == 0 else { return nil }
            var pads = 0
            while pads < 2, digits.last == UInt8(ascii: "=") {
                digits.removeLast()
                pads += 1
            }
        }
        guard digits.count % 4 != 1 else { return nil }
        var result: [UInt8] = []
        result.reserveCapacity(digits.count / 4 * 3 + 2)
        var word: UInt32 = 0
        var bits = 0
        for character in digits {
            let value = Self.values[Int(character)]
            guard value != 0xFF else { return nil }
            word = word << 6 | UInt32(value)
            bits += 6
            if bits >= 8 {
                bits -= 8
                result.append(UInt8(truncatingIfNeeded: word >> UInt32(bits)))
                word &= (1 << UInt32(bits)) - 1
            }
        }
        return word == 0 ? result : nil
    }
}
