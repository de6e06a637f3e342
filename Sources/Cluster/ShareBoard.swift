// ShareBoard.swift - the ledger of connections, for all loops.
//
// Takes     the table that holds (from the node), connections that are taken and given back (from
//           Delivery's loops).
// Gives     yes or no to one more; what a renewal says.
// Threads   any; a short lock. A look at the counts and the next connection never cross: what a
//           renewal says is true until the table is another.
// See       ShareLedger, ShareHolder (which table), invariant 11.

import Synchronization

final class ShareBoard: Sendable {
    private let ledger = Mutex(ShareLedger())

    func use(_ table: ShareTable) { self.ledger.withLock { $0.use(table) } }

    func share(of destination: String) -> Int {
        self.ledger.withLock { Int($0.share(of: destination)) }
    }

    func take(_ destination: String) -> Bool { self.ledger.withLock { $0.take(destination) } }

    func giveBack(_ destination: String) { self.ledger.withLock { $0.giveBack(destination) } }

    func report(isFull: Bool) -> (base: UInt32, baseOpen: UInt32, rows: [HeldShare]) {
        self.ledger.withLock { $0.report(isFull: isFull) }
    }
}
