// MailClient.swift - a scripted SMTP client.

import Foundation

struct Reply: Equatable, CustomStringConvertible {
    let code: Int
    let lines: [String]
    var description: String { self.lines.joined(separator: "\n") }
    /// The queue id of `250 2.0.0 Ok id=…`.
    var queueID: String? {
        self.lines.first?.range(of: "id=").map { String(self.lines[0][$0.upperBound...]) }
    }
}

/// One SMTP session; throws when the server ends it.
final class MailClient {
    let connection: Connection
    let banner: Reply
    private(set) var greeting = Reply(code: 0, lines: [])

    /// Connects, and says EHLO unless `greets` is false or the banner is none.
    init(
        port: Int, greets: Bool = true, address: String = "127.0.0.1", space: NetworkSpace? = nil,
        seconds: Double = 20
    ) throws {
        self.connection = try Connection(
            port: port, address: address, space: space, seconds: seconds)
        self.connection.seconds = seconds
        self.banner = try Self.reply(on: self.connection)
        if greets, self.banner.code == 220 {
            self.greeting = try self.command("EHLO client.example")
        }
    }

    static func reply(on connection: Connection) throws -> Reply {
        var lines: [String] = []
        while true {
            guard let line = try connection.line() else { throw Failure(connection.hangUp) }
            lines.append(line)
            guard let code = Int(line.prefix(3)) else { throw Failure("not a reply: \(line)") }
            if line.utf8.count == 3 || line.utf8.dropFirst(3).first != UInt8(ascii: "-") {
                return Reply(code: code, lines: lines)
            }
        }
    }

    func reply() throws -> Reply { try Self.reply(on: self.connection) }

    func command(_ line: String) throws -> Reply {
        try self.connection.send(line + "\r\n")
        return try self.reply()
    }

    /// A whole transaction, pipelined; the answer to the final dot, or the first refusal.
    func send(
        from: String = "sender@client.example", to: [String] = ["rcpt@dest.example"],
        _ message: String
    ) throws -> Reply {
        var lines = "MAIL FROM:<\(from)>\r\n"
        for recipient in to { lines += "RCPT TO:<\(recipient)>\r\n" }
        try self.connection.send(lines + "DATA\r\n")
        var refused: Reply?
        for _ in 0...to.count {
            let reply = try self.reply()
            if reply.code / 100 != 2 { refused = refused ?? reply }
        }
        let goAhead = try self.reply()
        guard goAhead.code == 354 else { return refused ?? goAhead }
        try self.connection.send(Self.stuffed(message) + ".\r\n")
        return try self.reply()
    }

    /// Dots doubled; the message ends with CRLF.
    static func stuffed(_ message: String) -> String {
        message.split(separator: "\r\n", omittingEmptySubsequences: false)
            .map { $0.hasPrefix(".") ? "." + $0 : String($0) }.joined(separator: "\r\n")
    }

    static func message(_ marker: String, bytes: Int = 400) -> String {
        let line = "The quick brown fox jumps over the lazy dog and comes back to it.\r\n"
        let body = String(repeating: line, count: max(1, bytes / line.utf8.count))
        return "From: sender@client.example\r\nTo: rcpt@dest.example\r\nSubject: \(marker)\r\n"
            + "Message-ID: <\(marker)@client.example>\r\n"
            + "Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nX-Marker: \(marker)\r\n\r\n" + body
    }
}
