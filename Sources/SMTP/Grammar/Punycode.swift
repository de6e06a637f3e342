// Punycode.swift - a label of Unicode as the ASCII that DNS knows, and only that direction.
//
// Standard  RFC 3492 §6.3 (encoding), RFC 5891 §4.4 ("xn--").

enum Punycode {
    private static let base = 36
    private static let tMin = 1
    private static let tMax = 26
    private static let skew = 38
    private static let damp = 700

    /// `xn--` and the encoded label; nil if it would be longer than 63 bytes.
    static func label(_ scalars: [UInt32]) -> [UInt8]? {
        var output: [UInt8] = Array("xn--".utf8)
        let basic = scalars.filter { $0 < 0x80 }
        output += basic.map { UInt8($0) }
        var handled = basic.count
        if handled > 0 { output.append(UInt8(ascii: "-")) }
        var next: UInt32 = 0x80
        var delta = 0
        var bias = 72
        while handled < scalars.count {
            guard let least = scalars.lazy.filter({ $0 >= next }).min() else { return nil }
            delta += Int(least - next) * (handled + 1)
            next = least
            for scalar in scalars {
                if scalar < next { delta += 1 }
                guard scalar == next else { continue }
                Self.write(delta, bias: bias, into: &output)
                bias = Self.adapted(delta, points: handled + 1, isFirst: handled == basic.count)
                delta = 0
                handled += 1
            }
            delta += 1
            next += 1
            if output.count > DomainName.Limit.labelBytes { return nil }
        }
        return output.count <= DomainName.Limit.labelBytes ? output : nil
    }

    /// A variable-length integer (RFC 3492 §3.3).
    private static func write(_ delta: Int, bias: Int, into output: inout [UInt8]) {
        var rest = delta
        var k = Self.base
        while true {
            let threshold = k <= bias ? Self.tMin : min(Self.tMax, k - bias)
            if rest < threshold { break }
            let span = Self.base - threshold
            output.append(Self.digit(threshold + (rest - threshold) % span))
            rest = (rest - threshold) / span
            k += Self.base
        }
        output.append(Self.digit(rest))
    }

    private static func digit(_ value: Int) -> UInt8 {
        value < 26 ? UInt8(0x61 + value) : UInt8(0x30 + value - 26)
    }

    /// RFC 3492 §3.4.
    private static func adapted(_ delta: Int, points: Int, isFirst: Bool) -> Int {
        var rest = isFirst ? delta / Self.damp : delta / 2
        rest += rest / points
        var k = 0
        while rest > (Self.base - Self.tMin) * Self.tMax / 2 {
            rest /= Self.base - Self.tMin
            k += Self.base
        }
        return k + (Self.base - Self.tMin + 1) * rest / (rest + Self.skew)
    }
}
