// Taker.swift - stands for Delivery: keeps what it is given.

import Synchronization

@testable import Cluster

/// Collects what the desk hands out.
final class Taker: LeaseTaker {
    private let state = Mutex<(work: [LeasedWork], waiters: [CheckedContinuation<Void, Never>])>(
        ([], []))

    func take(_ work: [LeasedWork]) {
        let waiters = self.state.withLock { state in
            state.work += work
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume() }
    }

    func sharesChanged() {}
    func cutConnections(sparesVerdicts: Bool) {}

    var deliveries: [LeasedDelivery] {
        self.state.withLock { $0.work }.compactMap {
            if case .delivery(let delivery) = $0 { delivery } else { nil }
        }
    }

    var reports: [LeasedReport] {
        self.state.withLock { $0.work }.compactMap {
            if case .report(let report) = $0 { report } else { nil }
        }
    }

    /// Returns when `isThere` holds; looks again whenever something was handed out.
    func wait(until isThere: () -> Bool) async {
        while true {
            if isThere() { return }
            await withCheckedContinuation { continuation in
                let isLate = self.state.withLock { state in
                    state.waiters.append(continuation)
                    return false
                }
                if isLate { continuation.resume() }
                if isThere() {
                    let waiters = self.state.withLock { state in
                        defer { state.waiters = [] }
                        return state.waiters
                    }
                    for waiter in waiters { waiter.resume() }
                }
            }
        }
    }
}
