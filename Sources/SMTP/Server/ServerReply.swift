// ServerReply.swift - every reply whose text never changes, once.
//
// Standard  RFC 5321 §4.2, §4.3.2; RFC 3463 and RFC 5248 (enhanced codes); RFC 4954 §6; RFC 3207
//           §4; RFC 3030 §2; RFC 6531 §3.5.
// Never     a byte that a client sent: nobody can make us say something.

import Primitives

package import struct NIOCore.ByteBuffer

/// A reply of one line, known when the program is built.
package enum ServerReply: UInt8, Hashable, Sendable, CaseIterable {
    case ok, senderOk, recipientOk, goodbye, help, cannotVerify, startTLS, authenticated
    case goAhead, challengeEmpty, challengeUser, challengePassword

    case idle, stopping, tooManyErrors, tooManyMessages, tooManyAuthFailures
    case tooManySessions, sessionTooLong
    case tooManyRecipients, authUnavailable, rateLimited, verifyUnavailable

    case unrecognized, lineTooLong, bareLineEnd, argumentMissing, argumentUnwanted, mailSyntax
    case recipientSyntax, badSender, badRecipient, pathTooLong, parameterMalformed
    case parameterRepeated, parameterUnknown, chunkSyntax, badBase64, authCancelled
    case notImplemented, helloFirst, mailFirst, recipientFirst, nestedMail, noValidRecipients
    case chunkingBegun, tlsActive, tlsNotOffered, authTwice, authInTransaction, transactionFailed
    case mechanismUnknown, authRequired, tlsRequired, authNeedsTLS, authFailed
    case tooLarge, bareBytes, loop, relayDenied, utf8Needed, earlyTalker, wrongProtocol

    /// The whole reply but for its line end.
    package var text: StaticString {
        switch self {
        case .ok: "250 2.0.0 Ok"
        case .senderOk: "250 2.1.0 Ok"
        case .recipientOk: "250 2.1.5 Ok"
        case .goodbye: "221 2.0.0 Bye"
        case .help: "214 2.0.0 RFC 5321: EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT"
        case .cannotVerify: "252 2.0.0 Cannot verify a user, but will try to deliver"
        case .startTLS: "220 2.0.0 Ready to start TLS"
        case .authenticated: "235 2.7.0 Authentication successful"
        case .goAhead: "354 End data with <CR><LF>.<CR><LF>"
        case .challengeEmpty: "334 "
        case .challengeUser: "334 VXNlcm5hbWU6"
        case .challengePassword: "334 UGFzc3dvcmQ6"
        case _: self.refusalText
        }
    }

    private var refusalText: StaticString {
        switch self {
        case .idle: "421 4.4.2 Idle for too long, closing"
        case .stopping: "421 4.3.2 Service shutting down, try again later"
        case .tooManyErrors: "421 4.7.0 Too many errors, closing"
        case .tooManyMessages: "421 4.7.0 Enough messages for one session, connect again"
        case .sessionTooLong: "421 4.4.2 The session takes too long, closing"
        case .tooManyAuthFailures: "421 4.7.0 Too many failed authentications, closing"
        case .tooManySessions: "421 4.7.0 Too many sessions, try again later"
        case .tooManyRecipients: "452 4.5.3 Too many recipients, send the rest separately"
        case .authUnavailable: "454 4.7.0 Authentication not available now, try again later"
        case .rateLimited: "450 4.7.1 Too many messages of this user, try again later"
        case .verifyUnavailable: "450 4.1.1 Cannot verify the recipient now, try again later"
        case .unrecognized: "500 5.5.1 Command not recognized"
        case .lineTooLong: "500 5.5.6 Line too long"
        case .bareLineEnd: "500 5.5.2 A line ends with CR and LF"
        case .argumentMissing: "501 5.5.4 Argument missing"
        case .argumentUnwanted: "501 5.5.4 No argument expected"
        case .mailSyntax: "501 5.5.4 Syntax: MAIL FROM:<address> [parameters]"
        case .recipientSyntax: "501 5.5.4 Syntax: RCPT TO:<address> [parameters]"
        case .badSender: "501 5.1.7 Bad sender address syntax"
        case .badRecipient: "501 5.1.3 Bad recipient address syntax"
        case .pathTooLong: "501 5.1.3 Address too long"
        case .parameterMalformed: "501 5.5.4 Malformed parameter"
        case .parameterRepeated: "501 5.5.4 Parameter given twice"
        case .parameterUnknown: "555 5.5.4 Parameter not recognized"
        case .chunkSyntax: "501 5.5.4 Syntax: BDAT size [LAST]"
        case .badBase64: "501 5.5.2 Not base64"
        case .authCancelled: "501 5.7.0 Authentication cancelled"
        case .notImplemented: "502 5.5.1 Command not implemented"
        case _: self.orderText
        }
    }

    private var orderText: StaticString {
        switch self {
        case .helloFirst: "503 5.5.1 Send EHLO first"
        case .mailFirst: "503 5.5.1 Send MAIL first"
        case .recipientFirst: "503 5.5.1 Send RCPT first"
        case .nestedMail: "503 5.5.1 Sender already given"
        case .noValidRecipients: "554 5.5.1 No valid recipients"
        case .chunkingBegun: "503 5.5.1 The message has begun with BDAT"
        case .tlsActive: "503 5.5.1 TLS is active already"
        case .tlsNotOffered: "502 5.5.1 STARTTLS is not offered"
        case .authTwice: "503 5.5.1 Already authenticated"
        case .authInTransaction: "503 5.5.1 Not within a transaction"
        case .transactionFailed: "503 5.5.1 The transaction has failed, send RSET"
        case .mechanismUnknown: "504 5.5.4 Mechanism not offered"
        case .authRequired: "530 5.7.0 Authentication required"
        case .tlsRequired: "530 5.7.0 Send STARTTLS first"
        case .authNeedsTLS: "538 5.7.11 Encryption required for this mechanism"
        case .authFailed: "535 5.7.8 Authentication failed"
        case .tooLarge: "552 5.3.4 Message too large"
        case .bareBytes: "550 5.5.2 The message holds a CR or LF on its own"
        case .loop: "554 5.4.6 Too many Received fields: the message loops"
        case .relayDenied: "550 5.7.1 Relaying denied"
        case .utf8Needed: "553 5.6.7 The address needs SMTPUTF8"
        case .earlyTalker: "554 5.5.1 Wait for the greeting"
        case .wrongProtocol: "500 5.5.1 This is SMTP"
        case _: unreachableText(self)
        }
    }

    /// 200 … 599.
    package var code: UInt16 {
        let start = self.text.utf8Start
        return UInt16(start[0] - 0x30) * 100 + UInt16(start[1] - 0x30) * 10
            + UInt16(start[2] - 0x30)
    }

    /// Appends the reply and its line end.
    package func write(into out: inout ByteBuffer) {
        out.writeStaticString(self.text)
        out.writeStaticString("\r\n")
    }
}

private func unreachableText(_ reply: ServerReply) -> StaticString {
    unreachable("\(reply) has no text")
}

extension Reply {
    /// Appends the reply as it goes over the wire. Control characters and bytes above 127 of the
    /// text become `?`; a line is cut at 500 bytes (RFC 5321 §4.5.3.1.5).
    package func write(into out: inout ByteBuffer) {
        for (index, line) in self.lines.enumerated() {
            let isLast = index == self.lines.count - 1
            out.writeString(String(self.code))
            out.writeStaticString(isLast ? " " : "-")
            if let enhanced = self.enhanced {
                out.writeString(enhanced.description)
                out.writeStaticString(" ")
            }
            for byte in line.utf8.prefix(Self.lineBytesMax) {
                out.writeInteger(byte >= 0x20 && byte < 0x7F ? byte : UInt8(ascii: "?"))
            }
            out.writeStaticString("\r\n")
        }
    }

    private static let lineBytesMax = 490
}
