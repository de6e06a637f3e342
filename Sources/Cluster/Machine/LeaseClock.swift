// LeaseClock.swift - how long the own session's leases still hold.
//
// Takes     the instants at which renewals were sent that the leader has answered.
// Gives     whether a transaction may begin, whether a final dot may still be sent.
// Limits    T, G and the drift of clocks; counted on CLOCK_BOOTTIME, checked at each act.

import MailQueue
package import Primitives

/// The node's half of a session's time: from the instant it *sent* the renewal to 0.95 T.
package struct LeaseClock: Sendable {
    /// T: a session that is not renewed for this long expires.
    package static let term = SessionTime.term
    /// A renewal is sent this often.
    package static let renewal = Duration.milliseconds(400)
    /// G: what must be left when the final dot is sent.
    package static let guardTime = Duration.seconds(1)
    /// The holder counts 0.95 T, the leader 1.05 T: 5 % of drift on either side.
    package static let holderPermille: Int64 = 950

    private var renewedAt: Instant?

    package init() {}

    /// The leader has answered the renewal that was sent at `instant`.
    package mutating func renewed(sentAt instant: Instant) {
        self.renewedAt = max(instant, self.renewedAt ?? instant)
    }

    /// The session is closed or storage has failed.
    package mutating func end() { self.renewedAt = nil }

    /// When the leases lapse; nil: they have no time at all.
    package var lapsesAt: Instant? {
        self.renewedAt.map { $0 + Self.term.scaled(permille: Self.holderPermille) }
    }

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
