// ShareDealer.swift - the leader's half of the shares: who may have how many connections where.
//
// Takes     who is there, leases by destination, the limit; renewals, which say what is held and
//           what is open.
// Gives     tables for the answers to renewals; counts of reports that cannot be.
// Order     for each session and destination the dealer knows a bound: more is not open there, now
//           or by anything that is under way. A bound falls only when a renewal says that the
//           newest table holds and no more is open. A share is raised only by what the limit has
//           left above all other bounds. So the sum never exceeds the limit (invariant 11).
//           One table is under way to a session at a time: what follows waits for its word.
// Limits    `rowsMax` destinations with rows of their own; the others lie at the base. Seats: one
//           for each open session, and for each that has closed within `ShareTiming.leaderEnd`, but
//           of a disk only the last of those.
// Never     clocks, sockets: `Node` has those.
// See       ShareHolder (the node's half), SharePlan (who should have how many), Decisions/0021.

package import MailQueue
package import Primitives
package import Spool

package struct ShareDealer: Sendable {
    /// Destinations that are dealt by name.
    package static let rowsMax = ShareTable.rowsMax

    /// A session that is open on the applied state, and its disk: one process at a time.
    package struct Guest: Equatable, Sendable {
        package var session: SessionID
        package var disk: Holder
        /// `SessionTiming.leaderEnd` of the session.
        package var end: Duration

        package init(
            session: SessionID, disk: Holder, end: Duration = SessionTiming().leaderEnd
        ) {
            self.session = session
            self.disk = disk
            self.end = end
        }
    }

    private struct Share {
        var dealt: UInt32
        /// At least `dealt`.
        var bound: UInt32
    }

    private struct Seat {
        var guest: Guest
        var heardAt: Instant
        /// By the node's own clock; nil: it has said nothing to this leader.
        var sentAt: Instant?
        /// Opened before this leader was one, and not heard yet: it may hold anything.
        var isUnknown: Bool
        /// Its session is closed; what it had is not free yet.
        var hasLeft = false
        /// Of the newest table; 0: this leader has dealt it none.
        var number: UInt64 = 0
        var sent = ShareTable()
        /// The newest table waits for the word that it holds.
        var isUnderWay = false
        var base = Share(dealt: 0, bound: 0)
        /// Looked up only.
        var rows: [String: Share] = [:]

        func bound(_ name: String?) -> UInt32 {
            if self.isUnknown { return .max }
            guard let name else { return self.base.bound }
            return self.rows[name]?.bound ?? self.base.bound
        }
    }

    private struct Row {
        var name: String
        /// What each should have; looked up only.
        var wanted: [SessionID: UInt32] = [:]
        /// Nobody needs more than the base since then.
        var quietSince: Instant?
    }

    /// In which shares are dealt; 0: this node does not lead.
    package private(set) var term: UInt64 = 0
    /// Those of closed sessions, then in the order of their sessions.
    private var seats: [Seat] = []
    /// Ascending.
    private var rows: [Row] = []
    /// 0: nothing is planned yet.
    private var limit: UInt32 = 0
    /// Before, nothing is raised unless every member has been heard: sessions that closed under the
    /// leader before may have connections open.
    private var raisesFrom = Instant.zero
    /// Every member has spoken since the term began, and none that is no member any more can have
    /// anything open.
    private var hasHeardAll = false
    /// Reports that were dropped.
    package private(set) var refused = 0
    /// Members as they were seen last, and when one was gone from them: removed, or another disk
    /// in its place. Its process may live on.
    private var members: [Holder] = []
    private var goneAt: Instant?
    /// The longest `SessionTiming.leaderEnd` that was met: of sessions that are forgotten, too.
    private var endMax = SessionTiming().leaderEnd

    package init() {}

    // MARK: Who is there.

    /// This node leads no more.
    package mutating func end() {
        guard self.term != 0 else { return }
        self.reset(term: 0)
    }

    private mutating func reset(term: UInt64) {
        let last = self
        self = ShareDealer()
        self.term = term
        self.refused = last.refused
        self.members = last.members
        self.goneAt = last.goneAt
        self.endMax = last.endMax
    }

    /// On every node, with each tick: members of the applied state.
    package mutating func watch(_ members: [Holder], now: Instant) {
        guard members != self.members else { return }
        if !self.members.allSatisfy({ members.contains($0) }) { self.goneAt = now }
        self.members = members
    }

    /// Who is there now, on the state of the leader of `term`. Call before anything else of an
    /// event.
    ///
    /// - Parameters:
    ///   - guests: ascending by their sessions.
    ///   - disks: of all members.
    ///   - endMax: the longest `SessionTiming.leaderEnd` of any session that the state knows.
    package mutating func meet(
        term: UInt64, _ guests: [Guest], disks: [Holder], endMax: Duration = .zero, now: Instant
    ) {
        self.watch(disks, now: now)
        self.endMax = guests.reduce(max(self.endMax, endMax)) { max($0, $1.end) }
        let isNew = term != self.term
        if isNew {
            self.reset(term: term)
            self.raisesFrom = now + self.endMax
        }
        for place in self.seats.indices where !self.seats[place].hasLeft {
            let session = self.seats[place].guest.session
            if !guests.contains(where: { $0.session == session }) {
                self.seats[place].hasLeft = true
            }
        }
        self.seats.removeAll { $0.hasLeft && now >= $0.heardAt + $0.guest.end }
        for guest in guests where !self.seats.contains(where: { $0.guest == guest }) {
            self.seat(guest, isUnknown: isNew, now)
        }
        let endMax = self.endMax
        guard !self.hasHeardAll, self.goneAt.map({ now >= $0 + endMax }) ?? true
        else { return }
        self.hasHeardAll = disks.allSatisfy { disk in
            self.seats.contains { $0.guest.disk == disk && !$0.hasLeft && $0.sentAt != nil }
        }
    }

    /// A process opens a session when it has none: what its last one had open is what it says in
    /// its first renewal; a dead process has nothing open. Of another disk of the same node that is
    /// not known: its process may live on.
    private mutating func seat(_ guest: Guest, isUnknown: Bool, _ now: Instant) {
        var seat = Seat(guest: guest, heardAt: now, isUnknown: isUnknown)
        for last in self.seats where last.hasLeft && last.guest.disk == guest.disk {
            seat.isUnknown = seat.isUnknown || last.isUnknown
            seat.base.bound = max(seat.base.bound, last.base.bound)
            for row in self.rows {
                let bound = max(seat.bound(row.name), last.bound(row.name))
                seat.rows[row.name] = Share(dealt: 0, bound: bound)
            }
        }
        self.seats.removeAll { $0.hasLeft && $0.guest.disk == guest.disk }
        self.seats.append(seat)
    }

    // MARK: Renewals.

    /// What a session says of itself.
    package mutating func hear(_ renewal: Renewal, now: Instant) {
        guard renewal.term == self.term, self.term != 0,
            let place = self.seats.firstIndex(where: {
                $0.guest.session == renewal.session && !$0.hasLeft
            }), renewal.sentAt > self.seats[place].sentAt ?? renewal.sentAt - .nanoseconds(1)
        else { return }
        let said = renewal.shares.map {
            DealtShare(destination: $0.destination, share: $0.share)
        }
        guard let table = ShareTable(checked: renewal.base, said),
            renewal.deal <= self.seats[place].number
        else {
            self.refused += 1
            return
        }
        if self.seats[place].number == 0 {
            self.adopt(table, renewal, at: place)
        } else if renewal.deal == self.seats[place].number {
            self.confirm(renewal, at: place)
        } else {
            self.seats[place].isUnderWay = true
        }
        self.seats[place].sentAt = renewal.sentAt
        self.seats[place].heardAt = max(self.seats[place].heardAt, now)
    }

    /// This leader has dealt it nothing: its word is taken as it is. A row for which there is no
    /// room goes into the bound of its base, until a table holds that does not have it.
    private mutating func adopt(_ table: ShareTable, _ renewal: Renewal, at place: Int) {
        self.insertRows(table.rows.map(\.destination).filter { self.row($0) == nil })
        var base = Share(dealt: renewal.base, bound: max(renewal.base, renewal.baseOpen))
        var rows: [String: Share] = [:]
        for held in renewal.shares {
            let bound = max(held.share, held.open)
            if self.row(held.destination) != nil {
                rows[held.destination] = Share(dealt: held.share, bound: bound)
            } else {
                base.bound = max(base.bound, bound)
            }
        }
        self.seats[place].isUnknown = false
        self.seats[place].sent = table
        self.seats[place].base = base
        self.seats[place].rows = rows
        for at in self.rows.indices {
            let share = rows[self.rows[at].name] ?? base
            self.rows[at].wanted[renewal.session] = share.dealt
        }
    }

    /// The newest table holds there. What is open above its shares is said by name.
    private mutating func confirm(_ renewal: Renewal, at place: Int) {
        self.seats[place].isUnderWay = false
        let base = self.seats[place].base.dealt
        self.seats[place].base.bound = max(base, renewal.baseOpen)
        for row in self.rows {
            guard let share = self.seats[place].rows[row.name] else { continue }
            self.seats[place].rows[row.name] = Share(dealt: share.dealt, bound: share.dealt)
        }
        for held in renewal.shares {
            guard let share = self.seats[place].rows[held.destination] else { continue }
            self.seats[place].rows[held.destination] = Share(
                dealt: share.dealt, bound: max(share.dealt, held.open))
        }
    }

    // MARK: Who should have how many.

    private func row(_ name: String) -> Int? {
        let place = self.placeOfRow(name)
        return place < self.rows.count && self.rows[place].name == name ? place : nil
    }

    private func placeOfRow(_ name: String) -> Int {
        var (low, high) = (0, self.rows.count)
        while low < high {
            let middle = (low + high) / 2
            if self.rows[middle].name < name { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// As many of them as there is room for; ascending, and none that is there.
    private mutating func insertRows(_ names: [String]) {
        guard !names.isEmpty, self.rows.count < Self.rowsMax else { return }
        for name in names.prefix(Self.rowsMax - self.rows.count) {
            var row = Row(name: name)
            for seat in self.seats where !seat.hasLeft {
                row.wanted[seat.guest.session] = seat.base.dealt
            }
            self.rows.append(row)
        }
        self.rows.sort { $0.name < $1.name }
    }

    private var present: [SessionID] {
        self.seats.filter { !$0.hasLeft }.map(\.guest.session)
    }

    /// An even part for each, of every destination.
    private var base: UInt32 { self.base(limit: self.limit) }

    /// The base at `limit`: who has more leases of one destination needs a row of it.
    package func base(limit: UInt32) -> UInt32 { limit / UInt32(max(1, self.present.count)) }

    /// Destinations that have rows, ascending.
    package var destinations: [String] { self.rows.map(\.name) }

    /// - Parameter needs: all leases of every destination that has a row, or of which somebody has
    ///   more than the base; ascending by destination, then by session.
    package mutating func plan(limit: UInt32, _ needs: [LeaseCount], now: Instant) {
        // Nothing could be raised, and what is lowered should be known to be needed.
        guard self.seats.allSatisfy({ $0.hasLeft || !$0.isUnknown }) else { return }
        self.limit = limit
        let base = self.base
        var needed: [String: [SessionID: UInt32]] = [:]
        var new: [String] = []
        for need in needs {
            if need.leases > base, need.destination != new.last, self.row(need.destination) == nil {
                new.append(need.destination)
            }
            needed[need.destination, default: [:]][need.session] = need.leases
        }
        self.insertRows(new)
        let present = self.present
        for place in self.rows.indices {
            self.plan(place, needed[self.rows[place].name] ?? [:], present, now)
        }
        self.dropRows(now)
    }

    private mutating func plan(
        _ place: Int, _ needed: [SessionID: UInt32], _ present: [SessionID], _ now: Instant
    ) {
        let leases = present.map { needed[$0] ?? 0 }
        let base = self.base
        var shares = present.map { self.rows[place].wanted[$0] ?? 0 }
        if leases.contains(where: { $0 > base }) {
            self.rows[place].quietSince = nil
        } else if self.rows[place].quietSince == nil {
            self.rows[place].quietSince = now
        }
        if self.isQuiet(self.rows[place], now) {
            shares = present.map { _ in base }
        } else {
            shares = SharePlan.moved(limit: self.limit, leases: leases, shares: shares)
        }
        self.rows[place].wanted = [:]
        for (session, share) in zip(present, shares) { self.rows[place].wanted[session] = share }
    }

    /// When all rows are taken, others wait for this one's.
    private func isQuiet(_ row: Row, _ now: Instant) -> Bool {
        guard let since = row.quietSince else { return false }
        return self.rows.count == Self.rowsMax || now >= since + ShareTiming.quiet
    }

    /// A row goes when it is quiet and nobody can have more there than the base: what is said of
    /// the base from then on is true of it, too, even while the table with the row holds.
    private mutating func dropRows(_ now: Instant) {
        let dropped = self.rows.filter { row in
            self.isQuiet(row, now)
                && self.seats.allSatisfy { seat in
                    !seat.isUnknown && !seat.isUnderWay
                        && seat.rows[row.name].map { $0.bound <= seat.base.dealt } ?? true
                }
        }
        guard !dropped.isEmpty else { return }
        for row in dropped {
            for place in self.seats.indices { self.seats[place].rows[row.name] = nil }
        }
        let names = Set(dropped.map(\.name))
        self.rows.removeAll { names.contains($0.name) }
    }

    // MARK: Answers.

    private func mayRaise(_ now: Instant) -> Bool { self.hasHeardAll || now >= self.raisesFrom }

    /// What the limit has left for one beside all others.
    private func room(beside place: Int, _ name: String?) -> UInt32 {
        var left = self.limit
        for other in self.seats.indices where other != place {
            left -= min(left, self.seats[other].bound(name))
        }
        return left
    }

    private func next(_ share: UInt32, _ wanted: UInt32, _ room: UInt32, _ now: Instant) -> UInt32 {
        guard wanted > share else { return wanted }
        return self.mayRaise(now) ? max(share, min(wanted, room)) : share
    }

    /// The table that goes with the answer to a renewal of this session.
    ///
    /// - Returns: nil: it has the newest one, as it said itself.
    package mutating func deal(
        to session: SessionID, now: Instant
    ) -> (number: UInt64, table: ShareTable)? {
        guard
            let place = self.seats.firstIndex(where: {
                $0.guest.session == session && !$0.hasLeft && $0.sentAt != nil
            })
        else { return nil }
        if !self.seats[place].isUnderWay, self.limit > 0 { self.draft(place, now) }
        guard self.seats[place].isUnderWay else { return nil }
        return (self.seats[place].number, self.seats[place].sent)
    }

    private mutating func draft(_ place: Int, _ now: Instant) {
        let seat = self.seats[place]
        var table = ShareTable()
        table.rows.reserveCapacity(self.rows.count)
        for row in self.rows {
            // Without a row there the base holds for it, until the new table does.
            let share = seat.rows[row.name] ?? seat.base
            let wanted = row.wanted[seat.guest.session] ?? 0
            let room = wanted > share.dealt ? self.room(beside: place, row.name) : 0
            let dealt = self.next(share.dealt, wanted, room, now)
            self.seats[place].rows[row.name] = Share(
                dealt: dealt, bound: max(share.bound, dealt))
            table.rows.append(DealtShare(destination: row.name, share: dealt))
        }
        let room = self.base > seat.base.dealt ? self.room(beside: place, nil) : 0
        table.base = self.next(seat.base.dealt, self.base, room, now)
        self.seats[place].base = Share(
            dealt: table.base, bound: max(seat.base.bound, table.base))
        guard table != seat.sent else { return }
        self.seats[place].sent = table
        self.seats[place].number += 1
        self.seats[place].isUnderWay = true
    }
}
