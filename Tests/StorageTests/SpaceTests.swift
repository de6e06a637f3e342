// SpaceTests.swift - checkpoints, pressure, and a disk without a free block.

import Foundation
import Primitives
import Raft
import Spool
import Testing

@testable import Storage

@Suite("Checkpoints")
struct CheckpointTests {
    private func rows(_ rig: Rig) throws -> [[UInt8]: [UInt8]] {
        var found: [[UInt8]: [UInt8]] = [:]
        try rig.recovery.forEachRow { key, row in found[Array(key)] = Array(row) }
        return found
    }

    @Test func `changed rows are saved, deleted ones are gone, meta comes back`() throws {
        let rig = try Rig()
        #expect(try self.rows(rig).isEmpty)
        for i in 1...6 { rig.entry(i) }
        #expect(rig.durable(rig.entry(7)))
        let first = [
            RowChange(key: [1], row: [10]), RowChange(key: [2], row: []),
            RowChange(key: [3], row: [30]),
        ]
        #expect(rig.checkpoint(first, index: 3, meta: [5, 6]) == nil)
        let second = [RowChange(key: [3], row: nil), RowChange(key: [1], row: [11, 12])]
        #expect(rig.checkpoint(second, index: 5, meta: [7]) == nil)
        rig.close()
        let next = try Rig(rig.directory)
        #expect(
            next.recovery.checkpoint
                == CheckpointMeta(appliedIndex: 5, appliedTerm: 1, meta: [7]))
        #expect(try self.rows(next) == [[1]: [11, 12], [2]: []])
        #expect(next.recovery.log.entries.map(\.index) == [6, 7])
    }

    @Test func `a checkpoint in parts is one transaction: without its last part there is none`()
        throws
    {
        let rig = try Rig()
        for i in 1...3 { rig.entry(i) }
        #expect(rig.durable(rig.entry(4)))
        let first = CheckpointMeta(appliedIndex: 2, appliedTerm: 1, meta: [1])
        #expect(
            rig.part([RowChange(key: [1], row: [10]), RowChange(key: [2], row: [20])]) == .next)
        #expect(rig.part([RowChange(key: [2], row: nil), RowChange(key: [3], row: [])]) == .next)
        #expect(rig.part([], last: first) == .saved)
        #expect(rig.part([RowChange(key: [1], row: nil)]) == .next)
        rig.close()
        #expect(rig.part([]) == .failed(.closed))
        let next = try Rig(rig.directory)
        #expect(next.recovery.checkpoint == first)
        #expect(try self.rows(next) == [[1]: [10], [3]: []])
        #expect(next.recovery.log.entries.map(\.index) == [3, 4])
    }

    @Test func `a full disk takes the reserve, then is an answer; room makes the next one good`()
        throws
    {
        let rig = try Rig()
        let pool = rig.storage.core.pool
        #expect(rig.told.until { _ in pool.reserveBytes == smallOptions().reserveBytes })
        let file = CheckpointFile(directory: rig.directory.path)
        let connection = try file.open()
        let clerk = Clerk(file: file, connection: connection, pool: pool)
        let first = CheckpointMeta(appliedIndex: 1, appliedTerm: 1, meta: [1])
        #expect(clerk.take(RowBatch([RowChange(key: [1], row: [1])]), first) == .saved)
        // SQLite's own answer to a disk without room.
        try connection.run("PRAGMA max_page_count = 20")
        let big = RowBatch(
            (0..<100).map { RowChange(key: [2, $0], row: [UInt8](repeating: $0, count: 2000)) })
        var steps = 0
        var answer = clerk.take(RowBatch([RowChange(key: [1], row: nil)]), nil)
        while answer == .next || answer == .again {
            if answer == .again { steps += 1 }
            answer = clerk.take(big, nil)
        }
        guard case .failed(.full) = answer else {
            Issue.record("\(answer)")
            return
        }
        #expect(steps > 0)
        #expect(pool.reserveBytes == 0)
        // What stood stands.
        #expect(try connection.number("SELECT count(*) FROM row") == 1)
        #expect(try file.meta(connection) == first)
        try connection.run("PRAGMA max_page_count = 1000000")
        let second = CheckpointMeta(appliedIndex: 2, appliedTerm: 1, meta: [2])
        #expect(clerk.take(big, nil) == .next)
        #expect(clerk.take(RowBatch([RowChange(key: [1], row: nil)]), second) == .saved)
        #expect(try connection.number("SELECT count(*) FROM row") == 100)
    }

    @Test func `a damaged checkpoint is refused, not taken for an empty one`() throws {
        let rig = try Rig()
        #expect(rig.checkpoint([RowChange(key: [1], row: [1])], index: 0, meta: [1]) == nil)
        rig.close()
        let path = rig.directory.path + "/data/queue.1.sqlite"
        var bytes = try #require(FileManager.default.contents(atPath: path))
        for i in 0..<4096 { bytes[i] = 0xFF }
        try bytes.write(to: URL(fileURLWithPath: path))
        do {
            _ = try Rig(rig.directory)
            Issue.record("it started")
        } catch let error as StorageError {
            guard case .checkpointDamaged = error else {
                Issue.record("\(error)")
                return
            }
        }
    }
}

