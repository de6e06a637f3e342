// NodeShares.swift - shares of destinations' connections: dealt by the leader, held here.
//
// Takes     renewals and their answers, leases that come in, ticks.
// Gives     tables of shares to others; the own one to the board, and word of it to Delivery.
// See       ShareDealer, ShareHolder, ShareBoard; Docs/Decisions/0021.

import MailQueue
import Networking
import Primitives
import Storage
import Synchronization

/// What a node among others knows of shares.
struct Sharing {
    var holder = ShareHolder()
    var dealer = ShareDealer()
    /// Before, the leader does not look at the leases again.
    var plansFrom = Instant.zero
    /// When the own session last asked.
    var askedAt = Instant.zero
    /// Until then the node asks more often: it has work and no share.
    var wishesUntil = Instant.zero
    /// When connections that wait for a verdict end too, counted from the last answered renewal.
    var endsAt: Instant?
    /// The leases have lapsed, or have not begun.
    var hasLapsed = true
    /// And `endsAt` is still to come.
    var isEnding = false
    /// It holds a lease of which nobody will know how it ended: see `LeaseDesk.abandon`.
    var abandoned = SessionID.none
}

extension Node {
    /// Between two looks at all leases, at least; and more, if a look takes long: of a loop's time
    /// one part in `planParts` goes into it.
    private static let planInterval = Duration.milliseconds(100)
    private static let planParts = 20
    /// Between two renewals of a node that wishes for a share, and how long it goes on so.
    private static let wishInterval = Duration.milliseconds(100)
    private static let wishTime = Duration.seconds(4)

    // MARK: From any thread.

    /// The whole limit for a node alone.
    func share(of destination: String) -> Int {
        guard self.isSeveral else {
            return self.shared.connectionsPerDestination.load(ordering: .relaxed)
        }
        return self.shares.share(of: destination)
    }

    func takeConnection(to destination: String) -> Bool {
        guard self.isSeveral else { return true }
        // The table is taken away by a tick, which may be late: the time is looked at here, too.
        let lapses = Instant(nanoseconds: self.shared.lapsesAt.load(ordering: .acquiring))
        return SystemClock.bootTime() < lapses && self.shares.take(destination)
    }

    func returnConnection(to destination: String) {
        if self.isSeveral { self.shares.giveBack(destination) }
    }

    // MARK: Held.

    /// What the own session says when it asks for more time.
    func renewal(of session: SessionID, sentAt: Instant) -> Renewal {
        let term = self.machine.term
        let deal = self.sharing.holder.ask(session, term: term)
        let held = self.shares.report(isFull: deal == 0)
        self.sharing.askedAt = sentAt
        return Renewal(
            session: session, sentAt: sentAt, term: term, deal: deal, base: held.base,
            baseOpen: held.baseOpen, shares: held.rows)
    }

    func takeShares(_ answer: RenewalAnswer) {
        self.sharing.endsAt = max(
            self.sharing.endsAt ?? .zero, answer.sentAt + ShareTiming.holderEnd)
        self.sharing.hasLapsed = false
        self.sharing.isEnding = false
        let now = SystemClock.bootTime()
        guard self.sharing.holder.take(answer, now: now) else { return }
        self.shares.use(self.sharing.holder.table)
        self.taker?.sharesChanged()
        // What is lowered here may be wanted elsewhere: it is said at once.
        self.askNow(now)
    }

    /// The lease time is over, or the session is closed.
    func lapseShares() {
        guard !self.sharing.hasLapsed else { return }
        self.sharing.hasLapsed = true
        self.sharing.holder.lapse()
        self.shares.use(self.sharing.holder.table)
        self.sharing.isEnding = true
        self.taker?.cutConnections(sparesVerdicts: true)
    }

