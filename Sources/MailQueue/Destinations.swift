// Destinations.swift - what groups deliveries: its name, its backlog, its suspension.
//
// Two kinds of data: suspensions are state; lists, counts and the ring are made again from it.

import Primitives
import SMTP

struct DestinationRow {
    var name: String
    /// Deliveries that have not ended.
    var live: UInt32 = 0
    var queued: UInt32 = 0
    var leased: UInt32 = 0
    var deferred: UInt32 = 0
    var held: UInt32 = 0
    /// Those that are due, in the order in which they became so.
    var ready: UInt32 = 0
    var readyFirst = Slot.none
    var readyLast = Slot.none
    /// Neighbours in the ring of destinations that can be granted.
    var ringPrevious = Slot.none
    var ringNext = Slot.none
    var isInRing = false
    /// Its ready deliveries are not counted as due; follows `suspendedUntil` as time is told.
    var isSuspended = false
    /// Queue time, ms; 0: never suspended.
    var suspendedUntil: UInt64 = 0
    /// When the suspensions so far no longer count.
    var forgetAt: UInt64 = 0
    /// How many suspensions in a row.
    var step: UInt8 = 0
    /// Why, in the table of verdicts.
    var reason: UInt32 = 0
}

/// All destinations with deliveries or suspensions. A slot is used again when neither is left.
struct DestinationTable {
    private var rows: [DestinationRow] = []
    private var free: [UInt32] = []
    private var numbers: [String: UInt32] = [:]
    /// Ends of suspensions, and the times at which they are forgotten.
    var resumes = WakeHeap()
    var forgets = WakeHeap()
    /// The ring: its front is granted next.
    private(set) var ringFirst = Slot.none
    private(set) var ringLast = Slot.none

    subscript(slot: UInt32) -> DestinationRow {
        @inline(__always) _read { yield self.rows[Int(slot)] }
        @inline(__always) _modify { yield &self.rows[Int(slot)] }
    }

    /// Every slot, used or not, ascending.
    var slots: Range<UInt32> { 0..<UInt32(self.rows.count) }
    var count: Int { self.numbers.count }

    func find(_ name: String) -> UInt32 { self.numbers[name] ?? Slot.none }

    mutating func slot(_ name: String) -> UInt32 {
        if let known = self.numbers[name] { return known }
        let slot: UInt32
        if let unused = self.free.popLast() {
            slot = unused
            self.rows[Int(slot)] = DestinationRow(name: name)
        } else {
            slot = UInt32(self.rows.count)
            self.rows.append(DestinationRow(name: name))
        }
        self.numbers[name] = slot
        return slot
    }

    /// Forgets a destination that nothing is known of any more.
    mutating func dropIfUnused(_ slot: UInt32) {
        let row = self.rows[Int(slot)]
        guard row.live == 0, row.step == 0, !row.name.isEmpty else { return }
        self.numbers[row.name] = nil
        self.rows[Int(slot)] = DestinationRow(name: "")
        self.free.append(slot)
    }

    mutating func appendToRing(_ slot: UInt32) {
        self.rows[Int(slot)].isInRing = true
        self.rows[Int(slot)].ringPrevious = self.ringLast
        self.rows[Int(slot)].ringNext = Slot.none
        if self.ringLast == Slot.none {
            self.ringFirst = slot
        } else {
            self.rows[Int(self.ringLast)].ringNext = slot
        }
        self.ringLast = slot
    }

    mutating func removeFromRing(_ slot: UInt32) {
        let row = self.rows[Int(slot)]
        if row.ringPrevious == Slot.none {
            self.ringFirst = row.ringNext
        } else {
            self.rows[Int(row.ringPrevious)].ringNext = row.ringNext
        }
        if row.ringNext == Slot.none {
            self.ringLast = row.ringPrevious
        } else {
            self.rows[Int(row.ringNext)].ringPrevious = row.ringPrevious
        }
        self.rows[Int(slot)].isInRing = false
    }
}
