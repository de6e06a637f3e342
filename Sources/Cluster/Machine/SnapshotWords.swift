// SnapshotWords.swift - what the two halves of a snapshot say to each other.
//
// See       SnapshotSource, SnapshotSink; PeerValueCodec; Docs/PeerProtocol.md.

package import Raft

/// What a leader has, before the first piece of it.
package struct SnapshotOffer: Equatable, Sendable {
    /// The sender's number.
    package var id: UInt64
    /// Of the last entry that it holds.
    package var position: LogPosition
    package var totalBytes: UInt64
    /// As Raft's codec writes it.
    package var configuration: [UInt8]
    package init(
        id: UInt64, position: LogPosition, totalBytes: UInt64, configuration: [UInt8]
    ) {
        self.id = id
        self.position = position
        self.totalBytes = totalBytes
        self.configuration = configuration
    }
}

/// A number of a later version reads as `refused`.
package enum SnapshotVerdict: UInt8, Sendable, CaseIterable {
    /// Not wanted (now): offer again later.
    case refused = 0
    /// Send on from `takenBytes`.
    case taking = 1
    /// Checked, stored and current.
    case installed = 2
    /// What came is not what was sent, or could not be stored.
    case failed = 3
    /// All of it came, is what was sent, and can be read: the consensus may speak of it.
    case ready = 4
}
