// LostBodies.swift - what becomes of a message whose body cannot be read.
//
// Takes     the first failure to read a body, from any thread.
// Gives     "try again later" for what may pass. For what is proven: the copy is taken out of the
//           placement (`replicasLost`) if others have one; if this was the last one, bodyLost in
//           the log: the recipients end and the sender is told.
// Never     takes a failure to read for a proof: an I/O error may pass, and bytes that were wrong
//           once are read again, all of them, before anything is given up.
// See       Docs/Reliability.md; MailQueue's bodyLost; NodeRepair.

import Logging
import MailQueue
import Primitives
import Spool
import Storage

extension Node {
    /// A body could not be read. `answer` is called once, on any thread.
    ///
    /// - Parameter tag: under which it lies on the own disk.
    func bodyFailed(
        _ message: Tag, _ tag: Tag, _ error: BodyError,
        _ answer: @escaping @Sendable (BodyReadError) -> Void
    ) {
        guard error.isOfTheBody else { return answer(.unavailable) }
        self.readAgain(tag) { again in
            guard let again, again.isOfTheBody else { return answer(.unavailable) }
            self.onLoop { answer($0.bodyLost(message, tag, again)) }
        }
    }

    /// Once more from the beginning: what is found twice is not a slip of memory or bus. Nil: all
    /// of it is right.
    private func readAgain(_ tag: Tag, _ answer: @escaping @Sendable (BodyError?) -> Void) {
        self.storage.openBody(tag) { result in
            switch result {
            case .failure(let again): answer(again)
            case .success((let body, let cursor)):
                StoredContent(self.storage, cursor, digest: body.digest).verify(answer)
            }
        }
    }

    /// A copy could not be given to a peer.
    func ownCopyFailed(_ tag: Tag, _ error: BodyError) {
        guard error.isOfTheBody else { return }
        self.readAgain(tag) { again in
            guard let again, again.isOfTheBody else { return }
            self.onLoop { node in
                if node.machine.isCopy(tag, of: node.ownHolder) { node.loseCopies([tag]) }
            }
        }
    }

    private static let lostBodyRemedy =
        "The disk under node.data has changed or lost what was written and synced. Look at the"
        + " kernel's log and at smartctl -a, move node.data to a good disk, and ask the sender for"
        + " the message."

    /// Proven on this node.
    private func bodyLost(_ message: Tag, _ tag: Tag, _ error: BodyError) -> BodyReadError {
        switch self.machine.loss(of: message, under: tag, on: self.ownHolder) {
        case .over: return .gone
        case .elsewhere: return .unavailable
        case .copy:
            self.loseCopies([tag])
            return .unavailable
        case .message:
            self.sayLost(message, "\(error)")
            self.propose(.bodyLost(message), .nothing)
            return .lost
        case .told: return .lost
        }
    }

    /// Said and counted once a message.
    func sayLost(_ message: Tag, _ found: String) {
        guard self.lostBodies.insert(message).inserted else { return }
        self.metrics.bodyLost()
        self.raise("body_lost")
        self.logger.error(
            "the only copy of a message is lost: its recipients fail and the sender is told",
            metadata: [
                "id": "\(message.text)", "found": "\(found)", "remedy": "\(Self.lostBodyRemedy)",
            ])
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
