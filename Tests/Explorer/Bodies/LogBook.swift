// LogBook.swift - every log that ever occurred, as a tree, and what the queue makes of each.
//
// The queue itself is the product's: each log is applied to it once, and what the world asks is
// written down.

import MailQueue
import Primitives
import SMTP
import Spool

/// Numbers values in the order in which they are first seen.
struct Interner<Value: Hashable> {
    private(set) var values: [Value] = []
    private var numbers: [Value: UInt32] = [:]

    init() {}

    mutating func number(_ value: Value) -> UInt32 {
        if let known = self.numbers[value] { return known }
        let number = UInt32(self.values.count)
        self.numbers[value] = number
        self.values.append(value)
        return number
    }

    subscript(number: UInt32) -> Value { self.values[Int(number)] }
}

/// What the queue says after a log.
struct LogFacts {
    struct Message {
        var tag: Tag
        /// Which of the scope's messages it is.
        var content: Int
        var holders: [Holder]
        /// Of each holder: under which tag it has the body.
        var bodyTags: [Tag]
    }
    /// Of the last command.
    var result = CommandResult.done
    var members: [Holder] = []
    /// Not finished.
    var messages: [Message] = []
    /// Open ones, by place of their node; 0: none.
    var sessions: [UInt64] = [0, 0, 0]
    /// A bit for each of the scope's messages that was ever taken.
    var taken: UInt32 = 0
}

final class LogBook {
    static let names = ["a", "b", "c"]
    static let copies = 2

    private final class Box {
        var queue = MailQueue()
        init() {}
    }
    /// Queues that are kept for further questions.
    private static let boxesMax = 4000

    private struct Entry {
        var parent: UInt32
        var command: UInt32
        var length: UInt64
    }
    private var commands = Interner<Command>()
    /// The first is the empty log.
    private var entries = [Entry(parent: 0, command: 0, length: 0)]
    private var children: [UInt64: UInt32] = [:]
    private var kept: [[UInt32: LogFacts]] = [[:], [:]]
    private var boxes: [UInt64: Box] = [:]
    private var states: [UInt64: BodyState] = [:]
    /// All three nodes have opened their first sessions; everybody has applied that.
    private(set) var root: UInt32 = 0

    var count: Int { self.entries.count }

    init() {
        var settings = ClusterSettings()
        settings.copies = UInt32(Self.copies)
        self.root = self.append(Command(.settings(settings)), to: 0)
        for place in 0..<3 {
            self.root = self.append(Self.open(Self.holder(place, 1), boot: 1), to: self.root)
        }
    }

    static func holder(_ place: Int, _ incarnation: Int) -> Holder {
        Holder(node: Self.names[place], incarnation: Incarnation(raw: UInt64(incarnation)))
    }

    static func place(_ holder: Holder) -> Int {
        guard let place = Self.names.firstIndex(of: holder.node) else { unreachable("a name") }
        return place
    }

    static func open(_ holder: Holder, boot: Int) -> Command {
        Command(
            .openSession(
                OpenSession(
                    node: holder.node, incarnation: holder.incarnation, boot: UInt64(boot),
                    nonce: holder.incarnation.raw << 8 | UInt64(boot), credit: 0, replayed: true,
                    delivers: false)))
    }

    static func enqueue(_ tag: Tag, content: Int, holders: [Holder]) -> Command {
        let recipient = Recipient(address: "\(content)@x.example")
        let message = Enqueue(
            envelope: Envelope(sender: "s@x.example", recipients: [recipient]),
            destinations: ["x.example"],
            receipt: BodyReceipt(
                originalBytes: 1, storedBytes: 1, digest: .zero, holders: holders),
            acceptedAt: WallTime(milliseconds: 0), receivedFrom: "")
        return Command(Self.origin(tag), .enqueue(message))
    }

    static func origin(_ tag: Tag) -> Origin {
        Origin(session: tag.session, sequence: tag.sequence)
    }

    func append(_ command: Command, to log: UInt32) -> UInt32 {
        self.append(self.commands.number(command), to: log)
    }

    func number(of command: Command) -> UInt32 { self.commands.number(command) }
    func command(_ number: UInt32) -> Command { self.commands[number] }
    /// The last one of a log.
    func lastCommand(of log: UInt32) -> Command {
        self.commands[self.entries[Int(log)].command]
    }

    /// The index of its last entry.
    func length(of log: UInt32) -> UInt64 { self.entries[Int(log)].length }

