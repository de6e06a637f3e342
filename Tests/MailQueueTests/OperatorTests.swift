import Primitives
import SMTP
import Spool
import Testing

@testable import MailQueue

@Suite("Suspended destinations")
struct SuspensionTests {
    static let refused = Reply(451, EnhancedCode(4, 4, 1), "connection refused")

    @Test func `what is given back into a suspension waits with it and counts no attempt`() {
        let rig = Rig()
        let a = rig.open("a")
        let (one, two) = (rig.enqueue(a), rig.enqueue(a))
        let other = rig.enqueue(a, to: ["c@else.example"])
        rig.send(a, .suspend(destination: "there.example", reply: Self.refused))
        #expect(rig.effects.isEmpty)
        rig.send(a, .release(deliveries: [id(one), id(two)], reports: []))
        #expect(rig.state(other) == .leased)
        let view = rig.queue.view(one)?.deliveries.first
        #expect(view?.state == .deferred)
        #expect(view?.attempts == 0)
        #expect(view?.nextAttempt == rig.time + .seconds(60))
        #expect(view?.lastReply == Self.refused)
        #expect(rig.counts.deferred == 2)
        #expect(rig.counts.due == 0)
        #expect(rig.dispatch().isEmpty)
        #expect(rig.queue.audit() == nil)
    }

    @Test func `new mail rests with its destination`() {
        let rig = Rig()
        let a = rig.open("a")
        rig.send(a, .suspend(destination: "there.example", reply: Self.refused))
        let tag = rig.enqueue(a)
        #expect(rig.state(tag) == .deferred)
        rig.wait(.milliseconds(59_999))
        #expect(rig.dispatch().isEmpty)
        rig.wait(.milliseconds(1))
        rig.dispatch()
        #expect(rig.state(tag) == .leased)
        #expect(rig.queue.view(tag)?.deliveries.first?.attempts == 0)
    }

    @Test func `suspensions double to a quarter of an hour, and a success begins again`() {
        let rig = Rig()
        let a = rig.open("a")
        func rest() -> Int64? {
            rig.send(a, .suspend(destination: "there.example", reply: Self.refused))
            let view = rig.queue.destinationViews(limit: 1).first
            return view?.suspendedUntil.map { ($0 - rig.time).inMilliseconds / 1000 }
        }
        for seconds in [60, 120, 240, 480, 900, 900] {
            #expect(rest() == Int64(seconds))
            // Another node that finds the same does not make it longer.
            #expect(rest() == Int64(seconds))
            rig.wait(.seconds(seconds))
        }
        rig.send(a, .clearSuspension(destination: "there.example"))
        #expect(rig.queue.destinationViews(limit: 1).isEmpty)
        #expect(rest() == 60)
    }

    @Test func `an old suspension is forgotten`() {
        let rig = Rig()
        let a = rig.open("a")
        rig.send(a, .suspend(destination: "there.example", reply: Self.refused))
        rig.wait(.seconds(60 + 900))
        #expect(rig.dispatch() == [Command(.tick)])
        #expect(rig.queue.destinationViews(limit: 1).isEmpty)
        #expect(rig.queue.nextWake == nil)
    }

    @Test func `expiry takes the destination's reply if the delivery has none`() {
        let rig = Rig { $0.expire = .seconds(30) }
        let a = rig.open("a")
        let tag = rig.enqueue(a)
        rig.send(a, .suspend(destination: "there.example", reply: Self.refused))
        rig.send(a, .release(deliveries: [id(tag)], reports: []))
        rig.wait(.seconds(30))
        rig.dispatch()
        let line = rig.reports(tag).first?.lines.first
        #expect(line?.verdict.reply == Self.refused)
        #expect(line?.status == EnhancedCode(4, 4, 7))
    }

