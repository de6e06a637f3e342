// Placements.swift - sets of holders, told once each, with the messages that have them.
//
// What a node loses is taken out of the sets, not out of a million rows: a row names its set by
// number, and the sets are part of the meta blob. Numbers are state: the lowest free one is taken.
// Limits    `setsMax`.
// See       Replicas.swift (the commands).

import Primitives
import Spool

struct HolderTable {
    /// Different placements at once. Nine nodes have 36 pairs; more come of repairs.
    static let setsMax = 4096

    struct Row {
        /// Ascending; empty: no copy is left, or the number is free.
        var holders: [Holder] = []
        var messages = 0
        /// The ends of the list of its messages, by slot.
        var first = Slot.none
        var last = Slot.none
        /// What the meta blob said of `messages`, while rows are restored.
        var promised = 0
    }
    private(set) var rows: [Row] = []

    init() {}

    subscript(number: UInt16) -> [Holder] { self.rows[Int(number)].holders }

    private func find(_ holders: [Holder]) -> Int? {
        self.rows.firstIndex { $0.messages > 0 && $0.holders == holders }
    }

    /// Whether a message may get this set.
    func hasRoom(for holders: [Holder]) -> Bool {
        self.rows.count < Self.setsMax || self.rows.contains { $0.messages == 0 }
            || self.find(holders) != nil
    }

    /// The number of a set that a message is linked to next: a free one is free until then.
    mutating func number(of holders: [Holder]) -> UInt16 {
        if let known = self.find(holders) { return UInt16(known) }
        if let free = self.rows.firstIndex(where: { $0.messages == 0 }) {
            self.rows[free].holders = holders
            return UInt16(free)
        }
        invariant(self.rows.count < Int(UInt16.max), "sets of holders")
        self.rows.append(Row(holders: holders))
        return UInt16(self.rows.count - 1)
    }

    /// Puts a message behind the others of its set.
    mutating func link(_ slot: UInt32, _ messages: inout MessageSlab) {
        let number = Int(messages[slot].holders)
        let last = self.rows[number].last
        messages[slot].previousAlike = last
        messages[slot].nextAlike = Slot.none
        if last == Slot.none {
            self.rows[number].first = slot
        } else {
            messages[last].nextAlike = slot
        }
        self.rows[number].last = slot
        self.rows[number].messages += 1
    }

    mutating func unlink(_ slot: UInt32, _ messages: inout MessageSlab) {
        let number = Int(messages[slot].holders)
        let (previous, next) = (messages[slot].previousAlike, messages[slot].nextAlike)
        if previous == Slot.none {
            self.rows[number].first = next
        } else {
            messages[previous].nextAlike = next
        }
        if next == Slot.none {
            self.rows[number].last = previous
        } else {
            messages[next].previousAlike = previous
        }
        self.rows[number].messages -= 1
        if self.rows[number].messages == 0 { self.rows[number].holders = [] }
    }

    /// The holder has nothing any more.
    mutating func drop(_ holder: Holder) {
        for i in self.rows.indices { self.rows[i].holders.removeAll { $0 == holder } }
    }

    /// After a restart: every set has the messages that the meta blob spoke of.
    var isAsPromised: Bool { self.rows.allSatisfy { $0.messages == $0.promised } }

    // Format: count; of each number the count of messages, and the holders if there are messages.

    func encode(into writer: inout ByteWriter) {
        let used = self.rows.lastIndex { $0.messages > 0 }.map { $0 + 1 } ?? 0
        writer.varint(used)
        for row in self.rows.prefix(used) {
            writer.varint(row.messages)
            if row.messages > 0 { HolderCodec.encode(row.holders, into: &writer) }
        }
    }

    init(from reader: inout ByteReader) throws(CodecError) {
        for _ in 0..<(try reader.count(atMost: Int(UInt16.max))) {
            var row = Row()
            row.promised = try reader.count(atMost: Int(UInt32.max))
            if row.promised > 0 { row.holders = try HolderCodec.holders(from: &reader) }
            self.rows.append(row)
        }
    }
}
