// Rig.swift - a queue with a log: short words for commands, and an audit of every list and sum.

import Primitives
import SMTP
import Spool
import Testing

@testable import MailQueue

/// Testing has tags of its own.
typealias Tag = Primitives.Tag

final class Rig {
    var queue = MailQueue()
    var index: UInt64 = 0
    var time = QueueTime(milliseconds: 1_000_000)
    /// Of the last command.
    var effects: [Effect] = []
    var sequences: [SessionID: UInt64] = [:]

    init(_ change: (inout ClusterSettings) -> Void = { _ in }) {
        var settings = ClusterSettings()
        change(&settings)
        _ = self.apply(Command(.settings(settings)))
    }

    @discardableResult
    func apply(_ command: Command) -> CommandResult {
        self.index += 1
        self.effects = []
        return self.queue.apply(
            command, index: self.index, stamp: self.time, effects: &self.effects)
    }

    func wait(_ duration: Duration) { self.time = self.time + duration }

    func open(
        _ node: String, incarnation: UInt64 = 1, boot: UInt64 = 1, credit: UInt32 = 100,
        replayed: Bool = true, delivers: Bool = true
    ) -> SessionID {
        let result = self.apply(
            Command(
                .openSession(
                    OpenSession(
                        node: node, incarnation: Incarnation(raw: incarnation), boot: boot,
                        nonce: boot * 1000 + incarnation, credit: credit, replayed: replayed,
                        delivers: delivers))))
        guard case .sessionOpened(let session) = result else {
            Issue.record("\(result)")
            return .none
        }
        return session
    }

    func origin(_ session: SessionID, acknowledged: [ClosedRange<UInt64>] = []) -> Origin {
        self.sequences[session, default: 0] += 1
        return Origin(
            session: session, sequence: self.sequences[session]!, acknowledged: acknowledged)
    }

    @discardableResult
    func send(_ session: SessionID, _ action: Command.Action) -> CommandResult {
        self.apply(Command(self.origin(session), action))
    }

    /// Enqueues and gives the tag.
    func enqueue(
        _ session: SessionID, from: String = "a@here.example", to: [String] = ["b@there.example"],
        notify: Notify = .default, holders: [Holder]? = nil
    ) -> Tag {
        let origin = self.origin(session)
        let result = self.apply(
            Command(origin, .enqueue(Self.message(from, to, notify, holders ?? [Self.holder]))))
        #expect(result == .enqueued(recipients: UInt32(to.count)))
        return Tag(session: session, sequence: origin.sequence)
    }

    static let holder = Holder(node: "a", incarnation: Incarnation(raw: 1))

    static func message(
        _ from: String = "a@here.example", _ to: [String] = ["b@there.example"],
        _ notify: Notify = .default, _ holders: [Holder] = [Rig.holder]
    ) -> Enqueue {
        let recipients = to.map { Recipient(address: $0, notify: notify) }
        return Enqueue(
            envelope: Envelope(sender: from, recipients: recipients),
            destinations: recipients.map { String($0.domain) },
            receipt: BodyReceipt(
                originalBytes: 5000, storedBytes: 3000, digest: .zero, holders: holders),
            acceptedAt: WallTime(milliseconds: 1_700_000_000_000), receivedFrom: "[192.0.2.7]")
    }

    static let busy = Reply(451, EnhancedCode(4, 3, 2), "busy")
    static let unknown = Reply(550, EnhancedCode(5, 1, 1), "no such user")

    @discardableResult
    func settle(
        _ session: SessionID, _ tag: Tag, _ kind: Verdict.Kind, delivery: UInt16 = 0,
        recipients: [UInt16] = [0], attempt: UInt32 = 1, endsLease: Bool = true,
        damaged: Bool = false
    ) -> CommandResult {
        let reply: Reply =
            switch kind {
            case .delivered, .relayed, .stored: Reply(250, EnhancedCode(2, 0, 0), "ok")
            case .deferred: Self.busy
            case .failed: Self.unknown
            }
        let lines = recipients.map {
            Outcome.Line(recipient: $0, verdict: Verdict(kind, reply, remoteHost: "mx.example"))
        }
        return self.send(
            session,
            .outcome(
                Outcome(
                    delivery: DeliveryID(message: tag, index: delivery), attempt: attempt,
                    lines: lines, endsLease: endsLease, damaged: damaged)))
    }

    /// Applies what the dispatcher proposes, until it has nothing more to say.
    @discardableResult
    func dispatch(limit: Int = 1000) -> [Command] {
        var all: [Command] = []
        for _ in 0..<1000 {
            let commands = self.queue.nextWork(now: self.time, limit: limit, term: 1)
            if commands.isEmpty { return all }
            all += commands
            var effects: [Effect] = []
            for command in commands {
                self.apply(command)
                effects += self.effects
            }
            self.effects = effects
        }
        Issue.record("the dispatcher finds no end")
        return all
    }

    func state(_ tag: Tag, delivery: UInt16 = 0) -> DeliveryState? {
        self.queue.view(tag)?.deliveries.first { $0.id.index == delivery }?.state
    }

