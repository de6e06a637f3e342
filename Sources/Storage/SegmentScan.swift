// SegmentScan.swift - what stands in one segment, sound or not.
//
// Takes     the bytes of a segment and the number of its use.
// Gives     its batches in order, each with its sound records and its first damage.
// See       JournalReplay (what damage amounts to), Docs/StorageFormat.md.

import Primitives
import Spool

/// A sound record.
struct ScannedRecord {
    var kind: RecordKind
    /// Of the record in its file.
    var offset: Int
    var payload: Int
    var crc: UInt32

    var bytes: Int { RecordFormat.bytes(payload: self.payload) }
    func content(_ file: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        let start = self.offset + RecordFormat.headerBytes
        return UnsafeRawBufferPointer(rebasing: file[start..<start + self.payload])
    }
}

/// A place that is not what was written. Without a kind nobody knows what was here.
struct ScannedDamage {
    var kind: RecordKind?
    var offset: Int
    var payload: Int
}

struct ScannedBatch {
    var segment: UInt64
    var number: UInt64
    var offset: Int
    var end: Int
    /// 0 if the header is lost.
    var durableBefore: UInt64 = 0
    var previousCRC: UInt32 = 0
    var recordsCRC: UInt32 = 0
    var records: [ScannedRecord] = []
    var damage: [ScannedDamage] = []
    /// How many entries and hard states are missing among the records.
    var missingEntries = 0
    var missingHardStates = 0
    /// The header was damaged; the batch after vouches for the records.
    var isRepaired = false
    /// The greatest that its sound log bases name; 0: it has none.
    var generation: UInt64 = 0
}

enum SegmentScan {
    /// All batches of the use `segment`; what follows the last valid one is not among them unless
    /// its header is valid.
    static func run(_ file: UnsafeRawBufferPointer, segment: UInt64) -> [ScannedBatch] {
        var batches: [ScannedBatch] = []
        var offset = 0
        while let at = self.nextHeader(file, from: offset, segment: segment) {
            guard let header = BatchHeader(file, at: at, segment: segment) else { break }
            // A gap in front: the batch's own words about the one before say what it was.
            if at > offset, header.number > 1, batches.last?.number ?? 0 < header.number - 1 {
                batches.append(
                    self.lost(
                        file, offset..<at, segment: segment, number: header.number - 1,
                        crc: header.previousCRC))
            }
            batches.append(self.read(file, header, at: at))
            offset = at + Int(header.length)
        }
        return batches
    }

    /// The end of what is in use: where the last batch ends.
    private static func nextHeader(
        _ file: UnsafeRawBufferPointer, from start: Int, segment: UInt64
    ) -> Int? {
        var at = start
        while at + BatchHeader.bytes <= file.count {
            if BatchHeader(file, at: at, segment: segment) != nil { return at }
            at += 8
        }
        return nil
    }

    private static func read(
        _ file: UnsafeRawBufferPointer, _ header: BatchHeader, at: Int
    ) -> ScannedBatch {
        var batch = ScannedBatch(
            segment: header.segment, number: header.number, offset: at,
            end: at + Int(header.length), durableBefore: header.durableBefore,
            previousCRC: header.previousCRC, recordsCRC: header.recordsCRC)
        self.walk(file, &batch, from: at + BatchHeader.bytes)
        var crc = CRC32C.start
        var entries = 0
        var hardStates = 0
        for record in batch.records {
            crc = withUnsafeBytes(of: record.crc.littleEndian) { CRC32C.update(crc, $0) }
            if record.kind == .entry { entries += 1 }
            if record.kind == .hardState { hardStates += 1 }
        }
        // Sound records of an earlier use of the file, where a write was lost.
        if batch.damage.isEmpty, CRC32C.finish(crc) != header.recordsCRC {
            batch.damage.append(
                ScannedDamage(kind: nil, offset: at + BatchHeader.bytes, payload: 0))
            batch.records = []
            (entries, hardStates) = (0, 0)
        }
        batch.missingEntries = max(0, Int(header.entries) - entries)
        batch.missingHardStates = max(0, Int(header.hardStates) - hardStates)
        return batch
    }

    private static func walk(
        _ file: UnsafeRawBufferPointer, _ batch: inout ScannedBatch, from start: Int
    ) {
        var at = start
        while at < batch.end {
            let rest = UnsafeRawBufferPointer(rebasing: file[at..<batch.end])
            switch RecordFormat.inspect(rest) {
            case .sound(let kind, let payload, let crc):
                batch.records.append(
                    ScannedRecord(kind: kind, offset: at, payload: payload, crc: crc))
                at += RecordFormat.bytes(payload: payload)
            case .damaged(let kind, let payload):
                batch.damage.append(ScannedDamage(kind: kind, offset: at, payload: payload))
                at += RecordFormat.bytes(payload: payload)
            case .unreadable:
                // Whatever follows, nobody vouches for where a record begins.
                batch.damage.append(ScannedDamage(kind: nil, offset: at, payload: 0))
                at = batch.end
            }
        }
    }

    /// A batch whose header is damaged, in front of one that says what its records added up to.
    private static func lost(
        _ file: UnsafeRawBufferPointer, _ range: Range<Int>, segment: UInt64, number: UInt64,
        crc: UInt32
    ) -> ScannedBatch {
        var batch = ScannedBatch(
            segment: segment, number: number, offset: range.lowerBound, end: range.upperBound)
        self.walk(file, &batch, from: range.lowerBound + BatchHeader.bytes)
        self.vouch(&batch, crc)
        return batch
    }

    private static func vouch(_ batch: inout ScannedBatch, _ crc: UInt32) {
        var sum = CRC32C.start
        var kept = 0
        for (i, record) in batch.records.enumerated() {
            sum = withUnsafeBytes(of: record.crc.littleEndian) { CRC32C.update(sum, $0) }
            if CRC32C.finish(sum) == crc {
                kept = i + 1
                break
            }
        }
        if kept > 0 {
            batch.records.removeSubrange(kept...)
            batch.damage = []
            batch.recordsCRC = crc
            batch.isRepaired = true
        } else {
            batch.records = []
            batch.damage = [ScannedDamage(kind: nil, offset: batch.offset, payload: 0)]
            batch.missingEntries = 1
        }
    }

    /// The last batch of a segment, its header damaged: the next segment's first batch tells its
    /// number and what its records add up to.
    static func lostAtEnd(
        _ file: UnsafeRawBufferPointer, from offset: Int, segment: UInt64, number: UInt64,
        crc: UInt32
    ) -> ScannedBatch {
        self.lost(
            file, min(offset, file.count)..<file.count, segment: segment, number: number, crc: crc)
    }
}
