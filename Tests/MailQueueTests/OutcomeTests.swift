import Primitives
import SMTP
import Spool
import Testing

@testable import MailQueue

@Suite("Outcomes, retries, expiry")
struct OutcomeTests {
    @Test func `the last recipient's end finishes the message`() {
        let rig = Rig()
        let session = rig.open("a")
        let tag = rig.enqueue(session, to: ["b@x.example", "c@x.example", "d@y.example"])
        #expect(rig.queue.work(id(tag))?.recipients.map(\.index) == [0, 1])
        rig.settle(session, tag, .delivered, recipients: [0, 1])
        #expect(rig.effects.isEmpty)
        #expect(rig.queue.bodyState(tag, on: Rig.holder) == .live)
        rig.settle(session, tag, .delivered, delivery: 1, recipients: [2])
        #expect(rig.effects == [.messageFinished(tag)])
        #expect(rig.counts == QueueCounts())
        #expect(rig.queue.totals.delivered == 3)
        #expect(rig.queue.destinationViews(limit: 9).isEmpty)
    }

    @Test func `a deferred delivery waits for its turn in the schedule, within a tenth`() {
        let rig = Rig { $0.delayNotice = .zero }
        let session = rig.open("a")
        let tag = rig.enqueue(session)
        for (attempt, seconds) in [60, 300, 900, 1800, 3600, 7200, 14_400, 14_400].enumerated() {
            rig.settle(session, tag, .deferred, attempt: UInt32(attempt + 1))
            let view = rig.queue.view(tag)?.deliveries.first
            #expect(view?.state == .deferred)
            #expect(view?.attempts == UInt32(attempt + 1))
            #expect(view?.lastReply == Rig.busy)
            let next = view?.nextAttempt ?? .zero
            let wait = (next - rig.time).inMilliseconds
            #expect(wait >= Int64(seconds * 900) && wait <= Int64(seconds * 1100))
            #expect(rig.dispatch().isEmpty)
            #expect(rig.queue.nextWake == next)
            rig.time = QueueTime(milliseconds: next.milliseconds - 1)
            #expect(rig.dispatch().isEmpty)
            rig.time = next
            rig.dispatch()
            #expect(rig.queue.work(id(tag))?.attempt == UInt32(attempt + 2))
        }
    }

    @Test func `jitter differs between messages`() {
        let rig = Rig()
        let session = rig.open("a")
        let waits = (0..<20).map { _ in
            let tag = rig.enqueue(session)
            rig.settle(session, tag, .deferred)
            return rig.queue.view(tag)?.deliveries.first?.nextAttempt?.milliseconds ?? 0
        }
        #expect(Set(waits).count > 15)
    }

    @Test func `delivered counts from a closed session for ever, deferred and failed do not`() {
        let rig = Rig()
        let a = rig.open("a")
        let b = rig.open("b")
        let tag = rig.enqueue(a)
        rig.apply(Command(.expireSession(a)))
        rig.wait(.seconds(3))
        rig.dispatch()
        #expect(rig.queue.holder(of: id(tag)) == b)
        #expect(rig.settle(a, tag, .failed) == .refused(.notLeased))
        #expect(rig.settle(a, tag, .deferred) == .refused(.notLeased))
        #expect(rig.state(tag) == .leased)
        #expect(rig.settle(a, tag, .delivered) == .done)
        #expect(rig.effects == [.leaseEnded(id(tag), b), .messageFinished(tag)])
        #expect(rig.settle(b, tag, .failed) == .refused(.notLeased))
        #expect(rig.queue.audit() == nil)
    }

    @Test func `an outcome of an earlier attempt settles nothing but a delivery`() {
        let rig = Rig()
        let a = rig.open("a")
        let tag = rig.enqueue(a)
        rig.settle(a, tag, .deferred)
        rig.wait(.seconds(70))
        rig.dispatch()
        #expect(rig.settle(a, tag, .failed, attempt: 1) == .refused(.notLeased))
        #expect(rig.state(tag) == .leased)
        #expect(rig.settle(a, tag, .delivered, attempt: 1) == .done)
    }

