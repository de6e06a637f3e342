import Foundation
import Glibc
import Primitives
import Raft
import Spool
import Testing

@testable import Storage

@Suite("Snapshots")
struct SnapshotTests {
    private static let old = TestState(seed: 1, rows: 20, index: 5, term: 1)
    private static let new = TestState(seed: 2, rows: 100, index: 100, term: 2)

    /// Ten entries, of which a checkpoint has five.
    private func begin(_ rig: Rig) -> Bool {
        for i in 1...10 { rig.entry(i) }
        guard rig.durable(rig.storage.lastPosition) else { return false }
        return rig.checkpoint(Self.old.changes, index: 5, meta: Self.old.meta) == nil
    }

    private func append(_ rig: Rig, _ range: ClosedRange<UInt64>) -> UInt64 {
        rig.storage.append(range.map { Entry(term: 2, index: $0, data: [UInt8($0)]) })
    }

    @Test func `what is exported is installed elsewhere, and found by the next start`() throws {
        let snapshot = try TestSnapshot(Self.new)
        let rig = try Rig()
        #expect(self.begin(rig))
        let incoming = try rig.receive(snapshot)
        // Until it is installed all is as it was.
        #expect(try rig.stateFiles.contains("queue.1.sqlite"))
        #expect(rig.durable(try rig.install(incoming).get()))
        #expect(rig.durable(self.append(rig, 101...103)))
        // The next checkpoint goes into the new file.
        let key = Array("row 0".utf8)
        let change = RowChange(key: key, row: Array("changed".utf8))
        #expect(rig.checkpoint([change], index: 102, term: 2) == nil)
        #expect(rig.told.until { _ in (try? rig.stateFiles) == ["queue.2.sqlite"] })
        rig.close()
        let next = try Rig(rig.directory)
        let found = try #require(try TestState(next.recovery))
        var expected = Self.new
        expected.rows[key] = Array("changed".utf8)
        expected.index = 102
        #expect(found == expected)
        #expect(next.recovery.log.entries.map(\.index) == [103])
        #expect(next.recovery.log.base == LogPosition(term: 2, index: 102))
        #expect(rig.told.monitor.withLock { $0.fault } == nil)
    }

    @Test func `several read one export, and its file goes when it is released`() throws {
        let rig = try Rig()
        #expect(rig.export().error == .absent)
        #expect(self.begin(rig))
        let export = try rig.export().get()
        #expect(export.meta.appliedIndex == 5 && export.meta.meta == Self.old.meta)
        let whole = try rig.read(export, at: 0, bytes: 1 << 20).get()
        #expect(UInt64(whole.count) == export.byteCount)
        #expect(try rig.read(export, at: 100, bytes: 50).get() == Array(whole[100..<150]))
        #expect(rig.read(export, at: whole.count, bytes: 1).error == .absent)
        // A checkpoint made meanwhile does not change it.
        let change = RowChange(key: Array("row 0".utf8), row: nil)
        #expect(rig.checkpoint([change], index: 7) == nil)
        #expect(try rig.read(export, at: 0, bytes: 1 << 20).get() == whole)
        #expect(try rig.stateFiles.count == 2)
        rig.storage.releaseSnapshot(export)
        #expect(rig.read(export, at: 0, bytes: 1).error == .absent)
        #expect(try rig.stateFiles == ["queue.1.sqlite"])
    }

    @Test func `leftovers go with the next start, and only those`() throws {
        let rig = try Rig()
        #expect(self.begin(rig))
        _ = try rig.export().get()
        _ = try rig.begin(5000).get()
        let data = rig.directory.path + "/data"
        for name in ["queue.2.sqlite", "queue.2.sqlite-journal"] {
            FileManager.default.createFile(atPath: data + "/" + name, contents: Data([1]))
        }
        rig.close()
        let next = try Rig(rig.directory)
        #expect(try next.stateFiles == ["queue.1.sqlite"])
        #expect(!FileManager.default.fileExists(atPath: data + "/queue.2.sqlite-journal"))
        #expect(try TestState(next.recovery) == Self.old)
        // And the name can be used.
        let incoming = try next.receive(try TestSnapshot(Self.new))
        #expect(next.durable(try next.install(incoming).get()))
        next.close()
        #expect(try TestState(try Rig(rig.directory).recovery) == Self.new)
    }

