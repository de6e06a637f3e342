// RuleTests.swift - each rule at its limit and one beyond.

import Testing

@testable import TidyRules

@Suite("Tidy: lengths and words") struct TextRuleTests {
    private func check(_ text: String) -> [String] {
        TextRules.check(CodeText(path: "Sources/SMTP/A.swift", text: text)).map(\.rule)
    }
    private let head = "// A.swift - a sample.\n\n"

    private func function(lines: Int) -> String {
        "func f(\n    a: Int = 1\n) {\n"
            + String(repeating: "    a()\n", count: lines - 4) + "}\n"
    }

    @Test func `a function of 70 lines passes, one of 71 does not`() {
        #expect(self.check(self.head + self.function(lines: 70)) == [])
        #expect(self.check(self.head + self.function(lines: 71)) == ["function-lines"])
    }

    @Test func `a file of 500 lines passes, one of 501 does not`() {
        let line = "let a = 1\n"
        #expect(self.check(self.head + String(repeating: line, count: 498)) == [])
        #expect(self.check(self.head + String(repeating: line, count: 499)) == ["file-lines"])
    }

    @Test func `a line of 100 columns passes, one of 101 does not; letters count, not bytes`() {
        let name = String(repeating: "ä", count: 96)
        #expect(self.check(self.head + "let " + name) == [])
        #expect(self.check(self.head + "let " + name + "b") == ["line-columns"])
    }

    @Test func `requirements of a protocol have no body to measure`() {
        let text = """
            protocol P {
                func a() -> Int
                func b(x: [Int]) throws
                init(a: Int)
            }
            struct S: P {
                init(a: Int) { self.init() }
                func a() -> Int {
                    1
                }
            }
            """
        let found = FunctionScan.functions(of: CodeText(path: "A.swift", text: text))
        #expect(
            found == [
                FunctionScan.Function(line: 7, lines: 1), FunctionScan.Function(line: 8, lines: 3),
            ])
    }

    @Test(
        arguments: [
            ("let a = try! b()", ["forced"]),
            ("let a = b as! C", ["forced"]),
            ("let a = try? b()", ["reason"]),
            ("let a = try? b()  // nobody is left to tell", []),
            ("// nobody is left to tell\nlet a = try? b()", []),
            ("final class A: @unchecked Sendable {}", ["reason"]),
            ("// guarded by `lock`\nfinal class A: @unchecked Sendable {}", []),
            ("nonisolated(unsafe) var a = 1", ["reason"]),
            ("let unsafe = 1", []),
            ("assert(a)", ["assertion"]),
            ("let b = \"try! assert(\"", []),
            ("let a = b  // " + "TO" + "DO later", ["unfinished"]),
            ("let a = \"" + "FIX" + "ME\"", ["unfinished"]),
            ("let autoTO" + "DOs = 1", []),
        ])
    func `words with a price`(_ line: String, _ rules: [String]) {
        #expect(self.check(self.head + line + "\n") == rules)
    }

    @Test func `a file says in its first line what it is`() {
        #expect(self.check("let a = 1\n") == ["header"])
        #expect(self.check("// B.swift - a sample.\nlet a = 1\n") == ["header"])
        #expect(self.check("// A.swift - nothing in it.\n") == ["dead-file"])
    }

    @Test func `in a test a long literal may stay whole, long code may not`() {
        let literal = "let a = \"" + String(repeating: "b", count: 100) + "\"\n"
        let code = "let a = " + String(repeating: "b", count: 100) + "\n"
        let text = CodeText(path: "Tests/ATests/A.swift", text: literal + code)
        #expect(TextRules.lengths(text, literalsCount: false).map(\.line) == [2])
        #expect(TextRules.lengths(text).map(\.line) == [1, 2])
    }

    @Test func `tests do not sleep`() {
        let text = "try await Task.sleep(for: .seconds(1))\nlet sleep = 1\nusleep (3)\n"
        let found = TextRules.sleeps(CodeText(path: "Tests/ATests/A.swift", text: text))
        #expect(found.map(\.line) == [1, 3])
    }
}

@Suite("Tidy: the house") struct HouseRuleTests {
    private func check(_ target: String, _ text: String, file: String = "A.swift") -> [String] {
        let path = "Sources/\(target)/\(file)"
        return HouseRules.check(CodeText(path: path, text: text), target: target).map(\.description)
    }

