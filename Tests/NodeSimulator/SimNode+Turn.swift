// SimNode+Turn.swift - proposals go into the log, committed entries come back to be applied.
//
// Like      NodeCommit, NodeStart's second half, NodeUpkeep, NodeCheckpoint.

import Cluster
import MailQueue
import Primitives
import Raft
import Spool

extension SimNode {
    // MARK: Commands.

    func propose(_ tag: Tag, _ action: Command.Action, _ purpose: Purpose) {
        guard self.machine.submit(tag, action) else {
            self.answer(purpose, .refused(.sessionClosed))
            return
        }
        let waiter = Waiter(number: tag.sequence, proposedAt: self.clock, purpose: purpose)
        let at = self.waiters.firstIndex { $0.number > tag.sequence } ?? self.waiters.count
        self.waiters.insert(waiter, at: at)
        self.isTurnPlanned = true
    }

    func propose(_ action: Command.Action, _ purpose: Purpose) {
        guard let tag = self.machine.drawTag() else {
            self.answer(purpose, .refused(.sessionClosed))
            return
        }
        self.propose(tag, action, purpose)
    }

    func proposeAsLeader(_ command: Command) {
        if self.machine.propose(command, at: self.clocks) != nil { self.isTurnPlanned = true }
    }

    /// An answer to a command that never reached the log.
    func answer(_ purpose: Purpose, _ result: CommandResult) {
        switch purpose {
        case .submission(let submission, _): self.decide(submission, nil)
        case .answer(let callback): callback(result)
        case .givenUp, .cancel, .nothing: break
        }
    }

    /// Writes the reply; nil: 451.
    func decide(_ submission: SimSubmission, _ tag: Tag?) {
        guard !submission.isRefused else {
            if let tag { self.takeBack(tag) }
            return
        }
        if let tag { self.world.truth.accepted(tag, submission, by: self) }
        submission.client?.answered(submission, tag != nil)
    }

    // MARK: The journal.

    func sync() {
        guard !self.isSyncing, self.disk.end > self.disk.durable else { return }
        self.isSyncing = true
        let target = self.disk.end
        let scenario = self.world.scenario
        var nanos = self.world.draw(scenario.syncLeast, scenario.syncMost)
        if self.world.stall(self.place) {
            nanos = self.world.magnitude(50 * SimWorld.millisecond, 5 * SimWorld.second)
        }
        let epoch = self.epoch
        // The disk goes on while the process stands still.
        self.world.after(nanos) {
            guard self.isRunning, self.epoch == epoch else { return }
            self.disk.synced(to: target)
            self.happen(epoch) {
                self.isSyncing = false
                self.sync()
                self.drain()
            }
        }
    }

    func drain() {
        var ticket: UInt64?
        while let first = self.stores.first, first.position <= self.disk.durable {
            ticket = first.ticket
            self.stores.removeFirst()
            if let snapshot = first.installs {
                var news = News()
                self.installed(snapshot, &news)
                if !news.work.isEmpty { self.courierOut.take(news.work) }
            }
        }
        if let ticket { self.machine.stored(upTo: ticket) }
        self.bodiesDurable()
        self.turn()
        self.dispatch()
    }

    // MARK: Turns.

    struct News {
        var work: [SimWork] = []
    }

    func turn() {
        guard !self.isTurning else { return }
        self.isTurning = true
        var news = News()
        while true {
            self.machine.turn(&self.actions, at: self.clocks)
            if self.actions.isEmpty { break }
            for action in self.actions { self.carryOut(action, &news) }
            self.machine.recycle(&self.actions)
            self.doDuties()
        }
        self.sendPosts()
        self.compactLog()
        self.isTurning = false
        if !news.work.isEmpty {
            self.wishForShares(news.work)
            self.courierOut.take(news.work)
        }
        self.goOn()
        self.sync()
    }

