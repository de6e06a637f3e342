// Garden.swift - a copy of the sources in a package of its own, built again with each mistake.

import Foundation

struct Garden {
    private let root: URL
    private let work: URL

    private let bed: Bed

    init(root: String, work: String, bed: Bed) throws {
        self.root = URL(fileURLWithPath: root)
        self.work = URL(fileURLWithPath: work).appendingPathComponent(bed.name)
        self.bed = bed
        try self.write("Package.swift", bed.package)
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
            "/usr/bin/env", ["swift", "build", "-c", "release", "--product", self.bed.product])
        guard build.code == 0 else {
            let errors = build.output.split(separator: "\n").filter { $0.contains("error:") }
            return Verdict(isFound: false, text: "does not build: \(errors.first ?? "")")
        }
        for arguments in self.bed.runs(seeds) {
            let run = try self.run(
                self.work.appendingPathComponent(".build/release/\(self.bed.product)").path,
                arguments)
            if let text = self.bed.finding(run.code, run.output) {
                return Verdict(isFound: true, text: text)
            }
        }
        return Verdict(isFound: false, text: "not found")
    }

    // MARK: Files and processes.

    private func sources() throws -> [String: String] {
        var texts: [String: String] = [:]
        for folder in self.bed.folders {
            let path = self.root.appendingPathComponent(folder).path
            for name in try FileManager.default.subpathsOfDirectory(atPath: path).sorted()
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
