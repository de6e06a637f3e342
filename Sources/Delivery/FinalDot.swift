// FinalDot.swift - how long the last write of a large message is put off, look by look.
//
// Takes     what the kernel says of the connection: whether it holds anything unacknowledged.
// Gives     go, look again, or give up.
// Never     clocks, sockets: ClientConnection has those.
// Standard  RFC 9293 §3.8 (what is acknowledged is at the peer), RFC 5321 §4.5.3.2.5.

import Primitives

/// The wait between the last slice of a large message and its end with the final dot: only when the
/// peer has all that came before does the kernel's time for the dot begin with the dot.
package struct AcknowledgementWait: Equatable, Sendable {
    package enum Limit {
        /// Between the first two looks; doubles with each look.
        package static let firstPause = Duration.milliseconds(1)
        /// Between two looks at most.
        package static let longestPause = Duration.milliseconds(50)
        /// Looks in all: somewhat more than the three minutes that a block of content may take
        /// (RFC 5321 §4.5.3.2.5), whose time-out ends the wait as a rule.
        package static let looks = 4_000
    }
    package enum Step: Equatable, Sendable {
        case go
        case lookAgain(after: Duration)
        case giveUp
    }
    private var looks = 0
    private var pause = Limit.firstPause

    package init() {}

    /// - Parameter isIdle: nothing that was written is unsent or unacknowledged.
    package mutating func look(isIdle: Bool) -> Step {
        self.looks += 1
        if isIdle { return .go }
        guard self.looks < Limit.looks else { return .giveUp }
        defer { self.pause = min(self.pause + self.pause, Limit.longestPause) }
        return .lookAgain(after: self.pause)
    }
}
