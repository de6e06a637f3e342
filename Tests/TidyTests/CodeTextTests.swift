// CodeTextTests.swift - comments and literals are blank, code is not.

import Testing
import TidyRules

@Suite("Text of a Swift file") struct CodeTextTests {
    private func code(_ text: String) -> String {
        String(decoding: CodeText(path: "A.swift", text: text).code, as: UTF8.self)
    }

    @Test(
        arguments: [
            ("a // b", "a     "),
            ("a /* b /* c */ d */ e", "a                   e"),
            ("x = \"async\"", "x =        "),
            ("x = \"a\\\"b\" + c", "x =        + c"),
            ("x = \"a\\(b + \"c\")d\" e", "x =     b +        e"),
            ("x = #\"a\"b\\n\"# + y", "x =           + y"),
            ("x = #\"\\#(y)\"#", "x =      y   "),
            ("#if os(Linux)", "#if os(Linux)"),
            ("func `print me`() {}", "func           () {}"),
            ("u = \"http://x\" ; y", "u =            ; y"),
        ])
    func `blanks what is not code and keeps the length`(_ text: String, _ expected: String) {
        #expect(self.code(text) == expected)
        #expect(self.code(text).utf8.count == text.utf8.count)
    }

    @Test func `a literal of several lines keeps its line ends`() {
        let text = "a = \"\"\"\n  print(\"x\")\n  \"\"\"\nb"
        #expect(self.code(text) == "a =    \n            \n     \nb")
    }

    @Test func `an offset is on its line`() {
        let text = CodeText(path: "A.swift", text: "a\nbc\nd")
        #expect(text.line(at: 0) == 1)
        #expect(text.line(at: 2) == 2)
        #expect(text.line(at: 3) == 2)
        #expect(text.line(at: 5) == 3)
        #expect(text.codeLine(2) == "bc")
        #expect(text.words.map(\.word) == ["a", "bc", "d"])
    }
}
