// RigNode.swift - one machine of the rig: a member, its disk, its state machine, its driver.
//
// Order     stores end in order, applies end in order; each kind may be held back by the test.

import Primitives
import Testing

@testable import Raft

/// What survives a crash.
struct RigDisk {
    enum Record {
        case base(LogPosition)
        case entry(Entry)
        case hardState(HardState)
    }

    var journal: [Record] = []
    var applied = LogPosition.zero
    var configuration: Configuration
    var texts: [String] = []

    func replay() throws -> Start {
        var replay = LogReplay(applied: self.applied)
        for record in self.journal {
            switch record {
            case .base(let position): replay.take(base: position)
            case .entry(let entry): replay.take(entry)
            case .hardState(let state): replay.take(state)
            }
        }
        return try replay.start(configuration: self.configuration)
    }

    /// The terms that were written, with the votes.
    var hardStates: [HardState] {
        self.journal.compactMap {
            if case .hardState(let state) = $0 { state } else { nil }
        }
    }
}

struct RigNode {
    let id: MemberID
    let options: Options
    var replica: Replica
    var disk: RigDisk
    private(set) var isUp = true

    /// The state machine: every text, in order.
    private(set) var texts: [String] = []
    /// In force at the applied index.
    private(set) var configuration: Configuration
    private(set) var reads: [ReadState] = []
    private(set) var changes: [SoftState] = []

    var holdsStores = false
    var holdsApplies = false
    private(set) var stores: [StoreRequest] = []
    private(set) var applies: [([Entry], Applied)] = []

    init(_ options: Options, _ configuration: Configuration) {
        self.id = options.id
        self.options = options
        self.disk = RigDisk(configuration: configuration)
        self.configuration = configuration
        self.replica = Replica(options, start: Start(configuration: configuration), random: 9)
    }

    // MARK: The driver.

    mutating func turn() -> [Replica.Action] {
        var actions: [Replica.Action] = []
        self.replica.turn(&actions)
        for action in actions {
            switch action {
            case .store(let request): self.stores.append(request)
            case .apply(let entries, let applied): self.applies.append((entries, applied))
            case .readable(let read): self.reads.append(read)
            case .changed(let state): self.changes.append(state)
            case .send: continue
            }
        }
        return actions
    }

    /// Ends what may end. False: there was nothing.
    mutating func work(_ decide: (Entry) -> Void) -> Bool {
        if !self.holdsStores, !self.stores.isEmpty {
            self.storeOne()
            return true
        }
        if !self.holdsApplies, !self.applies.isEmpty {
            self.applyOne(decide)
            return true
        }
        return false
    }

    /// The records of one write, in the order of the journal.
    mutating func storeOne() {
        guard !self.stores.isEmpty else { return }
        let request = self.stores.removeFirst()
        if let snapshot = request.snapshot {
            self.disk.journal.append(.base(snapshot.position))
            self.disk.applied = snapshot.position
            self.disk.configuration = snapshot.configuration
            self.disk.texts = String(decoding: snapshot.data, as: UTF8.self)
                .split(separator: "\n").map(String.init)
            self.texts = self.disk.texts
            self.configuration = snapshot.configuration
        }
        for entry in request.entries { self.disk.journal.append(.entry(entry)) }
        if let state = request.hardState { self.disk.journal.append(.hardState(state)) }
        self.replica.stored(upTo: request.ticket)
    }

    private mutating func applyOne(_ decide: (Entry) -> Void) {
        let (entries, applied) = self.applies.removeFirst()
        for entry in entries {
            decide(entry)
            switch entry.kind {
            case .normal where entry.data.isEmpty: continue
            case .normal: self.texts.append(String(decoding: entry.data, as: UTF8.self))
            case .change, .changes:
                if let configuration = self.replica.apply(entry) {
                    self.configuration = configuration
                }
            }
        }
        self.replica.applied(applied)
    }

    // MARK: Faults.

    mutating func crash() {
        self.isUp = false
        self.stores = []
        self.applies = []
        self.reads = []
        self.changes = []
    }

    mutating func restart() throws {
        invariant(!self.isUp, "crash first")
        self.isUp = true
        self.replica = Replica(self.options, start: try self.disk.replay(), random: 9)
        self.texts = self.disk.texts
        self.configuration = self.disk.configuration
    }

    mutating func checkpoint(compacts: Bool) {
        let index = self.replica.raft.applied
        guard index > self.disk.applied.index, let term = self.replica.raft.log.term(at: index)
        else { return }
        self.disk.applied = LogPosition(term: term, index: index)
        self.disk.configuration = self.configuration
        self.disk.texts = self.texts
        self.replica.offer(
            Snapshot(
                position: self.disk.applied, configuration: self.configuration,
                data: Array(self.texts.joined(separator: "\n").utf8)))
        if compacts { self.replica.compact(to: index) }
    }
}
