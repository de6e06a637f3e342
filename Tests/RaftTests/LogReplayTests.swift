// LogReplayTests.swift - what a journal's records amount to, case by case.

import Primitives
import Testing

@testable import Raft

enum JournalRecord: CustomStringConvertible {
    case base(LogPosition)
    case entry(Entry)
    case hardState(HardState)

    var description: String {
        switch self {
        case .base(let position): "base \(position.index)@\(position.term)"
        case .entry(let entry): "\(entry.index)@\(entry.term)"
        case .hardState(let state): "hard \(state.term)/\(state.vote.raw)/\(state.commit)"
        }
    }

    static func replay(
        _ records: some Sequence<JournalRecord>, applied: LogPosition
    ) throws(ReplayError) -> Start {
        var replay = LogReplay(applied: applied)
        for record in records {
            switch record {
            case .base(let position): replay.take(base: position)
            case .entry(let entry): replay.take(entry)
            case .hardState(let state): replay.take(state)
            }
        }
        return try replay.start(configuration: Configuration(voters: [1]))
    }
}

@Suite("Log replay")
struct LogReplayTests {
    private static func start(
        _ records: JournalRecord..., applied: LogPosition = .zero
    ) throws(ReplayError) -> Start {
        try JournalRecord.replay(records, applied: applied)
    }

    private static func positions(_ start: Start) -> [LogPosition] { start.entries.map(\.position) }

    @Test func `no records make a member that never was`() throws {
        let start = try Self.start()
        #expect(start.hardState == .empty)
        #expect(start.base == .zero)
        #expect(start.entries.isEmpty)
    }

    @Test func `a later entry replaces its index and all behind`() throws {
        let start = try Self.start(
            .entry(.at(1, 1)), .entry(.at(2, 1)), .entry(.at(3, 1)), .entry(.at(2, 2, "b")),
            .hardState(HardState(term: 2, vote: 3, commit: 0)))
        #expect(start.entries == [.at(1, 1), .at(2, 2, "b")])
    }

