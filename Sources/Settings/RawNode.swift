// RawNode.swift - a TOML document as plain values, free of the library that reads it.
//
// Standard  TOML 1.0.0.

import TOMLKit

/// One value of a TOML document.
indirect enum RawNode: Equatable {
    case text(String)
    case number(Int)
    case real(Double)
    case flag(Bool)
    /// A date, a time or both; no setting takes one.
    case moment
    case list([RawNode])
    /// In the order of the keys' bytes.
    case table([Entry])

    struct Entry: Equatable {
        var key: String
        var value: RawNode
    }

    /// For messages: "an integer".
    var shape: String {
        switch self {
        case .text: "a string"
        case .number: "an integer"
        case .real: "a number with a fraction"
        case .flag: "true or false"
        case .moment: "a date"
        case .list: "a list"
        case .table: "a table"
        }
    }
}

extension RawNode {
    /// What is wrong with the syntax of a document; the first fault only.
    struct SyntaxFault: Error {
        var line: Int
        var what: String
    }

    /// Reads a document.
    static func document(_ text: String) throws(SyntaxFault) -> [Entry] {
        if let line = Self.lineOfNull(text) {
            throw SyntaxFault(line: line, what: "a NUL byte")
        }
        let table: TOMLTable
        do {
            table = try TOMLTable(string: text)
        } catch let error as TOMLParseError {
            throw SyntaxFault(line: error.source.begin.line, what: error.description)
        } catch {
            throw SyntaxFault(line: 0, what: "\(error)")
        }
        return Self.entries(table)
    }

    /// The library stops at a NUL and would take the rest for absent.
    private static func lineOfNull(_ text: String) -> Int? {
        var line = 1
        for byte in text.utf8 {
            if byte == 0 { return line }
            if byte == UInt8(ascii: "\n") { line += 1 }
        }
        return nil
    }

    private static func entries(_ table: TOMLTable) -> [Entry] {
        table.keys.sorted().compactMap { key in
            guard let value = table[key] else { return nil }
            return Entry(key: key, value: RawNode(value))
        }
    }

    // `any`: the library's only way to hand out a value.
    private init(_ value: any TOMLValueConvertible) {
        switch value.type {
        case .string: self = .text(value.string ?? "")
        case .int: self = .number(value.int ?? 0)
        case .double: self = .real(value.double ?? 0)
        case .bool: self = .flag(value.bool ?? false)
        case .date, .time, .dateTime: self = .moment
        case .table: self = .table(value.table.map(Self.entries) ?? [])
        case .array:
            self = .list(value.array.map { $0.map { RawNode($0) } } ?? [])
        }
    }
}