    private func carryOut(_ action: Replica.Action, _ news: inout News) {
        switch action {
        case .store(let request):
            self.store(request)
        case .apply(let entries, let applied):
            for entry in entries { self.apply(entry, &news) }
            self.machine.appliedAll(applied)
        case .send(let message): self.send(message)
        case .readable(let read): self.machine.proved(read)
        case .changed(let state):
            if state.leader == .none {
                self.leaderlessSince = self.leaderlessSince ?? self.clock
            } else {
                self.leaderlessSince = nil
            }
        }
    }

    private func apply(_ entry: Entry, _ news: inout News) {
        self.effects.removeAll(keepingCapacity: true)
        let session = self.machine.session
        let applied: (entry: LogEntry, result: CommandResult)?
        do {
            applied = try self.machine.apply(entry, effects: &self.effects)
        } catch {
            self.world.fail(7, "a command of ours cannot be read: \(error)")
            return
        }
        self.world.truth.applied(self, entry, applied?.result)
        if session == .none { self.effects.removeAll(keepingCapacity: true) }
        if let applied, Repairs.isPlanned(after: applied.entry.command.action) {
            self.planRepairsSoon()
        }
        if let applied, let origin = applied.entry.command.origin, origin.session == session,
            let at = self.waiters.firstIndex(where: { $0.number == origin.sequence })
        {
            self.settle(self.waiters.remove(at: at), applied.result, &news)
        } else {
            self.actOnEffects(&news)
        }
        if self.phase == .opening || self.isReopening, let result = self.machine.takeOpening() {
            self.sessionOpened(result)
        }
        if session != .none, self.machine.session == .none { self.sessionClosed() }
    }

    func settle(_ waiter: Waiter, _ result: CommandResult, _ news: inout News) {
        switch waiter.purpose {
        case .submission(let submission, let tag):
            if case .enqueued = result {
                self.decide(submission, tag)
            } else {
                self.decide(submission, nil)
            }
        case .givenUp: break
        case .cancel(let tag): self.handOutWithheld(tag, &news)
        case .answer(let callback): callback(result)
        case .nothing: break
        }
        self.actOnEffects(&news)
    }

    private func handOutWithheld(_ tag: Tag, _ news: inout News) {
        guard let at = self.withheld.firstIndex(where: { $0.tag == tag }) else { return }
        let session = self.machine.session
        for id in self.withheld.remove(at: at).leases
        where self.machine.queue.holder(of: id) == session {
            if let work = self.machine.queue.work(id) {
                news.work.append(.delivery(work, session))
            }
        }
    }

    func handOut(_ delivery: DeliveryID, _ news: inout News) {
        let at = self.withheld.firstIndex { $0.tag == delivery.message }
        if let at {
            self.withheld[at].leases.append(delivery)
        } else if let work = self.machine.queue.work(delivery) {
            news.work.append(.delivery(work, self.machine.session))
        }
    }

    private func actOnEffects(_ news: inout News) {
        for effect in self.effects {
            switch effect {
            case .leased(let delivery, let session) where session == self.machine.session:
                self.handOut(delivery, &news)
            case .reportLeased(let report, let session) where session == self.machine.session:
                if let work = self.machine.queue.reportWork(report) {
                    news.work.append(.report(work, session))
                }
            case .leased, .reportLeased, .messageFinished, .possibleDuplicates,
                .recipientsFailed, .sessionOpened, .sessionClosed, .leaseEnded:
                break
            }
        }
    }

    // MARK: Sessions.

    private func doDuties() {
        guard self.machine.isReadyLeader, self.dutiesDoneIn != self.machine.term else { return }
        self.dutiesDoneIn = self.machine.term
        self.world.counters[.terms] += 1
        let settings = self.world.scenario.settings
        if self.machine.queue.settings != settings {
            self.proposeAsLeader(Command(.settings(settings)))
        }
    }

    private func goOn() {
        guard self.phase == .starting || self.phase == .ready, self.machine.session == .none,
            !self.isReopening, self.machine.hasLeader
        else { return }
        self.phase == .ready ? self.reopenSession() : self.openSession(replayed: true)
    }

