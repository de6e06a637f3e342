// BodyChecks.swift - what must hold in every world of bodies, and when all has come to rest.
//
// 1, 2      an unfinished message has R copies on disks, less those that were lost with a disk
// 3         every holder of its placement has its copy, unless the disk itself was lost
// 4         a body is live by one command: no two copies have one tag
// 1         what was answered 250 was taken, on every node
// at rest   R copies of everything again; when all has ended, nothing is left on any disk

import MailQueue
import Primitives
import Spool

extension BodySearch {
    /// Whether the holder's disk has the body, synced; nil: that disk was lost.
    private func has(_ holder: Holder, _ tag: Tag, _ content: Int, _ world: BodyWorld) -> Bool? {
        let node = self.node(world, LogBook.place(holder))
        guard node.holder == holder, node.disks == node.incarnation else { return nil }
        if node.losses.contains(tag) { return nil }
        return node.disk.contains { $0.tag == tag && $0.content == content && $0.isSynced }
    }

    /// What is wrong with a world.
    func fault(in world: BodyWorld) -> String? {
        let facts = self.book.facts(world.log)
        if world.answered & ~facts.taken != 0 { return "answered 250, and not in the queue (1)" }
        var tags: [Tag] = []
        for message in facts.messages {
            var copies = 0
            for (holder, tag) in zip(message.holders, message.bodyTags) {
                guard facts.members.contains(holder) else {
                    return "\(message.tag.text) counts a copy of \(holder.node), no member"
                }
                if tag != message.tag {
                    if tags.contains(tag) { return "\(tag.text) is live by two commands (4)" }
                    tags.append(tag)
                }
                switch self.has(holder, tag, message.content, world) {
                case true: copies += 1
                case false where self.isToldLost(holder, tag, world): break
                case false:
                    return "\(holder.node) is to have \(tag.text) and has not (3)"
                case nil: break
                }
            }
            if copies + world.losses < LogBook.copies {
                return "\(message.tag.text) has \(copies) copies on disks (1, 2)"
            }
        }
        return nil
    }

    /// The loss is on its way to the log.
    private func isToldLost(_ holder: Holder, _ tag: Tag, _ world: BodyWorld) -> Bool {
        world.proposals.contains { number in
            let command = self.book.command(self.proposals[number].command)
            if case .replicasLost(holder, let tags) = command.action { return tags.contains(tag) }
            return false
        }
    }

    // MARK: At rest.

    /// What is wrong when everything that can go on has gone on, and then when all has ended.
    func faultAtRest(_ start: BodyWorld) -> String? {
        var world = start
        var passed: [Digest] = []
        while true {
            let digest = world.digest
            if self.restful.contains(digest) { break }
            passed.append(digest)
            guard let event = self.nextToRest(world) else {
                if let text = self.faultOfRest(world) { return text }
                break
            }
            _ = self.follow(event, &world)
            if passed.count > 200 { return "finds no rest" }
            if let text = self.fault(in: world) { return "on its way to rest: " + text }
        }
        for digest in passed { _ = self.restful.insert(digest) }
        return nil
    }

    /// A fixed way to rest: it depends on the world alone.
    private func nextToRest(_ world: BodyWorld) -> BodyEvent? {
        if world.cut != nil { return BodyEvent(.heal) }
        if let mail = world.mail.first { return BodyEvent(.deliver, 0, mail) }
        for place in 0..<3 where self.node(world, place).waitsForSync {
            return BodyEvent(.sync, place)
        }
        for place in 0..<3 where self.node(world, place).applied != world.log {
            return BodyEvent(.apply, place)
        }
        for proposal in world.proposals
        where self.canCommit(world, from: self.proposals[proposal].from) {
            return BodyEvent(.commit, 0, proposal)
        }
        for place in 0..<3 {
            for placing in self.node(world, place).placings
            where placing.ticks == 0 && placing.machine.wake != nil {
                return BodyEvent(.tick, place, UInt32(placing.content))
            }
        }
        for place in 0..<3 {
            var tried = world
            if self.follow(BodyEvent(.repair, place), &tried) { return BodyEvent(.repair, place) }
        }
        for place in 0..<3 {
            if let placing = self.node(world, place).placings.first {
                return BodyEvent(.giveUp, place, UInt32(placing.content))
            }
        }
        return nil
    }

