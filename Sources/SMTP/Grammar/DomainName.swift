// DomainName.swift - what stands behind the @: a name of hosts, or an address in brackets.
//
// Takes     bytes as the client sent them.
// Gives     one spelling for each: lower-case A-labels; addresses as RFC 5952 prints them.
// Standard  RFC 5321 §2.3.5, §4.1.2, §4.1.3, §4.5.3.1.2; RFC 5890 §2.3.2.1; RFC 6531 §3.2.

package import Primitives

package enum DomainName {
    package enum Limit {
        /// RFC 5321 §4.5.3.1.2.
        package static let domainBytes = 255
        /// RFC 1035 §2.3.4.
        package static let labelBytes = 63
    }

    /// `text` in lower case and A-labels; nil if it is not the name of a domain.
    package static func ascii(_ text: String) -> String? {
        var copy = text
        return copy.withUTF8 { bytes in
            Self.ascii(UnsafeRawBufferPointer(bytes)[...])
                .map { String(decoding: $0, as: UTF8.self) }
        }
    }

    /// The address in `[192.0.2.1]` or `[IPv6:2001:db8::1]`; nil for anything else.
    package static func address(inLiteral text: some StringProtocol) -> IPAddress? {
        guard text.utf8.first == UInt8(ascii: "["), text.last == "]" else {
            return nil
        }
        let inner = text.dropFirst().dropLast()
        if inner.utf8.count > 5, inner.prefix(5).lowercased() == "ipv6:" {
            let rest = inner.dropFirst(5)
            return rest.utf8.contains(UInt8(ascii: ":")) ? IPAddress(rest) : nil
        }
        return inner.utf8.contains(UInt8(ascii: ":")) ? nil : IPAddress(inner)
    }

    /// `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 §4.1.3).
    package static func literal(_ address: IPAddress) -> String {
        address.isV4 ? "[\(address)]" : "[IPv6:\(address)]"
    }

    /// How a run of bytes reads as a domain.
    enum Shape {
        /// Already as it is to be.
        case exact
        /// Letters to be made lower case, nothing else.
        case upperCase
        /// Holds labels of Unicode.
        case international
        case malformed
    }

    /// One look at each byte.
    static func shape(_ bytes: Slice<UnsafeRawBufferPointer>) -> Shape {
        guard !bytes.isEmpty, bytes.count <= Limit.domainBytes else { return .malformed }
        var hasUpper = false
        var hasHigh = false
        var label = 0
        var last: UInt8 = UInt8(ascii: ".")
        // The memory itself: a slice of it allocates at each step where nothing is specialised.
        for byte in UnsafeRawBufferPointer(rebasing: bytes) {
            if byte == UInt8(ascii: ".") {
                guard label > 0, last != UInt8(ascii: "-") else { return .malformed }
                label = 0
            } else {
                if byte >= 0x80 {
                    hasHigh = true
                } else {
                    guard Syntax.isHostName(byte), byte != UInt8(ascii: "-") || label > 0 else {
                        return .malformed
                    }
                    if byte &- 0x41 < 26 { hasUpper = true }
                }
                label += 1
                if label > Limit.labelBytes && !hasHigh { return .malformed }
            }
            last = byte
        }
        guard label > 0, last != UInt8(ascii: "-") else { return .malformed }
        return hasHigh ? .international : hasUpper ? .upperCase : .exact
    }

    /// The bytes of the normal spelling; nil if it is not a domain.
    static func ascii(_ bytes: Slice<UnsafeRawBufferPointer>) -> [UInt8]? {
        switch Self.shape(bytes) {
        case .exact: return Array(bytes)
        case .upperCase: return bytes.map(Syntax.lower)
        case .malformed: return nil
        case .international: break
        }
        guard let text = String(validating: bytes, as: UTF8.self), let mapped = Self.mapped(text)
        else { return nil }
        var result: [UInt8] = []
        for label in mapped.split(separator: ".", omittingEmptySubsequences: false) {
            guard !label.isEmpty, let encoded = Self.label(label) else { return nil }
            if !result.isEmpty { result.append(UInt8(ascii: ".")) }
            result += encoded
        }
        // Mapping may have made ASCII of something else.
        let isExact = result.withUnsafeBytes { Self.shape($0[...]) == .exact }
        return isExact ? result : nil
    }

    /// Lower case, ASCII for its fullwidth forms, dots for other full stops (RFC 5895 §2), NFC.
    private static func mapped(_ text: String) -> String? {
        var result = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 0x3002, 0xFF0E, 0xFF61: result.append(".")
            case 0xFF0D, 0xFF10...0xFF19, 0xFF21...0xFF3A, 0xFF41...0xFF5A:
                let narrow = UInt8(truncatingIfNeeded: scalar.value - 0xFEE0)
                result.append(Unicode.Scalar(Syntax.lower(narrow)))
            case _: result.append(contentsOf: scalar.properties.lowercaseMapping.unicodeScalars)
            }
        }
        return Normalization.nfc(String(result))
    }

    /// One label, mapped, encoded if it needs to be.
    private static func label(_ label: Substring) -> [UInt8]? {
        if label.utf8.allSatisfy({ $0 < 0x80 }) {
            return label.utf8.count <= Limit.labelBytes ? Array(label.utf8) : nil
        }
        // A bound before the work: encoding never makes a label of more scalars shorter than this.
        guard label.unicodeScalars.count <= Limit.labelBytes else { return nil }
        var scalars: [UInt32] = []
        for scalar in label.unicodeScalars {
            switch scalar.properties.generalCategory {
            // Spaces, controls and what has no meaning are never part of a name (RFC 5892 §2).
            case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator,
                .paragraphSeparator, .spaceSeparator:
                return nil
            // A mark needs something to stand on (RFC 5891 §4.2.3.2).
            case .nonspacingMark, .spacingMark, .enclosingMark:
                if scalars.isEmpty { return nil }
            case _: break
            }
            scalars.append(scalar.value)
        }
        // RFC 5891 §4.2.3.1: these places are for the prefix of A-labels.
        let hyphen = UInt32(UInt8(ascii: "-"))
        if scalars.count >= 4 && scalars[2] == hyphen && scalars[3] == hyphen { return nil }
        if scalars.first == hyphen || scalars.last == hyphen { return nil }
        return Punycode.label(scalars)
    }
}
