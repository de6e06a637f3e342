// Rows.swift - one message and one delivery in memory: fixed rows, and one packed blob a message.
//
// Format    blob: u16 recipients, u16 deliveries; 8 bytes a recipient (status, 0, u16 delivery,
//           u32 verdict); 4 bytes a delivery (its slot) if there are several; then the fixed part
//           (StaticPart). Little-endian. Verdicts and slots are numbers of this process only.
// Limits    400 bytes a message with one recipient, indexes included (measured by queuebench).

import Primitives
import Spool

enum Slot {
    static let none = UInt32.max
}

/// How one recipient stands. Raw values stand in rows on disk.
enum RecipientStatus: UInt8 {
    case pending = 0
    case delivered = 1
    case relayed = 2
    case failed = 3
    /// Cancelled, or dropped by an operator: without a word.
    case dropped = 4
}

struct MessageFlags: OptionSet {
    let rawValue: UInt8
    static let nullSender = MessageFlags(rawValue: 1)
    /// Made by a Report command: its failure goes to the postmaster.
    static let isReport = MessageFlags(rawValue: 2)
    /// A report to the postmaster: its failure goes to nobody.
    static let isDoubleBounce = MessageFlags(rawValue: 4)
    /// The newest checkpoint has a row of it, or may have.
    static let stored = MessageFlags(rawValue: 8)
    /// `hash` is in the state's sum.
    static let counted = MessageFlags(rawValue: 16)
    /// Only these are state; the rest is bookkeeping.
    static let replicated: MessageFlags = [.nullSender, .isReport, .isDoubleBounce]
}

struct ReportRow {
    var number: UInt16
    /// Whose lease it is; `.none`: nobody's.
    var session: SessionID
    var content: OwedReport
    /// The ring of owed reports has an entry of it.
    var isInRing: Bool
}

/// A copy that was made after the message had come.
struct CopyRow: Equatable {
    var holder: Holder
    /// Of the command that added it.
    var tag: Tag
}

struct MessageRow {
    var tag: Tag
    /// Queue time of the Enqueue, ms.
    var stamp: UInt64
    /// The log index of the Enqueue: the order in which messages came.
    var order: UInt64
    /// Of the row as it was counted last.
    var hash: UInt64 = 0
    var blob: [UInt8]
    var reports: [ReportRow] = []
    /// The slot of the only delivery; `Slot.none` if there are several, or none any more.
    var delivery = Slot.none
    var older = Slot.none
    /// In a free row: the next free one.
    var newer = Slot.none
    var liveDeliveries: UInt16 = 0
    var nextReport: UInt16 = 0
    /// Its set of holders.
    var holders: UInt16
    /// Neighbours among the messages with that set.
    var previousAlike = Slot.none
    var nextAlike = Slot.none
    var flags: MessageFlags
    var isUsed = true
    /// The list of dirty rows in which it stands; outlives the message, as the list does.
    var listing = Listing.none
}

extension MessageRow {
    static let headBytes = 4
    static let recipientBytes = 8

    var recipientCount: Int { Int(self.word16(0)) }
    var deliveryCount: Int { Int(self.word16(2)) }
    /// Where the fixed part starts in the blob.
    var staticStart: Int {
        let slots = self.deliveryCount > 1 ? 4 * self.deliveryCount : 0
        return Self.headBytes + Self.recipientBytes * self.recipientCount + slots
    }

    func status(_ recipient: Int) -> RecipientStatus {
        let raw = self.blob[Self.headBytes + Self.recipientBytes * recipient]
        guard let status = RecipientStatus(rawValue: raw) else { unreachable("recipient status") }
        return status
    }
    mutating func setStatus(_ recipient: Int, _ status: RecipientStatus) {
        self.blob[Self.headBytes + Self.recipientBytes * recipient] = status.rawValue
    }
    func delivery(of recipient: Int) -> UInt16 {
        self.word16(Self.headBytes + Self.recipientBytes * recipient + 2)
    }
    func verdict(_ recipient: Int) -> UInt32 {
        self.word32(Self.headBytes + Self.recipientBytes * recipient + 4)
    }
    mutating func setVerdict(_ recipient: Int, _ verdict: UInt32) {
        self.setWord32(Self.headBytes + Self.recipientBytes * recipient + 4, verdict)
    }
    func deliverySlot(_ index: UInt16) -> UInt32 {
        guard Int(index) < self.deliveryCount else { return Slot.none }
        if self.deliveryCount == 1 { return self.delivery }
        return self.word32(
            Self.headBytes + Self.recipientBytes * self.recipientCount + 4 * Int(index))
    }
    mutating func setDeliverySlot(_ index: UInt16, _ slot: UInt32) {
        if self.deliveryCount == 1 {
            self.delivery = slot
        } else {
            self.setWord32(
                Self.headBytes + Self.recipientBytes * self.recipientCount + 4 * Int(index), slot)
        }
    }

    private func word16(_ offset: Int) -> UInt16 {
        self.blob.withUnsafeBytes {
            UInt16(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
        }
    }
    private func word32(_ offset: Int) -> UInt32 {
        self.blob.withUnsafeBytes {
            UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
        }
    }
    private mutating func setWord32(_ offset: Int, _ value: UInt32) {
        self.blob.withUnsafeMutableBytes {
            $0.storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt32.self)
        }
    }
}

/// Raw values stand in rows on disk.
package enum DeliveryState: UInt8, Hashable, Sendable, CaseIterable {
    /// Due, and nobody's.
    case queued = 1
    case leased = 2
    /// Waits for its time.
    case deferred = 3
    /// Waits for the operator.
    case held = 4
    /// All its recipients have ended.
    case ended = 5
}

