// LeaseClock.swift - how long the own session's leases still hold.
//
// Takes     the instants at which renewals were sent that the leader has answered.
// Gives     whether a transaction may begin, whether a final dot may still be sent.
// Limits    T, G and the drift of clocks; counted on CLOCK_BOOTTIME, checked at each act.

package import MailQueue
package import Primitives

/// The node's half of a session's time: from the instant it *sent* the renewal to 0.95 T.
package struct LeaseClock: Sendable {
    /// A renewal is sent this often, unless it is set otherwise.
    package static let renewal = Duration.milliseconds(400)
    /// G, unless it is set otherwise: what must be left when the final dot is sent.
    package static let guardTime = Duration.seconds(1)

    /// Of the own session.
    package private(set) var timing = SessionTiming()
    private var renewedAt: Instant?

    package init() {}

    /// The own session is open; its leases hold when a renewal is answered.
    package mutating func begin(_ timing: SessionTiming) {
        self.timing = timing
        self.renewedAt = nil
    }

    /// The leader has answered the renewal that was sent at `instant`.
    package mutating func renewed(sentAt instant: Instant) {
        self.renewedAt = max(instant, self.renewedAt ?? instant)
    }

    /// The session is closed or storage has failed.
    package mutating func end() { self.renewedAt = nil }

    /// When the leases lapse; nil: they have no time at all.
    package var lapsesAt: Instant? { self.renewedAt.map { $0 + self.timing.holderTerm } }

    /// A new outbound transaction may begin.
    package func mayBegin(at now: Instant) -> Bool {
        guard let end = self.lapsesAt else { return false }
        return now < end
    }

    /// The final dot may be sent: at least G is left.
    package func mayFinish(at now: Instant) -> Bool {
        guard let end = self.lapsesAt else { return false }
        return now + Self.guardTime <= end
    }
}
