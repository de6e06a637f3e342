// SimNode+Shares.swift - shares of destinations' connections: dealt by the leader, held here.
//
// Like      NodeShares.

import Cluster
import MailQueue
import Primitives
import Spool

/// Like `Sharing`.
struct SimSharing {
    var holder = ShareHolder()
    var dealer = ShareDealer()
    var plansFrom = Instant.zero
    var askedAt = Instant.zero
    var wishesUntil = Instant.zero
    var endsAt: Instant?
    var hasLapsed = true
    var isEnding = false
    var abandoned = SessionID.none
}

extension SimNode {
    private static let planInterval = Duration.milliseconds(100)
    private static let wishInterval = Duration.milliseconds(100)
    private static let wishTime = Duration.seconds(4)

    // MARK: Held.

    func renewal(of session: SessionID, _ sentAt: Instant) -> Renewal {
        let term = self.machine.term
        let deal = self.sharing.holder.ask(session, term: term)
        let held = self.courierOut.ledger.report(isFull: deal == 0)
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
        let now = self.clock
        guard self.sharing.holder.take(answer, now: now) else { return }
        self.world.counters[.shareTables] += 1
        self.courierOut.ledger.use(self.sharing.holder.table)
        self.courierOut.pump()
        self.askNow(now)
    }

    func lapseShares() {
        guard !self.sharing.hasLapsed else { return }
        self.world.counters[.lapses] += 1
        self.sharing.hasLapsed = true
        self.sharing.holder.lapse()
        self.courierOut.ledger.use(self.sharing.holder.table)
        self.sharing.isEnding = true
        self.courierOut.cutConnections(sparesVerdicts: true)
    }

    func wishForShares(_ work: [SimWork]) {
        for item in work {
            guard case .delivery(let delivery, _) = item,
                self.courierOut.ledger.share(of: delivery.destination) == 0
            else { continue }
            self.sharing.wishesUntil = self.clock + Self.wishTime
            return
        }
    }

    func abandon(_ session: SessionID) {
        if session == self.machine.session { self.sharing.abandoned = session }
    }

    private func askNow(_ now: Instant) {
        guard self.machine.session != self.sharing.abandoned else { return }
        self.machine.renew(now: now)
        self.isTurnPlanned = true
    }

    func tickShares() {
        let now = self.clock
        if !self.meetShares(now) {
            self.sharing.dealer.watch(self.machine.queue.members, now: now)
        }
        if self.leaseClock.lapsesAt.map({ now >= $0 }) ?? true { self.lapseShares() }
        if self.sharing.isEnding, let end = self.sharing.endsAt, now >= end {
            self.sharing.isEnding = false
            self.courierOut.cutConnections(sparesVerdicts: false)
        }
        if now < self.sharing.wishesUntil, now >= self.sharing.askedAt + Self.wishInterval {
            self.sharing.askedAt = now
            self.askNow(now)
        }
    }

    // MARK: Dealt.

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

    func hearShares(_ renewal: Renewal, of peer: Int) {
        guard self.machine.queue.session(of: "n\(peer)") == renewal.session,
            self.meetShares(self.clock)
        else { return }
        let refused = self.sharing.dealer.refused
        self.sharing.dealer.hear(renewal, now: self.clock)
        self.world.check(
            11, self.sharing.dealer.refused == refused,
            "\(self.name) refuses what n\(peer) says of its shares")
    }

    func renewalAnswer(to session: SessionID, _ sentAt: Instant) -> RenewalAnswer {
        let now = self.clock
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

    func answerOwnRenewal(_ session: SessionID, _ sentAt: Instant) {
        let renewal = self.renewal(of: session, sentAt)
        self.hearShares(renewal, of: self.place)
        self.renewed(self.renewalAnswer(to: session, sentAt))
    }

    private func planShares(_ now: Instant) {
        let settings = self.world.scenario.settings
        guard self.machine.queue.settings == settings, now >= self.sharing.plansFrom else { return }
        let limit = settings.connectionsPerDestination
        let needs = self.machine.queue.leaseCounts(
            above: self.sharing.dealer.base(limit: limit), and: self.sharing.dealer.destinations)
        self.sharing.dealer.plan(limit: limit, needs, now: now)
        self.sharing.plansFrom = now + Self.planInterval
    }
}
