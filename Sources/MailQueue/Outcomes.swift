// Outcomes.swift - an attempt ends: recipients end, the rest waits, a report may be owed.
//
// Fencing   delivered, relayed and stored are facts, taken from whoever says so and for ever;
//           deferred and failed only from the session that holds the lease, for the attempt that it
//           is for.
// Standard  RFC 3464 §2.3.3, RFC 3461 §5.2 (who is told what), RFC 5321 §4.5.4.1 (retries, expiry).

import Primitives
import SMTP

/// Why recipients end.
enum End {
    /// With this verdict.
    case failed(Verdict)
    /// Time is over: with their last verdict, and status 4.4.7.
    case expired
    /// Without a word.
    case dropped
}

extension MailQueue {
    static let expiredStatus = EnhancedCode(4, 4, 7)

    /// - Parameter session: nil if it is closed.
    mutating func settle(
        _ outcome: Outcome, by session: SessionID?, _ effects: inout [Effect]
    ) -> CommandResult {
        let slot = self.slot(of: outcome.delivery)
        guard slot != Slot.none else { return .refused(.notLeased) }
        let row = self.deliveries[slot]
        let owns =
            row.state == .leased && row.payload == session?.raw
            && outcome.attempt == row.attempts + 1
        var lines: [OwedReport.Line] = []
        var settled = 0
        for line in outcome.lines {
            if self.settle(line, of: slot, owns: owns, &lines) { settled += 1 }
        }
        if self.deliveries[slot].pending == 0 {
            if row.state == .leased, !owns {
                effects.append(.leaseEnded(outcome.delivery, SessionID(raw: row.payload)))
            }
            self.leave(slot)
            self.removeDelivery(slot)
        } else if owns {
            if settled > 0 { self.deliveries[slot].flags.insert(.attempted) }
            if outcome.endsLease { self.endLease(slot, outcome, &lines, &effects) }
        }
        self.owe(row.message, lines, from: session ?? .none, &effects)
        self.finishIfDone(row.message, &effects)
        return owns || settled > 0 ? .done : .refused(.notLeased)
    }

    /// One recipient's verdict.
    ///
    /// - Returns: whether it counts.
    private mutating func settle(
        _ line: Outcome.Line, of slot: UInt32, owns: Bool, _ lines: inout [OwedReport.Line]
    ) -> Bool {
        let message = self.deliveries[slot].message
        let recipient = Int(line.recipient)
        guard recipient < self.messages[message].recipientCount,
            self.messages[message].delivery(of: recipient) == self.deliveries[slot].index,
            self.messages[message].status(recipient) == .pending
        else { return false }
        switch line.verdict.kind {
        case .delivered:
            self.end(recipient, of: slot, .delivered)
            self.totals.delivered += 1
        case .relayed:
            self.end(recipient, of: slot, .relayed)
            self.totals.delivered += 1
            self.note(recipient, of: slot, .relayed, line.verdict, status: nil, &lines)
        case .stored:
            self.end(recipient, of: slot, .delivered)
            self.totals.delivered += 1
            self.note(recipient, of: slot, .delivered, line.verdict, status: nil, &lines)
        case .deferred:
            guard owns else { return false }
            self.touch(message)
            let number = self.verdicts.retain(line.verdict)
            self.verdicts.release(self.messages[message].verdict(recipient))
            self.messages[message].setVerdict(recipient, number)
            self.deliveries[slot].flags.insert(.deferredNow)
            self.totals.deferred += 1
        case .failed:
            guard owns else { return false }
            self.end(recipient, of: slot, .failed)
            self.totals.failed += 1
            self.note(recipient, of: slot, .failed, line.verdict, status: nil, &lines)
        }
        return true
    }

