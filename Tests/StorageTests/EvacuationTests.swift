// EvacuationTests.swift - what is not provably garbage is copied forward, the rest gives its space.

import Foundation
import Primitives
import Raft
import Spool
import Testing

@testable import Storage

@Suite("Evacuation")
struct EvacuationTests {
    /// Fills about ten segments with bodies 1 ... 100 of 6,000 bytes and one entry each.
    private func fill(_ rig: Rig, _ numbers: ClosedRange<Int> = 1...100) {
        for i in numbers {
            _ = i % 10 == 0 ? rig.streamed(i * 2 + 1, 6000) : rig.body(i * 2 + 1, 6000)
            #expect(rig.durable(rig.entry(i)))
        }
    }

    private func settled(_ rig: Rig) -> Bool {
        rig.told.until { _ in rig.storage.statistics().segments <= 3 }
    }

    @Test func `no segment goes before the checkpoint, which is asked for`() throws {
        let rig = try Rig()
        self.fill(rig)
        #expect(rig.told.until { $0.wanted > 0 })
        #expect(rig.storage.statistics().segments > 8)
        #expect(rig.told.monitor.withLock { $0.asked.isEmpty })
        let wanted = Int(rig.told.monitor.withLock { $0.wanted })
        rig.told.change { $0.live = 100 }
        #expect(rig.checkpoint([], index: wanted) == nil)
        #expect(rig.told.until { !$0.asked.isEmpty })
        #expect(rig.checkpoint([], index: 100) == nil)
        #expect(self.settled(rig))
    }

    @Test func `live bodies are copied, garbage goes, across restarts`() throws {
        let rig = try Rig()
        rig.told.change { s in
            s.garbage = Set((1...100).filter { $0 % 3 == 0 }.map { tag($0 * 2 + 1) })
            s.live = 67
        }
        self.fill(rig)
        #expect(rig.checkpoint([], index: 100) == nil)
        #expect(self.settled(rig))
        #expect(rig.storage.statistics().oldFiles > 1)
        func check(_ rig: Rig, upTo: Int) {
            for i in 1...upTo {
                if i % 3 != 0 {
                    rig.expectBody(i * 2 + 1, 6000)
                } else if i < 60 {
                    #expect(rig.read(tag(i * 2 + 1)) == .failure(.absent))
                }
            }
        }
        check(rig, upTo: 100)
        rig.close()
        for _ in 0..<2 {
            let next = try Rig(rig.directory, start: false)
            next.storage.start(next.told.events)
            next.told.change { $0.live = 100 }
            #expect(next.recovery.damage.isEmpty)
            check(next, upTo: 100)
            next.close()
        }
    }

    @Test func `a start without sidecars reads the old files themselves`() throws {
        let rig = try Rig()
        rig.told.change { $0.live = 100 }
        self.fill(rig)
        #expect(rig.checkpoint([], index: 100) == nil)
        #expect(self.settled(rig))
        rig.close()
        let bodies = rig.directory.path + "/data/bodies/"
        for name in try FileManager.default.contentsOfDirectory(atPath: bodies)
        where name.hasSuffix(".idx") {
            try Data([1, 2, 3]).write(to: URL(fileURLWithPath: bodies + name))
        }
        let next = try Rig(rig.directory)
        next.told.change { $0.live = 100 }
        for i in 1...100 { next.expectBody(i * 2 + 1, 6000) }
    }

