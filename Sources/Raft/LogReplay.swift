// LogReplay.swift - a member's log and word, put together again from the records of a journal.
//
// Takes     the journal's records in the order in which they were written.
// Gives     what a member starts from.
// Order     a record of an entry replaces whatever the log had at its index and behind, unless it
//           is that very entry. That holds for entries that the checkpoint covers, too: what one
//           of them replaced may reach beyond the checkpoint.
// Fails     a gap, or a log that denies the checkpoint: this member's word is lost.

import Primitives

/// Why records do not make a log.
package enum ReplayError: Error, Hashable, Sendable {
    /// Entries are missing in front of this index.
    case gap(index: UInt64)
    /// The entry at the checkpoint's index is not the one that was applied, or the one behind it
    /// cannot follow it.
    case conflict(index: UInt64)
}

package struct LogReplay: Hashable, Sendable {
    private let applied: LogPosition
    private var hardState = HardState.empty
    /// In front of `entries`; nil: nothing was seen yet.
    private var base: LogPosition?
    /// Those that the checkpoint covers have no data.
    private var entries: [Entry] = []

    /// - Parameter applied: of the checkpoint; `.zero`: there is none.
    package init(applied: LogPosition) { self.applied = applied }

    /// Whether the data of the entry at `index` is needed.
    package func needsData(at index: UInt64) -> Bool { index > self.applied.index }

    /// A later record counts. Commit indexes only grow.
    package mutating func take(_ state: HardState) {
        let commit = max(self.hardState.commit, state.commit)
        self.hardState = state
        self.hardState.commit = commit
    }

    package mutating func take(_ entry: Entry) {
        var entry = entry
        if !self.needsData(at: entry.index) { entry.data = [] }
        // Behind a gap, or in front of all that was seen, the log begins anew: what came before
        // may be gone with its segment, and what is missing may come yet. `start` judges.
        guard let base = self.base, entry.index > base.index,
            entry.index - base.index <= UInt64(self.entries.count) + 1
        else {
            self.base = LogPosition(term: 0, index: entry.index - 1)
            self.entries = [entry]
            return
        }
        let place = Int(entry.index - base.index) - 1
        if place < self.entries.count {
            if self.entries[place].term == entry.term { return }
            self.entries.removeSubrange(place...)
        }
        self.entries.append(entry)
    }

    /// The log begins behind `base`: a checkpoint or an installed snapshot stands in for the rest.
    package mutating func take(base: LogPosition) {
        guard base.index > 0 else { return }
        if let own = self.base {
            if base.index <= own.index {
                // Entries behind a base are never of lesser terms than it: these are another log's.
                guard let first = self.entries.first, first.term < base.term else { return }
            } else {
                let place = Int(base.index - own.index) - 1
                if place < self.entries.count, self.entries[place].term == base.term { return }
            }
        }
        // Another log than the one that was seen so far, or the first word of it.
        self.base = base
        self.entries = []
    }

    /// What the member starts from.
    package func start(configuration: Configuration) throws(ReplayError) -> Start {
        var hardState = self.hardState
        var kept: [Entry] = []
        if let base = self.base {
            guard base.index <= self.applied.index else { throw .gap(index: base.index + 1) }
            let covered = Int(self.applied.index - base.index)
            if covered > 0, covered <= self.entries.count,
                self.entries[covered - 1].term != self.applied.term
            {
                throw .conflict(index: self.applied.index)
            }
            kept = Array(self.entries.dropFirst(covered))
            // What was written for another log may stand behind a base; terms give it away.
            if let first = kept.first, first.term < self.applied.term {
                throw .conflict(index: first.index)
            }
        }
        // A change of members that was known to be committed is in force before this member stands
        // for election: majorities of the one before the last may miss what the last committed.
        let last = kept.last?.index ?? self.applied.index
        hardState.commit = min(max(hardState.commit, self.applied.index), last)
        // The hard state is written behind the entries: torn off, it had promised nothing yet.
        let term = max(kept.last?.term ?? 0, self.applied.term)
        if term > hardState.term {
            hardState.term = term
            hardState.vote = .none
        }
        return Start(
            hardState: hardState, configuration: configuration, base: self.applied, entries: kept,
            applied: self.applied.index)
    }
}
