// Sidecar.swift - the table of contents of a file of old bodies.
//
// Gives     a start that need not read the bodies: 40 bytes a record, one checksum.
// See       Docs/StorageFormat.md.

import Primitives
import Spool

/// One record of the file.
struct SidecarEntry: Equatable {
    var owner: RecordOwner
    /// 0 for a whole body.
    var stream: UInt64
    var offset: UInt32
    var length: UInt32
}

struct Sidecar {
    private static let magic: UInt64 = 0x3130_5844_4942_4850  // "PHBIDX01"
    private static let headerBytes = 32
    private static let entryBytes = 40

    var file: UInt64
    /// Bytes of the file that the entries cover; what follows was never acknowledged.
    var dataBytes: Int
    var entries: [SidecarEntry]

    static func name(_ number: UInt64) -> String {
        String(SegmentPool.segmentName(number).dropLast(4)) + ".idx"
    }

    func encoded() -> [UInt8] {
        let size = Self.headerBytes + self.entries.count * Self.entryBytes
        var bytes = [UInt8](repeating: 0, count: size)
        bytes.withUnsafeMutableBytes { raw in
            guard let base = raw.baseAddress else { return }
            base.put(Self.magic, 0)
            base.put(self.file, 8)
            base.put(UInt64(self.dataBytes), 16)
            base.put(UInt32(self.entries.count), 24)
            var p = base + Self.headerBytes
            for entry in self.entries {
                p.put(entry.stream, 0)
                switch entry.owner {
                case .tag(let tag):
                    p.put(tag.session.raw, 8)
                    p.put(tag.sequence, 16)
                    p.put(UInt32(1), 28)
                case .chunk(_, let ordinal):
                    p.put(UInt32(ordinal), 24)
                    p.put(UInt32(2), 28)
                }
                p.put(entry.offset, 32)
                p.put(entry.length, 36)
                p += Self.entryBytes
            }
            base.put(Self.checksum(UnsafeRawBufferPointer(raw)), 28)
        }
        return bytes
    }

    /// Nil if it is not what was written.
    init?(_ bytes: [UInt8], file: UInt64) {
        var entries: [SidecarEntry] = []
        var dataBytes = 0
        let isSound = bytes.withUnsafeBytes { raw -> Bool in
            guard raw.count >= Self.headerBytes, let base = raw.baseAddress,
                base.u64(0) == Self.magic, base.u64(8) == file,
                base.u32(28) == Self.checksum(raw)
            else { return false }
            let count = Int(base.u32(24))
            guard raw.count == Self.headerBytes + count * Self.entryBytes else { return false }
            dataBytes = Int(base.u64(16))
            entries.reserveCapacity(count)
            var p = base + Self.headerBytes
            for _ in 0..<count {
                let stream = p.u64(0)
                let tag = Tag(session: SessionID(raw: p.u64(8)), sequence: p.u64(16))
                entries.append(
                    SidecarEntry(
                        owner: p.u32(28) == 1
                            ? .tag(tag) : .chunk(stream: stream, ordinal: Int(p.u32(24))),
                        stream: stream, offset: p.u32(32), length: p.u32(36)))
                p += Self.entryBytes
            }
            return true
        }
        guard isSound else { return nil }
        self.init(file: file, dataBytes: dataBytes, entries: entries)
    }

    init(file: UInt64, dataBytes: Int, entries: [SidecarEntry]) {
        self.file = file
        self.dataBytes = dataBytes
        self.entries = entries
    }

    /// Of everything but the four bytes where it stands.
    private static func checksum(_ raw: UnsafeRawBufferPointer) -> UInt32 {
        var crc = CRC32C.update(CRC32C.start, UnsafeRawBufferPointer(rebasing: raw[..<28]))
        crc = CRC32C.update(crc, UnsafeRawBufferPointer(rebasing: raw[headerBytes...]))
        return CRC32C.finish(crc)
    }
}
