// BlockCodec.swift - LZ4 around a body's blocks.
//
// Standard  LZ4 block format (lz4.h); a block that does not shrink is stored as it is.

import CLZ4
import Glibc
import Primitives
import Spool

/// Compresses and expands blocks; usable from any thread.
package enum BlockCodec {
    /// Content bytes of one block, at most.
    package static let blockBytesMax = BlockHeader.contentBytesMax

    /// Appends one block to `out`.
    ///
    /// - Parameter content: 1 to 64 KiB.
    package static func encode(_ content: UnsafeRawBufferPointer, into out: inout [UInt8]) {
        invariant(content.count <= blockBytesMax, "a block is at most 64 KiB")
        guard let source = content.baseAddress, content.count > 0 else { return }
        let start = out.count
        let room = BlockHeader.bytes + content.count
        out.reserveCapacity(start + room)
        withUnsafeTemporaryAllocation(byteCount: room, alignment: 8) { scratch in
            guard let block = scratch.baseAddress else { return }
            let target = (block + BlockHeader.bytes).assumingMemoryBound(to: CChar.self)
            // Worth it only if at least one byte is saved: the room is one byte short of that.
            let packed = LZ4_compress_default(
                source.assumingMemoryBound(to: CChar.self), target, Int32(content.count),
                Int32(content.count - 1))
            let stored = packed > 0 ? Int(packed) : content.count
            if packed <= 0 { memcpy(target, source, content.count) }
            BlockHeader.seal(block, stored: stored, content: content.count, raw: packed <= 0)
            out.append(
                contentsOf: UnsafeRawBufferPointer(
                    start: block, count: BlockHeader.bytes + stored))
        }
    }

    /// Expands every block in `blocks`; returns their number, or nil if any is not what was
    /// written. `out` then holds what came before.
    package static func decode(
        _ blocks: UnsafeRawBufferPointer, into out: inout [UInt8]
    ) -> Int? {
        var rest = blocks
        var count = 0
        while rest.count > 0 {
            guard let header = BlockHeader(rest), let base = rest.baseAddress else { return nil }
            let stored = base + BlockHeader.bytes
            let start = out.count
            if header.isRaw {
                out.append(
                    contentsOf: UnsafeRawBufferPointer(start: stored, count: header.storedBytes))
            } else {
                out.append(contentsOf: repeatElement(0, count: header.contentBytes))
                let done = out.withUnsafeMutableBytes { bytes in
                    bytes.baseAddress.map {
                        LZ4_decompress_safe(
                            stored.assumingMemoryBound(to: CChar.self),
                            ($0 + start).assumingMemoryBound(to: CChar.self),
                            Int32(header.storedBytes), Int32(header.contentBytes))
                    }
                }
                guard done == Int32(header.contentBytes) else { return nil }
            }
            rest = UnsafeRawBufferPointer(
                rebasing: rest[(BlockHeader.bytes + header.storedBytes)...])
            count += 1
        }
        return count
    }
}
