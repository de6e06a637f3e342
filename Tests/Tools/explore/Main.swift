// Main.swift - all runs of a small cluster, to a depth, each state once.
//
// Usage     explore [--depth N] [--states-max N] [--proposals N] [--crashes N] [--partitions N]
//           [--campaigns N] [--heartbeats N] [--losses N] [--duplicates N] [--window N]
//           [--network literal|counted|boundless] [--pre-vote] [--check-quorum] [--all-names]
//           [--elected] [--large-entries]
//           explore --bodies [...]: see Bodies.swift
// Gives     counts by depth; exit 1 and the shortest trace if something is violated.

import Explorer
import Glibc

/// What the command line asks for.
struct Order {
    var scope = Scope()
    var depthMax = Int.max
    var statesMax = 50_000_000

    /// Nil: a word was not understood.
    init?(_ words: [String]) {
        var rest = words[...]
        while let word = rest.popFirst() {
            switch word {
            case "--pre-vote": self.scope.preVotes = true
            case "--check-quorum": self.scope.checksQuorum = true
            case "--all-names": self.scope.isSymmetric = false
            case "--elected": self.scope.isElected = true
            case "--large-entries": self.scope.hasLargeEntries = true
            case "--network":
                guard let network = rest.popFirst().flatMap(Scope.Network.init(rawValue:)) else {
                    return nil
                }
                self.scope.network = network
            default:
                guard let value = rest.popFirst().flatMap({ Int($0) }), value >= 0,
                    self.take(word, value)
                else { return nil }
            }
        }
    }

    private mutating func take(_ word: String, _ value: Int) -> Bool {
        switch word {
        case "--depth": self.depthMax = value
        case "--states-max": self.statesMax = value
        case "--window" where value > 0: self.scope.window = value
        case _ where value > Scope.budgetMax: return false
        case "--proposals": self.scope.proposals = value
        case "--crashes": self.scope.crashes = value
        case "--partitions": self.scope.partitions = value
        case "--campaigns": self.scope.campaigns = value
        case "--heartbeats": self.scope.heartbeats = value
        case "--losses": self.scope.losses = value
        case "--duplicates": self.scope.duplicates = value
        default: return false
        }
        return true
    }
}

/// Where a trap of the replica finds the search that led to it.
enum Trap {
    // Written once, before the handlers are installed; read by them when nothing else runs.
    nonisolated(unsafe) static var search: Search?

    static func install(_ search: Search) {
        Self.search = search
        for number in [SIGILL, SIGTRAP, SIGABRT] {
            signal(number) { _ in
                print("TRAP: the replica ended the process. Events:")
                for line in Trap.search?.traceOfAttempt() ?? [] { print(line) }
                fflush(nil)
                _exit(1)
            }
        }
    }
}

/// Seconds of a clock that only grows.
func seconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// The most memory that this process ever had, in MiB.
func peakMebibytes() -> Int {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return Int(usage.ru_maxrss) / 1024
}

@main
struct Explore {
    static func main() {
        let words = Array(CommandLine.arguments.dropFirst())
        if words.first == "--bodies" { exit(ExploreBodies.run(words.dropFirst())) }
        guard let order = Order(words) else {
            print("explore: see the head of Main.swift for the options")
            exit(64)
        }
        print(order.scope.text)
        let start = seconds()
        let search = Search(order.scope)
        Trap.install(search)
        let report = search.run(depthMax: order.depthMax, statesMax: order.statesMax) { report in
            let level = report.perDepth[report.depth]
            print("  depth \(report.depth): \(level) new, \(report.distinct) in all")
            fflush(nil)
        }
        let time = seconds() - start
        print("states generated \(report.generated), distinct \(report.distinct)")
        print("per depth \(report.perDepth.map(String.init).joined(separator: " "))")
        print("distinct node states \(report.members), messages \(report.messages)")
        let milliseconds = Int(time * 1000)
        print("time \(milliseconds) ms, peak memory \(peakMebibytes()) MiB")
        if let violation = report.violation {
            print("VIOLATION after \(violation.trace.count) events: \(violation.text)")
            for line in violation.trace { print(line) }
            exit(1)
        }
        print(
            report.isComplete
                ? "no violation; frontier empty: all interleavings of this scope"
                : "no violation; complete to depth \(report.depth)")
    }
}
