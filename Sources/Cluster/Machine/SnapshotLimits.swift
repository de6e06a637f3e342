// SnapshotLimits.swift - sizes and times of snapshots, of both halves.

package import Primitives
package import Raft

/// Sizes and times. The defaults are the product's; tests use small ones.
package struct SnapshotLimits: Sendable {
    /// Bytes of one piece, so that others' frames get their turn.
    package static let pieceBytes = 256 << 10

    /// Of the log in memory.
    package var log = LogLimits()
    /// Data of entries since the last checkpoint, in bytes: then the next one is made.
    package var checkpointBytes: UInt64 = 32 << 20
    /// Bytes of one piece.
    package var pieceBytes = Self.pieceBytes
    /// Bytes that are sent and not taken yet.
    package var windowBytes: UInt64 = 4 << 20
    /// A member that was refused, or has failed, is offered it again after this.
    package var pause = Duration.seconds(1)
    /// Without a word of the other side for so long a transfer is over. A large state takes its
    /// time to be read back.
    package var silence = Duration.seconds(120)
    /// An export that nobody has read for so long is removed.
    package var idle = Duration.seconds(30)
    package init() {}
}
