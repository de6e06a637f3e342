// Replication.swift - what a leader does: proposals, appends, commits, transfers.
//
// Standard  thesis 3.5, 3.6.2 (only entries of the own term are committed by counting), 3.10
//           (transfer), 4.1 (one change of members at a time), 10.2.1 (the leader stores while it
//           sends; its own copy counts when it is stored).

import Primitives

extension Raft {
    // MARK: Proposals.

    /// Proposes entries: at the leader they are appended, a follower hands them on. What becomes
    /// of them is known only when they are applied, or something else at their place is.
    package mutating func propose(_ entries: [Entry]) throws(StepError) {
        try self.propose(entries, from: self.id)
    }

    mutating func propose(_ entries: [Entry], from: MemberID) throws(StepError) {
        try Self.check(proposal: entries)
        switch self.role {
        case .leader:
            try self.checkProposals()
            guard self.append(self.withoutRefusedChanges(entries)) else { throw .proposalDropped }
            self.broadcastAppend()
        case .follower:
            guard self.leader != .none, self.options.forwardsProposals else {
                throw .proposalDropped
            }
            self.messages.append(
                Message(from: from, to: self.leader, term: 0, .propose(entries)))
        case .preCandidate, .candidate: throw .proposalDropped
        }
    }

    /// Proposes what only the leader of `term` may author: it was computed from that leader's
    /// state. Never handed on.
    package mutating func propose(_ data: [UInt8], onlyInTerm term: UInt64) throws(StepError) {
        guard self.role == .leader, self.term == term else { throw .proposalDropped }
        try self.checkProposals()
        guard self.append(Entry(data: data)) else { throw .proposalDropped }
        self.broadcastAppend()
    }

    /// Whether a leader takes proposals now.
    private func checkProposals() throws(StepError) {
        // No longer a member: nobody would count this member's copy.
        guard self.membership.place(of: self.id) != nil, self.transferee == .none else {
            throw .proposalDropped
        }
    }

    /// Why a change of members would not be taken now; nil: it would.
    package func refusal(of change: ConfigurationChange) -> ChangeRefusal? {
        guard self.options.validatesChanges else { return nil }
        if self.pendingChange > self.log.applied { return .pending }
        if self.configuration.isJoint && !change.changes.isEmpty { return .joint }
        if !self.configuration.isJoint && change.changes.isEmpty { return .notJoint }
        var outcome = self.membership
        do {
            try outcome.apply(change)
        } catch {
            return .impossible(error)
        }
        return nil
    }

    /// A change that is refused leaves an empty entry in its place.
    private mutating func withoutRefusedChanges(_ entries: [Entry]) -> [Entry] {
        guard entries.contains(where: { $0.kind != .normal }) else { return entries }
        var taken = entries
        for (i, entry) in entries.enumerated() where entry.kind != .normal {
            if self.isRefused(entry) {
                taken[i] = Entry(data: [])
            } else {
                self.pendingChange = self.log.lastIndex + UInt64(i) + 1
            }
        }
        return taken
    }

    private func isRefused(_ entry: Entry) -> Bool {
        do {
            return self.refusal(of: try ConfigurationChange(entry)) != nil
        } catch {
            return true
        }
    }

    /// Appends entries of the own term. False: too much is not committed yet.
    mutating func append(_ entries: [Entry]) -> Bool {
        var bytes: UInt64 = 0
        for entry in entries { bytes += UInt64(entry.data.count) }
        guard self.takesUncommitted(bytes) else { return false }
        for entry in entries { self.log.append(entry, term: self.term) }
        self.acknowledgeOwn()
        return true
    }

    /// The same for one entry.
    mutating func append(_ entry: Entry) -> Bool {
        guard self.takesUncommitted(UInt64(entry.data.count)) else { return false }
        self.log.append(entry, term: self.term)
        self.acknowledgeOwn()
        return true
    }

    private mutating func takesUncommitted(_ bytes: UInt64) -> Bool {
        if self.uncommittedBytes > 0, bytes > 0,
            self.uncommittedBytes + bytes > self.options.uncommittedBytesMax
        {
            return false
        }
        self.uncommittedBytes += bytes
        return true
    }

    /// The own copy counts like any other: when it is stored.
    private mutating func acknowledgeOwn() {
        self.send(.appended(index: self.log.lastIndex), to: self.id)
    }

    // MARK: Appends.

