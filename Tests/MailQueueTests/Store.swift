// Store.swift - what a checkpoint's storage does: rows by key, one meta blob; or it fails.

import Primitives
import Testing

@testable import MailQueue

/// A whole checkpoint at once.
struct CheckpointDelta {
    var upserts: [(key: [UInt8], row: [UInt8])] = []
    var deletes: [[UInt8]] = []
    var meta: [UInt8] = []
    var applied: UInt64 = 0
    var stateHash: UInt64 = 0
    /// Rows and deletions of each slice.
    var slices: [Int] = []

    mutating func add(_ batch: RowBatch) {
        batch.forEach { key, row in
            if let row {
                self.upserts.append((Array(key), Array(row)))
            } else {
                self.deletes.append(Array(key))
            }
        }
        self.slices.append(batch.count)
    }

    mutating func add(_ seal: CheckpointSeal) {
        self.meta = seal.meta
        self.applied = seal.applied
        self.stateHash = seal.stateHash
    }
}

extension MailQueue {
    static func key(_ tag: Tag) -> [UInt8] {
        var key: [UInt8] = []
        Self.withKey(tag) { key = Array($0) }
        return key
    }

    /// A checkpoint that is saved, with nothing applied in between.
    mutating func takeDirty() -> CheckpointDelta {
        var delta = CheckpointDelta()
        self.beginCheckpoint()
        var isDone = false
        while !isDone {
            var batch = RowBatch()
            isDone = self.encodeCheckpoint(rows: 100, bytesMax: 1 << 20, into: &batch)
            delta.add(batch)
        }
        delta.add(self.sealCheckpoint())
        self.endCheckpoint()
        return delta
    }
}

struct Store {
    var rows: [[UInt8]: [UInt8]] = [:]
    var meta: [UInt8] = []
    var stateHash: UInt64 = 0

    mutating func take(_ delta: CheckpointDelta) {
        for (key, row) in delta.upserts { self.rows[key] = row }
        for key in delta.deletes { self.rows[key] = nil }
        self.meta = delta.meta
        self.stateHash = delta.stateHash
    }

    func restore() throws(CodecError) -> MailQueue {
        var queue = try MailQueue(restoring: self.meta)
        for (key, row) in self.rows { try queue.restore(key: key, row: row) }
        try queue.finishRestoring()
        return queue
    }
}
