// Values.swift - what the consensus core speaks of: members, positions, entries, snapshots.
//
// Standard  Ongaro, "Consensus: Bridging Theory and Practice" (2014), here "the thesis".
// Never     a word of what the entries mean: their data is bytes.

package import Primitives

/// A member of the group: one data directory for as long as it keeps its promises. A node that
/// lost its disk is another member (thesis 11.7.2). `.none` is nobody.
package typealias MemberID = Incarnation

extension Incarnation {
    /// Nobody.
    package static let none = Incarnation(raw: 0)
}

/// A place in the log. Two logs with the same position have the same entries up to it (thesis 3.5).
package struct LogPosition: Hashable, Sendable {
    package var term: UInt64
    package var index: UInt64

    package init(term: UInt64, index: UInt64) {
        self.term = term
        self.index = index
    }

    /// In front of the first entry.
    package static let zero = LogPosition(term: 0, index: 0)

    /// Whether a log that ends here holds all that one ending at `other` may have committed
    /// (thesis 3.6.1: greater term, or same term and no shorter).
    package func isUpToDate(with other: LogPosition) -> Bool {
        self.term > other.term || (self.term == other.term && self.index >= other.index)
    }
}

/// What an entry is. Raw values stand in frames and on disk.
package enum EntryKind: UInt8, Hashable, Sendable {
    /// Data of the state machine; empty data: nothing to apply.
    case normal = 0
    /// One change of one member.
    case change = 1
    /// Any number of changes, through a joint configuration where needed; empty data: leave it.
    case changes = 2
}

/// One entry of the log.
package struct Entry: Hashable, Sendable {
    package var term: UInt64
    package var index: UInt64
    package var kind: EntryKind
    package var data: [UInt8]

    package init(term: UInt64 = 0, index: UInt64 = 0, kind: EntryKind = .normal, data: [UInt8]) {
        self.term = term
        self.index = index
        self.kind = kind
        self.data = data
    }

    package var position: LogPosition { LogPosition(term: self.term, index: self.index) }

    /// Bytes that the limits of messages count: data, numbers, and what stands around them.
    package var sizeBytes: UInt64 {
        var size = 4 + Self.varintBytes(self.term) + Self.varintBytes(self.index)
        if !self.data.isEmpty {
            size += 1 + Self.varintBytes(UInt64(self.data.count)) + UInt64(self.data.count)
        }
        return size
    }

    private static func varintBytes(_ value: UInt64) -> UInt64 {
        UInt64(max(1, (UInt64.bitWidth - value.leadingZeroBitCount + 6) / 7))
    }
}

/// What must be stored before anything that depends on it leaves the node (thesis 3.8).
package struct HardState: Hashable, Sendable {
    /// Never decreases.
    package var term: UInt64
    /// Whom this member voted for in `term`; `.none`: nobody yet.
    package var vote: MemberID
    /// Known to be committed. Need not be stored: it is learned again.
    package var commit: UInt64

    package init(term: UInt64, vote: MemberID, commit: UInt64) {
        self.term = term
        self.vote = vote
        self.commit = commit
    }

    package static let empty = HardState(term: 0, vote: .none, commit: 0)
}

/// Who leads and what this member is: for logs and for who proposes, never stored.
package struct SoftState: Hashable, Sendable {
    package var leader: MemberID
    package var role: Role

    package init(leader: MemberID, role: Role) {
        self.leader = leader
        self.role = role
    }
}

package enum Role: UInt8, Hashable, Sendable {
    case follower
    /// Asks whether an election could be won, without a new term (thesis 9.6).
    case preCandidate
    case candidate
    case leader
}

/// The state machine at one position, in place of the entries up to it (thesis 5).
package struct Snapshot: Hashable, Sendable {
    package var position: LogPosition
    /// The configuration in force at `position`.
    package var configuration: Configuration
    /// What the driver needs to find or to install the state; the core never looks into it.
    package var data: [UInt8]

    package init(position: LogPosition, configuration: Configuration, data: [UInt8]) {
        self.position = position
        self.configuration = configuration
        self.data = data
    }
}

/// The answer to a read request: a state that has applied `index` may answer it (thesis 6.4).
package struct ReadState: Hashable, Sendable {
    package var index: UInt64
    /// The number that the driver gave.
    package var request: UInt64

    package init(index: UInt64, request: UInt64) {
        self.index = index
        self.request = request
    }
}
