// ShareKeeper.swift - shares of connections: dealt by the leader, held by each node, and when.
//
// Takes     renewals and their answers, leases that come in, ticks.
// Gives     tables of shares to others; when the own one is another, when connections are to be
//           closed, when to ask.
// Order     who answers a renewal: 1 `hear`; 2 `plan`; 3 `answer`.
// See       ShareDealer, ShareHolder; drivers: Node, SimNode; Docs/Decisions/0021.

package import MailQueue
package import Primitives
package import Spool

/// What a node among others knows of shares.
package struct ShareKeeper: Sendable {
    /// Between two looks at all leases, at least; and more, if a look takes long: of the driver's
    /// time one part in `planParts` goes into it.
    private static let planInterval = Duration.milliseconds(100)
    private static let planParts = 20
    /// Between two renewals of a node that wishes for a share, and how long it goes on so.
    private static let wishInterval = Duration.milliseconds(100)
    private static let wishTime = Duration.seconds(4)

    /// What a tick brings.
    package enum Action: Hashable, Sendable {
        /// The own table is empty: use it, and close all but what waits for a verdict.
        case lapse
        /// Close what waits for a verdict, too.
        case end
        /// Ask for more time now, if the session may be kept.
        case ask
    }

    private var holder = ShareHolder()
    private var dealer = ShareDealer()
    /// Before, the leader does not look at the leases again.
    package private(set) var plansFrom = Instant.zero
    /// When the own session last asked.
    private var askedAt = Instant.zero
    /// Until then the node asks more often: it has work and no share.
    private var wishesUntil = Instant.zero
    /// When connections that wait for a verdict end too, counted from the last answered renewal.
    private var endsAt: Instant?
    /// The leases have lapsed, or have not begun.
    private var hasLapsed = true
    /// And `endsAt` is still to come.
    private var isEnding = false
    /// It holds a lease of which nobody will know how it ended: see `LeaseDesk.abandon`.
    private var abandoned = SessionID.none

    package init() {}

    // MARK: Held.

    /// The table that the node goes by.
    package var table: ShareTable { self.holder.table }

    /// What the own session says when it asks for more time.
    ///
    /// - Parameter report: what is held and open; all rows, or those of which more is open.
    package mutating func renewal(
        of session: SessionID, sentAt: Instant, term: UInt64,
        report: (_ isFull: Bool) -> (base: UInt32, baseOpen: UInt32, rows: [HeldShare])
    ) -> Renewal {
        let deal = self.holder.ask(session, term: term)
        let held = report(deal == 0)
        self.askedAt = sentAt
        return Renewal(
            session: session, sentAt: sentAt, term: term, deal: deal, base: held.base,
            baseOpen: held.baseOpen, shares: held.rows)
    }

    /// The leader has answered a renewal of the own session.
    ///
    /// - Returns: the table is another. Use it, then ask at once: what is lowered here may be
    ///   wanted elsewhere.
    package mutating func take(
        _ answer: RenewalAnswer, _ timing: SessionTiming, now: Instant
    ) -> Bool {
        self.endsAt = max(self.endsAt ?? .zero, answer.sentAt + timing.holderEnd)
        self.hasLapsed = false
        self.isEnding = false
        return self.holder.take(answer, timing, now: now)
    }

    /// The lease time is over, or the session is closed.
    ///
    /// - Returns: what `Action.lapse` says is to be done; false: it has been.
    package mutating func lapse() -> Bool {
        guard !self.hasLapsed else { return false }
        self.hasLapsed = true
        self.holder.lapse()
        self.isEnding = true
        return true
    }

    /// Leases have come: those for which no connection may be opened need a share.
    package mutating func leased(
        _ destinations: some Sequence<String>, now: Instant, isShareless: (String) -> Bool
    ) {
        if destinations.contains(where: isShareless) { self.wishesUntil = now + Self.wishTime }
    }

    /// 1 There was no leader for longer than T + H; a connection behind its final dot ended. 2 The
    /// session may be open all the same: nobody could close it. A deferral would be believed, and
    /// the next attempt counted as no repeat. So the session is let go: its end counts them.
    ///
    /// - Parameter own: the node's present session.
    package mutating func abandon(_ session: SessionID, own: SessionID) {
        if session == own { self.abandoned = session }
    }

    /// The own session is to be kept.
    package func mayRenew(_ own: SessionID) -> Bool { own != self.abandoned }

    /// It may be closed at a stop, which says that all it has begun is settled, and counts nothing.
    package func mayClose(_ own: SessionID) -> Bool { own != self.abandoned }

    /// With each tick.
    ///
    /// - Parameter lapsesAt: of the leases; nil: they have no time at all.
    package mutating func tick(
        _ machine: borrowing NodeMachine, lapsesAt: Instant?, now: Instant
    ) -> [Action] {
        if !self.meet(machine, now) { self.dealer.watch(machine.queue.members, now: now) }
        var actions: [Action] = []
        if lapsesAt.map({ now >= $0 }) ?? true, self.lapse() { actions.append(.lapse) }
        if self.isEnding, let end = self.endsAt, now >= end {
            self.isEnding = false
            actions.append(.end)
        }
        if now < self.wishesUntil, now >= self.askedAt + Self.wishInterval {
            self.askedAt = now
            actions.append(.ask)
        }
        return actions
    }

    // MARK: Dealt.

    /// - Returns: whether this node deals.
    private mutating func meet(_ machine: borrowing NodeMachine, _ now: Instant) -> Bool {
        guard machine.isReadyLeader else {
            self.dealer.end()
            return false
        }
        let guests = machine.queue.openSessionDisks.map {
            ShareDealer.Guest(session: $0.session, disk: $0.disk, end: $0.timing.leaderEnd)
        }
        self.dealer.meet(
            term: machine.term, guests, disks: machine.queue.members,
            endMax: machine.queue.longestSessionEnd, now: now)
        return true
    }

    /// What a session says of its shares.
    ///
    /// - Returns: false: it is not to be believed, and counts for nothing.
    package mutating func hear(
        _ renewal: Renewal, of node: NodeName, _ machine: borrowing NodeMachine, now: Instant
    ) -> Bool {
        guard machine.queue.session(of: node) == renewal.session, self.meet(machine, now) else {
            return true
        }
        let refused = self.dealer.refused
        self.dealer.hear(renewal, now: now)
        return self.dealer.refused == refused
    }

    /// The leader looks at the leases, if it is time.
    ///
    /// - Parameter limit: connections to one destination; nil: not known yet, the settings of the
    ///   state are about to be replaced.
    /// - Returns: whether it has: then `planned` is to be told how long it took.
    package mutating func plan(
        _ machine: borrowing NodeMachine, limit: UInt32?, now: Instant
    ) -> Bool {
        guard self.meet(machine, now), let limit, now >= self.plansFrom else { return false }
        let needs = machine.queue.leaseCounts(
            above: self.dealer.base(limit: limit), and: self.dealer.destinations)
        self.dealer.plan(limit: limit, needs, now: now)
        return true
    }

    package mutating func planned(from start: Instant, to end: Instant) {
        self.plansFrom = end + max(Self.planInterval, (end - start) * Self.planParts)
    }

    /// After `plan`: the answer to a renewal, with the session's table if it has not the newest.
    package mutating func answer(
        to session: SessionID, sentAt: Instant, _ machine: borrowing NodeMachine, now: Instant
    ) -> RenewalAnswer {
        var answer = RenewalAnswer(session: session, sentAt: sentAt, term: machine.term)
        if machine.isReadyLeader,
            let (number, table) = self.dealer.deal(to: session, now: now)
        {
            answer.deal = number
            answer.base = table.base
            answer.shares = table.rows
        }
        return answer
    }
}
