// LogView.swift - a second, simple account of what a disk holds: terms by index, hard state.
//
// Takes     records in the order in which they became durable.
// Never     the product's replay: what this says and what that says must agree.

import Raft

struct LogView: Sendable {
    private(set) var base = LogPosition.zero
    /// Of the entries behind `base`; the first `gone` of them are dropped.
    private var terms: ContiguousArray<UInt64> = []
    private var gone = 0
    private(set) var hardState = HardState.empty
    /// The greatest commit index that a record told.
    private(set) var commit: UInt64 = 0

    init() {}

    var lastIndex: UInt64 { self.base.index + UInt64(self.terms.count - self.gone) }
    var last: LogPosition {
        LogPosition(term: self.term(at: self.lastIndex) ?? 0, index: self.lastIndex)
    }

    func term(at index: UInt64) -> UInt64? {
        if index == self.base.index { return self.base.term }
        guard index > self.base.index, index <= self.lastIndex else { return nil }
        return self.terms[self.gone + Int(index - self.base.index) - 1]
    }

    /// Whether what was promised of this position still holds: it is here, or a state covers it.
    func holds(_ position: LogPosition) -> Bool {
        position.index < self.base.index || self.term(at: position.index) == position.term
    }

    /// - Returns: false if the record leaves a gap.
    mutating func take(_ record: Disk.Record) -> Bool {
        switch record {
        case .hardState(let state):
            self.hardState = state
            self.commit = max(self.commit, state.commit)
        case .base(let position, _):
            // One that is carried into a new segment says nothing new.
            if position.index > self.base.index { self.restart(at: position) }
        case .entry(let entry):
            if entry.index <= self.base.index { return true }
            guard entry.index <= self.lastIndex + 1 else { return false }
            let keep = self.gone + Int(entry.index - self.base.index) - 1
            if keep < self.terms.count, self.terms[keep] == entry.term { return true }
            if keep < self.terms.count { self.terms.removeSubrange(keep...) }
            self.terms.append(entry.term)
        }
        return true
    }

    private mutating func restart(at position: LogPosition) {
        self.base = position
        self.terms.removeAll(keepingCapacity: true)
        self.gone = 0
    }

    /// A checkpoint covers everything up to `position`.
    mutating func drop(to position: LogPosition) {
        guard position.index > self.base.index else { return }
        guard position.index <= self.lastIndex else { return self.restart(at: position) }
        self.gone += Int(position.index - self.base.index)
        self.base = position
        if self.gone > 512 {
            self.terms.removeFirst(self.gone)
            self.gone = 0
        }
    }
}
