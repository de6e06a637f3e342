// Facts.swift - what the search asks of members and messages most often, taken out once.

import Primitives
import Raft

/// An entry in 64 bits: term above, data in the lowest byte; 0: no data.
typealias EntryCode = UInt64

extension Entry {
    var code: EntryCode { self.term << 8 | UInt64(self.data.first ?? 0) }
}

extension EntryCode {
    var entryTerm: UInt64 { self >> 8 }
    /// Of a proposal; 0: the first entry of a term.
    var entryData: UInt64 { self & 0xFF }
    var entryText: String {
        self.entryData == 0 ? "\(self.entryTerm):-" : "\(self.entryTerm):p\(self.entryData)"
    }
}

struct MemberFacts {
    var term: UInt64
    var role: Role
    var commit: Int
    var log: [EntryCode]
    /// Of the disk.
    var syncedTerm: UInt64
    var synced: [EntryCode]
    /// By place; of a leader.
    var matches: [Int]
    var stores: Int
    var unsyncedRecords: Int

    init(_ member: Member) {
        let raft = member.replica.raft
        self.term = raft.term
        self.role = raft.role
        self.commit = Int(raft.commit)
        self.log =
            raft.lastIndex == 0
            ? [] : raft.log.slice(1...raft.lastIndex, bytesMax: .max).map(\.code)
        let durable = member.durable
        self.syncedTerm = durable.hardState.term
        self.synced = durable.entries.map(\.code)
        self.matches = raft.membership.peers.map { Int($0.progress.match) }
        self.stores = member.stores.count
        self.unsyncedRecords = member.unsynced.count
    }
}

struct MessageFacts {
    var from: Int
    var to: Int
    var term: UInt64
    private var kind: Kind

    private enum Kind {
        case vote
        case voteAnswer
        case preVoteAnswer
        case append
        case leaderAnswer
        case other
    }

    init(_ message: Message) {
        self.from = Int(message.from.raw) - 1
        self.to = Int(message.to.raw) - 1
        self.term = message.term
        self.kind =
            switch message.body {
            case .vote: .vote
            case .voteAnswer: .voteAnswer
            case .preVoteAnswer: .preVoteAnswer
            case .append, .heartbeat: .append
            case .appended, .appendRejected, .heartbeatAnswer: .leaderAnswer
            case .preVote, .snapshot, .timeoutNow, .transferLeader, .propose, .read, .readAnswer:
                .other
            }
    }

    /// Whether its addressee, as it is, can never again do anything about it, come what may.
    ///
    /// Terms on disk only grow, and no member begins a term twice that its disk knows. So what is
    /// of a term below the disk's is ignored for ever; answers are, too, in the disk's own term,
    /// unless the member is a candidate or leader of that very term now.
    func isSpent(at facts: MemberFacts, answersPast: Bool) -> Bool {
        if self.term > facts.syncedTerm { return false }
        let isPast = self.term < facts.syncedTerm
        switch self.kind {
        case .vote, .preVoteAnswer: return isPast
        case .append: return isPast && !answersPast
        case .voteAnswer: return !(self.term == facts.term && facts.role == .candidate)
        case .leaderAnswer:
            let mayLead = facts.role == .candidate || facts.role == .leader
            return !(self.term == facts.term && mayLead)
        case .other: return false
        }
    }
}