    @Test func `a checkpoint that is missing is never taken for an empty one`() throws {
        let rig = try Rig()
        #expect(self.begin(rig))
        let incoming = try rig.receive(try TestSnapshot(Self.new))
        #expect(rig.durable(try rig.install(incoming).get()))
        rig.close()
        let data = rig.directory.path + "/data"
        try FileManager.default.removeItem(atPath: data + "/queue.2.sqlite")
        FileManager.default.createFile(atPath: data + "/queue.1.sqlite", contents: Data())
        #expect(throws: StorageError.self) { try Rig(rig.directory, start: false).close() }
    }

    @Test func `what is not what was sent is refused, and harms nothing`() throws {
        let snapshot = try TestSnapshot(Self.new)
        let rig = try Rig()
        #expect(self.begin(rig))
        // Another byte; too little; too much; no checkpoint.
        var other = snapshot
        other.bytes[other.bytes.count / 2] ^= 1
        let first = try rig.begin(other.bytes.count).get()
        _ = rig.write(first, other.bytes)
        #expect(rig.check(first, snapshot.digest).error == .damaged)
        let second = try rig.begin(snapshot.bytes.count).get()
        _ = rig.write(second, Array(snapshot.bytes.dropLast()))
        #expect(rig.check(second, snapshot.digest).error == .damaged)
        #expect(rig.write(second, [1, 2]).error == .damaged)
        let third = try rig.begin(8192).get()
        let noise = content(7, 8192)
        _ = rig.write(third, noise)
        let digest = TestDigest()
        noise.withUnsafeBytes { digest.update($0) }
        #expect(rig.check(third, digest.finish()).error == .damaged)
        #expect(rig.begin(0).error == .damaged)
        for snapshot in [first, second, third] { rig.storage.abandonSnapshot(snapshot) }
        _ = try rig.receive(snapshot)
        #expect(rig.told.monitor.withLock { $0.fault } == nil)
        rig.close()
        #expect(try TestState(try Rig(rig.directory).recovery) == Self.old)
    }

    @Test func `without room a snapshot is refused, and the node goes on`() throws {
        let snapshot = try TestSnapshot(Self.new)
        let files = FaultyFiles()
        let rig = try Rig(files: files)
        #expect(self.begin(rig))
        files.free = snapshot.bytes.count - 1
        #expect(rig.begin(snapshot.bytes.count).error == .full)
        files.free = 1
        #expect(rig.export().error == .full)
        // Told to be there, and not had.
        files.free = 1 << 30
        files.plan = FaultyFiles.Plan(
            call: .allocate, nth: files.count(.allocate) + 1, errno: ENOSPC)
        #expect(rig.begin(snapshot.bytes.count).error == .full)
        files.plan = FaultyFiles.Plan(call: .rename, nth: files.count(.rename) + 1, errno: ENOSPC)
        #expect(rig.export().error == .full)
        let incoming = try rig.receive(snapshot)
        files.plan = FaultyFiles.Plan(call: .rename, nth: files.count(.rename) + 1, errno: ENOSPC)
        #expect(rig.install(incoming).error == .full)
        rig.storage.abandonSnapshot(incoming)
        #expect(rig.durable(rig.entry(11)))
        #expect(rig.checkpoint([], index: 11) == nil)
        #expect(rig.told.monitor.withLock { $0.fault } == nil)
        #expect(try rig.stateFiles == ["queue.1.sqlite"])
    }

    // MARK: Faults.

    private struct Promised {
        var oldEntries = false
        var installed = false
        var newEntries: UInt64 = 100
    }

    private func script(_ rig: Rig, _ snapshot: TestSnapshot, _ promised: inout Promised) throws {
        guard self.begin(rig) else { return }
        promised.oldEntries = true
        _ = try rig.export().get()
        let incoming = try rig.receive(snapshot)
        // Written and not waited for: they stand in front of the log base, and are another log's.
        rig.storage.append(
            (11...110).map { Entry(term: 1, index: $0, data: [0]) })
        let position = try rig.install(incoming).get()
        let behind = self.append(rig, 101...104)
        guard rig.durable(position) else { return }
        promised.installed = true
        guard rig.durable(behind) else { return }
        promised.newEntries = 104
        guard rig.checkpoint([], index: 102, term: 2, meta: Self.new.meta) == nil else { return }
        // The journal rolls, and old segments go.
        for i in UInt64(105)...130 {
            rig.body(Int(i), 3000)
            guard rig.durable(self.append(rig, i...i)) else { return }
            promised.newEntries = i
        }
    }

