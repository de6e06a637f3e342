// TruthQueue.swift - every committed command once: what it may change, and what it must not.
//
// See       invariants 4 (once), 5 (one end, one debt, one report), 6 (boots, leases).

import Cluster
import MailQueue
import Primitives
import Raft
import SMTP
import Spool

extension Truth {
    /// Applies the next entry of the one log.
    func apply(_ entry: Entry) -> CommandResult? {
        guard entry.kind == .normal, !entry.data.isEmpty else {
            self.queue.pass(entry.index)
            return nil
        }
        let logged: LogEntry
        do {
            logged = try LogEntry(index: entry.index, term: entry.term, bytes: entry.data)
        } catch {
            self.world.fail(7, "what is committed cannot be read: \(error)")
            return nil
        }
        let command = logged.command
        if let term = command.leaderTerm, term != entry.term {
            self.queue.pass(entry.index)
            return .refused(.unknown)
        }
        let touched = self.touched(by: command.action)
        self.effects.removeAll(keepingCapacity: true)
        let wasKnown = command.tag.flatMap { self.firstResults[$0] }
        let wasOpen = command.origin.map { self.queue.isOpen($0.session) } ?? true
        let before = self.queue.counts.messages
        let result = self.queue.apply(
            command, index: entry.index, stamp: logged.stamp, effects: &self.effects)
        self.world.note("\(entry.index): \(self.text(command)) -> \(result)")
        if let wasKnown { self.checkRepeat(command, wasKnown, result, wasOpen, before) }
        if wasKnown == nil {
            if let tag = command.tag { self.firstResults[tag] = result }
            self.take(command, result, entry.index)
        }
        self.takeEffects()
        for tag in touched { self.settle(tag, command, result) }
        if case .admin(let admin) = command.action { self.meddle(admin) }
        for tag in self.alsoTouched() where !touched.contains(tag) { self.settle(tag) }
        if self.effects.contains(where: { if case .messageFinished = $0 { true } else { false } }) {
            self.live.removeAll { self.mail[$0].isFinished }
        }
        return result
    }

    private func text(_ command: Command) -> String {
        let origin = command.tag.map { $0.text + " " } ?? ""
        switch command.action {
        case .enqueue(let message):
            return origin + "enqueue on "
                + message.receipt.holders.map(\.node).joined(separator: ",")
        case .outcome(let outcome):
            let lines = outcome.lines.map { "\($0.recipient) \($0.verdict.kind)" }
            return origin + "outcome \(outcome.delivery.message.text).\(outcome.delivery.index) "
                + "attempt \(outcome.attempt) " + lines.joined(separator: ", ")
        case .grant(let grant):
            return "grant to \(grant.session.raw): "
                + grant.deliveries.map { "\($0.message.text).\($0.index)" }.joined(separator: " ")
                + " reports \(grant.reports.count)"
        case .release(let deliveries, _):
            return origin + "release "
                + deliveries.map { "\($0.message.text).\($0.index)" }.joined(separator: " ")
        case .report(let of, _): return origin + "report of \(of.message.text).\(of.number)"
        case .openSession(let open): return "open \(open.node) boot \(open.boot)"
        case .expireSession(let session): return "expire \(session.raw)"
        case .cancel(let tag): return origin + "cancel \(tag.text)"
        case .admin(let admin): return origin + "admin \(admin.verb)"
        case .closeSession, .suspend, .clearSuspension, .waiveReport, .expire, .bodyLost, .tick,
            .settings, .drain, .replicaAdded, .replicasLost, .removeNode, .admit, .wish:
            return origin + String("\(command.action)".prefix(60))
        }
    }

    /// The messages that a command speaks of, each once.
    private func touched(by action: Command.Action) -> [Tag] {
        let all: [Tag] =
            switch action {
            case .outcome(let outcome): [outcome.delivery.message]
            case .cancel(let tag), .bodyLost(let tag): [tag]
            case .admin(let admin): admin.deliveries.map(\.message)
            case .expire(let deliveries): deliveries.map(\.message)
            case .report(let of, _), .waiveReport(let of): [of.message]
            case .release(let deliveries, let reports):
                deliveries.map(\.message) + reports.map(\.message)
            case .openSession, .closeSession, .expireSession, .enqueue, .grant, .suspend,
                .clearSuspension, .tick, .settings, .drain, .replicaAdded, .replicasLost,
                .removeNode, .admit, .wish:
                []
            }
        var once: [Tag] = []
        for tag in all where once.last != tag && !once.contains(tag) { once.append(tag) }
        return once
    }

    /// What is in flight may end in the operator's way from now on.
    private func meddle(_ admin: Admin) {
        for id in admin.deliveries {
            if let place = self.places[id.message] { self.mail[place].isMeddledWith = true }
        }
    }

