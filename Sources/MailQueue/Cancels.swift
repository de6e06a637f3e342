// Cancels.swift - takes back what a client was told 451 about; what is too late for that, counts.
//
// Order     a Cancel may come before its Enqueue, behind it, and behind the end of the message and
//           of its session: in each case it is known what the Enqueue did.
// Counts    once for a tag, however often its Cancel comes: the first one takes what is remembered.
// Limits    `UnsettledEnqueues` holds what one session had without acknowledgement
//           (`ResultWindow.widthMax`), of one session for each node.
// See       Cluster's NodeGivingUp (when), Acknowledgements (why it is remembered).

package import Primitives

/// Enqueues of a session that is closed, which its node may not know to have taken effect: their
/// clients may have been told no. Remembered until the node opens another session: what it has to
/// say of the old one comes before that.
struct UnsettledEnqueues: Equatable {
    struct Entry: Equatable {
        var sequence: UInt64
        var recipients: UInt32
    }

    private(set) var session = SessionID.none
    /// Ascending.
    private(set) var entries: [Entry] = []

    init() {}

    /// What is not acknowledged, when the session is closed.
    init(of session: SessionID, _ results: ResultWindow) {
        self.session = session
        for (place, entry) in results.entries.enumerated() {
            guard case .known(.enqueued(let recipients)) = entry else { continue }
            self.entries.append(
                Entry(sequence: results.base + UInt64(place), recipients: recipients))
        }
    }

    private func place(of sequence: UInt64) -> Int? {
        var (low, high) = (0, self.entries.count)
        while low < high {
            let middle = (low + high) / 2
            if self.entries[middle].sequence < sequence { low = middle + 1 } else { high = middle }
        }
        return low < self.entries.count && self.entries[low].sequence == sequence ? low : nil
    }

    /// The recipients that the message had; nil: it is not known to have been enqueued.
    func recipients(of sequence: UInt64) -> UInt32? {
        self.place(of: sequence).map { self.entries[$0].recipients }
    }

    mutating func take(_ sequence: UInt64) -> UInt32? {
        self.place(of: sequence).map { self.entries.remove(at: $0).recipients }
    }

    // Format: varint session, varint count, of each varint sequence, varint recipients.

    func encode(into writer: inout ByteWriter) {
        writer.varint(self.session.raw)
        writer.varint(self.entries.count)
        for entry in self.entries {
            writer.varint(entry.sequence)
            writer.varint(UInt64(entry.recipients))
        }
    }

    init(from reader: inout ByteReader) throws(CodecError) {
        self.session = SessionID(raw: try reader.varint())
        for _ in 0..<(try reader.count(atMost: Int(ResultWindow.widthMax))) {
            let sequence = try reader.varint()
            guard sequence > self.entries.last?.sequence ?? 0 else {
                throw .outOfRange("unsettled enqueue")
            }
            self.entries.append(
                Entry(
                    sequence: sequence,
                    recipients: UInt32(try reader.count(atMost: Int(UInt32.max)))))
        }
    }
}

extension MailQueue {
    /// The message is in the queue, or was and has ended, as far as is remembered of a session that
    /// is closed.
    package func wasEnqueued(_ tag: Tag) -> Bool {
        if self.contains(tag) { return true }
        return self.nodes.contains {
            $0.unsettled.session == tag.session
                && $0.unsettled.recipients(of: tag.sequence) != nil
        }
    }

    /// The client was told 451. Delivery of one's own lease starts after the reply only, so what is
    /// leased to the acceptor's own session can still be taken back.
    mutating func cancel(_ tag: Tag, _ effects: inout [Effect]) -> CommandResult {
        let enqueued = self.takeEnqueue(of: tag)
        let message = self.tags.find(tag, in: self.messages)
        guard message != Slot.none else {
            // It has ended, if it was there.
            return self.countLate(enqueued ?? 0, &effects)
        }
        var late: UInt32 = 0
        for recipient in 0..<self.messages[message].recipientCount {
            switch self.messages[message].status(recipient) {
            case .pending, .dropped: break
            case .delivered, .relayed, .failed: late += 1
            }
        }
        for index in 0..<self.messages[message].deliveryCount {
            let slot = self.messages[message].deliverySlot(UInt16(index))
            guard slot != Slot.none else { continue }
            let row = self.deliveries[slot]
            let isElsewhere = row.state == .leased && row.payload != tag.session.raw
            let isStarted = row.attempts > 0 || row.flags.contains(.attempted)
            if row.state == .leased && (isElsewhere || isStarted) {
                late += UInt32(row.pending)
                continue
            }
            // A dead session may have sent it: nobody gets it again, but somebody may have it.
            if row.flags.contains(.mayRepeat) { late += UInt32(row.pending) }
            self.endLeaseOfAnother(slot, &effects)
            self.leave(slot)
            var none: [OwedReport.Line] = []
            self.endPending(slot, .dropped, &none, &effects)
        }
        self.finishIfDone(message, &effects)
        // Counted by the Cancel before.
        return self.countLate(enqueued == nil ? 0 : late, &effects)
    }

    /// What is remembered of an Enqueue: the recipients that it brought; nil: none, or nothing.
    /// From now on its answer is that it was cancelled; if it has not come yet, it has no effect.
    private mutating func takeEnqueue(of tag: Tag) -> UInt32? {
        guard let place = self.openPlace(of: tag.session) else {
            guard let node = self.nodes.firstIndex(where: { $0.unsettled.session == tag.session })
            else { return nil }
            return self.nodes[node].unsettled.take(tag.sequence)
        }
        let before = self.sessions[place].results.lookup(tag.sequence)
        switch before {
        case .fresh, .known(.enqueued):
            self.sessions[place].results.note(tag.sequence, .refused(.cancelled))
        case .known, .acknowledged, .outside: break
        }
        switch before {
        case .known(.enqueued(let recipients)): return recipients
        // Its node knew, and cancels all the same: what is left of it is late, or taken back.
        case .acknowledged: return 0
        case .fresh, .known, .outside: return nil
        }
    }

    private mutating func countLate(_ late: UInt32, _ effects: inout [Effect]) -> CommandResult {
        guard late > 0 else { return .cancelled }
        self.totals.replyDuplicates += UInt64(late)
        effects.append(.possibleDuplicates(.reply, count: late))
        return .late(recipients: late)
    }
}
