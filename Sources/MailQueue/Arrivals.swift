// Arrivals.swift - a message comes in: grouped into deliveries, each leased at once or queued.
//
// Takes     an Enqueue, or the message of a Report.
// Gives     `.enqueued`; a refusal changes nothing.

import Primitives
import SMTP
import Spool

extension MailQueue {
    mutating func enqueue(
        _ message: Enqueue, tag: Tag, flags: MessageFlags, _ effects: inout [Effect]
    ) -> CommandResult {
        if let refusal = self.refusal(of: message) { return .refused(refusal) }
        invariant(
            self.tags.find(tag, in: self.messages) == Slot.none, "one command, one message (4)")
        let slot = self.insert(message, tag: tag, flags: flags)
        if !flags.contains(.isReport) { self.totals.accepted += 1 }
        let session = self.openPlace(of: tag.session)
        for index in 0..<self.messages[slot].deliveryCount {
            let delivery = self.messages[slot].deliverySlot(UInt16(index))
            if let session, self.mayLeaseFirst(delivery, to: session) {
                self.lease(delivery, to: session, &effects)
            } else {
                self.enter(delivery, .queued)
            }
        }
        return .enqueued(recipients: UInt32(message.envelope.recipients.count))
    }

    private func refusal(of message: Enqueue) -> CommandResult.Refusal? {
        let count = message.envelope.recipients.count
        guard count > 0, count <= Enqueue.recipientsMax, message.destinations.count == count,
            !message.destinations.contains("")
        else { return .malformed }
        let holders = message.receipt.holders
        guard holders.count >= max(1, Int(self.settings.copies)) else { return .tooFewHolders }
        for (place, holder) in holders.enumerated() {
            // Ascending, so that a holder named twice does not count as two copies.
            guard place == 0 || holders[place - 1] < holder else { return .malformed }
            guard self.isMember(holder) else { return .tooFewHolders }
        }
        guard self.holderSets.hasRoom(for: holders) else { return .tooManyPlacements }
        return nil
    }

    /// New mail of a destination with a backlog goes behind it; a slow one does not take all
    /// credit.
    private func mayLeaseFirst(_ delivery: UInt32, to place: Int) -> Bool {
        let destination = self.destinations[self.deliveries[delivery].destination]
        return self.canLease(place) && destination.queued == 0
            && destination.suspendedUntil <= self.time.milliseconds
            && destination.leased < self.settings.leasesPerDestination
    }

    /// Makes the rows; the deliveries are in no list yet.
    private mutating func insert(
        _ message: Enqueue, tag: Tag, flags: MessageFlags
    ) -> UInt32 {
        let recipients = message.envelope.recipients.count
        // Places of destinations among this message's deliveries, in the order of the recipients.
        var slots: [UInt32] = []
        var indexes = [UInt16](repeating: 0, count: recipients)
        let first = message.destinations[0]
        if recipients == 1 || !message.destinations.contains(where: { $0 != first }) {
            slots.append(self.destinations.slot(first))
        } else {
            var known: [UInt32: UInt16] = [:]
            for (place, name) in message.destinations.enumerated() {
                let destination = self.destinations.slot(name)
                if let index = known[destination] {
                    indexes[place] = index
                } else {
                    indexes[place] = UInt16(slots.count)
                    known[destination] = UInt16(slots.count)
                    slots.append(destination)
                }
            }
        }
        let blob = MessageRow.blob(
            message, indexes: indexes, deliveries: slots.count, &self.scratch)
        var row = MessageRow(
            tag: tag, stamp: self.time.milliseconds, order: self.applied, blob: blob,
            holders: self.holderSets.number(of: message.receipt.holders),
            flags: message.envelope.sender.isEmpty ? flags.union(.nullSender) : flags)
        row.liveDeliveries = UInt16(slots.count)
        let slot = self.messages.insert(row)
        self.tags.insert(slot, in: self.messages)
        self.holderSets.link(slot, &self.messages)
        for (index, destination) in slots.enumerated() {
            let delivery = self.deliveries.insert(
                DeliveryRow(message: slot, destination: destination, index: UInt16(index)))
            self.destinations[destination].live += 1
            self.messages[slot].setDeliverySlot(UInt16(index), delivery)
        }
        for index in indexes {
            self.deliveries[self.messages[slot].deliverySlot(index)].pending += 1
        }
        self.sums.recipients += recipients
        self.sums.storedBytes += message.receipt.storedBytes
        self.sums.originalBytes += message.receipt.originalBytes
        return slot
    }
}

extension MessageRow {
    /// The packed form of a new message; see the header of Rows.swift.
    static func blob(
        _ message: Enqueue, indexes: [UInt16], deliveries: Int, _ scratch: inout ByteWriter
    ) -> [UInt8] {
        scratch.bytes.removeAll(keepingCapacity: true)
        scratch.u16(UInt16(indexes.count))
        scratch.u16(UInt16(deliveries))
        for index in indexes {
            scratch.u8(RecipientStatus.pending.rawValue)
            scratch.u8(0)
            scratch.u16(index)
            scratch.u32(0)
        }
        if deliveries > 1 { for _ in 0..<deliveries { scratch.u32(Slot.none) } }
        StaticPart.encode(message, into: &scratch)
        // A copy of the very size: `scratch` keeps its room for the next one.
        return scratch.bytes.withUnsafeBytes { Array($0) }
    }
}
