// NodeLeaving.swift - a node that goes on working while others learn that it will not.
//
// SIGTERM   1 `leave`: /readyz says no, peers give it no work, its leadership goes to another; mail
//           is still taken. 2 `waitForBalancers`: who asked /readyz lately hears no a few times.
//           3 New sessions get 421, transactions end (House), then the session is closed.
// Drain     Ten seconds after an operator's word new sessions get 421, and those that idle are told
//           to end: a client that keeps a connection would hold the drain up for its whole idle
//           time.
// See       House.stop, NodeMembers (who leads instead), Docs/LoadBalancers.md.

import MailQueue
import NIOCore
import Networking
package import Primitives
import Raft
import Synchronization

/// Whether those who ask have had the time to notice.
struct BalancerWatch: Sendable {
    /// A balancer that asks asks again within this: HAProxy's `inter` is 2 s by default.
    static let interval = Duration.milliseconds(2500)
    /// Three checks of HAProxy's default (`fall 3`), and one that was under way.
    static let noticed = Duration.milliseconds(6500)
    /// Between two looks.
    static let look = Duration.milliseconds(50)

    let start: Instant

    /// - Parameter asked: when somebody did last; nil: never.
    func isOver(_ now: Instant, asked: Instant?) -> Bool {
        guard let asked, now - asked < Self.interval else { return true }
        return now - self.start >= Self.noticed
    }
}

extension RunningNode {
    /// From now on balancers are told no, and others get work and leadership; mail is still taken.
    package func leave() {
        self.node.shared.isLeaving.store(true, ordering: .relaxed)
        self.node.onLoop {
            $0.sendStandings()
            $0.handOverSoon(until: SystemClock.bootTime() + Node.handoverMax)
        }
    }

    /// Returns when balancers have had the time to notice; at once if none asks.
    package func waitForBalancers() async {
        let watch = BalancerWatch(start: SystemClock.bootTime())
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            self.node.onLoop { $0.waitForBalancers(watch) { continuation.resume() } }
        }
    }

    /// - Parameter told: called whenever sessions that idle are to end since the node is drained.
    package func whenDrained(_ told: @escaping @Sendable () -> Void) {
        self.node.onLoop { $0.leaving.whenDrained = told }
    }
}

struct Leaving {
    var whenDrained: (@Sendable () -> Void)?
    var saidDrained = false
}

extension Node {
    /// For a handover before the end.
    static let handoverMax = Duration.seconds(1)
    private static let handoverLook = Duration.milliseconds(20)

    fileprivate func waitForBalancers(
        _ watch: BalancerWatch, _ then: @escaping @Sendable () -> Void
    ) {
        let at = self.shared.checkedAt.load(ordering: .relaxed)
        let asked = at == 0 ? nil : Instant(nanoseconds: at)
        if watch.isOver(SystemClock.bootTime(), asked: asked) { return then() }
        self.loop.scheduleTask(in: .nanoseconds(BalancerWatch.look.inNanoseconds)) {
            self.waitForBalancers(watch, then)
        }
    }

    /// The leadership goes, if there is somebody who can have it; tried again for a while.
    func handOverSoon(until end: Instant) {
        guard self.canHandOver, SystemClock.bootTime() < end, let heir = self.heir else { return }
        self.machine.handOver(to: heir)
        self.planTurn()
        self.loop.scheduleTask(in: .milliseconds(500)) { self.handOverSoon(until: end) }
    }

    private var canHandOver: Bool {
        self.mesh != nil && self.phase != .stopped && self.machine.replica.raft.role == .leader
    }

    /// Calls `then` when another leads, or nobody can, or it takes too long.
    func handOverFirst(_ then: @escaping () -> Void) {
        let end = SystemClock.bootTime() + Self.handoverMax
        self.waitForHeir(until: end, led: false, then)
    }

    /// What is still to be said needs somebody to hear it.
    private var isBetweenLeaders: Bool {
        guard let since = self.leaderlessSince, self.machine.session != .none else { return false }
        return SystemClock.bootTime() - since < Self.handoverMax
    }

    /// The session is closed behind the results of all else. One that has let a delivery go is
    /// not: its end is to count it.
    func closeSession(_ closed: @escaping () -> Void) {
        let session = self.machine.session
        guard session != .none, self.sharing.mayClose(session) else {
            return self.waitForResults(closed)
        }
        self.propose(
            .closeSession,
            .answer { result in
                // It was closed by others meanwhile: outcomes and Cancels go on as facts.
                result == .done ? closed() : self.waitForResults(closed)
            })
    }

    private func waitForResults(_ then: @escaping () -> Void) {
        guard self.machine.awaitsResults, self.phase != .stopped else { return then() }
        let look = TimeAmount.nanoseconds(Self.handoverLook.inNanoseconds)
        self.loop.assumeIsolated().scheduleTask(in: look) { self.waitForResults(then) }
    }

    private func waitForHeir(until end: Instant, led: Bool, _ then: @escaping () -> Void) {
        // Between two leaders it may be elected itself.
        let leads = self.canHandOver
        if leads, !led { self.handOverSoon(until: end) }
        let mayHandOver = self.canHandOver && self.heir != nil
        guard mayHandOver || self.isBetweenLeaders, SystemClock.bootTime() < end else {
            return then()
        }
        let look = TimeAmount.nanoseconds(Self.handoverLook.inNanoseconds)
        self.loop.assumeIsolated().scheduleTask(in: look) {
            self.waitForHeir(until: end, led: leads, then)
        }
    }

    /// Once a second.
    func tellDrained(_ isDrained: Bool) {
        guard isDrained else {
            self.leaving.saidDrained = false
            return
        }
        guard !self.leaving.saidDrained else { return }
        self.leaving.saidDrained = true
        self.leaving.whenDrained?()
    }
}
