// CommandsUnderWay.swift - what a leader has put into its log for its peers and not applied yet.
//
// Why       a courier sends again what may be lost; in the log it must not stand twice in a term.

import MailQueue
import Primitives

/// Commands of peers in the log of a leader that are not applied yet. At most as many as the log
/// may have uncommitted.
struct CommandsUnderWay {
    private var term: UInt64 = 0
    var tags: Set<Tag> = []

    /// What was in the log of another term may have been replaced.
    mutating func turn(to term: UInt64) {
        guard term != self.term else { return }
        self.term = term
        self.tags.removeAll(keepingCapacity: true)
    }

    mutating func applied(_ tag: Tag) {
        if !self.tags.isEmpty { self.tags.remove(tag) }
    }
}
