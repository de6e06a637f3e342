// FormatTests.swift - what is written is read, what is changed is noticed.

import Primitives
import Spool
import Testing

@Suite("Formats of the journal")
struct FormatTests {
    /// A sealed record with `payload` bytes of content.
    private func record(_ kind: RecordKind, _ payload: [UInt8]) -> [UInt8] {
        var bytes = [UInt8](repeating: 0xEE, count: RecordFormat.bytes(payload: payload.count))
        bytes.withUnsafeMutableBytes { raw in
            let base = raw.baseAddress!
            for (i, byte) in payload.enumerated() {
                base.storeBytes(
                    of: byte, toByteOffset: RecordFormat.headerBytes + i, as: UInt8.self)
            }
            _ = RecordFormat.seal(base, kind: kind, payload: payload.count)
        }
        return bytes
    }

    private func inspect(_ bytes: [UInt8]) -> RecordFormat.Finding {
        bytes.withUnsafeBytes { RecordFormat.inspect($0) }
    }

    @Test func `a record is read as it was written`() {
        for count in [0, 1, 7, 8, 9, 1000] {
            let bytes = self.record(.note, [UInt8](repeating: 7, count: count))
            #expect(bytes.count % 8 == 0)
            guard case .sound(.note, count, _) = self.inspect(bytes) else {
                Issue.record("\(count) bytes: \(self.inspect(bytes))")
                continue
            }
        }
    }

    @Test
    func `no changed bit of a record goes unnoticed, and the kind survives a damaged payload`() {
        let payload: [UInt8] = Array(0..<40)
        let bytes = self.record(.body, payload)
        for i in 0..<(RecordFormat.headerBytes + payload.count) {
            for bit in 0..<8 {
                var changed = bytes
                changed[i] ^= 1 << UInt8(bit)
                switch self.inspect(changed) {
                case .sound: Issue.record("byte \(i), bit \(bit)")
                case .damaged(let kind, let length):
                    #expect(kind == .body && length == payload.count)
                    #expect(i < 4 || i >= RecordFormat.headerBytes)
                case .unreadable: #expect(i >= 4 && i < RecordFormat.headerBytes)
                }
            }
        }
    }

    @Test func `a length at the limit is believed, one more is not`() {
        var bytes = [UInt8](repeating: 0, count: 16)
        for (length, believed) in [
            (RecordFormat.payloadBytesMax, true), (RecordFormat.payloadBytesMax + 1, false),
        ] {
            bytes.withUnsafeMutableBytes { raw in
                let p = raw.baseAddress!
                p.put(UInt32(length), 4)
                p.put(UInt32(RecordKind.entry.rawValue), 8)
                p.put(CRC32C.checksum(UnsafeRawBufferPointer(start: p + 4, count: 8)), 12)
            }
            let expected: RecordFormat.Finding =
                believed ? .damaged(kind: .entry, payload: length) : .unreadable
            #expect(self.inspect(bytes) == expected)
        }
    }

    @Test func `a batch header counts only in its use of the file and at its place`() {
        let header = BatchHeader(
            length: 128, segment: 9, number: 4, durableBefore: 3, offset: 64, previousCRC: 1,
            recordsCRC: 2, records: 3, entries: 1, hardStates: 1)
        var file = [UInt8](repeating: 0, count: 256)
        file.withUnsafeMutableBytes { header.store(at: $0.baseAddress! + 64) }
        file.withUnsafeBytes { raw in
            #expect(BatchHeader(raw, at: 64, segment: 9) == header)
            #expect(BatchHeader(raw, at: 64, segment: 8) == nil)
            #expect(BatchHeader(raw, at: 0, segment: 9) == nil)
        }
        var moved = [UInt8](repeating: 0, count: 256)
        moved.replaceSubrange(72..<136, with: file[64..<128])
        moved.withUnsafeBytes { #expect(BatchHeader($0, at: 72, segment: 9) == nil) }
        // It ends with the file, and not one step beyond.
        file.removeSubrange(192...)
        file.withUnsafeBytes { #expect(BatchHeader($0, at: 64, segment: 9) != nil) }
        file.removeLast()
        file.withUnsafeBytes { #expect(BatchHeader($0, at: 64, segment: 9) == nil) }
    }

    @Test func `a body's header is known by its own checksum`() {
        let header = BodyHeader(
            stream: 1, tag: Tag(session: SessionID(raw: 2), sequence: 3),
            digest: BodyDigest(a: 4, b: 5, c: 6, d: 7), contentBytes: 8, headBytes: 9,
            blockCount: 10, chunkCount: 11)
        var bytes = [UInt8](repeating: 0, count: BodyHeader.bytes)
        bytes.withUnsafeMutableBytes { header.store(at: $0.baseAddress!) }
        #expect(bytes.withUnsafeBytes { BodyHeader($0) } == header)
        for i in bytes.indices {
            var changed = bytes
            changed[i] ^= 0x10
            #expect(changed.withUnsafeBytes { BodyHeader($0) } == nil)
        }
        bytes.removeLast()
        #expect(bytes.withUnsafeBytes { BodyHeader($0) } == nil)
    }
}

@Suite("Garbage, by proof")
struct GarbageTests {
    @Test func `only what is resolved and not live may go`() {
        for (resolved, live, goes) in [
            (true, false, true), (true, true, false), (false, false, false), (false, true, false),
        ] {
            let standing = TagStanding(isResolved: resolved, isLiveHere: live)
            #expect(GarbageRule.mayDelete(standing) == goes)
        }
    }

    @Test func `a pass over more than a fifth is believed only if what is live stays`() {
        // At the limit nobody asks; one more is compared with the queue's own count.
        #expect(!GarbageBreaker.trips(freeing: 20, indexed: 100, live: 100))
        #expect(GarbageBreaker.trips(freeing: 21, indexed: 100, live: 80))
        #expect(!GarbageBreaker.trips(freeing: 21, indexed: 100, live: 79))
        #expect(!GarbageBreaker.trips(freeing: 100, indexed: 100, live: 0))
        #expect(GarbageBreaker.trips(freeing: 100, indexed: 100, live: 1))
    }

    @Test func `many small passes together take no more than a fifth of what is live`() {
        #expect(!GarbageBreaker.trips(freeing: 1, indexed: 81, live: 100))
        #expect(GarbageBreaker.trips(freeing: 1, indexed: 80, live: 100))
        #expect(!GarbageBreaker.trips(freeing: 0, indexed: 80, live: 101))
    }
}