    @Test func `a suspension past the notice time owes the delay notice`() {
        let rig = Rig { $0.delayNotice = .seconds(10) }
        let a = rig.open("a")
        let tag = rig.enqueue(a)
        rig.wait(.seconds(10))
        rig.send(a, .suspend(destination: "there.example", reply: Self.refused))
        #expect(rig.reports(tag).isEmpty)
        rig.send(a, .release(deliveries: [id(tag)], reports: []))
        #expect(rig.reports(tag).first?.lines.map(\.action) == [.delayed])
    }
}

@Suite("Operators")
struct OperatorTests {
    private func admin(
        _ rig: Rig, _ session: SessionID, _ verb: Admin.Verb, _ ids: [DeliveryID]
    ) -> CommandResult {
        rig.send(session, .admin(Admin(verb: verb, deliveries: ids, reason: "spam")))
    }

    @Test func `hold, release and retry`() {
        let rig = Rig()
        let a = rig.open("a")
        let tag = rig.enqueue(a)
        rig.settle(a, tag, .deferred)
        #expect(self.admin(rig, a, .hold, [id(tag)]) == .changed(deliveries: 1, inFlight: 0))
        rig.wait(.seconds(10 * 86_400))
        #expect(rig.dispatch().isEmpty)
        #expect(rig.state(tag) == .held)
        #expect(self.admin(rig, a, .retry, [id(tag)]) == .changed(deliveries: 0, inFlight: 0))
        #expect(self.admin(rig, a, .release, [id(tag)]) == .changed(deliveries: 1, inFlight: 0))
        #expect(rig.state(tag) == .queued)
    }

    @Test func `retry makes a deferred delivery due, and wakes its destination`() {
        let rig = Rig()
        let a = rig.open("a")
        let tag = rig.enqueue(a)
        rig.settle(a, tag, .deferred)
        rig.send(
            a, .suspend(destination: "there.example", reply: SuspensionTests.refused))
        _ = self.admin(rig, a, .retry, [id(tag)])
        rig.dispatch()
        #expect(rig.state(tag) == .leased)
        #expect(rig.queue.audit() == nil)
    }

    @Test func `bounce ends with one report a message, drop without a word`() {
        let rig = Rig()
        let a = rig.open("a", delivers: false)
        let tag = rig.enqueue(a, to: ["b@x.example", "c@y.example"])
        let other = rig.enqueue(a)
        let ids = [id(tag), id(tag, 1), id(other), id(other, 7)]
        #expect(self.admin(rig, a, .bounce, ids) == .changed(deliveries: 3, inFlight: 0))
        #expect(rig.reports(tag).map { $0.lines.count } == [2])
        #expect(rig.reports(other).first?.lines.first?.verdict.reply.lines == ["spam"])
        let gone = rig.enqueue(a)
        #expect(self.admin(rig, a, .drop, [id(gone)]) == .changed(deliveries: 1, inFlight: 0))
        #expect(rig.effects == [.messageFinished(gone)])
        #expect(rig.queue.audit() == nil)
    }

    @Test(arguments: [Admin.Verb.hold, .bounce, .drop])
    func `on a delivery in flight it takes effect after the attempt`(_ verb: Admin.Verb) {
        let rig = Rig()
        let a = rig.open("a")
        let (tag, lucky) = (rig.enqueue(a), rig.enqueue(a))
        let ids = [id(tag), id(lucky)]
        #expect(self.admin(rig, a, verb, ids) == .changed(deliveries: 0, inFlight: 2))
        #expect(rig.state(tag) == .leased)
        rig.settle(a, lucky, .delivered)
        #expect(rig.effects == [.messageFinished(lucky)])
        rig.settle(a, tag, .deferred)
        switch verb {
        case .hold: #expect(rig.state(tag) == .held)
        case .bounce:
            #expect(rig.reports(tag).first?.lines.first?.verdict.reply.lines == ["spam"])
        case .drop: #expect(!rig.contains(tag))
        case .retry, .release: Issue.record("not asked")
        }
        #expect(rig.queue.audit() == nil)
        #expect(rig.queue.reasons.isEmpty)
    }

