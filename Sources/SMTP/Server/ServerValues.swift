// ServerValues.swift - what a server session is told at its start, and what it gives out.

package import struct NIOCore.ByteBuffer

/// How sessions of one listener behave; one immutable value for all of them.
///
/// A class, so that a session holds one reference instead of a copy of each string.
package final class ServerOptions: Sendable {
    package let hostname: String
    /// The whole greeting with its line end.
    package let banner: ByteBuffer
    /// The whole answers to EHLO, without and with TLS.
    package let helloPlain: ByteBuffer
    package let helloTLS: ByteBuffer
    package let helo: ByteBuffer
    package let limits: ServerLimits
    /// STARTTLS is offered.
    package let offersTLS: Bool
    /// AUTH is offered, under TLS only.
    package let offersAuth: Bool
    /// MAIL needs AUTH, unless the session is trusted (RFC 6409 §4.3).
    package let requiresAuth: Bool
    /// Date and Message-ID are added where they are missing (RFC 6409 §8).
    package let isSubmission: Bool

    package init(
        hostname: String, limits: ServerLimits, offersTLS: Bool, offersAuth: Bool,
        requiresAuth: Bool, isSubmission: Bool
    ) {
        self.hostname = hostname
        self.limits = limits
        self.offersTLS = offersTLS
        self.offersAuth = offersAuth
        self.requiresAuth = requiresAuth
        self.isSubmission = isSubmission
        self.banner = ByteBuffer(string: "220 \(hostname) ESMTP Posthouse\r\n")
        self.helo = ByteBuffer(string: "250 \(hostname)\r\n")
        let extensions = [
            hostname, "PIPELINING", "SIZE \(limits.messageBytes)", "8BITMIME", "SMTPUTF8",
            "CHUNKING", "DSN", "ENHANCEDSTATUSCODES",
        ]
        let plain = extensions + (offersTLS ? ["STARTTLS"] : []) + ["HELP"]
        let tls = extensions + (offersAuth ? ["AUTH PLAIN LOGIN"] : []) + ["HELP"]
        self.helloPlain = Self.lines(plain)
        self.helloTLS = Self.lines(tls)
    }

    private static func lines(_ texts: [String]) -> ByteBuffer {
        var result = ByteBuffer()
        for (index, text) in texts.enumerated() {
            result.writeString(index == texts.count - 1 ? "250 " : "250-")
            result.writeString(text)
            result.writeString("\r\n")
        }
        return result
    }
}

/// What one session may ask for.
package struct ServerLimits: Hashable, Sendable {
    /// Bytes of content (RFC 1870).
    package var messageBytes: UInt64
    /// Recipients of one transaction; at least 100 (RFC 5321 §4.5.3.1.8).
    package var recipients: Int
    /// Accepted messages of one session.
    package var messages: Int
    /// Commands refused for good before the session is ended.
    package var errors: Int
    /// Received fields of one message (RFC 5321 §6.3).
    package var received: Int

    package init(
        messageBytes: UInt64 = 50_000_000, recipients: Int = 1000, messages: Int = 100_000,
        errors: Int = 20, received: Int = 100
    ) {
        self.messageBytes = messageBytes
        self.recipients = recipients
        self.messages = messages
        self.errors = errors
        self.received = received
    }
}

/// A message whose content is complete, for the queue.
package struct ReceivedMessage: Equatable, Sendable {
    package var envelope: Envelope
    /// Bytes of content.
    package var bytes: UInt64
    package var keyword: ProtocolKeyword
    package var added: AddedFields
}

/// A decision that the driver took for a question of the session.
package enum ServerDecision: Equatable, Sendable {
    case go
    case fixed(ServerReply)
    case reply(Reply)
}

/// What became of an authentication.
package enum AuthDecision: Equatable, Sendable {
    case user(String)
    case failed
    /// Nothing could be checked: 454.
    case unavailable
    /// Too many failures from there: 421, and the end.
    case tooMany
}

/// Replies by their first digit, for the metrics.
package struct ReplyCounts: Equatable, Sendable {
    package var positive = 0
    package var intermediate = 0
    package var transient = 0
    package var permanent = 0

    package var isEmpty: Bool { self == ReplyCounts() }

    mutating func add(_ code: UInt16) {
        switch code / 100 {
        case 2: self.positive += 1
        case 3: self.intermediate += 1
        case 4: self.transient += 1
        case _: self.permanent += 1
        }
    }
}
