// StorageValues.swift - options, what a start finds, and what the node is told.

package import Primitives
import Raft
package import Spool

/// Sizes and limits. The defaults are the product's; tests use small ones.
package struct StorageOptions: Sendable {
    /// Bytes of one journal segment.
    package var segmentBytes = 64 << 20
    /// Bytes of one file of old bodies.
    package var bodyFileBytes = 64 << 20
    /// Sealed segments that are kept before the oldest is evacuated.
    package var youngSegments = 4
    /// Segments that are owned ahead.
    package var spareSegments = 2
    /// Space that is owned for the time when the disk is full.
    package var reserveBytes = 256 << 20
    /// Below this much free space no new bodies are taken.
    package var lowWaterBytes = 512 << 20
    /// Body bytes of one batch.
    package var batchBytesMax = 1 << 20
    /// Body bytes that are appended and not yet durable; readers stop beyond.
    package var inFlightBytesMax = 32 << 20
    /// The background thread looks at space and old files this often.
    package var upkeepInterval: Duration = .seconds(1)
    package init() {}
}

/// How much space is left.
package enum SpaceLevel: UInt8, Comparable, Sendable {
    case normal = 0
    /// No new bodies.
    case low = 1
    /// The reserve is being used: outcomes, cancels, grants and checkpoints only.
    case reserve = 2
    package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// Who this data directory is.
package struct NodeIdentity: Equatable, Sendable {
    package var node: NodeName
    package var incarnation: Incarnation
    package var cluster: ClusterID
    /// Of this start, from 1.
    package var boot: BootNumber
    package init(
        node: NodeName, incarnation: Incarnation, cluster: ClusterID, boot: BootNumber
    ) {
        self.node = node
        self.incarnation = incarnation
        self.cluster = cluster
        self.boot = boot
    }
}

/// An outcome that was noted before it was proposed.
package struct OutcomeNote: Equatable, Sendable {
    /// Of the outcome's command.
    package var tag: Tag
    package var bytes: [UInt8]
    package init(tag: Tag, bytes: [UInt8]) {
        self.tag = tag
        self.bytes = bytes
    }
}

/// A body that is still arriving. Valid until its end, `abandon`, or the end of the process.
package struct BodyStream: Hashable, Sendable {
    /// Boot number << 32 | count: never given twice by one data directory.
    package let raw: UInt64
}

/// A body read back: head, then content, is what is sent on.
package struct StoredBody: Equatable, Sendable {
    package var head: [UInt8]
    package var content: [UInt8]
    /// SHA-256 of the content as it was given; not checked here.
    package var digest: BodyDigest
}

/// Why a body could not be read.
package enum BodyError: Error, Equatable, Sendable {
    /// This node never had it or has deleted it by proof.
    case absent
    /// It is here and is not what was written, or it may be among what was damaged.
    case damaged
    /// Reading failed with `errno`.
    case io(errno: Int32)
    /// The storage is closed.
    case closed
}

/// Damage that a start found and lives with.
package struct Damage: Equatable, Sendable {
    package enum Kind: Equatable, Sendable {
        /// Never acknowledged: dropped.
        case tornTail
        /// One copy of this body is lost.
        case body(Tag)
        /// Records of unknown bodies are lost: absence means nothing any more.
        case unknownBodies
        /// An outcome's note is lost: its attempt may be repeated.
        case note
        /// The records in a batch are sound, its header was not: nothing is lost.
        case batchHeader
    }
    package var kind: Kind
    package var file: String
    package var offset: Int
}

/// The newest checkpoint.
package struct CheckpointMeta: Equatable, Sendable {
    package var appliedIndex: UInt64
    package var appliedTerm: UInt64
    /// What the node stored with it.
    package var meta: [UInt8]
    package init(appliedIndex: UInt64, appliedTerm: UInt64, meta: [UInt8]) {
        self.appliedIndex = appliedIndex
        self.appliedTerm = appliedTerm
        self.meta = meta
    }

    var applied: LogPosition { LogPosition(term: self.appliedTerm, index: self.appliedIndex) }
}

/// What has become of one part of a checkpoint.
package enum CheckpointAnswer: Equatable, Sendable {
    /// Written in a transaction that is open: the next part may come.
    case next
    /// It was the last: committed, and read back on a second connection.
    case saved
    /// The disk was full, and a step of the reserve was given up: nothing of this checkpoint is
    /// saved; begin again at once, with the first part of the same or a newer one.
    case again
    /// Nothing of this checkpoint is saved. `.full`: try later, with all that it held; else the
    /// storage is faulty.
    case failed(StorageError)
}

/// The answers to one question for proof.
package struct GarbageAnswer: Sendable {
    /// One per tag that was asked for, in order: `GarbageRule.mayDelete`.
    package var mayDelete: [Bool]
    /// Bodies that the queue counts as live here.
    package var live: Int
    package init(mayDelete: [Bool], live: Int) {
        self.mayDelete = mayDelete
        self.live = live
    }
}

/// What the node is told. All are called on threads of the storage: return at once.
package struct StorageEvents: Sendable {
    /// Everything up to this position is durable. Once per batch.
    package var progress: @Sendable (UInt64) -> Void
    /// How long the write and sync of a batch took. Once per batch, after `progress`; also of one
    /// that has chunks of bodies only, which have no position.
    package var synced: @Sendable (Duration) -> Void
    /// Once, and last: nothing is acknowledged any more; exit with 70.
    package var fault: @Sendable (StorageError) -> Void
    /// After `mayTakeBytes` was false: less than half is in flight again.
    package var relieved: @Sendable () -> Void
    package var level: @Sendable (SpaceLevel) -> Void
    /// Checkpoint now, up to this index at least: a segment waits for it.
    package var checkpointWanted: @Sendable (UInt64) -> Void
    /// Something that a person must look at; constant text.
    package var alarm: @Sendable (StaticLabel) -> Void
    /// Which of these bodies (at most 1,024) may be deleted? Answer once, from any thread.
    package var prove: @Sendable ([Tag], @escaping @Sendable (GarbageAnswer) -> Void) -> Void

    package init(
        progress: @escaping @Sendable (UInt64) -> Void,
        synced: @escaping @Sendable (Duration) -> Void = { _ in },
        fault: @escaping @Sendable (StorageError) -> Void,
        relieved: @escaping @Sendable () -> Void,
        level: @escaping @Sendable (SpaceLevel) -> Void,
        checkpointWanted: @escaping @Sendable (UInt64) -> Void,
        alarm: @escaping @Sendable (StaticLabel) -> Void,
        prove: @escaping @Sendable ([Tag], @escaping @Sendable (GarbageAnswer) -> Void) -> Void
    ) {
        self.progress = progress
        self.synced = synced
        self.fault = fault
        self.relieved = relieved
        self.level = level
        self.checkpointWanted = checkpointWanted
        self.alarm = alarm
        self.prove = prove
    }
}