    /// Messages that time has touched: leases that came back, and what ended with that.
    private func alsoTouched() -> [Tag] {
        self.effects.compactMap { effect in
            switch effect {
            case .recipientsFailed(let tag, _), .messageFinished(let tag): tag
            case .reportLeased(let id, _): id.message
            case .sessionOpened, .sessionClosed, .leased, .leaseEnded, .possibleDuplicates: nil
            }
        }
    }

    /// Takes what time has brought as it is.
    private func settle(_ tag: Tag) {
        guard let place = self.places[tag] else { return }
        let view = self.queue.view(tag)
        var pending = Set<String>()
        for delivery in view?.deliveries ?? [] { pending.formUnion(delivery.recipients) }
        for i in self.mail[place].recipients.indices
        where !pending.contains(self.mail[place].recipients[i].address) {
            self.mail[place].recipients[i].isEnded = true
        }
        self.mail[place].reportsOwed = view?.reportsOwed ?? 0
    }

    /// Invariant 4: sent again, it has its first answer or none, and no effect.
    private func checkRepeat(
        _ command: Command, _ first: CommandResult, _ result: CommandResult, _ wasOpen: Bool,
        _ before: Int
    ) {
        if wasOpen {
            // A cancelled tag has another answer from then on.
            self.world.check(
                4,
                result == first || result == .refused(.acknowledged)
                    || result == .refused(.cancelled),
                "\(command.tag?.text ?? ""): \(first), then \(result)")
        }
        let grows = self.queue.counts.messages > before
        self.world.check(4, !grows, "\(command.tag?.text ?? "") has a second effect")
    }

    // MARK: What comes.

    private func take(_ command: Command, _ result: CommandResult, _ index: UInt64) {
        switch command.action {
        case .openSession(let open):
            guard result == .sessionOpened(SessionID(raw: index)) else { return }
            let last = self.boots[open.incarnation] ?? 0
            self.world.check(
                6, open.boot > last, "\(open.node) opens with boot \(open.boot) after \(last)")
            self.boots[open.incarnation] = open.boot
        case .expireSession where result == .done:
            self.world.counters[.expiries] += 1
            for node in self.world.nodes { self.checkLease(of: node) }
        case .enqueue(let message):
            guard case .enqueued = result, let tag = command.tag else { return }
            self.arrive(tag, message, isReport: false, isDoubleBounce: false)
        case .report(let of, let message):
            guard case .enqueued = result, let tag = command.tag else { return }
            if self.places[tag] != nil { return }
            self.world.check(
                5, self.cleared.insert(of).inserted,
                "\(of.message.text).\(of.number) is reported twice")
            let isDouble = self.places[of.message].map { self.mail[$0].isReport } ?? false
            self.arrive(tag, message, isReport: true, isDoubleBounce: isDouble)
        case .cancel(let tag):
            self.givenUp.removeAll { $0.tag == tag }
            guard let place = self.places[tag] else { return }
            if case .late(let count) = result {
                self.mail[place].late += Int(count)
                if !self.queue.isOpen(tag.session) { self.world.counters[.lateOfClosed] += 1 }
            }
        case .replicaAdded(let message, _) where result == .done:
            self.checkCopies(message, "at a copy made again")
        case .bodyLost(let message):
            // The world destroys never all copies of what it knows.
            self.world.check(
                2, result != .done, "\(message.text) is given up")
        case .admit where result == .done: self.world.counters[.admissions] += 1
        case .removeNode where result == .done: self.world.counters[.removals] += 1
        case .admin, .closeSession, .expireSession, .outcome, .release, .grant, .suspend,
            .clearSuspension, .waiveReport, .expire, .tick, .settings, .drain,
            .replicaAdded, .replicasLost, .removeNode, .admit, .wish:
            return
        }
    }

    private func arrive(_ tag: Tag, _ message: Enqueue, isReport: Bool, isDoubleBounce: Bool) {
        // Sent again: known already.
        if self.places[tag] != nil { return }
        var known: [String] = []
        var recipients: [MailRecord.Recipient] = []
        for (place, recipient) in message.envelope.recipients.enumerated() {
            let destination = message.destinations[place]
            let delivery = known.firstIndex(of: destination) ?? known.count
            if delivery == known.count { known.append(destination) }
            recipients.append(
                MailRecord.Recipient(
                    address: recipient.address, delivery: UInt16(delivery),
                    notifies: recipient.notify.contains(.failure)))
        }
        if self.lostCancels.contains(tag) { self.excused.insert(message.receipt.digest.a) }
        self.places[tag] = self.mail.count
        self.live.append(self.mail.count)
        self.mail.append(
            MailRecord(
                tag: tag, content: message.receipt.digest.a, recipients: recipients,
                hasNullSender: message.envelope.sender.isEmpty, isReport: isReport,
                isDoubleBounce: isDoubleBounce, digest: message.receipt.digest))
        let holders = message.receipt.holders
        self.world.check(
            2, holders.count >= self.world.scenario.copies && Set(holders).count == holders.count,
            "\(tag.text) is taken with \(holders.count) copies")
        self.checkCopies(tag, "at its Enqueue")
    }