    @Test func `outcomes come per transaction, and what was not tried is due at once`() {
        let rig = Rig()
        let a = rig.open("a")
        let tag = rig.enqueue(a, to: ["b@x.example", "c@x.example", "d@x.example"])
        rig.settle(a, tag, .delivered, recipients: [0], endsLease: false)
        #expect(rig.state(tag) == .leased)
        rig.settle(a, tag, .failed, recipients: [1], endsLease: true)
        #expect(rig.state(tag) == .queued)
        rig.dispatch()
        #expect(rig.queue.work(id(tag))?.recipients.map(\.index) == [2])
        #expect(rig.queue.work(id(tag))?.attempt == 2)
    }

    @Test func `a lease that ends with nothing said counts no attempt`() {
        let rig = Rig()
        let a = rig.open("a")
        let tag = rig.enqueue(a)
        rig.settle(a, tag, .delivered, recipients: [])
        #expect(rig.state(tag) == .queued)
        #expect(rig.queue.view(tag)?.deliveries.first?.attempts == 0)
        rig.dispatch()
        rig.send(a, .release(deliveries: [id(tag)], reports: []))
        #expect(rig.state(tag) == .queued)
        #expect(
            rig.send(a, .release(deliveries: [id(tag)], reports: []))
                == .changed(deliveries: 0, inFlight: 0))
    }

    @Test func `a lease given back after a deferral was an attempt`() {
        let rig = Rig()
        let a = rig.open("a")
        let tag = rig.enqueue(a, to: ["b@x.example", "c@x.example"])
        rig.settle(a, tag, .deferred, recipients: [0], endsLease: false)
        rig.send(a, .release(deliveries: [id(tag)], reports: []))
        #expect(rig.state(tag) == .deferred)
        #expect(rig.queue.view(tag)?.deliveries.first?.attempts == 1)
    }

    @Test func `a damaged body costs no attempt and makes the delivery suspect`() {
        let rig = Rig { $0.suspectMax = 2 }
        let a = rig.open("a")
        let tag = rig.enqueue(a)
        rig.settle(a, tag, .deferred, recipients: [], damaged: true)
        #expect(rig.state(tag) == .deferred)
        #expect(rig.queue.view(tag)?.deliveries.first?.attempts == 0)
        rig.wait(.seconds(70))
        rig.dispatch()
        rig.settle(a, tag, .deferred, recipients: [], damaged: true)
        #expect(rig.state(tag) == .held)
    }

    @Test func `a deferral past the expiry fails with 4.4.7 and the last reply`() {
        let rig = Rig { $0.expire = .seconds(100) }
        let a = rig.open("a")
        let tag = rig.enqueue(a)
        rig.wait(.seconds(99))
        rig.settle(a, tag, .deferred)
        #expect(rig.state(tag) == .deferred)
        rig.wait(.seconds(1))
        rig.send(a, .admin(Admin(verb: .retry, deliveries: [id(tag)], reason: "")))
        #expect(rig.dispatch().first == Command(.expire([id(tag)])))
        let line = rig.reports(tag).first?.lines.first
        #expect(line?.action == .failed)
        #expect(line?.status == EnhancedCode(4, 4, 7))
        #expect(line?.verdict.reply == Rig.busy)
        #expect(line?.verdict.remoteHost == "mx.example")
        #expect(line?.attempts == 1)
    }

    @Test func `an attempt under way at the expiry is the last one`() {
        let rig = Rig { $0.expire = .seconds(100) }
        let a = rig.open("a")
        let tag = rig.enqueue(a)
        rig.wait(.seconds(100))
        #expect(rig.dispatch().isEmpty)
        rig.settle(a, tag, .deferred)
        #expect(rig.state(tag) == nil)
        #expect(rig.reports(tag).first?.lines.first?.status == EnhancedCode(4, 4, 7))
        #expect(rig.effects.contains(.recipientsFailed(tag, count: 1)))
    }

    @Test func `what was never tried expires too, and nothing before its time`() {
        let rig = Rig { $0.expire = .seconds(100) }
        let a = rig.open("a", delivers: false)
        let tag = rig.enqueue(a)
        #expect(rig.queue.nextWake == rig.time + .seconds(100))
        rig.wait(.milliseconds(99_999))
        #expect(rig.dispatch().isEmpty)
        #expect(rig.apply(Command(.expire([id(tag)]))) == .changed(deliveries: 0, inFlight: 0))
        rig.wait(.milliseconds(1))
        rig.dispatch()
        #expect(rig.reports(tag).first?.lines.first?.verdict.reply.code == 451)
    }

    @Test func `a shorter expiry counts for what is queued already`() {
        let rig = Rig()
        let a = rig.open("a", delivers: false)
        let tag = rig.enqueue(a)
        var settings = ClusterSettings()
        settings.expire = .seconds(10)
        rig.wait(.seconds(11))
        rig.apply(Command(.settings(settings)))
        #expect(rig.dispatch() == [Command(.expire([id(tag)]))])
        #expect(rig.reports(tag).count == 1)
        settings.retry = []
        #expect(rig.apply(Command(.settings(settings))) == .refused(.malformed))
    }
}

