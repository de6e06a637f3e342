// Operator.swift - ends and changes that no attempt decides: operators, expiry, lost bodies.

import Primitives
import SMTP

extension MailQueue {
    static func bounced(_ reason: String) -> Verdict {
        let text = reason.isEmpty ? "Returned by the operator" : reason
        return Verdict(.failed, Reply(554, EnhancedCode(5, 7, 0), text))
    }

    mutating func administer(
        _ admin: Admin, from session: SessionID, _ effects: inout [Effect]
    ) -> CommandResult {
        guard admin.deliveries.count <= Admin.itemsMax else { return .refused(.malformed) }
        var (changed, inFlight) = (UInt32(0), UInt32(0))
        var debt = Debt()
        for id in admin.deliveries {
            let slot = self.slot(of: id)
            guard slot != Slot.none else { continue }
            if self.deliveries[slot].state == .leased {
                self.askAfterwards(slot, admin)
                inFlight += 1
            } else if self.change(slot, admin, &debt, &effects) {
                changed += 1
            }
        }
        self.settle(&debt, from: session, &effects)
        return .changed(deliveries: changed, inFlight: inFlight)
    }

    /// Report lines of one message after the other: one report a message and command.
    private struct Debt {
        var message = Slot.none
        var lines: [OwedReport.Line] = []
    }

    private mutating func settle(
        _ debt: inout Debt, from session: SessionID, _ effects: inout [Effect]
    ) {
        guard debt.message != Slot.none else { return }
        self.owe(debt.message, debt.lines, from: session, &effects)
        self.finishIfDone(debt.message, &effects)
        debt = Debt()
    }

    /// Ends a delivery that is in no list, on account of its message.
    private mutating func endOnAccount(
        _ slot: UInt32, _ end: End, _ debt: inout Debt, from session: SessionID,
        _ effects: inout [Effect]
    ) {
        let message = self.deliveries[slot].message
        if debt.message != message {
            self.settle(&debt, from: session, &effects)
            debt.message = message
        }
        self.endPending(slot, end, &debt.lines, &effects)
    }

    private mutating func askAfterwards(_ slot: UInt32, _ admin: Admin) {
        guard admin.verb != .retry else { return }
        self.touch(self.deliveries[slot].message)
        switch admin.verb {
        case .retry: return
        case .release:
            if self.deliveries[slot].afterwards == .hold {
                self.deliveries[slot].afterwards = .nothing
            }
        case .hold: self.deliveries[slot].afterwards = .hold
        case .drop: self.deliveries[slot].afterwards = .drop
        case .bounce:
            self.deliveries[slot].afterwards = .nothing
            self.endAfterwards(slot, Self.bounced(admin.reason))
        }
    }

    /// - Returns: whether anything changed.
    private mutating func change(
        _ slot: UInt32, _ admin: Admin, _ debt: inout Debt, _ effects: inout [Effect]
    ) -> Bool {
        let state = self.deliveries[slot].state
        switch admin.verb {
        case .retry:
            guard state != .held else { return false }
            self.resume(self.deliveries[slot].destination)
            self.leave(slot)
            self.enter(slot, .queued)
        case .hold:
            guard state != .held else { return false }
            self.leave(slot)
            self.enter(slot, .held)
        case .release:
            guard state == .held else { return false }
            self.leave(slot)
            self.deliveries[slot].suspect = 0
            self.enter(slot, .queued)
        case .bounce:
            self.leave(slot)
            let end = End.failed(Self.bounced(admin.reason))
            self.endOnAccount(slot, end, &debt, from: .none, &effects)
        case .drop:
            self.leave(slot)
            self.endOnAccount(slot, .dropped, &debt, from: .none, &effects)
        }
        return true
    }

    /// The leader's list is a proposal; each is looked at again.
    mutating func expire(_ ids: [DeliveryID], _ effects: inout [Effect]) -> CommandResult {
        var changed: UInt32 = 0
        var debt = Debt()
        for id in ids {
            let slot = self.slot(of: id)
            guard slot != Slot.none else { continue }
            let row = self.deliveries[slot]
            guard row.state == .queued || row.state == .deferred,
                self.expiry(row.message) <= self.time.milliseconds
            else { continue }
            self.leave(slot)
            self.endOnAccount(slot, .expired, &debt, from: .none, &effects)
            changed += 1
        }
        self.settle(&debt, from: .none, &effects)
        return .changed(deliveries: changed, inFlight: 0)
    }

    /// Ends what waits, with one report. What is in flight may have been read before the loss, and
    /// may be behind its final dot: its own outcome counts, and only what is left of it then ends.
    ///
    /// - Parameter session: whose node had the last copy; `.none`: there is none left.
    mutating func bodyLost(
        _ tag: Tag, from session: SessionID, _ effects: inout [Effect]
    ) -> CommandResult {
        let message = self.tags.find(tag, in: self.messages)
        guard message != Slot.none else { return .refused(.unknown) }
        // What another one has is not the asker's to give up.
        let asker = self.holder(of: session)
        guard self.holderSets[self.messages[message].holders].allSatisfy({ $0 == asker }) else {
            return .refused(.hasCopy)
        }
        let reply = Reply(554, EnhancedCode(5, 3, 0), "All copies of the message were lost")
        let lost = Verdict(.failed, reply)
        var debt = Debt()
        for index in 0..<self.messages[message].deliveryCount {
            let slot = self.messages[message].deliverySlot(UInt16(index))
            guard slot != Slot.none else { continue }
            guard self.deliveries[slot].state != .leased else {
                self.endAfterwards(slot, lost)
                continue
            }
            self.leave(slot)
            self.endOnAccount(slot, .failed(lost), &debt, from: .none, &effects)
        }
        self.settle(&debt, from: .none, &effects)
        return .done
    }

    /// A leased delivery fails with `verdict` when its attempt has ended, unless an operator wants
    /// it to end without a word.
    private mutating func endAfterwards(_ slot: UInt32, _ verdict: Verdict) {
        guard self.deliveries[slot].afterwards != .drop else { return }
        self.touch(self.deliveries[slot].message)
        self.deliveries[slot].afterwards = .bounce
        self.dropReason(slot)
        self.reasons[slot] = self.verdicts.retain(verdict)
    }

    mutating func endLeaseOfAnother(_ slot: UInt32, _ effects: inout [Effect]) {
        guard self.deliveries[slot].state == .leased else { return }
        let session = SessionID(raw: self.deliveries[slot].payload)
        effects.append(.leaseEnded(self.id(of: slot), session))
    }
}
