// Bugs.swift - the mistakes that the simulator must find.
//
// See       the pitfalls: most of these lost data somewhere.

private let raft = "Sources/Raft/"

enum Bugs {
    static let all = Self.elections + Self.storing + Self.committing + Self.members + Self.other

    // MARK: Elections.

    private static let elections = [
        Bug(
            "own-vote-unstored", "the own vote counts before it is stored",
            Edit(
                raft + "Elections.swift", "if id == self.id {",
                """
                if id == self.id {
                                self.votes.append(Vote(member: id, isGranted: true))
                            } else if id == .none {
                """),
            Edit(
                raft + "Replica.swift", "if case .vote = message.body {",
                "if case .vote = message.body, false {")),
        Bug(
            "ballot-unstored", "votes are asked for before term and log are stored",
            Edit(
                raft + "Replica.swift", "if case .vote = message.body {",
                "if case .vote = message.body, false {")),
        Bug(
            "vote-forgotten", "the vote is lost on restart",
            Edit(
                raft + "LogReplay.swift", "self.hardState.commit = commit\n",
                "self.hardState.commit = commit\n        self.hardState.vote = .none\n")),
        Bug(
            "vote-reset", "a new role in the same term forgets the vote",
            Edit(
                raft + "Raft.swift",
                """
                            self.term = term
                            self.vote = .none
                        }
                """,
                """
                            self.term = term
                        }
                        self.vote = .none
                """)),
        Bug(
            "vote-twice", "a vote for another in the same term",
            Edit(
                raft + "Elections.swift", "(self.vote == .none && self.leader == .none)",
                "self.leader == .none")),
        Bug(
            "vote-short-log", "a vote for a log that lacks entries",
            Edit(
                raft + "Elections.swift", "if mayVote && last.isUpToDate(with: self.log.last) {",
                "if mayVote {")),
        Bug(
            "check-quorum-skipped", "a leader without a majority goes on",
            Edit(
                raft + "Elections.swift", "if self.options.checksQuorum { self.checkQuorum() }",
                "")),
        Bug(
            "pre-vote-term", "asking for a pre-vote begins the term",
            Edit(
                raft + "Raft.swift", "self.role = .preCandidate",
                "self.role = .preCandidate\n        self.term += 1")),
        Bug(
            "pre-vote-adopted", "being asked for a pre-vote changes the term",
            Edit(
                raft + "Steps.swift",
                "if case .preVote = message.body { return true }", "")),
    ]

    // MARK: Storing.

    private static let storing = [
        Bug(
            "own-copy-unstored", "the leader counts its entries before it has stored them",
            Edit(
                raft + "Replication.swift",
                "self.send(.appended(index: self.log.lastIndex), to: self.id)",
                """
                if let own = self.membership.place(of: self.id) {
                            _ = self.membership.peers[own].progress.advance(to: self.log.lastIndex)
                        }
                """)),
        Bug(
            "answer-unstored", "answers leave before what they promise is stored",
            Edit(
                raft + "Replica.swift", "self.send(&ready, &actions)",
                """
                self.send(&ready, &actions)
                        for message in ready.answers where message.to != self.raft.id {
                            if case .vote = message.body { continue }
                            actions.append(.send(message))
                        }
                """)),
        Bug(
            "stale-completion", "a store of overwritten entries counts for those in their place",
            Edit(
                raft + "Turns.swift",
                "if stored.term == self.term, let last = stored.last",
                "if let last = stored.last"),
            Edit(
                raft + "RaftLog.swift",
                "position.index <= self.handed,\n            self.matches(position)",
                "position.index <= self.handed")),
        Bug(
            "truncation-keeps-stored", "replaced entries go on counting as stored",
            Edit(
                raft + "RaftLog.swift", "self.stored = min(self.stored, index - 1)", "")),
        Bug(
            "hard-state-not-carried", "a new segment begins without the hard state",
            Edit(
                "Tests/Simulator/Disk.swift",
                """
                        self.segments.append(Segment())
                        self.put(.hardState(self.view.hardState))
                """, "        self.segments.append(Segment())\n")),
        Bug(
            "replay-keeps-suffix", "a replayed entry does not replace what stands behind it",
            Edit(
                raft + "LogReplay.swift", "self.entries.removeSubrange(place...)",
                "self.entries[place] = entry\n            return")),
        Bug(
            "replay-stale-tail", "entries that a snapshot replaced come back with the replay",
            Edit(
                raft + "LogReplay.swift",
                "guard let first = self.entries.first, first.term < base.term else { return }",
                "return")),
        Bug(
            "commit-forgotten", "a restart forgets that a change of members is committed",
            Edit(
                raft + "LogReplay.swift", "max(self.hardState.commit, state.commit)", "UInt64(0)")),
        Bug(
            "segment-too-early", "a segment is dropped though the checkpoint does not cover it",
            Edit(
                "Tests/Simulator/Disk.swift", "let end = min(index, self.current.position.index)",
                "let end = index + 30")),
    ]

    // MARK: Committing.