    func append(_ command: UInt32, to log: UInt32) -> UInt32 {
        let key = UInt64(log) << 32 | UInt64(command)
        if let known = self.children[key] { return known }
        let number = UInt32(self.entries.count)
        let length = self.entries[Int(log)].length + 1
        self.entries.append(Entry(parent: log, command: command, length: length))
        self.children[key] = number
        return number
    }

    /// The log with one entry more, on the way from `log` to the whole; nil: it is the whole.
    func next(after log: UInt32, of whole: UInt32) -> UInt32? {
        var at = whole
        while at != log {
            let parent = self.entries[Int(at)].parent
            if parent == log { return at }
            at = parent
        }
        return nil
    }

    /// - Parameter own: by a node that judges by an R of its own, which is 1.
    func facts(_ log: UInt32, own: Bool = false) -> LogFacts {
        if let known = self.kept[own ? 1 : 0][log] { return known }
        let box = self.box(log, own: own)
        var facts = LogFacts()
        facts.members = box.queue.members
        for view in box.queue.list(QueueFilter(), limit: 9).messages {
            let holders = box.queue.holders(of: view.tag) ?? []
            facts.messages.append(
                LogFacts.Message(
                    tag: view.tag, content: Self.content(view), holders: holders,
                    bodyTags: holders.compactMap { box.queue.bodyTag(of: view.tag, on: $0) }))
        }
        for session in box.queue.sessionViews where session.isOpen {
            guard let place = Self.names.firstIndex(of: session.node) else { continue }
            facts.sessions[place] = session.id.raw
        }
        facts.result = self.lastResult
        if log != 0 {
            let parent = self.facts(self.entries[Int(log)].parent, own: own)
            facts.taken = parent.taken
            for message in facts.messages { facts.taken |= 1 << UInt32(message.content) }
        }
        self.kept[own ? 1 : 0][log] = facts
        return facts
    }

    private static func content(_ view: MessageView) -> Int {
        let text = view.deliveries.first?.recipients.first ?? "9"
        return Int(text.prefix(1)) ?? 9
    }

    /// Of the log that was replayed last.
    private var lastResult = CommandResult.done

    /// The queue after a log, made by applying all of it.
    private func box(_ log: UInt32, own: Bool) -> Box {
        var path: [UInt32] = []
        var at = log
        while at != 0 {
            path.append(self.entries[Int(at)].command)
            at = self.entries[Int(at)].parent
        }
        let box = Box()
        var effects: [Effect] = []
        for (i, number) in path.reversed().enumerated() {
            var command = self.commands[number]
            if own, case .settings(var settings) = command.action {
                settings.copies = 1
                command = Command(.settings(settings))
            }
            self.lastResult = box.queue.apply(
                command, index: UInt64(i + 1), stamp: .zero, effects: &effects)
        }
        return box
    }

    private func keptBox(_ log: UInt32, own: Bool) -> Box {
        let key = UInt64(log) << 1 | (own ? 1 : 0)
        if let known = self.boxes[key] { return known }
        if self.boxes.count >= Self.boxesMax { self.boxes.removeAll(keepingCapacity: true) }
        let box = self.box(log, own: own)
        self.boxes[key] = box
        return box
    }

    func shortages(_ log: UInt32, own: Bool, without absent: [Holder]) -> [BodyShortage] {
        self.keptBox(log, own: own).queue.underReplicated(without: absent, limit: 9)
    }

    func standing(_ log: UInt32, own: Bool, session: SessionID, peer: Holder) -> PeerSession {
        self.keptBox(log, own: own).queue.standing(of: session, peer: peer)
    }

    func isListed(_ log: UInt32, own: Bool, _ tag: Tag) -> Bool {
        self.keptBox(log, own: own).queue.contains(tag)
    }

    /// The proof of garbage on the state after `log`.
    func state(_ log: UInt32, own: Bool, _ tag: Tag, on holder: Holder) -> BodyState {
        let place = UInt64(Self.place(holder))
        invariant(tag.sequence < 256 && tag.session.raw < 256, "small tags")
        let key =
            UInt64(log) << 24 | tag.session.raw << 16 | tag.sequence << 8
            | holder.incarnation.raw << 4 | place << 1 | (own ? 1 : 0)
        if let known = self.states[key] { return known }
        let state = self.keptBox(log, own: own).queue.bodyState(tag, on: holder)
        self.states[key] = state
        return state
    }
}
