// ClientCommands.swift - commands as bytes, appended to the connection's one outbound buffer.
//
// Never     a CR, LF or other control character out of an address: `ClientSession.obstacle` has
//           refused such a transaction before.
// Standard  RFC 5321 §4.1.1.2, §4.1.1.3; RFC 1870 §6; RFC 6152 §2; RFC 6531 §3.4; RFC 3461 §4;
//           RFC 4616 (PLAIN), RFC 4954 §4.

import Primitives

package import struct NIOCore.ByteBuffer

enum ClientCommands {
    static func hello(_ verb: StaticString, _ name: String, into out: inout ByteBuffer) {
        out.writeStaticString(verb)
        out.writeString(name)
        out.writeStaticString("\r\n")
    }

    static func mail(
        _ mail: borrowing ClientMail, _ offered: ClientCapabilities, into out: inout ByteBuffer
    ) {
        out.writeStaticString("MAIL FROM:<")
        out.writeString(mail.sender)
        out.writeStaticString(">")
        if offered.size && mail.bytes > 0 {
            out.writeStaticString(" SIZE=")
            Self.decimal(mail.bytes, into: &out)
        }
        if mail.eightBit && offered.eightBit { out.writeStaticString(" BODY=8BITMIME") }
        if mail.utf8 && offered.utf8 { out.writeStaticString(" SMTPUTF8") }
        if offered.dsn {
            switch mail.ret {
            case .full: out.writeStaticString(" RET=FULL")
            case .headers: out.writeStaticString(" RET=HDRS")
            case nil: break
            }
            if let envid = mail.envid {
                out.writeStaticString(" ENVID=")
                out.writeString(envid)
            }
        }
        out.writeStaticString("\r\n")
    }

    static func recipient(
        _ recipient: borrowing Recipient, _ offered: ClientCapabilities,
        into out: inout ByteBuffer
    ) {
        out.writeStaticString("RCPT TO:<")
        out.writeString(recipient.address)
        out.writeStaticString(">")
        if offered.dsn {
            if recipient.notify.contains(.explicit) { Self.notify(recipient.notify, into: &out) }
            if let orcpt = recipient.orcpt {
                out.writeStaticString(" ORCPT=")
                out.writeString(orcpt)
            }
        }
        out.writeStaticString("\r\n")
    }

    /// NOTIFY as it was given (RFC 3461 §5.2.2): NEVER stands alone.
    private static func notify(_ notify: Notify, into out: inout ByteBuffer) {
        guard !notify.contains(.never) else {
            out.writeStaticString(" NOTIFY=NEVER")
            return
        }
        let asked = notify.intersection([.success, .failure, .delay])
        guard !asked.isEmpty else { return }
        out.writeStaticString(" NOTIFY=")
        var comma = false
        for (flag, word) in [
            (Notify.success, "SUCCESS" as StaticString), (.failure, "FAILURE"), (.delay, "DELAY"),
        ] where asked.contains(flag) {
            if comma { out.writeStaticString(",") }
            out.writeStaticString(word)
            comma = true
        }
    }

    private static func decimal(_ value: UInt64, into out: inout ByteBuffer) {
        var divisor: UInt64 = 1
        while value / divisor >= 10 { divisor *= 10 }
        while divisor > 0 {
            out.writeInteger(UInt8(value / divisor % 10) + 0x30)
            divisor /= 10
        }
    }

    /// `AUTH PLAIN` with its initial response: authorization identity empty (RFC 4616 §2).
    static func authPlain(
        _ credentials: ClientOptions.Credentials, into out: inout ByteBuffer
    ) {
        out.writeStaticString("AUTH PLAIN ")
        let message = [0] + Array(credentials.user.utf8) + [0] + Array(credentials.password.utf8)
        out.writeBytes(Base64.encode(message))
        out.writeStaticString("\r\n")
    }

    static func authAnswer(_ text: String, into out: inout ByteBuffer) {
        out.writeBytes(Base64.encode(Array(text.utf8)))
        out.writeStaticString("\r\n")
    }
}