    private func takeEffects() {
        var isRepeat = false
        for effect in self.effects {
            switch effect {
            case .possibleDuplicates(.takeover, _): isRepeat = true
            case .leased(let id, _):
                if isRepeat { self.countRepeat(id) }
                isRepeat = false
            case .messageFinished(let tag):
                if let place = self.places[tag] { self.mail[place].isFinished = true }
            case .sessionOpened, .sessionClosed, .reportLeased, .leaseEnded,
                .possibleDuplicates, .recipientsFailed:
                continue
            }
        }
    }

    private func countRepeat(_ id: DeliveryID) {
        guard let place = self.places[id.message] else { return }
        for i in self.mail[place].recipients.indices
        where self.mail[place].recipients[i].delivery == id.index {
            self.mail[place].recipients[i].repeats += 1
        }
    }

    // MARK: What ends.

    /// Compares what is known of a message with what the state says after a command.
    private func settle(_ tag: Tag, _ command: Command, _ result: CommandResult) {
        guard let place = self.places[tag] else { return }
        let view = self.queue.view(tag)
        var pending = Set<String>()
        for delivery in view?.deliveries ?? [] { pending.formUnion(delivery.recipients) }
        var failed = false
        for i in self.mail[place].recipients.indices {
            let recipient = self.mail[place].recipients[i]
            let isPending = pending.contains(recipient.address)
            if recipient.isEnded {
                self.world.check(
                    5, !isPending, "\(tag.text) \(recipient.address) ends and is pending again")
            } else if !isPending {
                self.mail[place].recipients[i].isEnded = true
                self.world.counters[.recipientsEnded] += 1
                if self.fails(i, of: place, by: command) { failed = true }
            }
        }
        let owed = view?.reportsOwed ?? 0
        self.checkDebt(place, command, result, owed - self.mail[place].reportsOwed, failed)
        self.mail[place].reportsOwed = owed
    }

    /// Whether the recipient ends by a failure of which somebody is to be told.
    private func fails(_ recipient: Int, of place: Int, by command: Command) -> Bool {
        let record = self.mail[place]
        switch command.action {
        case .outcome(let outcome):
            let line = outcome.lines.first { $0.recipient == UInt16(recipient) }
            if line?.verdict.kind == .delivered {
                self.world.check(
                    1, record.recipients[recipient].arrivals > 0,
                    "\(record.tag.text) is called delivered and came nowhere")
                return false
            }
        case .cancel: return false
        case .admin(let admin) where admin.verb == .drop: return false
        case _: break
        }
        if record.isDoubleBounce { return false }
        if record.isReport { return true }
        return !record.hasNullSender && record.recipients[recipient].notifies
    }

    /// Invariant 5: one debt by the command that ends recipients; one message clears it.
    private func checkDebt(
        _ place: Int, _ command: Command, _ result: CommandResult, _ change: Int, _ failed: Bool
    ) {
        let record = self.mail[place]
        let tag = record.tag.text
        switch command.action {
        case .report:
            var isFirst = false
            if case .enqueued = result { isFirst = self.firstTime(command) }
            self.world.check(
                5, change == (isFirst ? -1 : 0),
                "\(tag) owes \(change) by a report that is \(result)")
        case .waiveReport:
            let isFirst = result == .done && self.firstTime(command)
            self.world.check(
                5, change == (isFirst ? -1 : 0), "\(tag) owes \(change) by a waiver")
            self.world.check(
                5, !isFirst || record.hasNullSender, "\(tag) has a sender who is to be told")
        case .outcome, .release:
            guard !record.isMeddledWith else { return }
            let notices = self.world.scenario.delayNotice > .zero ? record.recipients.count : 0
            let least = failed ? 1 : 0
            self.world.check(
                5, change >= least && change <= least + notices,
                "\(tag) owes \(change) by \(command.action), expected \(least)")
        case .expire, .bodyLost, .admin, .cancel:
            guard !record.isMeddledWith else { return }
            self.world.check(
                5, change == (failed ? 1 : 0), "\(tag) owes \(change) by \(command.action)")
        case .openSession, .closeSession, .expireSession, .enqueue, .grant, .suspend,
            .clearSuspension, .tick, .settings, .drain, .replicaAdded, .replicasLost,
            .removeNode, .admit, .wish:
            return
        }
    }

    private func firstTime(_ command: Command) -> Bool {
        guard let tag = command.tag else { return true }
        return self.handled.insert(tag).inserted
    }
}
