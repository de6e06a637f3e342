import Primitives
import SMTP
import Spool
import Testing

@testable import MailQueue

/// A random life: three nodes that come and go, resend, lie and time out; a second replica that is
/// restored from checkpoints now and then and must stay equal (4, 5, 7, credit).
final class Life {
    let rig = Rig {
        $0.expire = .seconds(3000)
        $0.delayNotice = .seconds(500)
        $0.connectionsPerDestination = 1
        $0.suspectMax = 4
    }
    var dice: Generator
    var store = Store()
    var replica = MailQueue()
    var sessions: [SessionID] = []
    var boots: [String: UInt64] = [:]
    var disks: [String: UInt64] = [:]
    var sent: [(command: Command, result: CommandResult)] = []
    var tags: [Tag] = []
    /// Of commands that added one.
    var copies: [Tag] = []
    var enqueued: UInt64 = 0
    var dropped: UInt64 = 0
    var seen: [Tag: [RecipientStatus]] = [:]
    /// What was applied; whoever wants it empties it first.
    var log: [(command: Command, index: UInt64, stamp: QueueTime)] = []

    init(seed: UInt64) throws {
        self.dice = Generator(seed: seed)
        try self.checkpoint()
    }

    func checkpoint() throws {
        self.store.take(self.rig.queue.takeDirty())
        self.replica = try self.store.restore()
        #expect(self.replica.stateHash() == self.store.stateHash)
        #expect(self.replica.audit() == nil)
    }

    /// Applies to both; they must answer alike.
    ///
    /// - Parameter isNew: not sent before, so that it may bring recipients in.
    @discardableResult
    func apply(_ command: Command, isNew: Bool = true) throws -> CommandResult {
        let before = UInt64(self.rig.counts.recipients)
        let old = self.rig.queue.totals
        // What is applied has been through bytes.
        let result = self.rig.apply(try decoded(encoded(command)))
        self.log.append((command, self.rig.index, self.rig.time))
        var effects: [Effect] = []
        let other = self.replica.apply(
            command, index: self.rig.index, stamp: self.rig.time, effects: &effects)
        #expect(other == result)
        #expect(effects == self.rig.effects)
        var added: UInt64 = 0
        if isNew, case .enqueued(let count) = result { added = UInt64(count) }
        let totals = self.rig.queue.totals
        let ended = totals.failed - old.failed + totals.delivered - old.delivered
        let now = UInt64(self.rig.counts.recipients)
        // What neither was delivered nor failed was dropped: never less than nothing (5).
        #expect(before + added >= ended + now)
        self.enqueued += added
        self.dropped += before + added - ended - now
        return result
    }

    /// A recipient that has ended stays as it is; a message that has ended never returns (5).
    func look() {
        for tag in self.tags {
            let slot = self.rig.queue.tags.find(tag, in: self.rig.queue.messages)
            guard slot != Slot.none else {
                self.seen[tag] = []
                continue
            }
            let row = self.rig.queue.messages[slot]
            let statuses = (0..<row.recipientCount).map { row.status($0) }
            if let before = self.seen[tag] {
                #expect(before.count == statuses.count)
                for (was, now) in zip(before, statuses) where was != .pending {
                    #expect(was == now)
                }
            }
            self.seen[tag] = statuses
        }
    }

    func send(_ action: Command.Action) throws {
        guard let session = self.sessions.randomElement(using: &self.dice) else { return }
        var acknowledged: [ClosedRange<UInt64>] = []
        if self.dice.chance(permille: 200), let last = self.rig.sequences[session], last > 3 {
            acknowledged = [1...last - UInt64(self.dice.below(3))]
        }
        let command = Command(self.rig.origin(session, acknowledged: acknowledged), action)
        let result = try self.apply(command)
        self.sent.append((command, result))
        if case .enqueued = result, let tag = command.tag { self.tags.append(tag) }
    }

