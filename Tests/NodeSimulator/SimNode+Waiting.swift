// SimNode+Waiting.swift - whole messages that wait for the next session.
//
// Like      NodeWaiting; here disks that are away are the world's.

import Cluster
import Primitives

extension SimNode {
    private static let patience = Duration.seconds(10)

    func waitForSession(_ submission: SimSubmission) {
        guard self.phase == .ready, !self.isSessionRefused else {
            return self.decide(submission, nil)
        }
        self.sessionless.append((submission, self.clock))
    }

    func enqueueSessionless() {
        let waiting = self.sessionless
        self.sessionless = []
        for one in waiting { self.enqueue(one.submission) }
    }

    func giveUpSessionless(all: Bool = false) {
        let now = self.clock
        let late = self.sessionless.prefix {
            all || now - $0.since >= self.world.scenario.commitTimeout
        }
        self.sessionless.removeFirst(late.count)
        for one in late { self.decide(one.submission, nil) }
    }

    /// New mail is not taken now.
    var hasObstacle: Bool {
        guard self.phase == .ready, !self.isSessionRefused, !self.isLowOnDisk else { return true }
        let since = [self.leaderlessSince, self.sessionlessSince].compactMap { $0 }.min()
        guard let since else { return false }
        return self.clock - since >= Self.patience
    }
}
