// DeliveryReport.swift - what a report says, as a value.
//
// Standard  RFC 3464 §2.2, §2.3; RFC 3461 §6; RFC 6533 (UTF-8).

package import Primitives

/// Everything that a report of delivery is made of, but for the original message.
package struct DeliveryReport: Sendable {
    /// RFC 3464 §2.3.3.
    package enum Action: String, Hashable, Sendable {
        case failed, delayed, delivered, relayed
    }
    package struct Line: Hashable, Sendable {
        package var recipient: Recipient
        package var action: Action
        package var verdict: Verdict
        /// Where it is not the reply's own, e.g. 4.4.7 of what expired.
        package var status: EnhancedCode?
        package init(
            recipient: Recipient, action: Action, verdict: Verdict, status: EnhancedCode? = nil
        ) {
            self.recipient = recipient
            self.action = action
            self.verdict = verdict
            self.status = status
        }
    }
    package enum Audience: Hashable, Sendable {
        /// Who sent the message.
        case sender
        /// The sender cannot be told: the null sender's own message failed (RFC 5321 §6.1).
        case postmaster
    }
    /// Our name: Reporting-MTA, From.
    package var host: String
    /// Where the report goes; an address without angle brackets.
    package var recipient: String
    package var audience = Audience.sender
    /// At least one.
    package var lines: [Line]
    /// The original's sender; "" is the null reverse-path.
    package var originalSender: String
    /// As given, xtext.
    package var envid: String?
    package var ret: DSNReturn?
    package var arrivedAt: WallTime
    /// When the report is made.
    package var madeAt: WallTime
    /// For delays: until when we go on.
    package var retriesUntil: WallTime?
    /// The queue id of the original.
    package var queueID: String

    package init(
        host: String, recipient: String, lines: [Line], originalSender: String,
        arrivedAt: WallTime, madeAt: WallTime, queueID: String
    ) {
        self.host = host
        self.recipient = recipient
        self.lines = lines
        self.originalSender = originalSender
        self.arrivedAt = arrivedAt
        self.madeAt = madeAt
        self.queueID = queueID
    }

    /// What the report is about: failures first, then delays, then success.
    package var theme: Action {
        if self.lines.contains(where: { $0.action == .failed }) { return .failed }
        if self.lines.contains(where: { $0.action == .delayed }) { return .delayed }
        return self.lines.contains { $0.action == .relayed } ? .relayed : .delivered
    }
}

extension String {
    /// No byte above 127.
    var isASCII: Bool { self.utf8.allSatisfy { $0 < 0x80 } }
}

/// RFC 3461 §4: `+2B` stands for a byte; anything malformed is left as it is.
func decodedXtext(_ text: some StringProtocol) -> String {
    var result: [UInt8] = []
    let bytes = Array(text.utf8)
    var i = 0
    while i < bytes.count {
        if bytes[i] == UInt8(ascii: "+"), i + 2 < bytes.count,
            let byte = UInt8(String(decoding: bytes[i + 1...i + 2], as: UTF8.self), radix: 16)
        {
            result.append(byte)
            i += 3
        } else {
            result.append(bytes[i])
            i += 1
        }
    }
    // A report is made of lines: nothing that was encoded may begin another.
    return String(decoding: result.map { $0 < 0x20 || $0 == 0x7F ? 0x3F : $0 }, as: UTF8.self)
}
