// FoundingFileTests.swift - the founding record on disk: kept once, whole or not at all.

import Foundation
import Glibc
import Primitives
import Raft
import Testing

@testable import Storage

@Suite("Founding record on disk")
struct FoundingFileTests {
    private let record = FoundingRecord(
        cluster: ClusterID(raw: 99),
        members: [
            FoundingRecord.Member(name: "a", incarnation: Incarnation(raw: 7)),
            FoundingRecord.Member(name: "b", incarnation: Incarnation(raw: 3)),
            FoundingRecord.Member(name: "c", incarnation: Incarnation(raw: 5)),
        ])

    /// A start of a node of several seeds.
    private func open(
        _ directory: TemporaryDirectory, cluster: UInt64 = 0, incarnation: UInt64 = 7,
        files: any FileSystem = DiskFiles()
    ) throws(StorageError) -> (Storage, Recovery) {
        try Storage.open(
            directory: directory.path + "/data", node: "a",
            incarnation: Incarnation(raw: incarnation), cluster: ClusterID(raw: cluster),
            options: smallOptions(), files: files)
    }

    @Test func `a directory has no cluster until it keeps a founding, and that one for ever`()
        throws
    {
        let directory = TemporaryDirectory()
        let (first, made) = try self.open(directory)
        #expect(made.identity.cluster == ClusterID(raw: 0))
        #expect(made.founding == nil)
        try first.keepFounding(self.record)
        try first.keepFounding(self.record)
        first.close()
        for boot in 2...3 {
            let (next, found) = try self.open(directory, cluster: 4)
            #expect(found.founding == self.record)
            #expect(found.identity.cluster == ClusterID(raw: 99))
            #expect(found.identity.boot == UInt64(boot))
            try next.keepFounding(self.record)
            next.close()
        }
        #expect(
            self.record.configuration
                == Configuration(voters: [3, 5, 7].map { Incarnation(raw: $0) }))
    }

    @Test func `no changed byte and no cut goes unnoticed, and none means that there is none`()
        throws
    {
        let directory = TemporaryDirectory()
        let (storage, _) = try self.open(directory)
        try storage.keepFounding(self.record)
        storage.close()
        let path = directory.path + "/data/founding"
        let whole = try #require(FileManager.default.contents(atPath: path))
        let file = FoundingFile(directory: directory.path + "/data", files: DiskFiles())
        for i in whole.indices {
            var changed = whole
            changed[i] ^= 0x10
            try changed.write(to: URL(fileURLWithPath: path))
            #expect(throws: StorageError.foundingDamaged(file: path)) { _ = try file.read() }
            try whole.prefix(i).write(to: URL(fileURLWithPath: path))
            #expect(throws: StorageError.foundingDamaged(file: path)) { _ = try file.read() }
        }
        try Data(count: (64 << 10) + 1).write(to: URL(fileURLWithPath: path))
        #expect(throws: StorageError.foundingDamaged(file: path)) {
            _ = try self.open(directory)
        }
        try whole.write(to: URL(fileURLWithPath: path))
        let (again, found) = try self.open(directory)
        #expect(found.founding == self.record)
        again.close()
    }

    @Test func `a founding of a later format is not taken for damage`() throws {
        let directory = TemporaryDirectory()
        let (storage, _) = try self.open(directory)
        try storage.keepFounding(self.record)
        storage.close()
        let path = directory.path + "/data/founding"
        var bytes = [UInt8](try #require(FileManager.default.contents(atPath: path)).dropLast(4))
        bytes[8] = 2
        var writer = ByteWriter()
        writer.u32(CRC32C.checksum(bytes))
        try Data(bytes + writer.bytes).write(to: URL(fileURLWithPath: path))
        #expect(throws: StorageError.unknownFormat(file: path)) { _ = try self.open(directory) }
    }

    @Test func `a log without a cluster is refused, and so is a founding of another one`() throws {
        let directory = TemporaryDirectory()
        let rig = try Rig(directory)  // a cluster of one: its identity has the id 9
        rig.close()
        let path = directory.path + "/data/founding"
        let file = FoundingFile(directory: directory.path + "/data", files: DiskFiles())
        try file.write(self.record)
        #expect(throws: StorageError.foundingDamaged(file: path)) { _ = try Rig(directory) }

        let other = TemporaryDirectory()
        let (storage, _) = try self.open(other)
        try storage.keepFounding(self.record)
        let told = Told()
        storage.start(told.events)
        let position = storage.append([Entry(term: 1, index: 1, data: [1])])
        #expect(told.until { $0.durable >= position })
        storage.close()
        let lost = other.path + "/data/founding"
        try FileManager.default.removeItem(atPath: lost)
        #expect(throws: StorageError.foundingDamaged(file: lost)) { _ = try self.open(other) }
    }

    @Test func `a founding without an identity is refused`() throws {
        let directory = TemporaryDirectory()
        let (storage, _) = try self.open(directory)
        try storage.keepFounding(self.record)
        storage.close()
        let path = directory.path + "/data/identity"
        try FileManager.default.removeItem(atPath: path)
        #expect(throws: StorageError.identityDamaged(file: path)) { _ = try self.open(directory) }
    }

    @Test func `on a full disk the reserve is given up for it, and then it is an answer`() throws {
        let directory = TemporaryDirectory()
        let files = FaultyFiles()
        let (storage, _) = try self.open(directory, files: files)
        #expect(storage.core.pool.reserveBytes > 0)
        files.plan = FaultyFiles.Plan(call: .write, nth: files.count(.write) + 1, errno: ENOSPC)
        try storage.keepFounding(self.record)
        #expect(storage.core.pool.reserveBytes == 0)
        storage.close()

        let second = TemporaryDirectory()
        let full = FaultyFiles()
        let (other, _) = try self.open(second, files: full)
        while try other.core.pool.releaseReserve() {}
        full.plan = FaultyFiles.Plan(call: .write, nth: full.count(.write) + 1, errno: ENOSPC)
        let refusal = #expect(throws: StorageError.self) { try other.keepFounding(self.record) }
        guard case .full? = refusal else {
            Issue.record("\(String(describing: refusal))")
            return
        }
        // Space again: it goes on.
        try other.keepFounding(self.record)
        other.close()
        let (last, found) = try self.open(second)
        #expect(found.founding == self.record)
        last.close()
    }

    /// 1 It returns: the record is there, whatever the crash. 2 It throws: it is there or it is
    /// not, and never damaged. 3 The failure is final.
    @Test(arguments: [Call.open, .write, .sync, .rename, .syncDirectory])
    func `the Nth call fails, and the record is whole or not there`(call: Call) throws {
        var dice = Generator(seed: 3)
        var failures = 0
        for nth in 1...4 {
            for mode in CrashMode.allCases {
                let directory = TemporaryDirectory()
                let files = FaultyFiles()
                let (storage, _) = try self.open(directory, files: files)
                files.plan = FaultyFiles.Plan(
                    call: call, nth: files.count(call) + nth, errno: EIO, torn: nth % 2 == 0)
                var isKept = false
                do {
                    try storage.keepFounding(self.record)
                    isKept = true
                } catch {
                    #expect(files.hasFailed)
                    #expect(throws: StorageError.closed) {
                        try storage.keepFounding(self.record)
                    }
                    failures += 1
                }
                files.die()
                storage.close()
                try files.crash(mode, &dice)
                let (next, found) = try self.open(directory)
                if isKept { #expect(found.founding == self.record) }
                #expect(found.founding == nil || found.founding == self.record)
                next.close()
            }
        }
        #expect(failures >= 3)
    }

    @Test func `a failed sync is told as the storage's one fault`() throws {
        let files = FaultyFiles()
        let directory = TemporaryDirectory()
        let (storage, _) = try self.open(directory, files: files)
        let told = Told()
        storage.start(told.events)
        // From now on, whoever syncs next: the keeper may be at its spare files.
        files.plan = FaultyFiles.Plan(call: .syncDirectory, nth: 1, errno: EIO, onwards: true)
        #expect(throws: StorageError.self) { try storage.keepFounding(self.record) }
        #expect(told.until { $0.faults == 1 })
        storage.close()
    }
}
