// BatchFormat.swift - the header in front of the records that one write carries.
//
// Gives     64 bytes that say: which use of which file, which batch, what was durable before.
// See       Docs/StorageFormat.md; SegmentScan in Storage (what damage amounts to).

import Primitives

/// The header of one batch.
package struct BatchHeader: Equatable, Sendable {
    package static let bytes = 64
    static let magic: UInt32 = 0x3142_4850  // "PHB1"

    /// Of the whole batch, this header included; a multiple of 8.
    package var length: UInt32
    /// The number of this use of the file: bytes of an earlier use are never taken for this one's.
    package var segment: UInt64
    /// Counts the batches of the journal, from 1, over all segments.
    package var number: UInt64
    /// The last batch whose sync had returned before this one was written; 0: none.
    package var durableBefore: UInt64
    /// Where this batch stands in its file, which is where the one before ended.
    package var offset: UInt32
    /// `recordsCRC` of the batch before in this file; 0 in the first.
    package var previousCRC: UInt32
    /// CRC32C of the CRCs of all records (4 bytes each, little-endian) in their order.
    package var recordsCRC: UInt32
    package var records: UInt32
    /// How many of the records are log entries.
    package var entries: UInt32
    /// How many of the records are hard state.
    package var hardStates: UInt32

    package init(
        length: UInt32, segment: UInt64, number: UInt64, durableBefore: UInt64, offset: UInt32,
        previousCRC: UInt32, recordsCRC: UInt32, records: UInt32, entries: UInt32,
        hardStates: UInt32
    ) {
        self.length = length
        self.segment = segment
        self.number = number
        self.durableBefore = durableBefore
        self.offset = offset
        self.previousCRC = previousCRC
        self.recordsCRC = recordsCRC
        self.records = records
        self.entries = entries
        self.hardStates = hardStates
    }

    package func store(at p: UnsafeMutableRawPointer) {
        p.put(Self.magic, 0)
        p.put(self.length, 4)
        p.put(self.segment, 8)
        p.put(self.number, 16)
        p.put(self.durableBefore, 24)
        p.put(self.offset, 32)
        p.put(self.previousCRC, 36)
        p.put(self.recordsCRC, 40)
        p.put(self.records, 44)
        p.put(self.entries, 48)
        p.put(self.hardStates, 52)
        p.put(UInt32(0), 56)
        p.put(CRC32C.checksum(UnsafeRawBufferPointer(start: p, count: 60)), 60)
    }

    /// The header at `offset` of a file in its use `segment`; nil if there is none.
    package init?(_ file: UnsafeRawBufferPointer, at offset: Int, segment: UInt64) {
        guard offset + Self.bytes <= file.count, let base = file.baseAddress else { return nil }
        let p = base + offset
        guard p.u32(0) == Self.magic, p.u64(8) == segment, Int(p.u32(32)) == offset,
            CRC32C.checksum(UnsafeRawBufferPointer(start: p, count: 60)) == p.u32(60)
        else { return nil }
        let length = Int(p.u32(4))
        guard length >= Self.bytes, length % 8 == 0, offset + length <= file.count else {
            return nil
        }
        self.init(
            length: UInt32(length), segment: segment, number: p.u64(16),
            durableBefore: p.u64(24), offset: p.u32(32), previousCRC: p.u32(36),
            recordsCRC: p.u32(40), records: p.u32(44), entries: p.u32(48), hardStates: p.u32(52))
    }
}