    func resend() throws {
        guard let old = self.sent.randomElement(using: &self.dice) else { return }
        // What the time since the last entry brings about is not the resent command's doing.
        try self.apply(Command(.tick))
        guard self.rig.isOpen(old.command.origin!.session) else { return }
        let counts = self.rig.counts
        let totals = self.rig.queue.totals
        let result = try self.apply(old.command, isNew: false)
        #expect(
            result == old.result || result == .refused(.acknowledged)
                || result == .refused(.cancelled))
        #expect(self.rig.effects.isEmpty || self.rig.counts == counts)
        #expect(self.rig.queue.totals.delivered == totals.delivered)
        #expect(self.rig.queue.totals.failed == totals.failed)
        #expect(self.rig.queue.totals.accepted == totals.accepted)
    }

    func tag() -> Tag {
        self.tags.randomElement(using: &self.dice) ?? Tag(session: .none, sequence: 0)
    }

    func outcome() throws {
        let session = self.sessions.randomElement(using: &self.dice) ?? .none
        let leases = self.rig.queue.leases(of: session)
        let isStale = self.dice.chance(permille: 100)
        guard
            let id = isStale
                ? DeliveryID(message: self.tag(), index: 0)
                : leases.randomElement(using: &self.dice)
        else { return }
        let work = self.rig.queue.work(id)
        let kinds: [Verdict.Kind] = [
            .delivered, .relayed, .stored, .deferred, .deferred, .failed,
        ]
        let all = work?.recipients.map(\.index) ?? [0, 1]
        let lines = all.filter { _ in self.dice.chance(permille: 800) }.map {
            let kind = kinds[self.dice.below(6)]
            return Outcome.Line(
                recipient: $0,
                verdict: Verdict(kind, kind == .failed ? Rig.unknown : Rig.busy))
        }
        let outcome = Outcome(
            delivery: id, attempt: work?.attempt ?? 1, lines: lines,
            endsLease: self.dice.chance(permille: 800), damaged: self.dice.chance(permille: 20))
        let command = Command(self.rig.origin(session), .outcome(outcome))
        let result = try self.apply(command)
        self.sent.append((command, result))
    }

    func report() throws {
        let session = self.sessions.randomElement(using: &self.dice) ?? .none
        guard let id = self.rig.queue.reportLeases(of: session).first else { return }
        let isWaived = self.dice.chance(permille: 300)
        let message = Rig.message("", ["p@here.example"])
        let action: Command.Action =
            isWaived ? .waiveReport(id) : .report(of: id, message: message)
        let command = Command(self.rig.origin(session), action)
        let result = try self.apply(command)
        self.sent.append((command, result))
        if case .enqueued = result, let tag = command.tag { self.tags.append(tag) }
    }

    func open() throws {
        let node = ["a", "b", "c"][self.dice.below(3)]
        self.boots[node, default: 0] += 1
        // Now and then it has lost its disk; what was a's is what all messages are held by.
        let isNew = node != "a" && self.dice.chance(permille: 100)
        if isNew { self.disks[node, default: 1] += 1 }
        let open = OpenSession(
            node: node, incarnation: Incarnation(raw: self.disks[node, default: 1]),
            boot: self.boots[node]!,
            nonce: self.dice.next(), credit: UInt32(1 + self.dice.below(20)),
            replayed: self.dice.chance(permille: 500), delivers: self.dice.chance(permille: 900))
        if case .sessionOpened(let id) = try self.apply(Command(.openSession(open))) {
            self.sessions.append(id)
            if self.sessions.count > 5 { self.sessions.removeFirst() }
        }
    }

    /// Copies made and lost by b and c, by their present and earlier sessions.
    func replicas() throws {
        let node = ["b", "c"][self.dice.below(2)]
        let disk = UInt64(1 + self.dice.below(Int(self.disks[node, default: 1])))
        let holder = Holder(node: node, incarnation: Incarnation(raw: disk))
        switch self.dice.below(10) {
        case 8:
            try self.apply(
                Command(.admit(Admission(node: node, incarnation: holder.incarnation))))
        case 9: try self.send(.wish(node: node, MemberWish.allCases[self.dice.below(6)]))
        case 0:
            let removal = RemoveNode(
                node: node, incarnation: holder.incarnation, force: self.dice.chance(permille: 500))
            if try self.apply(Command(.removeNode(removal))) == .done {
                self.disks[node, default: 1] += 1
            }
        case 1, 2:
            let tags = (0..<3).map { _ in self.copies.randomElement(using: &self.dice) ?? self.tag()
            }
            try self.send(.replicasLost(holder, tags))
        case _:
            let command = Command(
                self.rig.origin(self.sessions.randomElement(using: &self.dice) ?? .none),
                .replicaAdded(self.tag(), holder))
            if try self.apply(command) == .done, let tag = command.tag { self.copies.append(tag) }
        }
    }

    func step() throws {
        switch self.dice.below(100) {
        case 0..<30:
            let count = 1 + self.dice.below(4)
            let to = (0..<count).map { "r\($0)@d\(self.dice.below(6)).example" }
            let notify: Notify =
                [.default, [.success, .failure, .explicit], [.never, .explicit]][self.dice.below(3)]
            try self.send(
                .enqueue(Rig.message(self.dice.chance(permille: 200) ? "" : "s@x", to, notify)))
        case 30..<60: try self.outcome()
        case 60..<66: try self.report()
        case 66..<78:
            for command in self.rig.queue.nextWork(now: self.rig.time, limit: 20, term: 1) {
                try self.apply(command)
            }
        case 78..<82: try self.resend()
        case 82..<84: try self.open()
        case 84..<85:
            try self.apply(
                Command(.expireSession(self.sessions.randomElement(using: &self.dice) ?? .none)))
        case 85..<86: try self.send(.closeSession)
        case 86..<88:
            try self.send(
                .suspend(destination: "d\(self.dice.below(6)).example", reply: Rig.busy))
        case 88..<89:
            try self.send(.clearSuspension(destination: "d\(self.dice.below(6)).example"))
        case 89..<91: try self.send(.cancel(self.tag()))
        case 91..<94:
            let verb = Admin.Verb.allCases[self.dice.below(5)]
            let ids = (0..<5).map { _ in
                DeliveryID(message: self.tag(), index: UInt16(self.dice.below(3)))
            }
            try self.send(.admin(Admin(verb: verb, deliveries: ids, reason: "because")))
        case 94..<95:
            let ids = (0..<3).map { _ in DeliveryID(message: self.tag(), index: 0) }
            try self.send(.release(deliveries: ids, reports: []))
        case 95..<96: try self.apply(Command(.bodyLost(self.tag())))
        case 96..<97:
            try self.apply(
                Command(.drain(node: "b", draining: self.dice.chance(permille: 300))))
        case 97..<99: try self.replicas()
        case _: self.rig.wait(.seconds(self.dice.below(180)))
        }
    }
}

