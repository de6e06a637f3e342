// Sink.swift - an SMTP server that notes every arrival and answers as it is told.

import Foundation

/// A message that came in whole, up to its final dot.
struct Arrival: Sendable {
    let from: String
    let recipients: [String]
    let content: String
    /// Of the whole content.
    let contentBytes: Int
    /// From 1, in the order of connections.
    let session: Int
    /// Whether `250` was written; else the sink refused it or hung up.
    let accepted: Bool
    let at: Double

    /// The value of a header field of one line.
    func header(_ name: String) -> String? {
        let head = self.content.range(of: "\r\n\r\n").map { self.content[..<$0.lowerBound] }
        for line in (head ?? self.content[...]).split(separator: "\r\n")
        where line.lowercased().hasPrefix(name.lowercased() + ":") {
            return line.dropFirst(name.count + 1).trimmingCharacters(in: .whitespaces)
        }
        return nil
    }

    var marker: String { self.header("X-Marker") ?? "" }
}

final class Sink: Sendable {
    enum Stage: String, Sendable { case connect, hello, mail, rcpt, data, dot, quit }

    enum Answer: Sendable {
        case reply(String)
        case close
        /// Nothing is said, and the connection stays.
        case silence
    }

    /// Nil: the usual answer. `text` is the command's line; at the dot the content.
    typealias Script = @Sendable (_ stage: Stage, _ text: String) -> Answer?

    let arrivals = Shared<[Arrival]>([])
    /// Every command line, by session.
    let commands = Shared<[[String]]>([])
    private let script: Shared<Script>
    private let extensions: [String]
    /// What is kept of each content; with a limit, command lines are not kept.
    private let contentBytesMax: Int
    private let listener = Shared<Listener?>(nil)
    let port: Int

    init(
        address: String = "127.0.0.1", port: Int = 0, space: NetworkSpace? = nil,
        contentBytesMax: Int = .max,
        extensions: [String] = ["PIPELINING", "8BITMIME", "SIZE 100000000"],
        script: @escaping Script = { _, _ in nil }
    ) throws {
        self.script = Shared(script)
        self.contentBytesMax = contentBytesMax
        self.extensions = extensions
        let handler = Shared<(@Sendable (Connection) -> Void)?>(nil)
        let listener = try Listener(address: address, port: port, space: space) { connection in
            handler.wait(seconds: 10) { $0 }?(connection)
        }
        self.port = listener.port
        self.listener.with { $0 = listener }
        handler.with { $0 = { [weak self] connection in self?.serve(connection) } }
    }

    deinit { self.stop() }

    func stop() { self.listener.current?.stop() }

    func use(_ script: @escaping Script) { self.script.with { $0 = script } }

    var accepted: [Arrival] { self.arrivals.current.filter(\.accepted) }

    /// Waits for the `count`th accepted message.
    func wait(for count: Int, seconds: Double = 20) throws -> [Arrival] {
        let found = self.arrivals.wait(seconds: seconds) { all -> [Arrival]? in
            let accepted = all.filter(\.accepted)
            return accepted.count >= count ? accepted : nil
        }
        guard let found else {
            throw Failure("\(self.accepted.count) of \(count) messages within \(seconds) s")
        }
        return found
    }

    private struct Session {
        let number: Int
        var from = ""
        var recipients: [String] = []
    }

    private func serve(_ connection: Connection) {
        connection.seconds = 600
        let number = self.commands.with { all in
            all.append([])
            return all.count
        }
        var session = Session(number: number)
        do {
            try self.converse(connection, &session)
        } catch {
            // The other side has gone, which is what many tests are about.
        }
        connection.close()
    }

    private func converse(_ connection: Connection, _ session: inout Session) throws {
        guard try self.say(connection, .connect, "", "220 sink.example ESMTP") != nil else {
            return
        }
        while let line = try connection.line() {
            if self.contentBytesMax == .max {
                self.commands.with { $0[session.number - 1].append(line) }
            }
            let verb = line.prefix(4).uppercased()
            let stage: Stage
            var usual = "250 2.0.0 Ok"
            switch verb {
            case "EHLO", "LHLO":
                stage = .hello
                let lines = ["sink.example"] + self.extensions
                usual = lines.enumerated().map { i, text in
                    "250\(i == lines.count - 1 ? " " : "-")\(text)"
                }.joined(separator: "\r\n")
            case "HELO": stage = .hello
            case "MAIL": stage = .mail
            case "RCPT": stage = .rcpt
            case "DATA":
                stage = .data
                usual = session.recipients.isEmpty ? "554 5.5.1 no recipients" : "354 go ahead"
            case "QUIT":
                stage = .quit
                usual = "221 2.0.0 Bye"
            case _: stage = .mail
            }
            guard let code = try self.say(connection, stage, line, usual) else { return }
            let good = code / 100 == 2
            if verb == "MAIL" && good { session.from = Self.address(line) }
            if verb == "MAIL" || verb == "RSET" { session.recipients = [] }
            if verb == "RCPT" && good { session.recipients.append(Self.address(line)) }
            if stage == .data && code == 354 {
                guard try self.take(connection, session) else { return }
                session.recipients = []
            }
            if stage == .quit { return }
        }
    }

    /// Reads the content, notes it, answers.
    private func take(_ connection: Connection, _ session: Session) throws -> Bool {
        var content: [UInt8] = []
        while let line = try connection.lineBytes() {
            if line == [UInt8(ascii: ".")] {
                let text = String(decoding: content, as: UTF8.self)
                let answer = self.script.current(.dot, text) ?? .reply("250 2.0.0 Ok taken")
                var accepted = false
                if case .reply(let reply) = answer { accepted = reply.hasPrefix("2") }
                let isShort = text.utf8.count <= self.contentBytesMax
                let arrival = Arrival(
                    from: session.from, recipients: session.recipients,
                    content: isShort
                        ? text : String(decoding: content[..<self.contentBytesMax], as: UTF8.self),
                    contentBytes: content.count, session: session.number, accepted: accepted,
                    at: now())
                self.arrivals.with { $0.append(arrival) }
                guard case .reply(let reply) = answer else {
                    if case .silence = answer { return try connection.line() != nil }
                    return false
                }
                try connection.send(reply + "\r\n")
                return true
            }
            content += line.first == UInt8(ascii: ".") ? line.dropFirst() : line[...]
            content += [0x0D, 0x0A]
        }
        return false
    }

    /// The code said; 0 when nothing was said; nil: the connection is to end.
    private func say(
        _ connection: Connection, _ stage: Stage, _ text: String, _ usual: String
    ) throws -> Int? {
        switch self.script.current(stage, text) ?? .reply(usual) {
        case .close: return nil
        case .silence: return 0
        case .reply(let reply):
            try connection.send(reply + "\r\n")
            return Int(reply.prefix(3)) ?? 0
        }
    }

    private static func address(_ line: String) -> String {
        guard let open = line.firstIndex(of: "<"), let close = line.lastIndex(of: ">") else {
            return line
        }
        return String(line[line.index(after: open)..<close])
    }
}
