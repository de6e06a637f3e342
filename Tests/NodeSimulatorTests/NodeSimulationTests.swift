// NodeSimulationTests.swift - some whole clusters without a violation, each run the same twice.
//
// See       Docs/Simulator.md; `simulate-node` runs as many as one likes.

import Testing

@testable import NodeSimulator

@Suite("Simulated nodes, Docs/Invariants.md 1 to 12")
struct NodeSimulationTests {
    /// Seeds with a violation once; what a seed draws changes with the simulator.
    static let failedOnce: [UInt64] = [
        8,  // the lease of a report whose body found no R disks was kept for ever
        61,  // a dot of a lease of the session before the present one was let go
        69,  // an OpenSession that was in the log twice was answered twice
        20,  // a node without a share of any destination kept the leases that it got
        178,  // a lease by a Grant was attempted while the Cancel of its message was under way
        76,  // a tag that was given up was told to nobody: copies of its body stayed
    ]

    @Test(arguments: failedOnce)
    func `a seed that failed once does not fail again`(seed: UInt64) {
        let result = NodeSimulation.run(seed: seed)
        #expect(result.violation == nil, "simulate-node --seed \(seed)")
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
