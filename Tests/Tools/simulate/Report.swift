// Report.swift - what a sweep has seen, in numbers; and the same as one line between processes.

import Simulator

enum Report {
    static func encode(_ counters: Counters, seeds: Int) -> String {
        var numbers = [seeds, Int(counters.simulatedNanos / 1_000_000)]
        numbers += counters.faults + counters.checks
        numbers += Counters.numbers.map { counters[keyPath: $0.1] }
        return "C " + numbers.map { String($0) }.joined(separator: " ")
    }

    static func decode(_ line: String) -> (Counters, Int)? {
        var numbers = line.dropFirst(2).split(separator: " ").compactMap { Int($0) }[...]
        var counters = Counters()
        let faults = counters.faults.count
        let checks = counters.checks.count
        guard numbers.count == 2 + faults + checks + Counters.numbers.count else { return nil }
        let seeds = numbers.removeFirst()
        counters.simulatedNanos = Int64(numbers.removeFirst()) * 1_000_000
        counters.faults = Array(numbers.prefix(faults))
        numbers.removeFirst(faults)
        counters.checks = Array(numbers.prefix(checks))
        numbers.removeFirst(checks)
        for (_, path) in Counters.numbers { counters[keyPath: path] = numbers.removeFirst() }
        return (counters, seeds)
    }

    static func print(_ counters: Counters, seeds: Int, wall: Duration?) {
        let hours = Double(counters.simulatedNanos) / 3.6e12
        Output.line("seeds \(seeds), simulated hours \(Self.text(hours))")
        if seeds > 0 {
            Output.line("leaders a seed \(Self.text(Double(counters.leaders) / Double(seeds)))")
        }
        if let wall {
            let seconds =
                Double(wall.components.seconds) + Double(wall.components.attoseconds) / 1e18
            Output.line(
                "wall seconds \(Self.text(seconds)), a simulated hour "
                    + Self.text(seconds / max(hours, 1e-9)))
        }
        Self.list("world", Counters.numbers.map { ($0.0, counters[keyPath: $0.1]) })
        Self.list("faults", Fault.allCases.map { ($0.name, counters.faults[$0.rawValue]) })
        Self.list("checks", Checker.allCases.map { ($0.name, counters.checks[$0.rawValue]) })
    }

    private static func list(_ title: String, _ numbers: [(String, Int)]) {
        var line = title + ":"
        for (name, number) in numbers {
            if line.utf8.count > 90 {
                Output.line(line)
                line = "   "
            }
            line += " \(name) \(number)"
        }
        Output.line(line)
    }

    /// Two digits behind the point.
    private static func text(_ number: Double) -> String {
        let hundredths = Int((number * 100).rounded())
        let rest = hundredths % 100
        return "\(hundredths / 100)." + (rest < 10 ? "0" : "") + "\(rest)"
    }
}
