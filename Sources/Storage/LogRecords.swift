// LogRecords.swift - entries, hard state and log base as they lie in the journal.
//
// Format    entry: u64 index, u64 term, u8 kind, data. Hard state: u64 term, u64 vote, u64 commit.
//           Log base: u64 index, u64 term, u64 generation.
// See       Docs/StorageFormat.md; LogReplay in Raft (what a sequence of them amounts to).

import Primitives
import Raft
import Spool

enum EntryRecord {
    static let headerBytes = 17

    /// - Parameter log: says whether the data is needed; without it the entry is empty.
    static func read(_ payload: UnsafeRawBufferPointer, for log: borrowing LogReplay) -> Entry? {
        guard payload.count >= self.headerBytes, let p = payload.baseAddress,
            let kind = EntryKind(rawValue: payload[16]), p.u64(0) > 0
        else { return nil }
        let index = p.u64(0)
        return Entry(
            term: p.u64(8), index: index, kind: kind,
            data: log.needsData(at: index) ? Array(payload[self.headerBytes...]) : [])
    }
}

enum HardStateRecord {
    static let bytes = 24

    static func read(_ payload: UnsafeRawBufferPointer) -> HardState? {
        guard payload.count == self.bytes, let p = payload.baseAddress else { return nil }
        return HardState(
            term: p.u64(0), vote: Incarnation(raw: p.u64(8)), commit: p.u64(16))
    }
}

/// Where the log begins: behind the state at `position`, which stands in the checkpoint file of
/// `generation`. The greatest generation that the journal names is the current one.
struct LogBase: Equatable, Sendable {
    var position: LogPosition
    var generation: UInt64
}

enum LogBaseRecord {
    static let bytes = 24

    static func read(_ payload: UnsafeRawBufferPointer) -> LogBase? {
        guard payload.count == self.bytes, let p = payload.baseAddress else { return nil }
        return LogBase(
            position: LogPosition(term: p.u64(8), index: p.u64(0)), generation: p.u64(16))
    }
}
