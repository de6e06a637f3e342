// EnvironmentWork.swift - turns of a node, its two workers, and the delivery of letters.

import Primitives
import Raft

extension Environment {
    // MARK: Work of a node.

    /// Takes a Ready, prints it, and does it (or gives it to the workers).
    mutating func processReady(_ place: Int) throws {
        let id = self.nodes[place].id
        let ready = self.nodes[place].raft.takeReady()
        var sent = ready.messages.map(Letter.message)
        if self.nodes[place].storesAsynchronously {
            let append = AppendWork(ready, node: id)
            let apply = ApplyWork(ready, node: id)
            let work = [append.map(Letter.append), apply.map(Letter.apply)].compactMap { $0 }
            self.output.print(Text.ready(ready, letters: sent + work))
            if let append { self.nodes[place].appendWork.append(append) }
            if let apply { self.nodes[place].applyWork.append(apply) }
            self.letters += sent
        } else {
            sent += ready.answers.filter { $0.to != id }.map(Letter.message)
            self.output.print(Text.ready(ready, letters: sent))
            try self.nodes[place].save(ready.hardState, ready.entries, ready.snapshot)
            let refusals = try self.nodes[place].apply(ready.committed)
            self.letters += sent
            try self.nodes[place].advance(ready)
            self.output.print(refusals)
        }
    }

    /// Stores what the node's append worker has next.
    mutating func processAppend(_ place: Int) throws {
        guard !self.nodes[place].appendWork.isEmpty else {
            self.output.print("no append work to perform")
            return
        }
        let work = self.nodes[place].appendWork.removeFirst()
        self.output.print("Processing:")
        // The answers are printed behind it, not in it.
        self.output.print(Letter.append(work).linesAlone)
        try self.nodes[place].save(work.hardState, work.entries, work.snapshot)
        self.output.print("Responses:")
        for response in work.responses { self.output.print(response.lines) }
        self.letters += work.responses
    }

    /// Applies what the node's apply worker has next.
    mutating func processApply(_ place: Int) throws {
        guard !self.nodes[place].applyWork.isEmpty else {
            self.output.print("no apply work to perform")
            return
        }
        let work = self.nodes[place].applyWork.removeFirst()
        self.output.print("Processing:")
        self.output.print(Letter.apply(work).linesAlone)
        let refusals = try self.nodes[place].apply(work.entries)
        self.output.print("Responses:")
        self.output.print(work.response.lines)
        self.output.print(refusals)
        self.letters.append(work.response)
    }

    // MARK: Delivery.

    private struct Recipient {
        var id: MemberID
        var isDropped: Bool
    }

    mutating func deliver(_ block: DataFile.Block) throws {
        var recipients: [Recipient] = []
        var type: String?
        for argument in block.arguments {
            guard argument.values != nil else {
                let id: UInt64 = try DataFile.Argument.number(argument.key)
                recipients.append(Recipient(id: MemberID(raw: id), isDropped: false))
                continue
            }
            switch argument.key {
            case "drop":
                for id in try argument.numbers() {
                    recipients.append(Recipient(id: MemberID(raw: id), isDropped: true))
                }
            case "type":
                let name = try argument.value
                guard Letter.types.contains(name) else {
                    throw DirectiveError("unknown message type \(name)")
                }
                type = name
            case let key: throw DirectiveError("deliver-msgs knows no \(key)")
            }
        }
        for recipient in recipients where recipient.isDropped {
            if recipients.contains(where: { $0.id == recipient.id && !$0.isDropped }) {
                throw DirectiveError("can't both deliver and drop msgs to \(recipient.id.raw)")
            }
        }
        var count = 0
        for recipient in recipients { count += try self.deliver(to: recipient, type: type) }
        if count == 0 { self.output.print("no messages") }
    }

    private func isFor(_ letter: Letter, _ recipient: Recipient, type: String?) -> Bool {
        letter.recipient == recipient.id && !(recipient.isDropped && letter.isLocal)
            && (type == nil || letter.type == type)
    }

    /// - Returns: how many there were.
    private mutating func deliver(to recipient: Recipient, type: String?) throws -> Int {
        let all = self.letters
        self.letters = all.filter { !self.isFor($0, recipient, type: type) }
        let taken = all.filter { self.isFor($0, recipient, type: type) }
        for letter in taken {
            guard !recipient.isDropped else {
                var lines = letter.lines
                lines[0] = "dropped: " + lines[0]
                self.output.print(lines)
                continue
            }
            self.output.print(letter.lines)
            let place = try self.place(of: recipient.id.raw)
            switch letter {
            case .message(let message):
                do {
                    try self.nodes[place].raft.step(message)
                } catch {
                    self.output.print(DirectiveError.text(of: error))
                }
            case .stored(_, let stored, _): self.nodes[place].raft.stored(stored)
            case .applied(_, let applied, _): self.nodes[place].raft.applied(applied)
            case .append, .apply: throw DirectiveError("a worker is no recipient")
            }
        }
        return taken.count
    }

    // MARK: Until nothing changes.

    private static let roundsMax = 1000

    mutating func stabilize(_ block: DataFile.Block) throws {
        var places = try block.numbers().map { try self.place(of: $0) }
        if places.isEmpty { places = Array(self.nodes.indices) }
        let wasSilent = self.output.isSilent
        defer { self.output.isSilent = wasSilent }
        for option in block.options {
            guard option.key == "log-level" else {
                throw DirectiveError("stabilize knows no \(option.key)")
            }
            try self.setLogLevel(try option.value)
        }
        for _ in 0..<Self.roundsMax {
            guard try self.round(places) else { return }
        }
        throw DirectiveError("no rest after \(Self.roundsMax) rounds")
    }

    /// - Returns: whether there was anything to do.
    private mutating func round(_ places: [Int]) throws -> Bool {
        var isBusy = false
        for place in places where self.nodes[place].raft.hasReady {
            isBusy = true
            try self.section("> \(place + 1) handling Ready") { try $0.processReady(place) }
        }
        for place in places {
            let recipient = Recipient(id: self.nodes[place].id, isDropped: false)
            guard self.letters.contains(where: { self.isFor($0, recipient, type: nil) }) else {
                continue
            }
            isBusy = true
            try self.section("> \(place + 1) receiving messages") {
                _ = try $0.deliver(to: recipient, type: nil)
            }
        }
        for place in places where !self.nodes[place].appendWork.isEmpty {
            isBusy = true
            try self.section("> \(place + 1) processing append thread") {
                while !$0.nodes[place].appendWork.isEmpty { try $0.processAppend(place) }
            }
        }
        for place in places where !self.nodes[place].applyWork.isEmpty {
            isBusy = true
            try self.section("> \(place + 1) processing apply thread") {
                while !$0.nodes[place].applyWork.isEmpty { try $0.processApply(place) }
            }
        }
        return isBusy
    }
}
