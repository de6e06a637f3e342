// SimNode+Shares.swift - shares of destinations' connections: the driver of the ShareKeeper.
//
// Like      NodeShares.

import Cluster
import MailQueue
import Primitives
import Spool

extension SimNode {
    // MARK: Held.

    func renewal(of session: SessionID, _ sentAt: Instant) -> Renewal {
        let term = self.machine.term
        return self.sharing.renewal(of: session, sentAt: sentAt, term: term) {
            self.courierOut.ledger.report(isFull: $0)
        }
    }

    func takeShares(_ answer: RenewalAnswer) {
        let now = self.clock
        guard self.sharing.take(answer, self.leaseClock.timing, now: now) else { return }
        self.world.counters[.shareTables] += 1
        self.courierOut.ledger.use(self.sharing.table)
        self.courierOut.pump()
        self.askNow(now)
    }

    func lapseShares() {
        if self.sharing.lapse() { self.carryOut(.lapse, self.clock) }
    }

    func wishForShares(_ work: [SimWork]) {
        let destinations = work.lazy.compactMap { item in
            if case .delivery(let delivery, _) = item { delivery.destination } else { nil }
        }
        let ledger = self.courierOut.ledger
        self.sharing.leased(destinations, now: self.clock) { ledger.share(of: $0) == 0 }
    }

    func abandon(_ session: SessionID) {
        self.sharing.abandon(session, own: self.machine.session)
    }

    var mayRenew: Bool { self.sharing.mayRenew(self.machine.session) }

    private func askNow(_ now: Instant) {
        guard self.mayRenew else { return }
        self.machine.renew(now: now)
        self.isTurnPlanned = true
    }

    func tickShares() {
        let (now, lapsesAt) = (self.clock, self.leaseClock.lapsesAt)
        for action in self.sharing.tick(self.machine, lapsesAt: lapsesAt, now: now) {
            self.carryOut(action, now)
        }
    }

    private func carryOut(_ action: ShareKeeper.Action, _ now: Instant) {
        switch action {
        case .lapse:
            self.world.counters[.lapses] += 1
            self.courierOut.ledger.use(self.sharing.table)
            self.courierOut.cutConnections(sparesVerdicts: true)
        case .end: self.courierOut.cutConnections(sparesVerdicts: false)
        case .ask: self.askNow(now)
        }
    }

    // MARK: Dealt.

    func hearShares(_ renewal: Renewal, of peer: Int) {
        self.world.check(
            11, self.sharing.hear(renewal, of: "n\(peer)", self.machine, now: self.clock),
            "\(self.name) refuses what n\(peer) says of its shares")
    }

    func renewalAnswer(to session: SessionID, _ sentAt: Instant) -> RenewalAnswer {
        let now = self.clock
        let settings = self.world.scenario.settings
        let isSettled = self.machine.queue.settings == settings
        let limit = isSettled ? settings.connectionsPerDestination : nil
        if self.sharing.plan(self.machine, limit: limit, now: now) {
            // In this world a look takes no time.
            self.sharing.planned(from: now, to: now)
        }
        return self.sharing.answer(to: session, sentAt: sentAt, self.machine, now: now)
    }

    func answerOwnRenewal(_ session: SessionID, _ sentAt: Instant) {
        let renewal = self.renewal(of: session, sentAt)
        self.hearShares(renewal, of: self.place)
        self.renewed(self.renewalAnswer(to: session, sentAt))
    }
}
