// Checkpoint.swift - the state as rows and a meta blob, and back; the hash that nodes compare.
//
// Format    key: 16 bytes, session and sequence big-endian; row: RowCodec; meta: see `meta`.
// Hash      the sum of all rows' hashes (order does not matter) and the hash of the meta blob. A
//           row is hashed when a checkpoint or a comparison asks, and only if it changed: what is
//           born and finished in between costs nothing and never appears.
// See       CheckpointSlices (how one is made), invariant 7; CheckpointTests.

package import Primitives

extension MailQueue {
    private static let metaVersion: UInt8 = 4

    static func hash(_ tag: Tag, _ row: [UInt8]) -> UInt64 {
        var hash = StableHash()
        hash.add(tag.session.raw)
        hash.add(tag.sequence)
        hash.add(row)
        return hash.value
    }

    static func hash(of meta: [UInt8]) -> UInt64 {
        var hash = StableHash()
        hash.add(meta)
        return hash.value
    }

    /// The key of a message's row.
    static func withKey(_ tag: Tag, _ body: (UnsafeRawBufferPointer) -> Void) {
        withUnsafeBytes(of: (tag.session.raw.bigEndian, tag.sequence.bigEndian), body)
    }

    // Meta: version, applied, time, count of messages, sum of row hashes, settings, totals, nodes,
    // sets of holders, sessions with their results, suspended destinations by name.

    /// - Returns: the sum of the row hashes stands in `bytes` from `rowHashesAt`, little-endian.
    func encodeMeta() -> (bytes: [UInt8], rowHashesAt: Int) {
        var writer = ByteWriter(capacity: 4096)
        writer.u8(Self.metaVersion)
        writer.varint(self.applied)
        writer.varint(self.time.milliseconds)
        writer.varint(self.messages.count)
        let rowHashesAt = writer.count
        writer.u64(self.rowHashes)
        self.settings.encode(into: &writer)
        for total in [
            self.totals.accepted, self.totals.delivered, self.totals.deferred, self.totals.failed,
            self.totals.takeoverDuplicates, self.totals.replyDuplicates,
        ] { writer.varint(total) }
        writer.varint(self.nodes.count)
        for node in self.nodes { node.encode(into: &writer) }
        self.holderSets.encode(into: &writer)
        writer.varint(self.sessions.count)
        for session in self.sessions { session.encode(into: &writer) }
        self.encodeSuspensions(into: &writer)
        return (writer.bytes, rowHashesAt)
    }

    private func encodeSuspensions(into writer: inout ByteWriter) {
        let slots = self.destinations.slots.filter { self.destinations[$0].step > 0 }
            .sorted { self.destinations[$0].name < self.destinations[$1].name }
        writer.varint(slots.count)
        for slot in slots {
            let row = self.destinations[slot]
            writer.string(row.name)
            writer.varint(row.suspendedUntil)
            writer.varint(row.forgetAt)
            writer.u8(row.step)
            writer.blob(self.verdicts.bytes(row.reason))
        }
    }

    /// The first of three steps back from a checkpoint; then `restore` for each row, in any order,
    /// then `finishRestoring`, before which the queue is not to be used.
    package init(restoring meta: [UInt8]) throws(CodecError) {
        self.init()
        var reader = ByteReader(meta)
        guard try reader.u8() == Self.metaVersion else { throw .unknown("version of meta") }
        self.applied = try reader.varint()
        self.time = QueueTime(milliseconds: try reader.varint())
        let count = try reader.count(atMost: Int(UInt32.max) - 1)
        self.restoredCount = count
        self.restoredHashes = try reader.u64()
        self.settings = try ClusterSettings(from: &reader)
        self.totals.accepted = try reader.varint()
        self.totals.delivered = try reader.varint()
        self.totals.deferred = try reader.varint()
        self.totals.failed = try reader.varint()
        self.totals.takeoverDuplicates = try reader.varint()
        self.totals.replyDuplicates = try reader.varint()
        for _ in 0..<(try reader.count(atMost: Int(UInt16.max))) {
            self.nodes.append(try NodeRow(from: &reader))
        }
        self.holderSets = try HolderTable(from: &reader)
        for _ in 0..<(try reader.count(atMost: Int(UInt16.max))) {
            let session = try Session(from: &reader)
            guard Int(session.node) < self.nodes.count else { throw .outOfRange("node") }
            self.sessions.append(session)
        }
        try self.restoreSuspensions(from: &reader)
        try reader.finish()
        // Room is made for what is promised, within reason: the rows must still come.
        self.messages.reserve(min(count, 1 << 22))
        self.deliveries.reserve(min(count, 1 << 22))
        self.tags.reserve(min(count, 1 << 22), in: self.messages)
    }