    /// Leases have come: those for which no connection may be opened need a share.
    func wishForShares(_ work: [LeasedWork]) {
        for item in work {
            guard case .delivery(let delivery) = item,
                self.shares.share(of: delivery.destination) == 0
            else { continue }
            self.sharing.wishesUntil = SystemClock.bootTime() + Self.wishTime
            return
        }
    }

    /// 1 There was no leader for longer than T + H; a connection behind its final dot ended. 2 The
    /// session may be open all the same: nobody could close it. A deferral would be believed, and
    /// the next attempt counted as no repeat. So the session is let go: its end counts them.
    func abandon(_ session: SessionID) {
        if session == self.machine.session { self.sharing.abandoned = session }
    }

    /// The session is to be kept.
    var mayRenew: Bool { self.machine.session != self.sharing.abandoned }

    private func askNow(_ now: Instant) {
        guard self.mayRenew else { return }
        self.machine.renew(now: now)
        self.planTurn()
    }

    /// With each tick.
    func tickShares(_ now: Instant) {
        if !self.meetShares(now) {
            self.sharing.dealer.watch(self.machine.queue.members, now: now)
        }
        if self.leaseClock.lapsesAt.map({ now >= $0 }) ?? true { self.lapseShares() }
        if self.sharing.isEnding, let end = self.sharing.endsAt, now >= end {
            self.sharing.isEnding = false
            self.taker?.cutConnections(sparesVerdicts: false)
        }
        if now < self.sharing.wishesUntil, now >= self.sharing.askedAt + Self.wishInterval {
            self.sharing.askedAt = now
            self.askNow(now)
        }
    }

    // MARK: Dealt.

    /// - Returns: whether this node deals.
    @discardableResult
    private func meetShares(_ now: Instant) -> Bool {
        guard self.machine.isReadyLeader else {
            self.sharing.dealer.end()
            return false
        }
        let guests = self.machine.queue.openSessionDisks.map {
            ShareDealer.Guest(session: $0.session, disk: $0.disk)
        }
        self.sharing.dealer.meet(
            term: self.machine.term, guests, disks: self.machine.queue.members, now: now)
        return true
    }

    /// What a session says of its shares.
    func hearShares(_ renewal: Renewal, of node: NodeName, _ now: Instant) {
        guard self.machine.queue.session(of: node) == renewal.session, self.meetShares(now) else {
            return
        }
        let refused = self.sharing.dealer.refused
        self.sharing.dealer.hear(renewal, now: now)
        if self.sharing.dealer.refused > refused { self.metrics.peerError("shares") }
    }

    func renewalAnswer(to session: SessionID, sentAt: Instant) -> RenewalAnswer {
        let now = SystemClock.bootTime()
        var answer = RenewalAnswer(session: session, sentAt: sentAt, term: self.machine.term)
        guard self.meetShares(now) else { return answer }
        self.planShares(now)
        if let (number, table) = self.sharing.dealer.deal(to: session, now: now) {
            answer.deal = number
            answer.base = table.base
            answer.shares = table.rows
        }
        return answer
    }

    /// The leader's own session takes the same way, without a link.
    func answerOwnRenewal(_ session: SessionID, sentAt: Instant) {
        let renewal = self.renewal(of: session, sentAt: sentAt)
        self.hearShares(renewal, of: self.identity.node, SystemClock.bootTime())
        self.renewed(self.renewalAnswer(to: session, sentAt: sentAt))
    }

    private func planShares(_ now: Instant) {
        // Not by the limit of the leader before: its settings are about to be replaced.
        guard self.newSettings == nil else { return }
        guard now >= self.sharing.plansFrom else { return }
        let limit = self.clusterSettings.connectionsPerDestination
        let needs = self.machine.queue.leaseCounts(
            above: self.sharing.dealer.base(limit: limit), and: self.sharing.dealer.destinations)
        self.sharing.dealer.plan(limit: limit, needs, now: now)
        let end = SystemClock.bootTime()
        self.sharing.plansFrom = end + max(Self.planInterval, (end - now) * Self.planParts)
    }
}
