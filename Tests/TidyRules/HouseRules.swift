// HouseRules.swift - the ban table: who may import what, and what pure targets must not say.

package enum HouseRules {
    /// An `import` line.
    package struct Import: Equatable {
        /// `Module`, or `Module.Symbol` when one declaration is imported.
        package let name: String
        package let line: Int
        package var module: String {
            String(self.name.prefix { $0 != "." })
        }
    }

    package static func imports(of text: CodeText) -> [Import] {
        let kinds: Set<String> = [
            "struct", "class", "enum", "protocol", "func", "var", "let", "typealias",
        ]
        return (1...text.lineStarts.count).compactMap { number in
            let words = text.codeLine(number).split(separator: " ").map(String.init)
            guard let at = words.firstIndex(of: "import"), at + 1 < words.count,
                words[..<at].allSatisfy({ $0.hasPrefix("@") || self.access.contains($0) })
            else { return nil }
            let rest = words[(at + 1)...]
            let name = kinds.contains(rest.first ?? "") ? rest.dropFirst().first : rest.first
            return name.map { Import(name: $0, line: number) }
        }
    }

    private static let access: Set<String> = [
        "package", "public", "internal", "private", "fileprivate",
    ]

    /// Rules for one file of `Sources/target`; `path` is relative to the root.
    package static func check(_ text: CodeText, target: String) -> [Finding] {
        guard let room = House.rooms[target] else {
            return [
                Finding(
                    text.path, 0, "house",
                    "target \(target) has no line in the table of Tests/TidyRules/House.swift: "
                        + "add what it may import")
            ]
        }
        let folder = House.pureFolders.keys.sorted().first {
            text.path.hasPrefix("Sources/\($0)/")
        }
        let allowed = folder.flatMap { House.pureFolders[$0] } ?? room.imports
        var findings = self.imports(of: text).compactMap { item -> Finding? in
            // Inside the target's own symbols, or allowed whole, or allowed by symbol.
            if allowed.contains(item.module) || allowed.contains(item.name) { return nil }
            return Finding(
                text.path, item.line, "import",
                "\(folder ?? target) must not import \(item.name); it may import "
                    + (allowed.isEmpty ? "nothing" : allowed.sorted().joined(separator: ", ")))
        }
        if room.isPure || folder != nil { findings += self.purity(text) }
        return findings
    }

    static func purity(_ text: CodeText) -> [Finding] {
        var findings: [Finding] = []
        for (word, offset) in text.words {
            // A member of ours may have any name: `.print`, but not `print(`.
            if text.previous(before: offset) == UInt8(ascii: "."), !House.dice.contains(word),
                word != "hashValue"
            {
                continue
            }
            let line = text.line(at: offset)
            if let remedy = House.pureBans[word] {
                if self.isLabel(text, word, offset) { continue }
                findings.append(Finding(text.path, line, "pure", "`\(word)`: \(remedy)"))
            } else if House.dice.contains(word), self.isSystemDice(text, word, offset) {
                findings.append(
                    Finding(
                        text.path, line, "pure", "`\(word)(`: hand it a Generator with `using:`"))
            }
        }
        return findings
    }

    /// `Date:` in a call or a literal is a label, not the type.
    private static func isLabel(_ text: CodeText, _ word: String, _ offset: Int) -> Bool {
        guard text.next(from: offset + word.utf8.count)?.byte == UInt8(ascii: ":") else {
            return false
        }
        let before = text.previous(before: offset)
        return before == UInt8(ascii: "(") || before == UInt8(ascii: ",")
    }

    /// A call of `random(…)` and its like without `using:`; declaring one is not a call.
    private static func isSystemDice(_ text: CodeText, _ word: String, _ offset: Int) -> Bool {
        let after = offset + word.utf8.count
        guard after < text.code.count, text.code[after] == UInt8(ascii: "(") else { return false }
        var depth = 0
        var end = after
        while end < text.code.count {
            if text.code[end] == UInt8(ascii: "(") { depth += 1 }
            if text.code[end] == UInt8(ascii: ")") {
                depth -= 1
                if depth == 0 { break }
            }
            end += 1
        }
        let call = String(decoding: text.code[after..<end], as: UTF8.self)
        return !call.contains("using")
    }

    /// A C module that two Swift targets import is no longer behind one wrapper.
    package static func wrappers(_ imports: [(target: String, path: String, item: Import)])
        -> [Finding]
    {
        House.cModules.sorted().flatMap { module -> [Finding] in
            let users = imports.filter { $0.item.module == module }
            let targets = Set(users.map(\.target)).sorted()
            guard targets.count > 1 else { return [] }
            return users.map {
                Finding(
                    $0.path, $0.item.line, "wrapper",
                    "\(module) is imported by \(targets.joined(separator: " and ")): "
                        + "keep it in one and give the others a Swift interface")
            }
        }
    }
}
