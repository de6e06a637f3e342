// Intake.swift - the way in: a message from its first byte to its verdict.
//
// Takes     an envelope, the content in pieces, the head (Received and what else we add).
// Gives     one verdict per message, on the session's own event loop.
// Durable   before `.accepted`: the body on R nodes' disks, the Enqueue committed and applied.

package import NIOCore
package import Primitives
package import SMTP
import Synchronization

/// Why a message is not begun or not accepted; the peer gets `reply`.
package enum IntakeRefusal: Error, Equatable, Sendable {
    /// The disk or the memory for bodies is at its limit: 452 4.3.1.
    case full
    /// The queue is at its limit, `relay.max_queued_messages` or `_bytes`: 452 4.3.1.
    case overQuota
    /// No leader for 10 s or more, not handed over: 451 4.3.2.
    case noLeader
    /// Handed over, no result within `cluster.commit_timeout`: 451 4.4.5.
    case timedOut
    /// Fewer than R nodes take copies, for 10 s or more: 451 4.3.2.
    case noCopies
    /// The node is stopping: 421 4.3.2.
    case stopping

    package var reply: Reply {
        switch self {
        case .full: Reply(452, EnhancedCode(4, 3, 1), "Insufficient storage, try again later")
        case .overQuota: Reply(452, EnhancedCode(4, 3, 1), "The queue is full, try again later")
        case .noLeader, .noCopies:
            Reply(451, EnhancedCode(4, 3, 2), "Queue not available, try again later")
        case .timedOut: Reply(451, EnhancedCode(4, 4, 5), "Queue did not answer in time, try again")
        case .stopping: Reply(421, EnhancedCode(4, 3, 2), "Service shutting down, try again later")
        }
    }
    package var label: StaticString {
        switch self {
        case .full: "full"
        case .overQuota: "over_quota"
        case .noLeader: "no_leader"
        case .noCopies: "no_copies"
        case .timedOut: "timed_out"
        case .stopping: "stopping"
        }
    }
}

/// What ends a message at reception.
package enum IntakeVerdict: Equatable, Sendable {
    /// Ours for ever: answer `250 2.0.0 Ok id=<tag.text>`. Delivery starts when the callback that
    /// got this has returned, so write and flush the reply inside it.
    case accepted(Tag)
    case refused(IntakeRefusal)
}

/// The door for messages; one per node, used from any event loop.
package final class Intake: Sendable {
    private let node: Node
    /// Scratch memory by event loop; filled once, then read only.
    private let lanes: [ObjectIdentifier: NIOLoopBoundBox<IntakeLane>]

    init(node: Node, loops: any EventLoopGroup) {
        self.node = node
        var lanes: [ObjectIdentifier: NIOLoopBoundBox<IntakeLane>] = [:]
        for loop in loops.makeIterator() {
            lanes[ObjectIdentifier(loop)] = .makeBoxSendingValue(IntakeLane(), eventLoop: loop)
        }
        self.lanes = lanes
    }

    /// Whether a new session or transaction makes sense now; cheap, may be asked per command.
    /// Nil: yes. `.stopping`, `.noLeader`, `.noCopies`: answer 421 at connect, 451 to MAIL;
    /// `.full`, `.overQuota`: 452 to MAIL.
    package var obstacle: IntakeRefusal? { self.node.obstacle }

    /// So many SMTP sessions more, or fewer: for the status, and for who waits until a drained node
    /// has none. From any loop.
    package func count(sessions change: Int) {
        self.node.shared.sessionsIn.add(change, ordering: .relaxed)
    }

    /// Starts to receive the content of a message. Call on `loop`, the session's own.
    ///
    /// - Parameter resume: called on `loop` when reading may go on after `append` answered false.
    package func begin(
        on loop: any EventLoop, resume: @escaping () -> Void
    ) -> Result<IncomingBody, IntakeRefusal> {
        if let obstacle = self.node.obstacle { return .failure(obstacle) }
        guard let lane = self.lanes[ObjectIdentifier(loop)] else {
            unreachable("a session on an event loop that the node does not know")
        }
        return .success(
            IncomingBody(node: self.node, loop: loop, lane: lane.value, resume: resume))
    }
}
