// NodeSimulation.swift - a whole cluster for one seed: from its beginning, through faults, to rest.
//
// Gives     the same result for the same seed and options, in every process (invariant 12).
// See       SimWorld (time and chance), SimNode (the driver around the node's machine), Truth (what
//           is checked with knowledge of everything).

import Primitives

/// What the caller of a run may choose.
package struct NodeRunOptions: Sendable, Equatable {
    /// Simulated seconds with faults, before the world heals.
    package var seconds: Int
    /// Without faults, for measuring and for tests.
    package var isCalm: Bool
    /// So many nodes, three of which vote, each with the same load; then there are no faults, and
    /// what is sent is counted.
    package var scale: Int?

    package init(seconds: Int = 60, isCalm: Bool = false, scale: Int? = nil) {
        self.seconds = seconds
        self.isCalm = isCalm || scale != nil
        self.scale = scale
    }
}

/// A promise was broken.
package struct NodeViolation: Error, Equatable, Sendable, CustomStringConvertible {
    /// The number in Docs/Invariants.md.
    package var invariant: Int
    /// Simulated nanoseconds.
    package var time: Int64
    package var text: String

    package var description: String { "invariant \(self.invariant): \(self.text)" }
}

/// What became of one seed.
package struct NodeRunResult: Sendable {
    package var seed: UInt64
    package var violation: NodeViolation?
    package var counters: NodeCounters
    /// Of everything that happened.
    package var hash: UInt64
    /// The newest lines; empty unless a trace was asked for.
    package var trace: [String]
    package var traffic: NodeTraffic
}

package enum NodeSimulation {
    private static let settling = 10 * SimWorld.second

    package static func run(
        seed: UInt64, options: NodeRunOptions = NodeRunOptions(), traceLines: Int = 0,
        sink: (@Sendable (String) -> Void)? = nil
    ) -> NodeRunResult {
        let world = SimWorld(seed: seed, options: options)
        if traceLines > 0 || sink != nil {
            world.trace = SimTrace(limit: max(1, traceLines), sink: sink)
        }
        world.begin()
        if options.scale != nil {
            // What a beginning costs is nobody's message.
            world.run(until: Self.settling)
            world.beginCounting()
        }
        world.run(until: world.now + Int64(options.seconds) * SimWorld.second)
        world.endCounting()
        if world.violation == nil { world.heal() }
        world.counters.simulatedNanos = world.now
        return NodeRunResult(
            seed: seed, violation: world.violation, counters: world.counters,
            hash: world.hash.value, trace: world.trace?.lines ?? [], traffic: world.traffic)
    }
}

/// What a run has seen, to be added up over many.
package struct NodeCounters: Sendable {
    package var simulatedNanos: Int64 = 0
    package var values = [Int](repeating: 0, count: NodeCount.allCases.count)

    package init() {}

    package subscript(_ count: NodeCount) -> Int {
        get { self.values[count.rawValue] }
        set { self.values[count.rawValue] = newValue }
    }

    package mutating func add(_ other: NodeCounters) {
        self.simulatedNanos += other.simulatedNanos
        for i in self.values.indices { self.values[i] += other.values[i] }
    }
}

/// What is counted.
package enum NodeCount: Int, CaseIterable, Sendable {
    case submissions, accepted, refused, cuts, givenUp, cancels
    case entries, hashes, sessions, expiries, terms
    case attempts, dots, arrivals, duplicates, fenced, fetches
    case reports, recipientsEnded, operators
    case checkpoints, segmentsDropped, bodiesCarried, bodiesDropped, starts
    case crashes, powerLosses, pauses, longPauses, partitions, oneWays, breaks, stalls, diskErrors
    case repairs, snapshots, installs, rots, wipes, admissions, changes, removals, wishes
    case lowDisks, serverChanges, torn, lateOfClosed, toldOfEnded, noted
    case shareTables, lapses, shareless
    case abandoned
    case stops, cutAtStop, closed

    package var name: String { "\(self)" }
}

/// What happened, for people: the newest lines, or all of them at once to a sink.
struct SimTrace {
    private(set) var lines: [String] = []
    private let limit: Int
    private let sink: (@Sendable (String) -> Void)?

    init(limit: Int, sink: (@Sendable (String) -> Void)?) {
        self.limit = limit
        self.sink = sink
    }

    mutating func add(_ time: Int64, _ text: String) {
        let micros = String(time / 1000 % 1_000_000)
        let line =
            "\(time / 1_000_000_000)." + String(repeating: "0", count: 6 - micros.utf8.count)
            + micros + "  " + text
        self.sink?(line)
        self.lines.append(line)
        if self.lines.count > 2 * self.limit { self.lines.removeFirst(self.limit) }
    }
}
