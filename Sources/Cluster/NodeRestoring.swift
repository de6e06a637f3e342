// NodeRestoring.swift - the queue, made of the rows of a checkpoint or a snapshot.

import MailQueue
import Primitives
import Storage
import Synchronization

/// A queue on its way from the thread that has made it to the node's loop.
final class RestoredQueue: Sendable {
    private let queue: Mutex<MailQueue?>

    /// - Parameters:
    ///   - meta: the queue's own, see `NodeMeta`.
    ///   - forEachRow: calls what it is given with each row.
    /// - Throws: `CodecError` if this is no state of ours, and what `forEachRow` throws.
    init(
        meta: [UInt8],
        forEachRow: ((UnsafeRawBufferPointer, UnsafeRawBufferPointer) -> Void) throws -> Void
    ) throws {
        var queue = try MailQueue(restoring: meta)
        var damaged: CodecError?
        try forEachRow { key, row in
            guard damaged == nil else { return }
            do throws(CodecError) {
                try queue.restore(key: Array(key), row: Array(row))
            } catch {
                damaged = error
            }
        }
        if let damaged { throw damaged }
        try queue.finishRestoring()
        self.queue = Mutex(consume queue)
    }

    func take() -> MailQueue {
        guard let queue = self.queue.withLock({ $0.take() }) else {
            unreachable("a queue is taken once")
        }
        return queue
    }
}
