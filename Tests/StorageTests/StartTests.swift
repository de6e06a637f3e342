// StartTests.swift - first start, next start, and directories that are not ours.

import Foundation
import Primitives
import Raft
import Spool
import Testing

@testable import Storage

@Suite("Starts")
struct StartTests {
    @Test func `a first start makes an identity, the next one counts the boot number up`() throws {
        let rig = try Rig()
        #expect(rig.recovery.isNew)
        #expect(rig.recovery.identity.boot == 1)
        #expect(rig.recovery.identity.incarnation == Incarnation(raw: 7))
        #expect(rig.recovery.checkpoint == nil && rig.recovery.log.entries.isEmpty)
        rig.close()
        for boot in 2...5 {
            let next = try Rig(rig.directory)
            #expect(!next.recovery.isNew)
            #expect(next.recovery.identity.boot == UInt64(boot))
            #expect(next.recovery.damage.isEmpty)
            next.close()
        }
    }

    @Test func `a directory is used by one process and by one node`() throws {
        let rig = try Rig()
        #expect(throws: StorageError.locked(directory: rig.directory.path + "/data")) {
            _ = try Rig(rig.directory)
        }
        rig.close()
        #expect(throws: StorageError.otherNode(found: "a", expected: "b")) {
            _ = try Storage.open(
                directory: rig.directory.path + "/data", node: "b",
                incarnation: Incarnation(raw: 1),
                cluster: ClusterID(raw: 1), options: smallOptions())
        }
    }

    @Test func `data without an identity is refused, a torn identity is not`() throws {
        let rig = try Rig()
        rig.close()
        let path = rig.directory.path + "/data/identity"
        let second = try Rig(rig.directory)
        second.close()
        // The place of boot 2 is torn: boot 1 counts, and 2 is given again.
        var bytes = try #require(FileManager.default.contents(atPath: path))
        bytes[20] ^= 0xFF
        try bytes.write(to: URL(fileURLWithPath: path))
        let third = try Rig(rig.directory)
        #expect(third.recovery.identity.boot == 2)
        third.close()
        try FileManager.default.removeItem(atPath: path)
        #expect(throws: StorageError.identityDamaged(file: path)) { _ = try Rig(rig.directory) }
    }

    @Test func `what was durable is there after a start, in order`() throws {
        let rig = try Rig()
        rig.storage.append([], HardState(term: 5, vote: Incarnation(raw: 7), commit: 4))
        rig.body(1, 3000)
        rig.streamed(2, 30_000)
        rig.storage.appendNote(tag(50), [1, 2, 3])
        for i in 1...10 { rig.entry(i) }
        let last = rig.body(3, 0)
        #expect(rig.durable(last))
        rig.expectBody(1, 3000)
        rig.close()
        for _ in 0..<2 {
            let next = try Rig(rig.directory)
            let hardState = HardState(term: 5, vote: Incarnation(raw: 7), commit: 4)
            #expect(next.recovery.log.hardState == hardState)
            #expect(next.recovery.log.entries.map(\.index) == Array(1...10))
            #expect(next.recovery.log.entries.first?.data == Array("entry 1".utf8))
            #expect(next.recovery.notes == [OutcomeNote(tag: tag(50), bytes: [1, 2, 3])])
            #expect(next.recovery.bodies == 3)
            next.expectBody(1, 3000)
            next.expectBody(2, 30_000)
            next.expectBody(3, 0)
            #expect(next.read(tag(4)) == .failure(.absent))
            next.close()
        }
    }

    @Test func `an entry that comes again replaces what followed`() throws {
        let rig = try Rig()
        for i in 1...5 { rig.entry(i) }
        #expect(rig.durable(rig.storage.append([Entry(term: 2, index: 3, data: [9])])))
        rig.close()
        let next = try Rig(rig.directory)
        #expect(next.recovery.log.entries.map(\.index) == [1, 2, 3])
        #expect(next.recovery.log.entries.last?.term == 2)
    }

    @Test func `starting over and over needs no more space`() throws {
        let directory = TemporaryDirectory()
        for _ in 0..<12 { try Rig(directory, start: false).close() }
        let names = try FileManager.default.contentsOfDirectory(
            atPath: directory.path + "/data/journal")
        #expect(names.count <= 4)
    }

    @Test func `a body is read piece by piece`() throws {
        let rig = try Rig()
        #expect(rig.durable(rig.streamed(3, 20_000)))
        let box = Monitor<Result<(StoredBody, BodyCursor), BodyError>?>(nil)
        rig.storage.openBody(tag(3)) { result in
            box.withLock { $0 = result }
            box.signal()
        }
        let (body, cursor) = try #require(box.wait(timeout: .seconds(20)) { $0 }).get()
        #expect(body.head == Array("head 3\r\n".utf8) && body.content.isEmpty)
        var content: [UInt8] = []
        var pieces = 0
        while true {
            let piece = Monitor<Result<[UInt8], BodyError>?>(nil)
            rig.storage.readMore(cursor) { result in
                piece.withLock { $0 = result }
                piece.signal()
            }
            let bytes = try #require(piece.wait(timeout: .seconds(20)) { $0 }).get()
            if bytes.isEmpty { break }
            pieces += 1
            content += bytes
        }
        #expect(pieces == 5)
        #expect(content == StorageTests.content(3, 20_000))
    }
}

@Suite("Parts")
struct PartTests {
    @Test func `blocks come back, whether they shrink or not`() {
        for n in [2, 3] {
            for count in [0, 1, 11, 4096, 65_535, 65_536, 65_537, 200_000] {
                let (bytes, number) = blocks(content(n, count))
                var out: [UInt8] = []
                let read = bytes.withUnsafeBytes { BlockCodec.decode($0, into: &out) }
                #expect(read == number && out == content(n, count))
                if n == 3 { #expect(bytes.count == count + 12 * number) }
            }
        }
    }

    @Test func `no changed byte of a block goes unnoticed`() {
        let (bytes, _) = blocks(content(2, 500))
        for i in bytes.indices {
            var changed = bytes
            changed[i] ^= 0x20
            var out: [UInt8] = []
            #expect(changed.withUnsafeBytes { BlockCodec.decode($0, into: &out) } == nil)
        }
    }

    @Test(arguments: [UInt64(1), 2, 3])
    func `the index of bodies does what a dictionary does`(seed: UInt64) {
        var dice = Generator(seed: seed)
        var index = BodyIndex(capacity: 4)
        var model: [Tag: RecordExtent] = [:]
        for _ in 0..<20_000 {
            let tag = tag(dice.below(3000), session: UInt64(dice.below(2)))
            if dice.chance(permille: 600) {
                let extent = RecordExtent(
                    file: .segment(UInt64(1 + dice.below(9))), offset: UInt32(dice.below(99)),
                    length: 8)
                #expect(index.set(tag, extent) == model.updateValue(extent, forKey: tag))
            } else {
                #expect(index.remove(tag) == model.removeValue(forKey: tag))
            }
        }
        #expect(index.count == model.count)
        for (tag, extent) in model { #expect(index[tag] == extent) }
    }
}
