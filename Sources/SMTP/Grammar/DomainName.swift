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
        for byte in bytes {
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
        guard let text = String(validating: bytes, as: UTF8.self) else { return nil }
        var result: [UInt8] = []
        for label in text.split(separator: ".", omittingEmptySubsequences: false) {
            if !result.isEmpty { result.append(UInt8(ascii: ".")) }
            guard let encoded = Self.label(label) else { return nil }
            result += encoded
        }
        return result.count <= Limit.domainBytes ? result : nil
    }

    /// One label, lower case, encoded if it needs to be.
    private static func label(_ label: Substring) -> [UInt8]? {
        if label.utf8.allSatisfy({ $0 < 0x80 }) {
            return label.utf8.count <= Limit.labelBytes ? label.utf8.map(Syntax.lower) : nil
        }
        // A bound before the work: encoding never makes a label of more scalars shorter than this.
        guard label.unicodeScalars.count <= Limit.labelBytes else { return nil }
        var scalars: [UInt32] = []
        for scalar in label.unicodeScalars {
            // Spaces, controls and what has no meaning are never part of a name (RFC 5892 §2).
            switch scalar.properties.generalCategory {
            case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator,
                .paragraphSeparator, .spaceSeparator:
                return nil
            case _: break
            }
            scalars += scalar.properties.lowercaseMapping.unicodeScalars.map(\.value)
        }
        return Punycode.label(scalars)
    }
}
