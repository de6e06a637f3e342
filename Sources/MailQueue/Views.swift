// Views.swift - what operators see: counts, lists by filter, destinations, sessions.
//
// Cost      counts are kept; lists walk messages in order of arrival, in slices of the caller's
//           choice, so that a million messages never hold the loop up.

package import Primitives
package import SMTP
package import Spool

/// Sums over the whole queue.
package struct QueueCounts: Equatable, Sendable {
    package var messages = 0
    /// Without an end.
    package var recipients = 0
    /// Deliveries that only lack somebody to take them.
    package var due = 0
    package var leased = 0
    /// Waiting for their time, or for the end of their destination's suspension.
    package var deferred = 0
    package var held = 0
    package var reportsOwed = 0
    package var storedBytes: UInt64 = 0
    package var originalBytes: UInt64 = 0
    /// When the oldest message came, queue time; nil: the queue is empty.
    package var oldest: QueueTime?
}

/// Which deliveries are meant; what is nil matches all.
package struct QueueFilter: Equatable, Sendable {
    package var id: Tag?
    /// The whole address, any case; "" is the null sender.
    package var from: String?
    /// A pending recipient's whole address, any case.
    package var to: String?
    /// A pending recipient's domain, or the destination; any case.
    package var domain: String?
    /// In the queue for at least so long.
    package var older: Duration?
    /// In the queue for at most so long.
    package var newer: Duration?
    package var state: DeliveryState?

    package init(
        id: Tag? = nil, from: String? = nil, to: String? = nil, domain: String? = nil,
        older: Duration? = nil, newer: Duration? = nil, state: DeliveryState? = nil
    ) {
        self.id = id
        self.from = from
        self.to = to
        self.domain = domain
        self.older = older
        self.newer = newer
        self.state = state
    }
}

package struct DeliveryView: Equatable, Sendable {
    package var id: DeliveryID
    package var destination: String
    /// Addresses without an end.
    package var recipients: [String]
    /// What waits for its destination's suspension shows as deferred.
    package var state: DeliveryState
    /// Those that counted.
    package var attempts: UInt32
    /// Queue time; nil: in flight, held, or due.
    package var nextAttempt: QueueTime?
    /// Who holds the lease.
    package var node: NodeName?
    package var lastReply: Reply?
    /// `lastReply` as one line for people.
    package var lastReplyText: String? { self.lastReply?.summary }
}

package struct MessageView: Equatable, Sendable {
    package var tag: Tag
    package var sender: String
    package var originalBytes: UInt64
    package var acceptedAt: WallTime
    package var receivedFrom: String
    /// Those that match; all for `view(tag)`.
    package var deliveries: [DeliveryView]
    /// Recipients that have ended, whatever the filter.
    package var ended: Int
    package var reportsOwed: Int
}

/// One destination's backlog.
package struct DestinationView: Equatable, Sendable {
    package var name: String
    package var queued: UInt32
    package var leased: UInt32
    package var deferred: UInt32
    package var held: UInt32
    /// Queue time; nil: not suspended.
    package var suspendedUntil: QueueTime?
    package var reason: Reply?
}

package struct SessionView: Equatable, Sendable {
    package var id: SessionID
    package var node: NodeName
    package var isOpen: Bool
    package var delivers: Bool
    package var draining: Bool
    package var leases: UInt32
    package var credit: UInt32
}

/// Where a walk through the queue stands; starts at the oldest message. Entries may be applied
/// between two slices: each message that is there from begin to end is looked at exactly once, as
/// it is at its turn.
package struct QueueCursor: Sendable {
    /// The log index of the message to be looked at next; 0: of the oldest.
    fileprivate var order: UInt64 = 0
    fileprivate var slot = Slot.none
    package fileprivate(set) var isDone = false
    package init() {}
}

extension MailQueue {
    package var counts: QueueCounts {
        var counts = QueueCounts()
        counts.messages = self.messages.count
        counts.recipients = self.sums.recipients
        counts.due = self.sums.ready - self.sums.readySuspended
        counts.leased = self.sums.leased
        counts.deferred = self.sums.queued + self.sums.deferred - counts.due
        counts.held = self.sums.held
        counts.reportsOwed = self.sums.reports
        counts.storedBytes = self.sums.storedBytes
        counts.originalBytes = self.sums.originalBytes
        if self.messages.oldest != Slot.none {
            counts.oldest = QueueTime(milliseconds: self.messages[self.messages.oldest].stamp)
        }
        return counts
    }