@Suite("Owed reports (5), RFC 3461 §5.2")
struct ReportTests {
    @Test func `recipients that end by one command share one report, leased to who ended them`() {
        let rig = Rig()
        let a = rig.open("a")
        let tag = rig.enqueue(a, to: ["b@x.example", "c@x.example"])
        rig.settle(a, tag, .failed, recipients: [1, 0])
        let report = ReportID(message: tag, number: 0)
        #expect(rig.effects == [.reportLeased(report, a)])
        #expect(
            rig.reports(tag).map { $0.lines.map(\.recipient.address) } == [
                ["c@x.example", "b@x.example"]
            ])
        #expect(rig.queue.reportWork(report)?.original.sender == "a@here.example")
        #expect(rig.queue.bodyState(tag, on: Rig.holder) == .live)
        #expect(rig.queue.reportLeases(of: a) == [report])
    }

    @Test func `the report's command makes the message and clears the debt, once`() {
        let rig = Rig()
        let a = rig.open("a")
        let tag = rig.enqueue(a)
        rig.settle(a, tag, .failed)
        let debt = ReportID(message: tag, number: 0)
        let origin = rig.origin(a)
        let command = Command(
            origin, .report(of: debt, message: Rig.message("", ["a@here.example"])))
        #expect(rig.apply(command) == .enqueued(recipients: 1))
        #expect(rig.effects == [.leased(id(command.tag!), a), .messageFinished(tag)])
        #expect(rig.apply(command) == .enqueued(recipients: 1))
        #expect(rig.counts.messages == 1)
        #expect(rig.queue.totals.accepted == 1)
        let again = Command.Action.report(of: debt, message: Rig.message("", ["a@here.example"]))
        #expect(rig.send(a, again) == .refused(.notLeased))
        #expect(rig.queue.audit() == nil)
    }

    @Test func `a debt is given to another session when its holder closes, without delay`() {
        let rig = Rig()
        let a = rig.open("a")
        let b = rig.open("b")
        let tag = rig.enqueue(a)
        rig.settle(a, tag, .failed)
        let debt = ReportID(message: tag, number: 0)
        rig.apply(Command(.expireSession(a)))
        rig.dispatch()
        #expect(rig.effects == [.reportLeased(debt, b)])
        let action = Command.Action.report(of: debt, message: Rig.message("", ["a@here.example"]))
        #expect(rig.send(a, action) == .refused(.sessionClosed))
        #expect(rig.send(b, action) == .enqueued(recipients: 1))
        #expect(rig.queue.audit() == nil)
    }

    @Test func `a report that is refused stays owed`() {
        let rig = Rig()
        let a = rig.open("a")
        let tag = rig.enqueue(a)
        rig.settle(a, tag, .failed)
        let debt = ReportID(message: tag, number: 0)
        var bad = Rig.message("", ["a@here.example"])
        bad.receipt.holders = []
        #expect(rig.send(a, .report(of: debt, message: bad)) == .refused(.tooFewHolders))
        rig.dispatch()
        #expect(rig.effects == [.reportLeased(debt, a)])
        #expect(rig.send(a, .waiveReport(debt)) == .done)
        #expect(rig.effects == [.messageFinished(tag)])
        #expect(rig.counts == QueueCounts())
    }

    @Test func `the null sender is told nothing`() {
        let rig = Rig()
        let a = rig.open("a")
        let tag = rig.enqueue(a, from: "")
        rig.settle(a, tag, .failed)
        #expect(rig.effects == [.messageFinished(tag)])
    }

    @Test func `a report that fails goes to the postmaster, and there it ends`() {
        let rig = Rig()
        let a = rig.open("a")
        let tag = rig.enqueue(a)
        rig.settle(a, tag, .failed)
        func submit(_ debt: ReportID) -> Tag {
            let origin = rig.origin(a)
            rig.apply(
                Command(origin, .report(of: debt, message: Rig.message("", ["p@here.example"]))))
            return Tag(session: a, sequence: origin.sequence)
        }
        let report = submit(ReportID(message: tag, number: 0))
        rig.settle(a, report, .failed)
        #expect(rig.reports(report).map(\.kind) == [.postmaster])
        let double = submit(ReportID(message: report, number: 0))
        rig.settle(a, double, .failed)
        #expect(rig.effects == [.messageFinished(double)])
        #expect(rig.counts == QueueCounts())
    }

    static let policy: [(Notify, Verdict.Kind, Bool)] = [
        (.default, .failed, true), (.default, .relayed, false),
        ([.success, .explicit], .relayed, true), ([.success, .explicit], .failed, false),
        ([.success, .explicit], .delivered, false), ([.never, .explicit], .failed, false),
        ([.failure, .explicit], .failed, true), ([.success, .explicit], .stored, true),
        (.default, .stored, false), ([.never, .explicit], .stored, false),
        ([.failure, .explicit], .stored, false),
    ]

    @Test(arguments: ReportTests.policy)
    func `NOTIFY decides who is told (RFC 3461 §4.1)`(
        _ notify: Notify, _ kind: Verdict.Kind, _ isOwed: Bool
    ) {
        let rig = Rig()
        let a = rig.open("a")
        let tag = rig.enqueue(a, notify: notify)
        rig.settle(a, tag, kind)
        #expect(rig.reports(tag).isEmpty == !isOwed)
        #expect(rig.contains(tag) == isOwed)
    }

    @Test func `stored is final delivery: a report of action delivered, taken for ever`() {
        let rig = Rig()
        let a = rig.open("a")
        let tag = rig.enqueue(
            a, to: ["b@x.example", "c@x.example"], notify: [.success, .explicit])
        rig.settle(a, tag, .stored, recipients: [0], endsLease: false)
        let line = rig.reports(tag).first?.lines.first
        #expect(line?.action == .delivered && line?.verdict.kind == .stored)
        #expect(line?.recipient.address == "b@x.example" && line?.status == nil)
        #expect(rig.queue.totals.delivered == 1)
        // Who says so holds no lease any more: it counts all the same.
        rig.apply(Command(.expireSession(a)))
        #expect(rig.settle(a, tag, .stored, recipients: [1]) == .done)
        #expect(rig.queue.totals.delivered == 2)
        #expect(rig.reports(tag).map { $0.lines.map(\.action) } == [[.delivered], [.delivered]])
        #expect(rig.queue.audit() == nil)
    }

    @Test func `the delay notice comes once, at the first deferral past its time`() {
        let rig = Rig { $0.delayNotice = .seconds(100) }
        let a = rig.open("a")
        let tag = rig.enqueue(a)
        rig.settle(a, tag, .deferred)
        #expect(rig.reports(tag).isEmpty)
        rig.wait(.seconds(100))
        rig.dispatch()
        rig.settle(a, tag, .deferred, attempt: 2)
        #expect(rig.reports(tag).map { $0.lines.map(\.action) } == [[.delayed]])
        rig.wait(.seconds(400))
        rig.dispatch()
        rig.settle(a, tag, .deferred, attempt: 3)
        #expect(rig.reports(tag).count == 1)
        #expect(rig.state(tag) == .deferred)
    }

    @Test func `no delay notice without NOTIFY=DELAY, or if the time is zero`() {
        let rig = Rig { $0.delayNotice = .zero }
        let a = rig.open("a")
        let tag = rig.enqueue(a)
        rig.wait(.seconds(40_000))
        rig.settle(a, tag, .deferred)
        #expect(rig.reports(tag).isEmpty)
        let other = Rig { $0.delayNotice = .seconds(1) }
        let b = other.open("a")
        let quiet = other.enqueue(b, notify: [.failure, .explicit])
        other.wait(.seconds(2))
        other.settle(b, quiet, .deferred)
        #expect(other.reports(quiet).isEmpty)
    }

    @Test func `a lost body ends all recipients that wait and owes one report`() {
        let rig = Rig()
        let a = rig.open("a", delivers: false)
        let tag = rig.enqueue(a, to: ["b@x.example", "c@y.example"])
        #expect(rig.send(a, .bodyLost(tag)) == .done)
        #expect(rig.reports(tag).map { $0.lines.count } == [2])
        let line = rig.reports(tag).first?.lines.first
        #expect(line?.verdict.reply.enhanced == EnhancedCode(5, 3, 0))
        #expect(rig.counts.recipients == 0)
        #expect(rig.queue.audit() == nil)
        #expect(rig.send(a, .bodyLost(tag)) == .done)
        #expect(rig.reports(tag).count == 1)
    }

    @Test func `a lost body leaves what is in flight its attempt: taken is taken`() {
        let rig = Rig()
        let a = rig.open("a")
        let tag = rig.enqueue(a, to: ["b@x.example", "c@y.example", "d@z.example"])
        rig.send(a, .bodyLost(tag))
        #expect(rig.reports(tag).isEmpty && rig.counts.leased == 3)
        rig.settle(a, tag, .delivered, delivery: 0, recipients: [0])
        #expect(rig.reports(tag).isEmpty)
        rig.send(a, .release(deliveries: [id(tag, 1)], reports: []))
        rig.settle(a, tag, .deferred, delivery: 2, recipients: [2])
        let lines = rig.reports(tag).flatMap(\.lines)
        #expect(lines.map(\.recipient.address) == ["c@y.example", "d@z.example"])
        #expect(lines.allSatisfy { $0.verdict.reply.enhanced == EnhancedCode(5, 3, 0) })
        #expect(rig.counts.recipients == 0 && rig.queue.totals.delivered == 1)
        #expect(rig.queue.audit() == nil)
    }

    @Test func `a lost body whose holder died ends when the hold-down is over`() {
        let rig = Rig()
        let a = rig.open("a")
        let tag = rig.enqueue(a)
        let removal = RemoveNode(node: "a", incarnation: Incarnation(raw: 1), force: true)
        #expect(rig.apply(Command(.removeNode(removal))) == .done)
        #expect(rig.apply(Command(.bodyLost(tag))) == .done)
        #expect(rig.counts.recipients == 1)
        // The removed node may not know yet that it is: until it must know, and then the hold-down.
        rig.wait(.seconds(3))
        rig.apply(Command(.tick))
        #expect(rig.reports(tag).isEmpty && rig.counts.recipients == 1)
        rig.wait(SessionTiming().leaderTerm)
        rig.apply(Command(.tick))
        #expect(rig.reports(tag).map { $0.lines.count } == [1])
        #expect(rig.counts.recipients == 0)
    }
}
