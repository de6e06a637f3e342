// EnvironmentNode.swift - one node of a scenario: the core, a disk, a state machine that appends.

import Primitives
import Raft

/// What a node has on disk. Filled by what a Ready hands out, and by nothing else.
struct StableStore {
    var hardState = HardState.empty
    private(set) var base: LogPosition
    private(set) var entries: [Entry] = []

    init(base: LogPosition) { self.base = base }

    var firstIndex: UInt64 { self.base.index + 1 }
    var lastIndex: UInt64 { self.base.index + UInt64(self.entries.count) }

    /// Replaces what is there from the first entry on.
    mutating func append(_ fresh: [Entry]) throws {
        let fresh = fresh.drop { $0.index <= self.base.index }
        guard let first = fresh.first else { return }
        guard first.index <= self.lastIndex + 1 else {
            throw DirectiveError("a gap in the store before \(Text.entry(first))")
        }
        self.entries.removeSubrange(Int(first.index - self.firstIndex)...)
        self.entries.append(contentsOf: fresh)
    }

    mutating func install(_ snapshot: Snapshot) throws {
        guard snapshot.position.index > self.base.index else {
            throw DirectiveError("requested index is older than the existing snapshot")
        }
        self.base = snapshot.position
        self.entries = []
    }

    /// The entry at `index` and everything before leave.
    mutating func compact(to index: UInt64) throws {
        guard index > self.base.index else {
            throw DirectiveError("requested index is unavailable due to compaction")
        }
        guard index <= self.lastIndex else {
            throw DirectiveError("compact \(index) is out of bound lastindex(\(self.lastIndex))")
        }
        let count = Int(index - self.base.index)
        self.base = self.entries[count - 1].position
        self.entries.removeFirst(count)
    }

    /// Whether it has this very entry, or had it before a compaction.
    func holds(_ entry: Entry) -> Bool {
        if entry.index <= self.base.index { return true }
        guard entry.index <= self.lastIndex else { return false }
        return self.entries[Int(entry.index - self.firstIndex)] == entry
    }

    var lines: [String] {
        if self.entries.isEmpty {
            return [
                "log is empty: first index=\(self.firstIndex), last index=\(self.lastIndex)"
            ]
        }
        return self.entries.map(Text.entry)
    }
}

struct EnvironmentNode {
    var raft: Raft
    private(set) var store: StableStore
    /// Snapshots, one per applied entry.
    private(set) var history: [Snapshot]
    var appendWork: [AppendWork] = []
    var applyWork: [ApplyWork] = []

    /// - Parameter snapshot: what it starts from; nil: from nothing.
    init(_ options: Options, snapshot: Snapshot?) {
        let base = snapshot?.position ?? .zero
        let start = Start(
            hardState: HardState(term: 0, vote: .none, commit: base.index),
            configuration: snapshot?.configuration ?? Configuration(), base: base,
            applied: base.index)
        self.raft = Raft(options, start: start, random: 0)
        self.store = StableStore(base: base)
        self.history = snapshot.map { [$0] } ?? []
        if let snapshot { self.raft.offer(snapshot) }
    }

    var id: MemberID { self.raft.id }
    var storesAsynchronously: Bool { self.raft.options.storesAsynchronously }

    /// Puts on disk what a Ready gives.
    mutating func save(_ hardState: HardState?, _ entries: [Entry], _ snapshot: Snapshot?) throws {
        if let hardState { self.store.hardState = hardState }
        guard let snapshot else {
            try self.store.append(entries)
            return
        }
        guard entries.isEmpty else {
            throw DirectiveError("can't apply snapshot and entries at the same time")
        }
        try self.store.install(snapshot)
        self.remember(snapshot)
    }

    /// Applies committed entries. - Returns: why changes among them changed nothing.
    mutating func apply(_ entries: [Entry]) throws -> [String] {
        var refusals: [String] = []
        for entry in entries {
            guard self.store.holds(entry) else {
                throw DirectiveError("\(Text.entry(entry)) is applied and not stored")
            }
            let newest = self.history.last
            var configuration = newest?.configuration ?? Configuration()
            var data = newest?.data ?? []
            switch entry.kind {
            case .normal: data += entry.data
            case .change, .changes:
                do {
                    configuration = try self.raft.apply(try ConfigurationChange(entry))
                } catch let error as ChangeError {
                    refusals.append(error.description)
                }
            }
            self.remember(
                Snapshot(position: entry.position, configuration: configuration, data: data))
        }
        return refusals
    }

    private mutating func remember(_ snapshot: Snapshot) {
        // A snapshot may have overtaken entries that were handed out before it.
        if let newest = self.history.last, newest.position.index >= snapshot.position.index {
            return
        }
        self.history.append(snapshot)
        self.raft.offer(snapshot)
    }

    /// A synchronous turn is stored and applied: its own answers count now.
    mutating func advance(_ ready: Ready) throws {
        for answer in ready.answers where answer.to == self.id {
            do {
                try self.raft.step(answer)
            } catch StepError.unknownPeer {
                // This turn has removed the node itself: nobody counts its answers.
                continue
            }
        }
        if let stored = ready.stored { self.raft.stored(stored) }
        if let applied = ready.applied { self.raft.applied(applied) }
    }

    mutating func compact(to index: UInt64) throws {
        try self.store.compact(to: index)
        self.raft.compact(to: index)
    }

    /// Nil: with all handed out and all work done, disk and core say the same.
    var disagreement: String? {
        guard !self.raft.hasReady, self.appendWork.isEmpty else { return nil }
        let state = self.store.hardState
        guard state.term == self.raft.term, state.vote == self.raft.vote else {
            return "node \(Text.id(self.id)) has not stored \(Text.hardState(self.raft.hardState))"
        }
        let log = self.raft.log
        let entries =
            log.lastIndex < log.firstIndex
            ? [] : log.slice(log.firstIndex...log.lastIndex, bytesMax: .max)
        guard log.base == self.store.base, entries == self.store.entries else {
            return "node \(Text.id(self.id)) holds \(entries.map(Text.entry)) behind "
                + "\(log.base.index), its store \(self.store.entries.map(Text.entry)) behind "
                + "\(self.store.base.index)"
        }
        return nil
    }
}
