// LostBodies.swift - what becomes of a message whose body cannot be read.
//
// Takes     the first failure to read a body, from the reader's thread.
// Gives     "try again later" for what may pass; for what is proven, bodyLost in the log: the
//           recipients end and the sender is told.
// Never     takes a failure to read for a proof: an I/O error may pass, and bytes that were wrong
//           once are read again, all of them, before anything is given up.
// See       Docs/Reliability.md; MailQueue's bodyLost.

import Logging
import MailQueue
import Primitives
import Spool
import Storage

extension Node {
    /// A body could not be read. `answer` is called once, on any thread.
    func bodyFailed(
        _ message: Tag, _ error: BodyError,
        _ answer: @escaping @Sendable (BodyReadError) -> Void
    ) {
        guard error.isOfTheBody else { return answer(.unavailable) }
        // Once more from the beginning: what is found twice is not a slip of memory or bus.
        self.storage.openBody(message) { result in
            switch result {
            case .failure(let again): self.bodyFailedTwice(message, again, answer)
            case .success((let body, let cursor)):
                StoredContent(self.storage, cursor, digest: body.digest).verify { again in
                    self.bodyFailedTwice(message, again, answer)
                }
            }
        }
    }

    private func bodyFailedTwice(
        _ message: Tag, _ error: BodyError?,
        _ answer: @escaping @Sendable (BodyReadError) -> Void
    ) {
        guard let error, error.isOfTheBody else { return answer(.unavailable) }
        self.onLoop { answer($0.bodyLost(message, error)) }
    }

    private static let lostBodyRemedy =
        "The disk under node.data has changed or lost what was written and synced. Look at the"
        + " kernel's log and at smartctl -a, move node.data to a good disk, and ask the sender for"
        + " the message."

    /// Proven on this node. Only the last copy's loss is the message's.
    private func bodyLost(_ message: Tag, _ error: BodyError) -> BodyReadError {
        guard let holders = self.machine.queue.holders(of: message) else { return .gone }
        guard holders == self.holders else { return .unavailable }
        guard self.machine.queue.hasPending(message) else { return .lost }
        if self.lostBodies.insert(message).inserted {
            self.metrics.bodyLost()
            self.raise("body_lost")
            self.logger.error(
                "the only copy of a message is lost: its recipients fail and the sender is told",
                metadata: [
                    "id": "\(message.text)", "found": "\(error)",
                    "remedy": "\(Self.lostBodyRemedy)",
                ])
        }
        // Proposed each time: an earlier proposal may not have come to anything.
        self.propose(.bodyLost(message), .nothing)
        return .lost
    }
}

extension BodyError {
    /// It says something of what lies on the disk; otherwise of this attempt to read it.
    fileprivate var isOfTheBody: Bool {
        switch self {
        case .absent, .damaged: true
        case .io, .closed: false
        }
    }
}
