// Monitor.swift - a lock with a condition, and threads of our own.

import Glibc
import Primitives

/// State behind a lock that threads can wait on. `@unchecked Sendable`: `state` is touched with the
/// lock held only.
final class Monitor<State>: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var state: State

    init(_ state: sending State) {
        self.state = state
        pthread_mutex_init(self.mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(self.condition, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(self.condition)
        pthread_mutex_destroy(self.mutex)
        self.condition.deallocate()
        self.mutex.deallocate()
    }

    @inline(__always)
    func withLock<R, E: Error>(_ body: (inout State) throws(E) -> R) throws(E) -> R {
        pthread_mutex_lock(self.mutex)
        defer { pthread_mutex_unlock(self.mutex) }
        return try body(&self.state)
    }

    /// Wakes every thread that waits.
    func signal() { pthread_cond_broadcast(self.condition) }

    /// Waits until `body` gives something, or until `timeout`; `body` runs with the lock held.
    func wait<R>(timeout: Duration? = nil, _ body: (inout State) -> R?) -> R? {
        pthread_mutex_lock(self.mutex)
        defer { pthread_mutex_unlock(self.mutex) }
        var deadline = timespec()
        if let timeout {
            clock_gettime(CLOCK_MONOTONIC, &deadline)
            let parts = timeout.components
            deadline.tv_sec += Int(parts.seconds)
            deadline.tv_nsec += Int(parts.attoseconds / 1_000_000_000)
            if deadline.tv_nsec >= 1_000_000_000 {
                deadline.tv_sec += 1
                deadline.tv_nsec -= 1_000_000_000
            }
        }
        while true {
            if let result = body(&self.state) { return result }
            if timeout == nil {
                pthread_cond_wait(self.condition, self.mutex)
            } else if pthread_cond_timedwait(self.condition, self.mutex, &deadline) == ETIMEDOUT {
                return body(&self.state)
            }
        }
    }
}

/// A thread of ours. It ends when its body returns; `join` once.
struct StorageThread: Sendable {
    private let handle: pthread_t

    private final class Body: Sendable {
        let name: String
        let run: @Sendable () -> Void
        init(_ name: String, _ run: @escaping @Sendable () -> Void) {
            self.name = name
            self.run = run
        }

        /// For `top` and debuggers; nothing depends on it.
        func nameThread() {
            let file = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
            guard file >= 0 else { return }
            _ = self.name.withCString { write(file, $0, strlen($0)) }
            close(file)
        }
    }

    /// - Parameter name: at most 15 bytes.
    init(_ name: String, _ run: @escaping @Sendable () -> Void) {
        let body = Unmanaged.passRetained(Body(name, run))
        var thread = pthread_t()
        let code = pthread_create(
            &thread, nil,
            { raw in
                guard let raw else { return nil }
                let body = Unmanaged<Body>.fromOpaque(raw).takeRetainedValue()
                body.nameThread()
                body.run()
                return nil
            }, body.toOpaque())
        invariant(code == 0, "a thread can be made (errno \(code))")
        self.handle = thread
    }

    func join() { pthread_join(self.handle, nil) }
}

/// CLOCK_MONOTONIC, for the times of syncs.
func monotonicNow() -> Duration {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
}