    mutating func broadcastAppend() {
        for i in self.membership.peers.indices where self.membership.peers[i].id != self.id {
            _ = self.sendAppend(i, evenEmpty: true)
        }
    }

    mutating func broadcastHeartbeat() {
        for i in self.membership.peers.indices where self.membership.peers[i].id != self.id {
            // Never beyond what the follower is known to have.
            let commit = min(self.membership.peers[i].progress.match, self.log.committed)
            self.send(
                .heartbeat(commit: commit, round: self.reads.round),
                to: self.membership.peers[i].id)
            self.membership.peers[i].progress.sent(commit: commit)
        }
    }

    /// Sends what follower `i` needs next, if its flow allows.
    ///
    /// - Returns: whether something was sent.
    mutating func sendAppend(_ i: Int, evenEmpty: Bool) -> Bool {
        if self.membership.peers[i].progress.isPaused { return false }
        let next = self.membership.peers[i].progress.next
        guard let term = self.log.term(at: next - 1) else {
            // Its next entries are compacted here.
            return self.sendSnapshot(i)
        }
        var entries: [Entry] = []
        var bytes: UInt64 = 0
        // Into a full window goes an empty append only: its answer empties the window, should
        // everything in it be lost.
        let isOpen =
            self.membership.peers[i].progress.state != .replicate
            || !self.membership.peers[i].progress.inFlight.isFull
        if isOpen, next <= self.log.lastIndex {
            entries = self.log.slice(
                next...self.log.lastIndex, bytesMax: self.options.appendBytesMax)
            for entry in entries { bytes += UInt64(entry.data.count) }
        }
        if entries.isEmpty && !evenEmpty { return false }
        self.membership.peers[i].progress.sent(count: entries.count, dataBytes: bytes)
        self.membership.peers[i].progress.sent(commit: self.log.committed)
        self.send(
            .append(
                previous: LogPosition(term: term, index: next - 1), entries: entries,
                commit: self.log.committed),
            to: self.membership.peers[i].id)
        return true
    }

    private mutating func sendSnapshot(_ i: Int) -> Bool {
        // Nobody answered there: it would be sent to the winds.
        guard self.membership.peers[i].progress.isRecentlyActive else { return false }
        // One from before it was added would be refused there.
        guard let snapshot = self.offered, snapshot.position.index >= self.log.base.index,
            snapshot.configuration.contains(self.membership.peers[i].id)
        else {
            self.wantsSnapshot = true
            return false
        }
        self.membership.peers[i].progress.becomeSnapshot(at: snapshot.position.index)
        self.send(.snapshot(snapshot), to: self.membership.peers[i].id)
        return true
    }

    // MARK: Answers.

    mutating func stepAsLeader(_ message: Message) throws(StepError) {
        guard let i = self.membership.place(of: message.from) else { return }
        switch message.body {
        case .appended(let index):
            guard index <= self.log.lastIndex else { throw .malformed("acknowledged too much") }
            self.membership.peers[i].progress.isRecentlyActive = true
            self.receiveAppended(i, index: index)
        case .appendRejected(let index, let hint):
            self.membership.peers[i].progress.isRecentlyActive = true
            self.receiveRejection(i, index: index, hint: hint)
        case .heartbeatAnswer(let round):
            self.membership.peers[i].progress.isRecentlyActive = true
            self.receiveHeartbeatAnswer(i, round: round)
        case .transferLeader: self.transfer(to: i)
        case .preVote, .preVoteAnswer, .vote, .voteAnswer, .append, .heartbeat, .snapshot,
            .timeoutNow, .propose, .read, .readAnswer:
            return
        }
    }

    private mutating func receiveAppended(_ i: Int, index: UInt64) {
        let isNews = self.membership.peers[i].progress.advance(to: index)
        let match = self.membership.peers[i].progress.match
        let state = self.membership.peers[i].progress.state
        // An old answer is news to a probe: the place where the logs meet is found.
        guard isNews || (match == index && state == .probe) else { return }
        switch state {
        case .probe: self.membership.peers[i].progress.becomeReplicate()
        case .snapshot:
            // Whatever it has installed: from there on the log can serve it.
            if match + 1 >= self.log.firstIndex {
                self.membership.peers[i].progress.becomeProbe()
                self.membership.peers[i].progress.becomeReplicate()
            }
        case .replicate: self.membership.peers[i].progress.inFlight.free(upTo: index)
        }
        let id = self.membership.peers[i].id
        if self.advanceCommit() {
            self.releasePostponedReads()
            self.broadcastAppend()
        } else if id != self.id,
            self.membership.peers[i].progress.canLearn(commit: self.log.committed)
        {
            _ = self.sendAppend(i, evenEmpty: true)
        }
        guard id != self.id else { return }
        while self.sendAppend(i, evenEmpty: false) {}
        if id == self.transferee,
            self.membership.peers[i].progress.match == self.log.lastIndex
        {
            self.send(.timeoutNow, to: id)
        }
    }