    private func faultOfRest(_ rest: BodyWorld) -> String? {
        var world = rest
        if !world.proposals.isEmpty { return "at rest, and a command is not committed" }
        for place in 0..<3 where self.node(world, place).session == .none {
            return "at rest, and node \(place + 1) has no session"
        }
        let facts = self.book.facts(world.log)
        for message in facts.messages where !message.holders.isEmpty {
            let copies = zip(message.holders, message.bodyTags).count {
                self.has($0, $1, message.content, world) == true
            }
            if copies < LogBook.copies {
                return "at rest, and \(message.tag.text) has \(copies) copies (2)"
            }
        }
        for message in facts.messages {
            _ = self.follow(BodyEvent(.end, 0, UInt32(message.content)), &world)
        }
        for place in 0..<3 {
            while self.follow(BodyEvent(.apply, place), &world) {}
            _ = self.follow(BodyEvent(.collect, place), &world)
            if let left = self.node(world, place).disk.first {
                return "all has ended, and node \(place + 1) keeps \(left.tag.text) (9)"
            }
        }
        return nil
    }

    // MARK: Words.

    func text(of event: BodyEvent, _ world: BodyWorld) -> String {
        let name = "node \(event.place + 1)"
        let argument = event.argument
        switch event.kind {
        case .accept: return "\(name) accepts message \(argument)"
        case .deliver: return "arrives: \(Self.text(of: self.mails[argument]))"
        case .sync: return "\(name) syncs"
        case .crash:
            let what = argument == 1 ? "all kept" : "what was not synced is lost"
            return "\(name) crashes, \(what); restarts"
        case .wipe: return "\(name) loses its disk; comes back empty"
        case .apply:
            let node = self.node(world, event.place)
            let next = self.book.next(after: node.applied, of: world.log) ?? world.log
            return "\(name) applies \(self.text(ofLast: next))"
        case .commit, .commitTwice:
            let again = event.kind == .commit ? "" : ", and will be again"
            let proposal = self.proposals[argument]
            let log = self.book.append(proposal.command, to: world.log)
            return "committed\(again): \(self.text(ofLast: log))"
        case .collect: return "\(name) deletes what it takes for garbage"
        case .tick: return "\(name) waits 500 ms for holders of message \(argument)"
        case .repair: return "\(name) repairs"
        case .end: return "message \(argument) ends"
        case .expire: return "the session of \(name) expires"
        case .giveUp: return "\(name) tells the client of message \(argument) no"
        case .cut: return "\(name) is cut off"
        case .heal: return "the cut heals"
        case .lead: return "\(name) leads"
        case .rot: return "\(name) can no longer read one of its bodies"
        }
    }

    private static func text(of mail: BodyMail) -> String {
        switch mail {
        case .body(let from, let to, let content, let tag):
            "\(from + 1)→\(to + 1) body of message \(content), \(tag.text)"
        case .answer(let from, let to, let tag, let isStored):
            "\(from + 1)→\(to + 1) \(tag.text) \(isStored ? "stored" : "refused")"
        }
    }

    private func text(ofLast log: UInt32) -> String {
        let command = self.book.lastCommand(of: log)
        let tag = command.tag.map { $0.text + " " } ?? ""
        let what: String =
            switch command.action {
            case .enqueue(let message):
                "enqueue, held by \(message.receipt.holders.map(\.node).joined(separator: ", "))"
            case .openSession(let open): "session of \(open.node), boot \(open.boot)"
            case .replicaAdded(let message, let holder):
                "\(holder.node) has a copy of \(message.text)"
            case .replicasLost(let holder, let tags):
                "\(holder.node) has lost \(tags.map(\.text).joined(separator: ", "))"
            case .cancel(let tag): "cancel \(tag.text)"
            case _: "\(command.action)"
            }
        return "\(tag)\(what): \(self.book.facts(log).result)"
    }
}
