// SessionRegistry.swift - the sessions of one event loop, so that they can be told to stop.

import NIOCore
import Primitives

/// A connection that can be asked to end.
protocol SessionGuest: AnyObject {
    /// At once, or behind its transaction.
    func stop()
    /// The time for finishing is over.
    func cut()
}

/// Confined to its loop.
final class SessionRegistry {
    /// For a reply that is written at the end.
    private static let lastReplyMax = TimeAmount.seconds(1)
    private var guests: [ObjectIdentifier: any SessionGuest] = [:]  // existential: asked at the end
    private var whenEmpty: EventLoopPromise<Void>?

    init() {}

    func add(_ guest: any SessionGuest) {
        self.guests[ObjectIdentifier(guest)] = guest
        // Its header came while the node was stopping.
        if self.whenEmpty != nil { guest.stop() }
    }

    func remove(_ guest: any SessionGuest) {
        self.guests[ObjectIdentifier(guest)] = nil
        guard self.guests.isEmpty, let promise = self.whenEmpty else { return }
        self.whenEmpty = nil
        promise.succeed()
    }

    /// Each ends now, or behind its transaction.
    func endIdle() {
        // A copy: sessions that end take themselves out.
        for guest in Array(self.guests.values) { guest.stop() }
    }

    /// Idle sessions end now, others behind their transaction; what is left at `deadline` is cut.
    func stop(by deadline: NIODeadline, on loop: any EventLoop, _ done: EventLoopPromise<Void>) {
        if let earlier = self.whenEmpty { return earlier.futureResult.cascade(to: done) }
        // A copy: sessions that end take themselves out.
        let all = Array(self.guests.values)
        for guest in all { guest.stop() }
        guard !self.guests.isEmpty else { return done.succeed() }
        self.whenEmpty = done
        // The second time who does not take its last reply.
        let timers = [deadline, deadline + Self.lastReplyMax].map { time in
            loop.assumeIsolated().scheduleTask(deadline: time) {
                for guest in Array(self.guests.values) { guest.cut() }
            }
        }
        done.futureResult.assumeIsolated().whenComplete { _ in
            for timer in timers { timer.cancel() }
        }
    }
}
