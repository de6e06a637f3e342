// Syntax.swift - names, endpoints, sizes and durations as people write them.
//
// Standard  RFC 1123 §2.1 and RFC 1035 §2.3.4 (host names); RFC 3986 §3.2.2 (brackets).

import Primitives

/// Small grammars of single values.
enum Syntax {
    /// A domain in lower case; nil: not one. A dot at the end is dropped.
    static func domain(_ text: String) -> String? {
        var name = text.lowercased()[...]
        if name.hasSuffix(".") { name = name.dropLast() }
        guard (1...253).contains(name.utf8.count), IPAddress(name) == nil else { return nil }
        let labels = name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        let hyphen = UInt8(ascii: "-")
        for label in labels {
            guard (1...63).contains(label.count), label.first != hyphen, label.last != hyphen,
                label.allSatisfy({ isLetterOrDigit($0) || $0 == hyphen || $0 == 0x5F })
            else { return nil }
        }
        if let last = labels.last, last.allSatisfy({ (0x30...0x39).contains($0) }) { return nil }
        return String(name)
    }

    static func domainPattern(_ text: String, allowAll: Bool) -> String? {
        if text == "*" { return allowAll ? text : nil }
        if text.hasPrefix("*.") { return Self.domain(String(text.dropFirst(2))).map { "*." + $0 } }
        return Self.domain(text)
    }

    static func isName(_ text: String) -> Bool {
        (1...63).contains(text.utf8.count)
            && text.utf8.allSatisfy {
                isLetterOrDigit($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_")
                    || $0 == UInt8(ascii: ".")
            }
    }

    static func mailbox(_ text: String) -> String? {
        guard let at = text.lastIndex(of: "@"), at != text.startIndex,
            (1...64).contains(text[..<at].utf8.count),
            text[..<at].utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7F }),
            let domain = Self.domain(String(text[text.index(after: at)...]))
        else { return nil }
        return "\(text[..<at])@\(domain)"
    }

    /// "192.0.2.53", "::1@5353".
    static func dnsServer(_ text: String) -> Bool {
        let parts = text.split(separator: "@", omittingEmptySubsequences: false)
        guard parts.count <= 2, IPAddress(parts[0]) != nil else { return false }
        return parts.count == 1 || (port(parts[1]) ?? 0) > 0
    }

    /// "host:port", "[::1]:25"; with `defaultPort` the port may be left out. The host is an
    /// address or a name.
    static func endpoint(_ text: some StringProtocol, defaultPort: Int? = nil) -> Endpoint? {
        if text.hasPrefix("[") {
            guard let close = text.firstIndex(of: "]") else { return nil }
            let host = String(text[text.index(after: text.startIndex)..<close])
            guard host.contains(":"), IPAddress(host) != nil else { return nil }
            let rest = text[text.index(after: close)...]
            return Self.endpoint(host: host, rest: rest, defaultPort: defaultPort)
        }
        let cut = text.firstIndex(of: ":") ?? text.endIndex
        let host = String(text[..<cut])
        guard let name = IPAddress(host) != nil ? host : Self.domain(host) else { return nil }
        return Self.endpoint(host: name, rest: text[cut...], defaultPort: defaultPort)
    }

    private static func endpoint(
        host: String, rest: some StringProtocol, defaultPort: Int?
    ) -> Endpoint? {
        if rest.isEmpty { return defaultPort.map { Endpoint(host: host, port: $0) } }
        guard rest.hasPrefix(":"), let port = Self.port(rest.dropFirst()) else { return nil }
        return Endpoint(host: host, port: port)
    }

    private static func port(_ text: some StringProtocol) -> Int? {
        guard (1...5).contains(text.utf8.count),
            text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let port = Int(text),
            port <= 65_535
        else { return nil }
        return port
    }

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        (0x61...0x7A).contains(byte) || (0x41...0x5A).contains(byte)
            || (0x30...0x39).contains(byte)
    }
}

extension Settings {
    /// `route.via`: scheme and endpoint in one.
    struct Via: Hashable, Sendable {
        var scheme: Route.Scheme
        var endpoint: Endpoint

        init(scheme: Route.Scheme, endpoint: Endpoint) {
            self.scheme = scheme
            self.endpoint = endpoint
        }

        /// "smtp://host:port"; without a port that of the scheme.
        init?(_ text: String) {
            for scheme in Route.Scheme.allCases where text.hasPrefix("\(scheme.rawValue)://") {
                var rest = text.dropFirst(scheme.rawValue.count + 3)
                if rest.hasSuffix("/") { rest = rest.dropLast() }
                guard let endpoint = Syntax.endpoint(rest, defaultPort: scheme.port),
                    endpoint.port > 0
                else { return nil }
                self.init(scheme: scheme, endpoint: endpoint)
                return
            }
            return nil
        }
    }
}

extension Settings.Route.Scheme {
    /// The port without one in the URL (RFC 8314 §7.3, RFC 2033 §5: LMTP has none of its own).
    var port: Int {
        switch self {
        case .smtp: 25
        case .smtps: 465
        case .lmtp: 24
        }
    }
}

/// Sizes and durations: a whole number and a unit. Console's filters read them too.
package enum Quantity {
    private static let sizes: [(unit: String, bytes: Int)] = [
        ("GB", 1_000_000_000), ("MB", 1_000_000), ("KB", 1000),
        ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1),
    ]
    private static let spans: [(unit: String, milliseconds: Int)] = [
        ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1),
    ]

    /// "25MB" in bytes; nil: not a size. Capitals do not matter.
    package static func bytes(_ text: String) -> Int? {
        Self.read(text.lowercased(), Self.sizes.map { ($0.unit.lowercased(), $0.bytes) })
    }

    /// "90s"; nil: not a duration.
    package static func duration(_ text: String) -> Duration? {
        Self.read(text, Self.spans.map { ($0.unit, $0.milliseconds) }).map { .milliseconds($0) }
    }

    /// With the largest unit that gives a whole number.
    package static func print(bytes: Int) -> String {
        for (unit, size) in Self.sizes where bytes >= size && bytes % size == 0 {
            return "\(bytes / size)\(unit)"
        }
        return "\(bytes)B"
    }

    /// With the largest unit that gives a whole number; zero is "0s".
    package static func print(_ duration: Duration) -> String {
        let milliseconds = Int(duration.inMilliseconds)
        for (unit, span) in Self.spans where milliseconds >= span && milliseconds % span == 0 {
            return "\(milliseconds / span)\(unit)"
        }
        return "\(milliseconds / 1000)s"
    }

    private static func read(_ text: String, _ units: [(String, Int)]) -> Int? {
        let digits = text.prefix { ("0"..."9").contains($0) }
        let unit = text[digits.endIndex...]
        guard let number = Int(digits), let scale = units.first(where: { $0.0 == unit })?.1
        else { return nil }
        let (product, overflow) = number.multipliedReportingOverflow(by: scale)
        return overflow ? nil : product
    }
}
