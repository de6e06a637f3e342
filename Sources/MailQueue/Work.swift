// Work.swift - what a driver reads: leased work, the fate of bodies, what a session holds.

package import Primitives
package import SMTP
package import Spool

/// A delivery as its holder needs it.
package struct DeliveryWork: Equatable, Sendable {
    package var id: DeliveryID
    /// Counts from 1; must come back in the outcome.
    package var attempt: UInt32
    package var destination: String
    /// Without recipients.
    package var envelope: Envelope
    /// Those that are pending; `index` is their place in the envelope.
    package var recipients: [Entry]
    package var originalBytes: UInt64
    package var acceptedAt: WallTime
    package var holders: [Holder]

    package struct Entry: Equatable, Sendable {
        package var index: UInt16
        package var recipient: Recipient
    }
}

/// An owed report as its holder needs it.
package struct ReportWork: Equatable, Sendable {
    package var id: ReportID
    package var content: OwedReport
    package var original: Envelope
    package var originalBytes: UInt64
    package var acceptedAt: WallTime
    /// When the original expires, by the clock of `acceptedAt`.
    package var expiresAt: WallTime
    package var holders: [Holder]
}

/// What may be done with one node's copy of a body (invariant 3).
package enum BodyState: Equatable, Sendable {
    /// The message is unfinished or owes a report, and this copy is of its placement.
    case live
    /// Its command's fate is not known here yet: keep it.
    case unresolved
    /// Proven: resolved and not live here.
    case garbage
}

extension MailQueue {
    /// Nil: no such delivery, or it is not leased.
    package func work(_ id: DeliveryID) -> DeliveryWork? {
        let slot = self.slot(of: id)
        guard slot != Slot.none, self.deliveries[slot].state == .leased else { return nil }
        let row = self.deliveries[slot]
        var contents = self.messages[row.message].contents
        var recipients: [DeliveryWork.Entry] = []
        recipients.reserveCapacity(Int(row.pending))
        for (index, recipient) in contents.envelope.recipients.enumerated()
        where self.messages[row.message].delivery(of: index) == row.index
            && self.messages[row.message].status(index) == .pending
        {
            recipients.append(DeliveryWork.Entry(index: UInt16(index), recipient: recipient))
        }
        contents.envelope.recipients = []
        return DeliveryWork(
            id: id, attempt: row.attempts + 1, destination: self.destinations[row.destination].name,
            envelope: contents.envelope, recipients: recipients,
            originalBytes: contents.originalBytes, acceptedAt: contents.acceptedAt,
            holders: self.holderSets[self.messages[row.message].holders])
    }

    /// Nil: no such debt, or nobody holds it.
    package func reportWork(_ id: ReportID) -> ReportWork? {
        guard let found = self.findReport(id), found.row.session != .none else { return nil }
        let contents = self.messages[found.message].contents
        return ReportWork(
            id: id, content: found.row.content, original: contents.envelope,
            originalBytes: contents.originalBytes, acceptedAt: contents.acceptedAt,
            expiresAt: contents.acceptedAt + self.settings.expire,
            holders: self.holderSets[self.messages[found.message].holders])
    }

    /// Deliveries that the session holds, ascending; also of a closed one in its hold-down.
    package func leases(of session: SessionID) -> [DeliveryID] {
        guard let place = self.place(of: session) else { return [] }
        var found: [DeliveryID] = []
        var slot = self.sessions[place].leaseFirst
        while slot != Slot.none {
            found.append(self.id(of: slot))
            slot = self.deliveries[slot].next
        }
        return found.sorted()
    }

    /// Reports that the session holds, ascending.
    package func reportLeases(of session: SessionID) -> [ReportID] {
        self.place(of: session).map { self.sessions[$0].reports } ?? []
    }

    /// Who holds the delivery's lease; nil: nobody, or there is no such delivery.
    package func holder(of id: DeliveryID) -> SessionID? {
        let slot = self.slot(of: id)
        guard slot != Slot.none, self.deliveries[slot].state == .leased else { return nil }
        return SessionID(raw: self.deliveries[slot].payload)
    }

    /// The open session of a node; nil: none.
    package func session(of node: NodeName) -> SessionID? {
        self.sessions.last { $0.isOpen && self.nodes[Int($0.node)].name == node }?.id
    }

    /// Deliveries and reports that the open session of a node holds.
    package func leaseCount(of node: NodeName) -> Int {
        self.sessions.last { $0.isOpen && self.nodes[Int($0.node)].name == node }
            .map { Int($0.leases) } ?? 0
    }

    /// Ascending.
    package var openSessions: [SessionID] {
        self.sessions.filter(\.isOpen).map(\.id).sorted()
    }

    package func isOpen(_ session: SessionID) -> Bool { self.openPlace(of: session) != nil }

    /// Nobody else ever opened a session: there is nobody who could be given this node's leases.
    package func isAlone(_ node: NodeName) -> Bool { self.nodes.allSatisfy { $0.name == node } }

    package func isDraining(_ node: NodeName) -> Bool {
        self.nodes.first { $0.name == node }?.draining ?? false
    }

    /// Who has the body of an unfinished message; nil: there is no such message.
    package func holders(of message: Tag) -> [Holder]? {
        let slot = self.tags.find(message, in: self.messages)
        return slot == Slot.none ? nil : self.holderSets[self.messages[slot].holders]
    }

    /// The message is known and has recipients without an end.
    package func hasPending(_ message: Tag) -> Bool {
        let slot = self.tags.find(message, in: self.messages)
        return slot != Slot.none && self.messages[slot].liveDeliveries > 0
    }

    package func contains(_ message: Tag) -> Bool {
        self.tags.find(message, in: self.messages) != Slot.none
    }

    /// The proof of garbage for the copy of `tag`'s body on `holder`, on the applied state.
    package func bodyState(_ tag: Tag, on holder: Holder) -> BodyState {
        if self.liveMessage(tag, on: holder) != Slot.none { return .live }
        return self.isResolved(tag) ? .garbage : .unresolved
    }

    /// Nothing that is yet to come can make the body of `tag` live, unless it is so now.
    package func isResolved(_ tag: Tag) -> Bool {
        // A session above the applied index may be opened by an entry that is not applied yet.
        guard tag.session.raw <= self.applied else { return false }
        guard let place = self.openPlace(of: tag.session) else { return true }
        switch self.sessions[place].results.lookup(tag.sequence) {
        case .known, .acknowledged: return true
        case .fresh, .outside: return false
        }
    }
}
