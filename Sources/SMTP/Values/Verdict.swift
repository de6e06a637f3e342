// Verdict.swift - how one attempt ended for one recipient.
//
// Standard  RFC 3464 §2.3.3 (action), RFC 3461 §4.1 (NOTIFY), RFC 5321 §4.2.1, RFC 2033 (LMTP).

/// What an attempt found out about one recipient.
package struct Verdict: Hashable, Sendable {
    package enum Kind: UInt8, Hashable, Sendable {
        /// The next host took responsibility and will report success itself (it offers DSN), or
        /// none was asked for.
        case delivered = 1
        /// The next host took responsibility, but offers no DSN (RFC 3461 §6.2.4 "relayed").
        case relayed = 2
        /// May succeed later.
        case deferred = 3
        /// Never will.
        case failed = 4
        /// The next host is the mailbox itself (LMTP) and makes no reports of its own: delivery is
        /// final, and a report of success is ours to make.
        case stored = 5

        /// For the log.
        package var label: String {
            switch self {
            case .delivered: "delivered"
            case .relayed: "relayed"
            case .deferred: "deferred"
            case .failed: "failed"
            case .stored: "stored"
            }
        }
    }
    package var kind: Kind
    /// The reply that decided, or one of ours that tells what happened (e.g. a time-out).
    package var reply: Reply
    /// The host that decided ("mx1.example.org", RFC 3464 §2.3.5); nil where none was reached.
    package var remoteHost: String?

    package init(_ kind: Kind, _ reply: Reply, remoteHost: String? = nil) {
        self.kind = kind
        self.reply = reply
        self.remoteHost = remoteHost
    }
}
