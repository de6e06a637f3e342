// Ready.swift - what the driver is to do now, and what it gives back when it is done.
//
// Order     1 store `hardState`, `entries` and `snapshot` (one write, in this order of Readys);
//           `messages` may leave meanwhile. 2 When they are stored: send `answers`, step those
//           to the own member, give `stored` back. 3 Apply `committed` in order; when applied,
//           give `applied` back. Stores and applies may run side by side, each in order.
// See       Docs/Invariants.md 8.

/// One turn of work.
package struct Ready: Hashable, Sendable {
    /// Set if it has changed.
    package var softState: SoftState?
    /// Set if it has changed. `commit` alone needs no store.
    package var hardState: HardState?
    /// Reads that may be answered once their index is applied.
    package var reads: [ReadState] = []
    /// To be stored. They replace whatever the log holds at their indexes and behind.
    package var entries: [Entry] = []
    /// To be stored and installed in place of log and state.
    package var snapshot: Snapshot?
    /// To be applied. With `Options.storesAsynchronously` all of them are stored already.
    package var committed: [Entry] = []
    /// May leave at once.
    package var messages: [Message] = []
    /// Promise what this Ready stores: they leave when it is stored. One to the own member is
    /// stepped then: the own vote and the own copy count like any other.
    package var answers: [Message] = []
    /// Give it back when this Ready is stored; nil: nobody waits for it.
    package var stored: Stored?
    /// Give it back when `committed` is applied.
    package var applied: Applied?
    /// Term, vote or entries have changed: storing means syncing.
    package var mustSync = false

    package init() {}

    package var isEmpty: Bool { self == Ready() }

    /// Keeps the memory of what stands in lists.
    mutating func clear() {
        self.softState = nil
        self.hardState = nil
        self.reads.removeAll(keepingCapacity: true)
        self.entries.removeAll(keepingCapacity: true)
        self.snapshot = nil
        self.committed.removeAll(keepingCapacity: true)
        self.messages.removeAll(keepingCapacity: true)
        self.answers.removeAll(keepingCapacity: true)
        self.stored = nil
        self.applied = nil
        self.mustSync = false
    }

    /// Whether a turn of the store is needed.
    package var needsStore: Bool {
        self.hardState != nil || !self.entries.isEmpty || self.snapshot != nil
            || !self.answers.isEmpty
    }
}

/// "What you gave me to store is stored." Names the term in which the store was asked for: entries
/// that a later term has overwritten are never taken for newer ones.
package struct Stored: Hashable, Sendable {
    package var term: UInt64
    /// The end of the log then; nil: the log had been stored before.
    package var last: LogPosition?
    /// A snapshot that is installed with it.
    package var snapshot: LogPosition?

    package init(term: UInt64, last: LogPosition?, snapshot: LogPosition?) {
        self.term = term
        self.last = last
        self.snapshot = snapshot
    }
}

/// "What you gave me to apply is applied."
package struct Applied: Hashable, Sendable {
    package var index: UInt64
    /// Of the entries, by `Entry.sizeBytes`.
    package var sizeBytes: UInt64
    /// Of their data.
    package var dataBytes: UInt64

    package init(index: UInt64, sizeBytes: UInt64, dataBytes: UInt64) {
        self.index = index
        self.sizeBytes = sizeBytes
        self.dataBytes = dataBytes
    }
}