@Suite("A random life of the queue (4, 5, 7)")
struct ModelTests {
    @Test(arguments: UInt64(1)...12)
    func `lists, sums, credit and replicas agree at every step`(_ seed: UInt64) throws {
        let life = try Life(seed: seed)
        for _ in 0..<3 { try life.open() }
        for step in 0..<1500 {
            try life.step()
            if step % 10 == 0 {
                life.look()
                let fault = life.rig.queue.audit()
                #expect(fault == nil, "step \(step)")
                if fault != nil { return }
            }
            if step % 97 == 0 {
                #expect(life.rig.hash() == life.replica.stateHash(), "step \(step)")
                try life.checkpoint()
            }
        }
        // Each recipient has ended exactly once, or is pending (5); operators drop a few.
        let totals = life.rig.queue.totals
        let ended = totals.delivered + totals.failed + life.dropped
        #expect(life.enqueued == ended + UInt64(life.rig.counts.recipients))
        #expect(life.enqueued > 300)
        #expect(life.dropped < life.enqueued / 2)
    }

    @Test func `when all is healed, everything ends and nothing is left (10)`() throws {
        let life = try Life(seed: 77)
        try life.open()
        for _ in 0..<1500 { try life.step() }
        try life.apply(Command(.drain(node: "b", draining: false)))
        life.boots["a", default: 0] += 1
        let session = life.rig.open("a", boot: life.boots["a"]! + 1000, credit: 50)
        for other in life.rig.queue.sessionViews where other.isOpen && other.id != session {
            life.rig.apply(Command(.expireSession(other.id)))
        }
        for _ in 0..<3000 where life.rig.counts.messages > 0 {
            life.rig.dispatch(limit: 50)
            for id in life.rig.queue.leases(of: session) {
                let work = life.rig.queue.work(id)!
                life.rig.settle(
                    session, id.message, .delivered, delivery: id.index,
                    recipients: work.recipients.map(\.index), attempt: work.attempt)
            }
            for report in life.rig.queue.reportLeases(of: session) {
                life.rig.send(session, .waiveReport(report))
            }
            let held = life.rig.queue.list(QueueFilter(state: .held), limit: 100).messages
            let ids = held.flatMap { $0.deliveries.map(\.id) }
            if !ids.isEmpty {
                let some = Array(ids.prefix(100))
                life.rig.send(
                    session, .admin(Admin(verb: .release, deliveries: some, reason: "")))
            }
            life.rig.wait(.seconds(20))
        }
        #expect(life.rig.counts == QueueCounts())
        life.rig.wait(.seconds(5000))
        life.rig.dispatch()
        #expect(life.rig.queue.destinationViews(limit: 9).isEmpty)
        #expect(life.rig.queue.nextWake == nil)
        #expect(life.rig.queue.audit() == nil)
    }
}
