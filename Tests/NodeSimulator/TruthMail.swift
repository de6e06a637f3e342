// TruthMail.swift - final dots in flight, and what has come to the servers of others.
//
// See       invariants 6 (two nodes never at once), 11 (connections to one destination).

import Cluster
import MailQueue
import Primitives

extension Truth {
    /// A node writes the final dot of a delivery; it is under way until it arrives, or until then.
    ///
    /// - Parameter isExcused: the process stood still for more than G between check and write.
    func dotWritten(
        _ id: DeliveryID, of session: SessionID, by node: SimNode, until: Int64, isExcused: Bool
    ) {
        // Stricter than the invariant: nobody else may even have the permission.
        if let holder = self.queue.holder(of: id), holder != session {
            self.world.check(
                6, isExcused,
                "\(node.name) sends \(id.message.text).\(id.index), leased to \(holder.raw)")
        }
        self.dots.removeAll { $0.until <= self.world.now }
        self.world.note("\(node.name) writes the dot of \(id.message.text).\(id.index)")
        if let other = self.dots.first(where: { $0.delivery == id && $0.node != node.place }) {
            self.world.check(
                6, isExcused,
                "\(node.name) and n\(other.node) send \(id.message.text).\(id.index) at once")
        }
        // Excused is also what meets a dot that was written too late.
        if !isExcused { self.dots.append((id, node.place, until)) }
    }

    /// A node's leases hold only while its session is open for all: the holder's time is over
    /// before the leader's, however fast or slow their clocks.
    func checkLease(of node: SimNode) {
        let session = node.machine.session
        guard node.isRunning, session != .none, node.leaseClock.mayBegin(at: node.clock) else {
            return
        }
        // Who is removed need not know: its leases wait for that (`MailQueue.freeBehind`).
        if self.queue.isRetired(node.name, node.id) { return }
        // Who has asked for that sends nothing any more, whenever it hears of it.
        if node.isClosing {
            let count = node.courierOut.running.count
            return self.world.check(6, count == 0, "\(node.name) stops and attempts \(count)")
        }
        self.world.check(
            6, self.queue.isOpen(session),
            "\(node.name)'s leases hold, and its session \(session.raw) is closed")
    }

    func dotGone(_ id: DeliveryID, of node: SimNode) {
        if let at = self.dots.firstIndex(where: { $0.delivery == id && $0.node == node.place }) {
            self.dots.remove(at: at)
        }
    }

    /// A server has stored the message for these recipients.
    func arrived(_ tag: Tag, _ recipients: [UInt16], isSaid: Bool, _ node: SimNode) {
        self.world.counters[.arrivals] += 1
        self.world.hash.add(tag.sequence << 16 | tag.session.raw)
        guard let place = self.places[tag] else {
            return self.world.fail(1, "\(tag.text) is delivered and was never taken")
        }
        self.world.note("\(tag.text) has come from \(node.name)")
        for index in recipients where Int(index) < self.mail[place].recipients.count {
            self.mail[place].recipients[Int(index)].arrivals += 1
            if !isSaid { self.mail[place].recipients[Int(index)].unsaid += 1 }
        }
    }

    /// A client that was told no sends its message again: what comes twice by that was counted.
    func checkContents() {
        var byContent: [UInt64: [Int]] = [:]
        for (place, record) in self.mail.enumerated() where !record.isReport {
            byContent[record.content, default: []].append(place)
        }
        for (place, record) in self.mail.enumerated() {
            guard let all = byContent[record.content], all.count > 1, all[0] == place,
                !self.excused.contains(record.content)
            else { continue }
            var (arrivals, counted) = (0, 0)
            for other in all {
                counted += self.mail[other].late
                for recipient in self.mail[other].recipients {
                    arrivals += recipient.arrivals
                    counted += recipient.repeats + recipient.unsaid
                }
            }
            self.world.check(
                6, arrivals <= record.recipients.count + counted,
                "message \(record.content), first \(record.tag.text), came \(arrivals) times to "
                    + "\(record.recipients.count), \(counted) counted")
        }
    }

    // MARK: Connections.

    /// All that are open together stay within the limit, but for those of a node that stands still
    /// for longer than clocks may differ.
    func connectionBegan(_ destination: String, of node: SimNode) {
        let limit = self.world.scenario.connectionsPerDestination
        let nodes = self.world.nodes
        if !self.connections.contains(where: { $0.destination == destination }) {
            self.connections.append((destination, nodes.map { _ in 0 }))
        }
        guard let at = self.connections.firstIndex(where: { $0.destination == destination })
        else { return }
        self.connections[at].counts[node.place] += 1
        let counts = self.connections[at].counts
        let sum = nodes.reduce(0) { $0 + ($1.isExcusedForShares ? 0 : counts[$1.place]) }
        self.world.check(11, sum <= limit, "\(counts) connections to \(destination) of \(limit)")
    }

    func connectionEnded(_ destination: String, of node: SimNode) {
        guard let at = self.connections.firstIndex(where: { $0.destination == destination })
        else { return }
        self.connections[at].counts[node.place] -= 1
    }
}
