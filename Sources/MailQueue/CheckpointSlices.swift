// CheckpointSlices.swift - a checkpoint of one index, encoded in slices while entries are applied.
//
// Takes     begin; slices until all is encoded; seal; then end (it is saved) or giveBack (it is
//           not).
// Gives     rows, deletions and meta as they were at `begin`, whatever is applied in between.
// Order     `touch` comes BEFORE a row is changed: one that the checkpoint still has to encode is
//           encoded then (`preserve`). What came after `begin` belongs to the next checkpoint.
// Limits    a slice is bounded by its caller. Beside the slice in hand, only rows that changed
//           before their turn are kept encoded, until the next slice takes them.
// See       Docs/Decisions/0016, invariant 7; CheckpointSliceTests.

package import Primitives

/// In which list of dirty rows a slot stands. Two values take turns as that of the next checkpoint,
/// so that a begin need not visit the rows: those with the other one are still to be encoded.
enum Listing: UInt8 {
    case none
    case even
    case odd

    var other: Listing { self == .even ? .odd : .even }
}

/// The checkpoint that is being made, or the memory for the next.
struct CheckpointWork {
    enum Phase {
        case idle
        case encoding
        /// All is encoded; whether it is saved is not known yet.
        case sealed
        /// It was not saved: its rows go into the next.
        case givingBack
    }
    var phase = Phase.idle
    /// Rows of the checkpoint, each once; slots of messages that have ended among them.
    var slots: [UInt32] = []
    /// The first of `slots` that is still to be encoded, or given back.
    var nextSlot = 0
    var deleted: [Tag] = []
    var nextDeleted = 0
    /// Rows that were changed before their turn, as they were.
    var preserved = RowBatch()
    /// The index that it is of.
    var applied: UInt64 = 0
    /// The sum of the rows' hashes at that index, as far as they are encoded.
    var rowHashes: UInt64 = 0
    /// At that index, but for the sum.
    var meta: [UInt8] = []
    /// Where the sum stands in `meta`.
    var rowHashesAt = 0

    /// Room is kept for the next one, but for not too much of it.
    mutating func clear() {
        self.phase = .idle
        self.slots.removeAll(keepingCapacity: self.slots.count < 1 << 16)
        self.deleted.removeAll(keepingCapacity: self.deleted.count < 1 << 14)
        self.preserved = RowBatch()
        self.meta = []
    }
}

/// What is not a message's row, once all rows are encoded.
package struct CheckpointSeal: Sendable {
    /// Replaces the one before.
    package var meta: [UInt8]
    /// The index that all of it is of.
    package var applied: UInt64
    package var stateHash: UInt64
}

extension MailQueue {
    /// Starts a checkpoint of the state as it is now: what changed since the one before. Only when
    /// none is being made. Its cost does not depend on how much that is.
    package mutating func beginCheckpoint() {
        invariant(self.work.phase == .idle, "one checkpoint at a time")
        self.work.phase = .encoding
        swap(&self.work.slots, &self.dirty)
        swap(&self.work.deleted, &self.deleted)
        self.work.nextSlot = 0
        self.work.nextDeleted = 0
        self.listing = self.listing.other
        self.work.applied = self.applied
        self.work.rowHashes = self.rowHashes
        (self.work.meta, self.work.rowHashesAt) = self.encodeMeta()
    }

    /// Encodes the next part of the checkpoint into `batch`, which is empty.
    ///
    /// - Parameters:
    ///   - limit: rows that are looked at, at most; those preserved come on top.
    ///   - bytesMax: no row is begun behind so many bytes of `batch`.
    /// - Returns: whether that was all; then `sealCheckpoint`.
    package mutating func encodeCheckpoint(
        rows limit: Int, bytesMax: Int, into batch: inout RowBatch
    ) -> Bool {
        invariant(self.work.phase == .encoding, "a checkpoint is being made")
        invariant(batch.isEmpty, "a slice has a batch of its own")
        swap(&batch, &self.work.preserved)
        var left = limit
        while left > 0, batch.byteCount < bytesMax, self.work.nextDeleted < self.work.deleted.count
        {
            left -= 1
            Self.withKey(self.work.deleted[self.work.nextDeleted]) { batch.delete($0) }
            self.work.nextDeleted += 1
        }
        while left > 0, batch.byteCount < bytesMax, self.work.nextSlot < self.work.slots.count {
            left -= 1
            let slot = self.work.slots[self.work.nextSlot]
            self.work.nextSlot += 1
            // Any other one was preserved before it was changed.
            guard self.messages[slot].listing == self.listing.other else { continue }
            if self.messages[slot].isUsed { self.encodePending(slot, into: &batch) }
            self.messages[slot].listing = .none
        }
        return self.work.nextSlot == self.work.slots.count
            && self.work.nextDeleted == self.work.deleted.count
    }

