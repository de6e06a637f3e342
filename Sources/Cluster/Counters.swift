// Counters.swift - how much has happened, and how much of it in the last minute.

package import Primitives

/// Counts events; tells the mean rate over the last 60 s from one sample a second.
package struct RateCounter: Sendable {
    /// Seconds that a rate looks back.
    package static let windowSeconds = 60
    package private(set) var total: UInt64 = 0
    /// The totals at the last 60 seconds, oldest first.
    private var samples = RingBuffer<UInt64>(capacity: Self.windowSeconds)

    package init() {}

    package mutating func add(_ count: Int = 1) { self.total &+= UInt64(count) }

    /// To be called once a second.
    package mutating func sample() {
        if self.samples.count == Self.windowSeconds { _ = self.samples.popFirst() }
        self.samples.append(self.total)
    }

    package var perSecond: Double {
        guard let oldest = self.samples.first else { return 0 }
        return Double(self.total &- oldest) / Double(max(1, self.samples.count))
    }
}
