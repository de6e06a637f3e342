import Foundation
import Glibc
import Primitives
import Raft
import Testing

@testable import Storage

/// A segment begins while a snapshot is installed, and the power fails in between.
@Suite("Snapshots, a segment that begins at the same time")
struct SnapshotWindowTests {
    private static let old = TestState(seed: 1, rows: 20, index: 5, term: 1)
    private static let new = TestState(seed: 2, rows: 100, index: 100, term: 2)

    private struct Window {
        var isWaiting = false
        var isOpen = false
        var diesBehind = UInt64.max
    }

    /// 1 Entries of an old term up to `written` are durable; those behind, up to 105, make the
    /// journal begin a segment. 2 Before it has begun, a snapshot of a greater term is installed.
    /// 3 The old entries get durable. 4 The power fails before the record of the snapshot does.
    private func crash(written: UInt64, _ directory: TemporaryDirectory) throws {
        let files = FaultyFiles()
        let rig = try Rig(directory, files: files)
        for i in 1...10 { rig.entry(i) }
        #expect(rig.durable(rig.storage.lastPosition))
        #expect(rig.checkpoint(Self.old.changes, index: 5, meta: Self.old.meta) == nil)
        let incoming = try rig.receive(try TestSnapshot(Self.new))
        // The first segment has place for 5,000 bytes more.
        for index in 11...written {
            let place = 60_500 - Int(rig.storage.statistics().writtenBytes)
            let data = [UInt8](repeating: 7, count: place / Int(written + 1 - index) - 100)
            #expect(rig.durable(rig.storage.append([Entry(term: 1, index: index, data: data)])))
        }
        let window = Monitor(Window())
        files.beforeRename = { path in
            guard path.contains("/journal/"), path.hasSuffix(".seg") else { return }
            window.withLock { $0.isWaiting = true }
            window.signal()
            _ = window.wait(timeout: .seconds(20)) { $0.isOpen ? true : nil }
        }
        files.beforeSync = {
            let durable = rig.told.monitor.withLock { $0.durable }
            if window.withLock({ durable >= $0.diesBehind }) { files.die() }
        }
        // One batch, and more than that.
        let little = [UInt8](repeating: 8, count: 6400 / Int(105 - written) - 32)
        let rest = (written + 1...105).map { Entry(term: 1, index: $0, data: little) }
        let position = rig.storage.append(rest)
        window.withLock { $0.diesBehind = position }
        rig.storage.flush()
        #expect(window.wait(timeout: .seconds(20)) { $0.isWaiting ? true : nil } == true)
        let installed = try rig.install(incoming).get()
        #expect(installed > position)
        window.withLock { $0.isOpen = true }
        window.signal()
        #expect(rig.told.until { $0.fault != nil })
        let durable = rig.told.monitor.withLock { $0.durable }
        #expect(durable >= position && durable < installed)
        rig.close()
        var dice = Generator(seed: 1)
        try files.crash(.lose, &dice)
    }

    /// Where the old log ended in the segment before: in front of the snapshot's end, and at it.
    @Test(arguments: [UInt64(70), 100])
    func `a segment names a snapshot only behind the record of it`(written: UInt64) throws {
        let directory = TemporaryDirectory()
        try self.crash(written: written, directory)
        let next = try Rig(directory, start: false)
        // All is as before the snapshot; half of each is what no log can be.
        #expect(try TestState(next.recovery) == Self.old)
        #expect(next.recovery.log.base == LogPosition(term: 1, index: 5))
        #expect(next.recovery.log.entries.map(\.index) == Array(6...105))
        #expect(next.recovery.log.entries.allSatisfy { $0.term == 1 })
    }
}