    func isAlone(_ node: String) -> Bool { self.queue.isAlone(node) }
    func isOpen(_ session: SessionID) -> Bool { self.queue.isOpen(session) }
    func contains(_ tag: Tag) -> Bool { self.queue.contains(tag) }
    func timing(of session: SessionID) -> SessionTiming? { self.queue.timing(of: session) }
    func wasEnqueued(_ tag: Tag) -> Bool { self.queue.wasEnqueued(tag) }

    func hash() -> UInt64 { self.queue.stateHash() }

    var counts: QueueCounts { self.queue.counts }

    /// The debts of a message.
    func reports(_ tag: Tag) -> [OwedReport] {
        let slot = self.queue.tags.find(tag, in: self.queue.messages)
        return slot == Slot.none ? [] : self.queue.messages[slot].reports.map(\.content)
    }
}

func id(_ tag: Tag, _ index: UInt16 = 0) -> DeliveryID { DeliveryID(message: tag, index: index) }

extension MailQueue {
    /// Every list and sum made again by looking at every row; nil: all is well.
    func audit() -> String? {
        var sums = Sums()
        var leases: [UInt64: UInt32] = [:]
        for slot in self.messages.rows.indices where self.messages.rows[slot].isUsed {
            let row = self.messages.rows[slot]
            sums.storedBytes += row.sizes.stored
            sums.originalBytes += row.sizes.original
            sums.reports += row.reports.count
            for report in row.reports where report.session != .none {
                leases[report.session.raw, default: 0] += 1
            }
            if row.liveDeliveries == 0 && row.reports.isEmpty { return "a message without sense" }
            var pending = [UInt16](repeating: 0, count: row.deliveryCount)
            for recipient in 0..<row.recipientCount where row.status(recipient) == .pending {
                pending[Int(row.delivery(of: recipient))] += 1
                sums.recipients += 1
            }
            for index in pending.indices {
                let delivery = row.deliverySlot(UInt16(index))
                if (delivery == Slot.none) != (pending[index] == 0) { return "ended and pending" }
                if delivery == Slot.none { continue }
                if self.deliveries[delivery].pending != pending[index] { return "pending" }
                if let fault = self.audit(delivery, &sums, &leases) { return fault }
            }
        }
        if sums.ready != self.sums.ready || sums.readySuspended != self.sums.readySuspended {
            return "ready \(sums) \(self.sums)"
        }
        if sums != self.sums { return "sums \(sums) \(self.sums)" }
        for session in self.sessions {
            if session.leases != leases[session.id.raw, default: 0] { return "leases" }
            if session.leases > session.credit { return "credit" }
            if self.leases(of: session.id).count + session.reports.count != session.leases {
                return "list of leases"
            }
        }
        return self.auditDestinations() ?? self.auditPlacements()
    }

    private func auditPlacements() -> String? {
        var copies = 0
        for (number, row) in self.holderSets.rows.enumerated() {
            var count = 0
            var slot = row.first
            while slot != Slot.none {
                if Int(self.messages[slot].holders) != number { return "list of a placement" }
                count += 1
                slot = self.messages[slot].nextAlike
            }
            if count != row.messages { return "count of a placement" }
            if count > 0, row.holders.contains(where: { !self.isMember($0) }) { return "holder" }
        }
        for (slot, rows) in self.copyRows {
            if !self.messages[slot].isUsed || rows.isEmpty { return "rows of copies" }
            for copy in rows where self.copies[copy.tag] == self.messages[slot].tag { copies += 1 }
        }
        let listed = self.holderSets.rows.reduce(0) { $0 + $1.messages }
        if listed != self.messages.count { return "messages without a placement" }
        return copies == self.copies.count ? nil : "copies"
    }

    private func audit(
        _ slot: UInt32, _ sums: inout Sums, _ leases: inout [UInt64: UInt32]
    ) -> String? {
        let row = self.deliveries[slot]
        switch row.state {
        case .queued: sums.queued += 1
        case .leased:
            sums.leased += 1
            leases[row.payload, default: 0] += 1
        case .deferred: sums.deferred += 1
        case .held: sums.held += 1
        case .ended: return "an ended delivery in use"
        }
        let waits = row.state == .queued || row.state == .deferred
        if waits != (row.heap != Slot.none) { return "due heap" }
        if waits, self.due.entries[Int(row.heap)].slot != slot { return "place in the due heap" }
        if row.state == .queued, !row.flags.contains(.ready) { return "queued, not ready" }
        if !waits, row.flags.contains(.ready) { return "ready, not waiting" }
        if row.flags.contains(.ready) {
            sums.ready += 1
            if self.destinations[row.destination].isSuspended { sums.readySuspended += 1 }
        }
        return nil
    }

    private func auditDestinations() -> String? {
        for entry in self.due.entries.indices.dropFirst()
        where self.due.entries[entry].key < self.due.entries[(entry - 1) / 4].key {
            return "order of the due heap"
        }
        for slot in self.destinations.slots where !self.destinations[slot].name.isEmpty {
            let row = self.destinations[slot]
            var count: UInt32 = 0
            var next = row.readyFirst
            while next != Slot.none {
                count += 1
                next = self.deliveries[next].next
            }
            if count != row.ready { return "list of ready deliveries" }
            if row.live != row.queued + row.leased + row.deferred + row.held { return "live" }
            let belongs =
                row.ready > 0 && !row.isSuspended
                && row.leased < self.settings.leasesPerDestination
            if belongs != row.isInRing { return "ring" }
        }
        return nil
    }
}
