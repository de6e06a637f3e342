// NodeCheckpoint.swift - when a checkpoint is made, and how it is led through storage by slices.
//
// Order     1 begin: the state at the applied index is marked. 2 A slice of rows is encoded on the
//           loop and given to storage; its answer, which comes when the part is written, brings the
//           next slice: entries, replies and heartbeats go on in between. 3 The last part has the
//           meta of that index. 4 Only what is committed and verified counts as saved; what is not
//           is given back to the queue, and goes into the next checkpoint.
// Never     a second checkpoint while one is made.
// See       MailQueue's CheckpointSlices, Docs/Decisions/0016.

import MailQueue
import NIOCore
import Networking
import Primitives
import Raft
import Storage

/// Where the last checkpoint stands, and whether one is being written.
struct CheckpointState {
    /// Entries applied since the last one; a long tail makes a restart slow.
    static let entriesMax: UInt64 = 100_000
    /// With anything applied at all, a checkpoint is made after this time.
    static let interval = Duration.seconds(60)
    /// Rows that are looked at in one slice: about 0.6 ms of the loop.
    static let sliceRows = 1024
    /// A slice takes no further row behind so many bytes: rows may have a thousand recipients.
    static let sliceBytes = 256 << 10
    /// Rows of a failed checkpoint that are given back at a time: well below 1 ms.
    static let returnRows = 16 << 10

    /// Rows in one slice of this node.
    var rowsPerSlice = CheckpointState.sliceRows
    var isRunning = false
    /// Everything up to here is in the newest checkpoint.
    var index: UInt64 = 0
    var madeAt = Instant.zero
    /// The members that it knows; nil: not known, it was made before this start.
    var configuration: Configuration?
    /// Data of the entries that were applied since it was begun.
    var bytes: UInt64 = 0
    /// The journal waits for a checkpoint up to here; 0: it does not wait.
    var wanted: UInt64 = 0
}

/// What belongs to the index of a checkpoint that is being made.
private struct CheckpointHead: Sendable {
    var position: LogPosition
    var meta: NodeMeta
    /// On the node's loop; nil: it is saved.
    var completion: @Sendable (StorageError?) -> Void
}

extension Node {
    /// The journal asks for a checkpoint, to be able to drop a segment. From a storage thread.
    func checkpointWanted(upTo index: UInt64) {
        self.loop.execute {
            self.checkpoint.wanted = max(self.checkpoint.wanted, index)
            self.checkpointIfWanted(SystemClock.bootTime())
        }
    }

    func checkpointIfWanted(_ now: Instant) {
        let applied = self.machine.applied.index
        let behind = applied - self.checkpoint.index
        let wanted = self.checkpoint.wanted > self.checkpoint.index
        guard !self.checkpoint.isRunning, behind > 0,
            wanted || behind >= CheckpointState.entriesMax
                || self.checkpoint.bytes >= self.snapshotLimits.checkpointBytes
                || now - self.checkpoint.madeAt >= CheckpointState.interval
        else { return }
        self.makeCheckpoint { _ in }
    }

    /// Saves the rows changed since the last checkpoint, as they are now.
    ///
    /// - Parameter completion: on the node's loop.
    func makeCheckpoint(_ completion: @escaping @Sendable (StorageError?) -> Void) {
        invariant(!self.checkpoint.isRunning, "one checkpoint at a time")
        self.checkpoint.isRunning = true
        self.checkpoint.bytes = 0
        self.machine.beginCheckpoint()
        self.nextSlice(
            of: CheckpointHead(
                position: self.machine.applied,
                meta: NodeMeta(
                    stamp: self.machine.queue.time, wall: self.machine.believed(self.wallClock()),
                    configuration: self.machine.replica.raft.configuration),
                completion: completion))
    }

    private func nextSlice(of head: CheckpointHead) {
        var rows = RowBatch()
        var last: CheckpointMeta?
        if self.machine.encodeCheckpoint(
            rows: self.checkpoint.rowsPerSlice, bytesMax: CheckpointState.sliceBytes, into: &rows)
        {
            let seal = self.machine.sealCheckpoint()
            invariant(seal.applied == head.position.index, "rows and log are of one index")
            self.comparison.add(StateMark(index: seal.applied, hash: seal.stateHash))
            last = CheckpointMeta(
                appliedIndex: head.position.index, appliedTerm: head.position.term,
                meta: head.meta.encoded(queue: seal.meta))
        }
        self.storage.checkpoint(rows, last: last) { answer in
            self.loop.execute { self.goOn(head, answer) }
        }
    }

    private func goOn(_ head: CheckpointHead, _ answer: CheckpointAnswer) {
        switch answer {
        case .next:
            self.nextSlice(of: head)
        case .saved:
            self.machine.endCheckpoint()
            self.checkpoint.index = head.position.index
            self.checkpoint.configuration = head.meta.configuration
            self.endCheckpoint(nil, head.completion)
        case .again:
            self.giveBack {
                self.checkpoint.isRunning = false
                self.makeCheckpoint(head.completion)
            }
        case .failed(let error):
            self.giveBack { self.endCheckpoint(error, head.completion) }
        }
    }

    private func endCheckpoint(
        _ error: StorageError?, _ completion: @Sendable (StorageError?) -> Void
    ) {
        self.checkpoint.isRunning = false
        self.checkpoint.madeAt = SystemClock.bootTime()
        completion(error)
    }

    /// Gives the rows of a checkpoint that is not saved back to the queue, then goes on.
    private func giveBack(then next: @escaping @Sendable () -> Void) {
        if self.machine.giveBackCheckpoint(rows: CheckpointState.returnRows) { return next() }
        // By a timer, not by `execute`: what has come in meanwhile has its turn first.
        self.loop.scheduleTask(in: .milliseconds(1)) { self.giveBack(then: next) }
    }
}

/// What the node keeps beside the queue's own meta blob.
struct NodeMeta {
    /// Queue time and wall clock belong together: after a stop, time goes on by their difference.
    var stamp: QueueTime
    var wall: WallTime?
    /// The members in force at the checkpoint.
    var configuration: Configuration

    func encoded(queue: [UInt8]) -> [UInt8] {
        var writer = ByteWriter(capacity: queue.count + 32)
        writer.u8(2)
        writer.varint(self.stamp.milliseconds)
        writer.wall(self.wall)
        self.configuration.encode(into: &writer)
        writer.blob(queue)
        return writer.bytes
    }

    /// The node's part and the queue's.
    static func decode(_ bytes: [UInt8]) throws(CodecError) -> (NodeMeta, queue: [UInt8]) {
        var reader = ByteReader(bytes)
        guard try reader.u8() == 2 else { throw .unknown("meta") }
        let stamp = QueueTime(milliseconds: try reader.varint())
        let wall = try reader.wall()
        let configuration = try Configuration(from: &reader)
        let queue = try reader.blob(atMost: 1 << 30)
        try reader.finish()
        return (NodeMeta(stamp: stamp, wall: wall, configuration: configuration), queue)
    }
}
