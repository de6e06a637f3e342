// Reports.swift - what senders are owed: who is told of what, and how the debt is cleared.
//
// Order     a debt is made by the very command that ends the recipients (invariant 5); it is
//           cleared by the command that makes the report's message, or waived.
// Standard  RFC 3461 §4.1, §5.2; RFC 5321 §6.1 (null reverse-path: nobody is told).

import Primitives
import SMTP

extension MailQueue {
    /// Adds a line to a report if somebody is to be told.
    mutating func note(
        _ recipient: Int, of slot: UInt32, _ action: OwedReport.Action, _ verdict: Verdict,
        status: EnhancedCode?, _ lines: inout [OwedReport.Line]
    ) {
        let message = self.deliveries[slot].message
        let flags = self.messages[message].flags
        let isReport = flags.contains(.isReport)
        if flags.contains(.isDoubleBounce) || isReport && action != .failed { return }
        if flags.contains(.nullSender) && !isReport { return }
        let whole = self.messages[message].recipient(recipient)
        let wanted: Notify =
            switch action {
            case .failed: .failure
            case .delayed: .delay
            case .delivered, .relayed: .success
            }
        guard isReport || !whole.notify.contains(.never) && whole.notify.contains(wanted)
        else { return }
        lines.append(
            OwedReport.Line(
                recipient: whole, action: action, verdict: VerdictTable.clamp(verdict),
                attempts: self.deliveries[slot].attempts, status: status))
    }

    /// Records that a report of `lines` is owed, and leases it to `session` if that can be.
    mutating func owe(
        _ message: UInt32, _ lines: [OwedReport.Line], from session: SessionID,
        _ effects: inout [Effect]
    ) {
        guard !lines.isEmpty else { return }
        self.touch(message)
        let isReport = self.messages[message].flags.contains(.isReport)
        let content = OwedReport(lines: lines, kind: isReport ? .postmaster : .sender)
        let number = self.messages[message].nextReport
        self.messages[message].nextReport += 1
        self.messages[message].reports.append(
            ReportRow(number: number, session: .none, content: content, isInRing: false))
        self.sums.reports += 1
        let id = ReportID(message: self.messages[message].tag, number: number)
        if let place = self.openPlace(of: session), self.canLease(place) {
            self.leaseReport(id, to: place, &effects)
        } else {
            self.makeOwed(id)
        }
    }

    /// The delay notice, once a delivery, at its first deferral past the notice time.
    mutating func oweNotice(_ slot: UInt32, _ effects: inout [Effect]) {
        let row = self.deliveries[slot]
        let notice = self.settings.delayNotice
        let due = QueueTime(milliseconds: self.messages[row.message].stamp) + notice
        guard notice > .zero, !row.flags.contains(.noticed), self.time >= due else { return }
        self.touch(row.message)
        self.deliveries[slot].flags.insert(.noticed)
        var lines: [OwedReport.Line] = []
        for recipient in 0..<self.messages[row.message].recipientCount
        where self.messages[row.message].delivery(of: recipient) == row.index
            && self.messages[row.message].status(recipient) == .pending
        {
            let own = self.verdicts[self.messages[row.message].verdict(recipient)]
            let shared = self.verdicts[self.destinations[row.destination].reason]
            let unknown = Reply(451, EnhancedCode(4, 4, 1), "Not delivered yet")
            let verdict = own ?? shared ?? Verdict(.deferred, unknown)
            self.note(recipient, of: slot, .delayed, verdict, status: nil, &lines)
        }
        // Leased by a grant only: the command that defers has its own lease to end.
        self.owe(row.message, lines, from: .none, &effects)
    }

