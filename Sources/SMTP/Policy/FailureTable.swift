// FailureTable.swift - what each kind of failure means: one table, nothing else decides.
//
// Takes     the stage, what came back, and (for RCPT) whether an earlier recipient was accepted.
// Gives     whom it concerns and whether it is for ever.
// Standard  RFC 5321 §4.2.1 (4yz and 5yz), §4.5.3.1.10 (452 and 552), §5.1 (next host), §3.8;
//           RFC 1047 (a lost answer to the final dot leaves the outcome unknown).
//
//                     4yz           5yz           421 / lost / time    no reply of SMTP's
//   connect           –             –             host                 –
//   greeting          host          host          host                 host
//   EHLO, HELO        host          host (1)      host                 host
//   STARTTLS, TLS     (TLSFallback) (TLSFallback) host                 host
//   AUTH              host          host (2)      host                 host
//   MAIL              next host     failed        next host            next host
//   RCPT              next host (3) failed (3)    next host            next host
//   DATA              next host     failed        next host            next host
//   the message       next host     failed        next host            next host
//   the final dot     next host     failed        deferred (4)         deferred (4)
//                     (421 too)
//
// "host": nothing was tried for any recipient, the host is out for a while; when all hosts of a
// destination are, the destination is suspended. "next host": those recipients go to another host
// in the same attempt, and are deferred when there is none.
//   (1) 5yz to EHLO: HELO is tried first (RFC 5321 §3.2).
//   (2) A wrong password is the operator's mistake; mail is not bounced for it.
//   (3) 452 behind an accepted recipient: the next transaction carries it. 552 there means 452.
//   (4) The server may have taken the message: it may be sent more than once.

import Primitives

/// How far a connection has come; the raw value is its phrase in logs and replies of ours.
package enum ClientStage: String, Hashable, Sendable, CaseIterable {
    case connect = "connecting"
    case greeting = "waiting for the greeting"
    case hello = "waiting for the answer to EHLO"
    case startTLS = "waiting for the answer to STARTTLS"
    case handshake = "in the TLS handshake"
    case authentication = "authenticating"
    case idle = "between two transactions"
    case mail = "waiting for the answer to MAIL"
    case recipient = "waiting for the answer to RCPT"
    case data = "waiting for the answer to DATA"
    case body = "sending the message"
    case finalDot = "waiting for the answer to the final dot (may be sent more than once)"
    case quit = "waiting for the answer to QUIT"

    /// For metrics.
    package var label: StaticString {
        switch self {
        case .connect: "connect"
        case .greeting: "greeting"
        case .hello: "hello"
        case .startTLS: "starttls"
        case .handshake: "tls"
        case .authentication: "auth"
        case .idle: "idle"
        case .mail: "mail"
        case .recipient: "rcpt"
        case .data: "data"
        case .body: "body"
        case .finalDot: "dot"
        case .quit: "quit"
        }
    }

    /// Whether recipients are at stake; before that it is the host alone.
    package var isTransaction: Bool {
        switch self {
        case .mail, .recipient, .data, .body, .finalDot: true
        case .connect, .greeting, .hello, .startTLS, .handshake, .authentication, .idle, .quit:
            false
        }
    }
}

/// What came instead of what the stage needs.
package enum ClientTrouble: Hashable, Sendable {
    /// A reply; 4yz, 5yz, or one that does not belong there.
    case reply(Reply)
    /// The connection ended, or reset, or could not be made.
    case lost(String)
    case timedOut
    /// Bytes that are no reply.
    case garbage(ReplyParser.Fault)
}

/// What another connection may do about a failed one.
package enum HostRemedy: Hashable, Sendable {
    /// Try another host; this one is out for a while.
    case nextHost
    /// Try the same host again without TLS (opportunistic TLS only).
    case sameHostInPlain
    /// The host works; only this connection has ended (an idle one closed, 421 between messages).
    case reconnect
}

/// The table above as functions.
package enum FailureTable {
    /// What trouble means for recipients at a stage of a transaction.
    ///
    /// - Parameter accepted: RCPT only: an earlier recipient of the transaction was accepted.
    package static func ending(
        at stage: ClientStage, _ trouble: ClientTrouble, accepted: Bool = false
    ) -> RecipientEnding {
        invariant(stage.isTransaction, "only transactions have recipients")
        let reply = Self.reply(at: stage, trouble)
        guard case .reply(let theirs) = trouble else {
            return stage == .finalDot ? .deferred(reply) : .elsewhere(reply)
        }
        if theirs.code == 421 {
            // 421 in place of the answer to the dot is a refusal: the server says so itself.
            return .elsewhere(reply)
        }
        if stage == .recipient && accepted && (theirs.code == 452 || theirs.code == 552) {
            return .again(reply)
        }
        if theirs.isPermanent { return .failed(reply) }
        if theirs.isTransient { return .elsewhere(reply) }
        // 2yz or 3yz where it does not belong: behind the dot nobody knows what it means.
        return stage == .finalDot ? .deferred(reply) : .elsewhere(reply)
    }

    /// What trouble before or between transactions means for the host.
    package static func remedy(at stage: ClientStage) -> HostRemedy {
        switch stage {
        case .connect, .greeting, .hello, .startTLS, .handshake, .authentication: .nextHost
        case .idle, .quit, .mail, .recipient, .data, .body, .finalDot: .reconnect
        }
    }

    /// The server's reply, or one of ours that says what happened and where.
    package static func reply(at stage: ClientStage, _ trouble: ClientTrouble) -> Reply {
        switch trouble {
        case .reply(let theirs):
            if theirs.code >= 400 { return theirs }
            return Reply(
                451, EnhancedCode(4, 5, 0),
                "unexpected reply \(theirs.code) while \(stage.rawValue)")
        case .lost(let why):
            if stage == .connect { return Reply(451, EnhancedCode(4, 4, 1), why) }
            return Reply(
                451, EnhancedCode(4, 4, 2), "lost connection while \(stage.rawValue): \(why)")
        case .timedOut:
            let code = stage == .connect ? EnhancedCode(4, 4, 1) : EnhancedCode(4, 4, 2)
            return Reply(451, code, "timed out while \(stage.rawValue)")
        case .garbage(let fault):
            return Reply(451, EnhancedCode(4, 5, 0), "\(fault.text) while \(stage.rawValue)")
        }
    }
}
