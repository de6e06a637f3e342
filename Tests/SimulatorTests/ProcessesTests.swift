// ProcessesTests.swift - the same seeds are the same runs in processes whose hash tables differ.

import Programs
import Testing

@Suite("Simulated groups in two processes, Docs/Invariants.md 12")
struct ProcessesTests {
    private let tool: Tool

    init() throws { self.tool = try Tool("simulate") }

    @Test func `hashes of runs are equal`() throws {
        let arguments = ["--hash", "1..10", "--seconds", "5"]
        let first = try self.tool.lines(arguments)
        let second = try self.tool.lines(arguments)
        #expect(first == second)
        #expect(Set(first).count == 10)
    }

    @Test func `a sweep ends with its numbers`() throws {
        let lines = try self.tool.lines(["--seeds", "1..4", "--seconds", "3", "--jobs", "2"])
        #expect(lines.contains { $0.hasPrefix("seeds 4, ") })
        #expect(lines.last == "no violation")
    }
}
