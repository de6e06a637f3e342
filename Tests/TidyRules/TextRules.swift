// TextRules.swift - rules that look at one file's lines and words.

package enum TextRules {
    /// Every rule for one Swift file, whatever target it belongs to.
    package static func check(_ text: CodeText) -> [Finding] {
        var findings = self.lengths(text)
        findings += self.marks(path: text.path, lines: text.lines)
        findings += self.header(text)
        findings += self.banned(text)
        return findings
    }

    /// - Parameter literalsCount: whether a line may not be long because of a literal either.
    static func lengths(_ text: CodeText, literalsCount: Bool = true) -> [Finding] {
        var findings: [Finding] = []
        for (i, line) in text.lines.enumerated() where line.utf8.count > Limits.lineColumns {
            let columns = line.count
            guard columns > Limits.lineColumns, literalsCount || !line.contains("\"") else {
                continue
            }
            findings.append(
                Finding(
                    text.path, i + 1, "line-columns",
                    "\(columns) columns; break it at \(Limits.lineColumns)", measured: columns))
        }
        if text.lines.count > Limits.fileLines {
            findings.append(
                Finding(
                    text.path, 0, "file-lines",
                    "\(text.lines.count) lines, at most \(Limits.fileLines); one idea a file",
                    measured: text.lines.count))
        }
        for function in FunctionScan.functions(of: text)
        where function.lines > Limits.functionLines {
            findings.append(
                Finding(
                    text.path, function.line, "function-lines",
                    "\(function.lines) lines, at most \(Limits.functionLines); "
                        + "push `if` up and `for` down", measured: function.lines))
        }
        return findings
    }

    /// Marks of unfinished work, in any text file.
    package static func marks(path: String, lines: [String]) -> [Finding] {
        // In pieces, so that this file does not find itself.
        let marks = ["FIX" + "ME", "TO" + "DO", "XX" + "X"]
        var findings: [Finding] = []
        for (i, line) in lines.enumerated() {
            for mark in marks where self.hasWord(mark, in: line) {
                findings.append(
                    Finding(path, i + 1, "unfinished", "\(mark): do it now, or open an issue"))
            }
        }
        return findings
    }

    private static func hasWord(_ word: String, in line: String) -> Bool {
        let line = Array(line.utf8)
        let word = Array(word.utf8)
        guard line.count >= word.count else { return false }
        for i in 0...(line.count - word.count) where line[i] == word[0] {
            guard line[i..<(i + word.count)].elementsEqual(word) else { continue }
            let before = i == 0 || !CodeText.isWord(line[i - 1])
            let end = i + word.count
            let after = end == line.count || !CodeText.isWord(line[end])
            if before && after { return true }
        }
        return false
    }

    /// The first line says what the file is: `// Name.swift - one phrase.`
    static func header(_ text: CodeText) -> [Finding] {
        let dead = self.deadFile(text)
        if !dead.isEmpty { return dead }
        let name = text.path.split(separator: "/").last.map(String.init) ?? text.path
        let first = text.lines.first ?? ""
        if first.hasPrefix("// \(name) - ") { return [] }
        return [
            Finding(text.path, 1, "header", "begin with `// \(name) - what it is, in one phrase.`")
        ]
    }

    static func deadFile(_ text: CodeText) -> [Finding] {
        if text.next(from: 0) != nil { return [] }
        return [Finding(text.path, 0, "dead-file", "no code in it: delete it")]
    }

    /// Words that no file of ours says, or only with a reason beside them.
    static func banned(_ text: CodeText) -> [Finding] {
        var findings: [Finding] = []
        for (word, offset) in text.words {
            let after = offset + word.utf8.count
            let next = after < text.code.count ? text.code[after] : 0
            let line = text.line(at: offset)
            switch word {
            case "try" where next == UInt8(ascii: "!"), "as" where next == UInt8(ascii: "!"):
                findings.append(
                    Finding(text.path, line, "forced", "`\(word)!`: handle the other case"))
            case "try" where next == UInt8(ascii: "?"):
                guard !self.hasReason(text, line) else { continue }
                findings.append(
                    Finding(
                        text.path, line, "reason",
                        "`try?`: handle the error, or say beside it why it does not matter"))
            case "unchecked", "unsafe":
                let before = text.previous(before: offset)
                guard
                    before == UInt8(ascii: "@") && word == "unchecked"
                        || before == UInt8(ascii: "(") && next == UInt8(ascii: ")"),
                    !self.hasReason(text, line)
                else { continue }
                findings.append(
                    Finding(
                        text.path, line, "reason",
                        "`\(word)`: say beside it which lock, loop or owner makes it right"))
            case "assert", "assertionFailure":
                guard next == UInt8(ascii: "(") else { continue }
                findings.append(
                    Finding(
                        text.path, line, "assertion",
                        "`\(word)` is gone in a release build: use `invariant`"))
            case _: continue
            }
        }
        return findings
    }

    /// A comment on the line, or on the line above it.
    private static func hasReason(_ text: CodeText, _ line: Int) -> Bool {
        if text.lines[line - 1].contains("//") { return true }
        guard line > 1 else { return false }
        return text.lines[line - 2].drop { $0 == " " }.hasPrefix("//")
    }

    /// Tests wait for an event with a deadline, never for time to pass.
    package static func sleeps(_ text: CodeText) -> [Finding] {
        let bans: Set<String> = ["sleep", "usleep", "nanosleep"]
        return text.words.compactMap { word, offset in
            guard bans.contains(word),
                text.next(from: offset + word.utf8.count)?.byte == UInt8(ascii: "(")
            else { return nil }
            return Finding(
                text.path, text.line(at: offset), "sleep",
                "`\(word)`: wait for the event itself, with a deadline")
        }
    }
}
