// SimDelivery.swift - the way out of one process: leased work, attempts, verdicts.
//
// Like      DeliveryService, Settlement, Reporter and the order of ClientConnection: connect, body,
//           recipients, content, the guarded final dot, the reply.

import Cluster
import MailQueue
import Primitives
import SMTP
import Spool

enum SimWork {
    case delivery(DeliveryWork, SessionID)
    case report(ReportWork, SessionID)
}

/// One transaction with a simulated server.
final class SimAttempt {
    let work: DeliveryWork
    let session: SessionID
    /// The process ended then; what its kernel held is gone.
    var cutAt: Int64?
    var verdicts: [(UInt16, Verdict)] = []
    /// Recipients that the server has taken, by their index.
    var taken: [UInt16] = []
    var isOver = false
    /// The final dot is written.
    var isBehindDot = false
    /// The content was read: the transaction has begun.
    var hasContent = false

    init(_ work: DeliveryWork, _ session: SessionID) {
        self.work = work
        self.session = session
    }
}

final class SimDelivery {
    unowned var node: SimNode!
    private var waiting: [(work: DeliveryWork, session: SessionID)] = []
    private(set) var running: [SimAttempt] = []
    var ledger = ShareLedger()
    /// Destinations of waiting work without a connection and without a share, and since when.
    private var shareless: [(destination: String, since: Instant)] = []
    private var isStopping = false

    private var world: SimWorld { self.node.world }

    func reset() {
        self.ledger = ShareLedger()
        self.isStopping = false
        self.shareless = []
        self.waiting = []
        self.running = []
    }

    func processEnded() {
        for attempt in self.running {
            attempt.cutAt = self.world.now
            self.world.truth.connectionEnded(attempt.work.destination, of: self.node)
        }
        self.running = []
        self.waiting = []
    }

    func take(_ work: [SimWork]) {
        for item in work {
            switch item {
            case .delivery(let work, let session): self.waiting.append((work, session))
            case .report(let work, let session): self.compose(work, session)
            }
        }
        if self.isStopping { self.giveBackWaiting() }
        self.pump()
    }

    /// See `LeaseStanding`.
    private var mayBegin: Bool { self.node.leaseClock.mayBegin(at: self.node.clock) }

    func pump() {
        guard self.mayBegin, !self.isStopping else { return }
        let session = self.node.machine.session
        self.waiting.removeAll { $0.session != session }
        var at = 0
        while at < self.waiting.count, self.running.count < self.world.scenario.connections {
            if self.ledger.take(self.waiting[at].work.destination) {
                let (work, session) = self.waiting.remove(at: at)
                self.begin(SimAttempt(work, session))
            } else {
                at += 1
            }
        }
    }

    /// Like `releaseIfShareless`: leases for which there is no share go back after T.
    func tick() {
        self.pump()
        let now = self.node.clock
        var names: [String] = []
        for (work, _) in self.waiting where !names.contains(work.destination) {
            let name = work.destination
            guard self.ledger.share(of: name) == 0,
                !self.running.contains(where: { $0.work.destination == name })
            else { continue }
            names.append(name)
        }
        self.shareless.removeAll { !names.contains($0.destination) }
        for name in names where !self.shareless.contains(where: { $0.destination == name }) {
            self.shareless.append((name, now))
        }
        for (name, since) in self.shareless where now - since >= self.node.machine.timing.term {
            self.world.counters[.shareless] += 1
            self.giveBackWaiting(of: name)
        }
    }

    /// - Parameter destination: nil: all.
    private func giveBackWaiting(of destination: String? = nil) {
        let session = self.node.machine.session
        func isMeant(_ work: DeliveryWork) -> Bool {
            destination.map { $0 == work.destination } ?? true
        }
        let own = self.waiting.filter { isMeant($0.work) && $0.session == session }.map(\.work.id)
        self.waiting.removeAll { isMeant($0.work) }
        if !own.isEmpty { self.node.propose(.release(deliveries: own, reports: []), .nothing) }
    }

    /// The leases have lapsed; Delivery's loops are threads of their own.
    func cutConnections(sparesVerdicts: Bool) {
        self.later(0, 5) {
            for attempt in self.running where !sparesVerdicts || !attempt.isBehindDot {
                self.cut(attempt)
            }
        }
    }

