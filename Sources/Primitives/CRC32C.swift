// CRC32C.swift - the checksum of every record, block and frame.
//
// Standard  RFC 3720 §12.1 (Castagnoli polynomial, reflected 0x82F63B78).
// Limits    finds all burst errors up to 32 bits; not a defence against an attacker.

/// CRC32C over any number of pieces: `CRC32C.update(crc, piece)` starting from `CRC32C.start`, then
/// `CRC32C.finish`.
package enum CRC32C {
    package static let start: UInt32 = 0xFFFF_FFFF

    @inline(__always)
    package static func finish(_ crc: UInt32) -> UInt32 { ~crc }

    /// The checksum of one piece.
    package static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        self.finish(self.update(self.start, bytes))
    }

    /// The checksum of one piece.
    package static func checksum(_ bytes: [UInt8]) -> UInt32 {
        bytes.withUnsafeBytes { self.checksum($0) }
    }

    /// Sixteen bytes a step by sixteen tables.
    package static func update(_ crc: UInt32, _ bytes: UnsafeRawBufferPointer) -> UInt32 {
        guard let base = bytes.baseAddress, bytes.count > 0 else { return crc }
        let t = Self.tables
        var c = crc
        var p = base
        var left = bytes.count
        while left >= 16 {
            let a = UInt32(littleEndian: p.loadUnaligned(as: UInt32.self)) ^ c
            let b = UInt32(littleEndian: p.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
            let d = UInt32(littleEndian: p.loadUnaligned(fromByteOffset: 8, as: UInt32.self))
            let e = UInt32(littleEndian: p.loadUnaligned(fromByteOffset: 12, as: UInt32.self))
            let x0 = Self.word(t, 12, a)
            let x1 = Self.word(t, 8, b)
            let x2 = Self.word(t, 4, d)
            let x3 = Self.word(t, 0, e)
            c = (x0 ^ x1) ^ (x2 ^ x3)
            p += 16
            left -= 16
        }
        while left > 0 {
            let index = Int((c ^ UInt32(p.load(as: UInt8.self))) & 0xFF)
            c = t[index] ^ (c >> 8)
            p += 1
            left -= 1
        }
        return c
    }

    /// What four bytes contribute that stand `block` × 1 … `block` + 3 steps before the end.
    @inline(__always)
    private static func word(
        _ t: UnsafePointer<UInt32>, _ block: Int, _ v: UInt32
    ) -> UInt32 {
        t[(block + 3) &* 256 &+ Int(v & 0xFF)]
            ^ t[(block + 2) &* 256 &+ Int((v >> 8) & 0xFF)]
            ^ t[(block + 1) &* 256 &+ Int((v >> 16) & 0xFF)]
            ^ t[block &* 256 &+ Int(v >> 24)]
    }

    /// 16 × 256 entries, made once and kept for the life of the process. `nonisolated(unsafe)`:
    /// written before the first use only.
    nonisolated(unsafe) private static let tables: UnsafePointer<UInt32> = {
        let t = UnsafeMutablePointer<UInt32>.allocate(capacity: 16 * 256)
        for i in 0..<256 {
            var c = UInt32(i)
            for _ in 0..<8 { c = (c & 1) == 1 ? (c >> 1) ^ 0x82F6_3B78 : c >> 1 }
            t[i] = c
        }
        for k in 1..<16 {
            for i in 0..<256 {
                let previous = t[(k - 1) * 256 + i]
                t[k * 256 + i] = t[Int(previous & 0xFF)] ^ (previous >> 8)
            }
        }
        return UnsafePointer(t)
    }()
}
