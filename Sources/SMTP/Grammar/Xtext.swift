// Xtext.swift - values of ESMTP parameters that may hold any character.
//
// Standard  RFC 3461 §4 (xtext), RFC 6533 §3 (utf-8 address types).

package enum Xtext {
    /// Whether `bytes` are xtext: graphic characters but `+` and `=`, and `+` with two upper-case
    /// hexadecimal digits.
    package static func isValid(_ bytes: some Collection<UInt8>) -> Bool {
        var digits = 0
        for byte in bytes {
            if digits > 0 {
                guard Self.hex(byte) != nil else { return false }
                digits -= 1
            } else if byte == UInt8(ascii: "+") {
                digits = 2
            } else if !Syntax.isGraphic(byte) || byte == UInt8(ascii: "=") {
                return false
            }
        }
        return digits == 0
    }

    /// What stands behind the encoding; nil if `text` is not xtext.
    package static func decode(_ text: some StringProtocol) -> [UInt8]? {
        guard Self.isValid(text.utf8) else { return nil }
        var result: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "+"), let high = rest.popFirst().flatMap(Self.hex),
                let low = rest.popFirst().flatMap(Self.hex)
            {
                result.append(high << 4 | low)
            } else {
                result.append(byte)
            }
        }
        return result
    }

    /// `text` with everything but graphic characters, and `+` and `=`, encoded.
    package static func encode(_ text: String) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var result: [UInt8] = []
        for byte in text.utf8 {
            if Syntax.isGraphic(byte) && byte != UInt8(ascii: "+") && byte != UInt8(ascii: "=") {
                result.append(byte)
            } else {
                result += [UInt8(ascii: "+"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    private static func hex(_ byte: UInt8) -> UInt8? {
        if Syntax.isDigit(byte) { return byte - 0x30 }
        return byte &- 0x41 < 6 ? byte - 0x41 + 10 : nil
    }
}