@Suite("Pressure and space")
struct SpaceTests {
    @Test func `readers stop at the limit of bytes in flight and go on below half`() throws {
        let rig = try Rig(start: false)
        let limit = smallOptions().inFlightBytesMax
        let stream = rig.storage.openStream()
        let block = blocks(content(3, 4000)).bytes
        var bytes = 0
        while rig.storage.appendChunk(stream, blocks: block) { bytes += block.count + 16 }
        bytes += block.count + 16
        #expect(bytes >= limit && bytes - block.count - 16 < limit)
        #expect(!rig.storage.mayTakeBytes)
        rig.storage.start(rig.told.events)
        #expect(rig.told.until { $0.relieved == 1 })
        #expect(rig.storage.mayTakeBytes)
    }

    @Test func `an entry is never durable before the body in front of it`() throws {
        for seed in 1...5 {
            let rig = try Rig(start: false)
            var dice = Generator(seed: UInt64(seed))
            let before = rig.storage.openStream()
            for _ in 0..<dice.below(9) {
                rig.storage.appendChunk(before, blocks: blocks(content(3, 4000)).bytes)
            }
            let end = rig.streamed(5, 5000 + dice.below(20_000))
            let entry = rig.entry(1)
            #expect(end < entry)
            rig.storage.start(rig.told.events)
            #expect(rig.durable(entry))
            rig.close()
            let next = try Rig(rig.directory)
            #expect(next.recovery.log.entries.count == 1 && next.recovery.damage.isEmpty)
            guard case .success = next.read(tag(5)) else {
                Issue.record("the body is not there")
                continue
            }
        }
    }

    @Test func `with no free block a node starts, takes entries and makes checkpoints`() throws {
        let directory = TemporaryDirectory()
        let first = try Rig(directory)
        // The spare files and the reserve are there.
        #expect(
            first.told.until { _ in
                first.storage.core.pool.spareCount == 2
                    && first.storage.core.pool.reserveBytes == smallOptions().reserveBytes
            })
        first.body(1, 2000)
        #expect(first.durable(first.entry(1)))
        first.close()
        let files = FaultyFiles()
        files.isFull = true
        files.free = 0
        var options = smallOptions()
        options.lowWaterBytes = 1
        let rig = try Rig(directory, options: options, files: files)
        #expect(rig.recovery.log.entries.count == 1)
        #expect(rig.told.until { ($0.levels.last ?? .normal) >= .low })
        rig.told.change { $0.live = 1 }
        // Far more entries than the spare files hold: checkpoints give the space back.
        for i in 2...400 {
            #expect(rig.durable(rig.entry(i, [UInt8](repeating: 1, count: 1000))))
            if i % 20 == 0 { #expect(rig.checkpoint([], index: i) == nil) }
        }
        rig.expectBody(1, 2000)
        #expect(rig.told.monitor.withLock { $0.fault } == nil)
        files.isFull = false
        files.free = nil
        #expect(rig.told.until { $0.levels.last == .normal })
    }

    @Test func `a segment may go only when the next one has the hard state, synced`() throws {
        var options = smallOptions()
        options.youngSegments = 1000
        let files = FaultyFiles()
        let rig = try Rig(options: options, files: files)
        let journal = rig.directory.path + "/data/journal"
        let core = rig.storage.core
        let seen = Monitor((segments: 0, first: 0, early: 0, unread: 0))
        files.beforeSync = {
            let names: [String]
            do {
                names = try FileManager.default.contentsOfDirectory(atPath: journal)
            } catch {
                return seen.withLock { $0.unread += 1 }
            }
            let segments = names.count { $0.hasSuffix(".seg") }
            let sealed = core.pool.sealedCount
            seen.withLock { s in
                // The first sync of a new segment: the one before it may not be sealed yet.
                if segments > s.segments, s.segments > 0 {
                    s.first += 1
                    if sealed > segments - 2 { s.early += 1 }
                }
                s.segments = segments
            }
        }
        for i in 1...300 { rig.durable(rig.entry(i, [UInt8](repeating: 1, count: 2000))) }
        files.beforeSync = nil
        let counts = seen.withLock { $0 }
        #expect(counts.first > 5 && counts.early == 0 && counts.unread == 0)
    }

    @Test func `after the end everybody is answered, and nothing is done`() throws {
        let rig = try Rig()
        rig.close()
        #expect(rig.checkpoint([RowChange(key: [1], row: [1])], index: 9) == .closed)
        #expect(rig.read(tag(1)) == .failure(.closed))
        let next = try Rig(rig.directory)
        #expect(next.recovery.checkpoint == nil)
    }

    @Test func `no space at all is a fault with a remedy`() throws {
        let files = FaultyFiles()
        let rig = try Rig(files: files)
        files.isFull = true
        var i = 0
        while rig.told.monitor.withLock({ $0.fault }) == nil, i < 2000 {
            i += 1
            rig.durable(rig.entry(i, [UInt8](repeating: 1, count: 1000)))
        }
        guard case .full(let path)? = rig.told.monitor.withLock({ $0.fault }) else {
            Issue.record("\(i) entries were taken")
            return
        }
        #expect(StorageError.full(path: path).remedy.contains("Free space"))
    }
}
