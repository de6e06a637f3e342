// Dispatch.swift - what the leader proposes: leases for what is due, the end of what expired.
//
// Takes     the state and the leader's queue time.
// Gives     commands; nothing changes until they are applied. Grants take turns over destinations.
// Cost      O(log n) an item; what is not due is never looked at.

import Primitives
package import Spool

extension MailQueue {
    /// Deliveries that become ready with one entry; more wait for the next, or for `nextWork`.
    static let promotionsPerEntry = 64

    /// What is to be proposed at `now`. Call it when an entry was applied and at `nextWake`, and
    /// not again until the commands that it gave are applied or dropped: it would give them twice
    /// (which `apply` refuses, but it costs).
    ///
    /// - Parameters:
    ///   - limit: leases, and expired deliveries, at most.
    ///   - term: the leader's, for `Grant`.
    ///   - isThere: whether a node seems to be alive. Others get nothing new: their sessions may be
    ///     open for seconds yet, and what they were given would have to wait for the end of that.
    package mutating func nextWork(
        now: QueueTime, limit: Int, term: UInt64, isThere: (Holder) -> Bool = { _ in true }
    ) -> [Command] {
        var commands: [Command] = []
        self.promote(now: now, limit: 4 * limit)
        let expired = self.expired(now: now, limit: min(limit, Grant.itemsMax))
        if !expired.isEmpty { commands.append(Command(.expire(expired))) }
        self.trimOwed()
        // Asked after each entry, and mostly there is nothing: then nothing is allocated.
        if !self.owed.isEmpty || self.destinations.ringFirst != Slot.none,
            self.sessions.indices.contains(where: { self.canLease($0, isThere) })
        {
            self.deal(now: now, limit: limit, term: term, isThere, into: &commands)
        }
        if commands.isEmpty, let wake = self.timedWake, wake <= now.milliseconds {
            commands.append(Command(.tick))
        }
        return commands
    }

    /// Grants for what is ready.
    private func deal(
        now: QueueTime, limit: Int, term: UInt64, _ isThere: (Holder) -> Bool,
        into commands: inout [Command]
    ) {
        var room = self.sessions.indices.map { place in
            self.canLease(place, isThere)
                ? self.sessions[place].credit - self.sessions[place].leases : 0
        }
        var grants = [Grant?](repeating: nil, count: self.sessions.count)
        var left = limit
        self.dealReports(&grants, &room, &left, term)
        self.dealDeliveries(&grants, &room, &left, now, term)
        for grant in grants { if let grant { commands.append(Command(.grant(grant))) } }
    }

    private func canLease(_ place: Int, _ isThere: (Holder) -> Bool) -> Bool {
        guard self.canLease(place) else { return false }
        let node = self.nodes[Int(self.sessions[place].node)]
        return isThere(Holder(node: node.name, incarnation: node.incarnation))
    }

    /// When time alone changes the state, which an entry must bring about.
    private var timedWake: UInt64? {
        var wake = self.destinations.forgets.first ?? .max
        for session in self.sessions where !session.isOpen { wake = min(wake, session.freeAt) }
        return wake == .max ? nil : wake
    }

    /// When `nextWork` has something to give that no entry brings about; nil: never. A time that is
    /// past: at once.
    package var nextWake: QueueTime? {
        var wake = self.timedWake ?? .max
        if let first = self.due.first { wake = min(wake, first.key) }
        if let first = self.destinations.resumes.first { wake = min(wake, first) }
        return wake == .max ? nil : QueueTime(milliseconds: wake)
    }

    /// Moves what is due by now into the lists of ready deliveries. Not a change of the state.
    mutating func promote(now: QueueTime, limit: Int) {
        while let wake = self.destinations.resumes.popFirst(upTo: now.milliseconds) {
            if self.destinations[wake.slot].suspendedUntil <= now.milliseconds {
                self.setSuspended(wake.slot, false)
            }
        }
        guard let first = self.due.first, first.key <= now.milliseconds else { return }
        for slot in self.due.slots(upTo: now.milliseconds, limit: limit) {
            let expiry = self.expiry(self.deliveries[slot].message)
            guard expiry > now.milliseconds else { continue }
            self.due.change(slot, key: expiry, &self.deliveries)
            self.linkReady(slot)
            self.updateRing(self.deliveries[slot].destination)
        }
    }

    private func expired(now: QueueTime, limit: Int) -> [DeliveryID] {
        guard let first = self.due.first, first.key <= now.milliseconds else { return [] }
        let slots = self.due.slots(upTo: now.milliseconds, limit: limit)
        return slots.filter { self.expiry(self.deliveries[$0].message) <= now.milliseconds }
            .map { self.id(of: $0) }.sorted()
    }