    /// Messages and their stored bytes alone; asked after each batch.
    package var load: (messages: Int, storedBytes: UInt64) {
        (self.messages.count, self.sums.storedBytes)
    }

    /// The whole message; nil: not in the queue (any more).
    package func view(_ tag: Tag) -> MessageView? {
        let slot = self.tags.find(tag, in: self.messages)
        return slot == Slot.none ? nil : self.view(slot, QueueFilter())
    }

    /// The envelope of a message in the queue.
    package func envelope(_ tag: Tag) -> Envelope? {
        let slot = self.tags.find(tag, in: self.messages)
        return slot == Slot.none ? nil : self.messages[slot].contents.envelope
    }

    /// At most `limit` messages, oldest first, and how many match in all.
    package func list(
        _ filter: QueueFilter, limit: Int
    ) -> (messages: [MessageView], total: Int) {
        var cursor = QueueCursor()
        return self.list(filter, cursor: &cursor, steps: .max, limit: limit)
    }

    /// The same by slices: looks at `steps` messages at most and moves `cursor` on.
    package func list(
        _ filter: QueueFilter, cursor: inout QueueCursor, steps: Int, limit: Int
    ) -> (messages: [MessageView], total: Int) {
        var views: [MessageView] = []
        var total = 0
        self.walk(filter, &cursor, steps: steps) { slot in
            if views.count < limit {
                if let view = self.view(slot, filter) {
                    views.append(view)
                    total += 1
                }
            } else if self.matches(slot, filter) {
                total += 1
            }
            return true
        }
        return (views, total)
    }

    /// Matching deliveries of the next messages, oldest first, for an `Admin` command: stops behind
    /// the message with which `limit` is reached. Moves `cursor` on; `isDone` tells the end.
    package func match(
        _ filter: QueueFilter, cursor: inout QueueCursor, steps: Int, limit: Int
    ) -> [DeliveryID] {
        var ids: [DeliveryID] = []
        self.walk(filter, &cursor, steps: steps) { slot in
            if let view = self.view(slot, filter) { ids += view.deliveries.map(\.id) }
            return ids.count < limit
        }
        return ids
    }

    /// Under which tags the bodies of the next `steps` messages lie on the holder's disk, of those
    /// that it has a copy of. Moves `cursor` on; `isDone` tells the end.
    package func bodyTags(
        on holder: Holder, cursor: inout QueueCursor, steps: Int
    ) -> [Tag] {
        var tags: [Tag] = []
        self.walk(QueueFilter(), &cursor, steps: steps) { slot in
            if let tag = self.bodyTag(of: self.messages[slot].tag, on: holder) { tags.append(tag) }
            return true
        }
        return tags
    }

    /// - Parameter body: false ends the walk behind this message.
    private func walk(
        _ filter: QueueFilter, _ cursor: inout QueueCursor, steps: Int, _ body: (UInt32) -> Bool
    ) {
        if let id = filter.id {
            let slot = self.tags.find(id, in: self.messages)
            if slot != Slot.none, !cursor.isDone { _ = body(slot) }
            cursor.isDone = true
            return
        }
        var slot = self.position(cursor)
        var left = steps
        while slot != Slot.none, left > 0 {
            left -= 1
            let goesOn = body(slot)
            slot = self.messages[slot].newer
            if !goesOn { break }
        }
        // The next one, not the last: that one may be about to be dropped for having matched.
        cursor.slot = slot
        cursor.isDone = slot == Slot.none
        if !cursor.isDone { cursor.order = self.messages[slot].order }
    }

    /// The first message that was not looked at.
    private func position(_ cursor: QueueCursor) -> UInt32 {
        guard cursor.order > 0 else { return self.messages.oldest }
        if cursor.slot == Slot.none { return Slot.none }
        if self.messages[cursor.slot].isUsed, self.messages[cursor.slot].order == cursor.order {
            return cursor.slot
        }
        // The message has ended meanwhile: found again from the front.
        var slot = self.messages.oldest
        while slot != Slot.none, self.messages[slot].order < cursor.order {
            slot = self.messages[slot].newer
        }
        return slot
    }

    private func matches(_ slot: UInt32, _ filter: QueueFilter) -> Bool {
        if self.matchesAge(slot, filter), filter.from == nil, filter.to == nil,
            filter.domain == nil, filter.state == nil
        {
            return true
        }
        return self.view(slot, filter) != nil
    }

    private func matchesAge(_ slot: UInt32, _ filter: QueueFilter) -> Bool {
        let age = self.time - QueueTime(milliseconds: self.messages[slot].stamp)
        if let older = filter.older, age < older { return false }
        if let newer = filter.newer, age > newer { return false }
        return true
    }