    func reopenSession() {
        self.isReopening = true
        // The count of boots is synced beside the journal.
        let wait = self.world.draw(1, 20) * SimWorld.millisecond
        self.world.after(wait, on: self) {
            self.disk.boot += 1
            self.boot = self.disk.boot
            self.openSession(replayed: false)
        }
    }

    private func openSession(replayed: Bool) {
        if self.phase == .starting { self.phase = .opening }
        self.machine.openSession(
            OpenSession(
                node: self.name, incarnation: self.id, boot: self.boot, nonce: self.dice.next(),
                credit: self.world.scenario.credit, replayed: replayed,
                delivers: true))
        self.isTurnPlanned = true
    }

    func sessionOpened(_ result: CommandResult) {
        self.isReopening = false
        guard case .sessionOpened = result else {
            // Removed: it stays without a session.
            self.isReopening = true
            self.isSessionRefused = true
            self.giveUpSessionless(all: true)
            let isGone = self.world.truth.queue.isRetired(self.name, self.id)
            if result == .refused(.notMember), isGone { return }
            self.world.fail(10, "\(self.name)'s session is refused: \(result)")
            return
        }
        self.world.counters[.sessions] += 1
        self.leaseClock.begin(self.machine.timing)
        self.phase = .ready
        self.sessionlessSince = nil
        self.enqueueSessionless()
    }

    func sessionClosed() {
        self.world.note("\(self.name)'s session is closed")
        let all = self.waiters
        self.waiters = []
        for waiter in all { self.answer(waiter.purpose, .refused(.sessionClosed)) }
        self.withheld = []
        self.endPlacings()
        self.repairs.end()
        self.leaseClock.end()
        self.lapseShares()
        self.sessionlessSince = self.clock
    }

    // MARK: The leader's search.

    func dispatch() {
        guard self.phase == .ready, self.machine.mayLookForWork else { return }
        let clocks = self.clocks
        let peers = self.memberPeers
        let commands = self.machine.nextWork(at: clocks.now, limit: 1000) {
            peers.takesWork($0.node, $0.incarnation)
        }
        guard !commands.isEmpty else {
            self.sleepUntilDue(clocks.now)
            return
        }
        self.machine.propose(work: commands, at: clocks)
        self.isTurnPlanned = true
    }

    private func sleepUntilDue(_ now: Instant) {
        self.wake += 1
        guard let due = self.machine.queue.nextWake else { return }
        let wait = max(.milliseconds(1), due - self.machine.queueTime(at: now))
        let wake = self.wake
        self.world.after(wait.inNanoseconds, on: self) {
            if self.wake == wake { self.dispatch() }
        }
    }

    // MARK: Upkeep.

    func peerTick() {
        self.machine.tick(random: self.dice.next())
        self.machine.keepSessions(at: self.clocks)
        self.machine.retryCommands()
        self.tickBodies()
        self.tickFetches()
        self.keepMembers()
        self.tickSnapshots()
        self.tickShares()
        self.isTurnPlanned = true
    }

    func renew() {
        guard self.machine.session != .none, self.phase == .ready || self.phase == .stopping,
            self.mayRenew
        else { return }
        self.machine.renew(now: self.clock)
        self.isTurnPlanned = true
    }

    func eachSecond() {
        self.drain()
        self.courierOut.tick()
        self.giveUpOverdue()
        self.giveUpSessionless()
        self.checkpointIfWanted()
        self.planRepairsSoon()
        self.sendStandings()
        let waiting = self.machine.queue.counts.messages > 0
        if self.phase == .ready, waiting, self.waiters.isEmpty, self.machine.isReadyLeader,
            self.machine.queueTime(at: self.clock) - self.machine.queue.time >= .seconds(30)
        {
            self.proposeAsLeader(Command(.tick))
        }
    }

    private func giveUpOverdue() {
        let now = self.clock
        for i in self.waiters.indices {
            guard now - self.waiters[i].proposedAt >= self.world.scenario.commitTimeout else {
                return
            }
            guard case .submission(let submission, let tag) = self.waiters[i].purpose else {
                continue
            }
            self.giveUp(i, tag)
            self.decide(submission, nil)
        }
    }

