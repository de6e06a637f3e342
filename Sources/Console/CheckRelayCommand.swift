// CheckRelayCommand.swift - posthouse check relay: would it be taken, and by which rule?
//
// Takes     a settings file, a client, a sender, recipients. No node is asked.
// Gives     what the relay would answer, said by the same ServerSession and RelayPolicy as in
//           Reception. Not asked: the next host (verify), and limits that depend on others.

import ArgumentParser
import NIOCore
import Primitives
import SMTP
import Settings

struct CheckRelayCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "relay", abstract: "Say which recipients the relay would take, and why.",
        discussion: """
            Reads the settings file and asks no node. Without --from the client is somebody on the \
            internet, so that an open relay shows. Exit code 0: all recipients are taken; 77: one \
            is refused. Whether the next host knows a recipient (route.verify) is not asked.
            """)

    @Option(help: "The settings file.")
    var config = "/etc/posthouse/posthouse.toml"
    @Option(help: "The client's address; behind a balancer, as its PROXY header tells it.")
    var from: String?
    @Option(help: "The user who has authenticated; needs TLS.")
    var user: String?
    @Flag(help: "The session is under TLS.")
    var tls = false
    @Option(help: "The listener, as address:port; else the first one.")
    var listener: String?
    @Option(name: [.short, .customLong("output")], help: "table or json.")
    var output = OutputForm.table
    @Argument(help: "The sender's address; \"<>\" for none.")
    var sender: String
    @Argument(help: "Addresses of recipients.")
    var recipients: [String] = []

    func perform(_ terminal: Terminal) throws(CommandFailure) {
        guard !self.recipients.isEmpty else {
            throw CommandFailure(.usage, "name one recipient at least")
        }
        let settings: Settings
        do {
            settings = try SettingsParser.load(self.config)
        } catch {
            terminal.tell(error.description)
            throw CommandFailure(.configuration)
        }
        let listener = try self.listener(of: settings)
        let caller = try self.caller(at: listener)
        var trial = RelayTrial(
            settings, listener, caller: caller, users: try Self.users(settings),
            hasTLS: self.tls || listener.tls == .implicit)
        let entry = trial.enter(user: self.user, sender: try Self.address(self.sender))
        var answers: [RelayTrial.Answer] = []
        for recipient in self.recipients {
            answers.append(trial.ask(try Self.address(recipient), after: entry))
        }
        let report = RelayReport(
            listener: listener, caller: caller, user: self.user, hasTLS: trial.hasTLS,
            sender: self.sender, entry: entry, answers: answers)
        switch self.output {
        case .json: terminal.writeBytes(report.json.bytes + [10])
        case .table: terminal.write(report.table)
        }
        if answers.contains(where: { !$0.isAccepted }) { throw CommandFailure(.notPermitted) }
    }

    private func listener(of settings: Settings) throws(CommandFailure) -> Settings.Listener {
        let names = settings.listeners.map(\.address.description)
        guard let first = settings.listeners.first else {
            throw CommandFailure(.configuration, "\(self.config) has no [[listener]]")
        }
        guard let name = self.listener else { return first }
        guard let place = names.firstIndex(of: name) else {
            throw CommandFailure(
                .noSuchThing, "no listener \(name); there are \(names.joined(separator: ", "))")
        }
        return settings.listeners[place]
    }

    /// Nil: somebody on the internet.
    private func caller(at listener: Settings.Listener) throws(CommandFailure) -> Caller? {
        if listener.tls == .off && self.tls {
            throw CommandFailure(.usage, "listener \(listener.address) has tls = \"off\"")
        }
        guard let text = self.from else { return nil }
        guard let address = IPAddress(text) else {
            throw CommandFailure(.badData, "\(text) is not an IP address")
        }
        return Caller(address, by: listener.proxyTrusted.first?.base)
    }

    private static func users(_ settings: Settings) throws(CommandFailure) -> UserFile? {
        let path = settings.relay.users
        guard !path.isEmpty else { return nil }
        do {
            let bytes = try FileAccess.system.read(path)
            return try UserFile(String(decoding: bytes, as: UTF8.self))
        } catch {
            // The check of the settings has just read it.
            throw CommandFailure(.inputOutput, "\(path) cannot be read")
        }
    }

    /// One line of SMTP must stay one line.
    private static func address(_ text: String) throws(CommandFailure) -> String {
        guard text.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7F }) else {
            throw CommandFailure(.badData, "control characters in an address")
        }
        return text.hasPrefix("<") && text.hasSuffix(">")
            ? String(text.dropFirst().dropLast()) : text
    }
}

/// A session that is played through without a client.
private struct RelayTrial: ~Copyable {
    /// What a recipient would be answered.
    struct Answer {
        var recipient: String
        /// The whole line.
        var reply: String
        /// What allows it; nil: nothing does.
        var rule: (kind: String, value: String)?
        var isAccepted: Bool { self.reply.hasPrefix("250") }
    }

    private let policy: RelayPolicy
    private let users: UserFile?
    /// The range that the client is trusted for.
    private let trusted: AddressRange?
    private var session: ServerSession
    private var rule: (kind: String, value: String)?
    let hasTLS: Bool

