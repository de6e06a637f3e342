import Primitives
import SMTP
import Spool
import Testing

@testable import MailQueue

@Suite("Sessions, leases, credit")
struct SessionTests {
    @Test func `a session's id is the index of its entry`() {
        let rig = Rig()
        let session = rig.open("a")
        #expect(session.raw == rig.index)
        #expect(rig.effects == [.sessionOpened(session)])
    }

    @Test func `a boot number that is not above the last one's is void`() {
        let rig = Rig()
        let session = rig.open("a", boot: 5)
        let open = OpenSession(
            node: "a", incarnation: Incarnation(raw: 1), boot: 5, nonce: 1, credit: 1,
            replayed: true, delivers: true)
        #expect(rig.apply(Command(.openSession(open))) == .refused(.staleBoot))
        #expect(rig.isOpen(session))
        _ = rig.open("a", boot: 6)
        #expect(!rig.isOpen(session))
    }

    @Test func `a node is alone until another one opens a session, and not again`() {
        let rig = Rig()
        #expect(rig.isAlone("a"))
        _ = rig.open("a")
        _ = rig.open("a", boot: 2)
        #expect(rig.isAlone("a"))
        let other = rig.open("b")
        #expect(!rig.isAlone("a") && !rig.isAlone("b"))
        rig.send(other, .closeSession)
        #expect(!rig.isAlone("a"))
    }

    @Test func `the same opening sent twice opens one session (4)`() {
        let rig = Rig()
        let session = rig.open("a")
        #expect(rig.open("a") == session)
        #expect(rig.effects.isEmpty)
    }

    @Test func `credit is a limit of leases, and one more waits`() {
        let rig = Rig()
        let session = rig.open("a", credit: 2)
        let tags = (0..<3).map { rig.enqueue(session, to: ["b@\($0).example"]) }
        #expect(tags.map { rig.state($0) } == [.leased, .leased, .queued])
        #expect(rig.dispatch().isEmpty)
        rig.settle(session, tags[0], .delivered)
        rig.dispatch()
        #expect(rig.effects == [.leased(id(tags[2]), session)])
        #expect(rig.queue.audit() == nil)
    }

    @Test func `a node that seems to be gone is given nothing new`() {
        let rig = Rig()
        let gone = rig.open("a", credit: 1)
        let other = rig.open("b", credit: 2)
        let tags = (0..<3).map { rig.enqueue(gone, to: ["b@\($0).example"]) }
        let leased: [DeliveryState?] = [.leased, .queued, .queued]
        #expect(tags.map { rig.state($0) } == leased)
        rig.send(gone, .release(deliveries: [id(tags[0])], reports: []))
        let nobody = rig.queue.nextWork(now: rig.time, limit: 10, term: 1) { _ in false }
        #expect(nobody.isEmpty)
        let commands = rig.queue.nextWork(now: rig.time, limit: 10, term: 1) { $0.node != "a" }
        let sessions = commands.map { command -> SessionID? in
            if case .grant(let grant) = command.action { grant.session } else { nil }
        }
        #expect(sessions == [other])
        // When it is there again, what is left comes to it.
        for command in commands { rig.apply(command) }
        rig.dispatch()
        #expect(tags.allSatisfy { rig.state($0) == .leased })
        #expect(rig.queue.audit() == nil)
    }

    @Test func `one destination gets no more than its share of leases`() {
        let rig = Rig { $0.connectionsPerDestination = 1 }
        let session = rig.open("a", credit: 100)
        let tags = (0..<9).map { _ in rig.enqueue(session) }
        let states: [DeliveryState?] = tags.map { rig.state($0) }
        #expect(states.dropLast().allSatisfy { $0 == .leased })
        #expect(states.last == .queued)
        #expect(rig.dispatch().isEmpty)
        let other = rig.enqueue(session, to: ["c@else.example"])
        #expect(rig.state(other) == .leased)
        rig.settle(session, tags[3], .delivered)
        rig.dispatch()
        #expect(rig.state(tags[8]) == .leased)
    }

