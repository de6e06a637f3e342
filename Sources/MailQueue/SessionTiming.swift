// SessionTiming.swift - how long a session lives without a word of its node, and what follows.
//
// Order     a session has the times that the state's settings said when it was opened, until it is
//           forgotten: its node and every leader count by the same ones, whatever is set meanwhile.
// See       Cluster's LeaseClock (the node's half), SessionKeeper (the leader's), ShareDealer.

package import Primitives

/// T, H and the drift of clocks. No clock is compared with another: each side counts on its own,
/// the node less, the leader more.
package struct SessionTiming: Hashable, Sendable {
    /// T: a session that is not renewed for this long expires. Whole milliseconds.
    package var term: Duration
    /// H: how long the leases of an expired session wait. Whole milliseconds.
    package var holdDown: Duration
    /// By so much of a thousand may a clock be too fast or too slow.
    package var driftPermille: Int64

    package init(
        term: Duration = .seconds(4), holdDown: Duration = .seconds(3), driftPermille: Int64 = 50
    ) {
        self.term = term
        self.holdDown = holdDown
        self.driftPermille = driftPermille
    }

    /// `renewalMax` of the shortest T that may be set, 2 s.
    package static let renewalLeast = Duration.milliseconds(500)

    /// Between two renewals at most: three of them may be lost.
    package var renewalMax: Duration { self.term / 4 }

    /// G at most: half of T is left for transactions.
    package var guardMax: Duration { self.term / 2 }

    /// The holder's leases lapse after this, counted from the renewal that it sent last.
    package var holderTerm: Duration { self.term.scaled(permille: 1000 - self.driftPermille) }

    /// The leader ends the session after this, counted from the renewal that came last. Who hears
    /// nothing of the end knows of it by then, too.
    package var leaderTerm: Duration { self.term.scaled(permille: 1000 + self.driftPermille) }

    /// A holder has closed everything after this, counted as `holderTerm` is: connections behind
    /// their final dot wait for the verdict as long as nobody else is granted the delivery. The
    /// leader does not stretch H; so of H the holder's clock counts what is left of it if it is as
    /// slow, and the leader's as fast, as clocks may be.
    package var holderEnd: Duration {
        let (slow, fast) = (1000 - self.driftPermille, 1000 + self.driftPermille)
        return self.holderTerm + self.holdDown.scaled(permille: slow * 1000 / fast)
    }

    /// The leader believes it after this, counted as `leaderTerm` is.
    package var leaderEnd: Duration {
        (self.term + self.holdDown).scaled(permille: 1000 + self.driftPermille)
    }

    // Format: ms T, ms H, varint drift.

    func encode(into writer: inout ByteWriter) {
        writer.milliseconds(self.term)
        writer.milliseconds(self.holdDown)
        writer.varint(UInt64(self.driftPermille))
    }

    init(from reader: inout ByteReader) throws(CodecError) {
        self.init(
            term: try reader.milliseconds(), holdDown: try reader.milliseconds(),
            driftPermille: Int64(try reader.count(atMost: 500)))
    }
}

extension MailQueue {
    /// The times of a session that is not forgotten; nil: there is no such session.
    package func timing(of session: SessionID) -> SessionTiming? {
        self.place(of: session).map { self.sessions[$0].timing }
    }

    /// After this nothing of any session that the state knows is open anywhere, counted by a leader
    /// from now.
    package var longestSessionEnd: Duration {
        self.sessions.reduce(self.settings.session.leaderEnd) { max($0, $1.timing.leaderEnd) }
    }
}
