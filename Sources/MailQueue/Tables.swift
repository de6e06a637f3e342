// Tables.swift - indexes of the queue: tags, due times, verdicts and holders told once.
//
// Never     iterated where the order could be seen: they are asked, or emptied as a whole.

import Primitives
package import SMTP
import Spool

/// Finds a message's slot by its tag: open addressing with linear probes, 4 bytes a place.
struct TagTable {
    private var places: [UInt32] = []
    private var mask = 0
    private var count = 0

    init() {}

    @inline(__always)
    private static func hash(_ tag: Tag) -> Int {
        var x = tag.sequence &+ tag.session.raw &* 0x9E37_79B9_7F4A_7C15
        x = (x ^ (x >> 32)) &* 0xD6E8_FEB8_6659_FD93
        return Int(truncatingIfNeeded: x ^ (x >> 32))
    }

    func find(_ tag: Tag, in messages: borrowing MessageSlab) -> UInt32 {
        guard self.count > 0 else { return Slot.none }
        var place = Self.hash(tag) & self.mask
        while true {
            let slot = self.places[place]
            if slot == Slot.none || messages[slot].tag == tag { return slot }
            place = (place + 1) & self.mask
        }
    }

    /// The tag is not in the table yet.
    mutating func insert(_ slot: UInt32, in messages: borrowing MessageSlab) {
        if (self.count + 1) * 4 > self.places.count * 3 {
            self.grow(to: max(16, self.places.count * 2), in: messages)
        }
        self.put(slot, in: messages)
        self.count += 1
    }

    mutating func reserve(_ count: Int, in messages: borrowing MessageSlab) {
        var size = max(16, self.places.count)
        while count * 4 > size * 3 { size *= 2 }
        if size > self.places.count { self.grow(to: size, in: messages) }
    }

    /// The tag is in the table, and its message still in the slab.
    mutating func remove(_ tag: Tag, in messages: borrowing MessageSlab) {
        var hole = Self.hash(tag) & self.mask
        while messages[self.places[hole]].tag != tag { hole = (hole + 1) & self.mask }
        // What follows moves up if its home is not behind the hole: no tombstones.
        var place = (hole + 1) & self.mask
        while self.places[place] != Slot.none {
            let home = Self.hash(messages[self.places[place]].tag) & self.mask
            if (place &- home) & self.mask >= (place &- hole) & self.mask {
                self.places[hole] = self.places[place]
                hole = place
            }
            place = (place + 1) & self.mask
        }
        self.places[hole] = Slot.none
        self.count -= 1
    }

    private mutating func put(_ slot: UInt32, in messages: borrowing MessageSlab) {
        var place = Self.hash(messages[slot].tag) & self.mask
        while self.places[place] != Slot.none { place = (place + 1) & self.mask }
        self.places[place] = slot
    }

    private mutating func grow(to size: Int, in messages: borrowing MessageSlab) {
        let old = self.places
        self.places = Array(repeating: Slot.none, count: size)
        self.mask = size - 1
        for slot in old where slot != Slot.none { self.put(slot, in: messages) }
    }
}

/// Deliveries by the time at which something is due for them: a heap of four children a node, that
/// knows every delivery's place.
struct DueHeap {
    struct Entry {
        /// Queue time, ms: until when it is deferred, else when it expires.
        var key: UInt64
        var slot: UInt32
    }
    private(set) var entries: [Entry] = []

    var first: Entry? { self.entries.first }

    mutating func insert(_ slot: UInt32, key: UInt64, _ rows: inout DeliverySlab) {
        self.entries.append(Entry(key: key, slot: slot))
        self.up(self.entries.count - 1, &rows)
    }

    mutating func remove(_ slot: UInt32, _ rows: inout DeliverySlab) {
        let place = Int(rows[slot].heap)
        rows[slot].heap = Slot.none
        let last = self.entries.removeLast()
        guard place < self.entries.count else { return }
        self.entries[place] = last
        self.settle(place, &rows)
    }

    mutating func change(_ slot: UInt32, key: UInt64, _ rows: inout DeliverySlab) {
        let place = Int(rows[slot].heap)
        self.entries[place].key = key
        self.settle(place, &rows)
    }

    /// Slots whose key is at most `key`, in no order that means anything; at most `limit`.
    func slots(upTo key: UInt64, limit: Int) -> [UInt32] {
        var found: [UInt32] = []
        var open = [0]
        while let place = open.popLast(), found.count < limit {
            guard place < self.entries.count, self.entries[place].key <= key else { continue }
            found.append(self.entries[place].slot)
            open.append(contentsOf: 4 * place + 1...4 * place + 4)
        }
        return found
    }

    /// Makes a heap of all of `entries` at once.
    mutating func replace(_ entries: [Entry], _ rows: inout DeliverySlab) {
        self.entries = entries
        for place in self.entries.indices { rows[self.entries[place].slot].heap = UInt32(place) }
        guard entries.count > 1 else { return }
        for place in stride(from: (entries.count - 2) / 4, through: 0, by: -1) {
            self.down(place, &rows)
        }
    }

    private mutating func settle(_ place: Int, _ rows: inout DeliverySlab) {
        if place > 0, self.entries[place].key < self.entries[(place - 1) / 4].key {
            self.up(place, &rows)
        } else {
            self.down(place, &rows)
        }
    }

