// Bodies.swift - all runs of a few messages' bodies on three nodes, to a depth, each state once.
//
// Usage     explore --bodies [--depth N] [--states-max N] [--acceptors 1,2] [--crashes N]
//           [--wipes N] [--cuts N] [--leaders N] [--expiries N] [--give-ups N] [--repairs N]
//           [--repeats N] [--rots N] [--absent] [--lazy] [--settle-every N] [--mistake NAME]
// Gives     counts by depth; status 1 and the shortest trace if something is violated.

import Explorer
import Glibc

struct ExploreBodies {
    private var scope = BodyScope()
    private var depthMax = Int.max
    private var statesMax = 20_000_000

    /// - Returns: the exit status.
    static func run(_ words: ArraySlice<String>) -> Int32 {
        guard let order = ExploreBodies(words) else {
            print("explore --bodies: see the head of Bodies.swift for the options")
            print("mistakes:", BodyMistake.allCases.map(\.rawValue).joined(separator: " "))
            return 64
        }
        return order.run()
    }

    /// Nil: a word was not understood.
    private init?(_ words: ArraySlice<String>) {
        var rest = words
        while let word = rest.popFirst() {
            switch word {
            case "--lazy": self.scope.collectsAtOnce = false
            case "--absent": self.scope.repairsAbsent = true
            case "--mistake":
                guard let mistake = rest.popFirst().flatMap(BodyMistake.init(rawValue:)) else {
                    return nil
                }
                self.scope.mistake = mistake
            case "--acceptors":
                let places = (rest.popFirst() ?? "").split(separator: ",").compactMap { Int($0) }
                guard (1...2).contains(places.count), places.allSatisfy((1...3).contains) else {
                    return nil
                }
                self.scope.acceptors = places.map { $0 - 1 }
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
        case "--settle-every" where value > 0: self.scope.settleEvery = value
        case _ where value > BodyScope.budgetMax: return false
        case "--crashes": self.scope.crashes = value
        case "--wipes": self.scope.wipes = value
        case "--cuts": self.scope.cuts = value
        case "--leaders": self.scope.leaders = value
        case "--expiries": self.scope.expiries = value
        case "--give-ups": self.scope.giveUps = value
        case "--repairs": self.scope.repairs = value
        case "--repeats": self.scope.repeats = value
        case "--rots": self.scope.rots = value
        default: return false
        }
        return true
    }

    private func run() -> Int32 {
        print(self.scope.text)
        let start = seconds()
        let search = BodySearch(self.scope)
        let report = search.run(depthMax: self.depthMax, statesMax: self.statesMax) { report in
            let level = report.perDepth[report.depth]
            print("  depth \(report.depth): \(level) new, \(report.distinct) in all")
            fflush(nil)
        }
        print("states generated \(report.generated), distinct \(report.distinct)")
        print("per depth \(report.perDepth.map(String.init).joined(separator: " "))")
        print("brought to rest \(report.settled), logs \(report.logs), nodes \(report.nodes)")
        let milliseconds = Int((seconds() - start) * 1000)
        print("time \(milliseconds) ms, peak memory \(peakMebibytes()) MiB")
        if let violation = report.violation {
            print("VIOLATION after \(violation.trace.count) events: \(violation.text)")
            for line in violation.trace { print(line) }
            return 1
        }
        print(
            report.isComplete
                ? "no violation; frontier empty: all interleavings of this scope"
                : "no violation; complete to depth \(report.depth)")
        return 0
    }
}
