import Primitives
import SMTP
import Spool
import Testing

@testable import MailQueue

@Suite("Checkpoints (7)")
struct CheckpointTests {
    @Test func `what is born and finished between two checkpoints never appears`() {
        let rig = Rig()
        let a = rig.open("a")
        _ = rig.queue.takeDirty()
        let tag = rig.enqueue(a)
        rig.settle(a, tag, .delivered)
        let stays = rig.enqueue(a)
        let delta = rig.queue.takeDirty()
        #expect(delta.upserts.map(\.key) == [MailQueue.key(stays)])
        #expect(delta.deletes.isEmpty)
        #expect(delta.applied == rig.index)
        rig.settle(a, stays, .delivered)
        let next = rig.queue.takeDirty()
        #expect(next.upserts.isEmpty)
        #expect(next.deletes == [MailQueue.key(stays)])
        #expect(rig.queue.takeDirty().deletes.isEmpty)
    }

    @Test func `an entry without a command counts for the index of a checkpoint`() throws {
        let rig = Rig()
        let a = rig.open("a")
        let tag = rig.enqueue(a)
        rig.index += 1
        rig.queue.pass(rig.index)
        let delta = rig.queue.takeDirty()
        #expect(delta.applied == rig.index && delta.upserts.map(\.key) == [MailQueue.key(tag)])
        var store = Store()
        store.take(delta)
        let restored = try store.restore()
        #expect(restored.applied == rig.index)
    }

    @Test func `a slot that is used again gives the new message's row`() {
        let rig = Rig()
        let a = rig.open("a")
        let first = rig.enqueue(a)
        var store = Store()
        store.take(rig.queue.takeDirty())
        rig.settle(a, first, .delivered)
        let second = rig.enqueue(a)
        store.take(rig.queue.takeDirty())
        #expect(Array(store.rows.keys) == [MailQueue.key(second)])
    }

    @Test func `a restored queue has the state, the results and the leases`() throws {
        let rig = Rig()
        let a = rig.open("a")
        let resent = Command(rig.origin(a), .enqueue(Rig.message()))
        rig.apply(resent)
        let tag = rig.enqueue(a, to: ["b@x.example", "c@y.example", "d@x.example"])
        rig.settle(a, tag, .failed, recipients: [0])
        rig.settle(a, tag, .deferred, delivery: 1, recipients: [1])
        rig.send(a, .suspend(destination: "z.example", reply: Rig.busy))
        var store = Store()
        store.take(rig.queue.takeDirty())
        var queue = try store.restore()
        #expect(queue.audit() == nil)
        #expect(queue.stateHash() == store.stateHash)
        #expect(rig.hash() == store.stateHash)
        let same = queue.view(tag) == rig.queue.view(tag)
        #expect(same)
        #expect(queue.leases(of: a) == rig.queue.leases(of: a))
        #expect(queue.reportLeases(of: a) == [ReportID(message: tag, number: 0)])
        var effects: [Effect] = []
        let result = queue.apply(
            resent, index: rig.index + 1, stamp: rig.time, effects: &effects)
        #expect(result == .enqueued(recipients: 1))
        #expect(effects.isEmpty)
        let clean = queue.takeDirty()
        #expect(clean.upserts.isEmpty && clean.deletes.isEmpty)
    }

    @Test func `missing, doubled and changed rows are found`() throws {
        let rig = Rig()
        let a = rig.open("a")
        for _ in 0..<3 { _ = rig.enqueue(a) }
        var store = Store()
        store.take(rig.queue.takeDirty())
        var dice = Generator(seed: 3)
        let keys = store.rows.keys.sorted { $0.lexicographicallyPrecedes($1) }
        for _ in 0..<2000 {
            var broken = store
            let key = keys[dice.below(3)]
            let place = dice.below(broken.rows[key]!.count)
            broken.rows[key]![place] ^= UInt8(1 + dice.below(255))
            #expect(throws: CodecError.self) { _ = try broken.restore().applied }
        }
        var missing = store
        missing.rows[keys[0]] = nil
        #expect(throws: CodecError.outOfRange("rows")) { _ = try missing.restore().applied }
        for cut in store.meta.indices {
            var short = store
            short.meta = Array(store.meta[..<cut])
            #expect(throws: CodecError.self) { _ = try short.restore().applied }
        }
    }
}
