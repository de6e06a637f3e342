// DeliveryMeters.swift - what Delivery counts; handles are made once.

import Metrics
import NIOCore
import SMTP
import Synchronization

/// Shared by all loops.
final class DeliveryMeters: Sendable {
    private let delivered = Counter(label: "posthouse_delivered_total")
    private let deferred = Counter(label: "posthouse_deferred_total")
    private let failed = Counter(label: "posthouse_failed_total")
    private let open = Gauge(label: "posthouse_delivery_connections")
    /// Connections by loop, in the order in which loops have reported first.
    private let counts = Mutex<[ObjectIdentifier: Int]>([:])

    /// One recipient's verdict.
    func count(_ kind: Verdict.Kind) {
        switch kind {
        case .delivered, .relayed, .stored: self.delivered.increment()
        case .deferred: self.deferred.increment()
        case .failed: self.failed.increment()
        }
    }

    /// - Returns: the connections of all loops.
    func connections(_ count: Int, on loop: any EventLoop) -> Int {
        let sum = self.counts.withLock { counts in
            counts[ObjectIdentifier(loop)] = count
            return counts.values.reduce(0, +)
        }
        self.open.record(sum)
        return sum
    }
}
