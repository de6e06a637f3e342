// Verdict.swift - how one attempt ended for one recipient.
//
// Standard  RFC 3464 §2.3.3 (action), RFC 5321 §4.2.1.

/// What an attempt found out about one recipient.
package struct Verdict: Hashable, Sendable {
    package enum Kind: UInt8, Hashable, Sendable {
        /// The next host took responsibility and will report itself (it offers DSN), or the
        /// recipient asked for no report of success.
        case delivered = 1
        /// The next host took responsibility, but offers no DSN (RFC 3461 §6.2.4 "relayed").
        case relayed = 2
        /// May succeed later.
        case deferred = 3
        /// Never will.
        case failed = 4
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
