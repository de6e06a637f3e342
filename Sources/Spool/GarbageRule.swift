// GarbageRule.swift - when a body may be deleted, and when a pass over many is not believed.
//
// Takes     what the applied state says of a tag.
// Gives     one Boolean, and an alarm.
// See       Docs/Invariants.md 3.

/// What the applied state says of a tag: the proof, in its two halves.
package struct TagStanding: Equatable, Sendable {
    /// Its session is closed, or its command's result is known or was acknowledged.
    package var isResolved: Bool
    /// The message is unfinished or owes a report, and this node holds a copy by its placement.
    package var isLiveHere: Bool
    package init(isResolved: Bool, isLiveHere: Bool) {
        self.isResolved = isResolved
        self.isLiveHere = isLiveHere
    }
}

package enum GarbageRule {
    /// A body may be deleted if and only if its tag is resolved and it is not live here. Never by
    /// age, never because it is absent from a list.
    package static func mayDelete(_ standing: TagStanding) -> Bool {
        standing.isResolved && !standing.isLiveHere
    }
}

/// Stops a pass whose answers do not fit the queue's own count.
///
/// Every live message has a body here. So what stays after a pass is at least as many bodies as
/// the queue counts live; a pass that would free a large share and leave fewer is not believed.
package enum GarbageBreaker {
    /// A pass that frees at most this share (in percent) of all bodies is not questioned, unless
    /// the passes together have left less than the rest of what is live.
    package static let percentMax = 20

    /// - Parameters:
    ///   - freeing: bodies that the answers call garbage.
    ///   - indexed: bodies on this node before the pass.
    ///   - live: bodies that the queue counts as live here, counted apart from the answers.
    package static func trips(freeing: Int, indexed: Int, live: Int) -> Bool {
        guard freeing > 0 else { return false }
        let staying = indexed - freeing
        if freeing * 100 > indexed * Self.percentMax, staying < live { return true }
        return staying * 100 < live * (100 - Self.percentMax)
    }
}
