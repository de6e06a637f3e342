// Instant.swift - time as a value: machines are told what time it is, they never look.
//
// Takes     readings of CLOCK_BOOTTIME, made by drivers.
// Never     compared between nodes; printed to people (that is `WallTime`).

/// A point on this machine's CLOCK_BOOTTIME, in nanoseconds since its start. It goes on while the
/// machine is suspended and never jumps.
package struct Instant: Comparable, Hashable, Sendable {
    /// Nanoseconds since the machine started.
    package var nanoseconds: Int64

    package init(nanoseconds: Int64) {
        self.nanoseconds = nanoseconds
    }

    /// The earliest instant.
    package static let zero = Instant(nanoseconds: 0)
    /// Later than every reading of a clock.
    package static let distantFuture = Instant(nanoseconds: .max)

    package static func < (a: Instant, b: Instant) -> Bool { a.nanoseconds < b.nanoseconds }

    /// Saturates at `distantFuture`.
    package static func + (a: Instant, b: Duration) -> Instant {
        let (sum, overflow) = a.nanoseconds.addingReportingOverflow(b.inNanoseconds)
        return overflow ? .distantFuture : Instant(nanoseconds: sum)
    }

    package static func - (a: Instant, b: Duration) -> Instant {
        Instant(nanoseconds: a.nanoseconds &- b.inNanoseconds)
    }

    package static func - (a: Instant, b: Instant) -> Duration {
        .nanoseconds(a.nanoseconds &- b.nanoseconds)
    }
}

extension Duration {
    /// Whole nanoseconds; saturates at what 64 bits hold (292 years).
    package var inNanoseconds: Int64 {
        let (seconds, attoseconds) = self.components
        let (scaled, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        if overflow { return seconds < 0 ? .min : .max }
        let (sum, overflow2) = scaled.addingReportingOverflow(attoseconds / 1_000_000_000)
        return overflow2 ? (seconds < 0 ? .min : .max) : sum
    }

    /// Whole milliseconds, rounded down.
    package var inMilliseconds: Int64 { self.inNanoseconds / 1_000_000 }

    /// Seconds as a floating-point number, for metrics and printing only.
    package var inSeconds: Double { Double(self.inNanoseconds) / 1e9 }

    /// `self` scaled by `permille` thousandths: integers only, so that replicas agree.
    package func scaled(permille: Int64) -> Duration {
        .nanoseconds(self.inNanoseconds / 1000 * permille)
    }
}
