// Main.swift - runs seeds of the simulated world: one, or very many.
//
// Usage     simulate --seed S [--trace] [--seconds N] [--nodes N]
//           simulate --seeds A..B [--jobs N] [--seconds N] [--nodes N] [--keep-going]
//           simulate --hash A..B [--seconds N] [--nodes N]
// Gives     exit code 0, or 1 after a violation, with the seed, the options and the trace's end.

import Glibc
import Simulator

@main
enum Main {
    static func main() {
        guard let arguments = Arguments(Array(CommandLine.arguments.dropFirst())) else {
            Output.line(Arguments.usage)
            exit(2)
        }
        switch arguments.mode {
        case .seed(let seed): exit(Self.one(seed, arguments))
        case .sweep(let seeds): exit(Sweep(seeds, arguments).run())
        case .child(let seeds, let stride): Self.child(seeds, stride: stride, arguments)
        case .hash(let seeds):
            for seed in seeds {
                let result = Simulation.run(seed: seed, options: arguments.run)
                Output.line("\(seed) \(String(result.hash, radix: 16))")
            }
        }
    }

    /// Lines of the trace that are shown after a violation.
    static let tail = 150

    private static func one(_ seed: UInt64, _ arguments: Arguments) -> Int32 {
        let sink: @Sendable (String) -> Void = { Output.line($0) }
        let trace = Trace(limit: Self.tail, sink: arguments.traces ? sink : nil)
        let result = Simulation.run(seed: seed, options: arguments.run, trace: trace)
        if let violation = result.violation {
            if !arguments.traces { result.trace.suffix(Self.tail).forEach(Output.line) }
            Output.line("seed \(seed)\(arguments.text): \(violation)")
            return 1
        }
        Output.line(
            "seed \(seed)\(arguments.text): no violation, hash "
                + String(result.hash, radix: 16))
        Report.print(result.counters, seeds: 1, wall: nil)
        return 0
    }

    /// Under a sweep: tells each seed before it begins, so that nobody need guess which one
    /// ended the process.
    private static func child(_ seeds: ClosedRange<UInt64>, stride: UInt64, _ arguments: Arguments)
    {
        var total = Counters()
        var count = 0
        var seed = seeds.lowerBound
        while seed <= seeds.upperBound {
            Output.line("S \(seed)")
            let result = Simulation.run(seed: seed, options: arguments.run)
            total.add(result.counters)
            count += 1
            if let violation = result.violation { Output.line("V \(seed) \(violation)") }
            if count % 100 == 0 { Output.line(Report.encode(total, seeds: count)) }
            if result.violation != nil && !arguments.keepsGoing { break }
            seed += stride
        }
        Output.line(Report.encode(total, seeds: count))
    }
}

enum Output {
    /// Whole lines at once, so that nothing is lost if the process ends.
    static func line(_ text: String) {
        var bytes = Array(text.utf8)
        bytes.append(UInt8(ascii: "\n"))
        var done = 0
        while done < bytes.count {
            let count = bytes[done...].withUnsafeBytes { write(1, $0.baseAddress, $0.count) }
            if count <= 0 { exit(3) }
            done += count
        }
    }
}