    func giveUp(_ waiter: Int, _ tag: Tag) {
        self.waiters[waiter].purpose = .givenUp(tag)
        self.world.truth.givenUp.append((tag, self.place))
        self.cancel(tag)
    }

    func cancel(_ tag: Tag) {
        guard tag.session == self.machine.session, let own = self.machine.drawTag() else {
            self.note(self.machine.submitFact(.cancel(tag)), .cancel(tag))
            self.isTurnPlanned = true
            return
        }
        self.world.counters[.cancels] += 1
        self.withheld.append((tag, []))
        self.note(own, .cancel(tag))
        self.propose(own, .cancel(tag), .cancel(tag))
    }

    /// See OutcomeNotes.
    func note(_ tag: Tag, _ action: Command.Action) {
        self.disk.note(
            Command(Origin(session: tag.session, sequence: tag.sequence), action))
    }

    // MARK: Checkpoints.

    private func checkpointIfWanted() {
        guard !self.isCheckpointing, self.machine.applied.index > self.checkpointIndex,
            self.clock - self.checkpointedAt >= self.world.scenario.checkpointInterval
        else {
            if !self.isCheckpointing { self.evacuate() }
            return
        }
        self.makeCheckpoint { _ in }
    }

    /// Saves the rows changed since the last checkpoint, as they are now.
    func makeCheckpoint(_ completion: @escaping (Bool) -> Void) {
        self.isCheckpointing = true
        self.machine.beginCheckpoint()
        let checkpoint = SimCheckpoint(
            position: self.machine.applied, meta: [], stamp: self.machine.queue.time,
            wall: self.wall, configuration: self.machine.configuration,
            rows: self.disk.checkpoint?.rows ?? [:])
        self.nextSlice(checkpoint, completion)
    }

    private func nextSlice(_ before: SimCheckpoint, _ completion: @escaping (Bool) -> Void) {
        var checkpoint = before
        var rows = RowBatch()
        let isLast = self.machine.encodeCheckpoint(rows: 8, bytesMax: 2048, into: &rows)
        rows.forEach { key, row in
            checkpoint.rows[Array(key)] = row.map { Array($0) }
        }
        if isLast {
            let seal = self.machine.sealCheckpoint()
            checkpoint.meta = seal.meta
            checkpoint.hash = seal.stateHash
            self.world.truth.check(seal, by: self)
        }
        let wait = self.world.draw(1, 10) * SimWorld.millisecond
        self.world.after(wait, on: self) {
            if self.world.chance(10) {
                self.giveBackCheckpoint()
                completion(false)
            } else if isLast {
                self.disk.save(checkpoint)
                self.machine.endCheckpoint()
                self.endCheckpoint(checkpoint)
                completion(true)
            } else {
                self.nextSlice(checkpoint, completion)
            }
        }
    }

    private func giveBackCheckpoint() {
        while !self.machine.giveBackCheckpoint(rows: 4) {}
        self.isCheckpointing = false
    }

    private func endCheckpoint(_ checkpoint: SimCheckpoint) {
        self.world.counters[.checkpoints] += 1
        self.checkpointIndex = checkpoint.position.index
        self.checkpointMembers = checkpoint.configuration
        self.checkpointedAt = self.clock
        self.isCheckpointing = false
        self.evacuate()
    }

    private func evacuate() {
        let holder = self.holder
        let result = self.disk.evacuate { tag in
            self.machine.queue.bodyState(tag, on: holder)
        } isUnderWay: { tag in
            self.machine.isFactUnderWay(tag)
        }
        self.world.counters[.segmentsDropped] += result.segments
        self.world.counters[.bodiesCarried] += result.carried
        self.world.counters[.bodiesDropped] += result.gone.count
        for tag in result.gone { self.world.truth.deleted(tag, on: self) }
    }
}
