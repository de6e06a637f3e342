import MailQueue
import Primitives
import Spool
import Testing

@testable import Cluster

@Suite("Shares of a destination's connections")
struct ShareTests {
    private let start = Instant.zero + .seconds(1000)
    private let a = ShareDealer.Guest(session: SessionID(raw: 1), disk: Self.disk("a"))
    private let b = ShareDealer.Guest(session: SessionID(raw: 2), disk: Self.disk("b"))
    private let c = ShareDealer.Guest(session: SessionID(raw: 3), disk: Self.disk("c"))

    private static func disk(_ name: String) -> Holder {
        Holder(node: NodeName(name), incarnation: Incarnation(raw: 1))
    }

    private static func disks(_ names: [String]) -> [Holder] { names.map { Self.disk($0) } }

    private func renewal(
        _ guest: ShareDealer.Guest, _ number: Int, deal: UInt64 = 0, base: UInt32 = 0,
        baseOpen: UInt32 = 0, shares: [HeldShare] = []
    ) -> Renewal {
        Renewal(
            session: guest.session, sentAt: self.start + .milliseconds(number), term: 5, deal: deal,
            base: base, baseOpen: baseOpen, shares: shares)
    }

    private func table(
        _ dealer: inout ShareDealer, _ guest: ShareDealer.Guest, _ after: Duration = .zero
    ) -> ShareTable? {
        dealer.deal(to: guest.session, now: self.start + after)?.table
    }

    /// Three nodes, heard once, of which each holds its base.
    private func settled(limit: UInt32) -> ShareDealer {
        var dealer = ShareDealer()
        let guests = [self.a, self.b, self.c]
        dealer.meet(term: 5, guests, disks: Self.disks(["a", "b", "c"]), now: self.start)
        for guest in guests { dealer.hear(self.renewal(guest, 1), now: self.start) }
        dealer.meet(term: 5, guests, disks: Self.disks(["a", "b", "c"]), now: self.start)
        dealer.plan(limit: limit, [], now: self.start)
        for guest in guests {
            guard let (number, table) = dealer.deal(to: guest.session, now: self.start) else {
                continue
            }
            dealer.hear(
                self.renewal(guest, 2, deal: number, base: table.base), now: self.start)
        }
        return dealer
    }

    private func leases(_ counts: [(ShareDealer.Guest, UInt32)]) -> [LeaseCount] {
        counts.map {
            LeaseCount(destination: "x.test", session: $0.0.session, leases: $0.1)
        }
    }

    @Test func `each has an even part of every destination before any mail is there`() {
        var dealer = ShareDealer()
        let guests = [self.a, self.b, self.c]
        dealer.meet(term: 5, guests, disks: Self.disks(["a", "b", "c"]), now: self.start)
        for guest in guests { dealer.hear(self.renewal(guest, 1), now: self.start) }
        dealer.meet(term: 5, guests, disks: Self.disks(["a", "b", "c"]), now: self.start)
        dealer.plan(limit: 20, [], now: self.start)
        for guest in guests {
            let dealt = self.table(&dealer, guest)
            #expect(dealt == ShareTable(base: 6))
        }
    }

    @Test func `a new leader raises nothing until all are heard, or their time is over`() {
        var dealer = ShareDealer()
        let guests = [self.a, self.b]
        dealer.meet(term: 5, guests, disks: Self.disks(["a", "b", "c"]), now: self.start)
        for guest in guests {
            dealer.hear(self.renewal(guest, 1, base: 6), now: self.start)
        }
        dealer.plan(limit: 20, [], now: self.start)
        // C closed under the leader before: it may have connections open.
        let dealt1 = self.table(&dealer, self.a)
        #expect(dealt1 == nil)
        let end = SessionTiming().leaderEnd
        dealer.meet(term: 5, guests, disks: Self.disks(["a", "b", "c"]), now: self.start + end)
        let dealt2 = self.table(&dealer, self.a, end)
        #expect(dealt2 == ShareTable(base: 10))
    }

    @Test func `a session that is open and was not heard may hold anything`() {
        var dealer = ShareDealer()
        let guests = [self.a, self.b]
        dealer.meet(term: 5, guests, disks: Self.disks(["a", "b"]), now: self.start)
        dealer.hear(self.renewal(self.a, 1, base: 1), now: self.start)
        dealer.plan(limit: 20, [], now: self.start)
        let dealt3 = self.table(&dealer, self.a, .seconds(60))
        #expect(dealt3 == nil)
    }

