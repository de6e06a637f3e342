// Values.swift - names of things in the queue that other rooms speak of too.

package import Primitives
package import SMTP

/// One delivery: the recipients of one message that share a destination.
package struct DeliveryID: Hashable, Comparable, Sendable {
    package var message: Tag
    /// Counts from 0 within the message.
    package var index: UInt16
    package init(message: Tag, index: UInt16) {
        self.message = message
        self.index = index
    }
    package static func < (a: Self, b: Self) -> Bool {
        a.message != b.message ? a.message < b.message : a.index < b.index
    }
}

/// One owed report of a message.
package struct ReportID: Hashable, Comparable, Sendable {
    package var message: Tag
    /// Counts from 0 within the message; never used twice.
    package var number: UInt16
    package init(message: Tag, number: UInt16) {
        self.message = message
        self.number = number
    }
    package static func < (a: Self, b: Self) -> Bool {
        a.message != b.message ? a.message < b.message : a.number < b.number
    }
}

/// What a report is to say. Recipients that ended by one command share one report.
package struct OwedReport: Hashable, Sendable {
    package struct Line: Hashable, Sendable {
        package var recipient: Recipient
        package var action: Action
        package var verdict: Verdict
        package var attempts: UInt32
        /// The status where it is not the reply's: 4.4.7 of what expired, whose reply is the last
        /// one that it got. Nil: `verdict.reply.enhanced`.
        package var status: EnhancedCode?
        package init(
            recipient: Recipient, action: Action, verdict: Verdict, attempts: UInt32,
            status: EnhancedCode? = nil
        ) {
            self.recipient = recipient
            self.action = action
            self.verdict = verdict
            self.attempts = attempts
            self.status = status
        }
    }
    /// RFC 3464 §2.3.3.
    package enum Action: UInt8, Hashable, Sendable {
        case failed = 1
        case delayed = 2
        case delivered = 3
        case relayed = 4
    }
    /// Whom it goes to.
    package enum Kind: UInt8, Hashable, Sendable {
        /// The sender of the original.
        case sender = 1
        /// The postmaster: a report of ours failed (double bounce). It ends there.
        case postmaster = 2
    }
    /// At least one.
    package var lines: [Line]
    package var kind: Kind
    package init(lines: [Line], kind: Kind = .sender) {
        self.lines = lines
        self.kind = kind
    }
}

/// Time as the queue counts it: milliseconds, replicated, never going back (design: queue time).
package struct QueueTime: Hashable, Comparable, Sendable {
    package var milliseconds: UInt64
    package init(milliseconds: UInt64) { self.milliseconds = milliseconds }
    package static let zero = QueueTime(milliseconds: 0)
    package static func < (a: Self, b: Self) -> Bool { a.milliseconds < b.milliseconds }
    /// Negative durations count as zero.
    package static func + (a: Self, b: Duration) -> QueueTime {
        QueueTime(milliseconds: a.milliseconds &+ UInt64(max(0, b.inMilliseconds)))
    }
    package static func - (a: Self, b: Self) -> Duration {
        .milliseconds(Int64(a.milliseconds) - Int64(b.milliseconds))
    }
}
