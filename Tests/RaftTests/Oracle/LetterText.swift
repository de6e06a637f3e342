// LetterText.swift - letters as the files print them.

import Primitives
import Raft

/// The facts of a letter, in the order in which they are printed.
private struct LetterFacts {
    var from: String
    var to: String
    var type: String
    var term: UInt64 = 0
    var position = LogPosition.zero
    var rejection: UInt64?
    var commit: UInt64 = 0
    var vote: UInt64 = 0
    var entries: [Entry] = []
    var snapshot: Snapshot?
    var responses: [Letter] = []

    var lines: [String] {
        var line = "\(self.from)->\(self.to) \(self.type) Term:\(self.term)"
        line += " Log:\(self.position.term)/\(self.position.index)"
        if let rejection { line += " Rejected (Hint: \(rejection))" }
        if self.commit != 0 { line += " Commit:\(self.commit)" }
        if self.vote != 0 { line += " Vote:\(self.vote)" }
        var lines: [String] = []
        switch self.entries.count {
        case 0: break
        case 1: line += " Entries:[\(Text.entry(self.entries[0]))]"
        case _:
            lines.append(line + " Entries:[")
            lines += self.entries.map { "  " + Text.entry($0) }
            line = "]"
        }
        if let snapshot {
            lines.append(line)
            line = "  Snapshot: " + Text.snapshot(snapshot)
        }
        guard !self.responses.isEmpty else { return lines + [line] }
        lines.append(line + " Responses:[")
        for response in self.responses { lines += response.lines.map { "  " + $0 } }
        return lines + ["]"]
    }
}

extension Letter {
    /// The letter as it is printed; what belongs inside is indented.
    var lines: [String] { self.facts.lines }

    /// The same without the answers that it asks for.
    var linesAlone: [String] {
        var facts = self.facts
        facts.responses = []
        return facts.lines
    }

    /// The name of its type.
    var type: String { self.facts.type }

    /// Names of types that a directive may ask for.
    static let types: Set<String> = [
        "MsgHup", "MsgBeat", "MsgProp", "MsgApp", "MsgAppResp", "MsgVote", "MsgVoteResp",
        "MsgSnap", "MsgHeartbeat", "MsgHeartbeatResp", "MsgUnreachable", "MsgSnapStatus",
        "MsgCheckQuorum", "MsgTransferLeader", "MsgTimeoutNow", "MsgReadIndex",
        "MsgReadIndexResp", "MsgPreVote", "MsgPreVoteResp", "MsgStorageAppend",
        "MsgStorageAppendResp", "MsgStorageApply", "MsgStorageApplyResp", "MsgForgetLeader",
    ]

    private var facts: LetterFacts {
        switch self {
        case .message(let message): return Self.facts(of: message)
        case .append(let work):
            var facts = LetterFacts(
                from: Text.id(work.node), to: "AppendThread", type: "MsgStorageAppend")
            facts.term = work.hardState?.term ?? 0
            facts.commit = work.hardState?.commit ?? 0
            facts.vote = work.hardState?.vote.raw ?? 0
            facts.entries = work.entries
            facts.snapshot = work.snapshot
            facts.responses = work.responses
            return facts
        case .stored(let node, let stored, let snapshot):
            return LetterFacts(
                from: "AppendThread", to: Text.id(node), type: "MsgStorageAppendResp",
                term: stored.term, position: stored.last ?? .zero, snapshot: snapshot)
        case .apply(let work):
            return LetterFacts(
                from: Text.id(work.node), to: "ApplyThread", type: "MsgStorageApply",
                entries: work.entries, responses: [work.response])
        case .applied(let node, _, let entries):
            return LetterFacts(
                from: "ApplyThread", to: Text.id(node), type: "MsgStorageApplyResp",
                entries: entries)
        }
    }

    private static func facts(of message: Message) -> LetterFacts {
        var facts = LetterFacts(
            from: Text.id(message.from), to: Text.id(message.to), type: Self.type(of: message),
            term: message.term)
        switch message.body {
        case .preVote(let last, _), .vote(let last, _): facts.position = last
        case .preVoteAnswer(let isGranted), .voteAnswer(let isGranted):
            facts.rejection = isGranted ? nil : 0
        case .append(let previous, let entries, let commit):
            facts.position = previous
            facts.entries = entries
            facts.commit = commit
        case .appended(let index): facts.position.index = index
        case .appendRejected(let index, let hint):
            facts.position = LogPosition(term: hint.term, index: index)
            facts.rejection = hint.index
        case .heartbeat(let commit, _): facts.commit = commit
        case .snapshot(let snapshot): facts.snapshot = snapshot
        case .propose(let entries): facts.entries = entries
        case .readAnswer(let index, _): facts.position.index = index
        case .heartbeatAnswer, .timeoutNow, .transferLeader, .read: break
        }
        return facts
    }

    private static func type(of message: Message) -> String {
        switch message.body {
        case .preVote: "MsgPreVote"
        case .preVoteAnswer: "MsgPreVoteResp"
        case .vote: "MsgVote"
        case .voteAnswer: "MsgVoteResp"
        case .append: "MsgApp"
        case .appended, .appendRejected: "MsgAppResp"
        case .heartbeat: "MsgHeartbeat"
        case .heartbeatAnswer: "MsgHeartbeatResp"
        case .snapshot: "MsgSnap"
        case .timeoutNow: "MsgTimeoutNow"
        case .transferLeader: "MsgTransferLeader"
        case .propose: "MsgProp"
        case .read: "MsgReadIndex"
        case .readAnswer: "MsgReadIndexResp"
        }
    }
}
