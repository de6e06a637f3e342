// IPAddress.swift - addresses and ranges as values, without the resolver.
//
// Standard  RFC 4291 §2.2 (text of v6), RFC 5952 §4 (printing), RFC 4632 §3.1 (ranges).

/// An IPv4 or IPv6 address. A v4-mapped v6 address (::ffff:a.b.c.d) becomes the v4 address, so that
/// a rule for one holds for the other.
package struct IPAddress: Hashable, Sendable, CustomStringConvertible {
    package let isV4: Bool
    /// v6: the first eight bytes; v4: 0.
    package let high: UInt64
    /// v6: the last eight bytes; v4: the four bytes.
    package let low: UInt64

    private init(isV4: Bool, high: UInt64, low: UInt64) {
        self.isV4 = isV4
        self.high = high
        self.low = low
    }

    package init(v4: UInt32) {
        self.init(isV4: true, high: 0, low: UInt64(v4))
    }

    package init(v6 high: UInt64, _ low: UInt64) {
        if high == 0 && low >> 32 == 0xFFFF {
            self.init(v4: UInt32(truncatingIfNeeded: low))
            return
        }
        self.init(isV4: false, high: high, low: low)
    }

    /// The usual texts, without brackets, zone or port.
    package init?(_ text: some StringProtocol) {
        let utf8 = Array(text.utf8)
        if utf8.contains(UInt8(ascii: ":")) {
            guard let words = Self.words(utf8[...]) else { return nil }
            var parts = (UInt64(0), UInt64(0))
            for i in 0..<4 { parts.0 = parts.0 << 16 | UInt64(words[i]) }
            for i in 4..<8 { parts.1 = parts.1 << 16 | UInt64(words[i]) }
            self.init(v6: parts.0, parts.1)
        } else {
            guard let v4 = Self.quad(utf8[...]) else { return nil }
            self.init(v4: v4)
        }
    }

    /// 127.0.0.0/8 or ::1.
    package var isLoopback: Bool {
        self.isV4 ? self.low >> 24 == 127 : self.high == 0 && self.low == 1
    }

    /// 0.0.0.0 or ::.
    package var isUnspecified: Bool { self.high == 0 && self.low == 0 }

    /// 4 or 16 bytes in network order.
    package var bytes: [UInt8] {
        var result: [UInt8] = []
        if !self.isV4 {
            for shift in stride(from: 56, through: 0, by: -8) {
                result.append(UInt8(truncatingIfNeeded: self.high >> UInt64(shift)))
            }
        }
        for shift in stride(from: self.isV4 ? 24 : 56, through: 0, by: -8) {
            result.append(UInt8(truncatingIfNeeded: self.low >> UInt64(shift)))
        }
        return result
    }

    package var description: String {
        if self.isV4 {
            // At most 15 bytes: such a string needs no memory of its own.
            return String(unsafeUninitializedCapacity: 15) { out in
                var at = 0
                for shift in stride(from: 24, through: 0, by: -8) {
                    let part = UInt8(truncatingIfNeeded: self.low >> UInt64(shift))
                    if part >= 100 {
                        out[at] = 0x30 + part / 100
                        at += 1
                    }
                    if part >= 10 {
                        out[at] = 0x30 + part / 10 % 10
                        at += 1
                    }
                    out[at] = 0x30 + part % 10
                    at += 1
                    if shift > 0 {
                        out[at] = UInt8(ascii: ".")
                        at += 1
                    }
                }
                return at
            }
        }
        let words =
            stride(from: 48, through: 0, by: -16).map { (self.high >> UInt64($0)) & 0xFFFF }
            + stride(from: 48, through: 0, by: -16).map { (self.low >> UInt64($0)) & 0xFFFF }
        let gap = Self.longestZeros(words)
        var text = ""
        var i = 0
        while i < 8 {
            if let gap, i == gap.lowerBound {
                text += "::"
                i = gap.upperBound
                continue
            }
            if !text.isEmpty && !text.hasSuffix("::") { text += ":" }
            text += String(words[i], radix: 16)
            i += 1
        }
        return text
    }

    /// The first longest run of two or more zero words (RFC 5952 §4.2).
    private static func longestZeros(_ words: [UInt64]) -> Range<Int>? {
        var best: Range<Int>?
        var i = 0
        while i < words.count {
            var j = i
            while j < words.count && words[j] == 0 { j += 1 }
            if j - i >= 2 && j - i > (best?.count ?? 0) { best = i..<j }
            i = max(j, i + 1)
        }
        return best
    }

    /// Four decimal numbers of at most 255, no leading zeros.
    private static func quad(_ text: ArraySlice<UInt8>) -> UInt32? {
        let parts = text.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var result: UInt32 = 0
        for part in parts {
            guard (1...3).contains(part.count), part.allSatisfy({ (0x30...0x39).contains($0) }),
                part.count == 1 || part.first != 0x30
            else { return nil }
            let value = part.reduce(UInt32(0)) { $0 * 10 + UInt32($1 - 0x30) }
            guard value <= 255 else { return nil }
            result = result << 8 | value
        }
        return result
    }

    /// The eight words of a v6 text.
    private static func words(_ text: ArraySlice<UInt8>) -> [UInt16]? {
        let colon = UInt8(ascii: ":")
        var front: [UInt16] = []
        var back: [UInt16]?
        var rest = text
        if rest.starts(with: [colon, colon]) {
            back = []
            rest = rest.dropFirst(2)
            if rest.isEmpty { return Array(repeating: 0, count: 8) }
        }
        while true {
            let piece = rest.prefix { $0 != colon }
            if piece.contains(UInt8(ascii: ".")) {
                guard piece.endIndex == rest.endIndex, let v4 = Self.quad(piece) else { return nil }
                let pair = [UInt16(v4 >> 16), UInt16(truncatingIfNeeded: v4)]
                if back == nil { front += pair } else { back! += pair }
                rest = rest[rest.endIndex...]
            } else {
                guard (1...4).contains(piece.count),
                    let word = UInt16(String(decoding: piece, as: UTF8.self), radix: 16)
                else { return nil }
                if back == nil { front.append(word) } else { back!.append(word) }
                rest = rest[piece.endIndex...]
            }
            if rest.isEmpty { break }
            rest = rest.dropFirst()
            if rest.first == colon {
                guard back == nil else { return nil }
                back = []
                rest = rest.dropFirst()
                if rest.isEmpty { break }
            }
            if rest.isEmpty { return nil }
        }
        guard let back else { return front.count == 8 ? front : nil }
        guard front.count + back.count <= 7 else { return nil }
        return front + Array(repeating: 0, count: 8 - front.count - back.count) + back
    }
}