    @Test func `a list of operators' ids has a limit`() {
        let rig = Rig()
        let a = rig.open("a", delivers: false)
        let tag = rig.enqueue(a)
        let most = Array(repeating: id(tag), count: Admin.itemsMax)
        #expect(self.admin(rig, a, .hold, most) == .changed(deliveries: 1, inFlight: 0))
        #expect(self.admin(rig, a, .hold, most + [id(tag)]) == .refused(.malformed))
    }
}

@Suite("Dispatch and views")
struct DispatchTests {
    @Test func `grants take turns over destinations`() {
        let rig = Rig()
        let store = rig.open("a", delivers: false)
        for _ in 0..<5 { _ = rig.enqueue(store, to: ["b@big.example"]) }
        let small = rig.enqueue(store, to: ["b@small.example"])
        let b = rig.open("b", credit: 2)
        rig.dispatch()
        #expect(rig.queue.leases(of: b).contains(id(small)))
        #expect(rig.queue.leases(of: b).count == 2)
        #expect(rig.queue.audit() == nil)
    }

    @Test func `a retry prefers the node of the last attempt, then a holder of the body`() {
        let rig = Rig()
        let a = rig.open("a")
        let b = rig.open("b", credit: 1000)
        let tag = rig.enqueue(a)
        rig.settle(a, tag, .deferred)
        rig.wait(.seconds(70))
        rig.dispatch()
        #expect(rig.queue.holder(of: id(tag)) == a)
        let stored = rig.open("c", delivers: false)
        let held = rig.enqueue(stored, holders: [Rig.holder])
        rig.dispatch()
        #expect(rig.queue.holder(of: id(held)) == a)
        let third = rig.enqueue(
            stored, holders: [Holder(node: "c", incarnation: Incarnation(raw: 1))])
        rig.dispatch()
        #expect(rig.queue.holder(of: id(third)) == b)
    }

    @Test func `a grant is looked at again when it is applied (6)`() {
        let rig = Rig()
        let store = rig.open("a", delivers: false)
        let (one, two) = (rig.enqueue(store), rig.enqueue(store))
        let b = rig.open("b", credit: 1)
        let grant = Grant(
            session: b, deliveries: [id(one), id(one), id(two), id(one, 4)], reports: [], term: 1)
        #expect(rig.apply(Command(.grant(grant))) == .changed(deliveries: 1, inFlight: 0))
        #expect(rig.apply(Command(.grant(grant))) == .changed(deliveries: 0, inFlight: 0))
        #expect(rig.state(two) == .queued)
        #expect(Command(.grant(grant)).leaderTerm == 1)
    }

    @Test func `the limit of the dispatcher is kept, and the rest comes next`() {
        let rig = Rig()
        let store = rig.open("a", delivers: false)
        for _ in 0..<11 { _ = rig.enqueue(store) }
        _ = rig.open("b", credit: 100)
        let commands = rig.queue.nextWork(now: rig.time, limit: 10, term: 1)
        guard case .grant(let grant)? = commands.first?.action else {
            Issue.record("no grant")
            return
        }
        #expect(grant.deliveries.count == 10)
        rig.dispatch(limit: 10)
        #expect(rig.counts.leased == 11)
    }

