// SimulationTests.swift - many small worlds without a violation, each run the same twice.

import Primitives
import Raft
import Testing

@testable import Simulator

@Suite("Simulated groups, Docs/Invariants.md 7, 8, 10, 12")
struct SimulationTests {
    /// Seeds with a violation once. What a seed draws changes with the simulator: those of the
    /// second part are the ones that find planted mistakes (`planted`), anew with each change.
    static let failedOnce: [UInt64] = [
        1,  // a snapshot that did not know the follower was sent for ever
        10,  // a request that was handed on came back, and was called malformed
        362,  // the leader of two was removed: nobody led any more (counted as `stuck`)
        656,  // a sole voter answered a read before it had committed in its term
        613,  // a request for votes left when another leader's entries had replaced the log
        794,  // a leader elected late, behind one of a later term: no violation
        11074,  // a joint configuration was not left when a transfer had been in the way
        17930,  // what a paused process held was lost with it, and nobody reported it

        30,  // stale-completion
        134,  // commit-forgotten
        84,  // older-snapshot
        35,  // read-without-round
        344,  // read-old-round
        1122,  // replay-stale-tail
    ]

    @Test(arguments: failedOnce)
    func `a seed that failed once does not fail again`(seed: UInt64) {
        let result = Simulation.run(seed: seed)
        #expect(result.violation == nil, "seed \(seed): \(result.violation?.description ?? "")")
    }

    @Test(arguments: stride(from: UInt64(10_000), to: 10_080, by: 10).map { $0 })
    func `ten seconds of faults break no promise`(first: UInt64) {
        for seed in first..<first + 10 {
            let result = Simulation.run(seed: seed, options: RunOptions(seconds: 10))
            #expect(
                result.violation == nil,
                "simulate --seed \(seed) --seconds 10: \(result.violation?.description ?? "")")
        }
    }

    @Test func `the same seed is the same run, another seed is another`() {
        let options = RunOptions(seconds: 10)
        var hashes: [UInt64] = []
        for seed in UInt64(1)...8 {
            let first = Simulation.run(seed: seed, options: options)
            let second = Simulation.run(seed: seed, options: options, trace: Trace())
            #expect(first.hash == second.hash, "a trace changes nothing")
            #expect(!hashes.contains(first.hash))
            hashes.append(first.hash)
        }
    }

    @Test func `a world without faults goes on by itself`() {
        let result = Simulation.run(seed: 5, options: RunOptions(seconds: 10, isCalm: true))
        #expect(result.violation == nil)
        #expect(result.counters.leaders == 1)
        #expect(result.counters.commands > 10)
        #expect(result.counters.faults.allSatisfy { $0 == 0 })
    }

    @Test func `every kind of fault strikes, every checker runs`() {
        var total = Counters()
        for seed in UInt64(20_000)..<20_040 {
            let result = Simulation.run(seed: seed, options: RunOptions(seconds: 30))
            #expect(result.violation == nil, "simulate --seed \(seed) --seconds 30")
            total.add(result.counters)
        }
        for fault in Fault.allCases {
            #expect(total.faults[fault.rawValue] > 0, "\(fault.name) never struck")
        }
        for checker in Checker.allCases {
            #expect(total.checks[checker.rawValue] > 0, "\(checker.name) never ran")
        }
        #expect(total.snapshotsInstalled > 0)
        #expect(total.jointApplied > 0)
        #expect(total.replaced > 0)
        #expect(total.segmentsDropped > 0)
        #expect(total.torn > 0)
        #expect(total.leaders > 40 * 3 / 2)
    }
}