    @Test func `disk use returns to its base line when all has ended`() throws {
        let rig = try Rig()
        rig.told.change { $0.live = 100 }
        self.fill(rig)
        #expect(rig.checkpoint([], index: 100) == nil)
        #expect(self.settled(rig))
        #expect(rig.storage.statistics().oldBytes > 0)
        rig.told.change { s in
            s.live = 0
            s.garbage = Set((1...200).map { tag($0 * 2 + 1) })
        }
        for i in 1...100 { rig.storage.hintEnded(tag(i * 2 + 1)) }
        // Younger segments push the last ones out.
        self.fill(rig, 101...140)
        for i in 101...140 { rig.storage.hintEnded(tag(i * 2 + 1)) }
        #expect(rig.checkpoint([], index: 140) == nil)
        #expect(
            rig.told.until { _ in
                rig.storage.statistics().oldFiles == 0 && rig.storage.statistics().segments <= 3
            })
        rig.close()
        let names = try FileManager.default.contentsOfDirectory(
            atPath: rig.directory.path + "/data/bodies")
        #expect(names.isEmpty)
    }

    @Test func `a file that is less than half alive is copied forward and goes`() throws {
        let rig = try Rig()
        rig.told.change { $0.live = 100 }
        self.fill(rig)
        #expect(rig.checkpoint([], index: 100) == nil)
        #expect(self.settled(rig))
        let before = rig.storage.statistics().oldBytes
        let ended = (1...100).filter { $0 % 4 != 0 }
        rig.told.change { s in
            s.live = 25
            s.garbage = Set(ended.map { tag($0 * 2 + 1) })
        }
        for i in ended { rig.storage.hintEnded(tag(i * 2 + 1)) }
        #expect(rig.told.until { _ in rig.storage.statistics().oldBytes < before / 2 })
        for i in 1...100 where i % 4 == 0 { rig.expectBody(i * 2 + 1, 6000) }
        rig.close()
        let next = try Rig(rig.directory)
        next.told.change { $0.live = 25 }
        for i in 1...100 where i % 4 == 0 { next.expectBody(i * 2 + 1, 6000) }
    }

    @Test func `a pass that does not fit the queue's count stops with an alarm`() throws {
        let rig = try Rig()
        rig.told.change { s in
            // The answers say that all is garbage, the count says that nearly all is live.
            s.garbage = Set((1...100).map { tag($0 * 2 + 1) })
            s.live = 95
        }
        self.fill(rig)
        #expect(rig.checkpoint([], index: 100) == nil)
        #expect(rig.told.until { !$0.alarms.isEmpty })
        // At least four fifths of what is live stay, over all passes.
        let left = rig.storage.statistics().bodies
        #expect(left >= 76 && left < 100)
        rig.expectBody(201, 6000)
        rig.told.change { $0.live = 0 }
        #expect(self.settled(rig))
    }

    @Test func `notes are carried forward until they are resolved`() throws {
        let rig = try Rig()
        rig.told.change { s in
            s.live = 100
            s.garbage = [tag(1001)]
        }
        rig.storage.appendNote(tag(1000), [1])
        rig.storage.appendNote(tag(1001), [2])
        self.fill(rig)
        #expect(rig.checkpoint([], index: 100) == nil)
        #expect(self.settled(rig))
        rig.close()
        let next = try Rig(rig.directory)
        #expect(next.recovery.notes == [OutcomeNote(tag: tag(1000), bytes: [1])])
    }

    @Test func `a body whose chunks lie in many segments survives them all`() throws {
        let rig = try Rig()
        rig.told.change { $0.live = 101 }
        let stream = rig.storage.openStream()
        let whole = content(7777, 80_000)
        var number = 0
        for i in 1...60 {
            if i % 3 == 0 {
                let part = Array(whole[number * 4000..<(number + 1) * 4000])
                rig.storage.appendChunk(stream, blocks: blocks(part).bytes)
                number += 1
            }
            rig.body(i * 2 + 1, 6000)
            #expect(rig.durable(rig.entry(i)))
            if i % 10 == 0 { #expect(rig.checkpoint([], index: i) == nil) }
        }
        #expect(number == 20)
        let position = rig.storage.endStream(
            stream, tag: tag(7777), head: Array("head 7777\r\n".utf8), blockCount: number,
            contentBytes: 80_000, digest: digest(7777))
        #expect(rig.durable(position))
        rig.expectBody(7777, 80_000)
        self.fill(rig, 61...100)
        #expect(rig.checkpoint([], index: 100) == nil)
        #expect(self.settled(rig))
        rig.expectBody(7777, 80_000)
        rig.close()
        let next = try Rig(rig.directory)
        next.told.change { $0.live = 101 }
        next.expectBody(7777, 80_000)
    }

    @Test func `a damaged chunk of a stream that still arrives keeps no file alive`() throws {
        let rig = try Rig()
        rig.told.change { $0.live = 100 }
        let stream = rig.storage.openStream()
        // Does not compress: its bytes can be found on the disk.
        let part = content(7777, 4000)
        rig.storage.appendChunk(stream, blocks: blocks(part).bytes)
        self.fill(rig)
        #expect(rig.checkpoint([], index: 100) == nil)
        #expect(self.settled(rig))
        let files = rig.storage.statistics().oldFiles
        #expect(files > 1)
        #expect(try self.damage(Data(part[..<64]), below: rig.directory.path + "/data/bodies"))
        rig.told.change { s in
            s.live = 0
            s.garbage = Set((1...200).map { tag($0 * 2 + 1) })
        }
        for i in 1...100 { rig.storage.hintEnded(tag(i * 2 + 1)) }
        self.fill(rig, 101...140)
        for i in 101...140 { rig.storage.hintEnded(tag(i * 2 + 1)) }
        #expect(rig.checkpoint([], index: 140) == nil)
        // The keeper found it, said so, and went on: nothing is left to look at.
        #expect(rig.told.until { !$0.alarms.isEmpty && rig.storage.statistics().oldFiles == 0 })
        let position = rig.storage.endStream(
            stream, tag: tag(7777), head: [], blockCount: 1, contentBytes: 4000,
            digest: digest(7777))
        #expect(rig.durable(position))
        #expect(rig.read(tag(7777)) == .failure(.damaged))
    }

    /// Changes a byte behind `bytes` in the file where they stand.
    private func damage(_ bytes: Data, below folder: String) throws -> Bool {
        for name in try FileManager.default.contentsOfDirectory(atPath: folder)
        where name.hasSuffix(".seg") {
            let url = URL(fileURLWithPath: folder + "/" + name)
            guard let range = try Data(contentsOf: url).range(of: bytes) else { continue }
            let handle = try FileHandle(forUpdating: url)
            try handle.seek(toOffset: UInt64(range.upperBound))
            try handle.write(contentsOf: Data([bytes[0] ^ 0xFF, bytes[1] ^ 0xFF]))
            try handle.close()
            return true
        }
        return false
    }

    @Test func `hard state outlives the segments that it stood in`() throws {
        let rig = try Rig()
        rig.told.change { $0.live = 0 }
        rig.told.change { s in s.garbage = Set((1...100).map { tag($0 * 2 + 1) }) }
        rig.storage.append([], HardState(term: 9, vote: Incarnation(raw: 3), commit: 0))
        self.fill(rig)
        #expect(rig.checkpoint([], index: 100) == nil)
        #expect(self.settled(rig))
        rig.close()
        let next = try Rig(rig.directory)
        #expect(next.recovery.log.hardState.term == 9 && next.recovery.log.hardState.vote.raw == 3)
        #expect(next.recovery.log.entries.isEmpty)
        #expect(next.recovery.checkpoint?.appliedIndex == 100)
    }
}