    private mutating func receiveRejection(_ i: Int, index: UInt64, hint: LogPosition) {
        var probe = hint.index
        if hint.term > 0 {
            // Whole terms are skipped, not single entries (thesis 3.5).
            probe = self.log.meeting(at: hint.index, term: hint.term).index
        }
        guard self.membership.peers[i].progress.retreat(rejected: index, hint: probe) else {
            return
        }
        if self.membership.peers[i].progress.state == .replicate {
            self.membership.peers[i].progress.becomeProbe()
        }
        _ = self.sendAppend(i, evenEmpty: true)
    }

    private mutating func receiveHeartbeatAnswer(_ i: Int, round: UInt64) {
        self.membership.peers[i].progress.isFlowPaused = false
        let progress = self.membership.peers[i].progress
        // A probe, too: it may be caught up and need nothing but to be found so.
        if progress.match < self.log.lastIndex || progress.state == .probe {
            _ = self.sendAppend(i, evenEmpty: true)
        }
        self.receiveRound(i, round)
    }

    /// Commits what a majority has stored, if it is of the own term (thesis 3.6.2).
    ///
    /// - Returns: whether the commit index has advanced.
    mutating func advanceCommit() -> Bool {
        let index = self.configuration.committed { id in
            self.membership.place(of: id).map { self.membership.peers[$0].progress.match }
        }
        guard index > self.log.committed, self.log.term(at: index) == self.term else {
            return false
        }
        self.log.commit(to: index)
        return true
    }

    // MARK: Transfer.

    /// Hands the leadership to `id` (thesis 3.10); a follower asks its leader to.
    package mutating func transferLeadership(to id: MemberID) {
        switch self.role {
        case .leader:
            if let i = self.membership.place(of: id) { self.transfer(to: i) }
        case .follower:
            guard self.leader != .none else { return }
            self.messages.append(
                Message(from: id, to: self.leader, term: self.term, .transferLeader))
        case .preCandidate, .candidate: return
        }
    }

    private mutating func transfer(to i: Int) {
        let peer = self.membership.peers[i]
        guard !peer.progress.isLearner, peer.id != self.transferee else { return }
        self.transferee = .none
        guard peer.id != self.id else { return }
        // It has one election timeout from now on.
        self.electionElapsed = 0
        self.transferee = peer.id
        if peer.progress.match == self.log.lastIndex {
            self.send(.timeoutNow, to: peer.id)
        } else {
            _ = self.sendAppend(i, evenEmpty: true)
        }
    }

    // MARK: News of the links.

    /// What was sent to `id` may be lost.
    package mutating func reportUnreachable(_ id: MemberID) {
        guard self.role == .leader, let i = self.membership.place(of: id),
            self.membership.peers[i].progress.state == .replicate
        else { return }
        self.membership.peers[i].progress.becomeProbe()
    }

    /// A snapshot for `id` has arrived, or has not.
    package mutating func reportSnapshot(_ id: MemberID, isInstalled: Bool) {
        guard self.role == .leader, let i = self.membership.place(of: id),
            self.membership.peers[i].progress.state == .snapshot
        else { return }
        if !isInstalled { self.membership.peers[i].progress.pendingSnapshot = 0 }
        self.membership.peers[i].progress.becomeProbe()
        // Its answer, or the next heartbeat, goes on.
        self.membership.peers[i].progress.isFlowPaused = true
    }

    /// The newest snapshot that the driver can have sent; it replaces the one before.
    package mutating func offer(_ snapshot: Snapshot) {
        self.offered = snapshot
        self.wantsSnapshot = false
    }

    /// Lets go of entries up to `index`, which are applied and stored.
    package mutating func compact(to index: UInt64) { self.log.compact(to: index) }
}

/// Why a change of members is not taken.
package enum ChangeRefusal: Error, Hashable, Sendable {
    /// One before it is not applied yet.
    case pending
    /// The joint configuration must be left first.
    case joint
    case notJoint
    case impossible(ChangeError)
}