    @Test func `new mail goes behind the backlog of its destination`() {
        let rig = Rig()
        let session = rig.open("a", credit: 1)
        let first = rig.enqueue(session)
        let second = rig.enqueue(session)
        rig.settle(session, first, .delivered)
        let third = rig.enqueue(session)
        #expect(rig.state(second) == .queued)
        #expect(rig.state(third) == .queued)
        rig.dispatch()
        #expect(rig.state(second) == .leased)
    }

    @Test func `a node that does not deliver, or drains, gets no leases`() {
        let rig = Rig()
        let storing = rig.open("a", delivers: false)
        let tag = rig.enqueue(storing)
        #expect(rig.state(tag) == .queued)
        let other = rig.open("b")
        rig.apply(Command(.drain(node: "b", draining: true)))
        #expect(rig.dispatch().isEmpty)
        rig.apply(Command(.drain(node: "b", draining: false)))
        rig.dispatch()
        #expect(rig.effects == [.leased(id(tag), other)])
        #expect(rig.apply(Command(.drain(node: "x", draining: true))) == .refused(.unknown))
    }

    @Test func `leases of an expired session wait for the hold-down and count as takeover`() {
        let rig = Rig()
        let a = rig.open("a")
        let b = rig.open("b")
        let tag = rig.enqueue(a)
        rig.apply(Command(.expireSession(a)))
        #expect(rig.effects == [.sessionClosed(a)])
        let grant = Command(.grant(Grant(session: b, deliveries: [id(tag)], reports: [], term: 1)))
        rig.wait(.milliseconds(2999))
        #expect(rig.apply(grant) == .changed(deliveries: 0, inFlight: 0))
        #expect(rig.dispatch().isEmpty)
        #expect(rig.queue.nextWake == rig.time + .milliseconds(1))
        rig.wait(.milliseconds(1))
        rig.dispatch()
        #expect(
            rig.effects == [.possibleDuplicates(.takeover, count: 1), .leased(id(tag), b)])
        #expect(rig.queue.totals.takeoverDuplicates == 1)
        // Granted for the third time by a release, it is no takeover.
        rig.send(b, .release(deliveries: [id(tag)], reports: []))
        rig.dispatch()
        #expect(rig.effects == [.leased(id(tag), b)])
    }

    @Test func `a replayed session frees its old leases at once, another disk does not`() {
        let rig = Rig()
        let a = rig.open("a")
        let tag = rig.enqueue(a)
        let again = rig.open("a", boot: 2)
        rig.dispatch()
        #expect(rig.queue.holder(of: id(tag)) == again)
        #expect(rig.queue.totals.takeoverDuplicates == 1)
        let wiped = rig.open("a", incarnation: 7, boot: 1)
        rig.dispatch()
        #expect(rig.queue.holder(of: id(tag)) == again)
        // Its process may be alive: until it must know, and then the hold-down.
        rig.wait(.milliseconds(4200) + .seconds(3))
        rig.dispatch()
        #expect(rig.queue.holder(of: id(tag)) == wiped)
    }

    @Test func `a graceful close frees leases at once and counts nothing`() {
        let rig = Rig()
        let a = rig.open("a")
        let b = rig.open("b")
        let tag = rig.enqueue(a)
        #expect(rig.send(a, .closeSession) == .done)
        rig.dispatch()
        #expect(rig.queue.holder(of: id(tag)) == b)
        #expect(rig.queue.totals.possibleDuplicates == 0)
    }

    @Test func `a delivery whose holders die again and again is held for the operator`() {
        let rig = Rig { $0.suspectMax = 3 }
        var session = rig.open("a")
        let tag = rig.enqueue(session)
        for boot in 2...4 {
            #expect(rig.state(tag) == .leased)
            session = rig.open("a", boot: UInt64(boot))
            rig.dispatch()
        }
        #expect(rig.state(tag) == .held)
        rig.send(session, .admin(Admin(verb: .release, deliveries: [id(tag)], reason: "")))
        rig.dispatch()
        #expect(rig.state(tag) == .leased)
    }
}

