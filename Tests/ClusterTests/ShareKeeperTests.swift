// ShareKeeperTests.swift - when connections are closed, when a node asks, who deals.

import MailQueue
import Primitives
import Raft
import Spool
import Testing

@testable import Cluster

@Suite("Shares of connections, as a node keeps them", .timeLimit(.minutes(1)))
struct ShareKeeperTests {
    private func group() throws -> (leader: Int, group: MachineGroup) {
        let group = MachineGroup(3, seed: 2)
        group.run(.seconds(20)) {
            group.leader != nil && group.members.allSatisfy { $0.session != .none }
        }
        return (try #require(group.leader), group)
    }

    private func renewal(
        _ keeper: inout ShareKeeper, _ group: MachineGroup, _ place: Int, _ ledger: ShareLedger
    ) -> Renewal {
        let member = group.members[place]
        return keeper.renewal(of: member.session, sentAt: group.now, term: member.machine.term) {
            ledger.report(isFull: $0)
        }
    }

    /// - Returns: whether the table is another.
    private func take(_ keeper: inout ShareKeeper, _ answer: RenewalAnswer, _ now: Instant) -> Bool
    { keeper.take(answer, SessionTiming(), now: now) }

    private func lapse(_ keeper: inout ShareKeeper) -> Bool { keeper.lapse() }

    private func tick(
        _ keeper: inout ShareKeeper, _ group: MachineGroup, lapsesAt: Instant?, now: Instant
    ) -> [ShareKeeper.Action] {
        keeper.tick(group.members[0].machine, lapsesAt: lapsesAt, now: now)
    }

    @Test func `leases lapse once, and what waits for a verdict ends after the grace`() throws {
        let (_, group) = try self.group()
        var keeper = ShareKeeper()
        let start = group.now
        // Nothing has begun.
        #expect(self.tick(&keeper, group, lapsesAt: nil, now: start) == [])
        #expect(!self.lapse(&keeper))
        let answer = RenewalAnswer(
            session: group.members[0].session, sentAt: start,
            term: group.members[0].machine.term)
        #expect(!self.take(&keeper, answer, start))
        let lapse = start + SessionTiming().holderTerm
        let end = start + SessionTiming().holderEnd
        let early = lapse - .milliseconds(1)
        #expect(self.tick(&keeper, group, lapsesAt: lapse, now: early) == [])
        #expect(self.tick(&keeper, group, lapsesAt: lapse, now: lapse) == [.lapse])
        #expect(self.tick(&keeper, group, lapsesAt: lapse, now: end - .milliseconds(1)) == [])
        #expect(self.tick(&keeper, group, lapsesAt: lapse, now: end) == [.end])
        #expect(self.tick(&keeper, group, lapsesAt: lapse, now: end + .seconds(1)) == [])
        // A session that is closed lapses at once; a later answer lets it go on.
        #expect(!self.take(&keeper, answer, end))
        #expect(self.lapse(&keeper))
        #expect(!self.lapse(&keeper))
        // Late, both come with one tick.
        #expect(!self.take(&keeper, answer, end))
        #expect(self.tick(&keeper, group, lapsesAt: lapse, now: end) == [.lapse, .end])
    }

    /// What a clock that is off by `permille` has counted, in true time.
    private func real(_ counted: Duration, permille: Int64) -> Double {
        Double(counted.inNanoseconds) / 1e9 * 1000 / Double(permille)
    }

    @Test func `with both clocks off by all they may, nobody waits longer than others do`() {
        let (slow, fast) = (Int64(950), Int64(1050))
        let expiry = SessionTiming().leaderTerm
        let granted = self.real(expiry + SessionTiming().holdDown, permille: fast)
        let ended = self.real(SessionTiming().holderEnd, permille: slow)
        #expect(ended < granted && granted - ended < 0.01)
        // The dot itself: G before its leases lapse, and no longer than G on its way.
        let dot = self.real(
            SessionTiming().holderTerm, permille: slow)
        #expect(dot <= self.real(expiry, permille: fast))
        let forgotten = self.real(SessionTiming().leaderEnd, permille: fast)
        #expect(ended < forgotten)
    }

    @Test func `who has work and no share asks every 100 ms, for 4 s`() throws {
        let (_, group) = try self.group()
        var keeper = ShareKeeper()
        let start = group.now
        keeper.leased(["x.test", "y.test"], now: start) { _ in false }
        #expect(self.tick(&keeper, group, lapsesAt: nil, now: start) == [])
        keeper.leased(["x.test", "y.test"], now: start) { $0 == "y.test" }
        let asks = [0, 99, 100, 180, 200, 3999, 4000].map { number in
            self.tick(&keeper, group, lapsesAt: nil, now: start + .milliseconds(number))
        }
        #expect(asks == [[.ask], [], [.ask], [], [.ask], [.ask], []])
    }

    @Test func `a session that is let go is not renewed, another is`() {
        var keeper = ShareKeeper()
        let (old, new) = (SessionID(raw: 1), SessionID(raw: 2))
        keeper.abandon(old, own: new)
        #expect(keeper.mayRenew(old) && keeper.mayRenew(new))
        keeper.abandon(new, own: new)
        #expect(keeper.mayRenew(old) && !keeper.mayRenew(new))
    }

    @Test func `the leader deals, not by settings that are about to go, and nobody else does`()
        throws
    {
        let (leader, group) = try self.group()
        var keepers = group.members.map { _ in ShareKeeper() }
        let ledger = ShareLedger()
        func hear(_ place: Int, at deals: Int) -> Bool {
            let renewal = self.renewal(&keepers[place], group, place, ledger)
            return keepers[deals].hear(
                renewal, of: group.members[place].name, group.members[deals].machine,
                now: group.now)
        }
        func plan(_ place: Int, _ limit: UInt32?, after: Duration = .zero) -> Bool {
            keepers[place].plan(
                group.members[place].machine, limit: limit, now: group.now + after)
        }
        func answer(_ place: Int, by deals: Int) -> RenewalAnswer {
            keepers[deals].answer(
                to: group.members[place].session, sentAt: group.now,
                group.members[deals].machine, now: group.now)
        }
        for place in 0..<3 { #expect(hear(place, at: leader)) }
        #expect(!plan(leader, nil))
        #expect(answer(leader, by: leader).deal == 0)
        #expect(plan(leader, 20))
        // A look that took 10 ms: the next one after 200.
        keepers[leader].planned(from: group.now, to: group.now + .milliseconds(10))
        #expect(!plan(leader, 20, after: .milliseconds(209)))
        #expect(plan(leader, 20, after: .milliseconds(210)))
        for place in 0..<3 {
            let dealt = answer(place, by: leader)
            #expect(dealt.deal == 1 && dealt.base == 6 && dealt.shares == [])
            #expect(self.take(&keepers[place], dealt, group.now))
            #expect(keepers[place].table == ShareTable(base: 6))
        }
        // A table that was never dealt is not believed.
        let follower = (leader + 1) % 3
        var lie = self.renewal(&keepers[follower], group, follower, ledger)
        lie.deal = 2
        lie.sentAt = lie.sentAt + .milliseconds(1)
        let isBelieved = keepers[leader].hear(
            lie, of: group.members[follower].name, group.members[leader].machine, now: group.now)
        #expect(!isBelieved)
        #expect(hear(leader, at: follower))
        #expect(!plan(follower, 20))
        #expect(answer(leader, by: follower).deal == 0)
    }
}
