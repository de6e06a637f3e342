// Letter.swift - what is under way between nodes, and between a node and its own workers.
//
// The core gives no messages for storing and applying: a Ready says it in fields. The files show
// them as messages to `AppendThread` and `ApplyThread`, and the answers of those two as messages
// back, so the environment makes letters of them.

import Primitives
import Raft

/// One letter.
indirect enum Letter {
    case message(Message)
    /// To the node's append worker.
    case append(AppendWork)
    /// Back from it: `Raft.stored` is due.
    case stored(MemberID, Stored, Snapshot?)
    /// To the node's apply worker.
    case apply(ApplyWork)
    /// Back from it: `Raft.applied` is due.
    case applied(MemberID, Applied, [Entry])

    /// Nobody: a worker.
    var recipient: MemberID? {
        switch self {
        case .message(let message): message.to
        case .stored(let id, _, _), .applied(let id, _, _): id
        case .append, .apply: nil
        }
    }

    /// Never leaves the node, so no network can lose it.
    var isLocal: Bool {
        switch self {
        case .message(let message): message.from == message.to
        case .stored, .applied, .append, .apply: true
        }
    }
}

/// What a node's append worker is to store, in order.
struct AppendWork {
    var node: MemberID
    var hardState: HardState?
    var entries: [Entry]
    var snapshot: Snapshot?
    /// Leave when it is stored.
    var responses: [Letter]

    /// Nil: nothing is to be stored, and nobody waits for what was stored before.
    init?(_ ready: Ready, node: MemberID) {
        guard ready.needsStore else { return nil }
        self.node = node
        self.hardState = ready.hardState
        self.entries = ready.entries
        self.snapshot = ready.snapshot
        self.responses = ready.answers.map { .message($0) }
        if let stored = ready.stored {
            let snapshot = stored.snapshot == nil ? nil : ready.snapshot
            self.responses.append(.stored(node, stored, snapshot))
        }
    }
}

/// What a node's apply worker is to apply, in order.
struct ApplyWork {
    var node: MemberID
    var entries: [Entry]
    /// Leaves when it is applied.
    var response: Letter

    /// Nil: nothing is to be applied.
    init?(_ ready: Ready, node: MemberID) {
        guard let applied = ready.applied else { return nil }
        self.node = node
        self.entries = ready.committed
        self.response = .applied(node, applied, ready.committed)
    }
}
