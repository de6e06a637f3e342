// Checker.swift - the names of what is checked, and what a broken promise looks like.

/// One promise that is watched with knowledge of the whole world.
package enum Checker: Int, CaseIterable, Sendable {
    /// At most one leader in a term, elected by durable votes of a majority.
    case election
    /// Terms of a member never go back behind what it promised.
    case term
    /// One vote in a term, for ever.
    case vote
    /// The commit index of a process never goes back.
    case commit
    /// The same index and term: the same entry, and the same before it.
    case matching
    /// A leader holds all that is committed.
    case completeness
    /// What is committed is the same everywhere.
    case agreement
    /// The same state at the same index.
    case state
    /// What is acknowledged is on disk.
    case durability
    /// What a leader calls committed is on the disks of a majority (of both, if joint).
    case quorum
    /// A leader commits by counting only in its own term.
    case ownTerm
    /// The same members at the same index.
    case configuration
    /// A start finds what the journal holds.
    case restart
    /// Stores follow each other; only a conflict above the commit index replaces.
    case store
    /// Entries are applied one behind the other, when they are stored.
    case apply
    /// A read is not older than what was committed when it was asked for.
    case read
    /// A command takes effect once.
    case once
    /// What is acknowledged stands behind what was acknowledged before it was asked for.
    case order
    /// One change of members at a time.
    case oneChange
    /// A leader that hears of no majority steps down.
    case contact
    /// Asking for a vote, and answering that, changes neither term nor vote.
    case preVote
    /// Sound members say nothing that is refused as unsound.
    case sound
    /// Bytes give the message back.
    case codec
    /// A snapshot leads forward.
    case snapshot
    /// The healed world agrees, and goes on.
    case progress

    package var name: String { "\(self)" }
}

/// A promise was broken.
package struct Violation: Error, Equatable, Sendable, CustomStringConvertible {
    package var checker: Checker
    package var time: Int64
    package var text: String

    package var description: String {
        "\(self.checker.name): \(self.text)"
    }
}