    private mutating func up(_ start: Int, _ rows: inout DeliverySlab) {
        var place = start
        let entry = self.entries[place]
        while place > 0 {
            let parent = (place - 1) / 4
            guard entry.key < self.entries[parent].key else { break }
            self.entries[place] = self.entries[parent]
            rows[self.entries[place].slot].heap = UInt32(place)
            place = parent
        }
        self.entries[place] = entry
        rows[entry.slot].heap = UInt32(place)
    }

    private mutating func down(_ start: Int, _ rows: inout DeliverySlab) {
        var place = start
        let entry = self.entries[place]
        while true {
            let firstChild = 4 * place + 1
            guard firstChild < self.entries.count else { break }
            var least = firstChild
            for child in firstChild..<min(firstChild + 4, self.entries.count)
            where self.entries[child].key < self.entries[least].key { least = child }
            guard self.entries[least].key < entry.key else { break }
            self.entries[place] = self.entries[least]
            rows[self.entries[place].slot].heap = UInt32(place)
            place = least
        }
        self.entries[place] = entry
        rows[entry.slot].heap = UInt32(place)
    }
}

/// Times of destinations: entries are never removed, only found to be old when they come up.
struct WakeHeap {
    private var entries: [(key: UInt64, slot: UInt32)] = []

    var first: UInt64? { self.entries.first?.key }

    mutating func insert(_ key: UInt64, _ slot: UInt32) {
        self.entries.append((key, slot))
        var place = self.entries.count - 1
        while place > 0, self.entries[place].key < self.entries[(place - 1) / 2].key {
            self.entries.swapAt(place, (place - 1) / 2)
            place = (place - 1) / 2
        }
    }

    mutating func popFirst(upTo key: UInt64) -> (key: UInt64, slot: UInt32)? {
        guard let top = self.entries.first, top.key <= key else { return nil }
        self.entries.swapAt(0, self.entries.count - 1)
        self.entries.removeLast()
        var place = 0
        while 2 * place + 1 < self.entries.count {
            var child = 2 * place + 1
            if child + 1 < self.entries.count,
                self.entries[child + 1].key < self.entries[child].key
            {
                child += 1
            }
            guard self.entries[child].key < self.entries[place].key else { break }
            self.entries.swapAt(place, child)
            place = child
        }
        return top
    }
}

extension Verdict {
    /// With as much of its reply as the queue keeps: the first lines, each up to a length. A
    /// command carries one for each recipient of a transaction, and an entry has a limit.
    package var asKept: Verdict { VerdictTable.clamp(self) }
}

/// Verdicts of deferred recipients, told once each: when a big host is down, a million deliveries
/// share one. Number 0 is no verdict.
struct VerdictTable {
    /// Lines and bytes a line of a reply that are kept; more is cut off.
    static let linesMax = 4
    static let lineBytesMax = 512

    private var encoded: [[UInt8]] = [[]]
    private var references: [UInt32] = [0]
    private var free: [UInt32] = []
    private var numbers: [[UInt8]: UInt32] = [:]

    /// What of `verdict` is kept: the same on all nodes.
    static func clamp(_ verdict: Verdict) -> Verdict {
        var kept = verdict
        if kept.reply.lines.count > Self.linesMax {
            kept.reply.lines.removeLast(kept.reply.lines.count - Self.linesMax)
        }
        for i in kept.reply.lines.indices where kept.reply.lines[i].utf8.count > Self.lineBytesMax {
            kept.reply.lines[i] = String(
                decoding: kept.reply.lines[i].utf8.prefix(Self.lineBytesMax), as: UTF8.self)
        }
        return kept
    }

    /// The number of `verdict`, with one more reference.
    mutating func retain(_ verdict: Verdict) -> UInt32 {
        var writer = ByteWriter(capacity: 96)
        Self.clamp(verdict).encode(into: &writer)
        return self.retain(encoded: writer.bytes)
    }

    mutating func retain(encoded bytes: [UInt8]) -> UInt32 {
        if let number = self.numbers[bytes] {
            self.references[Int(number)] += 1
            return number
        }
        let number: UInt32
        if let used = self.free.popLast() {
            number = used
            self.encoded[Int(number)] = bytes
            self.references[Int(number)] = 1
        } else {
            number = UInt32(self.encoded.count)
            self.encoded.append(bytes)
            self.references.append(1)
        }
        self.numbers[bytes] = number
        return number
    }

    mutating func retain(_ number: UInt32) {
        if number != 0 { self.references[Int(number)] += 1 }
    }

    mutating func release(_ number: UInt32) {
        guard number != 0 else { return }
        self.references[Int(number)] -= 1
        guard self.references[Int(number)] == 0 else { return }
        self.numbers[self.encoded[Int(number)]] = nil
        self.encoded[Int(number)] = []
        self.free.append(number)
    }

    func bytes(_ number: UInt32) -> [UInt8] { self.encoded[Int(number)] }

    subscript(number: UInt32) -> Verdict? {
        guard number != 0 else { return nil }
        var reader = ByteReader(self.encoded[Int(number)])
        do { return try Verdict(from: &reader) } catch { unreachable("own verdict: \(error)") }
    }
}
