// SessionRegistry.swift - the sessions of one event loop, so that they can be told to stop.

import NIOCore
import Primitives

/// Confined to its loop.
final class SessionRegistry {
    private var handlers: [ObjectIdentifier: SessionHandler] = [:]
    private var whenEmpty: EventLoopPromise<Void>?

    init() {}

    func add(_ handler: SessionHandler) {
        self.handlers[ObjectIdentifier(handler)] = handler
    }

    func remove(_ handler: SessionHandler) {
        self.handlers[ObjectIdentifier(handler)] = nil
        guard self.handlers.isEmpty, let promise = self.whenEmpty else { return }
        self.whenEmpty = nil
        promise.succeed()
    }

    /// Idle sessions end now, others behind their transaction; what is left at `deadline` is cut.
    func stop(by deadline: NIODeadline, on loop: any EventLoop, _ done: EventLoopPromise<Void>) {
        if let earlier = self.whenEmpty { return earlier.futureResult.cascade(to: done) }
        // A copy: sessions that end take themselves out.
        let all = Array(self.handlers.values)
        for handler in all { handler.stop() }
        guard !self.handlers.isEmpty else { return done.succeed() }
        self.whenEmpty = done
        let timer = loop.assumeIsolated().scheduleTask(deadline: deadline) {
            for handler in Array(self.handlers.values) { handler.cut() }
        }
        done.futureResult.assumeIsolated().whenComplete { _ in timer.cancel() }
    }
}