@Suite("One command, one effect (4)")
struct ResendTests {
    @Test func `a command that is sent again gets its first answer and does nothing`() {
        let rig = Rig()
        let session = rig.open("a")
        let command = Command(rig.origin(session), .enqueue(Rig.message()))
        #expect(rig.apply(command) == .enqueued(recipients: 1))
        #expect(rig.apply(command) == .enqueued(recipients: 1))
        #expect(rig.effects.isEmpty)
        #expect(rig.counts.messages == 1)
        rig.settle(session, command.tag!, .delivered)
        #expect(rig.apply(command) == .enqueued(recipients: 1))
        #expect(rig.counts.messages == 0)
    }

    @Test func `what was acknowledged is forgotten, and refused`() {
        let rig = Rig()
        let session = rig.open("a")
        let first = Command(rig.origin(session), .enqueue(Rig.message()))
        rig.apply(first)
        rig.apply(Command(rig.origin(session, acknowledged: [1...1, 3...5]), .tick))
        #expect(rig.apply(first) == .refused(.acknowledged))
        #expect(rig.counts.messages == 1)
        let given = Command(Origin(session: session, sequence: 4), .enqueue(Rig.message()))
        #expect(rig.apply(given) == .refused(.acknowledged))
        let open = Command(Origin(session: session, sequence: 6), .enqueue(Rig.message()))
        #expect(rig.apply(open) == .enqueued(recipients: 1))
    }

