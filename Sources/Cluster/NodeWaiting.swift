// NodeWaiting.swift - mail that waits for what the node lacks for a while.
//
// Session   A node that stood still, or was cut off, has lost its session and opens the next one
//           within a round trip. Whole messages wait for it, as they wait for a leader: after
//           `patience` new mail is refused, after `commit_timeout` who waits is told 451 4.3.2.
//           Nothing of these has a tag, so nothing of them can take effect by then.
// Copies    With fewer than R disks that take bodies no message can be accepted, whatever the
//           quorum says. If disks are full that is said at once (452); if nodes are away, after
//           `patience`: 421 and 451, and the balancer is told, rather than each client waiting for
//           `commit_timeout`.
// Limits    what waits is counted by ContentMemory until its verdict, as all content is.
// See       NodeIntake, NodeBodies (what is placed already goes on waiting).

import Logging
import MailQueue
import Networking
import Primitives
import Spool

/// A whole message that waits for the next session, which gives it its tag.
struct Sessionless {
    var submission: Submission
    var since: Instant
}

/// Since when the node lacks what it needs to take mail.
struct Wants {
    var sessionless: [Sessionless] = []
    /// Nil: it has a session, or is starting.
    var sessionSince: Instant?
    /// The next session was refused: waiting is in vain.
    var isSessionRefused = false
    /// Fewer than R disks take bodies; nil: enough.
    var copiesSince: Instant?
    /// They would be enough if disks were not full.
    var isForSpace = false
}

extension Node {
    /// Shorter wants are an election's, a reconnection's: sessions wait.
    static let patience = Duration.seconds(10)
    private static let copiesAlarm = "no_copies"

    // MARK: The session.

    func waitForSession(_ submission: Submission) {
        guard self.mesh != nil, self.phase == .ready, !self.wants.isSessionRefused else {
            return self.refuse(submission, .noLeader)
        }
        self.wants.sessionless.append(
            Sessionless(submission: submission, since: SystemClock.bootTime()))
    }

    /// In the order in which they came.
    func enqueueSessionless() {
        let waiting = self.wants.sessionless
        self.wants.sessionless = []
        for one in waiting { self.enqueue(one.submission) }
    }

    /// - Parameter now: nil: all of them, since there will be no session.
    func giveUpSessionless(_ now: Instant?) {
        let late = self.wants.sessionless.prefix { one in
            now.map { $0 - one.since >= self.commitTimeout } ?? true
        }
        self.wants.sessionless.removeFirst(late.count)
        for one in late { self.refuse(one.submission, .noLeader) }
    }

    var isSessionlessForLong: Bool {
        if self.wants.isSessionRefused { return true }
        guard let since = self.wants.sessionSince else { return false }
        return SystemClock.bootTime() - since >= Self.patience
    }

    // MARK: Copies.

    /// What mail meets for want of disks; nil: there are enough, or it may wait.
    var copiesObstacle: Obstacle? {
        guard let since = self.wants.copiesSince else { return nil }
        if self.wants.isForSpace { return .full }
        return SystemClock.bootTime() - since >= Self.patience ? .noCopies : nil
    }

    /// Once a second.
    func countHolders(_ now: Instant) {
        guard self.mesh != nil, self.phase == .ready else { return }
        let up = self.bodyHolders(now).filter { $0.isUp && $0.holder != self.ownHolder }
        let taking = 1 + up.count { !$0.isLowOnDisk }
        guard taking < self.copies else {
            if self.wants.copiesSince != nil { self.updateObstacleAfter { $0.copiesSince = nil } }
            if self.alarms.contains(Self.copiesAlarm) {
                self.alarms.removeAll { $0 == Self.copiesAlarm }
                self.logger.notice("enough nodes take copies again")
            }
            return
        }
        self.updateObstacleAfter {
            $0.copiesSince = $0.copiesSince ?? now
            $0.isForSpace = 1 + up.count >= self.copies
        }
        guard self.copiesObstacle != nil, !self.alarms.contains(Self.copiesAlarm) else { return }
        self.raise(Self.copiesAlarm)
        let remedy =
            self.wants.isForSpace
            ? "Make room on the disks of nodes that are short of it, or add a node."
            : "Bring back a node that is away, or add one; `posthouse cluster status` names them."
        self.logger.error(
            "new mail is refused: too few nodes take copies",
            metadata: ["taking": "\(taking)", "copies": "\(self.copies)", "remedy": "\(remedy)"])
    }

    private func updateObstacleAfter(_ change: (inout Wants) -> Void) {
        change(&self.wants)
        self.updateObstacle()
    }
}
