import MailQueue
import Primitives
import Raft
import Testing

@testable import Cluster

@Suite("The leader's half of sessions (6)")
struct SessionKeeperTests {
    private let s1 = SessionID(raw: 1)
    private let s2 = SessionID(raw: 2)
    private let peer = MemberID(raw: 9)
    private let start = Instant(nanoseconds: 5_000_000_000)

    private func limited(_ sessions: [SessionID]) -> [(session: SessionID, limit: Duration)] {
        sessions.map { ($0, SessionTiming().leaderTerm) }
    }

    private func keeper() -> SessionKeeper {
        var keeper = SessionKeeper()
        keeper.begin(term: 3, self.limited([self.s2, self.s1]), now: self.start)
        return keeper
    }

    private func renewal(_ session: SessionID, _ sentAt: Int64 = 7) -> SessionKeeper.Renewal {
        SessionKeeper.Renewal(from: self.peer, session: session, sentAt: sentAt)
    }

    @Test func `a renewal is answered behind a proof that was asked for after it came`() {
        var keeper = self.keeper()
        keeper.renew(self.renewal(self.s1), now: self.start)
        #expect(keeper.answers(applied: 100) { _ in true }.isEmpty)
        let first = keeper.read()
        #expect(first != nil)
        // One that comes while the proof is under way waits for the next.
        keeper.renew(self.renewal(self.s2), now: self.start)
        #expect(keeper.read() == nil)
        keeper.prove(first!, index: 20)
        #expect(keeper.answers(applied: 19) { _ in true }.isEmpty, "the state is older")
        #expect(keeper.answers(applied: 20) { _ in true } == [self.renewal(self.s1)])
        let second = keeper.read()
        #expect(second != nil && second! > first!)
        keeper.prove(first!, index: 30)
        #expect(keeper.answers(applied: 99) { _ in true }.isEmpty, "an old proof proves nothing")
        keeper.prove(second!, index: 30)
        #expect(keeper.answers(applied: 30) { _ in true } == [self.renewal(self.s2)])
    }

    @Test func `a session with its end in the log is answered no more`() {
        var keeper = self.keeper()
        keeper.renew(self.renewal(self.s1), now: self.start)
        let read = keeper.read()!
        keeper.closes(self.s1, at: 21, term: 3)
        keeper.prove(read, index: 20)
        #expect(keeper.answers(applied: 20) { _ in true }.isEmpty)
        keeper.renew(self.renewal(self.s1), now: self.start)
        #expect(keeper.read() == nil)
        // It had no effect (a stale boot number): the session goes on.
        keeper.applied(21)
        keeper.renew(self.renewal(self.s1), now: self.start)
        #expect(keeper.read() != nil)
    }

    @Test func `an end that was lost with its term stops nobody, one of the new term does`() {
        var keeper = self.keeper()
        keeper.closes(self.s1, at: 900, term: 3)
        keeper.end()
        // Taken from a peer before the keeper has begun with its term.
        keeper.closes(self.s2, at: 24, term: 5)
        // An entry of term 5 is applied, so all of term 3 that is left is: the end at 900 is not.
        keeper.applied(23)
        keeper.begin(term: 5, self.limited([self.s1, self.s2]), now: self.start)
        keeper.renew(self.renewal(self.s2), now: self.start)
        #expect(keeper.read() == nil)
        keeper.renew(self.renewal(self.s1), now: self.start)
        #expect(keeper.read() != nil)
        #expect(keeper.overdue(now: self.start + .seconds(60)) == [self.s1])
    }

    @Test func `a session that is closed on the applied state is not answered`() {
        var keeper = self.keeper()
        keeper.renew(self.renewal(self.s1), now: self.start)
        keeper.prove(keeper.read()!, index: 20)
        #expect(keeper.answers(applied: 20) { _ in false }.isEmpty)
    }

    @Test func `silence ends at 1.05 T behind the last renewal, once the end is in the log`() {
        var keeper = self.keeper()
        let heard = self.start + .seconds(1)
        keeper.renew(self.renewal(self.s2), now: heard)
        let limit = SessionTiming().leaderTerm
        #expect(keeper.overdue(now: self.start + limit - .milliseconds(1)).isEmpty)
        #expect(keeper.overdue(now: self.start + limit) == [self.s1])
        // A proposal that the log did not take is made again.
        #expect(keeper.overdue(now: self.start + limit) == [self.s1])
        keeper.closes(self.s1, at: 30, term: 3)
        #expect(keeper.overdue(now: self.start + limit).isEmpty)
        #expect(keeper.overdue(now: heard + limit) == [self.s2])
    }

    @Test func `each session has the time that it was opened with`() {
        var keeper = SessionKeeper()
        keeper.begin(term: 3, [(self.s1, .seconds(8))], now: self.start)
        keeper.opened(self.s2, limit: .seconds(2), now: self.start)
        #expect(keeper.overdue(now: self.start + .milliseconds(1999)).isEmpty)
        #expect(keeper.overdue(now: self.start + .milliseconds(7999)) == [self.s2])
        #expect(keeper.overdue(now: self.start + .seconds(8)) == [self.s1, self.s2])
    }

    @Test func `a new leader gives everybody their whole time, and who leads no more answers none`()
    {
        var keeper = self.keeper()
        let later = self.start + .seconds(60)
        keeper.begin(term: 5, self.limited([self.s1]), now: later)
        #expect(keeper.overdue(now: later + .seconds(4)).isEmpty)
        keeper.renew(self.renewal(self.s1), now: later)
        let read = keeper.read()!
        keeper.end()
        keeper.prove(read, index: 1)
        #expect(keeper.answers(applied: 9) { _ in true }.isEmpty)
        #expect(keeper.overdue(now: later + .seconds(600)).isEmpty)
    }

    @Test func `a proof that cannot be asked for is asked for again`() {
        var keeper = self.keeper()
        keeper.renew(self.renewal(self.s1), now: self.start)
        let first = keeper.read()!
        keeper.unproven()
        let second = keeper.read()!
        #expect(second > first)
        keeper.prove(second, index: 2)
        #expect(keeper.answers(applied: 2) { _ in true } == [self.renewal(self.s1)])
    }

    @Test func `renewals have a limit`() {
        var keeper = self.keeper()
        for number in 0...Int64(SessionKeeper.askedMax) {
            keeper.renew(self.renewal(self.s1, number), now: self.start)
        }
        keeper.prove(keeper.read()!, index: 1)
        #expect(keeper.answers(applied: 1) { _ in true }.count == SessionKeeper.askedMax)
    }
}
