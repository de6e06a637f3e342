// PendingBuffer.swift - records on their way to the journal, laid out as they will be written.

import Glibc
import Primitives
import Raft
import Spool

/// What the index must learn once a record is durable.
struct RecordMark {
    enum Kind {
        case chunk
        case end
        case body
        case abandoned
        case note
    }
    var kind: Kind
    /// Of the record, from the begin of what it stands in.
    var offset: UInt32
    var length: UInt32
    var stream: UInt64
    var tag: Tag
}

/// Memory for records; reused. Guarded by the lanes' lock while it is filled, the writer's alone
/// once it is taken.
final class PendingBuffer {
    let base: UnsafeMutableRawPointer
    let capacity: Int
    private(set) var count = 0
    /// Of each record, in order.
    private(set) var crcs: [UInt32] = []
    var marks: [RecordMark] = []
    var entries: UInt32 = 0
    var hardStates: UInt32 = 0
    var lastEntryIndex: UInt64 = 0
    var hardState: HardState?
    var logBase: LogBase?
    var lastPosition: UInt64 = 0
    /// Buffers of the bulk lane count from 1.
    var ordinal: UInt64 = 0
    /// The bulk lane must be written up to this buffer before this one, or with it.
    var bulkNeeded: UInt64 = 0
    var bodyBytes = 0

    init(capacity: Int) {
        self.base = .allocate(byteCount: capacity, alignment: 4096)
        self.capacity = capacity
    }

    deinit { self.base.deallocate() }

    func reset() {
        self.count = 0
        self.crcs.removeAll(keepingCapacity: true)
        self.marks.removeAll(keepingCapacity: true)
        self.entries = 0
        self.hardStates = 0
        self.lastEntryIndex = 0
        self.hardState = nil
        self.logBase = nil
        self.bulkNeeded = 0
        self.bodyBytes = 0
    }

    func fits(payload: Int) -> Bool {
        self.count + RecordFormat.bytes(payload: payload) <= self.capacity
    }

    /// Appends one record; `fill` writes exactly `payload` bytes.
    ///
    /// - Returns: where the record stands and how long it is.
    @inline(__always) @discardableResult
    func append(
        _ kind: RecordKind, payload: Int, fill: (UnsafeMutableRawPointer) -> Void
    ) -> (offset: UInt32, length: UInt32) {
        invariant(self.fits(payload: payload), "a record fits in its buffer")
        let record = self.base + self.count
        fill(record + RecordFormat.headerBytes)
        self.crcs.append(RecordFormat.seal(record, kind: kind, payload: payload))
        let length = RecordFormat.bytes(payload: payload)
        defer { self.count += length }
        return (UInt32(self.count), UInt32(length))
    }

    /// Appends a sealed record as it is.
    func append(sealed record: UnsafeRawBufferPointer, crc: UInt32) {
        guard let source = record.baseAddress else { return }
        memcpy(self.base + self.count, source, record.count)
        self.crcs.append(crc)
        self.count += record.count
    }

    var bytes: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: self.base, count: self.count)
    }
}

/// Payloads that the journal itself knows.
extension PendingBuffer {
    func appendEntry(_ entry: Entry) {
        let payload = EntryRecord.headerBytes + entry.data.count
        self.append(.entry, payload: payload) { p in
            p.put(entry.index, 0)
            p.put(entry.term, 8)
            p.put(entry.kind.rawValue, 16)
            entry.data.withUnsafeBytes { bytes in
                if let source = bytes.baseAddress {
                    memcpy(p + EntryRecord.headerBytes, source, bytes.count)
                }
            }
        }
        self.entries += 1
        self.lastEntryIndex = max(self.lastEntryIndex, entry.index)
    }

    func append(_ state: HardState) {
        self.append(.hardState, payload: HardStateRecord.bytes) { p in
            p.put(state.term, 0)
            p.put(state.vote.raw, 8)
            p.put(state.commit, 16)
        }
        self.hardStates += 1
        self.hardState = state
    }

    func appendIdentity(_ identity: NodeIdentity) {
        let name = Array(identity.node.utf8)
        self.append(.identity, payload: 24 + name.count) { p in
            p.put(identity.incarnation.raw, 0)
            p.put(identity.cluster.raw, 8)
            p.put(identity.boot, 16)
            name.withUnsafeBytes { n in
                if let source = n.baseAddress { memcpy(p + 24, source, n.count) }
            }
        }
    }

    func append(_ base: LogBase) {
        self.append(.logBase, payload: LogBaseRecord.bytes) { p in
            p.put(base.position.index, 0)
            p.put(base.position.term, 8)
            p.put(base.generation, 16)
        }
        self.logBase = base
    }
}
