// Main.swift - runs seeds of whole nodes in a simulated world: one, or very many.
//
// Usage     simulate-node --seed S [--trace] [--seconds N] [--calm]
//           simulate-node --seeds A..B [--jobs N] [--seconds N] [--keep-going]
//           simulate-node --hash A..B [--seconds N]
//           simulate-node --scale N,N... [--seconds N]
// Gives     exit code 0, or 1 after a violation, with the seed and the end of its trace.
// See       Docs/Simulator.md.

import Foundation
import NodeSimulator

struct Arguments {
    enum Mode { case seed(UInt64), sweep, child, hash, scale }

    var mode = Mode.sweep
    var seeds: ClosedRange<UInt64> = 1...1
    var stride: UInt64 = 1
    var jobs = 1
    var run = NodeRunOptions()
    /// Nodes.
    var scales: [Int] = []
    var traces = false
    var keepsGoing = false
    /// Where a child tells how far it is.
    var log = ""

    static let usage = """
        simulate-node --seed S [--trace] [--seconds N] [--calm]
        simulate-node --seeds A..B [--jobs N] [--seconds N] [--calm] [--keep-going]
        simulate-node --hash A..B [--seconds N] [--calm]
        simulate-node --scale N,N... [--seconds N]
        """

    init?(_ words: [String]) {
        var hasMode = false
        var rest = words[...]
        while let word = rest.popFirst() {
            switch word {
            case "--trace": self.traces = true
            case "--keep-going": self.keepsGoing = true
            case "--calm": self.run.isCalm = true
            case "--seed":
                guard let seed = rest.popFirst().flatMap({ UInt64($0) }) else { return nil }
                self.mode = .seed(seed)
                hasMode = true
            case "--seeds", "--child", "--hash":
                let ends = (rest.popFirst() ?? "").components(separatedBy: "..")
                guard ends.count == 2, let low = UInt64(ends[0]), let high = UInt64(ends[1]),
                    low <= high
                else { return nil }
                self.seeds = low...high
                self.mode = word == "--seeds" ? .sweep : word == "--child" ? .child : .hash
                hasMode = true
            case "--scale":
                self.scales = (rest.popFirst() ?? "").split(separator: ",").compactMap { Int($0) }
                guard !self.scales.isEmpty, self.scales.allSatisfy({ $0 >= 3 }) else { return nil }
                self.mode = .scale
                hasMode = true
            case "--log": self.log = rest.popFirst() ?? ""
            case "--jobs", "--seconds", "--stride":
                guard let number = rest.popFirst().flatMap({ Int($0) }), number > 0 else {
                    return nil
                }
                if word == "--jobs" { self.jobs = number }
                if word == "--seconds" { self.run.seconds = number }
                if word == "--stride" { self.stride = UInt64(number) }
            case _: return nil
            }
        }
        guard hasMode else { return nil }
    }

    /// What a replay needs, as it is typed.
    var words: [String] {
        var words: [String] = []
        if self.run.seconds != NodeRunOptions().seconds {
            words += ["--seconds", "\(self.run.seconds)"]
        }
        if self.run.isCalm { words.append("--calm") }
        return words
    }
}

@main
enum Main {
    /// Lines of the trace that are shown after a violation.
    static let tail = 200

    static func main() throws {
        guard let arguments = Arguments(Array(CommandLine.arguments.dropFirst())) else {
            print(Arguments.usage)
            exit(2)
        }
        switch arguments.mode {
        case .seed(let seed): exit(Self.one(seed, arguments))
        case .sweep: exit(try Sweep(arguments).run())
        case .child: exit(try Self.child(arguments))
        case .hash:
            for seed in arguments.seeds {
                let result = NodeSimulation.run(seed: seed, options: arguments.run)
                print(seed, String(result.hash, radix: 16))
            }
        case .scale: exit(Scale.run(arguments))
        }
    }

    static func one(_ seed: UInt64, _ arguments: Arguments) -> Int32 {
        let sink: @Sendable (String) -> Void = {
            print($0)
            // A trap must not swallow what led to it.
            fflush(nil)
        }
        let result = NodeSimulation.run(
            seed: seed, options: arguments.run, traceLines: Self.tail,
            sink: arguments.traces ? sink : nil)
        let words = arguments.words.map { " " + $0 }.joined()
        if let violation = result.violation {
            if !arguments.traces { result.trace.suffix(Self.tail).forEach { print($0) } }
            print("seed \(seed)\(words): \(violation)")
            return 1
        }
        print("seed \(seed)\(words): no violation, hash \(String(result.hash, radix: 16))")
        Sweep.report(result.counters, seeds: 1, wall: nil)
        return 0
    }

