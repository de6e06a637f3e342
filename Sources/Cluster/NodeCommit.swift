// NodeCommit.swift - proposals go into the log, committed entries come back to be applied.
//
// Order     1 results are told (a session writes its 250), 2 leases of the same turn are handed
//           to Delivery, 3 the leader looks for more work. So no delivery starts before its 250.
// Durable   an entry counts for this member only when the journal has synced it; a result is told
//           when its entry is committed and applied.

import Logging
import MailQueue
package import NIOCore
import Networking
import Primitives
import Raft
import SMTP
import Spool
import Storage
import Synchronization

extension Node {
    /// Sends a command of the own session to the leader's log, under a tag drawn before. On the
    /// node's loop.
    func propose(_ tag: Tag, _ action: Command.Action, _ purpose: Purpose) {
        self.loop.preconditionInEventLoop()
        guard self.machine.submit(tag, action) else {
            self.answer(purpose, .refused(.sessionClosed))
            return
        }
        self.waiters.insert(
            Waiter(proposedAt: SystemClock.bootTime(), purpose: purpose), at: tag.sequence)
        self.planTurn()
    }

    /// What a leader authors by itself; without room for it now, it is due again later.
    func proposeAsLeader(_ command: Command) {
        if self.machine.propose(command, at: self.clocks) != nil { self.planTurn() }
    }

    var clocks: Clocks { Clocks(now: SystemClock.bootTime(), wall: self.wallClock()) }

    /// A turn when what the loop is at has been done: all that is proposed till then is stored in
    /// one write, and acknowledged at once.
    func planTurn() {
        guard !self.isTurning, !self.isTurnPlanned else { return }
        self.isTurnPlanned = true
        self.loop.execute {
            self.isTurnPlanned = false
            self.turn()
        }
    }

    /// What is appended to the journal without an entry is written when what the loop is at has
    /// been done: all bodies that came in one look at the sockets are synced at once.
    func flushSoon() {
        self.isFlushWanted = true
        self.planTurn()
    }

    /// A command of the own session.
    func propose(_ action: Command.Action, _ purpose: Purpose) {
        guard let tag = self.machine.drawTag() else {
            self.answer(purpose, .refused(.sessionClosed))
            return
        }
        self.propose(tag, action, purpose)
    }

    /// The journal is durable up to `position`. From the writer thread.
    func journalProgressed(to position: UInt64) {
        self.shared.durable.store(position, ordering: .releasing)
        if !self.shared.drainScheduled.exchange(true, ordering: .acquiringAndReleasing) {
            self.loop.execute { self.drain() }
        }
    }

    /// Tells the machine what has become durable.
    func drain() {
        // An exchange, not a store: what the writer stored before it saw `true` is seen below.
        _ = self.shared.drainScheduled.exchange(false, ordering: .acquiringAndReleasing)
        let durable = self.shared.durable.load(ordering: .acquiring)
        var ticket: UInt64?
        while let first = self.stores.first, first.position <= durable {
            ticket = first.ticket
            self.durableTerm = first.term ?? self.durableTerm
            _ = self.stores.popFirst()
            if let snapshot = first.installs { self.installed(snapshot) }
        }
        if let ticket { self.machine.stored(upTo: ticket) }
        self.bodiesDurable(upTo: durable)
        self.turn()
        self.dispatch()
    }

    /// Carries out what the machine asks for, until it asks for nothing more.
    func turn() {
        // What is proposed on the way is taken up by the turn that is under way.
        guard !self.isTurning, !self.hasFailed else { return }
        self.isTurning = true
        var news = News()
        while true {
            self.machine.turn(&self.actions, at: self.clocks)
            if self.actions.isEmpty { break }
            for action in self.actions { self.carryOut(action, &news) }
            self.machine.recycle(&self.actions)
            self.doDuties()
        }
        if self.mesh != nil { self.sendPosts() }
        if self.isFlushWanted {
            self.isFlushWanted = false
            self.storage.flush()
        }
        self.compactLog()
        self.checkQuota()
        self.isTurning = false
        if !news.foreign.isEmpty || !news.work.isEmpty {
            self.deliverVerdicts(news.foreign, news.work)
        }
        self.goOn()
    }

    /// What a turn has brought for others.
    struct News {
        var work: [LeasedWork] = []
        var foreign: [ForeignVerdict] = []
    }

    private func carryOut(_ action: Replica.Action, _ news: inout News) {
        switch action {
        case .store(let request):
            if self.followerLag.wantsMark { self.markLag(request) }
            self.store(request)
        case .apply(let entries, let applied):
            for entry in entries where !self.hasFailed { self.apply(entry, &news) }
            if self.hasFailed { return }
            self.machine.appliedAll(applied)
        case .send(let message): self.send(message)
        case .readable(let read): self.machine.proved(read)
        case .changed(let state): self.leaderChanged(state)
        }
    }

    private func apply(_ entry: Entry, _ news: inout News) {
        self.effects.removeAll(keepingCapacity: true)
        self.checkpoint.bytes += UInt64(entry.data.count)
        // What a start reads again has had its effects; what is to be done follows from the state.
        let session = self.machine.session
        let applied: (entry: LogEntry, result: CommandResult)?
        do {
            applied = try self.machine.apply(entry, effects: &self.effects)
        } catch {
            return self.cannotRead(entry, error)
        }
        if session == .none { self.effects.removeAll(keepingCapacity: true) }
        if let applied, Repairs.isPlanned(after: applied.entry.command.action) {
            self.planRepairsSoon()
        }
        defer { if let applied { self.compareState(at: applied.entry.command) } }
        if let applied, let origin = applied.entry.command.origin, origin.session == session,
            let waiter = self.waiters.remove(origin.sequence)
        {
            self.settle(waiter, applied.result, SystemClock.bootTime(), &news)
        } else {
            self.actOnEffects(&news)
        }
        if self.phase == .opening || self.isReopening, let result = self.machine.takeOpening() {
            self.sessionOpened(result)
        }
        if session != .none, self.machine.session == .none { self.sessionClosed() }
    }

