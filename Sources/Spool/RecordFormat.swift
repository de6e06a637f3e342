// RecordFormat.swift - the layout of journal records, to the byte.
//
// Takes     memory that holds, or will hold, one record.
// Gives     sealed records; the kind, payload and soundness of records that are read.
// Never     files, allocation.
// See       Docs/StorageFormat.md.

package import Primitives

/// What a record is. Raw values stand on disk.
package enum RecordKind: UInt8, Sendable {
    case entry = 1
    case hardState = 2
    case chunk = 3
    case bodyEnd = 4
    case body = 5
    case abandoned = 6
    case note = 7
    case identity = 8
    case logBase = 9

    /// A damaged record of these costs one copy of a body, not the node's word.
    package var isBody: Bool {
        switch self {
        case .chunk, .bodyEnd, .body, .abandoned: true
        case .entry, .hardState, .note, .identity, .logBase: false
        }
    }
}

/// A record: header of 16 bytes, payload, zeros up to a multiple of 8.
///
/// Header: u32 CRC32C of the rest of the header and the payload; u32 payload bytes; u8 kind;
/// 3 zero bytes; u32 CRC32C of bytes 4 ..< 12 (the *check*). With the check sound, kind and length
/// can be relied on even when the payload is damaged.
package enum RecordFormat {
    package static let headerBytes = 16
    /// Larger records are never written and never believed.
    package static let payloadBytesMax = 8 << 20

    /// Bytes of the whole record.
    @inline(__always)
    package static func bytes(payload: Int) -> Int { (headerBytes + payload + 7) & ~7 }

    /// Completes a record whose payload stands at `record + headerBytes` already.
    ///
    /// - Returns: the record's CRC32C, which the batch header covers.
    package static func seal(
        _ record: UnsafeMutableRawPointer, kind: RecordKind, payload: Int
    ) -> UInt32 {
        record.storeBytes(of: UInt32(payload).littleEndian, toByteOffset: 4, as: UInt32.self)
        record.storeBytes(
            of: UInt32(kind.rawValue).littleEndian, toByteOffset: 8, as: UInt32.self)
        let check = CRC32C.checksum(UnsafeRawBufferPointer(start: record + 4, count: 8))
        record.storeBytes(of: check.littleEndian, toByteOffset: 12, as: UInt32.self)
        let end = headerBytes + payload
        for i in end..<Self.bytes(payload: payload) {
            record.storeBytes(of: 0, toByteOffset: i, as: UInt8.self)
        }
        let crc = CRC32C.checksum(UnsafeRawBufferPointer(start: record + 4, count: end - 4))
        record.storeBytes(of: crc.littleEndian, as: UInt32.self)
        return crc
    }

    /// What stands at a place where a record should begin.
    package enum Finding: Equatable {
        case sound(kind: RecordKind, payload: Int, crc: UInt32)
        /// Kind and length are known, the payload is not what was written.
        case damaged(kind: RecordKind, payload: Int)
        /// No record header.
        case unreadable
    }

    package static func inspect(_ bytes: UnsafeRawBufferPointer) -> Finding {
        guard bytes.count >= headerBytes, let base = bytes.baseAddress else { return .unreadable }
        let check = CRC32C.checksum(UnsafeRawBufferPointer(start: base + 4, count: 8))
        guard check == base.u32(12), let kind = RecordKind(rawValue: UInt8(base.u32(8) & 0xFF)),
            base.u32(8) >> 8 == 0
        else { return .unreadable }
        let payload = Int(base.u32(4))
        guard payload <= payloadBytesMax else { return .unreadable }
        guard Self.bytes(payload: payload) <= bytes.count else {
            return .damaged(kind: kind, payload: payload)
        }
        let crc = CRC32C.checksum(
            UnsafeRawBufferPointer(start: base + 4, count: headerBytes - 4 + payload))
        guard crc == base.u32(0) else { return .damaged(kind: kind, payload: payload) }
        return .sound(kind: kind, payload: payload, crc: crc)
    }
}

/// The part of a body's record (`.body`, `.bodyEnd`) in front of head and blocks: 80 bytes with
/// a checksum of its own, so that a damaged body is still known by its name.
package struct BodyHeader: Equatable, Sendable {
    package static let bytes = 80

    /// 0: the blocks follow in this record.
    package var stream: UInt64
    package var tag: Tag
    /// SHA-256 of the content.
    package var digest: BodyDigest
    /// Of the content, before compression.
    package var contentBytes: UInt64
    package var headBytes: UInt32
    package var blockCount: UInt32
    package var chunkCount: UInt32

    package init(
        stream: UInt64, tag: Tag, digest: BodyDigest, contentBytes: UInt64, headBytes: UInt32,
        blockCount: UInt32, chunkCount: UInt32
    ) {
        self.stream = stream
        self.tag = tag
        self.digest = digest
        self.contentBytes = contentBytes
        self.headBytes = headBytes
        self.blockCount = blockCount
        self.chunkCount = chunkCount
    }

    package func store(at p: UnsafeMutableRawPointer) {
        p.put(self.stream, 0)
        p.put(self.tag.session.raw, 8)
        p.put(self.tag.sequence, 16)
        p.put(self.digest.a, 24)
        p.put(self.digest.b, 32)
        p.put(self.digest.c, 40)
        p.put(self.digest.d, 48)
        p.put(self.contentBytes, 56)
        p.put(self.headBytes, 64)
        p.put(self.blockCount, 68)
        p.put(self.chunkCount, 72)
        p.put(CRC32C.checksum(UnsafeRawBufferPointer(start: p, count: 76)), 76)
    }

    /// Nil if it is not what was written.
    package init?(_ payload: UnsafeRawBufferPointer) {
        guard payload.count >= Self.bytes, let p = payload.baseAddress,
            CRC32C.checksum(UnsafeRawBufferPointer(start: p, count: 76)) == p.u32(76)
        else { return nil }
        self.init(
            stream: p.u64(0),
            tag: Tag(session: SessionID(raw: p.u64(8)), sequence: p.u64(16)),
            digest: BodyDigest(a: p.u64(24), b: p.u64(32), c: p.u64(40), d: p.u64(48)),
            contentBytes: p.u64(56), headBytes: p.u32(64), blockCount: p.u32(68),
            chunkCount: p.u32(72))
    }
}

/// In front of a chunk's blocks: u64 stream, u32 ordinal from 0, u32 zero.
package enum ChunkHeader {
    package static let bytes = 16
}

extension UnsafeRawPointer {
    /// A little-endian number at `offset`, wherever it lies.
    @inline(__always)
    package func u32(_ offset: Int) -> UInt32 {
        UInt32(littleEndian: self.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }
    /// A little-endian number at `offset`, wherever it lies.
    @inline(__always)
    package func u64(_ offset: Int) -> UInt64 {
        UInt64(littleEndian: self.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }
}

extension UnsafeMutableRawPointer {
    /// Stores a number, little-endian, at `offset`.
    @inline(__always)
    package func put<T: FixedWidthInteger>(_ value: T, _ offset: Int) {
        self.storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
    }
}
