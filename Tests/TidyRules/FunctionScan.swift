// FunctionScan.swift - where functions begin and end.
//
// Takes     the code of a file, comments and literals blank.
// Gives     for each `func`, `init`, `deinit` and `subscript` with a body its first line and how
//           many lines it has, from the declaration to the closing brace, both included.

package enum FunctionScan {
    package struct Function: Equatable {
        package let line: Int
        package let lines: Int
    }

    private static let openers: Set<String> = ["func", "init", "deinit", "subscript"]

    /// A word that can only begin another declaration: what came before had no body.
    private static let declarations: Set<String> = [
        "func", "init", "deinit", "subscript", "var", "let", "case", "struct", "enum", "class",
        "extension", "protocol", "typealias", "associatedtype", "import", "package", "private",
        "public", "fileprivate", "internal", "static", "mutating", "borrowing", "consuming",
    ]

    package static func functions(of text: CodeText) -> [Function] {
        var functions: [Function] = []
        for (word, offset) in text.words where self.openers.contains(word) {
            let before = text.previous(before: offset)
            // `.init(…)` and `self.init(…)` are calls.
            if before == UInt8(ascii: ".") { continue }
            guard let open = self.body(of: text, from: offset + word.utf8.count),
                let close = self.closing(of: text, from: open)
            else { continue }
            let first = text.line(at: offset)
            functions.append(Function(line: first, lines: text.line(at: close) - first + 1))
        }
        return functions
    }

    /// The opening brace of the body, or nil for a requirement of a protocol.
    private static func body(of text: CodeText, from start: Int) -> Int? {
        var depth = 0
        var i = start
        while i < text.code.count {
            let byte = text.code[i]
            switch byte {
            case UInt8(ascii: "("), UInt8(ascii: "["): depth += 1
            case UInt8(ascii: ")"), UInt8(ascii: "]"): depth -= 1
            case UInt8(ascii: "{") where depth == 0: return i
            case UInt8(ascii: "}") where depth == 0: return nil
            case _ where depth == 0 && CodeText.isWord(byte):
                let first = i
                while i < text.code.count && CodeText.isWord(text.code[i]) { i += 1 }
                let word = String(decoding: text.code[first..<i], as: UTF8.self)
                if first > start, self.declarations.contains(word),
                    text.line(at: first) > text.line(at: start)
                {
                    return nil
                }
                continue
            case _: break
            }
            i += 1
        }
        return nil
    }

    private static func closing(of text: CodeText, from open: Int) -> Int? {
        var depth = 0
        for i in open..<text.code.count {
            if text.code[i] == UInt8(ascii: "{") { depth += 1 }
            if text.code[i] == UInt8(ascii: "}") {
                depth -= 1
                if depth == 0 { return i }
            }
        }
        return nil
    }
}
