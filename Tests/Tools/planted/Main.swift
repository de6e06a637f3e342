// Main.swift - plants one mistake after the other and looks how soon simulator or explorer find it.
//
// Usage     planted [--root DIR] [--work DIR] [--seeds N] [--only NAME]... [--list]
// Gives     a table; exit code 1 if a mistake is not found, or its place is not there exactly once.
// Never     a flag in the product: mistakes live in a copy, one at a time.

import Foundation

@main
enum Main {
    static func main() throws {
        var root = FileManager.default.currentDirectoryPath
        var work = NSTemporaryDirectory() + "planted"
        var seeds = 2000
        var only: [String] = []
        var words = CommandLine.arguments.dropFirst()[...]
        while let word = words.popFirst() {
            switch word {
            case "--root": root = words.popFirst() ?? root
            case "--work": work = words.popFirst() ?? work
            case "--seeds": seeds = Int(words.popFirst() ?? "") ?? seeds
            case "--only": only.append(words.popFirst() ?? "")
            case "--list":
                for bug in Bugs.all + BodyBugs.all + NodeBugs.all { print(bug.name, "-", bug.why) }
                return
            case _:
                print("planted [--root DIR] [--work DIR] [--seeds N] [--only NAME]... [--list]")
                exit(2)
            }
        }
        var failed = 0
        var count = 0
        let beds = [
            (Bed.simulator, Bugs.all), (Bed.bodies, BodyBugs.all), (Bed.nodes, NodeBugs.all),
        ]
        for (bed, all) in beds {
            let bugs = all.filter { only.isEmpty || only.contains($0.name) }
            guard !bugs.isEmpty else { continue }
            count += bugs.count
            failed += try Garden(root: root, work: work, bed: bed).plant(bugs, seeds: seeds)
        }
        print(failed == 0 ? "all \(count) found" : "NOT FOUND: \(failed) of \(count)")
        exit(failed == 0 ? 0 : 1)
    }
}
