// LeaseCounts.swift - how many deliveries of a destination each session holds.
//
// For       the leader, who deals shares of a destination's connections by it.

package import Primitives
package import Spool

/// Leases of one destination that one session holds.
package struct LeaseCount: Equatable, Sendable {
    package var destination: String
    package var session: SessionID
    package var leases: UInt32
    package init(destination: String, session: SessionID, leases: UInt32) {
        self.destination = destination
        self.session = session
        self.leases = leases
    }
}

extension MailQueue {
    /// Open sessions with the disks whose they are, ascending by session.
    package var openSessionDisks: [(session: SessionID, disk: Holder, timing: SessionTiming)] {
        self.sessions.filter(\.isOpen)
            .map { session in
                let node = self.nodes[Int(session.node)]
                let disk = Holder(node: node.name, incarnation: node.incarnation)
                return (session.id, disk, session.timing)
            }
            .sorted { $0.session < $1.session }
    }

    /// Leases of open sessions: of every destination of which one has more than `least`, and of
    /// those named; by destination, then by session, ascending. Walks all leases.
    package func leaseCounts(above least: UInt32, and names: [String]) -> [LeaseCount] {
        var wanted: Set<UInt32> = []
        for name in names {
            let slot = self.destinations.find(name)
            if slot != Slot.none { wanted.insert(slot) }
        }
        var counted: [(session: SessionID, counts: [UInt32: UInt32])] = []
        for session in self.sessions where session.isOpen {
            var counts: [UInt32: UInt32] = [:]
            var slot = session.leaseFirst
            while slot != Slot.none {
                counts[self.deliveries[slot].destination, default: 0] += 1
                slot = self.deliveries[slot].next
            }
            for (destination, count) in counts where count > least { wanted.insert(destination) }
            counted.append((session.id, counts))
        }
        counted.sort { $0.session < $1.session }
        let named = wanted.map { (name: self.destinations[$0].name, slot: $0) }
            .sorted { $0.name < $1.name }
        var found: [LeaseCount] = []
        for (name, slot) in named {
            for (session, counts) in counted {
                guard let leases = counts[slot] else { continue }
                found.append(LeaseCount(destination: name, session: session, leases: leases))
            }
        }
        return found
    }
}