    /// The rest of a checkpoint all of whose rows are encoded.
    package mutating func sealCheckpoint() -> CheckpointSeal {
        invariant(
            self.work.phase == .encoding && self.work.nextSlot == self.work.slots.count
                && self.work.nextDeleted == self.work.deleted.count && self.work.preserved.isEmpty,
            "a checkpoint is sealed with all its rows")
        self.work.phase = .sealed
        for byte in 0..<8 {
            self.work.meta[self.work.rowHashesAt + byte] =
                UInt8(truncatingIfNeeded: self.work.rowHashes >> (8 * UInt64(byte)))
        }
        return CheckpointSeal(
            meta: self.work.meta, applied: self.work.applied,
            stateHash: Self.hash(of: self.work.meta))
    }

    /// The checkpoint is saved.
    package mutating func endCheckpoint() {
        invariant(self.work.phase == .sealed, "what is saved was sealed")
        self.work.clear()
    }

    /// The checkpoint was not saved, sealed or not: its rows and deletions go into the next one, by
    /// slices. What it has encoded counts for nothing.
    ///
    /// - Parameter limit: rows and deletions that are given back now, at most.
    /// - Returns: whether that was all; then another one can begin.
    package mutating func giveBackCheckpoint(rows limit: Int) -> Bool {
        if self.work.phase != .givingBack {
            invariant(self.work.phase != .idle, "a checkpoint is being made")
            self.work.phase = .givingBack
            self.work.preserved = RowBatch()
            self.work.nextSlot = 0
            self.work.nextDeleted = 0
        }
        var left = limit
        while left > 0, self.work.nextDeleted < self.work.deleted.count {
            left -= 1
            self.deleted.append(self.work.deleted[self.work.nextDeleted])
            self.work.nextDeleted += 1
        }
        while left > 0, self.work.nextSlot < self.work.slots.count {
            left -= 1
            let slot = self.work.slots[self.work.nextSlot]
            self.work.nextSlot += 1
            if self.messages[slot].isUsed {
                self.touch(slot)
            } else if self.messages[slot].listing != self.listing {
                self.messages[slot].listing = .none
            }
        }
        guard left > 0 else { return false }
        self.work.clear()
        return true
    }

    /// Call it BEFORE the row of this message is changed: the next checkpoint is to write it, and
    /// one that is being made wants it as it is now.
    @inline(__always)
    mutating func touch(_ message: UInt32) {
        guard self.messages[message].listing != self.listing else { return }
        self.enlist(message)
    }

    private mutating func enlist(_ message: UInt32) {
        if self.messages[message].listing != .none, self.work.phase == .encoding {
            self.preserve(message)
        }
        self.messages[message].listing = self.listing
        self.dirty.append(message)
    }

    private mutating func preserve(_ message: UInt32) {
        // A new message in the slot of one that had ended before the checkpoint.
        guard self.messages[message].order <= self.work.applied else { return }
        var batch = RowBatch()
        swap(&batch, &self.work.preserved)
        self.encodePending(message, into: &batch)
        swap(&batch, &self.work.preserved)
    }

    /// Puts a row of the checkpoint, which is as it was at its index, into `batch`.
    private mutating func encodePending(_ slot: UInt32, into batch: inout RowBatch) {
        self.encodeRow(slot)
        self.work.rowHashes &+= self.countEncoded(slot)
        self.messages[slot].flags.insert(.stored)
        Self.withKey(self.messages[slot].tag) { key in
            self.scratch.bytes.withUnsafeBytes { batch.upsert(key, $0) }
        }
    }

    /// Equal on all nodes that have applied the same entries. Takes time for each dirty row.
    package mutating func stateHash() -> UInt64 {
        if self.work.phase == .encoding {
            for place in self.work.nextSlot..<self.work.slots.count {
                let slot = self.work.slots[place]
                guard self.messages[slot].listing == self.listing.other,
                    self.messages[slot].isUsed
                else { continue }
                self.encodeRow(slot)
                self.work.rowHashes &+= self.countEncoded(slot)
            }
        }
        for place in self.dirty.indices where self.messages[self.dirty[place]].isUsed {
            self.encodeRow(self.dirty[place])
            _ = self.countEncoded(self.dirty[place])
        }
        return Self.hash(of: self.encodeMeta().bytes)
    }

    /// Counts the row that was encoded last.
    ///
    /// - Returns: by how much the sum has changed.
    private mutating func countEncoded(_ slot: UInt32) -> UInt64 {
        let old = self.messages[slot].flags.contains(.counted) ? self.messages[slot].hash : 0
        let hash = Self.hash(self.messages[slot].tag, self.scratch.bytes)
        self.messages[slot].hash = hash
        self.messages[slot].flags.insert(.counted)
        self.rowHashes &+= hash &- old
        return hash &- old
    }
}
