// ClientConnection+End.swift - how a connection ends, and when.
//
// Takes     failures of the session, the loop's tick, the end of the lease time, the stop.
// Gives     the piece that was running settled, released or put back; then the news to the
//           destination, once.
// Standard  RFC 5321 §4.1.1.10 (QUIT), §4.5.3.2 (time-outs).

import NIOCore
import Networking
import Primitives
import SMTP

extension ClientConnection {
    func failed(_ failure: ClientFailure) {
        let piece = self.current
        let next = self.upcoming
        self.current = nil
        self.upcoming = nil
        self.opened = nil
        self.outgoing = nil
        if let next { self.destination.putBack(next) }
        if var piece {
            // A kept connection that was dead already says nothing about the host.
            let isStale = self.transactions > 0 && failure.stage == .mail
            if isStale && piece.staleStarts < Destination.Limit.staleStarts {
                piece.staleStarts += 1
                self.destination.putBack(piece)
            } else if let result = failure.result {
                self.owner.settle(piece, result, self.destination, self.circumstances)
            } else {
                self.destination.putBack(piece)
            }
        }
        self.leave(failure.remedy, failure.reply)
    }

    /// Closes the channel and tells the destination; nothing is carried any more.
    func leave(_ remedy: HostRemedy, _ reply: Reply) {
        guard !self.hasEnded else { return }
        self.flush()
        self.state = .ended
        self.deadline = .distantFuture
        self.inbound = ByteBuffer()
        self.context?.close(promise: nil)
        self.destination.connectionEnded(self, remedy, reply)
    }

    /// Ends an idle connection politely.
    func quit() {
        guard self.isIdle else { return }
        self.isLeaving = true
        self.state = .busy
        self.prepareOut()
        self.perform(self.session.quit(into: &self.out))
        self.flush()
    }

    /// Finishes what runs, takes nothing more.
    func stop() {
        self.isStopping = true
        switch self.state {
        case .idle: self.quit()
        case .dialing, .opening: self.cut()
        case .fetching:
            if let piece = self.current { self.owner.giveBack(piece) }
            self.current = nil
            self.cut()
        case .busy, .ended: break
        }
    }

    /// Ends the connection at once by a reset. A transaction without a final dot is unattempted,
    /// one behind its final dot may have been taken.
    ///
    /// - Parameter isAbandoned: the latter is not settled: its lease has lapsed.
    func cut(isAbandoned: Bool = false) {
        guard !self.hasEnded else { return }
        let pieces = [self.upcoming, self.session.stage == .finalDot ? nil : self.current]
        for case let piece? in pieces { self.owner.giveBack(piece) }
        if let piece = self.current, self.session.stage == .finalDot {
            let action = self.session.end(.lost("this system is stopping"))
            if isAbandoned, let lease = piece.lease { return self.abandon(lease) }
            if case .failed(let failure) = action, let result = failure.result {
                self.owner.settle(piece, result, self.destination, self.circumstances)
            }
        }
        self.endByReset()
    }

    private func abandon(_ lease: Lease) {
        self.desk.abandon(lease.delivery)
        self.endByReset()
    }

    private func endByReset() {
        self.current = nil
        self.upcoming = nil
        self.opened = nil
        self.outgoing = nil
        self.state = .ended
        self.deadline = .distantFuture
        self.context?.channel.abort()
        self.destination.connectionEnded(self, .reconnect, Self.closed)
    }

    /// Its final dot is sent: the verdict may come, and nothing begins behind it.
    func endBehindVerdict() {
        self.isStopping = true
        guard let next = self.upcoming else { return }
        self.upcoming = nil
        self.owner.giveBack(next)
    }

    // MARK: - Time

    func rearm(_ now: NIODeadline) {
        guard let patience = self.session.patience else { return }
        self.deadline = now + .nanoseconds(patience.inNanoseconds)
    }

    /// Called by the loop's tick.
    func check(_ now: NIODeadline) {
        guard now >= self.deadline, !self.hasEnded else { return }
        if self.isIdle {
            self.quit()
        } else {
            self.perform(self.session.end(.timedOut))
        }
    }
}
