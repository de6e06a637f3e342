// DataFile.swift - the blocks of a data-driven test file, and how two outputs are compared.
//
// Format    blocks with blank lines between them: a directive line, optional input lines, `----`,
//           the expected output up to the next blank line. Where `----` is doubled the output may
//           have blank lines and goes on to the next doubled `----`. `#` begins a comment. A
//           directive line that ends in a backslash goes on in the next line. Lines may end in
//           CR LF.

struct DataFile {
    /// `key`, `key=value` or `key=(a,b c)`.
    struct Argument: Equatable {
        var key: String
        /// Nil: a bare word.
        var values: [String]?
    }

    struct Block {
        var file: String
        /// Of the directive, from 1.
        var line: Int
        var command: String
        var arguments: [Argument]
        var input: [String]
        var expected: [String]
    }

    /// A file that is not well formed.
    struct Fault: Error, Equatable, CustomStringConvertible {
        var file: String
        var line: Int
        var what: String

        var description: String { "\(self.file):\(self.line): \(self.what)" }
    }

    var file: String
    var blocks: [Block] = []

    private var lines: [String]
    /// Of the next line.
    private var at = 0

    init(_ text: String, file: String) throws(Fault) {
        self.file = file
        // By bytes: CR LF is one Character.
        self.lines = text.utf8.split(separator: 0x0A, omittingEmptySubsequences: false).map {
            String(Substring($0.last == 0x0D ? $0.dropLast() : $0))
        }
        while self.at < self.lines.count {
            let line = self.lines[self.at].trimmed
            if line.isEmpty || line.hasPrefix("#") {
                self.at += 1
            } else {
                try self.takeBlock()
            }
        }
    }

    private mutating func takeBlock() throws(Fault) {
        let number = self.at + 1
        var directive = self.lines[self.at].trimmed
        self.at += 1
        while directive.hasSuffix("\\"), self.at < self.lines.count {
            directive = String(directive.dropLast()) + " " + self.lines[self.at].trimmed
            self.at += 1
        }
        var words = try self.arguments(of: directive, line: number)
        guard let command = words.first, command.values == nil else {
            throw Fault(file: self.file, line: number, what: "a directive begins with a word")
        }
        words.removeFirst()
        var input: [String] = []
        while true {
            guard self.at < self.lines.count else {
                throw Fault(file: self.file, line: number, what: "no ---- behind this directive")
            }
            let line = self.lines[self.at].trimmed
            self.at += 1
            if line == Self.rule { break }
            if !line.isEmpty && !line.hasPrefix("#") { input.append(line) }
        }
        self.blocks.append(
            Block(
                file: self.file, line: number, command: command.key, arguments: words,
                input: input, expected: try self.takeExpected(line: number)))
    }

    private static let rule = "----"

    private mutating func takeExpected(line: Int) throws(Fault) -> [String] {
        var expected: [String] = []
        guard self.at < self.lines.count, self.lines[self.at] == Self.rule else {
            while self.at < self.lines.count, !self.lines[self.at].trimmed.isEmpty {
                expected.append(self.lines[self.at])
                self.at += 1
            }
            return expected
        }
        self.at += 1
        while self.at + 1 < self.lines.count {
            if self.lines[self.at] == Self.rule && self.lines[self.at + 1] == Self.rule {
                self.at += 2
                return expected
            }
            expected.append(self.lines[self.at])
            self.at += 1
        }
        throw Fault(file: self.file, line: line, what: "a doubled ---- is not closed")
    }

    /// Words of a directive line.
    private func arguments(of text: String, line: Int) throws(Fault) -> [Argument] {
        var all: [Argument] = []
        var rest = Substring(text)
        while true {
            rest = rest.drop { $0.isWhitespace }
            guard !rest.isEmpty else { return all }
            let key = rest.prefix { !$0.isWhitespace && $0 != "=" }
            rest = rest.dropFirst(key.count)
            guard !key.isEmpty else {
                throw Fault(file: self.file, line: line, what: "a value without a key")
            }
            guard rest.first == "=" else {
                all.append(Argument(key: String(key), values: nil))
                continue
            }
            rest = rest.dropFirst()
            guard rest.first == "(" else {
                let value = rest.prefix { !$0.isWhitespace }
                rest = rest.dropFirst(value.count)
                all.append(Argument(key: String(key), values: [String(value)]))
                continue
            }
            guard let end = rest.firstIndex(of: ")") else {
                throw Fault(file: self.file, line: line, what: "( without )")
            }
            let values = rest[rest.startIndex..<end].dropFirst()
                .split { $0 == "," || $0.isWhitespace }
            all.append(Argument(key: String(key), values: values.map(String.init)))
            rest = rest[end...].dropFirst()
        }
    }
}

extension DataFile.Block {
    /// The lines that differ between runs and say nothing: log lines are taken off both sides.
    static func withoutLogs(_ lines: [String]) -> [String] {
        lines.filter { line in
            let word = line.trimmed.prefix { !$0.isWhitespace }
            return !["DEBUG", "INFO", "WARN", "ERROR"].contains(String(word))
        }
    }

    /// Nil: the output is the expected one. Else what was expected, without log lines.
    func mismatch(_ output: [String]) -> [String]? {
        let wanted = Self.withoutLogs(self.expected)
        let got = Self.withoutLogs(output)
        if wanted.isEmpty && (got.isEmpty || got == ["ok"]) { return nil }
        return wanted == got ? nil : wanted
    }
}

extension StringProtocol {
    /// Without blanks in front and behind.
    var trimmed: String {
        let front = self.drop { $0.isWhitespace }
        guard let end = front.lastIndex(where: { !$0.isWhitespace }) else { return "" }
        return String(front[...end])
    }
}
