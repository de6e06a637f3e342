// RaftLog.swift - the log as this member sees it: held, stored, committed, applied.
//
// Gives     slices of entries to store, to send, to apply.
// Durable   `stored` moves only when the store says so for this very entry (term and index); it is
//           pulled back first when entries are replaced.
// Order     base <= applied <= applying <= committed <= last; stored <= handed <= last.

import Primitives

/// Entries behind `base`, in memory.
package struct RaftLog: Hashable, Sendable {
    /// In front of the first entry.
    package private(set) var base: LogPosition
    /// Entries behind `base`; the first `dropped` of them are compacted already.
    private var entries: [Entry]
    private var dropped = 0
    /// Of the entries behind `base`, by `Entry.sizeBytes`.
    package private(set) var bytes: UInt64

    /// Stored up to here.
    package private(set) var stored: UInt64
    /// Handed out to be stored up to here.
    package private(set) var handed: UInt64
    package private(set) var committed: UInt64
    /// Whether entries that were handed out are not applied yet.
    var isApplying: Bool { self.applying > self.applied }
    /// The last entry known to be committed that changes the members; 0: none behind `base`.
    private(set) var committedChange: UInt64 = 0
    /// Handed out to be applied up to here.
    package private(set) var applying: UInt64
    package private(set) var applied: UInt64

    /// A snapshot in place of everything before; nil: none is under way.
    package private(set) var snapshot: Snapshot?
    private var isSnapshotHanded = false

    private let applyingBytesMax: UInt64
    private var applyingBytes: UInt64 = 0
    private var isApplyingPaused = false

    init(base: LogPosition, entries: [Entry], applied: UInt64, applyingBytesMax: UInt64) {
        self.base = base
        self.entries = entries
        self.bytes = entries.reduce(0) { $0 + $1.sizeBytes }
        self.stored = base.index + UInt64(entries.count)
        self.handed = self.stored
        self.committed = applied
        self.applying = applied
        self.applied = applied
        self.applyingBytesMax = applyingBytesMax
    }

    package var firstIndex: UInt64 { self.base.index + 1 }
    package var lastIndex: UInt64 {
        self.base.index + UInt64(self.entries.count - self.dropped)
    }
    package var last: LogPosition {
        guard self.entries.count > self.dropped else { return self.base }
        return self.entries[self.entries.count - 1].position
    }

    private func place(_ index: UInt64) -> Int { Int(index - self.firstIndex) + self.dropped }

    /// The term of the entry at `index`; nil: not in this log (any more, or yet).
    package func term(at index: UInt64) -> UInt64? {
        if index == self.base.index { return self.base.term }
        guard index > self.base.index, index <= self.lastIndex else { return nil }
        return self.entries[self.place(index)].term
    }

    package func matches(_ position: LogPosition) -> Bool {
        self.term(at: position.index) == position.term
    }

    /// Entries of `range`, as many as have `bytesMax` together, at least one.
    package func slice(_ range: ClosedRange<UInt64>, bytesMax: UInt64) -> [Entry] {
        let start = self.place(range.lowerBound)
        let limit = self.place(range.upperBound) + 1
        var end = start + 1
        var size = self.entries[start].sizeBytes
        while end < limit {
            size += self.entries[end].sizeBytes
            if size > bytesMax { break }
            end += 1
        }
        return Array(self.entries[start..<end])
    }

    /// The greatest position at or below `index` whose term is not above `term`: where two logs
    /// may meet. The term is 0 where it is not known.
    func meeting(at index: UInt64, term: UInt64) -> LogPosition {
        var at = index
        while at > 0 {
            guard let own = self.term(at: at) else { return LogPosition(term: 0, index: at) }
            if own <= term { return LogPosition(term: own, index: at) }
            at -= 1
        }
        return .zero
    }

    // MARK: Growing.

    /// An entry of the leader's own.
    mutating func append(_ entry: Entry, term: UInt64) {
        let own = Entry(
            term: term, index: self.lastIndex + 1, kind: entry.kind, data: entry.data)
        self.bytes += own.sizeBytes
        self.entries.append(own)
    }

    /// Entries of a leader behind `previous`, which matches. Those that are here already stay;
    /// from the first that differs on, the log is replaced.
    ///
    /// - Returns: the index of the last one.
    mutating func merge(_ fresh: [Entry], behind previous: UInt64) -> UInt64 {
        let last = previous + UInt64(fresh.count)
        guard let differing = fresh.firstIndex(where: { !self.matches($0.position) }) else {
            return last
        }
        let index = fresh[differing].index
        invariant(index > self.committed, "what is committed is never replaced")
        if index <= self.lastIndex {
            for entry in self.entries[self.place(index)...] { self.bytes -= entry.sizeBytes }
            self.entries.removeSubrange(self.place(index)...)
            // First of all: nothing that is replaced counts as stored.
            self.stored = min(self.stored, index - 1)
            self.handed = min(self.handed, index - 1)
        }
        for entry in fresh[differing...] { self.bytes += entry.sizeBytes }
        if differing == 0 {
            self.entries.append(contentsOf: fresh)
        } else {
            self.entries.append(contentsOf: fresh[differing...])
        }
        return last
    }

    /// The snapshot replaces everything.
    mutating func restore(_ snapshot: Snapshot) {
        self.base = snapshot.position
        self.entries = []
        self.bytes = 0
        self.dropped = 0
        self.stored = snapshot.position.index
        self.handed = self.stored
        self.committed = self.stored
        self.snapshot = snapshot
        self.isSnapshotHanded = false
    }

    /// Lets go of what is applied, up to `index` at most.
    mutating func compact(to index: UInt64) {
        let end = min(index, self.applied, self.stored)
        guard end > self.base.index, let term = self.term(at: end) else { return }
        let last = self.place(end)
        for place in self.dropped...last {
            self.bytes -= self.entries[place].sizeBytes
            self.entries[place].data = []
        }
        self.dropped = last + 1
        self.base = LogPosition(term: term, index: end)
        if self.dropped * 2 >= self.entries.count {
            self.entries.removeFirst(self.dropped)
            self.dropped = 0
        }
    }

    /// The least index up to which entries may go: as few are kept as `keeps` says of each (its
    /// index, and the bytes from it on), from the first on.
    func compactionEnd(
        _ limit: UInt64, keeps: (_ index: UInt64, _ bytes: UInt64) -> Bool
    ) -> UInt64 {
        let end = min(limit, self.applied, self.stored)
        var index = self.base.index
        var rest = self.bytes
        while index < end, !keeps(index + 1, rest) {
            index += 1
            rest -= self.entries[self.place(index)].sizeBytes
        }
        return index
    }

    // MARK: Storing.

    var hasUnhanded: Bool { self.handed < self.lastIndex }
    /// Handed out or not: not known to be stored.
    var hasUnstored: Bool { self.stored < self.lastIndex }
    var hasUnhandedSnapshot: Bool { self.snapshot != nil && !self.isSnapshotHanded }

    /// Adds the entries that were not handed out yet, all of them.
    mutating func handOut(into fresh: inout [Entry]) {
        guard self.hasUnhanded else { return }
        fresh.append(contentsOf: self.entries[self.place(self.handed + 1)...])
        self.handed = self.lastIndex
    }

    mutating func handOutSnapshot() -> Snapshot? {
        guard self.hasUnhandedSnapshot else { return nil }
        self.isSnapshotHanded = true
        return self.snapshot
    }

    /// Everything up to `position` is stored, if it is still this entry.
    mutating func stored(upTo position: LogPosition) {
        guard position.index > self.stored, position.index <= self.handed,
            self.matches(position)
        else { return }
        self.stored = position.index
    }

    mutating func installed(_ position: LogPosition) {
        if self.snapshot?.position == position {
            self.snapshot = nil
            self.isSnapshotHanded = false
        }
    }

    // MARK: Committing and applying.

    mutating func commit(to index: UInt64) {
        guard index > self.committed else { return }
        invariant(index <= self.lastIndex, "what is committed is in the log")
        for i in stride(from: self.place(index), through: self.place(self.committed + 1), by: -1)
        where self.entries[i].kind != .normal {
            self.committedChange = self.entries[i].index
            break
        }
        self.committed = index
    }

    private func appliable(unstored: Bool) -> UInt64 {
        unstored ? self.committed : min(self.committed, self.stored)
    }

    /// - Parameter unstored: entries may be applied that are not known to be stored here.
    func hasAppliable(unstored: Bool) -> Bool {
        !self.isApplyingPaused && self.snapshot == nil
            && self.applying < self.appliable(unstored: unstored)
    }

    /// Adds the next entries to apply, within the limit.
    mutating func takeAppliable(unstored: Bool, into taken: inout [Entry]) -> Applied? {
        guard self.hasAppliable(unstored: unstored) else { return nil }
        let end = self.appliable(unstored: unstored)
        let room = self.applyingBytesMax - self.applyingBytes
        var applied = Applied(index: 0, sizeBytes: 0, dataBytes: 0)
        for place in self.place(self.applying + 1)...self.place(end) {
            let size = self.entries[place].sizeBytes
            if applied.index > 0, applied.sizeBytes + size > room { break }
            taken.append(self.entries[place])
            applied.index = self.entries[place].index
            applied.sizeBytes += size
            applied.dataBytes += UInt64(self.entries[place].data.count)
        }
        self.applying = applied.index
        self.applyingBytes += applied.sizeBytes
        self.isApplyingPaused =
            self.applyingBytes >= self.applyingBytesMax || self.applying < end
        return applied
    }

    mutating func applied(to index: UInt64, sizeBytes: UInt64) {
        guard index <= self.committed else { unreachable("applied beyond what is committed") }
        self.applied = max(self.applied, index)
        self.applying = max(self.applying, self.applied)
        self.applyingBytes -= min(self.applyingBytes, sizeBytes)
        self.isApplyingPaused = self.applyingBytes >= self.applyingBytesMax
    }
}
