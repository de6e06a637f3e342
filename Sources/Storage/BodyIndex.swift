// BodyIndex.swift - tag → where its record lies: one flat table, 28 bytes a slot.
//
// Limits    at most 85 % full; grown by a third: 33 to 44 bytes a body.

import Glibc
import Primitives
import Spool

/// Open addressing with linear probing; a deletion moves what follows back.
struct BodyIndex: ~Copyable {
    /// Stands for a file: the extents are in the table of large bodies.
    static let large = RecordFileID(raw: 0xFFFF_FFFF)
    /// Stands for a file: what was here is not what was written.
    static let damaged = RecordFileID(raw: 0xFFFF_FFFE)
    private static let slotBytes = 28

    private var base: UnsafeMutableRawPointer
    private var capacity: Int
    private(set) var count = 0

    init(capacity: Int = 1024) {
        self.capacity = capacity
        self.base = Self.allocate(capacity)
    }

    deinit { free(self.base) }

    /// Zeroed; a file of 0 is a free slot.
    private static func allocate(_ capacity: Int) -> UnsafeMutableRawPointer {
        guard let base = calloc(capacity, self.slotBytes) else {
            unreachable("no memory for the index of bodies")
        }
        return base
    }

    subscript(tag: Tag) -> RecordExtent? {
        let slot = self.find(tag)
        return self.isFree(slot) ? nil : self.extent(slot)
    }

    /// Enters or replaces; gives what stood there.
    @discardableResult
    mutating func set(_ tag: Tag, _ extent: RecordExtent) -> RecordExtent? {
        if (self.count + 1) * 100 > self.capacity * 85 { self.grow() }
        let slot = self.find(tag)
        let previous = self.isFree(slot) ? nil : self.extent(slot)
        if previous == nil { self.count += 1 }
        self.store(slot, tag, extent)
        return previous
    }

    @discardableResult
    mutating func remove(_ tag: Tag) -> RecordExtent? {
        var hole = self.find(tag)
        guard !self.isFree(hole) else { return nil }
        let removed = self.extent(hole)
        self.count -= 1
        var next = self.after(hole)
        while !self.isFree(next) {
            let home = self.home(self.tag(next))
            // May `next` move into the hole? Only if its home is not between hole and next.
            let distance = next >= home ? next - home : next + self.capacity - home
            let gap = next >= hole ? next - hole : next + self.capacity - hole
            if distance >= gap {
                memcpy(self.slot(hole), self.slot(next), Self.slotBytes)
                hole = next
            }
            next = self.after(next)
        }
        memset(self.slot(hole), 0, Self.slotBytes)
        return removed
    }

    private mutating func grow() {
        let (old, oldCapacity) = (self.base, self.capacity)
        self.capacity = oldCapacity + oldCapacity / 3 + 1
        self.base = Self.allocate(self.capacity)
        for i in 0..<oldCapacity {
            let from = old + i * Self.slotBytes
            guard UnsafeRawPointer(from).u32(16) != 0 else { continue }
            let tag = Self.tag(at: from)
            memcpy(self.slot(self.find(tag)), from, Self.slotBytes)
        }
        free(old)
    }

    @inline(__always) private func slot(_ i: Int) -> UnsafeMutableRawPointer {
        self.base + i * Self.slotBytes
    }
    @inline(__always) private func after(_ i: Int) -> Int { i + 1 == self.capacity ? 0 : i + 1 }
    @inline(__always) private func isFree(_ i: Int) -> Bool {
        UnsafeRawPointer(self.slot(i)).u32(16) == 0
    }
    private func tag(_ i: Int) -> Tag { Self.tag(at: self.slot(i)) }
    private static func tag(at p: UnsafeMutableRawPointer) -> Tag {
        let q = UnsafeRawPointer(p)
        return Tag(session: SessionID(raw: q.u64(0)), sequence: q.u64(8))
    }
    private func extent(_ i: Int) -> RecordExtent {
        let q = UnsafeRawPointer(self.slot(i))
        return RecordExtent(
            file: RecordFileID(raw: q.u32(16)), offset: q.u32(20), length: q.u32(24))
    }
    private func store(_ i: Int, _ tag: Tag, _ extent: RecordExtent) {
        let p = self.slot(i)
        p.put(tag.session.raw, 0)
        p.put(tag.sequence, 8)
        p.put(extent.file.raw, 16)
        p.put(extent.offset, 20)
        p.put(extent.length, 24)
    }

    private func home(_ tag: Tag) -> Int {
        var z = tag.session.raw &* 0x9E37_79B9_7F4A_7C15 &+ tag.sequence
        z = (z ^ (z >> 32)) &* 0xD6E8_FEB8_6659_FD93
        z ^= z >> 32
        return Int(z.multipliedFullWidth(by: UInt64(self.capacity)).high)
    }

    /// The slot of `tag`, or the free one where it would stand.
    private func find(_ tag: Tag) -> Int {
        var i = self.home(tag)
        while true {
            let q = UnsafeRawPointer(self.slot(i))
            if q.u32(16) == 0 { return i }
            if q.u64(8) == tag.sequence && q.u64(0) == tag.session.raw { return i }
            i = self.after(i)
        }
    }
}
