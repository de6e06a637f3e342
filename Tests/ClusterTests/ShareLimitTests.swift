import MailQueue
import Primitives
import Spool
import Testing

@testable import Cluster

@Suite("Shares of connections: disks, sessions, and more destinations than rows")
struct ShareLimitTests {
    private let start = Instant.zero + .seconds(1000)

    private static func guest(_ raw: UInt64, _ name: String, disk: UInt64 = 1)
        -> ShareDealer.Guest
    {
        ShareDealer.Guest(
            session: SessionID(raw: raw),
            disk: Holder(node: name, incarnation: Incarnation(raw: disk)))
    }

    private func renewal(
        _ guest: ShareDealer.Guest, _ number: Int, deal: UInt64 = 0, base: UInt32 = 0,
        baseOpen: UInt32 = 0, shares: [HeldShare] = []
    ) -> Renewal {
        Renewal(
            session: guest.session, sentAt: self.start + .milliseconds(number), term: 5, deal: deal,
            base: base, baseOpen: baseOpen, shares: shares)
    }

    /// A name that sorts by its number.
    private static func name(_ number: Int) -> String { "d\(1_000_000 + number)" }

    @Test func `another disk of a node says nothing of the process of the one before`() {
        var dealer = ShareDealer()
        let (a, b) = (Self.guest(1, "a"), Self.guest(2, "b"))
        let disks = [a.disk, b.disk]
        dealer.meet(term: 5, [a, b], disks: disks, now: self.start)
        dealer.hear(self.renewal(a, 1, base: 10), now: self.start)
        dealer.hear(self.renewal(b, 1, base: 10), now: self.start)
        dealer.meet(term: 5, [a, b], disks: disks, now: self.start)
        dealer.plan(limit: 20, [], now: self.start)
        let next = Self.guest(3, "b", disk: 2)
        dealer.meet(term: 5, [a, next], disks: [a.disk, next.disk], now: self.start)
        dealer.hear(self.renewal(next, 2), now: self.start)
        dealer.plan(limit: 20, [], now: self.start)
        // The old one is cut off, perhaps, and lives.
        var dealt = dealer.deal(to: next.session, now: self.start)
        #expect(dealt == nil)
        let end = self.start + SessionTiming().leaderEnd
        dealer.meet(term: 5, [a, next], disks: [a.disk, next.disk], now: end)
        dealt = dealer.deal(to: next.session, now: end)
        #expect(dealt?.table == ShareTable(base: 10))
    }

    @Test func `a new leader waits for a disk that was replaced under the one before`() {
        var dealer = ShareDealer()
        let (a, b) = (Self.guest(1, "a"), Self.guest(3, "b", disk: 2))
        let old = Self.guest(2, "b")
        dealer.watch([a.disk, old.disk], now: self.start)
        dealer.watch([a.disk, b.disk], now: self.start)
        dealer.meet(term: 5, [a, b], disks: [a.disk, b.disk], now: self.start)
        dealer.hear(self.renewal(a, 1), now: self.start)
        dealer.hear(self.renewal(b, 1), now: self.start)
        dealer.meet(term: 5, [a, b], disks: [a.disk, b.disk], now: self.start)
        dealer.plan(limit: 20, [], now: self.start)
        var dealt = dealer.deal(to: a.session, now: self.start)
        #expect(dealt == nil)
        let end = self.start + SessionTiming().leaderEnd
        dealer.meet(term: 5, [a, b], disks: [a.disk, b.disk], now: end)
        dealt = dealer.deal(to: a.session, now: end)
        #expect(dealt?.table == ShareTable(base: 10))
    }