    private mutating func restoreSuspensions(from reader: inout ByteReader) throws(CodecError) {
        for _ in 0..<(try reader.count(atMost: Int(UInt32.max))) {
            let name = try reader.string()
            guard !name.isEmpty else { throw .outOfRange("destination") }
            let slot = self.destinations.slot(name)
            let until = try reader.varint()
            let forgetAt = try reader.varint()
            self.destinations[slot].suspendedUntil = until
            self.destinations[slot].forgetAt = forgetAt
            self.destinations[slot].step = try reader.u8()
            let reason = try reader.blob()
            if !reason.isEmpty {
                self.destinations[slot].reason = self.verdicts.retain(encoded: reason)
            }
            self.destinations.forgets.insert(forgetAt, slot)
            if until > self.time.milliseconds {
                self.destinations[slot].isSuspended = true
                self.destinations.resumes.insert(until, slot)
            }
        }
    }

    /// The second step: one row of the checkpoint.
    package mutating func restore(key: [UInt8], row: [UInt8]) throws(CodecError) {
        guard key.count == 16 else { throw .outOfRange("key") }
        var words = (UInt64(0), UInt64(0))
        for byte in key[..<8] { words.0 = words.0 << 8 | UInt64(byte) }
        for byte in key[8...] { words.1 = words.1 << 8 | UInt64(byte) }
        let tag = Tag(session: SessionID(raw: words.0), sequence: words.1)
        guard self.tags.find(tag, in: self.messages) == Slot.none else {
            throw .outOfRange("a tag for the second time")
        }
        let slot = try self.decodeRow(tag, row)
        self.messages[slot].hash = Self.hash(tag, row)
        self.messages[slot].flags.formUnion([.stored, .counted])
        self.rowHashes &+= self.messages[slot].hash
    }

    /// The last step: checks the whole, puts everything into its lists.
    ///
    /// - Throws: `.outOfRange` if rows are missing, too many, or not what was written.
    package mutating func finishRestoring() throws(CodecError) {
        guard self.messages.count == self.restoredCount else { throw .outOfRange("rows") }
        guard self.rowHashes == self.restoredHashes else { throw .outOfRange("hash of the rows") }
        self.messages.sortByOrder()
        var slot = self.messages.oldest
        while slot != Slot.none {
            self.holderSets.link(slot, &self.messages)
            for index in 0..<self.messages[slot].deliveryCount {
                let delivery = self.messages[slot].deliverySlot(UInt16(index))
                if delivery != Slot.none { try self.list(delivery) }
            }
            for report in self.messages[slot].reports {
                try self.list(report, of: slot)
            }
            slot = self.messages[slot].newer
        }
        for slot in self.dirty { self.messages[slot].listing = .none }
        self.dirty = []
        guard self.holderSets.isAsPromised else { throw .outOfRange("placements") }
    }

    private mutating func list(_ delivery: UInt32) throws(CodecError) {
        let row = self.deliveries[delivery]
        if row.state == .leased {
            guard let place = self.place(of: SessionID(raw: row.payload)),
                self.sessions[place].leases < self.sessions[place].credit
            else { throw .outOfRange("lease") }
        }
        self.enter(delivery, row.state, payload: row.payload)
    }

    private mutating func list(_ report: ReportRow, of slot: UInt32) throws(CodecError) {
        let id = ReportID(message: self.messages[slot].tag, number: report.number)
        self.sums.reports += 1
        guard report.session != .none else { return self.makeOwed(id) }
        guard let place = self.place(of: report.session),
            self.sessions[place].leases < self.sessions[place].credit
        else { throw .outOfRange("lease of a report") }
        let at = self.sessions[place].reports.firstIndex { id < $0 }
        self.sessions[place].reports.insert(id, at: at ?? self.sessions[place].reports.count)
        self.sessions[place].leases += 1
    }

    /// After a change of what keys of the due heap are made of.
    mutating func rebuildDueHeap() {
        var entries: [DueHeap.Entry] = []
        for entry in self.due.entries {
            let row = self.deliveries[entry.slot]
            let expiry = self.expiry(row.message)
            let waits = row.state == .deferred && !row.flags.contains(.ready)
            entries.append(
                DueHeap.Entry(key: waits ? min(row.payload, expiry) : expiry, slot: entry.slot))
        }
        self.due.replace(entries, &self.deliveries)
    }
}
