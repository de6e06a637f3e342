// Elections.swift - time that passes, campaigns, votes.
//
// Standard  thesis 3.4, 3.6.1 (elections), 9.6 (pre-vote), 6.2 and 4.2.3 (check of the quorum),
//           3.10 (transfer), 4.2.1 (learners do not stand).

import Primitives

extension Raft {
    /// A tick has passed.
    ///
    /// - Parameter random: decides the election timeout, should one be drawn before the next tick.
    package mutating func tick(random: UInt64) {
        self.random = random
        switch self.role {
        case .leader: self.tickAsLeader()
        case .follower, .preCandidate, .candidate:
            self.electionElapsed += 1
            if self.isPromotable, self.electionElapsed >= self.drawnElectionTicks {
                self.electionElapsed = 0
                self.campaign()
            }
        }
    }

    private mutating func tickAsLeader() {
        self.heartbeatElapsed += 1
        self.electionElapsed += 1
        if self.electionElapsed >= self.options.electionTicks {
            self.electionElapsed = 0
            if self.options.checksQuorum { self.checkQuorum() }
            // A transfer has one election timeout (thesis 3.10).
            if self.role == .leader { self.transferee = .none }
        }
        guard self.role == .leader, self.heartbeatElapsed >= self.options.heartbeatTicks else {
            return
        }
        self.heartbeatElapsed = 0
        self.broadcastHeartbeat()
    }

    /// Steps down if no majority was heard of since the last check.
    private mutating func checkQuorum() {
        let result = self.configuration.result { id in
            guard let i = self.membership.place(of: id) else { return false }
            let progress = self.membership.peers[i].progress
            return id == self.id || progress.isRecentlyActive
        }
        guard result == .won else {
            self.becomeFollower(self.term, leader: .none)
            return
        }
        for i in self.membership.peers.indices where self.membership.peers[i].id != self.id {
            self.membership.peers[i].progress.isRecentlyActive = false
        }
    }

    /// Forgets who leads: the link to it broke. From now on this follower helps to elect another,
    /// which it would not while it hears a leader; that one's next word brings it back.
    package mutating func forgetLeader() {
        guard self.role == .follower, self.options.readMode == .safe else { return }
        self.leader = .none
    }

    /// Stands for election, if it may.
    package mutating func campaign() { self.campaign(isTransfer: false) }

    mutating func campaign(isTransfer: Bool) {
        // A change of members that is committed may decide who votes: apply it first.
        guard self.role != .leader, self.isPromotable, !self.hasUnappliedChange else { return }
        if self.options.preVotes && !isTransfer {
            self.becomePreCandidate()
            self.askForVotes(isTransfer: false)
        } else {
            self.becomeCandidate()
            self.askForVotes(isTransfer: isTransfer)
        }
    }

    private var hasUnappliedChange: Bool {
        guard self.log.applied < self.log.committed else { return false }
        return self.log.slice(self.log.applied + 1...self.log.committed, bytesMax: .max)
            .contains { $0.kind != .normal }
    }

    private mutating func askForVotes(isTransfer: Bool) {
        let isPre = self.role == .preCandidate
        let term = isPre ? self.term + 1 : self.term
        let last = self.log.last
        for id in self.configuration.allVoters {
            if id == self.id {
                // The own vote counts like any other: when it is stored.
                self.send(
                    isPre ? .preVoteAnswer(isGranted: true) : .voteAnswer(isGranted: true),
                    to: id, term: term)
            } else {
                self.send(
                    isPre
                        ? .preVote(last: last, isTransfer: isTransfer)
                        : .vote(last: last, isTransfer: isTransfer),
                    to: id, term: term)
            }
        }
    }

    /// Somebody asks for a vote; its term is not below the own one (of a pre-vote, maybe above).
    mutating func receiveBallot(_ message: Message, last: LogPosition, isPre: Bool) {
        let mayVote =
            self.vote == message.from || (self.vote == .none && self.leader == .none)
            || (isPre && message.term > self.term)
        // Whether this member counts as a voter is the candidate's configuration to know: it may
        // have learned of a change that this log has not (thesis 4.2.2).
        if mayVote && last.isUpToDate(with: self.log.last) {
            if isPre {
                self.send(.preVoteAnswer(isGranted: true), to: message.from, term: message.term)
            } else {
                self.send(.voteAnswer(isGranted: true), to: message.from, term: message.term)
                self.electionElapsed = 0
                self.vote = message.from
            }
        } else {
            self.send(
                isPre ? .preVoteAnswer(isGranted: false) : .voteAnswer(isGranted: false),
                to: message.from)
        }
    }

    /// A vote for (or against) this candidate.
    mutating func receiveVote(from: MemberID, isGranted: Bool) {
        if !self.votes.contains(where: { $0.member == from }) {
            self.votes.append(Vote(member: from, isGranted: isGranted))
        }
        let result = self.configuration.result { id in
            self.votes.first { $0.member == id }?.isGranted
        }
        switch result {
        case .pending: return
        case .lost: self.becomeFollower(self.term, leader: .none)
        case .won where self.role == .preCandidate:
            self.becomeCandidate()
            self.askForVotes(isTransfer: false)
        case .won:
            self.becomeLeader()
            self.broadcastAppend()
        }
    }
}