    /// What has not begun goes back; the rest may end within `nanos`, then it is cut.
    func stop(within nanos: Int64, _ ended: @escaping () -> Void) {
        self.isStopping = true
        self.giveBackWaiting()
        for attempt in self.running where !attempt.hasContent { self.release(attempt) }
        self.endIfDone(by: self.world.now + nanos, ended)
    }

    private func endIfDone(by deadline: Int64, _ ended: @escaping () -> Void) {
        if self.world.now >= deadline {
            for attempt in self.running { self.cut(attempt) }
        }
        guard !self.running.isEmpty else { return ended() }
        self.later(5, 20) { self.endIfDone(by: deadline, ended) }
    }

    private func cut(_ attempt: SimAttempt) {
        if attempt.isBehindDot {
            _ = self.end(attempt)
            self.world.counters[.abandoned] += 1
            self.node.abandon(attempt.session)
        } else {
            self.release(attempt)
        }
        attempt.cutAt = self.world.now
    }

    private func later(_ least: Int64, _ most: Int64, _ body: @escaping () -> Void) {
        self.world.after(
            self.world.draw(least, most) * SimWorld.millisecond, on: self.node, body)
    }

    // MARK: One attempt.

    private func begin(_ attempt: SimAttempt) {
        self.running.append(attempt)
        self.world.counters[.attempts] += 1
        let destination = attempt.work.destination
        self.world.truth.connectionBegan(destination, of: self.node)
        self.later(1, 60) {
            guard !attempt.isOver else { return }
            guard !self.world.servers.refuses(destination) else {
                return self.suspend(attempt)
            }
            if self.node.machine.queue.remembersSuspension(of: destination) {
                self.node.propose(.clearSuspension(destination: destination), .nothing)
            }
            self.readBody(attempt)
        }
    }

    private func readBody(_ attempt: SimAttempt) {
        let tag = attempt.work.id.message
        guard self.node.machine.queue.holders(of: tag) != nil else {
            return self.release(attempt)
        }
        self.node.readBody(tag) { body in
            guard !attempt.isOver else { return }
            guard let body else {
                let reply = Reply(451, EnhancedCode(4, 3, 0), "the message cannot be read now")
                attempt.verdicts = attempt.work.recipients.map {
                    ($0.index, Verdict(.deferred, reply))
                }
                return self.settle(attempt)
            }
            attempt.hasContent = true
            self.world.truth.read(tag, body)
            self.later(1, 40) { self.recipients(attempt) }
        }
    }

    private func recipients(_ attempt: SimAttempt) {
        guard !attempt.isOver else { return }
        for entry in attempt.work.recipients {
            let reply = self.world.servers.recipient(
                attempt.work.destination, entry.recipient.address)
            switch reply.code / 100 {
            case 2: attempt.taken.append(entry.index)
            case 4: attempt.verdicts.append((entry.index, Verdict(.deferred, reply)))
            case _: attempt.verdicts.append((entry.index, Verdict(.failed, reply)))
            }
        }
        guard !attempt.taken.isEmpty else { return self.settle(attempt) }
        let (least, most, isLost) = self.world.servers.content(attempt.work.destination)
        self.later(least, most) {
            guard !attempt.isOver else { return }
            if isLost { return self.unknown(attempt) }
            self.approachDot(attempt)
        }
    }

    private func approachDot(_ attempt: SimAttempt) {
        guard self.mayFinish(attempt) else {
            self.world.counters[.fenced] += 1
            return self.release(attempt)
        }
        let checkedAt = self.world.now
        self.world.after(self.world.draw(0, SimWorld.millisecond), on: self.node) {
            self.writeDot(attempt, checkedAt: checkedAt)
        }
    }

    private func writeDot(_ attempt: SimAttempt, checkedAt: Int64) {
        guard !attempt.isOver else { return }
        attempt.isBehindDot = true
        let world = self.world
        let guardNanos = LeaseClock.guardTime.inNanoseconds
        let id = attempt.work.id
        world.counters[.dots] += 1
        world.truth.dotWritten(
            id, of: attempt.session, by: self.node, until: world.now + guardNanos,
            isExcused: world.now - checkedAt > guardNanos)
        let delay = world.servers.dotDelay()
        // The kernel gives up what is not acknowledged in time.
        guard delay <= guardNanos else {
            let node = self.node!
            world.after(guardNanos) { world.truth.dotGone(id, of: node) }
            world.after(guardNanos, on: node) { self.unknown(attempt) }
            return
        }
        let node = self.node!
        world.after(delay) {
            world.truth.dotGone(id, of: node)
            if let cutAt = attempt.cutAt, world.now > cutAt + 50 * SimWorld.millisecond { return }
            self.arrived(attempt, node, node.epoch)
        }
    }

