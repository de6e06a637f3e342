// NodeGivingUp.swift - clients that are told no while their messages are on the way.
//
// Takes     waiters whose time is over; sessions that were cut before their verdict.
// Gives     451 4.4.5 (the others were told 421), and a Cancel for each: it goes on the same way,
//           behind the Enqueue, so that what becomes of this node then is of no matter.
// Durable   among others the Cancel is noted in the journal with the same turn: written, not
//           synced. A process that dies while its disk hangs, or in the instant between, has not
//           said it.
// See       MailQueue's Cancels, Acknowledgements, OutcomeNotes, Docs/Decisions/0023.

import MailQueue
import NIOCore
import Primitives

extension Node {
    /// Clients that have waited `commit_timeout` for their result are told 451 4.4.5, and will send
    /// their messages again.
    func giveUpOverdue(_ now: Instant) {
        for number in self.waiters.numbers {
            guard let waiter = self.waiters[number] else { continue }
            // One whose body took its time has a number below those that wait longer.
            guard now - waiter.proposedAt >= self.commitTimeout else { continue }
            guard let submission = self.giveUp(number), let bound = submission.body,
                let loop = submission.loop
            else { continue }
            loop.execute { bound.value.decide(.refused(.timedOut)) }
        }
    }

    /// - Parameter asked: nil: of whatever session.
    /// - Returns: what was given up; nil: nobody waits for a verdict under this number.
    private func giveUp(_ number: UInt64, of asked: Tag? = nil) -> Submission? {
        guard var waiter = self.waiters[number],
            case .submission(let submission, _, let tag) = waiter.purpose,
            asked.map({ $0 == tag }) ?? true
        else { return nil }
        waiter.purpose = .givenUp(tag)
        self.waiters.update(number, waiter)
        self.cancel(tag)
        return submission
    }

    /// What is leased here is not attempted, until the Cancel has ended it or is too late for it.
    func cancel(_ tag: Tag) {
        guard tag.session == self.machine.session, let own = self.machine.drawTag() else {
            // The session is over: a fact.
            let own = self.machine.submitFact(.cancel(tag))
            if self.mesh != nil {
                self.note(own, .cancel(tag))
                self.flushSoon()
            }
            return self.planTurn()
        }
        self.withheld[tag] = []
        self.cancelCount += 1
        if self.mesh != nil {
            self.note(own, .cancel(tag))
            self.flushSoon()
        }
        self.propose(own, .cancel(tag), .cancel(tag))
    }

    /// Before the session is closed: sessions that were cut have told their clients no. Those whose
    /// clients went by themselves stay accepted.
    func giveUpRefused(_ then: @escaping () -> Void) {
        var waiting: [(tag: Tag, submission: Submission)] = self.waiters.numbers.compactMap {
            guard case .submission(let submission, _, let tag)? = self.waiters[$0]?.purpose else {
                return nil
            }
            return (tag, submission)
        }
        waiting += self.placedOfClients
        let asked = waiting.compactMap { tag, submission -> EventLoopFuture<Tag?>? in
            guard let bound = submission.body, let loop = submission.loop else { return nil }
            return loop.submit { bound.value.isRefused ? tag : nil }
        }
        guard !asked.isEmpty else { return then() }
        EventLoopFuture.whenAllComplete(asked, on: self.loop).assumeIsolated().whenSuccess {
            for case .success(let tag?) in $0 where !self.giveUpPlacing(tag) {
                // It may have found its disks meanwhile.
                guard let submission = self.giveUp(tag.sequence, of: tag),
                    let bound = submission.body
                else { continue }
                submission.loop?.execute { bound.value.decide(.refused(.timedOut)) }
            }
            then()
        }
    }
}