    @Test func `a number too far above the oldest open one is refused, the last allowed is not`() {
        let rig = Rig()
        let session = rig.open("a")
        let width = ResultWindow.widthMax
        let far = Command(Origin(session: session, sequence: width + 1), .tick)
        #expect(rig.apply(far) == .refused(.tooFarAhead))
        let near = Command(Origin(session: session, sequence: width), .tick)
        #expect(rig.apply(near) == .done)
        // Ranges without measure cost no more than the window.
        let all = Origin(session: session, sequence: 5, acknowledged: [0...UInt64.max])
        #expect(rig.apply(Command(all, .tick)) == .refused(.acknowledged))
        #expect(
            rig.apply(Command(Origin(session: session, sequence: width + 1), .tick)) == .done)
    }

    @Test func `commands of a closed session are refused`() {
        let rig = Rig()
        let session = rig.open("a")
        rig.send(session, .closeSession)
        #expect(rig.send(session, .enqueue(Rig.message())) == .refused(.sessionClosed))
        #expect(rig.counts.messages == 0)
    }

    @Test func `an Enqueue that comes after its cancel has no effect`() {
        let rig = Rig()
        let session = rig.open("a")
        let command = Command(rig.origin(session), .enqueue(Rig.message()))
        #expect(rig.send(session, .cancel(command.tag!)) == .cancelled)
        #expect(rig.apply(command) == .refused(.cancelled))
        #expect(rig.counts.messages == 0)
    }

    @Test func `a cancel takes back the acceptor's own lease, and counts one elsewhere`() {
        let rig = Rig()
        let a = rig.open("a", delivers: false)
        let b = rig.open("b")
        let own = rig.enqueue(b)
        #expect(rig.send(b, .cancel(own)) == .cancelled)
        #expect(rig.effects == [.leaseEnded(id(own), b), .messageFinished(own)])
        let far = rig.enqueue(a)
        rig.dispatch()
        #expect(rig.send(a, .cancel(far)) == .late(recipients: 1))
        #expect(rig.effects == [.possibleDuplicates(.reply, count: 1)])
        #expect(rig.state(far) == .leased)
        let gone = rig.enqueue(a)
        rig.dispatch()
        rig.settle(b, gone, .delivered)
        #expect(rig.send(a, .cancel(gone)) == .late(recipients: 1))
        #expect(rig.queue.totals.replyDuplicates == 2)
        #expect(rig.queue.audit() == nil)
    }

    @Test func `a session keeps the times that it was opened with`() throws {
        let rig = Rig()
        let a = rig.open("a")
        let tag = rig.enqueue(a)
        var settings = ClusterSettings()
        settings.session = SessionTiming(
            term: .seconds(20), holdDown: .seconds(30), driftPermille: 100)
        #expect(rig.apply(Command(.settings(settings))) == .done)
        let b = rig.open("b", incarnation: 2)
        #expect(rig.timing(of: a) == SessionTiming() && rig.timing(of: b) == settings.session)
        #expect(settings.session.holderTerm == .seconds(18))
        #expect(settings.session.leaderTerm == .seconds(22))
        var store = Store()
        store.take(rig.queue.takeDirty())
        let restored = try store.restore()
        let (kept, new) = (restored.timing(of: a), restored.timing(of: b))
        #expect(kept == SessionTiming() && new == settings.session)
        // Its leases wait for its own hold-down.
        rig.apply(Command(.expireSession(a)))
        rig.wait(.milliseconds(2999))
        rig.apply(Command(.tick))
        #expect(rig.state(tag) == .leased && rig.timing(of: a) != nil)
        rig.wait(.milliseconds(1))
        rig.apply(Command(.tick))
        #expect(rig.state(tag) == .queued && rig.timing(of: a) == nil)
        let holder = Holder(node: "b", incarnation: Incarnation(raw: 2))
        let other = rig.enqueue(b, to: ["b@other.example"], holders: [holder])
        #expect(rig.state(other) == .leased)
        rig.apply(Command(.expireSession(b)))
        rig.wait(.milliseconds(29_999))
        rig.apply(Command(.tick))
        #expect(rig.state(other) == .leased)
    }

    @Test func `a cancel is a fact, taken from a closed session too`() {
        let rig = Rig()
        let a = rig.open("a", delivers: false)
        let tag = rig.enqueue(a)
        rig.send(a, .closeSession)
        #expect(rig.send(a, .cancel(tag)) == .cancelled)
        #expect(rig.counts == QueueCounts())
    }

    @Test func `an Enqueue with fewer holders than R, or of a wiped disk, is refused`() {
        let rig = Rig { $0.copies = 2 }
        let a = rig.open("a")
        _ = rig.open("b", incarnation: 2)
        func result(_ holders: [Holder]) -> CommandResult {
            rig.send(a, .enqueue(Rig.message("", ["b@x.example"], .default, holders)))
        }
        let b = Holder(node: "b", incarnation: Incarnation(raw: 2))
        #expect(result([Rig.holder]) == .refused(.tooFewHolders))
        #expect(result([Rig.holder, Rig.holder]) == .refused(.malformed))
        #expect(
            result([Rig.holder, Holder(node: "b", incarnation: Incarnation(raw: 1))])
                == .refused(.tooFewHolders))
        #expect(result([Rig.holder, b]) == .enqueued(recipients: 1))
    }

    @Test func `a malformed Enqueue changes nothing`() {
        let rig = Rig()
        let a = rig.open("a")
        var short = Rig.message()
        short.destinations = []
        #expect(rig.send(a, .enqueue(short)) == .refused(.malformed))
        var none = Rig.message()
        none.envelope.recipients = []
        none.destinations = []
        #expect(rig.send(a, .enqueue(none)) == .refused(.malformed))
        var empty = Rig.message()
        empty.destinations = [""]
        #expect(rig.send(a, .enqueue(empty)) == .refused(.malformed))
        #expect(rig.counts == QueueCounts())
        #expect(rig.queue.destinationViews(limit: 9).isEmpty)
    }
}
