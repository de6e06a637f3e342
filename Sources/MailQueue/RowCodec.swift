// RowCodec.swift - one message with its deliveries, recipients and debts as a row of the
// checkpoint.
//
// Format    u8 version; stamp, order, flags, next report number; the number of its set of holders
//           (the sets are in the meta blob); copies (holder, tag); recipients (status, their
//           delivery, verdict as a blob while pending); deliveries (state; destination, payload,
//           attempts, suspect, flags, afterwards, reason, last node unless ended); reports (number,
//           session, content); the static part to the end. Numbers are varints, states a byte.

import Primitives
import SMTP
import Spool

extension MailQueue {
    private static let rowVersion: UInt8 = 2

    /// Writes the row of a message into `scratch`.
    mutating func encodeRow(_ slot: UInt32) {
        self.scratch.bytes.removeAll(keepingCapacity: true)
        var writer = ByteWriter()
        swap(&writer, &self.scratch)
        self.encodeRow(slot, into: &writer)
        swap(&writer, &self.scratch)
    }

    private func encodeRow(_ slot: UInt32, into writer: inout ByteWriter) {
        let row = self.messages[slot]
        writer.u8(Self.rowVersion)
        writer.varint(row.stamp)
        writer.varint(row.order)
        writer.u8(row.flags.intersection(.replicated).rawValue)
        writer.varint(UInt64(row.nextReport))
        writer.varint(UInt64(row.holders))
        let copies = self.copyRows.isEmpty ? [] : self.copyRows[slot] ?? []
        writer.varint(copies.count)
        for copy in copies {
            HolderCodec.encode(copy.holder, into: &writer)
            copy.tag.encode(into: &writer)
        }
        writer.varint(row.recipientCount)
        writer.varint(row.deliveryCount)
        for recipient in 0..<row.recipientCount {
            writer.u8(row.status(recipient).rawValue)
            writer.varint(UInt64(row.delivery(of: recipient)))
            writer.blob(self.verdicts.bytes(row.verdict(recipient)))
        }
        for index in 0..<row.deliveryCount {
            self.encodeDelivery(row.deliverySlot(UInt16(index)), into: &writer)
        }
        writer.varint(row.reports.count)
        for report in row.reports {
            writer.varint(UInt64(report.number))
            writer.varint(report.session.raw)
            report.content.encode(into: &writer)
        }
        row.blob.withUnsafeBytes {
            writer.raw(UnsafeRawBufferPointer(rebasing: $0[row.staticStart...]))
        }
    }

    private func encodeDelivery(_ slot: UInt32, into writer: inout ByteWriter) {
        guard slot != Slot.none else { return writer.u8(DeliveryState.ended.rawValue) }
        let row = self.deliveries[slot]
        writer.u8(row.state.rawValue)
        writer.string(self.destinations[row.destination].name)
        writer.varint(row.payload)
        writer.varint(UInt64(row.attempts))
        writer.u8(row.suspect)
        writer.u8(row.flags.intersection(.replicated).rawValue)
        writer.u8(row.afterwards.rawValue)
        writer.blob(self.verdicts.bytes(self.reasons[slot] ?? 0))
        writer.varint(UInt64(row.lastNode))
    }

    /// Makes the rows of one message; nothing is put into a list but the tag's.
    mutating func decodeRow(_ tag: Tag, _ bytes: [UInt8]) throws(CodecError) -> UInt32 {
        var reader = ByteReader(bytes)
        guard try reader.u8() == Self.rowVersion else { throw .unknown("version of a row") }
        let stamp = try reader.varint()
        let order = try reader.varint()
        let flags = MessageFlags(rawValue: try reader.u8())
        guard flags.isSubset(of: .replicated) else { throw .unknown("flags of a row") }
        let nextReport = UInt16(try reader.count(atMost: Int(UInt16.max)))
        let holders = UInt16(try reader.count(atMost: Int(UInt16.max)))
        guard Int(holders) < self.holderSets.rows.count else { throw .outOfRange("placement") }
        let copies = try self.decodeCopies(of: tag, &reader)
        let recipients = try reader.count(atMost: Enqueue.recipientsMax)
        let deliveries = try reader.count(atMost: recipients)
        guard deliveries > 0 else { throw .outOfRange("deliveries") }
        self.scratch.bytes.removeAll(keepingCapacity: true)
        self.scratch.u16(UInt16(recipients))
        self.scratch.u16(UInt16(deliveries))
        let pending = try self.decodeRecipients(recipients, deliveries, &reader)
        if deliveries > 1 { for _ in 0..<deliveries { self.scratch.u32(Slot.none) } }
        // A queue that is being restored has no free rows: these get slots in a row.
        let first = self.deliveries.rows.count
        for index in 0..<deliveries {
            let isLive = try self.decodeDelivery(UInt16(index), pending[index], &reader)
            guard isLive == (pending[index] > 0) else { throw .outOfRange("pending recipients") }
        }
        let reports = try Self.decodeReports(&reader)
        var sizes = reader
        self.sums.originalBytes += UInt64(try sizes.count(atMost: 1 << 40))
        self.sums.storedBytes += UInt64(try sizes.count(atMost: 1 << 40))
        bytes.withUnsafeBytes {
            let start = bytes.count - reader.remaining
            self.scratch.raw(UnsafeRawBufferPointer(rebasing: $0[start...]))
        }
        var row = MessageRow(
            tag: tag, stamp: stamp, order: order,
            blob: self.scratch.bytes.withUnsafeBytes { Array($0) }, reports: reports,
            holders: holders, flags: flags)
        row.nextReport = nextReport
        row.liveDeliveries = UInt16(self.deliveries.rows.count - first)
        let slot = self.messages.insert(row)
        if !copies.isEmpty { self.copyRows[slot] = copies }
        self.tags.insert(slot, in: self.messages)
        for delivery in first..<self.deliveries.rows.count {
            self.adopt(UInt32(delivery), by: slot)
        }
        return slot
    }