struct DeliveryFlags: OptionSet {
    let rawValue: UInt8
    /// The delay notice is owed or was not wanted.
    static let noticed = DeliveryFlags(rawValue: 1)
    /// A dead session held its lease: the next grant may repeat a delivery.
    static let mayRepeat = DeliveryFlags(rawValue: 2)
    /// In this lease a recipient got a verdict.
    static let attempted = DeliveryFlags(rawValue: 4)
    /// In this lease a recipient was deferred.
    static let deferredNow = DeliveryFlags(rawValue: 8)
    /// Stands in its destination's list of ready deliveries. Not state.
    static let ready = DeliveryFlags(rawValue: 16)
    static let replicated: DeliveryFlags = [.noticed, .mayRepeat, .attempted, .deferredNow]
}

/// What happens to a delivery in flight when its attempt ends. Raw values stand in rows.
enum Afterwards: UInt8 {
    case nothing = 0
    case hold = 1
    case bounce = 2
    case drop = 3
}

struct DeliveryRow {
    /// Deferred: until when, ms. Leased: the session.
    var payload: UInt64 = 0
    /// In a free row: the next free one.
    var message: UInt32
    var destination: UInt32
    /// Neighbours among the ready ones of the destination, or among the leases of the session.
    var previous = Slot.none
    var next = Slot.none
    /// The place in the due heap.
    var heap = Slot.none
    /// Attempts that count; a lease is for attempt `attempts + 1`.
    var attempts: UInt32 = 0
    /// Recipients without an end.
    var pending: UInt16 = 0
    var index: UInt16
    /// The node of the last lease, in `nodes`; `UInt16.max`: none yet.
    var lastNode = UInt16.max
    var suspect: UInt8 = 0
    var state = DeliveryState.ended
    var flags: DeliveryFlags = []
    var afterwards = Afterwards.nothing
}

/// Rows by slot; free ones are chained and used again, last freed first.
struct MessageSlab {
    private(set) var rows: [MessageRow] = []
    private var free = Slot.none
    private(set) var count = 0
    /// The ends of the list in order of Enqueue.
    private(set) var oldest = Slot.none
    private(set) var newest = Slot.none

    subscript(slot: UInt32) -> MessageRow {
        @inline(__always) _read { yield self.rows[Int(slot)] }
        @inline(__always) _modify { yield &self.rows[Int(slot)] }
    }

    mutating func reserve(_ count: Int) { self.rows.reserveCapacity(count) }

    /// Appends as the newest.
    mutating func insert(_ row: consuming MessageRow) -> UInt32 {
        var row = row
        row.older = self.newest
        row.newer = Slot.none
        let slot: UInt32
        if self.free != Slot.none {
            slot = self.free
            self.free = self.rows[Int(slot)].newer
            row.listing = self.rows[Int(slot)].listing
            self.rows[Int(slot)] = row
        } else {
            slot = UInt32(self.rows.count)
            self.rows.append(row)
        }
        if self.newest == Slot.none {
            self.oldest = slot
        } else {
            self.rows[Int(self.newest)].newer = slot
        }
        self.newest = slot
        self.count += 1
        return slot
    }

    mutating func remove(_ slot: UInt32) {
        let i = Int(slot)
        let (older, newer) = (self.rows[i].older, self.rows[i].newer)
        if older == Slot.none { self.oldest = newer } else { self.rows[Int(older)].newer = newer }
        if newer == Slot.none { self.newest = older } else { self.rows[Int(newer)].older = older }
        self.rows[i].isUsed = false
        self.rows[i].blob = []
        self.rows[i].reports = []
        self.rows[i].newer = self.free
        self.free = slot
        self.count -= 1
    }

    /// Orders the list by `order`; for rows that came in any order, after a restart.
    mutating func sortByOrder() {
        var slots = self.rows.indices.filter { self.rows[$0].isUsed }
        slots.sort { self.rows[$0].order < self.rows[$1].order }
        var older = Slot.none
        for slot in slots {
            self.rows[slot].older = older
            self.rows[slot].newer = Slot.none
            if older != Slot.none { self.rows[Int(older)].newer = UInt32(slot) }
            older = UInt32(slot)
        }
        self.oldest = slots.first.map { UInt32($0) } ?? Slot.none
        self.newest = older
    }
}

struct DeliverySlab {
    private(set) var rows: [DeliveryRow] = []
    private var free = Slot.none

    subscript(slot: UInt32) -> DeliveryRow {
        @inline(__always) _read { yield self.rows[Int(slot)] }
        @inline(__always) _modify { yield &self.rows[Int(slot)] }
    }

    mutating func reserve(_ count: Int) { self.rows.reserveCapacity(count) }

    mutating func insert(_ row: DeliveryRow) -> UInt32 {
        guard self.free != Slot.none else {
            self.rows.append(row)
            return UInt32(self.rows.count - 1)
        }
        let slot = self.free
        self.free = self.rows[Int(slot)].message
        self.rows[Int(slot)] = row
        return slot
    }

    mutating func remove(_ slot: UInt32) {
        self.rows[Int(slot)].state = .ended
        self.rows[Int(slot)].message = self.free
        self.free = slot
    }

    /// Every slot with a delivery in it, ascending.
    func forEachUsed(_ body: (UInt32) -> Void) {
        for (slot, row) in self.rows.enumerated() where row.state != .ended { body(UInt32(slot)) }
    }
}
