// HeldLeases.swift - what a session holds on one state, and what a snapshot brings it.
//
// Why       entries that a snapshot stands in for have no effects here: leases that they granted
//           are found by comparing the states, and those that this node works on are not given to
//           it a second time.

package import MailQueue
package import Primitives

extension NodeMachine {
    /// What an installed snapshot tells this node, which has not seen how it came about.
    package struct Installed: Equatable, Sendable {
        /// Commands of the own session that are in it, with their results; ascending.
        package var results: [(number: UInt64, result: CommandResult)] = []
        /// Leases of the own session that were not known before; ascending.
        package var leases: [DeliveryID] = []
        package var reports: [ReportID] = []
        /// The session that was open before and is not now.
        package var closed: SessionID?
        /// The session that was being opened was opened and closed again: open another.
        package var missedOpening = false

        package static func == (a: Self, b: Self) -> Bool {
            a.results.elementsEqual(b.results, by: ==) && a.leases == b.leases
                && a.reports == b.reports && a.closed == b.closed
                && a.missedOpening == b.missedOpening
        }
    }
}

/// What a session holds on one state. Tables are looked up only.
struct HeldLeases {
    /// With the attempt that the lease is for.
    var deliveries: [DeliveryID: UInt32] = [:]
    /// Ascending.
    var reports: [ReportID] = []

    init(of session: SessionID, in queue: borrowing MailQueue) {
        guard session != .none else { return }
        for lease in queue.leases(of: session) {
            self.deliveries[lease] = queue.work(lease)?.attempt ?? 0
        }
        self.reports = queue.reportLeases(of: session)
    }

    /// The session has given these up itself: if it holds them again, they are new.
    mutating func end(by action: Command.Action) {
        switch action {
        case .outcome(let outcome) where outcome.endsLease:
            self.deliveries[outcome.delivery] = nil
        case .release(let deliveries, let reports):
            for delivery in deliveries { self.deliveries[delivery] = nil }
            self.reports.removeAll { reports.contains($0) }
        case .report(let report, _), .waiveReport(let report):
            self.reports.removeAll { $0 == report }
        case .openSession, .closeSession, .expireSession, .enqueue, .outcome, .grant, .suspend,
            .clearSuspension, .cancel, .admin, .expire, .bodyLost, .tick, .settings, .drain,
            .replicaAdded, .replicasLost, .removeNode, .admit, .wish:
            return
        }
    }
}