    private func dealReports(
        _ grants: inout [Grant?], _ room: inout [UInt32], _ left: inout Int, _ term: UInt64
    ) {
        for offset in 0..<min(self.owed.count, left) {
            let id = self.owed[offset]
            guard self.isWaiting(id), let found = self.findReport(id) else { continue }
            let holders = self.messages[found.message].holders
            guard let place = self.choose(lastNode: .max, holders: holders, room, grants)
            else { return }
            self.add(&grants, place, term) { $0.reports.append(id) }
            room[place] -= 1
            left -= 1
        }
    }

    /// One delivery of each destination, then the next of each.
    private func dealDeliveries(
        _ grants: inout [Grant?], _ room: inout [UInt32], _ left: inout Int, _ now: QueueTime,
        _ term: UInt64
    ) {
        var turns: [(next: UInt32, room: UInt32)] = []
        var destination = self.destinations.ringFirst
        while destination != Slot.none, turns.count < left {
            let row = self.destinations[destination]
            turns.append((row.readyFirst, self.settings.leasesPerDestination - row.leased))
            destination = row.ringNext
        }
        while left > 0, !turns.isEmpty {
            for i in turns.indices where left > 0 {
                let slot = turns[i].next
                turns[i].next = self.deliveries[slot].next
                let row = self.deliveries[slot]
                guard self.expiry(row.message) > now.milliseconds else { continue }
                let holders = self.messages[row.message].holders
                guard
                    let place = self.choose(
                        lastNode: row.lastNode, holders: holders, room, grants)
                else { return }
                self.add(&grants, place, term) { $0.deliveries.append(self.id(of: slot)) }
                room[place] -= 1
                turns[i].room -= 1
                left -= 1
            }
            turns.removeAll { $0.next == Slot.none || $0.room == 0 }
        }
    }

    private func add(
        _ grants: inout [Grant?], _ place: Int, _ term: UInt64, _ body: (inout Grant) -> Void
    ) {
        var grant =
            grants[place]
            ?? Grant(session: self.sessions[place].id, deliveries: [], reports: [], term: term)
        grants[place] = nil
        body(&grant)
        grants[place] = grant
    }

    /// The node of the last attempt (greylisting knows its address), else one that has the body,
    /// else the one with most room.
    private func choose(
        lastNode: UInt16, holders: UInt16, _ room: [UInt32], _ grants: [Grant?]
    ) -> Int? {
        var best: Int?
        var bestRank = (0, UInt32(0))
        for place in self.sessions.indices where room[place] > 0 {
            if let grant = grants[place],
                grant.deliveries.count + grant.reports.count >= Grant.itemsMax
            {
                continue
            }
            let node = self.sessions[place].node
            let name = self.nodes[Int(node)].name
            let rank =
                node == lastNode
                ? 2 : self.holderSets[holders].contains { $0.node == name } ? 1 : 0
            if best == nil || (rank, room[place]) > bestRank {
                best = place
                bestRank = (rank, room[place])
            }
        }
        return best
    }

    // Grants and releases, applied.

    /// Leases what is still free, due, reachable and within credit; the rest is passed over.
    mutating func grant(_ grant: Grant, _ effects: inout [Effect]) -> CommandResult {
        guard let place = self.openPlace(of: grant.session) else {
            return .refused(.sessionClosed)
        }
        var granted: UInt32 = 0
        for id in grant.reports where self.canLease(place) && self.isWaiting(id) {
            self.leaseReport(id, to: place, &effects)
            granted += 1
        }
        for id in grant.deliveries where self.canLease(place) {
            let slot = self.slot(of: id)
            guard slot != Slot.none, self.isGrantable(slot) else { continue }
            self.leave(slot)
            self.lease(slot, to: place, &effects)
            granted += 1
        }
        return .changed(deliveries: granted, inFlight: 0)
    }

    private func isGrantable(_ slot: UInt32) -> Bool {
        let row = self.deliveries[slot]
        let now = self.time.milliseconds
        let destination = self.destinations[row.destination]
        guard destination.suspendedUntil <= now,
            destination.leased < self.settings.leasesPerDestination
        else { return false }
        switch row.state {
        case .queued: return true
        case .deferred: return row.payload <= now
        case .leased, .held, .ended: return false
        }
    }

    mutating func release(
        _ deliveries: [DeliveryID], _ reports: [ReportID], by session: SessionID,
        _ effects: inout [Effect]
    ) -> CommandResult {
        var released: UInt32 = 0
        for id in deliveries {
            let slot = self.slot(of: id)
            guard slot != Slot.none, self.deliveries[slot].state == .leased,
                self.deliveries[slot].payload == session.raw
            else { continue }
            // Given back because nobody could be reached: that is a deferral, though no attempt.
            let destination = self.deliveries[slot].destination
            if self.destinations[destination].suspendedUntil > self.time.milliseconds {
                self.oweNotice(slot, &effects)
            }
            self.returnLease(slot, &effects)
            released += 1
        }
        for id in reports {
            guard let found = self.findReport(id), found.row.session == session else { continue }
            self.unleaseReport(id)
            self.dropFromSession(id, session)
            released += 1
        }
        return .changed(deliveries: released, inFlight: 0)
    }
}