    /// No mistake: a leader that goes further back than it need. Hints that are exact keep
    /// appends from ending in front of what a follower has to lose, and hide what follows.
    private static let longWayBack = Edit(
        raft + "Replication.swift", "retreat(rejected: index, hint: probe)",
        "retreat(rejected: index, hint: probe - min(probe, 5))")

    private static let committing = [
        Bug(
            "old-term-counted", "entries of old terms are committed by counting (figure 8)",
            Edit(
                raft + "Replication.swift",
                "guard index > self.log.committed, self.log.term(at: index) == self.term else {",
                "guard index > self.log.committed else {")),
        Bug(
            "stale-last-index", "an answer vouches for what the append did not reach",
            Edit(
                raft + "Following.swift", "self.send(.appended(index: last), to: leader)",
                "self.send(.appended(index: self.log.lastIndex), to: leader)"), Self.longWayBack),
        Bug(
            "commit-unvalidated", "the commit index passes what the append vouches for",
            Edit(
                raft + "Following.swift", "self.log.commit(to: min(commit, last))",
                "self.log.commit(to: min(commit, self.log.lastIndex))"), Self.longWayBack),
        Bug(
            "heartbeat-commit", "a heartbeat tells a commit index that the follower may not have",
            Edit(
                raft + "Replication.swift",
                "let commit = min(self.membership.peers[i].progress.match, self.log.committed)",
                "let commit = self.log.committed")),
        Bug(
            "truncation-without-conflict", "an append replaces entries that are the same",
            Edit(
                raft + "RaftLog.swift",
                "fresh.firstIndex(where: { !self.matches($0.position) })",
                "fresh.indices.first(where: { fresh[$0].index > self.committed })")),
        Bug(
            "older-snapshot", "a snapshot of an older position is installed",
            Edit(
                raft + "Following.swift",
                "guard snapshot.position.index > self.log.committed else { return false }", "")),
        Bug(
            "joint-incoming-only", "a joint configuration commits by its incoming half alone",
            Edit(
                raft + "Quorum.swift",
                """
                        min(
                            Quorum.committed(self.voters, acknowledged: acknowledged),
                            Quorum.committed(self.outgoing, acknowledged: acknowledged))
                """,
                """
                        Quorum.committed(self.voters, acknowledged: acknowledged)
                """)),
        Bug(
            "all-peers-counted", "acknowledgements of learners and leaving members are counted",
            Edit(
                raft + "Replication.swift", "let index = self.configuration.committed { id in",
                "let index = Quorum.committed(self.membership.peers.map { $0.id }) { id in")),
    ]

    // MARK: Members.

    private static let members = [
        Bug(
            "change-applied-twice", "a configuration is applied twice",
            Edit(
                raft + "Replica.swift", "return try self.raft.apply(ConfigurationChange(entry))",
                """
                _ = try self.raft.apply(ConfigurationChange(entry))
                            return try self.raft.apply(ConfigurationChange(entry))
                """)),
        Bug(
            "two-changes", "a change is put behind one that is not applied",
            Edit(
                raft + "Replication.swift",
                "if self.pendingChange > self.log.applied { return .pending }", "")),
        Bug(
            "campaign-unapplied", "a campaign by a configuration that is known to be outdated",
            Edit(raft + "Elections.swift", ", !self.hasUnappliedChange else", " else")),
        Bug(
            "leave-joint-keeps", "who leaves with the outgoing half stays",
            Edit(raft + "Membership.swift", "self.configuration.outgoing = []", "")),
        Bug(
            "pending-change-forgotten", "a new leader does not expect a change in its log",
            Edit(raft + "Raft.swift", "self.pendingChange = self.log.lastIndex", "")),
    ]

    // MARK: Reads, snapshots, progress.

    private static let other = [
        Bug(
            "read-without-round", "a read is answered without proof of the leadership",
            Edit(
                raft + "Reads.swift",
                "        case .safe:\n",
                """
                        case .safe where self.hasCommittedInTerm:
                            self.answer(read, index: self.log.committed)
                        case .safe:

                """)),
        Bug(
            "read-before-own-term", "a read before an entry of the own term is committed",
            Edit(
                raft + "Reads.swift",
                "        if !self.hasCommittedInTerm {\n", "        if Bool(false) {\n")),
        Bug(
            "read-old-round", "an answer to an older round proves the leadership",
            Edit(
                raft + "Reads.swift", "prefix { $0.round <= proven }",
                "prefix { $0.round <= proven + 1 }")),
        Bug(
            "snapshot-report-ignored", "a lost snapshot is never sent again",
            Edit(
                raft + "Replication.swift",
                "if !isInstalled { self.membership.peers[i].progress.pendingSnapshot = 0 }",
                "if !isInstalled { return }")),
        Bug(
            "window-never-freed", "answers do not free the window of appends",
            Edit(
                raft + "Replication.swift",
                "case .replicate: self.membership.peers[i].progress.inFlight.free(upTo: index)",
                "case .replicate: break")),
        Bug(
            "transfer-never-given-up", "a transfer that fails blocks proposals for ever",
            Edit(
                raft + "Elections.swift",
                "if self.role == .leader { self.transferee = .none }", "")),
    ]
}