    /// Nil: nothing of the message matches.
    private func view(_ slot: UInt32, _ filter: QueueFilter) -> MessageView? {
        guard self.matchesAge(slot, filter) else { return nil }
        let contents = self.messages[slot].contents
        if let from = filter.from, contents.envelope.sender.lowercased() != from.lowercased() {
            return nil
        }
        let row = self.messages[slot]
        var ended = 0
        var addresses = [[String]](repeating: [], count: row.deliveryCount)
        for (index, recipient) in contents.envelope.recipients.enumerated() {
            if row.status(index) == .pending {
                addresses[Int(row.delivery(of: index))].append(recipient.address)
            } else {
                ended += 1
            }
        }
        var views: [DeliveryView] = []
        for index in 0..<row.deliveryCount {
            let delivery = row.deliverySlot(UInt16(index))
            guard delivery != Slot.none else { continue }
            let view = self.view(of: delivery, addresses[index])
            if Self.matches(view, filter) { views.append(view) }
        }
        // A message that only owes reports has no deliveries: shown when nothing narrower is asked.
        let isWide = filter.to == nil && filter.domain == nil && filter.state == nil
        guard !views.isEmpty || isWide && row.liveDeliveries == 0 else { return nil }
        return MessageView(
            tag: row.tag, sender: contents.envelope.sender, originalBytes: contents.originalBytes,
            acceptedAt: contents.acceptedAt, receivedFrom: contents.receivedFrom,
            deliveries: views, ended: ended, reportsOwed: row.reports.count)
    }

    private static func matches(_ view: DeliveryView, _ filter: QueueFilter) -> Bool {
        if let state = filter.state, view.state != state { return false }
        if let to = filter.to?.lowercased(),
            !view.recipients.contains(where: { $0.lowercased() == to })
        {
            return false
        }
        if let domain = filter.domain?.lowercased(), view.destination != domain,
            !view.recipients.contains(where: { $0.lowercased().hasSuffix("@" + domain) })
        {
            return false
        }
        return true
    }

    private func view(of slot: UInt32, _ addresses: [String]) -> DeliveryView {
        let row = self.deliveries[slot]
        let destination = self.destinations[row.destination]
        var view = DeliveryView(
            id: self.id(of: slot), destination: destination.name, recipients: addresses,
            state: row.state, attempts: row.attempts)
        let now = self.time.milliseconds
        let isDue =
            row.state == .queued || row.state == .deferred && row.payload <= now
        if isDue {
            view.state = destination.suspendedUntil > now ? .deferred : .queued
        }
        if view.state == .deferred {
            let own = row.state == .deferred ? row.payload : 0
            view.nextAttempt = QueueTime(milliseconds: max(own, destination.suspendedUntil))
        }
        if row.state == .leased, let place = self.place(of: SessionID(raw: row.payload)) {
            view.node = self.nodes[Int(self.sessions[place].node)].name
        }
        let message = self.messages[row.message]
        for recipient in 0..<message.recipientCount
        where message.delivery(of: recipient) == row.index && message.verdict(recipient) != 0 {
            view.lastReply = self.verdicts[message.verdict(recipient)]?.reply
            break
        }
        if view.lastReply == nil { view.lastReply = self.verdicts[destination.reason]?.reply }
        return view
    }

    /// The destinations with the largest backlogs, largest first.
    package func destinationViews(limit: Int) -> [DestinationView] {
        let slots = self.destinations.slots.filter { !self.destinations[$0].name.isEmpty }
        let sorted = slots.sorted { a, b in
            let (x, y) = (self.destinations[a], self.destinations[b])
            return x.live != y.live ? x.live > y.live : x.name < y.name
        }
        return sorted.prefix(limit).map { slot in
            let row = self.destinations[slot]
            let isSuspended = row.suspendedUntil > self.time.milliseconds
            return DestinationView(
                name: row.name, queued: row.queued, leased: row.leased, deferred: row.deferred,
                held: row.held,
                suspendedUntil: isSuspended ? QueueTime(milliseconds: row.suspendedUntil) : nil,
                reason: self.verdicts[row.reason]?.reply)
        }
    }

    /// In the order in which they were opened; closed ones only while their leases wait.
    package var sessionViews: [SessionView] {
        self.sessions.map { session in
            let node = self.nodes[Int(session.node)]
            return SessionView(
                id: session.id, node: node.name, isOpen: session.isOpen,
                delivers: session.delivers, draining: node.draining, leases: session.leases,
                credit: session.credit)
        }
    }
}
