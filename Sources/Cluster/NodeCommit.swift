// NodeCommit.swift - proposals go into the journal, durable entries come back to be applied.
//
// Order     1 results are told (a session writes its 250), 2 leases of the same batch are handed
//           to Delivery, 3 the leader looks for more work. So no delivery starts before its 250.

import MailQueue
package import NIOCore
import Networking
import Primitives
import SMTP
import Spool
import Storage
import Synchronization

extension Node {
    /// Puts a command into the log. On the node's loop.
    func propose(_ command: Command, _ purpose: Purpose) {
        self.loop.preconditionInEventLoop()
        let now = SystemClock.bootTime()
        let entry = self.machine.propose(command, now: now, wall: SystemClock.wallTime())
        self.writer.bytes.removeAll(keepingCapacity: true)
        entry.encode(into: &self.writer)
        let position = self.storage.appendEntry(
            index: entry.index, term: entry.term, self.writer.bytes)
        self.waiters.append(Waiter(position: position, proposedAt: now, purpose: purpose))
    }

    /// A command of the own session.
    func propose(_ action: Command.Action, _ purpose: Purpose) {
        guard let tag = self.machine.drawTag() else {
            self.answer(purpose, .refused(.sessionClosed))
            return
        }
        self.propose(self.machine.command(tag, action), purpose)
    }

    /// The journal is durable up to `position`. From the writer thread.
    func journalProgressed(to position: UInt64) {
        self.shared.durable.store(position, ordering: .releasing)
        if !self.shared.drainScheduled.exchange(true, ordering: .acquiringAndReleasing) {
            self.loop.execute { self.drain() }
        }
    }

    /// Applies what has become durable.
    func drain() {
        // An exchange, not a store: what the writer stored before it saw `true` is seen below.
        _ = self.shared.drainScheduled.exchange(false, ordering: .acquiringAndReleasing)
        let durable = self.shared.durable.load(ordering: .acquiring)
        var work: [LeasedWork] = []
        var foreign: [ForeignVerdict] = []
        let now = SystemClock.bootTime()
        while let waiter = self.waiters.first, waiter.position <= durable {
            _ = self.waiters.popFirst()
            self.effects.removeAll(keepingCapacity: true)
            let (_, result) = self.machine.applyNext(effects: &self.effects)
            self.settle(waiter, result, now, &work, &foreign)
        }
        self.checkQuota()
        self.deliverVerdicts(foreign, work)
        self.dispatch()
    }

    /// A verdict for a session on another loop.
    struct ForeignVerdict: Sendable {
        var body: NIOLoopBound<IncomingBody>
        var loop: any EventLoop
        var verdict: IntakeVerdict
    }

    /// Hands out the verdicts of other loops, then the leases: a lease must not be attempted
    /// before its 250 has been written, so the leases take the way over those loops.
    private func deliverVerdicts(_ foreign: [ForeignVerdict], _ work: [LeasedWork]) {
        guard let taker = self.taker else { unreachable("a node is started without a taker") }
        guard !foreign.isEmpty else {
            if !work.isEmpty { taker.take(work) }
            return
        }
        var byLoop: [[ForeignVerdict]] = []
        for verdict in foreign {
            if let place = byLoop.firstIndex(where: { $0[0].loop === verdict.loop }) {
                byLoop[place].append(verdict)
            } else {
                byLoop.append([verdict])
            }
        }
        let done = byLoop.map { group in
            group[0].loop.submit {
                for one in group { one.body.value.decide(one.verdict) }
            }
        }
        guard !work.isEmpty else { return }
        EventLoopFuture.andAllComplete(done, on: self.loop).whenComplete { _ in taker.take(work) }
    }

    /// Tells who waits for an entry, and collects the leases that it brought this node.
    private func settle(
        _ waiter: Waiter, _ result: CommandResult, _ now: Instant, _ work: inout [LeasedWork],
        _ foreign: inout [ForeignVerdict]
    ) {
        switch waiter.purpose {
        case .submission(let submission, let body, let tag):
            let verdict: IntakeVerdict
            if case .enqueued = result {
                verdict = .accepted(tag)
                self.rates.accepted.add()
                if let body, self.delivers { self.recentBodies.insert(tag, body) }
            } else {
                verdict = .refused(.noLeader)
            }
            if let bound = submission.body, let loop = submission.loop {
                if loop === self.loop {
                    bound.value.decide(verdict)
                } else {
                    foreign.append(ForeignVerdict(body: bound, loop: loop, verdict: verdict))
                }
            }
            self.metrics.committed(in: now - waiter.proposedAt)
        case .givenUp(let tag):
            // The client was told no: nobody gets the leases of this entry, the Cancel ends them.
            if case .enqueued = result { self.propose(.cancel(tag), .nothing) }
            self.effects.removeAll { if case .leased = $0 { true } else { false } }
        case .grant: self.grantsInFlight -= 1
        case .answer(let callback): callback(result)
        case .nothing: break
        }
        for effect in self.effects { self.act(on: effect, &work) }
    }

    /// What an applied entry asks this node to do.
    private func act(on effect: Effect, _ work: inout [LeasedWork]) {
        switch effect {
        case .leased(let delivery, let session):
            guard session == self.machine.session else { return }
            if let leased = self.leasedDelivery(delivery) { work.append(.delivery(leased)) }
        case .reportLeased(let report, let session):
            guard session == self.machine.session else { return }
            if let leased = self.leasedReport(report) { work.append(.report(leased)) }
        case .messageFinished(let tag):
            self.recentBodies.remove(tag)
            if !self.lostBodies.isEmpty { self.lostBodies.remove(tag) }
            self.storage.hintEnded(tag)
        case .possibleDuplicates(let cause, let count): self.metrics.duplicates(cause, count)
        case .recipientsFailed(_, let count): self.rates.bounced.add(Int(count))
        case .sessionOpened, .sessionClosed, .leaseEnded: break
        }
    }

    /// An answer to a command that never reached the log.
    private func answer(_ purpose: Purpose, _ result: CommandResult) {
        switch purpose {
        case .submission(let submission, _, _):
            if let bound = submission.body, let loop = submission.loop {
                loop.execute { bound.value.decide(.refused(.noLeader)) }
            }
        case .answer(let callback): callback(result)
        case .grant: self.grantsInFlight -= 1
        case .givenUp, .nothing: break
        }
    }
}
