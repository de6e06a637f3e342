// Reads.swift - linearizable reads: the leader proves that it still leads.
//
// Standard  thesis 6.4: 1 an entry of the own term is committed; 2 note the commit index; 3 a
//           round of heartbeats begun after the request is answered by a majority; 4 answer when
//           the index is applied.
// Limits    `Options.readsMax` requests wait; those beyond are dropped: ask again, with another
//           number. A leader that steps down drops all.

import Primitives

/// Requests that wait, of one leader in one term.
struct Reads: Hashable {
    struct Waiting: Hashable {
        var from: MemberID
        var request: UInt64
        var index: UInt64
        /// The heartbeats that prove the leadership for it.
        var round: UInt64
    }

    /// The newest round; rounds count from 1 in each term.
    var round: UInt64 = 0
    /// In the order of their rounds.
    var waiting: [Waiting] = []
    /// Came before the first commit of the term.
    var postponed: [Waiting] = []
}

extension Raft {
    /// Asks for an index that, once applied, lets a state answer as of now. The answer is a
    /// `ReadState` with this number, or never comes.
    ///
    /// - Parameter request: never used before by this member: an old answer must not pass for a
    ///   new one.
    package mutating func requestRead(_ request: UInt64) throws(StepError) {
        try self.requestRead(request, from: self.id)
    }

    mutating func requestRead(_ request: UInt64, from: MemberID) throws(StepError) {
        switch self.role {
        case .leader: try self.take(read: request, from: from)
        case .follower:
            guard self.leader != .none else { throw .proposalDropped }
            self.messages.append(
                Message(from: from, to: self.leader, term: 0, .read(request: request)))
        case .preCandidate, .candidate: throw .proposalDropped
        }
    }

    private mutating func take(read request: UInt64, from: MemberID) throws(StepError) {
        guard self.reads.waiting.count + self.reads.postponed.count < self.options.readsMax
        else { throw .proposalDropped }
        let read = Reads.Waiting(from: from, request: request, index: 0, round: 0)
        // Alone, too: commit indexes are not stored, so a new leader learns them anew.
        if !self.hasCommittedInTerm {
            self.reads.postponed.append(read)
        } else {
            self.prove(read)
        }
    }

    /// Begins a round for it.
    private mutating func prove(_ read: Reads.Waiting) {
        if self.isSoleVoter {
            self.answer(read, index: self.log.committed)
            return
        }
        switch self.options.readMode {
        case .leaseBased: self.answer(read, index: self.log.committed)
        case .safe:
            var read = read
            self.reads.round += 1
            read.round = self.reads.round
            read.index = self.log.committed
            self.reads.waiting.append(read)
            self.broadcastHeartbeat()
        }
    }

    mutating func releasePostponedReads() {
        guard !self.reads.postponed.isEmpty, self.hasCommittedInTerm else { return }
        let all = self.reads.postponed
        self.reads.postponed = []
        for read in all { self.prove(read) }
    }

    /// Member `i` has answered the heartbeats of `round`, and with them all before.
    mutating func receiveRound(_ i: Int, _ round: UInt64) {
        guard round <= self.reads.round else { return }
        let progress = self.membership.peers[i].progress
        self.membership.peers[i].progress.round = max(progress.round, round)
        guard let first = self.reads.waiting.first, first.round <= round else { return }
        self.releaseProvenReads()
    }

    private var isSoleVoter: Bool {
        self.configuration.voters == [self.id] && !self.configuration.isJoint
    }

    /// Answers the reads whose rounds a majority of the present configuration has answered.
    mutating func releaseProvenReads() {
        guard !self.reads.waiting.isEmpty else { return }
        let proven = self.configuration.committed { id in
            if id == self.id { return self.reads.round }
            return self.membership.place(of: id).map { self.membership.peers[$0].progress.round }
        }
        let ready = self.reads.waiting.prefix { $0.round <= proven }
        let count = ready.count
        for read in ready { self.answer(read, index: read.index) }
        self.reads.waiting.removeFirst(count)
    }

    private mutating func answer(_ read: Reads.Waiting, index: UInt64) {
        if read.from == self.id {
            self.readStates.append(ReadState(index: index, request: read.request))
        } else {
            self.send(.readAnswer(index: index, request: read.request), to: read.from)
        }
    }
}