/// All addresses that share their first bits: `10.0.0.0/8`, `2001:db8::/32`, or one address.
package struct AddressRange: Hashable, Sendable, CustomStringConvertible {
    package let base: IPAddress
    /// Bits that count: 0 … 32, or 0 … 128.
    package let prefix: Int

    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2, let base = IPAddress(parts[0]) else { return nil }
        let width = base.isV4 ? 32 : 128
        if parts.count == 2 {
            guard let prefix = Int(parts[1]), (0...width).contains(prefix),
                parts[1].utf8.allSatisfy({ (0x30...0x39).contains($0) })
            else { return nil }
            self.prefix = prefix
        } else {
            self.prefix = width
        }
        self.base = base
    }

    package func contains(_ address: IPAddress) -> Bool {
        guard address.isV4 == self.base.isV4 else { return false }
        if self.base.isV4 {
            return self.prefix == 0
                || (address.low ^ self.base.low) >> UInt64(32 - self.prefix) == 0
        }
        if self.prefix <= 64 {
            return self.prefix == 0
                || (address.high ^ self.base.high) >> UInt64(64 - self.prefix) == 0
        }
        return address.high == self.base.high
            && (address.low ^ self.base.low) >> UInt64(128 - self.prefix) == 0
    }

    package var description: String { "\(self.base)/\(self.prefix)" }
}