    @Test func `lowered first, raised elsewhere when no more is open`() {
        var dealer = self.settled(limit: 21)
        let wanted = self.leases([(self.a, 100), (self.b, 2)])
        dealer.plan(limit: 21, wanted, now: self.start)
        // A gets all but what B needs and C's one; nothing is left above the others' sevens yet.
        let first = self.table(&dealer, self.a)
        #expect(first?.share(of: "x.test") == 7 && first?.base == 7)
        let lowered = self.table(&dealer, self.c)
        #expect(lowered?.share(of: "x.test") == 1)
        dealer.hear(self.renewal(self.a, 3, deal: 2, base: 7), now: self.start)
        let dealt4 = self.table(&dealer, self.a)
        #expect(dealt4 == nil)
        // C has the table, and five connections still open.
        let open = HeldShare(destination: "x.test", share: 1, open: 5)
        dealer.hear(self.renewal(self.c, 3, deal: 2, base: 7, shares: [open]), now: self.start)
        let dealt5 = self.table(&dealer, self.a)
        #expect(dealt5?.share(of: "x.test") == 9)
        dealer.hear(self.renewal(self.a, 4, deal: 3, base: 7), now: self.start)
        dealer.hear(self.renewal(self.c, 4, deal: 2, base: 7), now: self.start)
        let dealt6 = self.table(&dealer, self.a)
        #expect(dealt6?.share(of: "x.test") == 13)
    }

    @Test func `a table goes again until the node says that it holds`() {
        var dealer = self.settled(limit: 21)
        dealer.plan(limit: 21, self.leases([(self.a, 100)]), now: self.start)
        let first = dealer.deal(to: self.b.session, now: self.start)
        dealer.hear(self.renewal(self.b, 3, deal: 1, base: 7), now: self.start)
        let again = dealer.deal(to: self.b.session, now: self.start)
        #expect(first?.number == 2 && again?.number == 2 && first?.table == again?.table)
        // What it said before it had the table proves nothing, however late it comes.
        dealer.hear(self.renewal(self.b, 2, deal: 2, base: 7), now: self.start)
        let dealt7 = dealer.deal(to: self.b.session, now: self.start)
        #expect(dealt7?.number == 2)
    }

    @Test func `with fewer connections than nodes, the first that asks has one at once`() {
        var dealer = self.settled(limit: 2)
        dealer.plan(limit: 2, self.leases([(self.b, 1)]), now: self.start)
        let dealt8 = self.table(&dealer, self.b)
        #expect(dealt8?.share(of: "x.test") == 1)
        let dealt9 = self.table(&dealer, self.a)
        #expect(dealt9?.share(of: "x.test") == 0)
    }

    @Test func `what a closed session had is free when nothing of it can be open`() {
        var dealer = self.settled(limit: 21)
        let guests = [self.a, self.b]
        let disks = Self.disks(["a", "b", "c"])
        dealer.meet(term: 5, guests, disks: disks, now: self.start)
        dealer.plan(limit: 21, [], now: self.start)
        let dealt10 = self.table(&dealer, self.a)
        #expect(dealt10 == nil)
        let end = SessionTiming().leaderEnd
        dealer.meet(term: 5, guests, disks: disks, now: self.start + end - .milliseconds(1))
        let dealt11 = self.table(&dealer, self.a, end)
        #expect(dealt11 == nil)
        dealer.meet(term: 5, guests, disks: disks, now: self.start + end)
        let dealt12 = self.table(&dealer, self.a, end)
        #expect(dealt12 == ShareTable(base: 10))
    }

    @Test func `a node that starts again has nothing open, and its part at once`() {
        var dealer = self.settled(limit: 21)
        let next = ShareDealer.Guest(session: SessionID(raw: 9), disk: Self.disk("c"))
        dealer.meet(
            term: 5, [self.a, self.b, next], disks: Self.disks(["a", "b", "c"]), now: self.start)
        dealer.hear(self.renewal(next, 5), now: self.start)
        dealer.plan(limit: 21, [], now: self.start)
        let dealt13 = self.table(&dealer, next)
        #expect(dealt13 == ShareTable(base: 7))
    }

    @Test func `a table of a leader before the one that was asked is not taken`() {
        var holder = ShareHolder()
        var held = holder.ask(self.a.session, term: 5)
        #expect(held == 0)
        let answer = RenewalAnswer(
            session: self.a.session, sentAt: self.start, term: 5, deal: 1, base: 7)
        var isTaken = holder.take(answer, SessionTiming(), now: self.start)
        #expect(isTaken && holder.table.base == 7)
        held = holder.ask(self.a.session, term: 5)
        #expect(held == 1)
        held = holder.ask(self.a.session, term: 6)
        #expect(held == 0)
        var late = answer
        late.deal = 2
        late.base = 20
        isTaken = holder.take(late, SessionTiming(), now: self.start)
        #expect(!isTaken && holder.table.base == 7)
    }