    @Test func `what cannot follow the checkpoint is no log, however it got there`() {
        #expect(throws: ReplayError.conflict(index: 101)) {
            try Self.start(
                .entry(.at(99, 3)), .entry(.at(100, 3)), .base(.at(100, 5)), .entry(.at(101, 3)),
                applied: .at(100, 5))
        }
    }

    @Test func `the very same entry again takes nothing away`() throws {
        let start = try Self.start(
            .entry(.at(1, 1)), .entry(.at(2, 1)), .entry(.at(3, 1)), .entry(.at(2, 1)),
            .entry(.at(1, 1)))
        #expect(Self.positions(start) == [.at(1, 1), .at(2, 1), .at(3, 1)])
    }

    @Test func `row 34: what was overwritten below the checkpoint does not come back beyond it`()
        throws
    {
        let start = try Self.start(
            .entry(.at(1, 1)), .entry(.at(2, 1)), .entry(.at(3, 1)), .entry(.at(4, 1)),
            .entry(.at(2, 2)), applied: .at(2, 2))
        #expect(start.base == .at(2, 2))
        #expect(start.entries.isEmpty)
    }

    @Test func `data of entries that the checkpoint covers is not needed`() throws {
        let replay = LogReplay(applied: .at(2, 1))
        #expect(!replay.needsData(at: 2))
        #expect(replay.needsData(at: 3))
        let start = try Self.start(
            .entry(.at(1, 1, "a")), .entry(.at(2, 1, "b")), .entry(.at(3, 1, "c")),
            applied: .at(2, 1))
        #expect(start.entries == [.at(3, 1, "c")])
        #expect(start.applied == 2)
    }

    @Test func `a base that the log holds changes nothing, another takes the log's place`() throws {
        let same = try Self.start(
            .entry(.at(1, 1)), .entry(.at(2, 1)), .entry(.at(3, 1)), .base(.at(2, 1)),
            .entry(.at(4, 1)), applied: .at(2, 1))
        #expect(Self.positions(same) == [.at(3, 1), .at(4, 1)])
        let other = try Self.start(
            .entry(.at(1, 1)), .entry(.at(2, 1)), .entry(.at(3, 1)), .entry(.at(4, 1)),
            .base(.at(3, 2)), applied: .at(3, 2))
        #expect(other.entries.isEmpty)
        #expect(other.base == .at(3, 2))
        let beyond = try Self.start(
            .entry(.at(1, 1)), .base(.at(9, 2)), .entry(.at(10, 2)), applied: .at(9, 2))
        #expect(Self.positions(beyond) == [.at(10, 2)])
    }

    @Test func `row 34: what a snapshot replaced stays away though its past is gone`() throws {
        // The segment with 1 … 12 of term 2 is dropped; the next begins in the middle.
        for first: UInt64 in [13, 14] {
            let start = try Self.start(
                .hardState(HardState(term: 2, vote: .none, commit: 10)), .base(.at(10, 2)),
                .entry(.at(first, 2)), .entry(.at(first + 1, 2)),
                .base(.at(12, 5)), .hardState(HardState(term: 5, vote: .none, commit: 12)),
                applied: .at(12, 5))
            #expect(start.base == .at(12, 5))
            #expect(start.entries.isEmpty)
            let more = try Self.start(
                .hardState(HardState(term: 2, vote: .none, commit: 10)), .base(.at(10, 2)),
                .entry(.at(first, 2)), .entry(.at(first + 1, 2)), .base(.at(12, 5)),
                .entry(.at(13, 5)), applied: .at(12, 5))
            #expect(Self.positions(more) == [.at(13, 5)])
        }
    }

    @Test func `a journal may begin in the middle, covered by the checkpoint`() throws {
        let start = try Self.start(
            .base(.at(5, 1)), .entry(.at(8, 1)), .entry(.at(9, 1)), .entry(.at(10, 2)),
            applied: .at(9, 1))
        #expect(Self.positions(start) == [.at(10, 2)])
        let back = try Self.start(
            .entry(.at(8, 1)), .entry(.at(9, 1)), .entry(.at(7, 2)), .entry(.at(8, 2)),
            applied: .at(7, 2))
        #expect(Self.positions(back) == [.at(8, 2)])
    }

    @Test func `a gap is found`() {
        #expect(throws: ReplayError.gap(index: 3)) {
            try Self.start(.entry(.at(1, 1)), .entry(.at(3, 1)))
        }
        #expect(throws: ReplayError.gap(index: 2)) { try Self.start(.entry(.at(2, 1))) }
        #expect(throws: ReplayError.gap(index: 6)) {
            try Self.start(.base(.at(5, 1)), .entry(.at(6, 1)), applied: .at(4, 1))
        }
        #expect(throws: ReplayError.gap(index: 6)) {
            try Self.start(
                .entry(.at(3, 1)), .entry(.at(4, 1)), .entry(.at(6, 1)), applied: .at(4, 1))
        }
    }

    @Test func `a log that denies the checkpoint is found`() {
        #expect(throws: ReplayError.conflict(index: 2)) {
            try Self.start(
                .entry(.at(1, 1)), .entry(.at(2, 1)), .entry(.at(3, 1)), applied: .at(2, 2))
        }
    }

    @Test func `the last hard state counts, and the greatest commit index of all`() throws {
        let start = try Self.start(
            .entry(.at(1, 1)), .entry(.at(2, 1)), .entry(.at(3, 1)),
            .hardState(HardState(term: 3, vote: 2, commit: 2)),
            .hardState(HardState(term: 4, vote: .none, commit: 0)))
        #expect(start.hardState == HardState(term: 4, vote: .none, commit: 2))
    }

    @Test func `the commit index is within the log, and not below the checkpoint`() throws {
        let above = try Self.start(
            .entry(.at(1, 1)), .hardState(HardState(term: 1, vote: 2, commit: 9)))
        #expect(above.hardState.commit == 1)
        let below = try Self.start(
            .entry(.at(1, 1)), .entry(.at(2, 1)),
            .hardState(HardState(term: 1, vote: 2, commit: 0)), applied: .at(1, 1))
        #expect(below.hardState.commit == 1)
    }

    @Test func `entries of a term whose hard state was torn off bring the term without a vote`()
        throws
    {
        let start = try Self.start(
            .entry(.at(1, 1)), .hardState(HardState(term: 1, vote: 2, commit: 0)),
            .entry(.at(2, 4)))
        #expect(start.hardState == HardState(term: 4, vote: .none, commit: 0))
        let same = try Self.start(
            .entry(.at(1, 1)), .hardState(HardState(term: 4, vote: 2, commit: 0)),
            .entry(.at(2, 4)))
        #expect(same.hardState.vote == 2)
        let snapshot = try Self.start(.base(.at(9, 7)), applied: .at(9, 7))
        #expect(snapshot.hardState.term == 7)
    }
}
