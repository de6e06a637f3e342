// DamageTests.swift - torn tails are dropped, damage to what was synced is never taken for one.

import Foundation
import Primitives
import Raft
import Spool
import Testing

@testable import Storage

@Suite("Restart with damage")
struct DamageTests {
    /// A journal of three batches, each synced before the next; gives the bytes of its segment.
    private func journal() throws -> (TemporaryDirectory, path: String, bytes: [UInt8], [Int]) {
        let rig = try Rig()
        var ends: [Int] = []
        let path = rig.directory.path + "/data/journal/00000001.seg"
        for i in 1...3 {
            rig.body(i, 100)
            #expect(rig.durable(rig.entry(i)))
            ends.append(rig.storage.statistics().writtenBytes.asInt)
        }
        rig.close()
        let bytes = [UInt8](try #require(FileManager.default.contents(atPath: path)))
        return (rig.directory, path, bytes, ends)
    }

    private func put(_ bytes: [UInt8], _ path: String, in directory: TemporaryDirectory) throws {
        let handle = try #require(FileHandle(forWritingAtPath: path))
        try handle.write(contentsOf: Data(bytes))
        try handle.close()
    }

    /// A start on a copy whose first segment was changed by `change`.
    private func start(
        _ directory: TemporaryDirectory, _ bytes: [UInt8], _ change: (inout [UInt8]) -> Void
    ) throws -> Rig {
        let copy = try directory.copy()
        var changed = bytes
        change(&changed)
        try self.put(changed, copy.path + "/data/journal/00000001.seg", in: copy)
        return try Rig(copy)
    }

    @Test func `a tail torn at any byte costs only what was not known to be synced`() throws {
        let (directory, _, bytes, ends) = try self.journal()
        for cut in stride(from: ends[1], to: ends[2] - 8, by: 11) {
            let rig = try self.start(directory, bytes) { b in
                for i in cut..<b.count { b[i] = 0 }
            }
            // The third batch is the last: entries one and two are known to be synced.
            let found = rig.recovery.log.entries.map(\.index)
            #expect(found == [1, 2], "cut at \(cut)")
            rig.expectBody(1, 100)
            rig.expectBody(2, 100)
            rig.close()
            // What was kept is as good as new: a second start finds the same and no damage.
            let again = try Rig(rig.directory)
            #expect(again.recovery.log.entries.map(\.index) == [1, 2])
            #expect(!again.recovery.damage.contains { $0.kind != .tornTail })
            again.expectBody(2, 100)
        }
    }

    @Test func `a changed byte in the last batch is a torn tail`() throws {
        let (directory, _, bytes, ends) = try self.journal()
        var kept = 0
        for i in stride(from: ends[1], to: ends[2], by: 9) {
            let rig = try self.start(directory, bytes) { $0[i] ^= 0x04 }
            let found = rig.recovery.log.entries.map(\.index)
            #expect(found == [1, 2] || found == [1, 2, 3], "byte \(i)")
            if found.count == 3 {
                kept += 1
                rig.expectBody(3, 100)
            }
        }
        // Padding, and nothing else, is not covered by a checksum.
        #expect(kept < 3)
    }

    @Test func `a changed byte in what was synced is refused or costs one copy, and is said`()
        throws
    {
        let (directory, _, bytes, ends) = try self.journal()
        var refused = 0
        var copies = 0
        for i in stride(from: 0, to: ends[1], by: 13) {
            do {
                let rig = try self.start(directory, bytes) { $0[i] ^= 0x40 }
                #expect(rig.recovery.log.entries.map(\.index) == [1, 2, 3], "byte \(i)")
                for n in 1...3 {
                    switch rig.read(tag(n)) {
                    case .success(let body): #expect(body.content == content(n, 100), "byte \(i)")
                    case .failure(let error):
                        #expect(error == .damaged, "byte \(i)")
                        #expect(!rig.recovery.damage.isEmpty)
                        copies += 1
                    }
                }
            } catch let error as StorageError {
                guard case .quarantined = error else {
                    Issue.record("byte \(i): \(error)")
                    continue
                }
                refused += 1
            }
        }
        #expect(refused > 0 && copies > 0)
    }

    @Test func `a lost header is made good by what the next batch says of the records`() throws {
        let (directory, _, bytes, ends) = try self.journal()
        let rig = try self.start(directory, bytes) { $0[ends[0] + 20] ^= 1 }
        #expect(rig.recovery.log.entries.map(\.index) == [1, 2, 3])
        #expect(rig.recovery.damage.map(\.kind) == [.batchHeader])
        rig.expectBody(2, 100)
    }

    @Test func `a damaged body is damaged, not absent, and stays so`() throws {
        let (directory, _, bytes, ends) = try self.journal()
        // The body is the first record of the second batch: its header, then 80 bytes of name.
        let place = ends[0] + BatchHeader.bytes + RecordFormat.headerBytes + BodyHeader.bytes + 2
        let rig = try self.start(directory, bytes) { $0[place] ^= 1 }
        #expect(rig.recovery.damage.map(\.kind) == [.body(tag(2))])
        #expect(rig.read(tag(2)) == .failure(.damaged))
        #expect(rig.read(tag(9)) == .failure(.absent))
        rig.close()
        let again = try Rig(rig.directory)
        #expect(again.read(tag(2)) == .failure(.damaged))
    }

    @Test func `after damage to unknown bodies nothing is absent any more`() throws {
        let (directory, _, bytes, ends) = try self.journal()
        let place = ends[0] + BatchHeader.bytes + RecordFormat.headerBytes + 10
        let rig = try self.start(directory, bytes) { $0[place] ^= 1 }
        #expect(rig.recovery.damage.map(\.kind) == [.unknownBodies])
        #expect(rig.read(tag(2)) == .failure(.damaged))
        #expect(rig.read(tag(9)) == .failure(.damaged))
        rig.expectBody(1, 100)
    }

    @Test func `bytes of an earlier use of the file are never taken for this one's`() throws {
        let (directory, _, bytes, ends) = try self.journal()
        // The next segment's file holds the whole of this one's bytes, as after a reuse.
        let copy = try directory.copy()
        try Data(bytes).write(
            to: URL(fileURLWithPath: copy.path + "/data/journal/00000002.seg"))
        let rig = try Rig(copy)
        #expect(rig.recovery.log.entries.map(\.index) == [1, 2, 3])
        #expect(rig.recovery.bodies == 3)
        #expect(ends.count == 3)
    }
}

extension UInt64 {
    var asInt: Int { Int(self) }
}
