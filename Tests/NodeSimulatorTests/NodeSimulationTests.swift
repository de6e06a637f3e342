// NodeSimulationTests.swift - some whole clusters without a violation, each run the same twice.
//
// See       Docs/Simulator.md; `simulate-node` runs as many as one likes.

import Testing

@testable import NodeSimulator

@Suite("Simulated nodes, Docs/Invariants.md 1 to 12")
struct NodeSimulationTests {
    @Test(arguments: UInt64(1)...5)
    func `a minute of faults breaks no promise`(seed: UInt64) {
        let result = NodeSimulation.run(seed: seed)
        #expect(
            result.violation == nil,
            "simulate-node --seed \(seed): \(result.violation?.text ?? "")")
    }

    @Test(arguments: stride(from: UInt64(10_000), to: 10_020, by: 5).map { $0 })
    func `twenty seconds of faults break no promise`(first: UInt64) {
        for seed in first..<first + 5 {
            let result = NodeSimulation.run(seed: seed, options: NodeRunOptions(seconds: 20))
            #expect(
                result.violation == nil,
                "simulate-node --seed \(seed) --seconds 20: \(result.violation?.text ?? "")")
        }
    }

    @Test func `the same seed is the same run, another seed is another`() {
        let options = NodeRunOptions(seconds: 10)
        var hashes: [UInt64] = []
        for seed in UInt64(1)...4 {
            let first = NodeSimulation.run(seed: seed, options: options)
            let second = NodeSimulation.run(seed: seed, options: options, traceLines: 10)
            #expect(first.hash == second.hash, "a trace changes nothing")
            #expect(!hashes.contains(first.hash))
            hashes.append(first.hash)
        }
    }

    @Test func `a world without faults delivers everything once`() {
        let options = NodeRunOptions(seconds: 10, isCalm: true)
        let result = NodeSimulation.run(seed: 3, options: options)
        #expect(result.violation == nil, "\(result.violation?.description ?? "")")
        #expect(result.counters[.accepted] > 0)
        #expect(result.counters[.duplicates] == 0)
        #expect(result.counters[.crashes] == 0)
    }
}