    @Test func `lists are in order of arrival, by slices, with a total`() {
        let rig = Rig()
        let a = rig.open("a", delivers: false)
        let tags = (0..<10).map {
            rig.enqueue(a, from: "s\($0 % 2)@x", to: ["b@d\($0 % 3).example"])
        }
        let all = rig.queue.list(QueueFilter(), limit: 3)
        #expect(all.messages.map(\.tag) == Array(tags[0..<3]))
        #expect(all.total == 10)
        #expect(rig.queue.list(QueueFilter(from: "S1@X"), limit: 99).total == 5)
        #expect(rig.queue.list(QueueFilter(domain: "D0.example"), limit: 99).total == 4)
        #expect(rig.queue.list(QueueFilter(to: "b@d1.example"), limit: 99).total == 3)
        #expect(
            rig.queue.list(QueueFilter(id: tags[4]), limit: 99).messages.map(\.tag) == [tags[4]])
        #expect(rig.queue.list(QueueFilter(state: .held), limit: 99).total == 0)
        var cursor = QueueCursor()
        var ids: [DeliveryID] = []
        while !cursor.isDone {
            ids += rig.queue.match(QueueFilter(), cursor: &cursor, steps: 3, limit: 2)
            if ids.count == 4 {
                // Those that the cursor stands on or has passed may end meanwhile.
                let done = tags[2...3].map { id($0) }
                rig.send(a, .admin(Admin(verb: .drop, deliveries: done, reason: "")))
            }
        }
        #expect(ids == tags.map { id($0) })
    }

    @Test(arguments: [[2], [3], [2, 3], [0, 1, 2, 3], [3, 4, 5], [2, 4, 6]])
    func `a walk looks once at each message that stays, whatever ends between slices`(
        _ ended: [Int]
    ) {
        let rig = Rig()
        let a = rig.open("a")
        let tags = (0..<7).map { _ in rig.enqueue(a) }
        var cursor = QueueCursor()
        var seen = rig.queue.list(QueueFilter(), cursor: &cursor, steps: 3, limit: 9).messages
        for place in ended { rig.settle(a, tags[place], .delivered) }
        // In a slot that is free again.
        let new = rig.enqueue(a)
        while !cursor.isDone {
            seen += rig.queue.list(QueueFilter(), cursor: &cursor, steps: 1, limit: 9).messages
        }
        let rest = (3..<7).filter { !ended.contains($0) }.map { tags[$0] }
        #expect(seen.map(\.tag) == Array(tags[..<3]) + rest + [new])
    }

    @Test func `age is queue time`() {
        let rig = Rig()
        let a = rig.open("a")
        let old = rig.enqueue(a)
        rig.wait(.seconds(100))
        let new = rig.enqueue(a)
        let older = QueueFilter(older: .seconds(100))
        #expect(rig.queue.list(older, limit: 9).messages.map(\.tag) == [old])
        let newer = QueueFilter(newer: .seconds(99))
        #expect(rig.queue.list(newer, limit: 9).messages.map(\.tag) == [new])
        #expect(rig.counts.oldest == rig.time + .seconds(0) - .seconds(100))
    }
}

extension QueueTime {
    static func - (a: Self, b: Duration) -> Self {
        QueueTime(milliseconds: a.milliseconds - UInt64(b.inMilliseconds))
    }
}

@Suite("Proof of garbage (3)")
struct BodyStateTests {
    @Test func `a body is garbage when its tag is resolved and it is not live here`() {
        let rig = Rig()
        let a = rig.open("a")
        let next = Tag(session: a, sequence: 1)
        #expect(rig.queue.bodyState(next, on: Rig.holder) == .unresolved)
        let tag = rig.enqueue(a)
        #expect(tag == next)
        #expect(rig.queue.bodyState(tag, on: Rig.holder) == .live)
        let wiped = Holder(node: "a", incarnation: Incarnation(raw: 2))
        #expect(rig.queue.bodyState(tag, on: wiped) == .garbage)
        rig.settle(a, tag, .delivered)
        #expect(rig.queue.bodyState(tag, on: Rig.holder) == .garbage)
        let unused = Tag(session: a, sequence: 3)
        #expect(rig.queue.bodyState(unused, on: Rig.holder) == .unresolved)
        rig.apply(Command(rig.origin(a, acknowledged: [3...3]), .tick))
        #expect(rig.queue.bodyState(unused, on: Rig.holder) == .garbage)
    }

    @Test func `closing the session resolves its tags, a session to come resolves nothing`() {
        let rig = Rig()
        let a = rig.open("a")
        let open = Tag(session: a, sequence: 9)
        rig.send(a, .closeSession)
        #expect(rig.queue.bodyState(open, on: Rig.holder) == .garbage)
        let future = Tag(session: SessionID(raw: rig.index + 1), sequence: 1)
        #expect(rig.queue.bodyState(future, on: Rig.holder) == .unresolved)
    }
}
