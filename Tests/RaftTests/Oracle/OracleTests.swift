// OracleTests.swift - etcd's own scenario files: everything printed is as written there.
//
// Files     of the directory RAFT_ORACLE, every *.txt in it; its default lies beside the
//           repository. They are not part of the repository: without them the suite is skipped.

import Foundation
import Synchronization
import Testing

@Suite(
    "Scenario files of etcd", .counted,
    .enabled(if: OracleFiles.directory != nil, OracleFiles.hint))
struct OracleTests {
    @Test(arguments: OracleFiles.all)
    func `every block answers as written`(_ file: OracleFiles.File) throws {
        let text = try String(contentsOf: file.url, encoding: .utf8)
        let result = Script.run(try DataFile(text, file: file.name))
        Tally.current?.add(result)
        // One wrong answer is often the cause of the next ones.
        for failure in result.failures.prefix(3) {
            Issue.record(Comment(rawValue: failure.description))
        }
        let failed = result.failures.count
        #expect(failed == 0, "\(result.passed) blocks passed")
        #expect(result.passed > 0, "a file without blocks")
    }
}

enum OracleFiles {
    struct File: Sendable, CustomTestStringConvertible {
        var url: URL
        /// With the directory it is in.
        var name: String
        var testDescription: String { self.name }
    }

    static let hint: Comment = "no scenario files: set RAFT_ORACLE to their directory"

    /// Nil: there are none on this machine.
    static let directory: URL? = {
        if let path = ProcessInfo.processInfo.environment["RAFT_ORACLE"], !path.isEmpty {
            // Relative to the repository, or to where the tests are run.
            return [Self.root, Self.here].map { URL(fileURLWithPath: path, relativeTo: $0) }
                .first(where: Self.isDirectory)
        }
        for start in [Self.root, Self.here] {
            var above = start.standardizedFileURL
            while above.path != "/" {
                let candidate = above.appendingPathComponent("../shared/raft-oracle")
                if Self.isDirectory(candidate) { return candidate.standardizedFileURL }
                above.deleteLastPathComponent()
            }
        }
        return nil
    }()

    private static let here = URL(fileURLWithPath: FileManager.default.currentDirectoryPath)
    private static let root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    private static func isDirectory(_ url: URL) -> Bool {
        var isDirectory: ObjCBool = false
        return FileManager.default.fileExists(atPath: url.path, isDirectory: &isDirectory)
            && isDirectory.boolValue
    }

    /// Every *.txt, by name.
    static let all: [File] = {
        guard let directory = Self.directory,
            let walk = FileManager.default.enumerator(atPath: directory.path)
        else { return [] }
        var names: [String] = []
        while let name = walk.nextObject() as? String {
            if name.hasSuffix(".txt") { names.append(name) }
        }
        return names.sorted().map {
            File(url: directory.appendingPathComponent($0), name: $0)
        }
    }()
}

/// Counts over a whole suite.
final class Tally: Sendable {
    @TaskLocal static var current: Tally?

    private struct Counts {
        var files = 0
        var blocks = 0
        var failures = 0
    }
    private let counts = Mutex(Counts())

    func add(_ result: ScriptResult) {
        self.counts.withLock {
            $0.files += result.failures.isEmpty ? 1 : 0
            $0.blocks += result.passed
            $0.failures += result.failures.count
        }
    }

    var summary: String {
        self.counts.withLock {
            "\($0.files) files and \($0.blocks) blocks passed, \($0.failures) blocks failed"
        }
    }
}

/// Prints the count at the end of the suite.
struct CountedTrait: SuiteTrait, TestScoping {
    let isRecursive = false

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        let tally = Tally()
        try await Tally.$current.withValue(tally) { try await function() }
        print("\(test.displayName ?? test.name): \(tally.summary)")
    }
}

extension Trait where Self == CountedTrait {
    static var counted: Self { CountedTrait() }
}