    private mutating func decodeCopies(
        of message: Tag, _ reader: inout ByteReader
    ) throws(CodecError) -> [CopyRow] {
        var copies: [CopyRow] = []
        for _ in 0..<(try reader.count(atMost: QueueLimits.holders)) {
            let holder = try HolderCodec.holder(from: &reader)
            let copy = CopyRow(holder: holder, tag: try Tag(from: &reader))
            guard self.copies.updateValue(message, forKey: copy.tag) == nil else {
                throw .outOfRange("a copy's tag for the second time")
            }
            copies.append(copy)
        }
        return copies
    }

    private mutating func adopt(_ delivery: UInt32, by message: UInt32) {
        self.deliveries[delivery].message = message
        let row = self.deliveries[delivery]
        self.destinations[row.destination].live += 1
        self.sums.recipients += Int(row.pending)
        self.messages[message].setDeliverySlot(row.index, delivery)
    }

    /// Appends recipients to the scratch bytes.
    ///
    /// - Returns: how many are pending, by delivery.
    private mutating func decodeRecipients(
        _ count: Int, _ deliveries: Int, _ reader: inout ByteReader
    ) throws(CodecError) -> [UInt16] {
        var pending = [UInt16](repeating: 0, count: deliveries)
        for _ in 0..<count {
            guard let status = RecipientStatus(rawValue: try reader.u8()) else {
                throw .unknown("recipient status")
            }
            let delivery = try reader.count(atMost: deliveries - 1)
            if status == .pending { pending[delivery] += 1 }
            let verdict = try reader.blob()
            self.scratch.u8(status.rawValue)
            self.scratch.u8(0)
            self.scratch.u16(UInt16(delivery))
            self.scratch.u32(verdict.isEmpty ? 0 : self.verdicts.retain(encoded: verdict))
        }
        return pending
    }

    /// - Returns: false for one that has ended.
    private mutating func decodeDelivery(
        _ index: UInt16, _ pending: UInt16, _ reader: inout ByteReader
    ) throws(CodecError) -> Bool {
        guard let state = DeliveryState(rawValue: try reader.u8()) else {
            throw .unknown("delivery state")
        }
        if state == .ended { return false }
        let destination = try reader.string()
        guard !destination.isEmpty else { throw .outOfRange("destination") }
        var row = DeliveryRow(
            message: Slot.none, destination: self.destinations.slot(destination), index: index)
        row.state = state
        row.pending = pending
        row.payload = try reader.varint()
        row.attempts = UInt32(try reader.count(atMost: Int(UInt32.max)))
        row.suspect = try reader.u8()
        row.flags = DeliveryFlags(rawValue: try reader.u8())
        guard row.flags.isSubset(of: .replicated) else { throw .unknown("flags of a delivery") }
        guard let afterwards = Afterwards(rawValue: try reader.u8()) else {
            throw .unknown("afterwards")
        }
        row.afterwards = afterwards
        let reason = try reader.blob()
        row.lastNode = UInt16(try reader.count(atMost: Int(UInt16.max)))
        let slot = self.deliveries.insert(row)
        if !reason.isEmpty { self.reasons[slot] = self.verdicts.retain(encoded: reason) }
        return true
    }

    private static func decodeReports(
        _ reader: inout ByteReader
    ) throws(CodecError) -> [ReportRow] {
        var reports: [ReportRow] = []
        for _ in 0..<(try reader.count(atMost: Int(UInt16.max))) {
            let number = UInt16(try reader.count(atMost: Int(UInt16.max)))
            let session = SessionID(raw: try reader.varint())
            let content = try OwedReport(from: &reader)
            reports.append(
                ReportRow(number: number, session: session, content: content, isInRing: false))
        }
        return reports
    }
}
