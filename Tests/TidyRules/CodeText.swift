// CodeText.swift - Swift text in which comments and literals are blank.
//
// Takes     the bytes of a Swift file.
// Gives     the same bytes, as many and on the same lines, with every byte of a comment, a string
//           literal or a name in backticks replaced by a space. Code inside `\(…)` stays.
// Never     parses: what the rules ask can be answered from words and brackets.

/// One Swift file as the rules see it.
package struct CodeText: Sendable {
    package let path: String
    /// The text as written, by lines.
    package let lines: [String]
    /// Only the code: same length as the text in bytes.
    package let code: [UInt8]
    /// Offset in `code` of each line's first byte.
    package let lineStarts: [Int]

    package init(path: String, text: String) {
        self.path = path
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        if lines.last == "" { lines.removeLast() }
        self.lines = lines
        var blanker = Blanker(bytes: Array(text.utf8))
        blanker.run()
        self.code = blanker.bytes
        var starts = [0]
        for (i, byte) in blanker.bytes.enumerated() where byte == UInt8(ascii: "\n") {
            starts.append(i + 1)
        }
        self.lineStarts = starts
    }

    /// The line number, from 1, of an offset in `code`.
    package func line(at offset: Int) -> Int {
        var low = 0
        var high = self.lineStarts.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if self.lineStarts[middle] <= offset { low = middle } else { high = middle }
        }
        return low + 1
    }

    /// The code of one line, from 1, without its end.
    package func codeLine(_ number: Int) -> String {
        let start = self.lineStarts[number - 1]
        let end = number < self.lineStarts.count ? self.lineStarts[number] - 1 : self.code.count
        return String(decoding: self.code[start..<max(start, end)], as: UTF8.self)
    }

    /// The identifiers of the code in order, with the offset of their first byte.
    package var words: [(word: String, offset: Int)] {
        var words: [(word: String, offset: Int)] = []
        var i = 0
        while i < self.code.count {
            guard Self.isWord(self.code[i]) else {
                i += 1
                continue
            }
            let start = i
            while i < self.code.count && Self.isWord(self.code[i]) { i += 1 }
            words.append((String(decoding: self.code[start..<i], as: UTF8.self), start))
        }
        return words
    }

    /// The next byte of code that is not a blank, at or after `offset`.
    package func next(from offset: Int) -> (byte: UInt8, offset: Int)? {
        var i = offset
        while i < self.code.count {
            if self.code[i] > 0x20 { return (self.code[i], i) }
            i += 1
        }
        return nil
    }

    /// The last byte of code that is not a blank, before `offset`.
    package func previous(before offset: Int) -> UInt8? {
        var i = offset - 1
        while i >= 0 {
            if self.code[i] > 0x20 { return self.code[i] }
            i -= 1
        }
        return nil
    }

    package static func isWord(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), 0x80...:
            return true
        case _: return false
        }
    }
}

/// Walks over the bytes once.
private struct Blanker {
    var bytes: [UInt8]
    private var i = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    mutating func run() { self.code(closing: nil) }

    private func at(_ offset: Int) -> UInt8 {
        self.i + offset < self.bytes.count ? self.bytes[self.i + offset] : 0
    }

    private mutating func blank(_ count: Int = 1) {
        for _ in 0..<count where self.i < self.bytes.count {
            if self.bytes[self.i] != UInt8(ascii: "\n") { self.bytes[self.i] = 0x20 }
            self.i += 1
        }
    }

    /// Code up to the end, or up to the bracket that ends an interpolation.
    private mutating func code(closing: UInt8?) {
        var depth = 0
        while self.i < self.bytes.count {
            switch self.bytes[self.i] {
            case UInt8(ascii: "/") where self.at(1) == UInt8(ascii: "/"): self.lineComment()
            case UInt8(ascii: "/") where self.at(1) == UInt8(ascii: "*"): self.blockComment()
            case UInt8(ascii: "\""): self.literal(hashes: 0)
            case UInt8(ascii: "#"): self.hash()
            case UInt8(ascii: "`"):
                self.blank()
                while self.i < self.bytes.count && self.bytes[self.i] != UInt8(ascii: "`") {
                    self.blank()
                }
                self.blank()
            case UInt8(ascii: "("):
                depth += 1
                self.i += 1
            case UInt8(ascii: ")"):
                if closing != nil && depth == 0 { return }
                depth -= 1
                self.i += 1
            case _: self.i += 1
            }
        }
    }

    private mutating func lineComment() {
        while self.i < self.bytes.count && self.bytes[self.i] != UInt8(ascii: "\n") {
            self.blank()
        }
    }

    /// They nest.
    private mutating func blockComment() {
        var depth = 0
        repeat {
            if self.at(0) == UInt8(ascii: "/") && self.at(1) == UInt8(ascii: "*") {
                depth += 1
                self.blank(2)
            } else if self.at(0) == UInt8(ascii: "*") && self.at(1) == UInt8(ascii: "/") {
                depth -= 1
                self.blank(2)
            } else {
                self.blank()
            }
        } while depth > 0 && self.i < self.bytes.count
    }

    private mutating func hash() {
        var hashes = 0
        while self.at(hashes) == UInt8(ascii: "#") { hashes += 1 }
        guard self.at(hashes) == UInt8(ascii: "\"") else {
            self.i += hashes
            return
        }
        self.blank(hashes)
        self.literal(hashes: hashes)
    }

    private func isHashes(at offset: Int, _ count: Int) -> Bool {
        for k in 0..<count where self.at(offset + k) != UInt8(ascii: "#") { return false }
        return true
    }

    private func isQuotes(_ count: Int) -> Bool {
        for k in 0..<count where self.at(k) != UInt8(ascii: "\"") { return false }
        return true
    }

    private mutating func literal(hashes: Int) {
        let quote = UInt8(ascii: "\"")
        let quotes = self.at(1) == quote && self.at(2) == quote ? 3 : 1
        self.blank(quotes)
        while self.i < self.bytes.count {
            if self.at(0) == UInt8(ascii: "\\") && self.isHashes(at: 1, hashes) {
                let opens = self.at(1 + hashes) == UInt8(ascii: "(")
                self.blank(2 + hashes)
                guard opens else { continue }
                self.code(closing: UInt8(ascii: ")"))
                self.blank()
            } else if self.isQuotes(quotes), self.isHashes(at: quotes, hashes) {
                self.blank(quotes + hashes)
                return
            } else if quotes == 1 && self.at(0) == UInt8(ascii: "\n") {
                return  // not a literal that ends: the compiler says so
            } else {
                self.blank()
            }
        }
    }
}
