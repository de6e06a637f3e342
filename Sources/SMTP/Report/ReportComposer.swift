// ReportComposer.swift - a report as a message: multipart/report with three parts.
//
// Takes     a DeliveryReport, and of the original as much as was asked for and fits.
// Gives     the content of a message; its head (Received, Date, Message-ID) is made with its id.
// Never     longer than the original's part (limited by the caller) and about 2 KB a recipient.
// Standard  RFC 6522 (multipart/report), RFC 3464 (delivery-status), RFC 3461 §6.2, RFC 3834 §5
//           (Auto-Submitted), RFC 6533 (UTF-8 forms), RFC 5322 §2.1.1 (line length).

package import Primitives

package import struct NIOCore.ByteBuffer

/// A composed report.
package struct ComposedReport: Sendable {
    /// The whole message but for its head; CRLF line ends.
    package var content: ByteBuffer
    package var eightBit: Bool
    package var utf8: Bool
}

package enum ReportComposer {
    package enum Limit {
        /// Bytes of one reply in Diagnostic-Code and in the text.
        package static let diagnosticBytes = 1000
        /// Recipients that the text for people names; the rest is counted.
        package static let namedRecipients = 50
        /// Bytes of the original's header that are returned.
        package static let headerBytes = 65_536
    }

    /// - Parameters:
    ///   - original: head and content of the original in order; empty: it cannot be had any more.
    ///   - maxBytes: a larger original is returned as its header only.
    package static func compose(
        _ report: DeliveryReport, original: [ByteBuffer], maxBytes: Int
    ) -> ComposedReport {
        let returned = Returned(report, original, maxBytes: maxBytes)
        let utf8 =
            !report.recipient.isASCII
            || report.lines.contains { !$0.recipient.address.isASCII }
        let boundary = Self.boundary(report, avoiding: returned.parts)
        var out = MessageText(capacity: 4096 + returned.byteCount + 512 * report.lines.count)
        Self.header(report, boundary, into: &out)
        out.line("--\(boundary)")
        Self.explanation(report, utf8: utf8, into: &out)
        out.line("")
        out.line("--\(boundary)")
        Self.status(report, utf8: utf8, into: &out)
        if !returned.parts.isEmpty {
            out.line("--\(boundary)")
            returned.write(utf8: utf8, into: &out)
        }
        out.line("--\(boundary)--")
        return ComposedReport(
            content: out.buffer, eightBit: utf8 || returned.hasEightBit, utf8: utf8)
    }

    /// The header fields that stand in front of `content`, for the report's own queue id.
    package static func head(_ id: String, host: String, at time: WallTime) -> ByteBuffer {
        var out = MessageText(capacity: 256)
        out.line("Received: by \(host) id \(id);")
        out.line("\t\(time.rfc5322)")
        out.line("Date: \(time.rfc5322)")
        out.line("Message-ID: <\(id).\(time.milliseconds)@\(host)>")
        return out.buffer
    }

    private static func header(
        _ report: DeliveryReport, _ boundary: String, into out: inout MessageText
    ) {
        let subject =
            switch (report.audience, report.theme) {
            case (.postmaster, _): "Postmaster notice: mail that nobody else can be told of"
            case (.sender, .failed): "Undelivered mail returned to sender"
            case (.sender, .delayed): "Mail is delayed, still trying"
            case (.sender, .delivered), (.sender, .relayed): "Successful mail delivery report"
            }
        out.line("From: Mail Delivery System <MAILER-DAEMON@\(report.host)>")
        out.line("To: <\(report.recipient)>")
        out.line("Subject: \(subject)")
        out.line("Auto-Submitted: auto-replied")
        out.line("MIME-Version: 1.0")
        out.line("Content-Type: multipart/report; report-type=delivery-status;")
        out.line("\tboundary=\"\(boundary)\"")
        out.line("")
        out.line("This is a report in MIME format.")
        out.line("")
    }

    private static func explanation(
        _ report: DeliveryReport, utf8: Bool, into out: inout MessageText
    ) {
        out.line("Content-Description: Notification")
        out.line("Content-Type: text/plain; charset=\(utf8 ? "utf-8" : "us-ascii")")
        if utf8 { out.line("Content-Transfer-Encoding: 8bit") }
        out.line("")
        out.line("This is the mail system at host \(report.host).")
        out.line("")
        switch report.theme {
        case .failed:
            out.line("Your message could not be delivered to one or more recipients. It will not")
            out.line("be tried again. What the mail system found out is below.")
        case .delayed:
            out.line("Your message is not delivered yet. YOU NEED NOT SEND IT AGAIN.")
            if let until = report.retriesUntil {
                out.line("The mail system goes on trying until \(until.rfc5322).")
            }
        case .delivered, .relayed:
            out.line("Your message was delivered, or passed on to a system that makes no such")
            out.line("reports, for the recipients below. You asked to be told.")
        }
        if report.audience == .postmaster {
            out.line("")
            out.line("You get this as the postmaster: the message has no sender who can be told.")
        }
        out.line("")
        for line in report.lines.prefix(Limit.namedRecipients) {
            out.folded("<\(line.recipient.address)>: \(Self.phrase(line, utf8: utf8))")
            out.line("")
        }
        if report.lines.count > Limit.namedRecipients {
            out.line("... and \(report.lines.count - Limit.namedRecipients) more recipients.")
        }
    }

    private static func phrase(_ line: DeliveryReport.Line, utf8: Bool) -> String {
        let said = Self.diagnostic(line.verdict.reply, utf8: utf8)
        guard let host = line.verdict.remoteHost else { return said }
        return "host \(Self.clean(host, utf8: utf8)) said: \(said)"
    }

    private static func status(
        _ report: DeliveryReport, utf8: Bool, into out: inout MessageText
    ) {
        out.line("Content-Description: Delivery report")
        out.line("Content-Type: message/\(utf8 ? "global-" : "")delivery-status")
        if utf8 { out.line("Content-Transfer-Encoding: 8bit") }
        out.line("")
        out.line("Reporting-MTA: dns; \(report.host)")
        out.line("X-Posthouse-Queue-ID: \(report.queueID)")
        if let envid = report.envid {
            out.folded("Original-Envelope-Id: \(decodedXtext(envid))")
        }
        out.line("Arrival-Date: \(report.arrivedAt.rfc5322)")
        for line in report.lines {
            out.line("")
            if let orcpt = line.recipient.orcpt { out.folded(Self.originalRecipient(orcpt)) }
            let address = line.recipient.address
            out.line("Final-Recipient: \(address.isASCII ? "rfc822" : "utf-8"); \(address)")
            out.line("Action: \(line.action.rawValue)")
            out.line("Status: \(Self.statusCode(line))")
            if let host = line.verdict.remoteHost {
                out.line("Remote-MTA: dns; \(Self.clean(host, utf8: utf8))")
            }
            // Words of ours, with no host reached, are not an SMTP reply (RFC 3464 §2.3.6).
            let kind = line.verdict.remoteHost == nil ? "x-posthouse" : "smtp"
            out.folded(
                "Diagnostic-Code: \(kind); \(Self.diagnostic(line.verdict.reply, utf8: utf8))")
            out.line("Last-Attempt-Date: \(report.madeAt.rfc5322)")
            if line.action == .delayed, let until = report.retriesUntil {
                out.line("Will-Retry-Until: \(until.rfc5322)")
            }
        }
        out.line("")
    }

    /// `rfc822;xtext` becomes `rfc822; text` (RFC 3464 §2.3.1).
    private static func originalRecipient(_ orcpt: String) -> String {
        let parts = orcpt.split(separator: ";", maxSplits: 1)
        guard parts.count == 2 else { return "Original-Recipient: rfc822; \(decodedXtext(orcpt))" }
        return "Original-Recipient: \(parts[0]); \(decodedXtext(parts[1]))"
    }

    /// The reply's own code; else the class, as the action has it (RFC 3464 §2.3.4).
    private static func statusCode(_ line: DeliveryReport.Line) -> String {
        if let status = line.status { return status.description }
        if let enhanced = line.verdict.reply.enhanced { return enhanced.description }
        return switch line.action {
        case .failed: "5.0.0"
        case .delayed: "4.0.0"
        case .delivered, .relayed: "2.0.0"
        }
    }

    /// The reply on one line, cut, and in ASCII unless the report is in UTF-8.
    private static func diagnostic(_ reply: Reply, utf8: Bool) -> String {
        Self.clean(reply.summary, utf8: utf8)
    }

    private static func clean(_ text: String, utf8: Bool) -> String {
        var scalars = String.UnicodeScalarView()
        var bytes = 0
        for scalar in text.unicodeScalars {
            let isControl = scalar.value < 0x20 || scalar.value == 0x7F
            let kept = isControl || (!utf8 && scalar.value > 0x7E) ? "?" : scalar
            bytes += UTF8.width(kept)
            if bytes > Limit.diagnosticBytes { break }
            scalars.append(kept)
        }
        return String(scalars)
    }

    /// A boundary that does not stand in what is returned.
    private static func boundary(_ report: DeliveryReport, avoiding parts: [ByteBuffer]) -> String {
        var salt: UInt64 = 0
        while true {
            var hash = StableHash()
            hash.add(report.queueID)
            hash.add(report.host)
            hash.add(UInt64(bitPattern: report.madeAt.milliseconds))
            hash.add(salt)
            let boundary = "=_\(Base32.text(hash.value))/\(report.queueID)"
            if !Returned.contain(boundary, parts) { return boundary }
            salt += 1
        }
    }
}
