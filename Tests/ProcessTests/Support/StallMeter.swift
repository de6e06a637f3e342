// StallMeter.swift - how long this machine let nobody work: what a test must not blame on others.

import Foundation

final class StallMeter: Sendable {
    private static let restMilliseconds: Int32 = 10
    private let state = Shared((longest: 0.0, isOver: false))

    init() {
        Thread.detachNewThread { [state] in
            var last = now()
            while !state.with({ $0.isOver }) {
                poll(nil, 0, Self.restMilliseconds)
                let at = now()
                let late = at - last - Double(Self.restMilliseconds) / 1000
                state.with { $0.longest = max($0.longest, late) }
                last = at
            }
        }
    }

    deinit { self.state.with { $0.isOver = true } }

    func begin() { self.state.with { $0.longest = 0 } }

    /// Seconds, since `begin`, that a thread which had to run did not run, at most.
    var longest: Double { self.state.with { $0.longest } }
}
