// Solo.swift - one member and its trace: an event goes in, actions come out.

import Primitives
import Testing

@testable import Raft

/// A member whose peers are the test itself.
struct Solo {
    var replica: Replica
    /// Stores that were asked for and have not ended.
    private(set) var tickets: [UInt64] = []

    init(
        _ id: MemberID, voters: [MemberID], learners: [MemberID] = [], term: UInt64 = 0,
        vote: MemberID = .none, terms: [UInt64] = [], commit: UInt64 = 0, applied: UInt64 = 0,
        _ change: (inout Options) -> Void = { _ in }
    ) {
        var options = Options(id: id)
        options.electionTicks = 10
        options.electionSpreadTicks = 10
        options.heartbeatTicks = 2
        change(&options)
        let entries = terms.enumerated().map { at, term in
            Entry(term: term, index: UInt64(at + 1), data: [UInt8(at + 1)])
        }
        self.replica = Replica(
            options,
            start: Start(
                hardState: HardState(term: term, vote: vote, commit: commit),
                configuration: Configuration(voters: voters, learners: learners),
                entries: entries, applied: applied), random: 9)
    }

    var raft: Raft { self.replica.raft }

    /// The actions since the last turn. Stores wait for `store()`.
    mutating func turn() -> [Replica.Action] {
        var actions: [Replica.Action] = []
        self.replica.turn(&actions)
        for case .store(let request) in actions { self.tickets.append(request.ticket) }
        return actions
    }

    /// All stores end; what that lets go.
    mutating func store() -> [Replica.Action] {
        guard let last = self.tickets.last else { return self.turn() }
        self.tickets = []
        self.replica.stored(upTo: last)
        return self.turn()
    }

    /// Only the oldest store ends.
    mutating func storeOne() -> [Replica.Action] {
        guard !self.tickets.isEmpty else { return self.turn() }
        self.replica.stored(upTo: self.tickets.removeFirst())
        return self.turn()
    }

    /// Turns, stores and applies until nothing is left to do; all actions.
    mutating func settle() -> [Replica.Action] {
        var all: [Replica.Action] = []
        while true {
            var actions = self.turn()
            actions += self.store()
            for case .apply(let entries, let applied) in actions {
                for entry in entries where entry.kind != .normal { _ = self.replica.apply(entry) }
                self.replica.applied(applied)
            }
            if actions.isEmpty { return all }
            all += actions
        }
    }

    mutating func receive(
        _ from: MemberID, term: UInt64, _ body: Message.Body
    ) throws(StepError) {
        try self.replica.step(
            Message(from: from, to: self.replica.raft.id, term: term, body))
    }

    mutating func tick(_ count: Int = 1, random: UInt64 = 9) {
        for _ in 0..<count { self.replica.tick(random: random) }
    }

    /// Elected by everybody in `helpers`, settled; the election's actions are gone.
    mutating func lead(helpers: MemberID...) throws {
        self.replica.campaign()
        _ = self.settle()
        for id in helpers where self.raft.role == .preCandidate {
            try self.receive(id, term: self.raft.term + 1, .preVoteAnswer(isGranted: true))
            _ = self.settle()
        }
        for id in helpers where self.raft.role == .candidate {
            try self.receive(id, term: self.raft.term, .voteAnswer(isGranted: true))
            _ = self.settle()
        }
        #expect(self.raft.role == .leader)
    }
}

extension [Replica.Action] {
    /// Messages, in the order in which they leave.
    var sent: [Message] {
        self.compactMap { if case .send(let message) = $0 { message } else { nil } }
    }
    var stores: [StoreRequest] {
        self.compactMap { if case .store(let request) = $0 { request } else { nil } }
    }
    var applies: [Entry] {
        self.flatMap { if case .apply(let entries, _) = $0 { entries } else { [Entry]() } }
    }
    var readable: [ReadState] {
        self.compactMap { if case .readable(let read) = $0 { read } else { nil } }
    }
    func sent(to id: MemberID) -> [Message.Body] {
        self.sent.filter { $0.to == id }.map(\.body)
    }
}

extension Message {
    var isVote: Bool { if case .vote = self.body { true } else { false } }
    var isPreVote: Bool { if case .preVote = self.body { true } else { false } }
    var isVoteAnswer: Bool { if case .voteAnswer = self.body { true } else { false } }
    var isAppend: Bool { if case .append = self.body { true } else { false } }
    var isAppended: Bool { if case .appended = self.body { true } else { false } }
    var isHeartbeat: Bool { if case .heartbeat = self.body { true } else { false } }
    var isHeartbeatAnswer: Bool { if case .heartbeatAnswer = self.body { true } else { false } }
    var isSnapshot: Bool { if case .snapshot = self.body { true } else { false } }
    var isTimeoutNow: Bool { if case .timeoutNow = self.body { true } else { false } }

    /// Data of an append's entries as texts.
    var texts: [String] {
        guard case .append(_, let entries, _) = self.body else { return [] }
        return entries.map { String(decoding: $0.data, as: UTF8.self) }
    }
}

extension LogPosition {
    /// `5 @ 3`: index 5 of term 3.
    static func at(_ index: UInt64, _ term: UInt64) -> LogPosition {
        LogPosition(term: term, index: index)
    }
}

extension Entry {
    static func at(_ index: UInt64, _ term: UInt64, _ text: String = "") -> Entry {
        Entry(term: term, index: index, data: Array(text.utf8))
    }
}
