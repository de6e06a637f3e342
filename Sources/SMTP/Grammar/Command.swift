// Command.swift - one line of a client, read.
//
// Standard  RFC 5321 §4.1.1; RFC 1870 §5; RFC 3030 §2; RFC 3207 §4; RFC 3461 §4; RFC 4954 §4;
//           RFC 6152; RFC 6531 §3.4.

/// MAIL and its parameters.
package struct MailCommand: Hashable, Sendable {
    package var sender: Path
    /// SIZE (RFC 1870 §5); nil where it was not given.
    package var size: UInt64?
    /// BODY=8BITMIME.
    package var eightBit = false
    package var utf8 = false
    package var ret: DSNReturn?
    /// As given, in xtext.
    package var envid: String?

    package init(sender: Path) { self.sender = sender }
}

/// RCPT and its parameters.
package struct RecipientCommand: Hashable, Sendable {
    package var path: Path
    package var notify = Notify.default
    /// As given, `type;xtext`.
    package var orcpt: String?

    package init(path: Path) { self.path = path }
}

package enum AuthMechanism: Hashable, Sendable {
    case plain
    case login
}

/// What a line asks for; what is wrong with it is an answer too.
package enum ServerCommand: Hashable, Sendable {
    case hello(name: String, isExtended: Bool)
    case mail(MailCommand)
    case recipient(RecipientCommand)
    case data
    case chunk(bytes: UInt64, isLast: Bool)
    case reset
    case noop
    case help
    case verify
    case expand
    case quit
    case startTLS
    /// `initial` is still base64; a single `=` was an empty response (RFC 4954 §4).
    case auth(AuthMechanism, initial: [UInt8]?)
    /// A browser, or somebody who makes one speak to us.
    case web
    /// A BDAT whose length cannot be read: where the next command begins is not known.
    case lostChunk
    case refused(ServerReply)
}
