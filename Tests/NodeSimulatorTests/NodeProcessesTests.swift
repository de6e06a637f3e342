// NodeProcessesTests.swift - the same seeds are the same runs where hash tables differ.

import Foundation
import Testing

@Suite("Simulated nodes in two processes, Docs/Invariants.md 12")
struct NodeProcessesTests {
    /// Beside the tests, where the package builds it.
    static let tool: String? = {
        for argument in CommandLine.arguments {
            var path = URL(fileURLWithPath: argument)
            while path.pathComponents.count > 1 {
                let tool = path.deletingLastPathComponent().appendingPathComponent("simulate-node")
                    .path
                if FileManager.default.isExecutableFile(atPath: tool) { return tool }
                path.deleteLastPathComponent()
            }
        }
        return nil
    }()

    @Test(.enabled(if: tool != nil))
    func `hashes of runs are equal`() throws {
        let first = try self.hashes()
        let second = try self.hashes()
        #expect(first == second)
        #expect(Set(first).count == 6)
    }

    @Test(.enabled(if: tool != nil))
    func `a sweep ends with its numbers`() throws {
        let lines = try self.run(["--seeds", "1..4", "--seconds", "3", "--jobs", "2"])
        #expect(lines.contains { $0.hasPrefix("seeds 4, ") })
        #expect(lines.last == "no violation")
    }

    private func hashes() throws -> [String] {
        try self.run(["--hash", "1..6", "--seconds", "5"])
    }

    private func run(_ arguments: [String]) throws -> [String] {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: Self.tool ?? "")
        process.arguments = arguments
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let bytes = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
    }
}
