// Options.swift - the limits and choices of one member, and what it starts from.

import Primitives

/// How a member behaves. All members of a group have the same.
package struct Options: Hashable, Sendable {
    /// This member.
    package var id: MemberID
    /// Ticks without a word of a leader before an election; more than `heartbeatTicks`.
    package var electionTicks = 25
    /// The drawn part of an election timeout: 0 ..< this many ticks more (thesis 3.4, 9.3).
    package var electionSpreadTicks = 25
    /// Ticks between two heartbeats of the leader.
    package var heartbeatTicks = 5
    /// Entries of one append: bytes by `Entry.sizeBytes`; one entry may be larger.
    package var appendBytesMax: UInt64 = 1 << 20
    /// Entries handed out and not applied yet: bytes.
    package var applyingBytesMax: UInt64 = 16 << 20
    /// Data proposed and not committed yet: bytes. One proposal may go above it.
    package var uncommittedBytesMax: UInt64 = 64 << 20
    /// Appends sent to one follower and not answered yet.
    package var inFlightMessagesMax = 256
    /// Bytes of data in them; 0: no limit.
    package var inFlightBytesMax: UInt64 = 32 << 20
    /// A leader that hears of no majority for an election timeout steps down, and nobody votes
    /// while it hears a leader (thesis 6.2, 4.2.3).
    package var checksQuorum = true
    /// Candidates ask first (thesis 9.6).
    package var preVotes = true
    package var readMode = ReadMode.safe
    /// A follower hands proposals on to the leader.
    package var forwardsProposals = true
    /// A leader refuses a change of members while one is unapplied (thesis 4.1).
    package var validatesChanges = true
    /// A leader that is removed or made a learner steps down when it has applied that.
    package var stepsDownOnRemoval = true
    /// Committed entries are handed out only when they are stored here.
    package var storesAsynchronously = true
    /// Reads that wait for a quorum, or for the first commit of a term.
    package var readsMax = 4096

    package init(id: MemberID) { self.id = id }
}

package enum ReadMode: Hashable, Sendable {
    /// A round of heartbeats begun after the request proves the leadership.
    case safe
    /// The leader trusts its check of the quorum and the clocks (thesis 6.4.1). Not for us.
    case leaseBased
}

/// What a member starts from: its log, and the state machine at `applied`.
package struct Start: Sendable {
    package var hardState: HardState
    /// The configuration in force at `applied`: of the snapshot or checkpoint; before the first
    /// entry the founding one, for members that join later, too: it stands in no entry, and who
    /// does not know it would take the first change for the whole group.
    package var configuration: Configuration
    /// The entry in front of the first of `entries`; `.zero`: there is none.
    package var base: LogPosition
    /// Without a gap behind `base`.
    package var entries: [Entry]
    /// Entries up to here are applied; between `base` and the last entry.
    package var applied: UInt64

    package init(
        hardState: HardState = .empty, configuration: Configuration, base: LogPosition = .zero,
        entries: [Entry] = [], applied: UInt64 = 0
    ) {
        self.hardState = hardState
        self.configuration = configuration
        self.base = base
        self.entries = entries
        self.applied = applied
    }
}