    @Test func `a table that was asked for too long ago is not taken`() {
        var holder = ShareHolder()
        _ = holder.ask(self.a.session, term: 5)
        let answer = RenewalAnswer(
            session: self.a.session, sentAt: self.start, term: 5, deal: 1, base: 7)
        let timing = SessionTiming()
        let isTakenLate = holder.take(answer, timing, now: self.start + timing.holderTerm)
        let isTaken = holder.take(answer, SessionTiming(), now: self.start + .milliseconds(3799))
        #expect(!isTakenLate && isTaken)
    }

    @Test func `rows out of their order are a peer's mistake`() {
        let rows = ["b", "a"].map { HeldShare(destination: $0, share: 1, open: 0) }
        var dealer = self.settled(limit: 21)
        dealer.hear(self.renewal(self.a, 5, deal: 1, shares: rows), now: self.start)
        dealer.hear(self.renewal(self.a, 6, deal: 99), now: self.start)
        #expect(dealer.refused == 2)
    }

    @Test func `what is dealt by leases sums up to the limit`() {
        #expect(SharePlan.targets(limit: 20, leases: [100, 0, 0]) == [18, 1, 1])
        #expect(SharePlan.targets(limit: 20, leases: [3, 2, 0]) == [3, 2, 1])
        #expect(SharePlan.targets(limit: 20, leases: [100, 100, 100]) == [7, 7, 6])
        #expect(SharePlan.targets(limit: 1, leases: [2, 5, 5]) == [0, 1, 0])
        var dice = Generator(seed: 3)
        for _ in 0..<20_000 {
            let count = 1 + dice.below(9)
            let limit = UInt32(1 + dice.below(40))
            let leases = (0..<count).map { _ in UInt32(dice.below(3) * dice.below(50)) }
            let targets = SharePlan.targets(limit: limit, leases: leases)
            #expect(targets.reduce(0, +) <= limit)
            var shares = (0..<count).map { _ in UInt32(dice.below(10)) }
            for _ in 0..<4 {
                shares = SharePlan.moved(limit: limit, leases: leases, shares: shares)
            }
            #expect(shares.reduce(0, +) <= limit)
            // Nobody with work is without, while there is one for each.
            if count <= limit { #expect(zip(shares, leases).allSatisfy { $0 > 0 || $1 == 0 }) }
        }
    }

    // MARK: The model.

    @Test func `the limit holds whatever is lost, late, killed or elected`() {
        var raised = 0
        for seed in 0..<120 {
            var dice = Generator(seed: UInt64(seed))
            var world = ShareWorld(
                2 + dice.below(4), limit: UInt32(1 + dice.below(24)), seed: UInt64(seed))
            world.elect(0)
            world.hasFaults = true
            world.run(.seconds(60))
            #expect(world.violations == 0, "seed \(seed)")
            if world.fullest == world.limit { raised += 1 }
            if world.violations > 0 { return }
        }
        // The limit was not kept by giving nothing.
        #expect(raised > 60)
    }

    @Test func `when all is quiet again, work has what the limit leaves`() {
        for seed in 0..<20 {
            var world = ShareWorld(3, limit: 20, seed: UInt64(seed))
            world.limitMax = 20
            world.elect(0)
            world.hasFaults = true
            world.run(.seconds(20))
            world.hasFaults = false
            world.lossPermille = 0
            world.delayMax = 30
            for place in 0..<3 {
                world.members[place].isUp = true
                world.members[place].leases = place == 1 ? ["x.test": 100] : [:]
            }
            world.elect(2)
            world.run(.seconds(40))
            #expect(world.shares("x.test") == [1, 18, 1], "seed \(seed)")
            #expect(world.shares("other.test") == [6, 6, 6], "seed \(seed)")
            #expect(world.violations == 0)
            // Work that has ended leaves nothing behind.
            world.members[1].leases = [:]
            world.run(.seconds(15))
            #expect(world.members[0].holder.table == ShareTable(base: 6), "seed \(seed)")
        }
    }

    @Test func `a message of a destination that nobody has a part of waits for one renewal`() {
        var world = ShareWorld(3, limit: 2, seed: 1)
        world.elect(0)
        world.run(.seconds(12))
        #expect(world.shares("x.test") == [0, 0, 0])
        world.members[1].leases = ["x.test": 1]
        world.run(LeaseClock.renewal + .milliseconds(100))
        #expect(world.shares("x.test")[1] == 1)
    }
}
