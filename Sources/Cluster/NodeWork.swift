// NodeWork.swift - leases out, outcomes in; the leader's search for more work.

import MailQueue
package import NIOCore
import Networking
import OpenSSL
import Primitives
import SMTP
import Spool
import Storage
import Synchronization

extension Node {
    /// Deliveries of one batch of grants.
    private static let grantBatch = 1000

    // MARK: Out

    func leasedDelivery(_ id: DeliveryID) -> LeasedDelivery? {
        guard let work = self.machine.queue.work(id) else { return nil }
        let envelope = work.envelope
        return LeasedDelivery(
            id: id, session: self.machine.session, attempt: work.attempt,
            destination: work.destination, sender: envelope.sender,
            eightBit: envelope.eightBit, utf8: envelope.utf8, ret: envelope.ret,
            envid: envelope.envid, recipients: work.recipients.map { ($0.index, $0.recipient) },
            originalBytes: work.originalBytes, acceptedAt: work.acceptedAt,
            body: self.recentBodies[id.message])
    }

    func leasedReport(_ id: ReportID) -> LeasedReport? {
        guard let work = self.machine.queue.reportWork(id) else { return nil }
        return LeasedReport(
            id: id, content: work.content, original: work.original, acceptedAt: work.acceptedAt,
            originalBytes: work.originalBytes, expiresAt: work.expiresAt)
    }

    /// The leader looks for what is due and proposes grants; sleeps until the next thing is due.
    /// One batch at a time: none is computed from a state that the last is about to change.
    func dispatch() {
        guard self.phase == .ready, self.machine.mayLookForWork else { return }
        let clocks = self.clocks
        let peers = self.memberPeers
        let commands = self.machine.nextWork(at: clocks.now, limit: Self.grantBatch) {
            peers.takesWork($0.node, $0.incarnation)
        }
        guard !commands.isEmpty else {
            self.sleepUntilDue(clocks.now)
            return
        }
        self.machine.propose(work: commands, at: clocks)
        self.planTurn()
    }

    /// A timer that is earlier than need be stays: to look once for nothing costs less than to set
    /// it anew with each entry.
    private func sleepUntilDue(_ now: Instant) {
        guard let due = self.machine.queue.nextWake else { return }
        let wait = max(.milliseconds(1), due - self.machine.queueTime(at: now))
        if let wakeAt, wakeAt <= now + wait { return }
        self.wake?.cancel()
        self.wakeAt = now + wait
        self.wake = self.loop.scheduleTask(in: .nanoseconds(wait.inNanoseconds)) {
            self.wakeAt = nil
            self.dispatch()
        }
    }

    // MARK: In

    func settle(_ outcome: DeliveryOutcome) {
        for (_, verdict) in outcome.verdicts {
            switch verdict.kind {
            case .delivered, .relayed, .stored: self.rates.delivered.add()
            case .deferred: self.rates.deferred.add()
            case .failed: self.rates.bounced.add()
            }
        }
        // Of a reply no more than the queue keeps: how long it is, is the other host's choice.
        let lines = outcome.verdicts.map {
            Outcome.Line(recipient: $0.index, verdict: $0.verdict.asKept)
        }
        let action = Command.Action.outcome(
            Outcome(
                delivery: outcome.delivery, attempt: outcome.attempt, lines: lines,
                endsLease: outcome.endsLease))
        if outcome.session != self.machine.session {
            // Of a session that is closed: what was delivered is believed all the same. Never under
            // the one that was opened since: it may have leased the delivery, too.
            self.machine.submitFact(action)
            self.planTurn()
        } else if self.mesh != nil, let tag = self.machine.drawTag() {
            self.note(tag, action)
            self.propose(tag, action, .nothing)
        } else {
            self.propose(action, .nothing)
        }
    }

    func clearSuspension(of destination: String) {
        guard self.machine.queue.remembersSuspension(of: destination) else { return }
        self.propose(.clearSuspension(destination: destination), .nothing)
    }

    /// What a closed session held is given back already.
    func release(_ deliveries: [LeasedDelivery]) {
        let own = deliveries.filter { $0.session == self.machine.session }.map(\.id)
        if !own.isEmpty { self.propose(.release(deliveries: own, reports: []), .nothing) }
    }

    /// Read on any thread, right before a final dot. The time is of one session only: 1 The session
    /// that has leased the delivery expires; another is opened, and renewed. 2 The delivery is
    /// leased to another node. 3 Here the attempt comes to its dot: it must not go (invariant 6).
    func mayFinish(of session: SessionID) -> Bool {
        // The time first: with it comes the session that it is of, or a later one.
        let lapses = Instant(nanoseconds: self.shared.lapsesAt.load(ordering: .acquiring))
        guard self.shared.renewedSession.load(ordering: .relaxed) == session.raw else {
            return false
        }
        return SystemClock.bootTime() + self.dotTime <= lapses
    }

