// Envelope.swift - what travels beside the message: who from, who to, what was asked for.
//
// Standard  RFC 5321 §2.3.1; RFC 3461 (RET, ENVID, NOTIFY, ORCPT); RFC 6152; RFC 6531.

/// The envelope of one message as accepted.
package struct Envelope: Hashable, Sendable {
    /// The reverse-path without angle brackets; "" is the null reverse-path `<>`.
    package var sender: String
    /// In the order of the RCPT commands; at least one.
    package var recipients: [Recipient]
    /// BODY=8BITMIME, or a body that was seen to hold bytes above 127 (RFC 6152).
    package var eightBit: Bool
    /// SMTPUTF8 was given (RFC 6531 §3.4).
    package var utf8: Bool
    /// RET (RFC 3461 §4.3); nil where it was not given.
    package var ret: DSNReturn?
    /// ENVID, still xtext-encoded (RFC 3461 §4.4); nil where it was not given.
    package var envid: String?
    /// The authenticated user, for limits and logs; nil without AUTH.
    package var user: String?

    package init(
        sender: String, recipients: [Recipient], eightBit: Bool = false, utf8: Bool = false,
        ret: DSNReturn? = nil, envid: String? = nil, user: String? = nil
    ) {
        self.sender = sender
        self.recipients = recipients
        self.eightBit = eightBit
        self.utf8 = utf8
        self.ret = ret
        self.envid = envid
        self.user = user
    }
}

/// One forward-path and its DSN parameters.
package struct Recipient: Hashable, Sendable {
    /// Without angle brackets, domain in lower-case A-labels unless the local part needs UTF-8;
    /// "postmaster" may stand without a domain (RFC 5321 §4.1.1.3).
    package var address: String
    package var notify: Notify
    /// ORCPT as given, `rfc822;xtext` (RFC 3461 §4.2); nil where it was not given.
    package var orcpt: String?

    package init(address: String, notify: Notify = .default, orcpt: String? = nil) {
        self.address = address
        self.notify = notify
        self.orcpt = orcpt
    }

    /// What stands behind the last `@`; "" without one.
    package var domain: Substring {
        guard let at = self.address.utf8.lastIndex(of: UInt8(ascii: "@")) else { return "" }
        return self.address[self.address.utf8.index(after: at)...]
    }
}

/// RET: how much of the message a report of failure returns (RFC 3461 §4.3).
package enum DSNReturn: UInt8, Hashable, Sendable {
    case full = 1
    case headers = 2
}

/// NOTIFY (RFC 3461 §4.1).
package struct Notify: OptionSet, Hashable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    package static let success = Notify(rawValue: 1)
    package static let failure = Notify(rawValue: 2)
    package static let delay = Notify(rawValue: 4)
    package static let never = Notify(rawValue: 8)
    /// The sender gave NOTIFY (so that it is passed on as given).
    package static let explicit = Notify(rawValue: 16)
    /// Without NOTIFY: failures and delays (RFC 3461 §4.1, last paragraph but one).
    package static let `default`: Notify = [.failure, .delay]
}
