// AdminRequest.swift - what a request asks for, before any node is asked.
//
// Takes     names and values of a query, JSON bodies, the body of `POST /v1/send`.
// Gives     typed values, or a sentence that says what is wrong: unknown names are errors, so that
//           a filter with a slip of the hand never means more messages than were meant.

import MailQueue
import NIOCore
import Primitives

/// The request is wrong: 400.
struct RequestFault: Error, Equatable {
    var reason: String
}

enum AdminRequest {
    /// Messages in one answer, at most, and without `limit`.
    static let listLimit = 100_000
    static let usualListLimit = 1000
    /// Bytes of the envelope in front of a message.
    static let envelopeBytesLimit = 1 << 20
    static let reasonBytesLimit = 500

    /// The filter and the limit of `GET /v1/queue`.
    static func list(
        _ query: [(name: String, value: String)]
    ) throws(RequestFault) -> (filter: QueueFilter, limit: Int) {
        var filter = QueueFilter()
        var limit = Self.usualListLimit
        for (name, value) in query {
            switch name {
            case "limit":
                guard let number = Int(value), (1...Self.listLimit).contains(number) else {
                    throw RequestFault(reason: "limit takes 1 … \(Self.listLimit)")
                }
                limit = number
            case "older_ms", "newer_ms":
                guard let number = Int64(value) else {
                    throw RequestFault(reason: "\(name) takes milliseconds")
                }
                _ = try Self.set(&filter, name, .integer(number))
            case "all":
                guard value == "true" || value == "false" else {
                    throw RequestFault(reason: "all takes true or false")
                }
            case _:
                _ = try Self.set(&filter, name, .text(value))
            }
        }
        return (filter, limit)
    }

    struct Action: Equatable {
        var filter: QueueFilter
        var dryRun: Bool
        var reason: String
    }

    /// The body of `POST /v1/queue/VERB`.
    static func action(_ body: JSON) throws(RequestFault) -> Action {
        guard case .object(let members) = body else {
            throw RequestFault(reason: "the body is not a JSON object")
        }
        var action = Action(filter: QueueFilter(), dryRun: false, reason: "")
        var all = false
        for member in members {
            switch (member.name, member.value) {
            case ("filter", .object(let filter)):
                for part in filter {
                    if try Self.set(&action.filter, part.name, part.value) { all = true }
                }
            case ("dry_run", .flag(let value)): action.dryRun = value
            case ("reason", .null): action.reason = ""
            case ("reason", .text(let text)):
                guard text.utf8.count <= Self.reasonBytesLimit, Self.isOneLine(text) else {
                    throw RequestFault(
                        reason: "reason takes one line of \(Self.reasonBytesLimit) bytes")
                }
                action.reason = text
            case ("filter", _), ("dry_run", _), ("reason", _):
                throw RequestFault(reason: "\(member.name) has a value of the wrong kind")
            case _: throw RequestFault(reason: "unknown member \(member.name)")
            }
        }
        if action.filter == QueueFilter() && !all {
            throw RequestFault(reason: "no filter: give one, or \"all\": true")
        }
        return action
    }

    /// Sets one member of a filter.
    ///
    /// - Returns: whether it was `all`: true.
    private static func set(
        _ filter: inout QueueFilter, _ name: String, _ value: JSON
    ) throws(RequestFault) -> Bool {
        switch (name, value) {
        case (_, .null): return false
        case ("id", .text(let text)):
            guard let id = Tag(text: text) else {
                throw RequestFault(reason: "\(text.debugDescription) is no queue id")
            }
            filter.id = id
        case ("from", .text(let text)): filter.from = text == "<>" ? "" : text
        case ("to", .text(let text)): filter.to = text
        case ("domain", .text(let text)): filter.domain = text.lowercased()
        case ("older_ms", .integer(let number)) where number >= 0:
            filter.older = .milliseconds(number)
        case ("newer_ms", .integer(let number)) where number >= 0:
            filter.newer = .milliseconds(number)
        case ("state", .text(let text)):
            guard let state = DeliveryState(text: text) else {
                throw RequestFault(reason: "state takes queued, leased, deferred or held")
            }
            filter.state = state
        case ("all", .flag(let value)): return value
        case ("id", _), ("from", _), ("to", _), ("domain", _), ("older_ms", _), ("newer_ms", _),
            ("state", _), ("all", _):
            throw RequestFault(reason: "\(name) has a value of the wrong kind")
        case _: throw RequestFault(reason: "unknown filter \(name)")
        }
        return false
    }

