// Simulation.swift - one seed from its beginning to its end.
//
// Gives     the same result for the same seed and options, in every process.

/// What became of one seed.
package struct RunResult: Sendable {
    package var seed: UInt64
    package var violation: Violation?
    package var counters: Counters
    /// Of everything that happened.
    package var hash: UInt64
    /// Empty unless it was asked for.
    package var trace: [String]
}

package enum Simulation {
    package static func run(
        seed: UInt64, options: RunOptions = RunOptions(), trace: Trace? = nil
    ) -> RunResult {
        let world = World(seed: seed, options: options, trace: trace)
        world.live(until: Int64(options.seconds) * 1_000_000_000)
        if world.truth.violation == nil { world.heal() }
        world.truth.counters.simulatedNanos = world.now
        return RunResult(
            seed: seed, violation: world.truth.violation, counters: world.truth.counters,
            hash: world.hash, trace: world.trace?.lines ?? [])
    }
}
