// Steps.swift - a message comes in: is it sound, of which term, and whose business is it?
//
// Fails     what no sound member says is refused before anything changes.

import Primitives

extension Raft {
    /// Takes a message of a peer, or an answer of this member's own that is due now.
    package mutating func step(_ message: Message) throws(StepError) {
        try self.check(message)
        switch message.body {
        case .propose(let entries):
            try self.propose(entries, from: message.from)
            return
        case .read(let request):
            try self.requestRead(request, from: message.from)
            return
        case .preVote, .preVoteAnswer, .vote, .voteAnswer, .append, .appended, .appendRejected,
            .heartbeat, .heartbeatAnswer, .snapshot, .timeoutNow, .transferLeader, .readAnswer:
            if message.isAnswer, self.membership.place(of: message.from) == nil {
                throw .unknownPeer
            }
        }
        if message.term > self.term {
            guard self.meetHigherTerm(message) else { return }
        } else if message.term < self.term {
            self.meetLowerTerm(message)
            return
        }
        switch message.body {
        case .preVote(let last, _): self.receiveBallot(message, last: last, isPre: true)
        case .vote(let last, _): self.receiveBallot(message, last: last, isPre: false)
        case .preVoteAnswer, .voteAnswer, .append, .appended, .appendRejected, .heartbeat,
            .heartbeatAnswer, .snapshot, .timeoutNow, .transferLeader, .propose, .read,
            .readAnswer:
            switch self.role {
            case .leader: try self.stepAsLeader(message)
            case .preCandidate, .candidate: try self.stepAsCandidate(message)
            case .follower: try self.stepAsFollower(message)
            }
        }
    }

    /// - Returns: whether the message is to be taken.
    private mutating func meetHigherTerm(_ message: Message) -> Bool {
        switch message.body {
        case .preVote(_, let isTransfer), .vote(_, let isTransfer):
            // Who hears a leader does not help to replace it (thesis 4.2.3).
            let hearsLeader =
                self.options.checksQuorum && self.leader != .none
                && self.electionElapsed < self.options.electionTicks
            if hearsLeader && !isTransfer { return false }
            if case .preVote = message.body { return true }
            self.becomeFollower(message.term, leader: .none)
        case .preVoteAnswer(isGranted: true):
            // The term that was asked for; it begins with the election itself.
            return true
        case .append, .heartbeat, .snapshot:
            self.becomeFollower(message.term, leader: message.from)
        case .preVoteAnswer, .voteAnswer, .appended, .appendRejected, .heartbeatAnswer,
            .timeoutNow, .transferLeader, .propose, .read, .readAnswer:
            self.becomeFollower(message.term, leader: .none)
        }
        return true
    }

    private mutating func meetLowerTerm(_ message: Message) {
        switch message.body {
        case .append, .heartbeat:
            // A leader that was cut off learns the term by this; without it, it would wait for
            // ever, since this member does not campaign against the present leader.
            if self.options.checksQuorum || self.options.preVotes {
                self.send(.appended(index: 0), to: message.from)
            }
        case .preVote:
            // It may hold entries that it can never win with: it needs the term.
            self.send(.preVoteAnswer(isGranted: false), to: message.from)
        case .preVoteAnswer, .vote, .voteAnswer, .appended, .appendRejected, .heartbeatAnswer,
            .snapshot, .timeoutNow, .transferLeader, .propose, .read, .readAnswer:
            return
        }
    }

    // MARK: By role.

    private mutating func stepAsCandidate(_ message: Message) throws(StepError) {
        switch message.body {
        case .append, .heartbeat, .snapshot:
            // Somebody was elected in this very term.
            self.becomeFollower(message.term, leader: message.from)
            try self.stepAsFollower(message)
        case .preVoteAnswer(let isGranted):
            if self.role == .preCandidate {
                self.receiveVote(from: message.from, isGranted: isGranted)
            }
        case .voteAnswer(let isGranted):
            if self.role == .candidate {
                self.receiveVote(from: message.from, isGranted: isGranted)
            }
        case .preVote, .vote, .appended, .appendRejected, .heartbeatAnswer, .timeoutNow,
            .transferLeader, .propose, .read, .readAnswer:
            return
        }
    }

