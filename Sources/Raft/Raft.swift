// Raft.swift - one member of a group that agrees on a log.
//
// Takes     ticks, messages, proposals, the news that something is stored or applied.
// Gives     one Ready after another: what to store, to send, to apply.
// Never     a disk, a socket, a clock, dice: random numbers come with the ticks.
// Standard  the thesis: elections 3.4, 3.6, 9.6, 6.2; replication 3.5; commit 3.6.2; transfer
//           3.10; members 4; reads 6.4. Behaviour is that of etcd's core, version 3.7.
// Limits    Options. Terms and indexes beyond `numberMax` are refused.
// See       Elections, Replication, Following, Reads, Turns; Docs/Invariants.md 8.

package import Primitives

/// A member. A value: a copy is a fork of it, which is what explorers of all orders want.
package struct Raft: Hashable, Sendable {
    /// Terms and indexes that no group reaches; a peer that speaks of greater ones is ill.
    package static let numberMax: UInt64 = 1 << 62

    package let options: Options
    package internal(set) var term: UInt64
    package internal(set) var vote: MemberID
    package internal(set) var role = Role.follower
    package internal(set) var leader = MemberID.none
    package internal(set) var log: RaftLog
    package internal(set) var membership: Membership

    /// Ticks since the last word of a leader, or, of a leader, since the last check of the quorum.
    var electionElapsed = 0
    var heartbeatElapsed = 0
    /// The election timeout in force, in ticks.
    package internal(set) var drawnElectionTicks: Int
    /// Of the last tick.
    var random: UInt64

    /// Votes in the present election, each member's first.
    var votes: [Vote] = []
    /// The member that the leadership is being handed to.
    package internal(set) var transferee = MemberID.none
    /// The last entry that may change the members: none further before it is applied.
    var pendingChange: UInt64 = 0
    /// Data proposed in this term and not committed yet.
    var uncommittedBytes: UInt64 = 0
    var reads = Reads()
    /// The newest snapshot that may be sent.
    var offered: Snapshot?
    /// A follower needs a snapshot, and none that helps it was offered.
    package internal(set) var wantsSnapshot = false

    // What the next Ready takes along.
    var messages: [Message] = []
    var answers: [Message] = []
    var readStates: [ReadState] = []
    var toldHardState: HardState
    var toldSoftState: SoftState

    struct Vote: Hashable {
        var member: MemberID
        var isGranted: Bool
    }

    /// A follower in its last term.
    ///
    /// - Parameter random: for the first election timeout.
    package init(_ options: Options, start: Start, random: UInt64) {
        invariant(options.id != .none, "a member has an id")
        invariant(
            options.electionTicks > options.heartbeatTicks && options.heartbeatTicks > 0
                && options.electionSpreadTicks > 0, "elections are slower than heartbeats")
        invariant(options.inFlightMessagesMax > 0, "a window takes one append")
        self.options = options
        self.term = start.hardState.term
        self.vote = start.hardState.vote
        self.log = RaftLog(
            base: start.base, entries: start.entries, applied: start.applied,
            applyingBytesMax: options.applyingBytesMax)
        invariant(
            start.applied >= start.base.index && start.applied <= self.log.lastIndex,
            "a member starts within its log")
        invariant(self.log.last.term <= max(self.term, start.base.term), "a log of past terms")
        self.membership = Membership(
            start.configuration, lastIndex: self.log.lastIndex,
            window: InFlight(
                messagesMax: options.inFlightMessagesMax, bytesMax: options.inFlightBytesMax))
        self.random = random
        self.drawnElectionTicks = options.electionTicks
        self.toldHardState = start.hardState
        self.toldSoftState = SoftState(leader: .none, role: .follower)
        self.log.commit(to: min(start.hardState.commit, self.log.lastIndex))
        self.toldHardState.commit = self.log.committed
        self.becomeFollower(self.term, leader: .none)
    }

    // MARK: Facts.

    package var id: MemberID { self.options.id }
    package var configuration: Configuration { self.membership.configuration }
    package var commit: UInt64 { self.log.committed }
    package var applied: UInt64 { self.log.applied }
    package var firstIndex: UInt64 { self.log.firstIndex }
    /// The end of the log that is known to be stored here.
    package var durable: LogPosition {
        LogPosition(
            term: self.log.term(at: self.log.stored) ?? self.term, index: self.log.stored)
    }
    package var lastIndex: UInt64 { self.log.lastIndex }
    package var hardState: HardState {
        HardState(term: self.term, vote: self.vote, commit: self.log.committed)
    }
    package var softState: SoftState { SoftState(leader: self.leader, role: self.role) }

    /// Whether it may stand for election: a voter, with no snapshot under way.
    package var isPromotable: Bool {
        guard let i = self.membership.place(of: self.id) else { return false }
        return !self.membership.peers[i].progress.isLearner && self.log.snapshot == nil
    }

    /// Whether an entry of the present term is committed: only then does a leader know what is
    /// (thesis 6.4).
    package var hasCommittedInTerm: Bool { self.log.term(at: self.log.committed) == self.term }

    /// For tests that choose when an election is due. Until the role or term changes.
    package mutating func setDrawnElectionTicks(_ ticks: Int) { self.drawnElectionTicks = ticks }

    // MARK: Changes of role.

    mutating func reset(_ term: UInt64) {
        invariant(term >= self.term, "terms never decrease")
        if self.term != term {
            self.term = term
            self.vote = .none
        }
        self.leader = .none
        self.electionElapsed = 0
        self.heartbeatElapsed = 0
        self.drawnElectionTicks =
            self.options.electionTicks
            + Int(self.random % UInt64(self.options.electionSpreadTicks))
        self.transferee = .none
        self.votes.removeAll(keepingCapacity: true)
        let last = self.log.lastIndex
        for i in self.membership.peers.indices {
            let peer = self.membership.peers[i]
            self.membership.peers[i].progress = self.membership.fresh(
                isLearner: peer.progress.isLearner, match: peer.id == self.id ? last : 0,
                next: last + 1)
        }
        self.pendingChange = 0
        self.uncommittedBytes = 0
        self.reads = Reads()
        self.wantsSnapshot = false
    }

    mutating func becomeFollower(_ term: UInt64, leader: MemberID) {
        self.reset(term)
        self.leader = leader
        self.role = .follower
    }

    mutating func becomePreCandidate() {
        invariant(self.role != .leader, "a leader is no candidate")
        // Neither term nor vote change: asking promises nothing.
        self.votes.removeAll(keepingCapacity: true)
        self.leader = .none
        self.role = .preCandidate
    }

    mutating func becomeCandidate() {
        invariant(self.role != .leader, "a leader is no candidate")
        self.reset(self.term + 1)
        self.vote = self.id
        self.role = .candidate
    }

    mutating func becomeLeader() {
        invariant(self.role == .candidate, "leaders are elected")
        self.reset(self.term)
        self.leader = self.id
        self.role = .leader
        guard let i = self.membership.place(of: self.id) else { unreachable("a leader votes") }
        self.membership.peers[i].progress.becomeReplicate()
        self.membership.peers[i].progress.isRecentlyActive = true
        // Some entry up to here may change the members, for all that is known.
        self.pendingChange = self.log.lastIndex
        // The term's own first entry: with it, everything before is committed (thesis 3.6.2).
        let isTaken = self.append(Entry(data: []))
        invariant(isTaken, "an empty entry has no size")
    }

    // MARK: Sending.

    /// Leaves with the next Ready; what promises something stored leaves when it is stored.
    mutating func send(_ body: Message.Body, to: MemberID, term: UInt64? = nil) {
        let message = Message(from: self.id, to: to, term: term ?? self.term, body)
        switch body {
        case .appended, .appendRejected, .voteAnswer, .preVoteAnswer:
            self.answers.append(message)
        case .preVote, .vote, .append, .heartbeat, .heartbeatAnswer, .snapshot, .timeoutNow,
            .transferLeader, .propose, .read, .readAnswer:
            invariant(to != self.id, "no message to oneself")
            self.messages.append(message)
        }
    }
}
