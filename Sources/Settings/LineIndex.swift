// LineIndex.swift - on which line a key of a TOML document stands.
//
// Takes     a text that the TOML library has accepted, so that it may be lenient.
// Gives     the line of `relay.allow`, `listener[1]`, `listener[1].tls`; of the parent if the key
//           itself is in an inline table.
// Standard  TOML 1.0.0: keys, tables, arrays of tables, the four kinds of strings.

/// Lines of the keys and tables of one document, by path; array tables count from 0.
struct LineIndex {
    private(set) var lines: [String: Int] = [:]
    private var arrays: [String: Int] = [:]

    init(_ text: String) {
        var scanner = Scanner(text)
        var prefix = ""
        while let statement = scanner.next() {
            switch statement.kind {
            case .table:
                prefix = self.resolve(statement.path)
                self.note(prefix, statement.line)
            case .arrayTable:
                let path = self.resolve(statement.path)
                let count = self.arrays[path, default: 0]
                self.arrays[path] = count + 1
                self.note(path, statement.line)
                prefix = "\(path)[\(count)]"
                self.note(prefix, statement.line)
            case .key:
                var path = prefix
                for part in statement.path {
                    path = path.isEmpty ? part : "\(path).\(part)"
                    self.note(path, statement.line)
                }
            }
        }
    }

    /// The line of `path`, or of the nearest parent that has one; 0 for the whole file.
    func line(of path: String) -> Int {
        var rest = Substring(path)
        while !rest.isEmpty {
            if let line = self.lines[String(rest)] { return line }
            guard let cut = rest.lastIndex(where: { $0 == "." || $0 == "[" }) else { break }
            rest = rest[..<cut]
        }
        return 0
    }

    private mutating func note(_ path: String, _ line: Int) {
        if self.lines[path] == nil { self.lines[path] = line }
    }

    /// Where a parent is an array of tables, its last element is meant.
    private func resolve(_ parts: [String]) -> String {
        var path = ""
        for (index, part) in parts.enumerated() {
            path = path.isEmpty ? part : "\(path).\(part)"
            if index < parts.count - 1, let count = self.arrays[path] {
                path += "[\(count - 1)]"
            }
        }
        return path
    }
}

/// Cuts a document into headers and assignments; values are skipped.
private struct Scanner {
    struct Statement {
        enum Kind { case table, arrayTable, key }
        var kind: Kind
        var path: [String]
        var line: Int
    }

    private let bytes: [UInt8]
    private var offset = 0
    private var line = 1

    init(_ text: String) {
        self.bytes = Array(text.utf8)
    }

    private var current: UInt8? { self.offset < self.bytes.count ? self.bytes[self.offset] : nil }

    private mutating func step(_ count: Int = 1) {
        for _ in 0..<count where self.offset < self.bytes.count {
            if self.bytes[self.offset] == UInt8(ascii: "\n") { self.line += 1 }
            self.offset += 1
        }
    }

    mutating func next() -> Statement? {
        while let byte = self.current {
            switch byte {
            case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\r"), UInt8(ascii: "\n"):
                self.step()
            case UInt8(ascii: "#"):
                self.skipLine()
            case UInt8(ascii: "["):
                self.step()
                let isArray = self.current == UInt8(ascii: "[")
                if isArray { self.step() }
                let start = self.line
                let path = self.keyPath(until: UInt8(ascii: "]"))
                self.skipLine()
                return Statement(kind: isArray ? .arrayTable : .table, path: path, line: start)
            case _:
                let start = self.line
                let path = self.keyPath(until: UInt8(ascii: "="))
                self.step()
                self.skipValue()
                return Statement(kind: .key, path: path, line: start)
            }
        }
        return nil
    }

    /// The dotted key up to `end`, which is left.
    private mutating func keyPath(until end: UInt8) -> [String] {
        var parts: [String] = []
        var part: [UInt8] = []
        while let byte = self.current, byte != end, byte != UInt8(ascii: "\n") {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "'"):
                let start = self.offset + 1
                self.skipString(byte)
                part += self.bytes[start..<max(start, self.offset - 1)]
            case UInt8(ascii: "."):
                parts.append(String(decoding: part, as: UTF8.self))
                part = []
                self.step()
            case UInt8(ascii: " "), UInt8(ascii: "\t"):
                self.step()
            case _:
                part.append(byte)
                self.step()
            }
        }
        parts.append(String(decoding: part, as: UTF8.self))
        return parts
    }

    private mutating func skipLine() {
        while let byte = self.current, byte != UInt8(ascii: "\n") { self.step() }
    }

    private mutating func skipValue() {
        var depth = 0
        while let byte = self.current {
            switch byte {
            case UInt8(ascii: "\n") where depth == 0: return
            case UInt8(ascii: "\""), UInt8(ascii: "'"): self.skipString(byte)
            case UInt8(ascii: "#"): self.skipLine()
            case UInt8(ascii: "["), UInt8(ascii: "{"):
                depth += 1
                self.step()
            case UInt8(ascii: "]"), UInt8(ascii: "}"):
                depth -= 1
                self.step()
            case _: self.step()
            }
        }
    }

    /// A string of any of the four kinds; stands behind its last quote afterwards.
    private mutating func skipString(_ quote: UInt8) {
        let isLong = self.bytes[self.offset...].starts(with: [quote, quote, quote])
        self.step(isLong ? 3 : 1)
        while let byte = self.current {
            if byte == UInt8(ascii: "\\") && quote == UInt8(ascii: "\"") {
                self.step(2)
            } else if byte != quote {
                if byte == UInt8(ascii: "\n") && !isLong { return }
                self.step()
            } else if !isLong {
                self.step()
                return
            } else if self.bytes[self.offset...].starts(with: [quote, quote, quote]) {
                self.step(3)
                while self.current == quote { self.step() }
                return
            } else {
                self.step()
            }
        }
    }
}
