// Garden.swift - a copy of the sources in a package of its own, built again with each mistake.

import Foundation

struct Garden {
    private let root: URL
    private let work: URL

    private static let folders = [
        "Sources/Primitives", "Sources/Raft", "Tests/Simulator", "Tests/Tools/simulate",
    ]

    private static let package = """
        // swift-tools-version: 6.2
        import PackageDescription
        let strict: [SwiftSetting] = [
            .swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny"),
            .enableUpcomingFeature("InternalImportsByDefault"),
            .enableUpcomingFeature("MemberImportVisibility"),
        ]
        let package = Package(
            name: "planted",
            targets: [
                .target(name: "Primitives", swiftSettings: strict),
                .target(name: "Raft", dependencies: ["Primitives"], swiftSettings: strict),
                .target(
                    name: "Simulator", dependencies: ["Primitives", "Raft"],
                    path: "Tests/Simulator", swiftSettings: strict),
                .executableTarget(
                    name: "simulate", dependencies: ["Primitives", "Raft", "Simulator"],
                    path: "Tests/Tools/simulate", swiftSettings: strict),
            ])
        """

    init(root: String, work: String) throws {
        self.root = URL(fileURLWithPath: root)
        self.work = URL(fileURLWithPath: work)
        try self.write("Package.swift", Self.package)
    }

    /// - Returns: how many were not found.
    func plant(_ bugs: [Bug], seeds: Int) throws -> Int {
        let clean = try self.sources()
        var failed = 0
        for bug in bugs {
            let verdict = try self.plant(bug, in: clean, seeds: seeds)
            if !verdict.isFound { failed += 1 }
            print(
                bug.name.padding(toLength: 28, withPad: " ", startingAt: 0), verdict.text,
                separator: " ")
            fflush(nil)
        }
        return failed
    }

    private struct Verdict {
        var isFound: Bool
        var text: String
    }

    private func plant(
        _ bug: Bug, in clean: [String: String], seeds: Int
    ) throws -> Verdict {
        var texts = clean
        for edit in bug.edits {
            let parts = (texts[edit.file] ?? "").components(separatedBy: edit.find)
            guard parts.count == 2 else {
                return Verdict(
                    isFound: false,
                    text: "its place stands \(parts.count - 1) times in \(edit.file)")
            }
            texts[edit.file] = parts.joined(separator: edit.replace)
        }
        for file in texts.keys.sorted() { try self.write(file, texts[file] ?? "") }
        let build = try self.run(
            "/usr/bin/env", ["swift", "build", "-c", "release", "--product", "simulate"])
        guard build.code == 0 else {
            let errors = build.output.split(separator: "\n").filter { $0.contains("error:") }
            return Verdict(isFound: false, text: "does not build: \(errors.first ?? "")")
        }
        return try self.sweep(seeds)
    }

    private func sweep(_ seeds: Int) throws -> Verdict {
        let sweep = try self.run(
            self.work.appendingPathComponent(".build/release/simulate").path,
            ["--seeds", "0..\(seeds - 1)"])
        let lines = sweep.output.split(separator: "\n")
        guard sweep.code == 1, let line = lines.first(where: { $0.hasPrefix("seed ") }) else {
            return Verdict(isFound: false, text: "not found in \(seeds) seeds")
        }
        let words = line.split(separator: " ", maxSplits: 2)
        let count = (Int(words[1]) ?? 0) + 1
        return Verdict(isFound: true, text: "\(count) seeds: \(words.last ?? "")")
    }

    // MARK: Files and processes.

    private func sources() throws -> [String: String] {
        var texts: [String: String] = [:]
        for folder in Self.folders {
            let path = self.root.appendingPathComponent(folder).path
            for name in try FileManager.default.contentsOfDirectory(atPath: path).sorted()
            where name.hasSuffix(".swift") {
                let file = folder + "/" + name
                texts[file] = try String(
                    contentsOf: self.root.appendingPathComponent(file), encoding: .utf8)
            }
        }
        return texts
    }

    /// Leaves alone what is the same: a build takes the others only.
    private func write(_ file: String, _ text: String) throws {
        let url = self.work.appendingPathComponent(file)
        if let old = try? String(contentsOf: url, encoding: .utf8), old == text { return }
        try FileManager.default.createDirectory(
            at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try text.write(to: url, atomically: true, encoding: .utf8)
    }

    private func run(
        _ program: String, _ arguments: [String]
    ) throws -> (code: Int32, output: String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        process.currentDirectoryURL = self.work
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let bytes = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: bytes, as: UTF8.self))
    }
}
