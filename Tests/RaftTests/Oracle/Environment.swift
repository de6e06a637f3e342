// Environment.swift - a group of nodes that does what the directives of a scenario say.
//
// Order     letters are delivered in the order in which they were sent, one list for all nodes.
// See       EnvironmentWork (turns, workers, delivery), Letter, EnvironmentNode.

import Primitives
import Raft

/// Lines, indented where they belong to something.
struct Output {
    private(set) var lines: [String] = []
    var indentation = 0
    /// Nothing is printed but errors of directives.
    var isSilent = false

    mutating func print(_ line: String) {
        if !self.isSilent {
            self.lines.append(String(repeating: "  ", count: self.indentation) + line)
        }
    }

    mutating func print(_ lines: [String]) {
        for line in lines { self.print(line) }
    }

    mutating func take() -> [String] {
        defer {
            self.lines = []
            self.indentation = 0
        }
        return self.lines
    }
}

struct Environment {
    static let electionTicks = 3
    static let heartbeatTicks = 1

    var nodes: [EnvironmentNode] = []
    var letters: [Letter] = []
    var output = Output()

    init() {}

    /// Does what a block says. - Returns: its output.
    mutating func answer(_ block: DataFile.Block) -> [String] {
        do {
            try self.handle(block)
        } catch {
            let text = DirectiveError.text(of: error)
            if self.output.isSilent {
                _ = self.output.take()
                return [text]
            }
            self.output.indentation = 0
            self.output.print(text)
        }
        let lines = self.output.take()
        return lines.isEmpty ? ["ok"] : lines
    }

    private mutating func handle(_ block: DataFile.Block) throws {
        switch block.command {
        case "_breakpoint": return
        case "add-nodes": try self.addNodes(block)
        case "log-level": try self.setLogLevel(block.words.first ?? "")
        case "process-ready":
            try self.each(block, "handling Ready") { try $0.processReady($1) }
        case "process-append-thread":
            try self.each(block, "processing append thread") { try $0.processAppend($1) }
        case "process-apply-thread":
            try self.each(block, "processing apply thread") { try $0.processApply($1) }
        case "deliver-msgs": try self.deliver(block)
        case "stabilize": try self.stabilize(block)
        case "raft-state": self.output.print(self.nodes.map(Self.state))
        case "raft-log": self.output.print(self.nodes[try self.place(block, 0)].store.lines)
        case "compact":
            let place = try self.place(block, 0)
            try self.nodes[place].compact(to: try block.number(1))
            self.output.print(self.nodes[place].store.lines)
        case "status":
            let raft = self.nodes[try self.place(block, 0)].raft
            // Only a leader knows how far the others are.
            guard raft.role == .leader else { return }
            self.output.print(
                raft.membership.peers.map { "\($0.id.raw): \(Text.progress($0.progress))" })
        case "send-snapshot":
            try self.sendSnapshot(from: self.place(block, 0), to: self.place(block, 1))
        case _: try self.handleEvent(block)
        }
    }

    /// Directives that are one event at one node and print nothing.
    private mutating func handleEvent(_ block: DataFile.Block) throws {
        switch block.command {
        case "campaign": self.nodes[try self.place(block, 0)].raft.campaign()
        case "propose":
            guard block.words.count == 2, block.options.isEmpty else {
                throw DirectiveError("propose takes a node and a text")
            }
            let data = Array(block.words[1].utf8)
            try self.nodes[try self.place(block, 0)].raft.propose([Entry(data: data)])
        case "propose-conf-change": try self.proposeChange(block)
        case "tick-election": try self.tick(block, Self.electionTicks)
        case "tick-heartbeat": try self.tick(block, Self.heartbeatTicks)
        case "set-randomized-election-timeout":
            let ticks: Int = try block.option("timeout").number()
            guard ticks > 0 else { throw DirectiveError("timeout=0") }
            self.nodes[try self.place(block, 0)].raft.setDrawnElectionTicks(ticks)
        case "transfer-leadership":
            let from = try self.place(of: try block.option("from").number())
            let to: UInt64 = try block.option("to").number()
            self.nodes[from].raft.transferLeadership(to: MemberID(raw: to))
        case "forget-leader": self.nodes[try self.place(block, 0)].raft.forgetLeader()
        case "report-unreachable":
            let peer = self.nodes[try self.place(block, 1)].id
            self.nodes[try self.place(block, 0)].raft.reportUnreachable(peer)
        case _: throw DirectiveError("unknown command: \(block.command)")
        }
    }

    // MARK: Nodes.

    /// Where the node `id` stands in `nodes`.
    func place(of id: UInt64) throws -> Int {
        guard id >= 1, id <= UInt64(self.nodes.count) else {
            throw DirectiveError("there is no node \(id)")
        }
        return Int(id) - 1
    }

    /// The node that the bare word at `word` names.
    private func place(_ block: DataFile.Block, _ word: Int) throws -> Int {
        try self.place(of: try block.number(word))
    }

    /// Does `work` for every node that the block names, with a header each if they are several.
    private mutating func each(
        _ block: DataFile.Block, _ title: String, _ work: (inout Self, Int) throws -> Void
    ) throws {
        let ids = try block.numbers()
        for id in ids {
            let place = try self.place(of: id)
            if ids.count > 1 {
                try self.section("> \(id) \(title)") { try work(&$0, place) }
            } else {
                try work(&self, place)
            }
        }
    }

    /// A header, and indented what `work` prints.
    mutating func section(_ title: String, _ work: (inout Self) throws -> Void) throws {
        self.output.print(title)
        self.output.indentation += 1
        try work(&self)
        self.output.indentation -= 1
    }

