// FaultTests.swift - every call fails once, and everything that was acknowledged is there.

import Foundation
import Glibc
import Primitives
import Raft
import Spool
import Testing

@testable import Storage

@Suite("Faults of the disk")
struct FaultTests {
    /// What was acknowledged in a run that a fault may have ended.
    private struct Acknowledged {
        var entries = 0
        var bodies: [Int: Int] = [:]
        var proposed = 0
    }

    /// Bodies and entries through several segments, with a checkpoint and evacuations.
    private func script(_ rig: Rig, _ acknowledged: inout Acknowledged) {
        for i in 1...24 {
            let size = 500 + i * 300
            let isLarge = i % 5 == 0
            _ = isLarge ? rig.streamed(i, size * 3) : rig.body(i, size)
            acknowledged.proposed = i
            guard rig.durable(rig.entry(i)) else { return }
            acknowledged.entries = i
            acknowledged.bodies[i] = isLarge ? size * 3 : size
            if i % 8 == 0 {
                rig.told.change { $0.live = i }
                guard rig.checkpoint([], index: i) == nil else { return }
            }
        }
    }

    private func verify(
        _ directory: TemporaryDirectory, _ acknowledged: Acknowledged, _ note: String
    ) throws {
        let rig = try Rig(directory)
        let first = Int(rig.recovery.checkpoint?.appliedIndex ?? 0)
        let last = Int(rig.recovery.log.entries.last?.index ?? UInt64(first))
        #expect(last >= acknowledged.entries, "\(note)")
        #expect(last <= acknowledged.proposed, "\(note)")
        for (n, count) in acknowledged.bodies {
            let expected = StoredBody(
                head: Array("head \(n)\r\n".utf8), content: content(n, count), digest: digest(n))
            let isThere = rig.read(tag(n)) == .success(expected)
            #expect(isThere, "\(note), body \(n)")
        }
        for entry in rig.recovery.log.entries {
            #expect(entry.data == Array("entry \(entry.index)".utf8), "\(note)")
        }
        #expect(rig.told.monitor.withLock { $0.fault } == nil, "\(note)")
    }

    @Test(arguments: [Call.write, .sync, .rename, .open, .allocate, .syncDirectory])
    func `the Nth call fails, and nothing that was acknowledged is lost`(call: Call) throws {
        var dice = Generator(seed: 11)
        var n = 1
        while n < 400 {
            let mode = CrashMode.allCases[n % 3]
            let code = n % 2 == 0 ? EIO : ENOSPC
            let files = FaultyFiles(
                FaultyFiles.Plan(call: call, nth: n, errno: code, torn: n % 4 < 2))
            let directory = TemporaryDirectory()
            var acknowledged = Acknowledged()
            do {
                let rig = try Rig(directory, files: files)
                self.script(rig, &acknowledged)
                files.die()
                rig.close()
                #expect(rig.told.monitor.withLock { $0.faults } <= 1)
            } catch let error as StorageError {
                #expect(files.hasFailed, "\(error)")
            }
            try files.crash(mode, &dice)
            try self.verify(directory, acknowledged, "\(call) \(n) \(mode)")
            if !files.hasFailed { break }
            n += call == .write || call == .sync || call == .open ? 7 : 3
        }
        #expect(n > 1 && n < 400)
    }

    @Test(arguments: CrashMode.allCases)
    func `a second failed start in a row loses nothing either`(mode: CrashMode) throws {
        var dice = Generator(seed: 5)
        var failed = 0
        let calls: [Call] = [.write, .sync, .read, .open, .rename, .syncDirectory]
        for n in 0..<18 {
            let directory = TemporaryDirectory()
            var acknowledged = Acknowledged()
            let first = FaultyFiles()
            let rig = try Rig(directory, files: first)
            self.script(rig, &acknowledged)
            first.die()
            rig.close()
            try first.crash(mode, &dice)
            // The start itself is cut off at its Nth write or sync.
            let second = FaultyFiles(
                FaultyFiles.Plan(call: calls[n % 6], nth: n / 6 + 1, errno: EIO))
            second.staysBroken = true
            do {
                try Rig(directory, files: second, start: false).close()
            } catch is StorageError {}
            try second.crash(mode, &dice)
            try self.verify(directory, acknowledged, "start \(n) \(mode)")
            failed += second.hasFailed ? 1 : 0
        }
        #expect(failed > 9)
    }

    @Test func `a failed sync is told once and is final`() throws {
        let files = FaultyFiles()
        let rig = try Rig(files: files)
        #expect(rig.durable(rig.entry(1)))
        files.plan = FaultyFiles.Plan(call: .sync, nth: files.count(.sync) + 1, errno: EIO)
        #expect(!rig.durable(rig.entry(2)))
        let fault = rig.told.monitor.withLock { $0.fault }
        guard case .io(_, _, EIO)? = fault else {
            Issue.record("\(String(describing: fault))")
            return
        }
        // The disk is well again: nothing is acknowledged all the same.
        let durable = rig.told.monitor.withLock { $0.durable }
        for i in 3...20 { rig.entry(i) }
        rig.close()
        #expect(rig.told.monitor.withLock { $0.durable } == durable)
        #expect(rig.told.monitor.withLock { $0.faults } == 1)
    }

    @Test func `short writes are gone on with`() throws {
        let files = FaultyFiles()
        files.shortWrites = 1000
        let rig = try Rig(files: files)
        rig.body(1, 9001)
        #expect(rig.durable(rig.entry(1)))
        rig.close()
        let next = try Rig(rig.directory)
        #expect(next.recovery.log.entries.count == 1)
        next.expectBody(1, 9001)
    }

    @Test(arguments: UInt64(1)...6)
    func `seeded work with crashes in between keeps what was acknowledged`(seed: UInt64) throws {
        var dice = Generator(seed: seed)
        let directory = TemporaryDirectory()
        var durableEntries = 0
        var entries: [Int: [UInt8]] = [:]
        var bodies: [Int: Int] = [:]
        var garbage: Set<Int> = []
        var next = 1
        var applied = 0
        for _ in 0..<4 {
            let files = FaultyFiles()
            let rig = try Rig(directory, files: files)
            let last = Int(
                rig.recovery.log.entries.last?.index ?? rig.recovery.checkpoint?.appliedIndex ?? 0)
            #expect(last >= durableEntries)
            for entry in rig.recovery.log.entries {
                #expect(entries[Int(entry.index)] == entry.data)
            }
            for (n, count) in bodies where !garbage.contains(n) { rig.expectBody(n, count) }
            rig.told.change { $0.garbage = Set(garbage.map { tag($0) }) }
            var index = last
            for _ in 0..<30 {
                let n = next
                next += 1
                let count = dice.below(dice.chance(permille: 200) ? 20_000 : 2500)
                _ = dice.chance(permille: 300) ? rig.streamed(n, count) : rig.body(n, count)
                index += 1
                let bytes = content(index * 2 + 1, dice.below(400))
                entries[index] = bytes
                let position = rig.entry(index, bytes)
                if dice.chance(permille: 500) {
                    guard rig.durable(position) else { break }
                    durableEntries = index
                    bodies[n] = count
                    if dice.chance(permille: 600) {
                        garbage.insert(n)
                        rig.told.change { $0.garbage.insert(tag(n)) }
                        rig.storage.hintEnded(tag(n))
                    }
                }
                if dice.chance(permille: 100), durableEntries > applied {
                    applied = durableEntries
                    #expect(rig.checkpoint([], index: applied) == nil)
                }
            }
            files.die()
            rig.close()
            try files.crash(CrashMode.allCases[dice.below(3)], &dice)
        }
    }
}
