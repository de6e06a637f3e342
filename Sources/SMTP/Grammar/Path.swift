// Path.swift - who a message is from and to: `<local@domain>` as bytes, made into one spelling.
//
// Takes     the bytes behind `MAIL FROM:` and `RCPT TO:`, or an address on its own.
// Gives     the address without brackets, route and needless quotes, its domain in A-labels.
// Standard  RFC 5321 §4.1.2, §4.1.3, §4.1.1.3 (postmaster), §4.5.3.1.1 to .3, Appendix C (source
//           routes: accepted, ignored); RFC 6531 §3.3.

package import Primitives

/// The address between the angle brackets.
package struct Path: Hashable, Sendable {
    /// "" is the null path; "postmaster" may stand without a domain.
    package var address: String
    /// The local part holds bytes above 127: only SMTPUTF8 can carry it.
    package var isUTF8: Bool
    /// Something within the brackets was not ASCII as it came.
    package var cameInUTF8: Bool

    package init(address: String, isUTF8: Bool, cameInUTF8: Bool) {
        self.address = address
        self.isUTF8 = isUTF8
        self.cameInUTF8 = cameInUTF8
    }

    package static let null = Path(address: "", isUTF8: false, cameInUTF8: false)

    package enum Limit {
        /// RFC 5321 §4.5.3.1.1.
        package static let localBytes = 64
        /// RFC 5321 §4.5.3.1.3, with the brackets.
        package static let pathBytes = 256
        /// Hops of a source route that are read over; each is checked to be a domain.
        package static let routeHops = 20
    }

    package enum Fault: Error, Equatable, Sendable {
        /// No `<`, or what follows is not a path.
        case malformed
        /// One of `Limit`, or of `DomainName.Limit`.
        case tooLong
    }

    package enum Kind: Sendable {
        /// May be `<>`; always has a domain otherwise.
        case reverse
        /// Never `<>`; `<postmaster>` needs no domain.
        case forward
    }

    /// Reads an address without brackets, as people write it; nil if it is none.
    package static func address(_ text: String, _ kind: Kind = .forward) -> Path? {
        if text.isEmpty { return kind == .reverse ? .null : nil }
        var copy = "<\(text)>"
        return copy.withUTF8 { bytes -> Path? in
            var cursor = Cursor(UnsafeRawBufferPointer(bytes))
            switch Self.read(&cursor, kind) {
            case .success(let path): return cursor.isAtEnd ? path : nil
            case .failure: return nil
            }
        }
    }

    /// Reads `<…>`; the cursor stands behind it afterwards.
    static func read(_ cursor: inout Cursor, _ kind: Kind) -> Result<Path, Fault> {
        let start = cursor.at
        guard cursor.skip(UInt8(ascii: "<")) else { return .failure(.malformed) }
        if cursor.skip(UInt8(ascii: ">")) {
            return kind == .reverse ? .success(.null) : .failure(.malformed)
        }
        guard Self.skipRoute(&cursor) else { return .failure(.malformed) }
        let localStart = cursor.at
        guard let quoted = Self.skipLocal(&cursor) else { return .failure(.malformed) }
        let local = cursor.bytes[localStart..<cursor.at]
        var domain = cursor.bytes[cursor.at..<cursor.at]
        if cursor.skip(UInt8(ascii: "@")) {
            guard let found = Self.skipDomain(&cursor) else { return .failure(.malformed) }
            domain = found
        } else if kind == .reverse || !Syntax.equals(local, "POSTMASTER") {
            return .failure(.malformed)
        }
        guard cursor.skip(UInt8(ascii: ">")) else { return .failure(.malformed) }
        if local.count > Limit.localBytes || domain.count > DomainName.Limit.domainBytes
            || cursor.at - start > Limit.pathBytes
        {
            return .failure(.tooLong)
        }
        guard let path = Self.make(local, quoted: quoted, domain) else {
            return .failure(.malformed)
        }
        return .success(path)
    }

    /// `@a,@b:` in front of the mailbox.
    private static func skipRoute(_ cursor: inout Cursor) -> Bool {
        guard cursor.peek == UInt8(ascii: "@") else { return true }
        for _ in 0..<Limit.routeHops {
            guard cursor.skip(UInt8(ascii: "@")), let hop = Self.skipDomain(&cursor),
                Self.normal(domain: hop) != nil
            else { return false }
            if cursor.skip(UInt8(ascii: ":")) { return true }
            guard cursor.skip(UInt8(ascii: ",")) else { return false }
        }
        return false
    }

    /// Steps over a local part. Returns whether it is quoted; nil if it is none.
    private static func skipLocal(_ cursor: inout Cursor) -> Bool? {
        if cursor.skip(UInt8(ascii: "\"")) {
            while let byte = cursor.peek {
                cursor.at += 1
                if byte == UInt8(ascii: "\"") { return true }
                if byte == UInt8(ascii: "\\") {
                    guard let next = cursor.peek, next >= 0x20, next < 0x7F else { return nil }
                    cursor.at += 1
                } else if byte < 0x20 || byte == 0x7F {
                    return nil
                }
            }
            return nil
        }
        var atom = 0
        while let byte = cursor.peek {
            if Syntax.isAtom(byte) || byte >= 0x80 {
                atom += 1
            } else if byte == UInt8(ascii: ".") {
                if atom == 0 { return nil }
                atom = 0
            } else {
                break
            }
            cursor.at += 1
        }
        return atom > 0 ? false : nil
    }

    /// Steps over a domain or a literal, without looking at it closely.
    private static func skipDomain(_ cursor: inout Cursor) -> Slice<UnsafeRawBufferPointer>? {
        let start = cursor.at
        if cursor.skip(UInt8(ascii: "[")) {
            while let byte = cursor.peek, byte != UInt8(ascii: "]") {
                guard Syntax.isGraphic(byte), byte != UInt8(ascii: "["), byte != UInt8(ascii: "\\")
                else { return nil }
                cursor.at += 1
            }
            guard cursor.skip(UInt8(ascii: "]")) else { return nil }
        } else {
            while let byte = cursor.peek,
                Syntax.isHostName(byte) || byte == UInt8(ascii: ".") || byte >= 0x80
            { cursor.at += 1 }
        }
        return cursor.at > start ? cursor.bytes[start..<cursor.at] : nil
    }
}

