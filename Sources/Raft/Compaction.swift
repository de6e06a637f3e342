// Compaction.swift - how much of the log stays in memory for members that lack it.
//
// Takes     the newest checkpoint's index: behind it a start, and a snapshot, need every entry.
// Gives     a log that serves whoever is a little behind, and has a limit whoever is gone.
// Limits    LogLimits. A member that lacks what is let go of needs a snapshot.
// See       Docs/Decisions/0018.

/// Bytes of the log in memory, by `Entry.sizeBytes`.
package struct LogLimits: Hashable, Sendable {
    /// Kept whoever has it: for those that are a little behind a leader to come.
    package var tailBytes: UInt64 = 16 << 20
    /// Kept for members that lack it.
    package var keptBytesMax: UInt64 = 64 << 20
    /// The same while a snapshot is on its way: what follows it must be there when it arrives.
    package var snapshotBytesMax: UInt64 = 256 << 20

    package init() {}
}

extension Raft {
    /// Lets go of entries up to `index`, which a checkpoint holds, as far as nobody needs them or
    /// the limits allow no more.
    ///
    /// - Parameter snapshot: of one that is being made; nil: none is.
    package mutating func compact(
        to index: UInt64, within limits: LogLimits, snapshot: UInt64?
    ) {
        guard self.log.bytes > limits.tailBytes, self.log.base.index < index else { return }
        let (needed, isSending) = self.needed(snapshot)
        let limit = isSending ? limits.snapshotBytesMax : limits.keptBytesMax
        let end = self.log.compactionEnd(index) { entry, bytes in
            bytes <= limits.tailBytes || (entry > needed && bytes <= limit)
        }
        self.log.compact(to: end)
    }

    /// Everything up to here is with all members, as far as this one knows; who does not lead does
    /// not know, and keeps the tail.
    private func needed(_ snapshot: UInt64?) -> (index: UInt64, isSending: Bool) {
        guard self.role == .leader else { return (.max, false) }
        var least = snapshot ?? .max
        var isSending = snapshot != nil
        for peer in self.membership.peers where peer.id != self.id {
            var has = peer.progress.match
            if peer.progress.state == .snapshot {
                isSending = true
                has = max(has, peer.progress.pendingSnapshot)
            }
            least = min(least, has)
        }
        return (least, isSending)
    }
}
