// Sessions.swift - who is there: sessions opened and closed, and the results they are owed.
//
// Limits    `ResultWindow.widthMax` commands of a session without acknowledgement.
// See       Leases.swift (what a session holds).

import Primitives

/// A node that has opened a session: a member, for the check of holders.
struct NodeRow {
    var name: NodeName
    var incarnation: Incarnation
    var boot: BootNumber
    var draining = false
    /// False: removed, or it has not opened a session yet. The row stays, since sessions and
    /// deliveries name it by its place.
    var isMember = true
    /// Earlier incarnations, oldest first: none of them comes back, their copies are gone. At most
    /// `retiredMax`.
    var retired: [Incarnation] = []
    var wish = MemberWish.none
    /// Admitted, oldest first. At most `disksMax`.
    var disks: [MemberDisk] = []
    /// Where others can dial it; "": not known.
    var host = ""
    var port: UInt16 = 0
    /// Of its last session that was closed.
    var unsettled = UnsettledEnqueues()

    static let retiredMax = 64
}

struct Session {
    var id: SessionID
    /// In `nodes`.
    var node: UInt16
    /// Of its process. The node may have another one since.
    var disk: Incarnation
    var nonce: UInt64
    var credit: UInt32
    var delivers: Bool
    var timing: SessionTiming
    var isOpen = true
    /// Closed: when its leases are free, ms.
    var freeAt: UInt64 = 0
    var leases: UInt32 = 0
    var leaseFirst = Slot.none
    /// Reports that it holds, ascending.
    var reports: [ReportID] = []
    var results = ResultWindow()
}

extension MailQueue {
    /// Commands of a session from the oldest that is not acknowledged on; one above is refused.
    package static var resultsMax: UInt64 { ResultWindow.widthMax }
}

/// The results of one session's commands, from the oldest that is not acknowledged on.
struct ResultWindow: Equatable {
    /// Above it a command is refused: the node is to acknowledge first.
    static let widthMax: UInt64 = 1 << 17

    enum Entry: Equatable {
        case unknown
        case acknowledged
        case known(CommandResult)
    }
    enum Lookup {
        case fresh
        case known(CommandResult)
        case acknowledged
        case outside
    }
    /// All below are acknowledged.
    private(set) var base: UInt64 = 1
    /// Entries of `base`, `base + 1`, … start at `head`.
    private var stored: [Entry] = []
    private var head = 0

    init() {}

    init(base: UInt64, entries: [Entry]) {
        self.base = base
        self.stored = entries
    }

    var entries: ArraySlice<Entry> { self.stored[self.head...] }

    func lookup(_ sequence: UInt64) -> Lookup {
        if sequence < self.base { return .acknowledged }
        let offset = sequence - self.base
        if offset >= Self.widthMax { return .outside }
        guard offset < UInt64(self.stored.count - self.head) else { return .fresh }
        switch self.stored[self.head + Int(offset)] {
        case .unknown: return .fresh
        case .acknowledged: return .acknowledged
        case .known(let result): return .known(result)
        }
    }

    mutating func note(_ sequence: UInt64, _ result: CommandResult) {
        self.set(sequence, .known(result))
    }

    mutating func acknowledge(_ ranges: [ClosedRange<UInt64>]) {
        for range in ranges {
            let top = min(range.upperBound, self.base &+ (Self.widthMax - 1))
            var sequence = max(range.lowerBound, self.base)
            while sequence <= top {
                self.set(sequence, .acknowledged)
                sequence += 1
            }
            self.dropAcknowledged()
        }
    }

    private mutating func set(_ sequence: UInt64, _ entry: Entry) {
        guard sequence >= self.base, sequence - self.base < Self.widthMax else { return }
        let place = self.head + Int(sequence - self.base)
        while self.stored.count <= place { self.stored.append(.unknown) }
        self.stored[place] = entry
    }

    private mutating func dropAcknowledged() {
        while self.head < self.stored.count, self.stored[self.head] == .acknowledged {
            self.head += 1
            self.base += 1
        }
        if self.head == self.stored.count {
            self.stored.removeAll(keepingCapacity: true)
            self.head = 0
        } else if self.head > 1024, self.head * 2 > self.stored.count {
            self.stored.removeFirst(self.head)
            self.head = 0
        }
    }

    static func == (a: Self, b: Self) -> Bool { a.base == b.base && a.entries == b.entries }
}

extension MailQueue {
    func openPlace(of session: SessionID) -> Int? {
        self.sessions.firstIndex { $0.id == session && $0.isOpen }
    }

    func place(of session: SessionID) -> Int? {
        self.sessions.firstIndex { $0.id == session }
    }

    /// May the session get (more) leases now?
    func canLease(_ place: Int) -> Bool {
        let session = self.sessions[place]
        return session.isOpen && session.delivers && session.leases < session.credit
            && !self.nodes[Int(session.node)].draining
    }

