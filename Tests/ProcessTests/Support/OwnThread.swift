// OwnThread.swift - tests that block run on threads of their own.
//
// Gives     a trait: each test of the suite runs, with its expectations, on one thread that is not
//           of the cooperative pool, so that waiting for a process never starves other tests.

import Foundation
import Testing

/// Runs jobs one after another on a thread that may block.
final class BlockingThread: TaskExecutor {
    private let queue = DispatchQueue(label: "process-test")

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        self.queue.async { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}

struct OwnThread: SuiteTrait, TestTrait, TestScoping {
    var isRecursive: Bool { true }

    func provideScope(
        for test: Test, testCase: Test.Case?,
        performing function: @Sendable () async throws -> Void
    ) async throws {
        guard testCase != nil else { return try await function() }
        try await withTaskExecutorPreference(BlockingThread()) { try await function() }
    }
}

extension Trait where Self == OwnThread {
    /// Each test on a thread of its own.
    static var ownThread: OwnThread { OwnThread() }
}

/// All tests with processes, one after another.
@Suite("The process", .serialized, .ownThread) struct ProcessTests {}

/// Something did not happen, or happened wrongly; the text says what.
struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// Asks until `condition` holds: for what only questions can tell (an HTTP answer, a file).
///
/// - Returns: false when `seconds` have passed.
func eventually(within seconds: Double, _ condition: () throws -> Bool) rethrows -> Bool {
    let end = now() + seconds
    while true {
        if try condition() { return true }
        if now() > end { return false }
        poll(nil, 0, 20)
    }
}

/// Seconds on the monotonic clock.
func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// A value that threads share, with a signal for who waits for a change.
final class Shared<Value>: @unchecked Sendable {  // guarded by `condition`
    private let condition = NSCondition()
    private var value: Value

    init(_ value: Value) { self.value = value }

    @discardableResult
    func with<Result>(_ body: (inout Value) throws -> Result) rethrows -> Result {
        self.condition.lock()
        defer {
            self.condition.broadcast()
            self.condition.unlock()
        }
        return try body(&self.value)
    }

    var current: Value { self.with { $0 } }

    /// Waits until `condition` gives a value; nil when `seconds` have passed.
    func wait<Result>(seconds: Double, for condition: (Value) -> Result?) -> Result? {
        let end = Date(timeIntervalSinceNow: seconds)
        self.condition.lock()
        defer { self.condition.unlock() }
        while true {
            if let result = condition(self.value) { return result }
            if !self.condition.wait(until: end) { return condition(self.value) }
        }
    }
}