    @Test func `an import that the table does not name is refused, with what is allowed`() {
        #expect(
            self.check("MailQueue", "import Primitives\npackage import Storage\n") == [
                "Sources/MailQueue/A.swift:2: import: MailQueue must not import Storage; "
                    + "it may import Primitives, SMTP, Spool"
            ])
        #expect(self.check("Delivery", "import Reception\n").count == 1)
        #expect(self.check("Primitives", "import Foundation\n").count == 2)
        #expect(self.check("Delivery", "@preconcurrency import NIOCore\n") == [])
    }

    @Test func `a pure target may import the byte buffer alone`() {
        #expect(self.check("SMTP", "package import struct NIOCore.ByteBuffer\n") == [])
        #expect(self.check("SMTP", "import NIOCore\n").count == 1)
        #expect(self.check("SMTP", "import class NIOCore.EventLoopFuture\n").count == 1)
    }

    @Test func `a pure folder of a driver is pure`() {
        #expect(self.check("Cluster", "import Storage\nlet a: Task<Void, Never>\n") == [])
        let found = self.check(
            "Cluster", "import Storage\nlet a: Task<Void, Never>\n", file: "Machine/A.swift")
        #expect(found.count == 2)
    }

    @Test func `a target without a line in the table is refused`() {
        #expect(self.check("Utils", "import Glibc\n").count == 1)
    }

    @Test(
        arguments: [
            ("let a = Date()", 1), ("func f() async {}", 1), ("print(a)", 1),
            ("queue.print(a)", 0), ("// Date and Task", 0), ("let x = \"await\"", 0),
            ("fields.append(Date: 1)", 0), ("let n = Int.random(in: 0..<3)", 1),
            ("let n = Int.random(in: 0..<3, using: &generator)", 0), ("a.shuffle()", 1),
            ("a.shuffle(using: &generator)", 0), ("a.hashValue", 1), ("func date() {}", 0),
            ("let \\u{1}", 0),
        ])
    func `what a pure target says`(_ line: String, _ count: Int) {
        #expect(self.check("SMTP", line + "\n").count == count)
    }

    @Test func `a C module has one wrapper`() {
        let one = HouseRules.Import(name: "CSQLite", line: 3)
        let used = [("Storage", "Sources/Storage/A.swift", one)]
        #expect(HouseRules.wrappers(used.map { (target: $0.0, path: $0.1, item: $0.2) }) == [])
        let twice = used + [("Cluster", "Sources/Cluster/B.swift", one)]
        let found = HouseRules.wrappers(twice.map { (target: $0.0, path: $0.1, item: $0.2) })
        #expect(found.map(\.path) == ["Sources/Storage/A.swift", "Sources/Cluster/B.swift"])
    }
}

@Suite("Tidy: exceptions only shrink") struct ExceptionTests {
    private let long = Finding("A.swift", 9, "function-lines", "too long", measured: 80)

    private func left(_ text: String, _ findings: [Finding]) -> [String] {
        let exceptions = Exceptions(text: text)
        return exceptions.apply(to: findings, cap: exceptions.entries.count).map(\.remedy)
    }

    @Test func `an exact exception hides its finding`() {
        #expect(self.left("function-lines A.swift 80\n", [self.long]) == [])
        #expect(self.left("# nothing\n", [self.long]) == ["too long"])
        #expect(self.left("function-lines B.swift 80\n", [self.long]).count == 2)
    }

    @Test func `a function that grew is a finding again, one that shrank lowers its exception`() {
        #expect(self.left("function-lines A.swift 79\n", [self.long]) == ["too long"])
        #expect(self.left("function-lines A.swift 81\n", [self.long]) == ["lower it to 80"])
        #expect(
            self.left("function-lines A.swift 80\n", []) == ["no longer needed: delete it"])
    }

    @Test func `one entry more than the cap, or fewer, is a finding`() {
        let exceptions = Exceptions(text: "function-lines A.swift 80\n")
        #expect(exceptions.apply(to: [self.long], cap: 0).map(\.rule) == ["exception"])
        #expect(exceptions.apply(to: [self.long], cap: 1) == [])
        #expect(exceptions.apply(to: [self.long], cap: 2).map(\.rule) == ["exception"])
    }

    @Test func `what has no measure cannot be excepted`() {
        let finding = Finding("A.swift", 1, "import", "no")
        #expect(self.left("import A.swift 1\n", [finding]).contains("no"))
    }
}
