// Message.swift - what members say to each other.
//
// Takes     values only: `MessageCodec` makes bytes of them.
// Limits    a peer's message may have any shape; `Raft.step` throws on what no sound member says.

package import Primitives

/// One message. `term` is the sender's; 0 in `propose`, `read` and what else is handed on to a
/// leader whatever its term.
package struct Message: Hashable, Sendable {
    package var from: MemberID
    package var to: MemberID
    package var term: UInt64
    package var body: Body

    package init(from: MemberID, to: MemberID, term: UInt64, _ body: Body) {
        self.from = from
        self.to = to
        self.term = term
        self.body = body
    }

    package enum Body: Hashable, Sendable {
        /// Would you vote for me in `term`, which I have not begun? (thesis 9.6)
        case preVote(last: LogPosition, isTransfer: Bool)
        case preVoteAnswer(isGranted: Bool)
        /// `isTransfer`: the leader has asked for this election (thesis 3.10); nobody waits for
        /// its silence.
        case vote(last: LogPosition, isTransfer: Bool)
        case voteAnswer(isGranted: Bool)
        /// Entries that follow `previous`; none: only the commit index, or a probe.
        case append(previous: LogPosition, entries: [Entry], commit: UInt64)
        /// The log matches up to `index` and is stored so far.
        case appended(index: UInt64)
        /// The log has no entry like the one at `index`. It may match at `hint`: the greatest
        /// position of the follower at or below `index` whose term is not above that entry's.
        case appendRejected(index: UInt64, hint: LogPosition)
        /// `round`: of the newest reads that wait for a quorum; 0 none.
        case heartbeat(commit: UInt64, round: UInt64)
        case heartbeatAnswer(round: UInt64)
        case snapshot(Snapshot)
        /// Begin an election at once (thesis 3.10).
        case timeoutNow
        /// From the member that shall lead, handed on to the leader.
        case transferLeader
        /// Handed on to the leader.
        case propose([Entry])
        /// Handed on to the leader (thesis 6.4).
        case read(request: UInt64)
        case readAnswer(index: UInt64, request: UInt64)
    }

    /// Whether this answers something that the receiver has sent.
    package var isAnswer: Bool {
        switch self.body {
        case .preVoteAnswer, .voteAnswer, .appended, .appendRejected, .heartbeatAnswer,
            .readAnswer:
            true
        case .preVote, .vote, .append, .heartbeat, .snapshot, .timeoutNow, .transferLeader,
            .propose, .read:
            false
        }
    }
}

/// Why a message was not taken. Nothing has changed. The label is bounded: metrics count by it.
package enum StepError: Error, Hashable, Sendable {
    /// An answer of somebody who is not a member.
    case unknownPeer
    /// No leader is known, or it takes no proposals now: nothing of it will ever commit.
    case proposalDropped
    /// No sound member says this; the label says what is wrong with it.
    case malformed(StaticLabel)
    /// It denies what is known to be committed here. A member has lost its word: look at it.
    case contradiction(StaticLabel)

    package var label: StaticLabel {
        switch self {
        case .unknownPeer: "unknown_peer"
        case .proposalDropped: "proposal_dropped"
        case .malformed: "malformed"
        case .contradiction: "contradiction"
        }
    }
}
