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
    /// Destinations that nobody needs more than the base of go back to it after this time.
    package static let quiet = Duration.seconds(5)
}
