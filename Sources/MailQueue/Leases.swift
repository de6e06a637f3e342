// Leases.swift - the states of a delivery, and every list that follows them.
//
// Every change goes `leave` (out of the old state's lists), then `enter` (into the new one's).
// Both `touch` the row first; what changes anything else in a row does so itself.
// Never     more leases than a session's credit, or two for one delivery (invariant 6).

import Primitives

/// Sums over all rows, kept with each change.
struct Sums: Equatable {
    var queued = 0
    var leased = 0
    var deferred = 0
    var held = 0
    /// In a list of ready deliveries; those of suspended destinations too.
    var ready = 0
    var readySuspended = 0
    /// Recipients without an end.
    var recipients = 0
    var reports = 0
    var storedBytes: UInt64 = 0
    var originalBytes: UInt64 = 0
}

extension MailQueue {
    /// The slot of a delivery that has not ended; `Slot.none` otherwise.
    func slot(of id: DeliveryID) -> UInt32 {
        let message = self.tags.find(id.message, in: self.messages)
        return message == Slot.none ? Slot.none : self.messages[message].deliverySlot(id.index)
    }

    func id(of slot: UInt32) -> DeliveryID {
        let row = self.deliveries[slot]
        return DeliveryID(message: self.messages[row.message].tag, index: row.index)
    }

    /// When what is queued or deferred ends for good, queue time in ms.
    func expiry(_ message: UInt32) -> UInt64 {
        (QueueTime(milliseconds: self.messages[message].stamp) + self.settings.expire).milliseconds
    }

    /// Takes the delivery out of the lists of its state.
    mutating func leave(_ slot: UInt32) {
        let row = self.deliveries[slot]
        self.touch(row.message)
        switch row.state {
        case .queued, .deferred:
            if row.heap != Slot.none { self.due.remove(slot, &self.deliveries) }
            if row.flags.contains(.ready) { self.unlinkReady(slot) }
            if row.state == .queued {
                self.destinations[row.destination].queued -= 1
                self.sums.queued -= 1
            } else {
                self.destinations[row.destination].deferred -= 1
                self.sums.deferred -= 1
            }
        case .leased:
            self.unlinkLease(slot)
            self.destinations[row.destination].leased -= 1
            self.sums.leased -= 1
        case .held:
            self.destinations[row.destination].held -= 1
            self.sums.held -= 1
        case .ended:
            break
        }
    }

    /// Puts the delivery, which is in no list, into those of `state`.
    mutating func enter(_ slot: UInt32, _ state: DeliveryState, payload: UInt64 = 0) {
        self.touch(self.deliveries[slot].message)
        self.deliveries[slot].state = state
        self.deliveries[slot].payload = payload
        let row = self.deliveries[slot]
        switch state {
        case .queued:
            self.destinations[row.destination].queued += 1
            self.sums.queued += 1
            self.due.insert(slot, key: self.expiry(row.message), &self.deliveries)
            self.linkReady(slot)
        case .deferred:
            self.destinations[row.destination].deferred += 1
            self.sums.deferred += 1
            let key = min(payload, self.expiry(row.message))
            self.due.insert(slot, key: key, &self.deliveries)
        case .leased:
            self.destinations[row.destination].leased += 1
            self.sums.leased += 1
            self.linkLease(slot)
        case .held:
            self.destinations[row.destination].held += 1
            self.sums.held += 1
        case .ended:
            unreachable("a delivery ends by removeDelivery")
        }
        self.updateRing(row.destination)
    }

    /// Leases a delivery, which is in no list, to the session at `place`, which `canLease`.
    mutating func lease(_ slot: UInt32, to place: Int, _ effects: inout [Effect]) {
        let session = self.sessions[place].id
        if self.deliveries[slot].flags.contains(.mayRepeat) {
            let count = UInt32(self.deliveries[slot].pending)
            self.totals.takeoverDuplicates += UInt64(count)
            effects.append(.possibleDuplicates(.takeover, count: count))
        }
        self.deliveries[slot].flags.subtract([.mayRepeat, .attempted, .deferredNow])
        self.deliveries[slot].lastNode = self.sessions[place].node
        self.enter(slot, .leased, payload: session.raw)
        let destination = self.deliveries[slot].destination
        if self.destinations[destination].isInRing {
            self.destinations.removeFromRing(destination)
            self.destinations.appendToRing(destination)
        }
        effects.append(.leased(self.id(of: slot), session))
    }

    /// Ends a lease without a last outcome: the delivery is due again, unless an operator or its
    /// own record says otherwise. If a recipient was deferred in this lease, that was an attempt.
    mutating func returnLease(_ slot: UInt32, _ effects: inout [Effect]) {
        let message = self.deliveries[slot].message
        var lines: [OwedReport.Line] = []
        self.leave(slot)
        var until: QueueTime?
        if self.deliveries[slot].flags.contains(.deferredNow) {
            self.deliveries[slot].attempts += 1
            until = self.retryTime(slot, attempt: self.deliveries[slot].attempts)
        }
        self.conclude(slot, deferredUntil: until, &lines, &effects)
        self.owe(message, lines, from: .none, &effects)
        self.finishIfDone(message, &effects)
    }

