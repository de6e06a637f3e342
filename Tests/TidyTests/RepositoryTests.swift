// RepositoryTests.swift - this repository, as it is.

import Foundation
import Testing
import TidyRules

@Suite("The repository") struct RepositoryTests {
    @Test func `is tidy`() throws {
        let here = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        let root = here.deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().path
        let findings = try Tidy.check(root: root)
        let report = findings.map(\.description).joined(separator: "\n")
        let count = findings.count
        #expect(count == 0, "\(report)")
    }

    @Test func `a generated file that is stale names the command and the first line`() {
        #expect(Tidy.fresh(path: "a", written: "x\ny", generated: "x\ny", print: "p") == [])
        let found = Tidy.fresh(path: "a", written: "x\ny\n", generated: "x\nz\n", print: "p")
        #expect(found.map(\.description) == ["a:2: generated: not what is generated now: p > a"])
    }
}
