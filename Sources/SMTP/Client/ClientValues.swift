// ClientValues.swift - what goes into a client session and what comes out of it.
//
// Standard  RFC 5321 §4.5.3.2 (time-outs), RFC 3461 §4 (what a message asks for), RFC 2033.

package import Primitives

/// How long the client waits for what it awaits now (RFC 5321 §4.5.3.2). The driver has the clock.
package struct ClientTimeouts: Hashable, Sendable {
    /// Until the TCP connection stands.
    package var connect = Duration.seconds(30)
    /// §4.5.3.2.1: the greeting. Also EHLO, HELO, STARTTLS and AUTH.
    package var greeting = Duration.seconds(300)
    /// The TLS handshake, all of it.
    package var handshake = Duration.seconds(60)
    /// §4.5.3.2.2.
    package var mail = Duration.seconds(300)
    /// §4.5.3.2.3.
    package var recipient = Duration.seconds(300)
    /// §4.5.3.2.4: from DATA to 354.
    package var dataStart = Duration.seconds(120)
    /// §4.5.3.2.5: until a block of the message has left.
    package var dataBlock = Duration.seconds(180)
    /// §4.5.3.2.6: from the final dot to its reply.
    package var finalDot = Duration.seconds(600)
    /// RSET: an answer that costs the server nothing.
    package var reset = Duration.seconds(30)
    /// QUIT is a courtesy; nobody waits long for its answer.
    package var quit = Duration.seconds(2)
    package init() {}
}

/// How much TLS a connection must have.
package enum TLSLevel: UInt8, Hashable, Sendable, CaseIterable {
    /// Never STARTTLS.
    case none
    /// TLS if the server has it (RFC 7435), any certificate.
    case may
    /// TLS or nothing, any certificate.
    case encrypt
    /// TLS or nothing, and the certificate names the host.
    case verify
}

/// How a client session behaves; one value for all connections to a host.
package struct ClientOptions: Hashable, Sendable {
    package enum Dialect: Hashable, Sendable { case smtp, lmtp }
    package struct Credentials: Hashable, Sendable {
        package var user: String
        package var password: String
        package init(user: String, password: String) {
            self.user = user
            self.password = password
        }
    }
    package var dialect = Dialect.smtp
    /// What EHLO, HELO or LHLO says.
    package var helo: String
    package var tls = TLSLevel.may
    /// TLS begins with the connection (RFC 8314 §3); STARTTLS is never sent.
    package var beginsWithTLS = false
    /// AUTH is a must then.
    package var credentials: Credentials?
    /// Whether a password may be sent without TLS.
    package var authenticatesInPlain = false
    /// For verdicts: the name of the host on the other side.
    package var remoteHost: String
    package var timeouts = ClientTimeouts()

    package init(helo: String, remoteHost: String) {
        self.helo = helo
        self.remoteHost = remoteHost
    }
}

/// One transaction: an envelope with those recipients that it is to carry.
package struct ClientMail: Hashable, Sendable {
    package var sender: String
    /// At least one, at most `delivery.recipientsPerTransaction`.
    package var recipients: [Recipient]
    package var eightBit: Bool
    /// An address or the message's header holds UTF-8, so that the server must offer SMTPUTF8.
    package var utf8: Bool
    package var ret: DSNReturn?
    package var envid: String?
    /// For SIZE (RFC 1870 §6): bytes of the message before dots are stuffed.
    package var bytes: UInt64
    /// Ask about the recipients only: no DATA follows, RSET ends it.
    package var isProbe = false

    package init(
        sender: String, recipients: [Recipient], eightBit: Bool = false, utf8: Bool = false,
        ret: DSNReturn? = nil, envid: String? = nil, bytes: UInt64 = 0
    ) {
        self.sender = sender
        self.recipients = recipients
        self.eightBit = eightBit
        self.utf8 = utf8
        self.ret = ret
        self.envid = envid
        self.bytes = bytes
    }
}

/// How a transaction ended for one recipient.
package enum RecipientEnding: Hashable, Sendable {
    /// The server took it and sees to success reports, or none was asked for.
    case delivered(Reply)
    /// The server took it; a success report was asked for and the server knows no DSN.
    case relayed(Reply)
    /// LMTP: it is in the mailbox, and the server knows no DSN, so that success is ours to report.
    case stored(Reply)
    case failed(Reply)
    /// Not now, and not at another host either.
    case deferred(Reply)
    /// Another host of this destination may take it; without one: deferred.
    case elsewhere(Reply)
    /// Too many recipients for one transaction: the next one at this host may carry it.
    case again(Reply)
}

/// How a transaction ended.
package enum ClientResult: Hashable, Sendable {
    /// The same for all recipients.
    case all(RecipientEnding)
    /// In the order of `ClientMail.recipients`.
    case each([RecipientEnding])

    package subscript(recipient: Int) -> RecipientEnding {
        switch self {
        case .all(let ending): ending
        case .each(let endings): endings[recipient]
        }
    }
}

/// Why a connection came to its end.
package struct ClientFailure: Hashable, Sendable {
    package var stage: ClientStage
    /// The server's words, or ours for what happened.
    package var reply: Reply
    /// What another connection may do about it.
    package var remedy: HostRemedy
    /// How the running transaction ended by it; nil: none was running.
    package var result: ClientResult?
    /// A transaction was written behind the running one and has not begun: it is unattempted.
    package var returnsNext: Bool
}