    struct Submission: Equatable {
        var sender: String
        var recipients: [String]
        var message: ByteBuffer
    }

    /// The body of `POST /v1/send`: one line of JSON `{"from","to":[…]}`, LF, the message.
    ///
    /// - Parameters:
    ///   - hostname: the domain of addresses without one.
    ///   - recipientLimit: `relay.max_recipients`.
    static func submission(
        _ body: ByteBuffer, hostname: String, recipientLimit: Int
    ) throws(RequestFault) -> Submission {
        var body = body
        let view = body.readableBytesView.prefix(Self.envelopeBytesLimit)
        guard let end = view.firstIndex(of: 10),
            let line = body.readBytes(length: end - view.startIndex)
        else { throw RequestFault(reason: "no envelope in the first line") }
        body.moveReaderIndex(forwardBy: 1)
        let envelope: JSON
        do {
            envelope = try JSON.parse(line)
        } catch {
            throw RequestFault(reason: "the envelope is not JSON: \(error.what)")
        }
        guard let sender = envelope["from"]?.asText, let list = envelope["to"]?.asList else {
            throw RequestFault(reason: "the envelope needs \"from\" and \"to\"")
        }
        guard (1...recipientLimit).contains(list.count) else {
            throw RequestFault(reason: "1 … \(recipientLimit) recipients")
        }
        var recipients: [String] = []
        for item in list {
            guard let text = item.asText, !text.isEmpty else {
                throw RequestFault(reason: "a recipient is empty or no text")
            }
            recipients.append(try Self.qualified(text, hostname))
        }
        guard Self.hasCleanLines(body) else {
            throw RequestFault(reason: "the message is empty, or a line does not end with CRLF")
        }
        return Submission(
            sender: sender.isEmpty ? "" : try Self.qualified(sender, hostname),
            recipients: recipients, message: body)
    }

    /// A dot-string local part, and a domain in lower case (RFC 5321 §4.1.2); what needs quotes or
    /// U-labels must come in over SMTP.
    private static func qualified(
        _ text: String, _ hostname: String
    ) throws(RequestFault) -> String {
        let address = text.contains("@") ? text : "\(text)@\(hostname)"
        let parts = address.utf8.split(
            separator: UInt8(ascii: "@"), omittingEmptySubsequences: false)
        guard parts.count == 2, Self.isDotString(parts[0], limit: 64, Self.isAtomByte),
            Self.isDotString(parts[1], limit: 253, Self.isHostByte)
        else { throw RequestFault(reason: "\(text.debugDescription) is no address") }
        let domain = String(decoding: parts[1], as: UTF8.self).lowercased()
        return "\(String(decoding: parts[0], as: UTF8.self))@\(domain)"
    }

    private static func isDotString(
        _ bytes: Substring.UTF8View, limit: Int, _ isFine: (UInt8) -> Bool
    ) -> Bool {
        (1...limit).contains(bytes.count)
            && bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
                .allSatisfy { !$0.isEmpty && $0.allSatisfy(isFine) }
    }

    private static func isHostByte(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte)
            || (0x61...0x7A).contains(byte) || byte == UInt8(ascii: "-")
            || byte == UInt8(ascii: "_")
    }

    /// RFC 5322 §3.2.3, and what UTF-8 needs (RFC 6531 §3.3).
    private static func isAtomByte(_ byte: UInt8) -> Bool {
        Self.isHostByte(byte) || byte >= 0x80 || "!#$%&'*+/=?^`{|}~".utf8.contains(byte)
    }

    /// No CR or LF alone, and the last line ends (RFC 5321 §2.3.8).
    private static func hasCleanLines(_ message: ByteBuffer) -> Bool {
        message.withUnsafeReadableBytes { bytes in
            var before: UInt8 = 0
            for byte in bytes {
                if (byte == 10) != (before == 13) { return false }
                before = byte
            }
            return before == 10
        }
    }

    private static func isOneLine(_ text: String) -> Bool {
        text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F }
    }
}

/// Compares without telling by the time how much was right (but for the length).
func isEqualInConstantTime(_ a: [UInt8], _ b: [UInt8]) -> Bool {
    guard a.count == b.count else { return false }
    var difference: UInt8 = 0
    for index in a.indices { difference |= a[index] ^ b[index] }
    return difference == 0
}
