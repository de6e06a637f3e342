// BlockFormat.swift - a body's content in blocks of at most 64 KiB, each with its checksum.
//
// Never     LZ4 itself: Storage's BlockCodec has it.
// See       Docs/StorageFormat.md.

import Primitives

/// In front of each block's stored bytes: u32 stored bytes (top bit set: not compressed),
/// u32 original bytes, u32 CRC32C of these two and of the stored bytes.
package struct BlockHeader: Equatable, Sendable {
    package static let bytes = 12
    /// Content bytes of one block, at most.
    package static let contentBytesMax = 64 << 10
    private static let rawBit: UInt32 = 0x8000_0000

    package var storedBytes: Int
    package var contentBytes: Int
    package var isRaw: Bool
    package var crc: UInt32

    /// Completes a block whose stored bytes stand behind the header already.
    package static func seal(
        _ block: UnsafeMutableRawPointer, stored: Int, content: Int, raw: Bool
    ) {
        block.put(UInt32(stored) | (raw ? Self.rawBit : 0), 0)
        block.put(UInt32(content), 4)
        var crc = CRC32C.update(CRC32C.start, UnsafeRawBufferPointer(start: block, count: 8))
        crc = CRC32C.update(
            crc, UnsafeRawBufferPointer(start: block + Self.bytes, count: stored))
        block.put(CRC32C.finish(crc), 8)
    }

    /// Reads a header and checks the block's bytes; nil if they are not what was written.
    package init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= Self.bytes, let p = bytes.baseAddress else { return nil }
        self.storedBytes = Int(p.u32(0) & ~Self.rawBit)
        self.isRaw = p.u32(0) & Self.rawBit != 0
        self.contentBytes = Int(p.u32(4))
        self.crc = p.u32(8)
        guard self.contentBytes <= Self.contentBytesMax, self.storedBytes <= self.contentBytes,
            !self.isRaw || self.storedBytes == self.contentBytes,
            Self.bytes + self.storedBytes <= bytes.count
        else { return nil }
        var crc = CRC32C.update(CRC32C.start, UnsafeRawBufferPointer(start: p, count: 8))
        crc = CRC32C.update(
            crc, UnsafeRawBufferPointer(start: p + Self.bytes, count: self.storedBytes))
        guard CRC32C.finish(crc) == self.crc else { return nil }
    }
}