    /// The report's message comes into the queue and the debt is gone, or neither.
    mutating func report(
        _ id: ReportID, _ message: Enqueue, tag: Tag, _ effects: inout [Effect]
    ) -> CommandResult {
        guard let found = self.findReport(id), found.row.session == tag.session else {
            return .refused(.notLeased)
        }
        let flags: MessageFlags =
            found.row.content.kind == .postmaster ? [.isReport, .isDoubleBounce] : [.isReport]
        // The debt's lease makes room for the first lease of what it turns into.
        self.unleaseReport(id, isOwed: false)
        self.dropFromSession(id, tag.session)
        let result = self.enqueue(message, tag: tag, flags: flags, &effects)
        guard case .enqueued = result else {
            self.makeOwed(id)
            return result
        }
        self.clear(id, &effects)
        return result
    }

    mutating func waive(
        _ id: ReportID, by session: SessionID, _ effects: inout [Effect]
    ) -> CommandResult {
        guard let found = self.findReport(id), found.row.session == session else {
            return .refused(.notLeased)
        }
        self.unleaseReport(id, isOwed: false)
        self.dropFromSession(id, session)
        self.clear(id, &effects)
        return .done
    }

    private mutating func clear(_ id: ReportID, _ effects: inout [Effect]) {
        guard let found = self.findReport(id) else { return }
        self.touch(found.message)
        self.messages[found.message].reports.remove(at: found.place)
        self.sums.reports -= 1
        self.finishIfDone(found.message, &effects)
    }

    func findReport(_ id: ReportID) -> (message: UInt32, place: Int, row: ReportRow)? {
        let message = self.tags.find(id.message, in: self.messages)
        guard message != Slot.none,
            let place = self.messages[message].reports.firstIndex(where: { $0.number == id.number })
        else { return nil }
        return (message, place, self.messages[message].reports[place])
    }

    mutating func leaseReport(_ id: ReportID, to place: Int, _ effects: inout [Effect]) {
        guard let found = self.findReport(id) else { unreachable("a report that is owed") }
        self.touch(found.message)
        self.messages[found.message].reports[found.place].session = self.sessions[place].id
        let at = self.sessions[place].reports.firstIndex { id < $0 }
        self.sessions[place].reports.insert(id, at: at ?? self.sessions[place].reports.count)
        self.sessions[place].leases += 1
        effects.append(.reportLeased(id, self.sessions[place].id))
    }

    /// Ends the lease in the report's row; the session's list is the caller's.
    ///
    /// - Parameter isOwed: somebody else may lease it.
    mutating func unleaseReport(_ id: ReportID, isOwed: Bool = true) {
        guard let found = self.findReport(id) else { unreachable("a report that is owed") }
        self.touch(found.message)
        self.messages[found.message].reports[found.place].session = .none
        if isOwed { self.makeOwed(id) }
    }

    /// Takes the report off the session's list.
    mutating func dropFromSession(_ id: ReportID, _ session: SessionID) {
        guard let place = self.place(of: session),
            let at = self.sessions[place].reports.firstIndex(of: id)
        else { return }
        self.sessions[place].reports.remove(at: at)
        self.sessions[place].leases -= 1
    }

    func isWaiting(_ id: ReportID) -> Bool {
        guard let found = self.findReport(id) else { return false }
        return found.row.session == .none
    }

    /// Puts the report into the ring of those that nobody holds; once.
    mutating func makeOwed(_ id: ReportID) {
        self.trimOwed()
        guard let found = self.findReport(id), !found.row.isInRing else { return }
        self.messages[found.message].reports[found.place].isInRing = true
        self.owed.append(id)
    }

    /// Forgets entries at the front of the ring that are leased or cleared.
    mutating func trimOwed() {
        while let id = self.owed.first, !self.isWaiting(id) {
            _ = self.owed.popFirst()
            if let found = self.findReport(id) {
                self.messages[found.message].reports[found.place].isInRing = false
            }
        }
    }
}

extension MessageRow {
    /// One recipient of the envelope.
    func recipient(_ index: Int) -> Recipient {
        var reader = ByteReader(self.blob, range: self.staticStart..<self.blob.count)
        do {
            _ = try StaticPart.head(from: &reader)
            for _ in 0..<index { _ = try StaticPart.recipient(from: &reader) }
            return try StaticPart.recipient(from: &reader)
        } catch {
            unreachable("own row: \(error)")
        }
    }
}