extension Path {
    /// Puts the two halves together in their one spelling.
    private static func make(
        _ local: Slice<UnsafeRawBufferPointer>, quoted: Bool,
        _ domain: Slice<UnsafeRawBufferPointer>
    ) -> Path? {
        let localIsHigh = local.contains { $0 >= 0x80 }
        if !quoted && !localIsHigh && !domain.isEmpty && DomainName.shape(domain) == .exact {
            // The usual case: one copy of what came.
            let whole = UnsafeRawBufferPointer(
                rebasing: local.base[local.startIndex..<domain.endIndex])
            return Path(
                address: String(decoding: whole, as: UTF8.self), isUTF8: false, cameInUTF8: false)
        }
        var bytes = quoted ? Self.leastQuoted(local) : Array(local)
        if localIsHigh && String(validating: bytes, as: UTF8.self) == nil { return nil }
        var domainIsHigh = false
        if !domain.isEmpty {
            guard let normal = Self.normal(domain: domain) else { return nil }
            domainIsHigh = domain.contains { $0 >= 0x80 }
            bytes.append(UInt8(ascii: "@"))
            bytes += normal
        }
        return Path(
            address: String(decoding: bytes, as: UTF8.self), isUTF8: localIsHigh,
            cameInUTF8: localIsHigh || domainIsHigh)
    }

    /// Without quotes if it can stand without them, else with no more backslashes than needed
    /// (RFC 5321 §4.1.2: the form with the least quoting).
    private static func leastQuoted(_ quoted: Slice<UnsafeRawBufferPointer>) -> [UInt8] {
        var plain: [UInt8] = []
        var escaped = false
        for byte in quoted.dropFirst().dropLast() {
            if byte == UInt8(ascii: "\\") && !escaped {
                escaped = true
                continue
            }
            escaped = false
            plain.append(byte)
        }
        let atoms = plain.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        let isDotString = atoms.allSatisfy { atom in
            !atom.isEmpty && atom.allSatisfy { Syntax.isAtom($0) || $0 >= 0x80 }
        }
        if isDotString { return plain }
        var result = [UInt8(ascii: "\"")]
        for byte in plain {
            if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") {
                result.append(UInt8(ascii: "\\"))
            }
            result.append(byte)
        }
        return result + [UInt8(ascii: "\"")]
    }

    /// A domain in A-labels, or a literal that is well-formed.
    private static func normal(domain: Slice<UnsafeRawBufferPointer>) -> [UInt8]? {
        guard domain.first == UInt8(ascii: "[") else { return DomainName.ascii(domain) }
        let text = String(decoding: domain, as: UTF8.self)
        if let address = DomainName.address(inLiteral: text) {
            return Array(DomainName.literal(address).utf8)
        }
        // General-address-literal: a tag that ends in a letter or digit, a colon, something.
        let inner = text.utf8.dropFirst().dropLast()
        guard let colon = inner.firstIndex(of: UInt8(ascii: ":")) else { return nil }
        let tag = inner[..<colon]
        guard let last = tag.last, Syntax.isAlphanumeric(last),
            tag.allSatisfy({ Syntax.isAlphanumeric($0) || $0 == UInt8(ascii: "-") }),
            inner.index(after: colon) < inner.endIndex,
            String(decoding: tag, as: UTF8.self).lowercased() != "ipv6"
        else { return nil }
        return Array(text.utf8)
    }
}