    private mutating func addNodes(_ block: DataFile.Block) throws {
        let count: Int = try block.number(0)
        var options = Self.unlimited
        var snapshot = Snapshot(position: .zero, configuration: Configuration(), data: [])
        var isBootstrapped = false
        for option in block.options {
            switch option.key {
            case "voters":
                for id in try option.numbers() {
                    snapshot.configuration.voters.insertSorted(MemberID(raw: id))
                }
                isBootstrapped = true
            case "learners":
                for id in try option.numbers() {
                    snapshot.configuration.learners.insertSorted(MemberID(raw: id))
                }
                isBootstrapped = true
            case "index":
                snapshot.position = LogPosition(term: 1, index: try option.number())
                isBootstrapped = true
            case "content":
                snapshot.data = Array(try option.value.utf8)
                isBootstrapped = true
            case _: try Self.set(option, in: &options)
            }
        }
        if isBootstrapped && snapshot.position.index <= 1 {
            throw DirectiveError("index must be specified as > 1 due to bootstrap")
        }
        for _ in 0..<count {
            options.id = MemberID(raw: UInt64(self.nodes.count) + 1)
            self.nodes.append(
                EnvironmentNode(options, snapshot: isBootstrapped ? snapshot : nil))
        }
    }

    /// No limits, no dice, nothing that a file has not asked for.
    private static var unlimited: Options {
        var options = Options(id: MemberID(raw: 1))
        options.electionTicks = Self.electionTicks
        options.electionSpreadTicks = 1
        options.heartbeatTicks = Self.heartbeatTicks
        options.appendBytesMax = .max
        options.applyingBytesMax = .max
        options.uncommittedBytesMax = .max
        options.inFlightMessagesMax = Int(Int32.max)
        options.inFlightBytesMax = 0
        options.checksQuorum = false
        options.preVotes = false
        options.readMode = .safe
        options.forwardsProposals = true
        options.validatesChanges = true
        options.stepsDownOnRemoval = false
        options.storesAsynchronously = false
        return options
    }

    private static func set(_ option: DataFile.Argument, in options: inout Options) throws {
        switch option.key {
        case "inflight": options.inFlightMessagesMax = try option.number()
        case "async-storage-writes": options.storesAsynchronously = try option.flag()
        case "prevote": options.preVotes = try option.flag()
        case "checkquorum": options.checksQuorum = try option.flag()
        case "max-committed-size-per-ready":
            let bytes: UInt64 = try option.number()
            options.applyingBytesMax = bytes == 0 ? .max : bytes
        // Limits that etcd's files never set, under names of ours.
        case "max-uncommitted-size": options.uncommittedBytesMax = try option.number()
        case "max-size-per-msg": options.appendBytesMax = try option.number()
        case "max-inflight-bytes": options.inFlightBytesMax = try option.number()
        case "disable-conf-change-validation": options.validatesChanges = !(try option.flag())
        case "step-down-on-removal": options.stepsDownOnRemoval = try option.flag()
        case "read-only":
            switch try option.value {
            case "safe": options.readMode = .safe
            case "lease-based": options.readMode = .leaseBased
            case let value: throw DirectiveError("invalid read-only option \"\(value)\"")
            }
        case let key: throw DirectiveError("add-nodes knows no \(key)")
        }
    }

    // MARK: Events.

    private mutating func proposeChange(_ block: DataFile.Block) throws {
        let place = try self.place(block, 0)
        var isSingle = false
        var transition = Transition.auto
        for option in block.options {
            switch option.key {
            case "v1": isSingle = try option.flag()
            case "transition":
                switch try option.value {
                case "auto": transition = .auto
                case "implicit": transition = .implicit
                case "explicit": transition = .explicit
                case let value: throw DirectiveError("unknown transition \(value)")
                }
            case let key: throw DirectiveError("unknown command \(key)")
            }
        }
        let change = ConfigurationChange(transition: transition, try block.changes())
        if isSingle && (change.changes.count != 1 || transition != .auto) {
            throw DirectiveError("v1 conf change can only have one operation and no transition")
        }
        try self.nodes[place].raft.propose([change.entry(asSingle: isSingle)])
    }

    private mutating func tick(_ block: DataFile.Block, _ count: Int) throws {
        let place = try self.place(block, 0)
        for _ in 0..<count { self.nodes[place].raft.tick(random: 0) }
    }

    mutating func setLogLevel(_ level: String) throws {
        let levels = ["debug", "info", "warn", "error", "none"]
        guard levels.contains(level.lowercased()) else {
            throw DirectiveError("log levels must be either of \(levels)")
        }
        self.output.isSilent = level.lowercased() == "none"
    }

    private static func state(_ node: EnvironmentNode) -> String {
        let raft = node.raft
        let part = raft.configuration.isVoter(raft.id) ? "(Voter)" : "(Non-Voter)"
        return "\(raft.id.raw): \(Text.role(raft.role)) \(part)"
            + " Term:\(raft.term) Lead:\(raft.leader.raw)"
    }

    private mutating func sendSnapshot(from: Int, to: Int) throws {
        guard let snapshot = self.nodes[from].history.last else {
            throw DirectiveError("node \(from + 1) has no snapshot")
        }
        let letter = Letter.message(
            Message(
                from: self.nodes[from].id, to: self.nodes[to].id,
                term: self.nodes[from].raft.term, .snapshot(snapshot)))
        self.letters.append(letter)
        self.output.print(letter.lines)
    }
}
