// Kind.swift - the kinds of values that settings take: how they are read, told and printed.
//
// Takes     one value of the document.
// Gives     the typed value in range, or what is wrong and how to write it right.

import Primitives

/// How one kind of value is read and printed.
struct Kind<Value: Sendable>: Sendable {
    /// For the reference: "duration, 1s … 1d".
    var name: String
    var parse: @Sendable (RawNode) throws(ValueFault) -> Value
    /// As TOML.
    var print: @Sendable (Value) -> String
}

/// A fault of shape: another type of value is expected.
private func expected(_ what: String, like example: String, found node: RawNode) -> ValueFault {
    ValueFault(what: "expected \(what), found \(node.shape)", remedy: "write it like \(example)")
}

private func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": result += "\\\""
        case "\\": result += "\\\\"
        case "\n": result += "\\n"
        case "\t": result += "\\t"
        case _: result.unicodeScalars.append(scalar)
        }
    }
    return result + "\""
}

extension Kind {
    /// A string that `read` understands; nil: it is not one, `rule` says what it must be.
    static func text(
        _ name: String, like example: String, rule: String,
        _ read: @escaping @Sendable (String) -> Value?,
        print: @escaping @Sendable (Value) -> String
    ) -> Kind {
        Kind(
            name: name,
            parse: { node throws(ValueFault) in
                guard case .text(let text) = node else {
                    throw expected("a string", like: example, found: node)
                }
                guard let value = read(text) else {
                    throw ValueFault(
                        what: "\(quoted(text)) is not \(rule)", remedy: "write it like \(example)")
                }
                return value
            },
            print: { quoted(print($0)) })
    }

    /// A list of at most `limit` values.
    static func list<Element>(of kind: Kind<Element>, limit: Int, name: String) -> Kind
    where Value == [Element] {
        Kind(
            name: name,
            parse: { node throws(ValueFault) in
                guard case .list(let nodes) = node else {
                    throw expected("a list", like: "[…]", found: node)
                }
                guard nodes.count <= limit else {
                    throw ValueFault(
                        what: "\(nodes.count) values, \(limit) are allowed", remedy: "shorten it")
                }
                var values: [Element] = []
                for node in nodes { values.append(try kind.parse(node)) }
                return values
            },
            print: { "[" + $0.map(kind.print).joined(separator: ", ") + "]" })
    }

    /// "" means nil.
    static func optional<Wrapped>(_ kind: Kind<Wrapped>) -> Kind where Value == Wrapped? {
        Kind(
            name: kind.name,
            parse: { node throws(ValueFault) in
                if case .text("") = node { return nil }
                return try kind.parse(node)
            },
            print: { value in value.map(kind.print) ?? "\"\"" })
    }
}

extension Kind where Value == Bool {
    static var flag: Kind {
        Kind(
            name: "true or false",
            parse: { node throws(ValueFault) in
                guard case .flag(let value) = node else {
                    throw expected("true or false", like: "true", found: node)
                }
                return value
            },
            print: { $0 ? "true" : "false" })
    }
}

extension Kind where Value == Int {
    static func integer(_ range: ClosedRange<Int>) -> Kind {
        Kind(
            name: "integer, \(range.lowerBound) … \(range.upperBound)",
            parse: { node throws(ValueFault) in
                guard case .number(let value) = node else {
                    throw expected("an integer", like: "\(range.lowerBound)", found: node)
                }
                guard range.contains(value) else {
                    throw ValueFault(
                        what: "\(value) is out of range",
                        remedy: "choose \(range.lowerBound) … \(range.upperBound)")
                }
                return value
            },
            print: { "\($0)" })
    }

    /// Bytes, as "25MB".
    static func size(_ range: ClosedRange<Int>) -> Kind {
        let bounds =
            "\(Quantity.print(bytes: range.lowerBound)) … "
            + Quantity.print(bytes: range.upperBound)
        return Kind(
            name: "size, \(bounds)",
            parse: { node throws(ValueFault) in
                guard case .text(let text) = node else {
                    throw expected("a size", like: "\"25MB\"", found: node)
                }
                guard let value = Quantity.bytes(text) else {
                    throw ValueFault(
                        what: "\(quoted(text)) is not a size",
                        remedy: "write it like \"25MB\"; units: B, KB, MB, GB, KiB, MiB, GiB")
                }
                guard range.contains(value) else {
                    throw ValueFault(what: "\(text) is out of range", remedy: "choose \(bounds)")
                }
                return value
            },
            print: { "\"\(Quantity.print(bytes: $0))\"" })
    }
}

extension Kind where Value == Duration {
    /// As "90s".
    static func duration(_ range: ClosedRange<Duration>) -> Kind {
        let bounds = "\(Quantity.print(range.lowerBound)) … \(Quantity.print(range.upperBound))"
        return Kind(
            name: "duration, \(bounds)",
            parse: { node throws(ValueFault) in
                guard case .text(let text) = node else {
                    throw expected("a duration", like: "\"90s\"", found: node)
                }
                guard let value = Quantity.duration(text) else {
                    throw ValueFault(
                        what: "\(quoted(text)) is not a duration",
                        remedy: "write it like \"90s\"; units: ms, s, m, h, d")
                }
                guard range.contains(value) else {
                    throw ValueFault(what: "\(text) is out of range", remedy: "choose \(bounds)")
                }
                return value
            },
            print: { "\"\(Quantity.print($0))\"" })
    }
}

