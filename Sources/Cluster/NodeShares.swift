// NodeShares.swift - shares of destinations' connections: the driver of the ShareKeeper.
//
// Takes     renewals and their answers, leases that come in, ticks.
// Gives     tables of shares to others; the own one to the board, and word of it to Delivery.
// See       ShareKeeper (what is done when), ShareBoard; Docs/Decisions/0021.

import MailQueue
import Networking
import Primitives
import Storage
import Synchronization

extension Node {
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
        return self.sharing.renewal(of: session, sentAt: sentAt, term: term) {
            self.shares.report(isFull: $0)
        }
    }

    func takeShares(_ answer: RenewalAnswer) {
        let now = SystemClock.bootTime()
        guard self.sharing.take(answer, self.leaseClock.timing, now: now) else { return }
        self.shares.use(self.sharing.table)
        self.taker?.sharesChanged()
        self.askNow(now)
    }

    /// The session is closed, or storage has failed.
    func lapseShares() {
        if self.sharing.lapse() { self.carryOut(.lapse, SystemClock.bootTime()) }
    }

    func wishForShares(_ work: [LeasedWork]) {
        let destinations = work.lazy.compactMap { item in
            if case .delivery(let delivery) = item { delivery.destination } else { nil }
        }
        let shares = self.shares
        self.sharing.leased(destinations, now: SystemClock.bootTime()) {
            shares.share(of: $0) == 0
        }
    }

    /// See `ShareKeeper.abandon`.
    func abandon(_ session: SessionID) {
        self.sharing.abandon(session, own: self.machine.session)
    }

    /// The session is to be kept.
    var mayRenew: Bool { self.sharing.mayRenew(self.machine.session) }

    private func askNow(_ now: Instant) {
        guard self.mayRenew else { return }
        self.machine.renew(now: now)
        self.planTurn()
    }

    /// With each tick.
    func tickShares(_ now: Instant) {
        let lapsesAt = self.leaseClock.lapsesAt
        for action in self.sharing.tick(self.machine, lapsesAt: lapsesAt, now: now) {
            self.carryOut(action, now)
        }
    }

    private func carryOut(_ action: ShareKeeper.Action, _ now: Instant) {
        switch action {
        case .lapse:
            self.shares.use(self.sharing.table)
            self.taker?.cutConnections(sparesVerdicts: true)
        case .end: self.taker?.cutConnections(sparesVerdicts: false)
        case .ask: self.askNow(now)
        }
    }

    // MARK: Dealt.

    /// What a session says of its shares.
    func hearShares(_ renewal: Renewal, of node: NodeName, _ now: Instant) {
        let isSound = self.sharing.hear(renewal, of: node, self.machine, now: now)
        if !isSound { self.metrics.peerError("shares") }
    }

    func renewalAnswer(to session: SessionID, sentAt: Instant) -> RenewalAnswer {
        let now = SystemClock.bootTime()
        // Not by the limit of the leader before: its settings are about to be replaced.
        let isSettled = self.newSettings == nil
        let limit = isSettled ? self.clusterSettings.connectionsPerDestination : nil
        if self.sharing.plan(self.machine, limit: limit, now: now) {
            self.sharing.planned(from: now, to: SystemClock.bootTime())
        }
        return self.sharing.answer(to: session, sentAt: sentAt, self.machine, now: now)
    }

    /// The leader's own session takes the same way, without a link.
    func answerOwnRenewal(_ session: SessionID, sentAt: Instant) {
        let renewal = self.renewal(of: session, sentAt: sentAt)
        self.hearShares(renewal, of: self.identity.node, SystemClock.bootTime())
        self.renewed(self.renewalAnswer(to: session, sentAt: sentAt))
    }
}