    /// The session is through with the delivery, and recipients are pending.
    private mutating func endLease(
        _ slot: UInt32, _ outcome: Outcome, _ lines: inout [OwedReport.Line],
        _ effects: inout [Effect]
    ) {
        let flags = self.deliveries[slot].flags
        let message = self.deliveries[slot].message
        self.leave(slot)
        if outcome.damaged {
            self.deliveries[slot].suspect = min(self.deliveries[slot].suspect, 254) + 1
            let until = self.retryTime(slot, attempt: self.deliveries[slot].attempts + 1)
            self.conclude(slot, deferredUntil: until, &lines, &effects)
            return
        }
        guard flags.contains(.attempted) else {
            self.conclude(slot, deferredUntil: nil, &lines, &effects)
            return
        }
        self.deliveries[slot].attempts += 1
        self.deliveries[slot].suspect = 0
        guard flags.contains(.deferredNow) else {
            self.conclude(slot, deferredUntil: nil, &lines, &effects)
            return
        }
        let isLast = self.time.milliseconds >= self.expiry(message)
        if isLast, self.deliveries[slot].afterwards == .nothing {
            self.endPending(slot, .expired, &lines, &effects)
            return
        }
        self.oweNotice(slot, &effects)
        let until = self.retryTime(slot, attempt: self.deliveries[slot].attempts)
        self.conclude(slot, deferredUntil: until, &lines, &effects)
    }

    /// When a delivery is due after its attempt number `attempt` was deferred: the schedule, ± 10 %
    /// by the message's own dice, which all nodes throw alike.
    func retryTime(_ slot: UInt32, attempt: UInt32) -> QueueTime {
        let row = self.deliveries[slot]
        let tag = self.messages[row.message].tag
        var dice = StableHash()
        dice.add(tag.session.raw)
        dice.add(tag.sequence)
        dice.add(UInt64(row.index) << 32 | UInt64(attempt))
        let step = min(Int(max(1, attempt)), self.settings.retry.count) - 1
        let permille = 900 + Int64(dice.value % 201)
        let wait = self.settings.retry[step].inMilliseconds * permille / 1000
        return self.time + .milliseconds(wait)
    }

    /// Ends one recipient; its delivery's lists are not touched.
    private mutating func end(_ recipient: Int, of slot: UInt32, _ status: RecipientStatus) {
        let message = self.deliveries[slot].message
        self.touch(message)
        self.verdicts.release(self.messages[message].verdict(recipient))
        self.messages[message].setVerdict(recipient, 0)
        self.messages[message].setStatus(recipient, status)
        self.deliveries[slot].pending -= 1
        self.sums.recipients -= 1
    }

    /// Ends all pending recipients of a delivery that is in no list, and the delivery with them.
    mutating func endPending(
        _ slot: UInt32, _ end: End, _ lines: inout [OwedReport.Line], _ effects: inout [Effect]
    ) {
        let row = self.deliveries[slot]
        let tag = self.messages[row.message].tag
        for recipient in 0..<self.messages[row.message].recipientCount
        where self.messages[row.message].delivery(of: recipient) == row.index
            && self.messages[row.message].status(recipient) == .pending
        {
            switch end {
            case .dropped:
                self.end(recipient, of: slot, .dropped)
            case .failed(let verdict):
                self.end(recipient, of: slot, .failed)
                self.note(recipient, of: slot, .failed, verdict, status: nil, &lines)
            case .expired:
                let verdict = self.lastVerdict(recipient, of: slot)
                self.end(recipient, of: slot, .failed)
                self.note(
                    recipient, of: slot, .failed, verdict, status: Self.expiredStatus, &lines)
            }
        }
        if case .dropped = end {
        } else {
            self.totals.failed += UInt64(row.pending)
            effects.append(.recipientsFailed(tag, count: UInt32(row.pending)))
        }
        self.removeDelivery(slot)
    }

    /// What a recipient heard last, or why its destination was not even tried.
    private func lastVerdict(_ recipient: Int, of slot: UInt32) -> Verdict {
        let row = self.deliveries[slot]
        let own = self.verdicts[self.messages[row.message].verdict(recipient)]
        let shared = self.verdicts[self.destinations[row.destination].reason]
        guard var verdict = own ?? shared else {
            return Verdict(.failed, Reply(451, Self.expiredStatus, "Not delivered in time"))
        }
        verdict.kind = .failed
        return verdict
    }
}
