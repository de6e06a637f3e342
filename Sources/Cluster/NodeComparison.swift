// NodeComparison.swift - whether all nodes have the same state at the same index (invariant 7).
//
// Takes     the leader's marks in the log, hashes of finished checkpoints, and those of peers.
// Gives     a checkpoint that begins on every node at the same entry, so that its hash, which is
//           made with it anyway, can be compared; an alarm that names the node that differs.
// Limits    the last `remembered` hashes. Nodes that make another checkpoint at a mark, or lag by
//           more than that, are compared at the next one.
// Never     a stop: who is right cannot be told by two; the operator is told what to do.
// See       NodeCheckpoint, Docs/Operations.md.

import Logging
import MailQueue
import Networking
import Primitives
import Raft

/// The hash of the queue at one applied index; index 0: none.
package struct StateMark: Equatable, Sendable {
    package var index: UInt64
    package var hash: UInt64
    package init(index: UInt64, hash: UInt64) {
        self.index = index
        self.hash = hash
    }
    package static let none = StateMark(index: 0, hash: 0)
}

struct Comparison {
    /// Hashes that are kept for peers that come later to the same index.
    static let remembered = 8
    /// While the state changes, the leader marks an entry this often.
    static let interval = Duration.seconds(60)

    /// Of this node, ascending.
    private(set) var own: [StateMark] = []
    /// Applied, and when, at the last mark that this node has proposed as the leader.
    var marked: (index: UInt64, at: Instant) = (0, .zero)
    /// Nodes whose state differs.
    var differing: Set<NodeName> = []

    mutating func add(_ mark: StateMark) {
        self.own.append(mark)
        if self.own.count > Self.remembered { self.own.removeFirst() }
    }

    /// Nil: this node has no hash of that index.
    func agrees(with mark: StateMark) -> Bool? {
        self.own.first { $0.index == mark.index }.map { $0.hash == mark.hash }
    }
}

extension Node {
    /// The leader, once a second.
    func markState(_ now: Instant) {
        guard self.mesh != nil, self.phase == .ready, self.machine.isReadyLeader,
            now - self.comparison.marked.at >= Comparison.interval,
            // The mark itself is an entry.
            self.machine.applied.index > self.comparison.marked.index + 1
        else { return }
        self.comparison.marked = (self.machine.applied.index, now)
        self.proposeAsLeader(Command(.tick))
    }

    /// An entry was applied: at a mark all nodes begin a checkpoint.
    func compareState(at command: Command) {
        guard case .tick = command.action, self.mesh != nil, self.phase == .ready,
            !self.checkpoint.isRunning
        else { return }
        self.makeCheckpoint { _ in }
    }

    /// What a peer says of its last checkpoint.
    func compare(_ node: NodeName, _ mark: StateMark) {
        guard mark != .none, let agrees = self.comparison.agrees(with: mark) else { return }
        let alarm = "state_differs"
        if agrees {
            guard self.comparison.differing.remove(node) != nil else { return }
        } else {
            guard self.comparison.differing.insert(node).inserted else { return }
            self.metrics.stateDiffers()
            self.logger.critical(
                "another node has another state at the same entry",
                metadata: [
                    "peer": "\(node)", "index": "\(mark.index)",
                    "remedy": """
                    Find the node that differs from the majority (each names the others), stop \
                    it, and start it with an empty data directory. Keep the old one, and \
                    report this: it is a fault of this program, or of that machine's memory.
                    """,
                ])
            self.raise(alarm)
        }
        if self.comparison.differing.isEmpty { self.alarms.removeAll { $0 == alarm } }
    }
}
