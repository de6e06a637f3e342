// PeerMessage.swift - what nodes say to each other once they have greeted.
//
// Control   raft … standing; bulk: body… , fetch… , snapshot… .
// Limits    named here, in bytes and entries; decoders refuse what is beyond, encoders end the
//           process: what this node says is its own doing.
// See       PeerMessageCodec; Docs/PeerProtocol.md, "Messages".

package import Primitives
package import Raft
package import Spool

package import struct NIOCore.ByteBuffer

package enum PeerMessage: Equatable, Sendable {
    // MARK: Control

    /// A message of the consensus, as Raft's own codec writes it.
    case raft([UInt8])
    /// A command for the leader to stamp and propose; `number` is the sender's, for the answer.
    case forward(number: UInt64, command: [UInt8])
    /// Not the leader (or not able to propose): nothing was done. `leader` 0: not known.
    case forwardRefused(number: UInt64, leader: Incarnation)
    case renew(Renewal)
    case renewed(RenewalAnswer)
    /// A letter of the founding, see `FoundingLetter`.
    case founding([UInt8])
    case standing(Standing)

    // MARK: Bulk

    /// A body begins that has no tag yet; `stream` is the sender's number for it.
    case bodyOpen(stream: UInt64)
    /// `number` counts the stream's chunks from 0; `blocks` are whole blocks as Storage keeps them.
    case bodyChunk(stream: UInt64, number: UInt64, blocks: ByteBuffer)
    case bodyEnd(stream: UInt64, tag: Tag, BodySeal)
    /// A small body at once.
    case bodyWhole(tag: Tag, BodySeal, blocks: ByteBuffer)
    /// Synced (invariant 8).
    case bodyStored(tag: Tag)
    case bodyRefused(PeerBody, PeerBodyRefusal)
    /// The sender gives the stream up; what came of it is garbage.
    case bodyAbandoned(stream: UInt64)
    /// Asks for a stored body; `request` is the asker's number. So many pieces may be sent, and no
    /// more before `fetchMore`: who asks never holds more than it wants to.
    case fetchBody(request: UInt64, tag: Tag, pieces: UInt32)
    /// So many more pieces may be sent.
    case fetchMore(request: UInt64, pieces: UInt32)
    /// Nothing more is wanted of the body.
    case fetchEnded(request: UInt64)
    case fetchedHead(request: UInt64, BodySeal)
    case fetchedPiece(request: UInt64, blocks: ByteBuffer, isLast: Bool)
    case fetchFailed(request: UInt64, PeerFetchFailure)
    case snapshotOffer(SnapshotOffer)
    /// `offset` in bytes from the snapshot's first. The frame's checksum is the piece's.
    case snapshotPiece(id: UInt64, offset: UInt64, bytes: ByteBuffer)
    /// `digest`: SHA-256 of the whole.
    case snapshotDone(id: UInt64, digest: BodyDigest)
    /// `takenBytes`: all before this offset has been taken.
    case snapshotAnswer(id: UInt64, SnapshotVerdict, takenBytes: UInt64)

    /// Bytes of one forwarded command, at most.
    package static let commandBytesMax = 8 << 20
    /// Destinations of one renewal, at most.
    package static let destinationsMax = ShareTable.rowsMax
    /// Bytes of one destination's name, at most.
    package static let destinationBytesMax = 320
    /// Bytes of one letter of the founding.
    package static let foundingBytesMax = 64 << 10
    /// Bytes of blocks (or of a snapshot) in one frame, at most: with the longest head and the
    /// record's own fields within the limit of a record of the journal (8 MiB). Senders stay at
    /// `pieceBytes`, so that others' frames get their turn.
    package static let blocksBytesMax = (7 << 20) - 4096
    /// What a sender of bodies or snapshots puts in one frame, in bytes.
    package static let pieceBytes = SnapshotLimits.pieceBytes
    /// Bytes of a body's head, at most.
    package static let headBytesMax = 1 << 20
    /// Bytes of a snapshot's configuration, at most.
    package static let configurationBytesMax = 64 << 10
}

/// What a node tells the others of itself: the first message of a control link, then once a second.
package struct Standing: Equatable, Sendable {
    /// The latest wall clock that can be said: the end of the year 9999.
    package static let wallMax = WallTime(milliseconds: 253_402_300_799_999)

    package var applied: LogPosition
    /// The end of the log that is synced.
    package var durable: LogPosition
    /// SMTP sessions of clients, and connections to other hosts.
    package var sessionsIn: UInt32
    package var sessionsOut: UInt32
    /// Free thousandths of the data directory's file system.
    package var diskFreePermille: UInt16
    /// Low on space: send no bodies.
    package var refusesBodies: Bool
    package var isDraining: Bool
    /// Of the newest checkpoint that was made.
    package var state: StateMark
    /// When it was said, by the sender's wall clock; from 1970 to `wallMax`.
    package var wall: WallTime
    /// `ClusterSettings.fileHash` of what the sender would propose if it led; 0: not known yet.
    package var settings: UInt64
    package init(
        applied: LogPosition, durable: LogPosition, sessionsIn: UInt32, sessionsOut: UInt32,
        diskFreePermille: UInt16, refusesBodies: Bool, isDraining: Bool, state: StateMark,
        wall: WallTime, settings: UInt64
    ) {
        self.applied = applied
        self.durable = durable
        self.sessionsIn = sessionsIn
        self.sessionsOut = sessionsOut
        self.diskFreePermille = diskFreePermille
        self.refusesBodies = refusesBodies
        self.isDraining = isDraining
        self.state = state
        self.wall = min(max(WallTime(milliseconds: 0), wall), Self.wallMax)
        self.settings = settings
    }
}

/// What is known of a body when its last byte is.
package struct BodySeal: Equatable, Sendable {
    package var head: [UInt8]
    package var blockCount: UInt32
    package var contentBytes: UInt64
    package var digest: BodyDigest
    package init(head: [UInt8], blockCount: UInt32, contentBytes: UInt64, digest: BodyDigest) {
        self.head = head
        self.blockCount = blockCount
        self.contentBytes = contentBytes
        self.digest = digest
    }
}

/// Names a body on the way.
package enum PeerBody: Equatable, Sendable {
    case stream(UInt64)
    case tag(Tag)
}

/// Why a body is not taken. A number of a later version reads as `other`.
package enum PeerBodyRefusal: UInt8, Sendable, CaseIterable {
    case other = 0
    /// Low on space.
    case full = 1
    /// Blocks, count or digest are not what the seal says.
    case damaged = 2
    /// A chunk out of its order, or of a stream that is not open.
    case unknownStream = 3
    case tooManyStreams = 4
    case stopping = 5
    /// Writing has failed.
    case storage = 6
}

/// Why a body is not given. A number of a later version reads as `other`.
package enum PeerFetchFailure: UInt8, Sendable, CaseIterable {
    case other = 0
    /// Never had, or deleted by proof.
    case absent = 1
    case damaged = 2
    case tooManyRequests = 3
    case stopping = 4
    case storage = 5
}