    mutating func open(_ open: OpenSession, _ effects: inout [Effect]) -> CommandResult {
        let node: UInt16
        if let known = self.nodes.firstIndex(where: { $0.name == open.node }) {
            node = UInt16(known)
            let isSameDisk = self.nodes[known].incarnation == open.incarnation
            let same = self.sessions.first {
                $0.isOpen && $0.node == node && $0.nonce == open.nonce
            }
            if let same, isSameDisk, self.nodes[known].boot == open.boot {
                return .sessionOpened(same.id)
            }
            guard !isSameDisk || open.boot > self.nodes[known].boot else {
                return .refused(.staleBoot)
            }
            guard !self.nodes[known].retired.contains(open.incarnation) else {
                return .refused(.notMember)
            }
            for old in self.sessions where old.node == node {
                guard old.disk == open.incarnation else {
                    // Outcomes of another disk were not replayed.
                    self.closeUnaware(old, &effects)
                    continue
                }
                let wait = open.replayed ? .zero : old.timing.holdDown
                self.close(old.id, freeAt: self.time + wait, mayRepeat: true, &effects)
            }
            // All that the node had to say of it has come: facts go in front of a new session.
            self.nodes[known].unsettled = UnsettledEnqueues()
            if !isSameDisk { self.retire(known) }
            self.nodes[known].isMember = true
            self.nodes[known].incarnation = open.incarnation
            self.nodes[known].boot = open.boot
        } else {
            guard self.nodes.count < Int(UInt16.max) else { return .refused(.malformed) }
            node = UInt16(self.nodes.count)
            self.nodes.append(
                NodeRow(name: open.node, incarnation: open.incarnation, boot: open.boot))
        }
        let id = SessionID(raw: self.applied)
        self.sessions.append(
            Session(
                id: id, node: node, disk: open.incarnation, nonce: open.nonce, credit: open.credit,
                delivers: open.delivers,
                timing: self.settings.session)
        )
        effects.append(.sessionOpened(id))
        return .sessionOpened(id)
    }

    mutating func expire(_ session: SessionID, _ effects: inout [Effect]) -> CommandResult {
        guard let place = self.openPlace(of: session) else { return .refused(.sessionClosed) }
        let freeAt = self.time + self.sessions[place].timing.holdDown
        self.close(session, freeAt: freeAt, mayRepeat: true, &effects)
        return .done
    }

    /// Ends a session whose process does not say so itself. It may be alive, renewed a moment ago,
    /// and cut off: it goes on until its own clock says that T is over. One that is closed already
    /// has its time, and nobody but its own disk's next process can shorten it.
    mutating func closeUnaware(_ session: Session, _ effects: inout [Effect]) {
        guard session.isOpen else { return }
        let freeAt = self.time + session.timing.leaderTerm + session.timing.holdDown
        self.close(session.id, freeAt: freeAt, mayRepeat: true, &effects)
    }

    /// Closes an open session; of a closed one that waits, an earlier `freeAt` counts.
    ///
    /// - Parameter mayRepeat: what it holds may be on the wire.
    mutating func close(
        _ id: SessionID, freeAt: QueueTime, mayRepeat: Bool, _ effects: inout [Effect]
    ) {
        guard let place = self.place(of: id) else { return }
        if self.sessions[place].isOpen {
            self.sessions[place].isOpen = false
            self.sessions[place].freeAt = freeAt.milliseconds
            let node = Int(self.sessions[place].node)
            self.nodes[node].unsettled = UnsettledEnqueues(of: id, self.sessions[place].results)
            self.sessions[place].results = ResultWindow()
            // A report of a closed session is refused, so its debt is free at once.
            for report in self.sessions[place].reports { self.unleaseReport(report) }
            self.sessions[place].leases -= UInt32(self.sessions[place].reports.count)
            self.sessions[place].reports = []
            effects.append(.sessionClosed(id))
            if mayRepeat { self.markLeases(of: place) }
        } else {
            self.sessions[place].freeAt = min(
                self.sessions[place].freeAt, freeAt.milliseconds)
        }
        self.freeLeases(of: id, &effects)
    }

    private mutating func markLeases(of place: Int) {
        var slot = self.sessions[place].leaseFirst
        while slot != Slot.none {
            self.touch(self.deliveries[slot].message)
            self.deliveries[slot].flags.insert(.mayRepeat)
            slot = self.deliveries[slot].next
        }
    }

    /// Gives the leases of a closed session back once its hold-down is over, and forgets it.
    private mutating func freeLeases(of id: SessionID, _ effects: inout [Effect]) {
        guard let place = self.place(of: id), !self.sessions[place].isOpen,
            self.sessions[place].freeAt <= self.time.milliseconds
        else { return }
        for lease in self.leases(of: id) {
            let slot = self.slot(of: lease)
            if self.deliveries[slot].flags.contains(.mayRepeat) {
                self.touch(self.deliveries[slot].message)
                self.deliveries[slot].suspect = min(self.deliveries[slot].suspect, 254) + 1
            }
            self.returnLease(slot, &effects)
        }
        self.sessions.removeAll { $0.id == id }
    }

    /// What the passing of time alone does; called with every entry.
    mutating func settleTime(_ effects: inout [Effect]) {
        let now = self.time.milliseconds
        var place = 0
        while place < self.sessions.count {
            let session = self.sessions[place]
            if !session.isOpen, session.freeAt <= now {
                self.freeLeases(of: session.id, &effects)
            } else {
                place += 1
            }
        }
        self.promote(now: self.time, limit: Self.promotionsPerEntry)
        while let wake = self.destinations.forgets.popFirst(upTo: now) {
            if self.destinations[wake.slot].forgetAt == wake.key {
                self.forgetSuspension(wake.slot)
            }
        }
    }
}