    /// A leader of a later version has written it. Nothing may be skipped, so nothing more is
    /// applied here: the process ends, with what to do about it.
    private func cannotRead(_ entry: Entry, _ error: CodecError) {
        self.hasFailed = true
        self.logger.critical(
            "a committed command cannot be read",
            metadata: ["index": "\(entry.index)", "error": "\(error)"])
        self.fault(.unknownFormat(file: "Entry \(entry.index) of the log"))
    }

    /// A verdict for a session on another loop.
    struct ForeignVerdict: Sendable {
        var body: NIOLoopBound<IncomingBody>
        var loop: any EventLoop
        var verdict: IntakeVerdict
    }

    /// Hands out the verdicts of other loops, then the leases: a lease must not be attempted
    /// before its 250 has been written, so the leases take the way over those loops.
    func deliverVerdicts(_ foreign: [ForeignVerdict], _ work: [LeasedWork]) {
        guard let taker = self.taker else { unreachable("a node is started without a taker") }
        if self.isSeveral { self.wishForShares(work) }
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
        let cancels = self.cancelCount
        EventLoopFuture.andAllComplete(done, on: self.loop).whenComplete { _ in
            let work = cancels == self.cancelCount ? work : self.exceptWithheld(work)
            if !work.isEmpty { taker.take(work) }
        }
    }

    /// A session may have told its client no while the verdict came to it. Then the Cancel is under
    /// way, or has ended the lease already.
    private func exceptWithheld(_ work: [LeasedWork]) -> [LeasedWork] {
        work.filter { item in
            guard case .delivery(let delivery) = item else { return true }
            guard self.withheld[delivery.id.message] == nil else {
                self.withheld[delivery.id.message]?.append(delivery.id)
                return false
            }
            return self.machine.queue.holder(of: delivery.id) == delivery.session
        }
    }

    /// Tells who waits for an entry, and collects the leases that it brought this node.
    func settle(
        _ waiter: Waiter, _ result: CommandResult, _ now: Instant, _ news: inout News
    ) {
        switch waiter.purpose {
        case .submission(let submission, let body, let tag):
            let verdict: IntakeVerdict
            if case .enqueued = result {
                verdict = .accepted(tag)
                self.rates.accepted.add()
                if let body, self.delivers { self.recentBodies.insert(tag, body) }
            } else {
                // Not a fault: the session was closed meanwhile, or a holder is a member no more.
                self.logger.notice(
                    "a message is refused by the queue",
                    metadata: ["id": "\(tag.text)", "result": "\(result)"])
                verdict = .refused(.noLeader)
            }
            if let bound = submission.body, let loop = submission.loop {
                if loop === self.loop {
                    bound.value.decide(verdict)
                } else {
                    news.foreign.append(
                        ForeignVerdict(body: bound, loop: loop, verdict: verdict))
                }
            }
            self.metrics.committed(in: now - waiter.proposedAt)
        // Its Cancel is under way, and decides.
        case .givenUp: break
        case .cancel(let tag): self.handOutWithheld(tag, &news.work)
        case .answer(let callback): callback(result)
        case .nothing: break
        }
        self.actOnEffects(&news)
    }

    /// The Cancel has its result: what is still leased here goes on, it had begun before.
    private func handOutWithheld(_ tag: Tag, _ work: inout [LeasedWork]) {
        for delivery in self.withheld.removeValue(forKey: tag) ?? []
        where self.machine.queue.holder(of: delivery) == self.machine.session {
            if let leased = self.leasedDelivery(delivery) { work.append(.delivery(leased)) }
        }
    }

    /// A lease of the own session is there: to be attempted, unless a Cancel is under way.
    func handOut(_ delivery: DeliveryID, _ work: inout [LeasedWork]) {
        if self.withheld[delivery.message] != nil {
            self.withheld[delivery.message]?.append(delivery)
        } else if let leased = self.leasedDelivery(delivery) {
            work.append(.delivery(leased))
        }
    }

    private func actOnEffects(_ news: inout News) {
        for effect in self.effects { self.act(on: effect, &news.work) }
    }

    /// What an applied entry asks this node to do.
    private func act(on effect: Effect, _ work: inout [LeasedWork]) {
        switch effect {
        case .leased(let delivery, let session):
            guard session == self.machine.session else { return }
            self.handOut(delivery, &work)
        case .reportLeased(let report, let session):
            guard session == self.machine.session else { return }
            if let leased = self.leasedReport(report) { work.append(.report(leased)) }
        case .messageFinished(let tag):
            self.recentBodies.remove(tag)
            if !self.lostBodies.isEmpty { self.lostBodies.remove(tag) }
            self.storage.hintEnded(tag)
            self.hintCopyEnded(tag)
        case .possibleDuplicates(let cause, let count): self.metrics.duplicates(cause, count)
        case .recipientsFailed(_, let count): self.rates.bounced.add(Int(count))
        case .sessionOpened, .sessionClosed, .leaseEnded: break
        }
    }

    /// An answer to a command that never reached the log.
    func answer(_ purpose: Purpose, _ result: CommandResult) {
        switch purpose {
        case .submission(let submission, _, _):
            if let bound = submission.body, let loop = submission.loop {
                loop.execute { bound.value.decide(.refused(.noLeader)) }
            }
        case .answer(let callback): callback(result)
        case .givenUp, .cancel, .nothing: break
        }
    }
}