    private func verify(
        _ directory: TemporaryDirectory, _ promised: Promised, _ note: String
    ) throws {
        let rig = try Rig(directory)
        let found = try TestState(rig.recovery)
        if let found, found.index >= 100 {
            #expect(found.rows == Self.new.rows, "\(note)")
            let last = rig.recovery.log.entries.last?.index ?? UInt64(found.index)
            #expect(last >= promised.newEntries, "\(note)")
            #expect(rig.recovery.log.entries.allSatisfy { $0.term == 2 }, "\(note)")
        } else {
            #expect(!promised.installed, "\(note): the old state after the new one was promised")
            if promised.oldEntries {
                #expect(found == Self.old, "\(note)")
                #expect(rig.recovery.log.entries.prefix(5).map(\.index) == [6, 7, 8, 9, 10])
            }
        }
        #expect(try rig.stateFiles.count == 1, "\(note)")
        #expect(rig.told.monitor.withLock { $0.fault } == nil, "\(note)")
    }

    @Test(arguments: [Call.write, .sync, .rename, .open, .allocate, .syncDirectory, .read])
    func `the Nth call fails, and a start finds the old state or the new one`(call: Call) throws {
        let snapshot = try TestSnapshot(Self.new)
        var dice = Generator(seed: 3)
        var n = 1
        var olds = 0
        while n < 400 {
            let mode = CrashMode.allCases[n % 3]
            let files = FaultyFiles(
                FaultyFiles.Plan(
                    call: call, nth: n, errno: n % 4 == 0 ? ENOSPC : EIO, torn: n % 4 < 2))
            let directory = TemporaryDirectory()
            var promised = Promised()
            do {
                let rig = try Rig(directory, files: files)
                do {
                    try self.script(rig, snapshot, &promised)
                } catch is SnapshotError {}
                files.die()
                rig.close()
            } catch is StorageError {}
            try files.crash(mode, &dice)
            try self.verify(directory, promised, "\(call) \(n) \(mode)")
            olds += promised.installed ? 0 : 1
            if !files.hasFailed { break }
            n += call == .write || call == .sync ? 2 : 1
        }
        #expect(n > 1 && n < 400)
        #expect(olds > 0)
    }

    @Test(arguments: CrashMode.allCases)
    func `power fails at each step, and a start that fails as well loses nothing`(
        mode: CrashMode
    ) throws {
        let snapshot = try TestSnapshot(Self.new)
        var dice = Generator(seed: 9)
        let calls: [Call] = [.write, .sync, .read, .open, .rename, .syncDirectory]
        for step in 0..<24 {
            let directory = TemporaryDirectory()
            let files = FaultyFiles()
            let rig = try Rig(directory, files: files)
            var promised = Promised()
            #expect(self.begin(rig))
            promised.oldEntries = true
            let incoming = try rig.receive(snapshot)
            if step % 4 > 0 {
                let position = try rig.install(incoming).get()
                if step % 4 > 1 { promised.installed = rig.durable(position) }
                if step % 4 > 2 {
                    if rig.durable(self.append(rig, 101...104)) { promised.newEntries = 104 }
                }
            }
            files.die()
            rig.close()
            try files.crash(mode, &dice)
            let second = FaultyFiles(
                FaultyFiles.Plan(call: calls[step % 6], nth: step / 6 + 1, errno: EIO))
            second.staysBroken = true
            do {
                try Rig(directory, files: second, start: false).close()
            } catch is StorageError {}
            try second.crash(mode, &dice)
            try self.verify(directory, promised, "step \(step) \(mode)")
        }
    }
}

extension Result where Failure: Equatable {
    fileprivate var error: Failure? {
        if case .failure(let error) = self { error } else { nil }
    }
}
