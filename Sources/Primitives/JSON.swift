// JSON.swift - JSON values, for the admin interface and its client.
//
// Members keep their order, so that the same value is always the same text.
// Standard  RFC 8259.

/// One JSON value.
package indirect enum JSON: Equatable, Sendable {
    case null
    case flag(Bool)
    case integer(Int64)
    case real(Double)
    case text(String)
    case list([JSON])
    case object([Member])

    package struct Member: Equatable, Sendable {
        package var name: String
        package var value: JSON
        package init(name: String, value: JSON) {
            self.name = name
            self.value = value
        }
    }

    /// The first member of that name; nil also where this is not an object.
    package subscript(name: String) -> JSON? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.name == name }?.value
    }

    package var asText: String? {
        if case .text(let value) = self { return value }
        return nil
    }
    package var asInteger: Int64? {
        if case .integer(let value) = self { return value }
        return nil
    }
    /// Of either kind of number.
    package var asReal: Double? {
        switch self {
        case .real(let value): value
        case .integer(let value): Double(value)
        case .null, .flag, .text, .list, .object: nil
        }
    }
    package var asFlag: Bool? {
        if case .flag(let value) = self { return value }
        return nil
    }
    package var asList: [JSON]? {
        if case .list(let value) = self { return value }
        return nil
    }
    package var isNull: Bool { self == .null }
}

extension JSON: ExpressibleByDictionaryLiteral, ExpressibleByStringLiteral,
    ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral
{
    package init(dictionaryLiteral elements: (String, JSON)...) {
        self = .object(elements.map { Member(name: $0.0, value: $0.1) })
    }
    package init(stringLiteral value: String) { self = .text(value) }
    package init(booleanLiteral value: Bool) { self = .flag(value) }
    package init(integerLiteral value: Int64) { self = .integer(value) }
    package init(_ value: some BinaryInteger) { self = .integer(Int64(clamping: value)) }
    package init(_ value: String) { self = .text(value) }
    /// Null where there is no text.
    package init(_ value: String?) { self = value.map { .text($0) } ?? .null }
}

extension JSON {
    /// Without spaces; numbers that JSON cannot write (infinite) are null.
    package var bytes: [UInt8] {
        var output: [UInt8] = []
        self.write(to: &output)
        return output
    }

    package func write(to output: inout [UInt8]) {
        switch self {
        case .null: output += "null".utf8
        case .flag(let value): output += (value ? "true" : "false").utf8
        case .integer(let value): output += String(value).utf8
        case .real(let value): output += (value.isFinite ? "\(value)" : "null").utf8
        case .text(let value): Self.write(value, to: &output)
        case .list(let values):
            output.append(UInt8(ascii: "["))
            for (index, value) in values.enumerated() {
                if index > 0 { output.append(UInt8(ascii: ",")) }
                value.write(to: &output)
            }
            output.append(UInt8(ascii: "]"))
        case .object(let members):
            output.append(UInt8(ascii: "{"))
            for (index, member) in members.enumerated() {
                if index > 0 { output.append(UInt8(ascii: ",")) }
                Self.write(member.name, to: &output)
                output.append(UInt8(ascii: ":"))
                member.value.write(to: &output)
            }
            output.append(UInt8(ascii: "}"))
        }
    }

    private static let hex = Array("0123456789abcdef".utf8)

    private static func write(_ text: String, to output: inout [UInt8]) {
        output.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                output += [UInt8(ascii: "\\"), byte]
            case 0..<0x20, 0x7F:
                output += "\\u00".utf8
                output += [Self.hex[Int(byte >> 4)], Self.hex[Int(byte & 15)]]
            case _: output.append(byte)
            }
        }
        output.append(UInt8(ascii: "\""))
    }
}
