// Renewal.swift - what a node says when it keeps its session, and what the leader answers.
//
// See       SessionKeeper, LeaseClock (time), ShareDealer, ShareHolder (shares); PeerValueCodec.

package import MailQueue
package import Primitives

/// A node keeps its session: what it holds, and when it asked.
package struct Renewal: Equatable, Sendable {
    package var session: SessionID
    /// The asker's own clock when it asked; comes back in the answer.
    package var sentAt: Instant
    /// The term whose leader is asked.
    package var term: UInt64
    /// The number of that leader's table of shares that holds here; 0: none does.
    package var deal: UInt64
    /// Connections that may be open to each destination without a row.
    package var base: UInt32
    /// The most that are open to any of those.
    package var baseOpen: UInt32
    /// The rows, strictly ascending. With `deal` only those of which more is open than the share.
    package var shares: [HeldShare]
    package init(
        session: SessionID, sentAt: Instant, term: UInt64, deal: UInt64 = 0, base: UInt32 = 0,
        baseOpen: UInt32 = 0, shares: [HeldShare] = []
    ) {
        self.session = session
        self.sentAt = sentAt
        self.term = term
        self.deal = deal
        self.base = base
        self.baseOpen = baseOpen
        self.shares = shares
    }
}

package struct HeldShare: Equatable, Sendable {
    package var destination: String
    package var share: UInt32
    package var open: UInt32
    package init(destination: String, share: UInt32, open: UInt32) {
        self.destination = destination
        self.share = share
        self.open = open
    }
}

package struct RenewalAnswer: Equatable, Sendable {
    package var session: SessionID
    /// From the renewal.
    package var sentAt: Instant
    package var term: UInt64
    /// Counts the tables that this leader has dealt to the session; 0: there is none in here.
    package var deal: UInt64
    /// Connections that may be open to each destination without a row.
    package var base: UInt32
    /// All rows, strictly ascending: what is not in here has none any more.
    package var shares: [DealtShare]
    package init(
        session: SessionID, sentAt: Instant, term: UInt64, deal: UInt64 = 0, base: UInt32 = 0,
        shares: [DealtShare] = []
    ) {
        self.session = session
        self.sentAt = sentAt
        self.term = term
        self.deal = deal
        self.base = base
        self.shares = shares
    }
}

package struct DealtShare: Equatable, Sendable {
    package var destination: String
    package var share: UInt32
    package init(destination: String, share: UInt32) {
        self.destination = destination
        self.share = share
    }
}
