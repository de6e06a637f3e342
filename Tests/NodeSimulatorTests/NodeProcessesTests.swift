// NodeProcessesTests.swift - the same seeds are the same runs where hash tables differ.

import Programs
import Testing

@Suite("Simulated nodes in two processes, Docs/Invariants.md 12")
struct NodeProcessesTests {
    private let tool: Tool

    init() throws { self.tool = try Tool("simulate-node") }

    @Test func `hashes of runs are equal`() throws {
        let arguments = ["--hash", "1..6", "--seconds", "5"]
        let first = try self.tool.lines(arguments)
        let second = try self.tool.lines(arguments)
        #expect(first == second)
        #expect(Set(first).count == 6)
    }

    @Test func `a sweep ends with its numbers`() throws {
        let lines = try self.tool.lines(["--seeds", "1..4", "--seconds", "3", "--jobs", "2"])
        #expect(lines.contains { $0.hasPrefix("seeds 4, ") })
        #expect(lines.last == "no violation")
    }
}
