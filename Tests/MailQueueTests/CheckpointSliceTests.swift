// CheckpointSliceTests.swift - a checkpoint is of its index, whatever comes between its slices.

import Primitives
import SMTP
import Spool
import Testing

@testable import MailQueue

extension Life {
    private enum End { case saved, failed, failedEarly }

    /// A checkpoint with a random life between its slices.
    ///
    /// - Returns: whether it was saved; then it was restored, and caught up with the log.
    func slicedCheckpoint(rows limit: Int) throws -> Bool {
        let fate = self.dice.below(10)
        let end: End = fate < 6 ? .saved : fate < 8 ? .failed : .failedEarly
        let expected = self.replica.stateHash()
        self.log = []
        self.rig.queue.beginCheckpoint()
        var delta = CheckpointDelta()
        var isDone = false
        while !isDone {
            if end == .failedEarly, self.dice.chance(permille: 100) { break }
            var batch = RowBatch()
            isDone = self.rig.queue.encodeCheckpoint(rows: limit, bytesMax: 1 << 20, into: &batch)
            delta.add(batch)
            guard !isDone else { break }
            for _ in 0..<self.dice.below(4) { try self.step() }
            if self.dice.chance(permille: 100) { try self.replicas() }
            if self.dice.chance(permille: 50) {
                #expect(self.rig.hash() == self.replica.stateHash())
            }
        }
        if isDone {
            delta.add(self.rig.queue.sealCheckpoint())
            #expect(delta.stateHash == expected)
        }
        // Whether it is saved is known later.
        for _ in 0..<self.dice.below(10) { try self.step() }
        guard isDone, end == .saved else {
            while !self.rig.queue.giveBackCheckpoint(rows: 1 + self.dice.below(20)) {
                for _ in 0..<self.dice.below(3) { try self.step() }
            }
            return false
        }
        self.rig.queue.endCheckpoint()
        self.store.take(delta)
        var restored = try self.store.restore()
        #expect(restored.audit() == nil)
        #expect(restored.stateHash() == expected)
        for entry in self.log {
            var effects: [Effect] = []
            _ = restored.apply(
                entry.command, index: entry.index, stamp: entry.stamp, effects: &effects)
        }
        #expect(restored.stateHash() == self.rig.hash())
        return true
    }
}

@Suite("Checkpoints by slices (7)")
struct CheckpointSliceTests {
    @Test(arguments: UInt64(1)...40)
    func `a random life between slices changes nothing of the checkpoint`(_ seed: UInt64) throws {
        let life = try Life(seed: seed)
        for _ in 0..<3 { try life.open() }
        var saved = 0
        for _ in 0..<25 {
            for _ in 0..<life.dice.below(60) { try life.step() }
            let limit = life.dice.chance(permille: 500) ? 1 : 1 + life.dice.below(12)
            if try life.slicedCheckpoint(rows: limit) { saved += 1 }
            #expect(life.rig.queue.audit() == nil)
        }
        #expect(saved > 5)
        // The rows of all that failed are in the next one.
        life.store.take(life.rig.queue.takeDirty())
        var restored = try life.store.restore()
        #expect(restored.stateHash() == life.replica.stateHash())
    }

    @Test func `a row that changes before its turn is saved as it was, in the next slice`() throws {
        let rig = Rig()
        let a = rig.open("a")
        let tags = (0..<4).map { _ in rig.enqueue(a) }
        var before = rig.queue.takeDirty()
        for tag in tags { rig.settle(a, tag, .deferred) }
        let expected = rig.hash()
        rig.queue.beginCheckpoint()
        var delta = CheckpointDelta()
        var batch = RowBatch()
        #expect(!rig.queue.encodeCheckpoint(rows: 1, bytesMax: 1 << 20, into: &batch))
        delta.add(batch)
        // One before its turn, one behind it: only the first is kept.
        rig.settle(a, tags[3], .delivered)
        rig.send(a, .admin(Admin(verb: .drop, deliveries: [id(tags[3]), id(tags[2])], reason: "")))
        rig.send(a, .admin(Admin(verb: .hold, deliveries: [id(tags[0])], reason: "")))
        let new = rig.enqueue(a)
        var isDone = false
        while !isDone {
            batch = RowBatch()
            isDone = rig.queue.encodeCheckpoint(rows: 1, bytesMax: 1 << 20, into: &batch)
            delta.add(batch)
        }
        delta.add(rig.queue.sealCheckpoint())
        rig.queue.endCheckpoint()
        #expect(delta.stateHash == expected)
        #expect(delta.slices == [1, 3, 0, 0])
        #expect(Set(delta.upserts.map(\.key)) == Set(tags.map(MailQueue.key)))
        #expect(delta.deletes.isEmpty)
        // Those that ended meanwhile, and the changed and the new one, are the next one's.
        before = rig.queue.takeDirty()
        #expect(Set(before.deletes) == Set([tags[2], tags[3]].map(MailQueue.key)))
        #expect(Set(before.upserts.map(\.key)) == Set([tags[0], new].map(MailQueue.key)))
    }

