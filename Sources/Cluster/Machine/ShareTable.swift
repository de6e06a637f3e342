// ShareTable.swift - what a node may have open: its share of each destination's connections.
//
// See       ShareHolder (the node's half), ShareDealer (the leader's), Docs/Decisions/0021.

package import Primitives

/// Shares of one node: what is dealt by name, and the base for all other destinations.
package struct ShareTable: Equatable, Sendable {
    /// Destinations with rows, at most; those beyond lie at the base.
    package static let rowsMax = 4096

    /// Connections to each destination without a row.
    package var base: UInt32 = 0
    /// Strictly ascending by destination; at most `rowsMax`.
    package var rows: [DealtShare] = []

    package init(base: UInt32 = 0, rows: [DealtShare] = []) {
        self.base = base
        self.rows = rows
    }

    /// A table of a peer; nil: its rows are not in their order, or too many.
    init?(checked base: UInt32, _ rows: [DealtShare]) {
        guard rows.count <= Self.rowsMax,
            zip(rows, rows.dropFirst()).allSatisfy({ $0.destination < $1.destination })
        else { return nil }
        self.init(base: base, rows: rows)
    }

    package func share(of destination: String) -> UInt32 {
        var (low, high) = (0, self.rows.count)
        while low < high {
            let middle = (low + high) / 2
            if self.rows[middle].destination < destination {
                low = middle + 1
            } else {
                high = middle
            }
        }
        guard low < self.rows.count, self.rows[low].destination == destination else {
            return self.base
        }
        return self.rows[low].share
    }
}

package enum ShareTiming {
    /// How long a connection behind its final dot may wait for the verdict after its lease has
    /// lapsed: as long as nobody else is granted the delivery (H).
    package static let grace = Duration.seconds(3)
    /// Destinations that nobody needs more than the base of go back to it after this time.
    package static let quiet = Duration.seconds(5)

    /// Of H as the leader counts it: so much on the holder's clock, if that is 5 % slow and the
    /// leader's 5 % fast (0.95 / 1.05, rounded down).
    private static let gracePermille: Int64 = 904

    /// The holder has closed everything by then, counted from the renewal that it sent last. Nobody
    /// else is granted what it held before: the leader waits 1.05 T, and H that is not stretched.
    package static var holderEnd: Duration {
        LeaseClock.term.scaled(permille: LeaseClock.holderPermille)
            + Self.grace.scaled(permille: Self.gracePermille)
    }
    /// The leader believes it from then on, counted from the renewal that came last.
    package static var leaderEnd: Duration {
        (LeaseClock.term + Self.grace).scaled(permille: SessionKeeper.leaderPermille)
    }
}
