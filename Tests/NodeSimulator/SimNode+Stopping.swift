// SimNode+Stopping.swift - a process that is asked to end.
//
// Like      House.stop, NodeLeaving, NodeGivingUp's second half, Node.end, endAmongOthers.
// Order     1 Peers hear that it leaves; its leadership goes to another. 2 No new clients. 3 Those
//           that still wait are told 421. 4 Work that has not begun goes back, attempts end or are
//           cut. 5 Who was told no is cancelled, then the session is closed: behind the results of
//           all else, or not within two seconds. 6 A checkpoint, and the end; all that was written
//           stays.
// Never     stops what is paused, or has no session: that ends as by a crash.

import Cluster
import MailQueue
import Primitives
import Raft

extension SimNode {
    private static let handoverMax = Duration.seconds(1)
    private static let handoverLook = 20 * SimWorld.millisecond
    private static let closingMax = 2 * SimWorld.second

    /// SIGTERM.
    ///
    /// - Parameter ended: called when the process has ended by itself.
    func stop(_ ended: @escaping () -> Void) {
        guard self.isRunning, !self.isPaused, self.phase == .ready, !self.isLeaving else { return }
        self.world.counters[.stops] += 1
        self.world.note("\(self.name) is asked to end")
        self.isLeaving = true
        self.whenEnded = ended
        self.sendStandings()
        self.handOverSoon(until: self.clock + Self.handoverMax)
        self.world.after(self.world.draw(0, SimWorld.second), on: self) {
            self.phase = .stopping
            self.world.after(self.world.magnitude(SimWorld.millisecond, SimWorld.second), on: self)
            {
                self.refuseWaiting()
                let grace = self.world.magnitude(SimWorld.millisecond, 8 * SimWorld.second)
                self.courierOut.stop(within: grace) { self.endInOrder() }
            }
        }
    }

    /// 421 to those whose messages are whole and have no verdict.
    private func refuseWaiting() {
        for waiter in self.waiters {
            if case .submission(let submission, _) = waiter.purpose { self.refuse(submission) }
        }
        for placing in self.placings where placing.report == nil {
            self.refuse(placing.submission)
        }
        for one in self.sessionless { self.refuse(one.submission) }
    }

    private func refuse(_ submission: SimSubmission) {
        guard let client = submission.client else { return }
        submission.isRefused = true
        self.world.counters[.cutAtStop] += 1
        client.answered(submission, false)
    }

    /// What is accepted after its client was told no; the session's loop is another one.
    func takeBack(_ tag: Tag) {
        self.world.truth.givenUp.append((tag, self.place))
        self.world.after(self.world.draw(0, SimWorld.millisecond), on: self) { self.cancel(tag) }
    }

    // MARK: The end.

    private func endInOrder() {
        self.giveUpSessionless(all: true)
        let end = self.clock + Self.handoverMax
        self.waitForHeir(until: end, led: false) {
            self.giveUpRefused()
            self.closeSession { self.endWithCheckpoint() }
        }
    }

    private var canHandOver: Bool { self.machine.replica.raft.role == .leader }

    private func handOverSoon(until end: Instant) {
        guard self.canHandOver, self.clock < end, let heir = self.machine.heir(self.memberPeers)
        else { return }
        self.machine.handOver(to: heir)
        self.isTurnPlanned = true
        self.world.after(500 * SimWorld.millisecond, on: self) { self.handOverSoon(until: end) }
    }

    private var isBetweenLeaders: Bool {
        guard let since = self.leaderlessSince, self.machine.session != .none else { return false }
        return self.clock - since < Self.handoverMax
    }

    private func waitForHeir(until end: Instant, led: Bool, _ then: @escaping () -> Void) {
        let leads = self.canHandOver
        if leads, !led { self.handOverSoon(until: end) }
        let mayHandOver = self.canHandOver && self.machine.heir(self.memberPeers) != nil
        guard mayHandOver || self.isBetweenLeaders, self.clock < end else { return then() }
        self.world.after(Self.handoverLook, on: self) {
            self.waitForHeir(until: end, led: leads, then)
        }
    }

    private func giveUpRefused() {
        for i in self.waiters.indices {
            if case .submission(let submission, let tag) = self.waiters[i].purpose,
                submission.isRefused
            {
                self.giveUp(i, tag)
            }
        }
        for placing in self.placings where placing.submission.isRefused { self.giveUp(placing) }
    }

    private func closeSession(_ closed: @escaping () -> Void) {
        guard self.machine.hasLeader else { return closed() }
        var isOver = false
        let once = {
            guard !isOver else { return }
            isOver = true
            self.world.after(self.world.draw(0, 5 * SimWorld.millisecond), on: self, closed)
        }
        self.world.after(Self.closingMax, on: self, once)
        let session = self.machine.session
        guard session != .none, self.sharing.mayClose(session) else {
            return self.waitForResults(once)
        }
        self.isClosing = true
        self.propose(
            .closeSession,
            .answer { result in
                if result == .done { self.world.counters[.closed] += 1 }
                self.world.note("\(self.name) has closed \(session.raw): \(result)")
                result == .done ? once() : self.waitForResults(once)
            })
    }

    private func waitForResults(_ then: @escaping () -> Void) {
        guard self.machine.awaitsResults else { return then() }
        self.world.after(Self.handoverLook, on: self) { self.waitForResults(then) }
    }

    private func endWithCheckpoint() {
        guard !self.isCheckpointing else {
            self.world.after(10 * SimWorld.millisecond, on: self) { self.endWithCheckpoint() }
            return
        }
        self.makeCheckpoint { _ in
            let ended = self.whenEnded
            self.endAsAsked()
            ended?()
        }
    }
}