    @Test func `the number of a table is of one session`() {
        var holder = ShareHolder()
        let (first, second) = (SessionID(raw: 1), SessionID(raw: 2))
        _ = holder.ask(first, term: 5)
        let isTaken = holder.take(
            RenewalAnswer(session: first, sentAt: self.start, term: 5, deal: 3, base: 7),
            SessionTiming(), now: self.start)
        let (own, other) = (holder.ask(first, term: 5), holder.ask(second, term: 5))
        #expect(isTaken && own == 3 && other == 0)
        let isNext = holder.take(
            RenewalAnswer(session: second, sentAt: self.start, term: 5, deal: 1, base: 2),
            SessionTiming(), now: self.start)
        #expect(isNext && holder.table.base == 2)
    }

    @Test func `what two nodes hold may be more rows than there is room for`() {
        var dealer = ShareDealer()
        let (a, b) = (Self.guest(1, "a"), Self.guest(2, "b"))
        let disks = [a.disk, b.disk]
        let count = ShareTable.rowsMax
        let rows = (0..<2 * count).map {
            HeldShare(destination: Self.name($0), share: 3, open: 3)
        }
        dealer.meet(term: 5, [a, b], disks: disks, now: self.start)
        dealer.hear(self.renewal(a, 1, base: 1, shares: Array(rows[..<count])), now: self.start)
        dealer.hear(self.renewal(b, 1, base: 1, shares: Array(rows[count...])), now: self.start)
        dealer.meet(term: 5, [a, b], disks: disks, now: self.start)
        #expect(dealer.refused == 0 && dealer.destinations.count == count)
        dealer.plan(limit: 4, [], now: self.start)
        // B's rows have gone into its base, as long as it may go by them: A's is not raised.
        let lowered = dealer.deal(to: b.session, now: self.start)
        #expect(lowered?.table.rows.count == count && lowered?.table.base == 2)
        let first = dealer.deal(to: a.session, now: self.start)
        #expect(first?.table.base ?? 1 == 1)
        if let first {
            dealer.hear(
                self.renewal(a, 2, deal: first.number, base: first.table.base), now: self.start)
        }
        dealer.hear(self.renewal(b, 2, deal: 1, base: 2), now: self.start)
        dealer.plan(limit: 4, [], now: self.start)
        let raised = dealer.deal(to: a.session, now: self.start)
        #expect(raised?.table.base == 2)
    }

    @Test func `a hundred thousand destinations have their turns, and never more rows`() {
        var dealer = ShareDealer()
        let (a, b) = (Self.guest(1, "a"), Self.guest(2, "b"))
        let disks = [a.disk, b.disk]
        var numbers: [SessionID: (sent: Int, deal: UInt64)] = [:]
        var bases: [SessionID: UInt32] = [:]
        var now = self.start
        func exchange(_ guest: ShareDealer.Guest) -> Int {
            let last = numbers[guest.session] ?? (0, 0)
            dealer.meet(term: 5, [a, b], disks: disks, now: now)
            dealer.hear(
                self.renewal(
                    guest, last.sent + 1, deal: last.deal, base: bases[guest.session] ?? 0),
                now: now)
            dealer.meet(term: 5, [a, b], disks: disks, now: now)
            let dealt = dealer.deal(to: guest.session, now: now)
            numbers[guest.session] = (last.sent + 1, dealt?.number ?? last.deal)
            if let dealt { bases[guest.session] = dealt.table.base }
            return dealt?.table.rows.count ?? 0
        }
        // One connection, two nodes: nobody has any ahead of mail. 4,000 leases at a time.
        var served = 0
        for round in 0..<25 {
            let needs = (round * 4000..<(round + 1) * 4000).map {
                LeaseCount(destination: Self.name($0), session: a.session, leases: 1)
            }
            for _ in 0..<4 {
                now = now + .milliseconds(100)
                let count = max(exchange(a), exchange(b))
                #expect(count <= ShareTable.rowsMax)
                dealer.plan(limit: 1, needs, now: now)
            }
            let names = Set(dealer.destinations)
            served += needs.count { names.contains($0.destination) }
        }
        #expect(served > 24 * 4000, "\(served) had a row while they had a lease")
    }
}