    private mutating func stepAsFollower(_ message: Message) throws(StepError) {
        switch message.body {
        case .append(let previous, let entries, let commit):
            self.hear(message.from)
            try self.follow(message.from, previous: previous, entries: entries, commit: commit)
        case .heartbeat(let commit, let round):
            self.hear(message.from)
            self.log.commit(to: commit)
            self.send(.heartbeatAnswer(round: round), to: message.from)
        case .snapshot(let snapshot):
            self.hear(message.from)
            let isTaken = self.restore(snapshot)
            self.send(
                .appended(index: isTaken ? self.log.lastIndex : self.log.committed),
                to: message.from)
        case .timeoutNow:
            // Asked for by the leader itself: no need to ask the others first.
            self.campaign(isTransfer: true)
        case .transferLeader:
            guard self.leader != .none else { return }
            self.messages.append(
                Message(
                    from: message.from, to: self.leader, term: self.term, .transferLeader))
        case .readAnswer(let index, let request):
            self.readStates.append(ReadState(index: index, request: request))
        case .preVote, .preVoteAnswer, .vote, .voteAnswer, .appended, .appendRejected,
            .heartbeatAnswer, .propose, .read:
            return
        }
    }

    private mutating func hear(_ leader: MemberID) {
        self.electionElapsed = 0
        self.leader = leader
    }

    // MARK: Soundness.

    private func check(_ message: Message) throws(StepError) {
        guard message.term <= Self.numberMax else { throw .malformed("term") }
        guard message.from != .none else { throw .malformed("sender") }
        switch message.body {
        case .preVote(let last, _), .vote(let last, _):
            guard message.term > 0, last.term <= message.term, last.index <= Self.numberMax
            else { throw .malformed("ballot") }
        case .append(let previous, let entries, let commit):
            try self.check(entries, behind: previous, term: message.term)
            guard commit <= Self.numberMax else { throw .malformed("commit") }
        case .appended(let index):
            guard index <= Self.numberMax else { throw .malformed("index") }
        case .appendRejected(let index, let hint):
            guard index <= Self.numberMax, hint.index <= index else { throw .malformed("hint") }
        case .heartbeat(let commit, _):
            // The leader says that this member has stored so far. If it has not, it lost its log.
            guard commit <= self.log.lastIndex || message.term < self.term else {
                throw .contradiction("a leader knows entries here that are not")
            }
        case .snapshot(let snapshot):
            guard snapshot.position.index > 0, snapshot.position.index <= Self.numberMax,
                snapshot.position.term <= message.term, snapshot.configuration.isSound
            else { throw .malformed("snapshot") }
        case .propose(let entries):
            try Self.check(proposal: entries)
        case .readAnswer(let index, _):
            guard index <= Self.numberMax else { throw .malformed("index") }
        case .preVoteAnswer, .voteAnswer, .heartbeatAnswer, .timeoutNow, .transferLeader, .read:
            return
        }
    }

    private func check(
        _ entries: [Entry], behind previous: LogPosition, term: UInt64
    ) throws(StepError) {
        guard previous.term <= term, previous.index <= Self.numberMax, term > 0 else {
            throw .malformed("previous")
        }
        var last = previous
        for entry in entries {
            guard entry.index == last.index + 1, entry.term >= last.term, entry.term <= term,
                entry.term > 0, entry.index <= Self.numberMax
            else { throw .malformed("order of entries") }
            guard ConfigurationChange.isSound(entry) else { throw .malformed("change of members") }
            last = entry.position
        }
    }

    static func check(proposal entries: [Entry]) throws(StepError) {
        guard !entries.isEmpty else { throw .malformed("empty proposal") }
        for entry in entries where !ConfigurationChange.isSound(entry) {
            throw .malformed("change of members")
        }
    }
}