    /// What becomes of a delivery, which is in no list, with recipients still pending. The caller
    /// sees to `lines` and to the end of the message.
    mutating func conclude(
        _ slot: UInt32, deferredUntil until: QueueTime?, _ lines: inout [OwedReport.Line],
        _ effects: inout [Effect]
    ) {
        let row = self.deliveries[slot]
        self.deliveries[slot].afterwards = .nothing
        switch row.afterwards {
        case .hold:
            self.enter(slot, .held)
        case .bounce, .drop:
            let reason = self.reasons[slot].flatMap { self.verdicts[$0] }
            let end = row.afterwards == .bounce ? reason ?? Self.bounced("") : nil
            self.endPending(slot, end.map { .failed($0) } ?? .dropped, &lines, &effects)
            return
        case .nothing:
            if UInt32(row.suspect) >= self.settings.suspectMax {
                self.enter(slot, .held)
            } else if let until {
                self.enter(slot, .deferred, payload: until.milliseconds)
            } else {
                self.enter(slot, .queued)
            }
        }
        self.dropReason(slot)
    }

    mutating func dropReason(_ slot: UInt32) {
        if let reason = self.reasons.removeValue(forKey: slot) { self.verdicts.release(reason) }
    }

    /// Removes a delivery whose recipients have all ended; it is in no list.
    mutating func removeDelivery(_ slot: UInt32) {
        let row = self.deliveries[slot]
        invariant(row.pending == 0, "a delivery ends with its last recipient (5)")
        self.touch(row.message)
        self.dropReason(slot)
        self.messages[row.message].setDeliverySlot(row.index, Slot.none)
        self.messages[row.message].liveDeliveries -= 1
        self.deliveries.remove(slot)
        self.destinations[row.destination].live -= 1
        self.updateRing(row.destination)
        self.destinations.dropIfUnused(row.destination)
    }

    /// Removes a message of which nothing is pending and nothing owed.
    mutating func finishIfDone(_ slot: UInt32, _ effects: inout [Effect]) {
        guard self.messages[slot].liveDeliveries == 0, self.messages[slot].reports.isEmpty
        else { return }
        invariant(self.messages[slot].listing == self.listing, "what ends was changed before")
        let tag = self.messages[slot].tag
        let sizes = self.messages[slot].sizes
        self.sums.storedBytes -= sizes.stored
        self.sums.originalBytes -= sizes.original
        if self.messages[slot].flags.contains(.counted) {
            self.rowHashes &-= self.messages[slot].hash
        }
        if self.messages[slot].flags.contains(.stored) { self.deleted.append(tag) }
        self.holderSets.unlink(slot, &self.messages)
        if !self.copyRows.isEmpty, let rows = self.copyRows.removeValue(forKey: slot) {
            for copy in rows { self.copies[copy.tag] = nil }
        }
        self.tags.remove(tag, in: self.messages)
        self.messages.remove(slot)
        effects.append(.messageFinished(tag))
    }

    // Lists.

    mutating func linkReady(_ slot: UInt32) {
        let destination = self.deliveries[slot].destination
        let last = self.destinations[destination].readyLast
        self.deliveries[slot].flags.insert(.ready)
        self.deliveries[slot].previous = last
        self.deliveries[slot].next = Slot.none
        if last == Slot.none {
            self.destinations[destination].readyFirst = slot
        } else {
            self.deliveries[last].next = slot
        }
        self.destinations[destination].readyLast = slot
        self.destinations[destination].ready += 1
        self.sums.ready += 1
        if self.destinations[destination].isSuspended { self.sums.readySuspended += 1 }
    }

    private mutating func unlinkReady(_ slot: UInt32) {
        let row = self.deliveries[slot]
        if row.previous == Slot.none {
            self.destinations[row.destination].readyFirst = row.next
        } else {
            self.deliveries[row.previous].next = row.next
        }
        if row.next == Slot.none {
            self.destinations[row.destination].readyLast = row.previous
        } else {
            self.deliveries[row.next].previous = row.previous
        }
        self.deliveries[slot].flags.remove(.ready)
        self.destinations[row.destination].ready -= 1
        self.sums.ready -= 1
        if self.destinations[row.destination].isSuspended { self.sums.readySuspended -= 1 }
    }

    private mutating func linkLease(_ slot: UInt32) {
        guard let place = self.place(of: SessionID(raw: self.deliveries[slot].payload)) else {
            unreachable("a lease of no session")
        }
        let first = self.sessions[place].leaseFirst
        self.deliveries[slot].previous = Slot.none
        self.deliveries[slot].next = first
        if first != Slot.none { self.deliveries[first].previous = slot }
        self.sessions[place].leaseFirst = slot
        self.sessions[place].leases += 1
        invariant(
            self.sessions[place].leases <= self.sessions[place].credit, "credit of a session")
    }

    private mutating func unlinkLease(_ slot: UInt32) {
        let row = self.deliveries[slot]
        guard let place = self.place(of: SessionID(raw: row.payload)) else {
            unreachable("a lease of no session")
        }
        if row.previous == Slot.none {
            self.sessions[place].leaseFirst = row.next
        } else {
            self.deliveries[row.previous].next = row.next
        }
        if row.next != Slot.none { self.deliveries[row.next].previous = row.previous }
        self.sessions[place].leases -= 1
    }

    /// A destination stands in the ring if and only if it can be granted.
    mutating func updateRing(_ slot: UInt32) {
        let row = self.destinations[slot]
        let belongs =
            row.ready > 0 && !row.isSuspended && row.leased < self.settings.leasesPerDestination
        if belongs && !row.isInRing { self.destinations.appendToRing(slot) }
        if !belongs && row.isInRing { self.destinations.removeFromRing(slot) }
    }
}