    /// Read on any thread, when a transaction is about to begin: there is no use in one that could
    /// not end.
    func standing(of session: SessionID) -> LeaseStanding {
        guard self.isSeveral else { return .holds }
        let lapses = Instant(nanoseconds: self.shared.lapsesAt.load(ordering: .acquiring))
        guard SystemClock.bootTime() < lapses else { return .lapsed }
        let isOwn = self.shared.renewedSession.load(ordering: .relaxed) == session.raw
        return isOwn ? .holds : .ended
    }

    /// The own session's leases hold as `leaseClock` has it.
    func publishLease() {
        self.shared.renewedSession.store(self.machine.session.raw, ordering: .relaxed)
        self.shared.lapsesAt.store(
            self.leaseClock.lapsesAt?.nanoseconds ?? 0, ordering: .releasing)
    }

    /// Read on any thread; see `LeaseDesk`.
    var dotGuard: Duration? {
        self.shared.hasOthers.load(ordering: .relaxed) ? self.dotTime : nil
    }

    /// G.
    private var dotTime: Duration {
        .nanoseconds(self.shared.guardTime.load(ordering: .relaxed))
    }

    /// T of the own session, or of the last one. Read on any thread.
    var sessionTerm: Duration {
        .nanoseconds(self.shared.sessionTerm.load(ordering: .relaxed))
    }

    /// Head and content, from the journal or from a holder.
    ///
    /// - Parameter endsLost: a body that is proven lost ends its message; else it is only said.
    func readBody(
        of message: Tag, on loop: any EventLoop, endsLost: Bool,
        _ answer: @escaping (Result<MessageBody, BodyReadError>) -> Void
    ) {
        let bound = NIOLoopBound(answer, eventLoop: loop)
        guard !self.isSeveral else {
            self.supplyWhole(message, endsLost: endsLost) { result in
                loop.execute { bound.value(result) }
            }
            return
        }
        self.readOwnBody(of: message, on: loop, endsLost: endsLost, bound)
    }

    private func readOwnBody(
        of message: Tag, on loop: any EventLoop, endsLost: Bool,
        _ bound: NIOLoopBound<(Result<MessageBody, BodyReadError>) -> Void>
    ) {
        self.storage.readBody(message) { result in
            switch result.flatMap(Self.check) {
            case .success(let body):
                loop.execute { bound.value(.success(body)) }
            case .failure(let error):
                guard endsLost else {
                    loop.execute { bound.value(.failure(.unavailable)) }
                    return
                }
                self.bodyFailed(message, message, error) { reason in
                    loop.execute { bound.value(.failure(reason)) }
                }
            }
        }
    }

    /// The digest stands for the content; the record's checksum stands for the head.
    private static func check(_ body: StoredBody) -> Result<MessageBody, BodyError> {
        guard BodyDigest(SHA256.digest(body.content)) == body.digest else {
            return .failure(.damaged)
        }
        return .success(
            MessageBody(parts: [ByteBuffer(bytes: body.head), ByteBuffer(bytes: body.content)]))
    }

    /// The same, piece by piece.
    func openBody(
        of message: Tag, on loop: any EventLoop,
        _ answer: @escaping (Result<BodySource, BodyReadError>) -> Void
    ) {
        let bound = NIOLoopBound(answer, eventLoop: loop)
        guard !self.isSeveral else {
            self.supply(message, endsLost: true) { result in
                loop.execute { bound.value(result) }
            }
            return
        }
        self.openOwnBody(of: message, on: loop, bound)
    }

    private func openOwnBody(
        of message: Tag, on loop: any EventLoop,
        _ bound: NIOLoopBound<(Result<BodySource, BodyReadError>) -> Void>
    ) {
        self.storage.openBody(message) { result in
            switch result {
            case .success((let body, let cursor)):
                let source = self.source(of: message, body, cursor)
                loop.execute { bound.value(.success(source)) }
            case .failure(let error):
                self.bodyFailed(message, message, error) { reason in
                    loop.execute { bound.value(.failure(reason)) }
                }
            }
        }
    }

    private func source(
        of message: Tag, _ body: StoredBody, _ cursor: BodyCursor
    ) -> BodySource {
        let content = StoredContent(self.storage, cursor, digest: body.digest)
        return BodySource(
            head: ByteBuffer(bytes: body.head), contentBytes: Int(content.byteCount)
        ) { answer in
            content.next { result in
                switch result {
                case .success((let bytes, let isLast)):
                    answer(.success(BodyPiece(bytes: ByteBuffer(bytes: bytes), isLast: isLast)))
                case .failure(let error):
                    self.bodyFailed(message, message, error) { answer(.failure($0)) }
                }
            }
        }
    }
}
