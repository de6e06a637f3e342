// ShareLedger.swift - connections to other hosts: how many may be open, how many are.
//
// Takes     the table that holds, connections that are taken and given back.
// Gives     yes or no to one more; what a renewal says.
// Limits    as many destinations as there are connections, and `ShareTable.rowsMax` rows.
// See       ShareHolder (which table), ShareBoard (for several threads), invariant 11.

import Primitives

package struct ShareLedger: Sendable {
    private var table = ShareTable()
    /// Of destinations to which any is open; looked up, and walked for the greatest only.
    private var open: [String: UInt32] = [:]

    package init() {}

    /// The table that holds from now on. More than its shares may be open.
    package mutating func use(_ table: ShareTable) { self.table = table }

    package func share(of destination: String) -> UInt32 { self.table.share(of: destination) }

    /// One more connection, if the share has one left.
    package mutating func take(_ destination: String) -> Bool {
        let open = self.open[destination] ?? 0
        guard open < self.table.share(of: destination) else { return false }
        self.open[destination] = open + 1
        return true
    }

    /// One that was taken has ended.
    package mutating func giveBack(_ destination: String) {
        guard let open = self.open[destination] else {
            unreachable("a connection is given back that was not taken")
        }
        self.open[destination] = open == 1 ? nil : open - 1
    }

    /// For tests: as many are open.
    mutating func restore(_ open: [String: UInt32]) {
        self.open = open.filter { $0.value > 0 }
    }

    /// What is held and open.
    ///
    /// - Parameter isFull: all rows; else those of which more is open than the share.
    package func report(isFull: Bool) -> (base: UInt32, baseOpen: UInt32, rows: [HeldShare]) {
        var rest = self.open
        var rows: [HeldShare] = []
        for row in self.table.rows {
            let open = rest.removeValue(forKey: row.destination) ?? 0
            guard isFull || open > row.share else { continue }
            rows.append(HeldShare(destination: row.destination, share: row.share, open: open))
        }
        return (self.table.base, rest.values.max() ?? 0, rows)
    }
}