    /// Under a sweep: tells each seed before it begins, so that a trap has its seed.
    static func child(_ arguments: Arguments) throws -> Int32 {
        var total = NodeCounters()
        var code: Int32 = 0
        var count = 0
        var seed = arguments.seeds.lowerBound
        while seed <= arguments.seeds.upperBound {
            try Self.tell(arguments.log, seed, count, total)
            let result = NodeSimulation.run(seed: seed, options: arguments.run)
            total.add(result.counters)
            count += 1
            if let violation = result.violation {
                print("seed \(seed): \(violation)")
                fflush(nil)
                code = 1
                if !arguments.keepsGoing { break }
            }
            seed += arguments.stride
        }
        try Self.tell(arguments.log, seed, count, total)
        return code
    }

    private static func tell(
        _ path: String, _ seed: UInt64, _ count: Int, _ total: NodeCounters
    ) throws {
        let numbers = [Int(seed), count, Int(total.simulatedNanos)] + total.values
        let text = numbers.map { String($0) }.joined(separator: " ")
        try text.write(toFile: path, atomically: false, encoding: .utf8)
    }
}

/// Many seeds in several processes; a trap of one is a violation of its seed.
struct Sweep {
    private let arguments: Arguments

    init(_ arguments: Arguments) { self.arguments = arguments }

    func run() throws -> Int32 {
        let start = ContinuousClock().now
        let folder = FileManager.default.temporaryDirectory.path
        let jobs = min(UInt64(self.arguments.jobs), UInt64(self.arguments.seeds.count))
        var children: [(process: Process, log: String)] = []
        for job in 0..<jobs {
            let process = Process()
            let log = "\(folder)/simulate-node-\(getpid())-\(job)"
            let first = self.arguments.seeds.lowerBound + job
            process.executableURL = URL(fileURLWithPath: "/proc/self/exe")
                .resolvingSymlinksInPath()
            process.arguments =
                ["--child", "\(first)..\(self.arguments.seeds.upperBound)", "--stride", "\(jobs)"]
                + ["--log", log] + self.arguments.words
                + (self.arguments.keepsGoing ? ["--keep-going"] : [])
            process.environment = ["SWIFT_BACKTRACE": "enable=no"]
            try process.run()
            children.append((process, log))
        }
        var total = NodeCounters()
        var count = 0
        var isSound = true
        for (process, log) in children {
            process.waitUntilExit()
            let text: String
            do {
                text = try String(contentsOfFile: log, encoding: .utf8)
                try FileManager.default.removeItem(atPath: log)
            } catch {
                print("a process has told nothing: \(error)")
                isSound = false
                continue
            }
            let numbers = text.split(separator: " ").compactMap { Int($0) }
            var part = NodeCounters()
            if numbers.count == 3 + part.values.count {
                count += numbers[1]
                part.simulatedNanos = Int64(numbers[2])
                part.values = Array(numbers[3...])
                total.add(part)
            } else {
                print("a process has told no numbers: \(text)")
                isSound = false
            }
            if process.terminationStatus != 0 { isSound = false }
            if process.terminationReason == .uncaughtSignal {
                print("seed \(numbers.first ?? 0): the program traps")
            }
        }
        Self.report(total, seeds: count, wall: ContinuousClock().now - start)
        print(isSound ? "no violation" : "VIOLATION")
        return isSound ? 0 : 1
    }

    static func report(_ counters: NodeCounters, seeds: Int, wall: Duration?) {
        let hours = Double(counters.simulatedNanos) / 3.6e12
        print("seeds \(seeds), simulated hours", String(format: "%.2f", hours))
        if let wall {
            let seconds =
                Double(wall.components.seconds) + Double(wall.components.attoseconds) / 1e18
            print(
                "wall seconds", String(format: "%.1f,", seconds), "seeds an hour",
                Int(Double(seeds) / max(seconds, 1e-9) * 3600))
        }
        var line = ""
        for count in NodeCount.allCases {
            line += " \(count.name) \(counters[count])"
            if line.utf8.count > 85 {
                print(line)
                line = ""
            }
        }
        if !line.isEmpty { print(line) }
    }
}
