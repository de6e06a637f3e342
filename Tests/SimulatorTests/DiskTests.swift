// DiskTests.swift - the simulated disk keeps what it must, and loses what it may.

import Primitives
import Raft
import Testing

@testable import Simulator

@Suite("Simulated disk")
struct DiskTests {
    private func disk() -> Disk {
        let checkpoint = Checkpoint(
            generation: 0, state: Register(position: LogPosition(term: 1, index: 1)),
            configuration: Configuration(voters: [MemberID(raw: 1)]))
        return Disk(
            founding: checkpoint, hardState: HardState(term: 1, vote: .none, commit: 1))
    }

    private func write(_ ticket: UInt64, _ entries: [Entry], term: UInt64) -> Disk.Write {
        var records: [Disk.Record] = entries.map { .entry($0) }
        records.append(.hardState(HardState(term: term, vote: MemberID(raw: 1), commit: 1)))
        return Disk.Write(ticket: ticket, records: records, installs: nil)
    }

    private func entries(_ range: ClosedRange<UInt64>, term: UInt64) -> [Entry] {
        range.map { Entry(term: term, index: $0, data: []) }
    }

    @Test func `what is synced survives every crash, what waits is lost`() {
        var dice = Generator(seed: 1)
        for _ in 0..<50 {
            var disk = self.disk()
            disk.pending = [self.write(1, self.entries(2...5, term: 2), term: 2)]
            let count = disk.begin(limit: 9)
            let ticket = disk.finish(recordsMax: 100).ticket
            #expect(count == 1 && ticket == 1)
            disk.pending = [self.write(2, self.entries(6...7, term: 2), term: 2)]
            _ = disk.crash(isPower: true, dice: &dice)
            disk.rewrite()
            #expect(disk.view.last == LogPosition(term: 2, index: 5))
            #expect(disk.view.hardState.term == 2)
        }
    }

    @Test func `a batch under way is lost, kept, or torn`() {
        var dice = Generator(seed: 2)
        var ends: [Int] = [0, 0, 0]
        for _ in 0..<200 {
            var disk = self.disk()
            disk.pending = [self.write(1, self.entries(2...5, term: 2), term: 2)]
            _ = disk.begin(limit: 9)
            _ = disk.crash(isPower: false, dice: &dice)
            disk.rewrite()
            switch (disk.view.lastIndex, disk.view.hardState.term) {
            case (1, 1): ends[0] += 1
            case (5, 2): ends[1] += 1
            case (_, 1): ends[2] += 1
            case let other: Issue.record("\(other): not a prefix")
            }
        }
        #expect(ends.allSatisfy { $0 > 10 })
    }

    @Test func `a new segment begins with the hard state, an old one goes with its checkpoint`() {
        var disk = self.disk()
        for i in UInt64(0)..<10 {
            disk.pending = [self.write(i + 1, self.entries(i + 2...i + 2, term: 2), term: 2)]
            _ = disk.begin(limit: 9)
            _ = disk.finish(recordsMax: 6)
        }
        #expect(disk.segments.count > 2)
        guard case .hardState(let state) = disk.segments[1].records[0] else {
            Issue.record("no hard state in front")
            return
        }
        #expect(state.term == 2)
        let none = disk.dropSegments(below: 100)
        #expect(none == 0, "nothing is covered yet")
        var state9 = Register(position: LogPosition(term: 1, index: 1))
        for entry in self.entries(2...9, term: 2) { _ = state9.apply(entry) }
        disk.checkpointing = Checkpoint(
            generation: 0, state: state9, configuration: Configuration())
        let isCurrent = disk.finishCheckpoint()
        let dropped = disk.dropSegments(below: 100)
        #expect(isCurrent && dropped > 0)
        #expect(disk.segments[0].lastIndex >= 10 || disk.segments.count == 1)
    }

    @Test func `the view and the product's replay agree`() throws {
        var view = LogView()
        var replay = LogReplay(applied: LogPosition(term: 1, index: 1))
        let records: [Disk.Record] =
            [.base(LogPosition(term: 1, index: 1), generation: 0)]
            + self.entries(2...6, term: 2).map { .entry($0) }
            + self.entries(4...5, term: 3).map { .entry($0) }
            + [.hardState(HardState(term: 3, vote: MemberID(raw: 2), commit: 4))]
        for record in records {
            let isWhole = view.take(record)
            #expect(isWhole)
            switch record {
            case .entry(let entry): replay.take(entry)
            case .hardState(let state): replay.take(state)
            case .base(let position, _): replay.take(base: position)
            }
        }
        let start = try replay.start(configuration: Configuration())
        #expect(view.last == LogPosition(term: 3, index: 5))
        #expect(start.entries.map { $0.term } == [2, 2, 3, 3])
        #expect(start.hardState == HardState(term: 3, vote: MemberID(raw: 2), commit: 4))
    }
}