extension Kind
where Value: RawRepresentable & CaseIterable & Sendable, Value.RawValue == String {
    /// One of the cases' names.
    static var choice: Kind {
        let names = Value.allCases.map(\.rawValue)
        let all = names.map { "\"\($0)\"" }.joined(separator: ", ")
        return Kind(
            name: names.map { "\"\($0)\"" }.joined(separator: " or "),
            parse: { node throws(ValueFault) in
                guard case .text(let text) = node else {
                    throw expected("one of \(all)", like: "\"\(names[0])\"", found: node)
                }
                guard let value = Value(rawValue: text) else {
                    let guess = nearest(text, among: names).map { "did you mean \"\($0)\"? " } ?? ""
                    throw ValueFault(
                        what: "\(quoted(text)) is not known", remedy: "\(guess)choose from \(all)")
                }
                return value
            },
            print: { "\"\($0.rawValue)\"" })
    }
}

extension Kind where Value == String {
    /// Any text without control characters.
    static func plain(_ name: String, like example: String) -> Kind {
        .text(
            name, like: example, rule: "free of control characters",
            { $0.unicodeScalars.allSatisfy { $0.value >= 32 && $0.value != 127 } ? $0 : nil },
            print: { $0 })
    }

    static var path: Kind { .plain("path", like: "\"/etc/posthouse/file\"") }

    /// A host name in lower case.
    static var host: Kind {
        .text(
            "host name", like: "\"relay.example.com\"",
            rule: "a host name (letters, digits and hyphens between dots)",
            { $0.isEmpty ? "" : Syntax.domain($0) }, print: { $0 })
    }

    /// "*", "*.example.org" or "example.org".
    static func domainPattern(allowAll: Bool) -> Kind {
        .text(
            "domain", like: "\"example.org\" or \"*.example.org\"", rule: "a domain",
            { Syntax.domainPattern($0, allowAll: allowAll) }, print: { $0 })
    }

    static var nodeName: Kind {
        .text(
            "name", like: "\"a\"", rule: "a name (1 … 63 of a-z, 0-9, \"-\", \"_\", \".\")",
            { Syntax.isName($0) ? $0 : nil }, print: { $0 })
    }

    /// An IP address, as text.
    static var address: Kind {
        .text(
            "address", like: "\"192.0.2.1\"", rule: "an IP address",
            { IPAddress($0) == nil ? nil : $0 }, print: { $0 })
    }

    /// An address, with a port behind "@" if it is not 53.
    static var dnsServer: Kind {
        .text(
            "address of a DNS server", like: "\"192.0.2.53\" or \"127.0.0.1@5353\"",
            rule: "an IP address",
            { Syntax.dnsServer($0) ? $0 : nil }, print: { $0 })
    }

    static var mailbox: Kind {
        .text(
            "mailbox", like: "\"postmaster@example.com\"", rule: "a mailbox",
            { $0.isEmpty ? "" : Syntax.mailbox($0) }, print: { $0 })
    }
}

extension Kind where Value == AddressRange {
    static var range: Kind {
        .text(
            "address range", like: "\"10.0.0.0/8\"", rule: "an address range",
            { AddressRange($0) }, print: { $0.description })
    }
}

extension Kind where Value == Endpoint {
    /// Where a listener listens: an address, not a name; port 0 means any.
    static var listen: Kind {
        .text(
            "address and port", like: "\"0.0.0.0:25\" or \"[::]:25\"",
            rule: "an address with a port",
            { text in
                guard let endpoint = Syntax.endpoint(text), IPAddress(endpoint.host) != nil
                else { return nil }
                return endpoint
            },
            print: { $0.description })
    }

    /// Where somebody else listens.
    static var remote: Kind {
        .text(
            "host and port", like: "\"10.0.0.1:7650\"", rule: "a host with a port",
            { text in
                guard let endpoint = Syntax.endpoint(text), endpoint.port > 0 else { return nil }
                return endpoint
            },
            print: { $0.description })
    }
}

extension Kind where Value == Settings.Seed {
    static var seed: Kind {
        .text(
            "node at host and port", like: "\"a@10.0.0.1:7650\"", rule: "a seed",
            { text in
                guard let at = text.firstIndex(of: "@"), Syntax.isName(String(text[..<at])),
                    let endpoint = Syntax.endpoint(String(text[text.index(after: at)...])),
                    endpoint.port > 0
                else { return nil }
                return Settings.Seed(name: String(text[..<at]), endpoint: endpoint)
            },
            print: { "\($0.name)@\($0.endpoint)" })
    }
}

extension Kind where Value == Settings.Via {
    static var via: Kind {
        .text(
            "URL of the next host", like: "\"smtp://10.1.1.1:25\"",
            rule: "smtp://, smtps:// or lmtp:// with a host",
            { Settings.Via($0) }, print: { "\($0.scheme.rawValue)://\($0.endpoint)" })
    }
}