    init(
        _ settings: Settings, _ listener: Settings.Listener, caller: Caller?, users: UserFile?,
        hasTLS: Bool
    ) {
        let isSubmission = listener.mode == .submission
        self.policy = RelayPolicy(allow: settings.relay.allow, domains: settings.relay.domains)
        self.users = users
        self.trusted = caller.flatMap { [policy = self.policy] in policy.range(trusting: $0) }
        self.hasTLS = hasTLS
        self.session = ServerSession(
            options: SMTP.ServerOptions(
                hostname: settings.node.hostname,
                // One answer for each recipient, however many are refused.
                limits: ServerLimits(recipients: settings.relay.maxRecipients, errors: .max),
                offersTLS: listener.tls == .starttls, offersAuth: users != nil,
                requiresAuth: isSubmission, isSubmission: isSubmission),
            hasTLS: hasTLS, isTrusted: self.trusted != nil)
    }

    /// Everything before the first recipient.
    ///
    /// - Returns: the answer to MAIL, or what stood in its way.
    mutating func enter(user: String?, sender: String) -> String {
        var out = ByteBuffer()
        self.session.greet(into: &out)
        var last = self.say("EHLO client.example")
        if let user {
            let text = Base64.text([0] + Array(user.utf8) + [0] + Array("password".utf8))
            last = self.say("AUTH PLAIN \(text)")
            guard last.hasPrefix("235") else { return last }
        }
        return self.say("MAIL FROM:<\(sender)> SMTPUTF8")
    }

    /// - Parameter entry: what `enter` gave.
    mutating func ask(_ recipient: String, after entry: String) -> Answer {
        guard entry.hasPrefix("250") else { return Answer(recipient: recipient, reply: entry) }
        self.rule = nil
        let reply = self.say("RCPT TO:<\(recipient)>")
        return Answer(
            recipient: recipient, reply: reply, rule: reply.hasPrefix("250") ? self.rule : nil)
    }

    /// The last line of the reply.
    private mutating func say(_ line: String) -> String {
        var out = ByteBuffer()
        self.session.receive(ByteBuffer(string: line + "\r\n"))
        while true {
            switch self.session.next(into: &out) {
            case .askSender: self.session.answerSender(.go, into: &out)
            case .askRecipient(let recipient):
                self.session.answerRecipient(self.decide(recipient), into: &out)
            case .authenticate(let user, _):
                let name = String(decoding: user, as: UTF8.self)
                let isKnown = self.users?.hash(of: name) != nil
                self.session.answerAuth(isKnown ? .user(name) : .failed, into: &out)
            case .read, .wait, .close, .startTLS, .begin, .content, .abandon, .finish:
                let lines = String(buffer: out).split(separator: "\r\n")
                return lines.last.map(String.init) ?? ""
            }
        }
    }

    /// As Reception does, but for the question to the next host.
    private mutating func decide(_ recipient: Recipient) -> ServerDecision {
        let user = self.session.user
        switch self.policy.decide(recipient, mayRelay: self.trusted != nil || user != nil) {
        case .refuse(let reply): return .fixed(reply)
        case .accept(.postmaster): self.rule = ("postmaster", "")
        case .accept(.ours):
            self.rule = ("domain", self.policy.pattern(of: String(recipient.domain)) ?? "")
        case .accept(.client):
            if let range = self.trusted {
                self.rule = ("network", range.description)
            } else if let user {
                self.rule = ("user", user)
            }
        }
        return .go
    }
}

/// The outcome, for people and for scripts.
private struct RelayReport {
    let listener: Settings.Listener
    let caller: Caller?
    let user: String?
    let hasTLS: Bool
    let sender: String
    let entry: String
    let answers: [RelayTrial.Answer]

    var table: String {
        let who = self.caller.map { "client \($0.address)" } ?? "a client on the internet"
        var text =
            "listener \(self.listener.address) (\(self.listener.mode.rawValue)), \(who), "
            + (self.user.map { "user \(Human.safe($0))" } ?? "no user")
            + (self.hasTLS ? ", TLS\n\n" : ", no TLS\n\n")
        var table = Table([
            ("RECIPIENT", .left), ("TAKEN", .left), ("BY", .left), ("ANSWER", .left),
        ])
        for answer in self.answers {
            let rule = answer.rule.map { ($0.kind + " " + $0.value) } ?? "-"
            table.rows.append([
                Human.safe(answer.recipient), answer.isAccepted ? "yes" : "no", Human.safe(rule),
                answer.reply,
            ])
        }
        text += table.text
        return text
    }

    var json: JSON {
        var answers: [JSON] = []
        for answer in self.answers {
            let words = answer.reply.split(separator: " ", maxSplits: 2)
            let hasEnhanced = words.count > 1 && words[1].contains(".")
            let text = hasEnhanced ? words.dropFirst(2) : words.dropFirst()
            answers.append([
                "recipient": .text(answer.recipient), "accepted": .flag(answer.isAccepted),
                "rule": answer.rule.map { .text($0.kind) } ?? .null,
                "value": answer.rule.map { .text($0.value) } ?? .null,
                "code": .integer(words.first.flatMap { Int64($0) } ?? 0),
                "enhanced": hasEnhanced ? .text(String(words[1])) : .null,
                "text": .text(text.joined(separator: " ")),
            ])
        }
        return [
            "schema": "posthouse.check.relay/1",
            "listener": .text(self.listener.address.description),
            "mode": .text(self.listener.mode.rawValue),
            "client": self.caller.map { .text($0.address.description) } ?? .null,
            "user": self.user.map { .text($0) } ?? .null, "tls": .flag(self.hasTLS),
            "sender": .text(self.sender), "sender_answer": .text(self.entry),
            "recipients": .list(answers),
        ]
    }
}