    /// The server has the whole message.
    private func arrived(_ attempt: SimAttempt, _ node: SimNode, _ epoch: UInt32) {
        let world = self.world
        let answer = world.servers.verdict(attempt.work.destination)
        if answer.isStored {
            world.truth.arrived(
                attempt.work.id.message, attempt.taken, isSaid: answer.reply != nil, node)
        }
        guard attempt.cutAt == nil else { return }
        world.after(answer.wait, on: node) {
            guard let reply = answer.reply else { return self.unknown(attempt) }
            let kind: Verdict.Kind =
                switch reply.code / 100 {
                case 2: .delivered
                case 4: .deferred
                case _: .failed
                }
            for index in attempt.taken { attempt.verdicts.append((index, Verdict(kind, reply))) }
            self.settle(attempt)
        }
    }

    private func unknown(_ attempt: SimAttempt) {
        let reply = Reply(451, EnhancedCode(4, 4, 2), "the connection was lost")
        for index in attempt.taken {
            attempt.verdicts.append((index, Verdict(.deferred, reply)))
        }
        self.settle(attempt)
    }

    // MARK: The desk.

    /// Whether the final dot may be sent now.
    private func mayFinish(_ attempt: SimAttempt) -> Bool {
        attempt.session == self.node.machine.session
            && self.node.leaseClock.mayFinish(at: self.node.clock)
    }

    private func settle(_ attempt: SimAttempt) {
        guard self.end(attempt) else { return }
        let action = Command.Action.outcome(
            Outcome(
                delivery: attempt.work.id, attempt: attempt.work.attempt,
                lines: attempt.verdicts.map { Outcome.Line(recipient: $0.0, verdict: $0.1) },
                endsLease: true))
        if attempt.session != self.node.machine.session {
            self.node.machine.submitFact(action)
            self.node.isTurnPlanned = true
        } else if let tag = self.node.machine.drawTag() {
            self.node.note(tag, action)
            self.node.propose(tag, action, .nothing)
        }
        self.pump()
    }

    private func release(_ attempt: SimAttempt) {
        guard self.end(attempt) else { return }
        if attempt.session == self.node.machine.session {
            self.node.propose(.release(deliveries: [attempt.work.id], reports: []), .nothing)
        }
        self.pump()
    }

    private func suspend(_ attempt: SimAttempt) {
        guard self.end(attempt) else { return }
        let destination = attempt.work.destination
        let session = self.node.machine.session
        let own = self.waiting.filter {
            $0.work.destination == destination && $0.session == session
        }
        let unbegun =
            (attempt.session == session ? [attempt.work.id] : []) + own.map(\.work.id)
        self.waiting.removeAll { $0.work.destination == destination }
        let reply = Reply(451, EnhancedCode(4, 4, 1), "no host could be reached")
        self.node.propose(.suspend(destination: destination, reply: reply), .nothing)
        self.node.propose(.release(deliveries: unbegun, reports: []), .nothing)
        self.pump()
    }

    private func end(_ attempt: SimAttempt) -> Bool {
        guard !attempt.isOver, attempt.cutAt == nil else { return false }
        attempt.isOver = true
        self.running.removeAll { $0 === attempt }
        self.ledger.giveBack(attempt.work.destination)
        self.world.truth.connectionEnded(attempt.work.destination, of: self.node)
        return true
    }

    // MARK: Reports.

    private func compose(_ work: ReportWork, _ session: SessionID) {
        let toSender = work.content.kind == .sender
        let recipient = toSender ? work.original.sender : "postmaster@d0"
        self.later(1, 30) {
            guard !recipient.isEmpty else {
                return self.node.propose(.waiveReport(work.id), .nothing)
            }
            self.node.readBody(work.id.message) { _ in
                self.world.counters[.reports] += 1
                self.node.enqueue(
                    SimSubmission(
                        report: work.id, to: recipient, content: self.world.truth.nextContent()),
                    report: work.id)
            }
        }
    }
}