    @Test(arguments: [true, false])
    func `a copy that is added or lost before a row's turn is of the next checkpoint`(
        _ isAdded: Bool
    ) throws {
        let rig = Rig()
        let a = rig.open("a")
        let b = rig.open("b", incarnation: 2)
        let holder = Holder(node: "b", incarnation: Incarnation(raw: 2))
        let first = rig.enqueue(a)
        let second = rig.enqueue(a, holders: [Rig.holder, holder])
        let expected = rig.hash()
        rig.queue.beginCheckpoint()
        if isAdded {
            #expect(rig.send(b, .replicaAdded(first, holder)) == .done)
        } else {
            #expect(rig.send(b, .replicasLost(holder, [second])) == .done)
        }
        var delta = CheckpointDelta()
        var batch = RowBatch()
        #expect(rig.queue.encodeCheckpoint(rows: 9, bytesMax: 1 << 20, into: &batch))
        delta.add(batch)
        delta.add(rig.queue.sealCheckpoint())
        rig.queue.endCheckpoint()
        var store = Store()
        store.take(delta)
        var restored = try store.restore()
        #expect(restored.stateHash() == expected)
        store.take(rig.queue.takeDirty())
        restored = try store.restore()
        #expect(restored.stateHash() == rig.hash())
    }

    @Test func `a new message in an old slot is not of the checkpoint`() throws {
        let rig = Rig()
        let a = rig.open("a")
        rig.settle(a, rig.enqueue(a), .delivered)
        let expected = rig.hash()
        rig.queue.beginCheckpoint()
        let new = rig.enqueue(a)
        var batch = RowBatch()
        #expect(rig.queue.encodeCheckpoint(rows: 9, bytesMax: 1 << 20, into: &batch))
        #expect(batch.isEmpty)
        #expect(rig.queue.sealCheckpoint().stateHash == expected)
        rig.queue.endCheckpoint()
        #expect(rig.queue.takeDirty().upserts.map(\.key) == [MailQueue.key(new)])
    }

    @Test func `a notice that a release brings is of the next checkpoint`() {
        let rig = Rig { $0.delayNotice = .seconds(500) }
        let a = rig.open("a")
        let tag = rig.enqueue(a)
        rig.wait(.seconds(600))
        rig.send(a, .suspend(destination: "there.example", reply: Rig.busy))
        let expected = rig.hash()
        rig.queue.beginCheckpoint()
        rig.send(a, .release(deliveries: [id(tag)], reports: []))
        #expect(rig.reports(tag).count == 1)
        var batch = RowBatch()
        #expect(rig.queue.encodeCheckpoint(rows: 9, bytesMax: 1 << 20, into: &batch))
        #expect(rig.queue.sealCheckpoint().stateHash == expected)
    }

    @Test func `a slice ends with its rows, and with its bytes`() {
        let rig = Rig()
        let a = rig.open("a")
        for _ in 0..<10 { _ = rig.enqueue(a) }
        rig.queue.beginCheckpoint()
        var batch = RowBatch()
        #expect(!rig.queue.encodeCheckpoint(rows: 4, bytesMax: 1 << 20, into: &batch))
        #expect(batch.count == 4)
        let row = batch.byteCount / 4
        // Exactly two rows; one byte more begins the third.
        batch = RowBatch()
        #expect(!rig.queue.encodeCheckpoint(rows: 9, bytesMax: 2 * row, into: &batch))
        #expect(batch.count == 2)
        batch = RowBatch()
        #expect(!rig.queue.encodeCheckpoint(rows: 9, bytesMax: 2 * row + 1, into: &batch))
        #expect(batch.count == 3)
        batch = RowBatch()
        #expect(rig.queue.encodeCheckpoint(rows: 1, bytesMax: 1 << 20, into: &batch))
        #expect(batch.count == 1)
    }

    @Test func `deletions are sliced too`() {
        let rig = Rig()
        let a = rig.open("a")
        let tags = (0..<5).map { _ in rig.enqueue(a) }
        _ = rig.queue.takeDirty()
        for tag in tags { rig.settle(a, tag, .delivered) }
        rig.queue.beginCheckpoint()
        var delta = CheckpointDelta()
        for _ in 0..<3 {
            var batch = RowBatch()
            _ = rig.queue.encodeCheckpoint(rows: 2, bytesMax: 1 << 20, into: &batch)
            delta.add(batch)
        }
        #expect(delta.slices == [2, 2, 1])
        #expect(delta.deletes == tags.map(MailQueue.key))
    }
}
