import Primitives
import Testing

@testable import Raft

@Suite("The log's limits in memory")
struct CompactionTests {
    private static let own = MemberID(raw: 1)
    private static let entryBytes = Entry(
        term: 1, index: 1, data: [UInt8](repeating: 7, count: 100)
    )
    .sizeBytes

    private func limits(tail: UInt64, kept: UInt64, snapshot: UInt64) -> LogLimits {
        var limits = LogLimits()
        limits.tailBytes = tail * Self.entryBytes
        limits.keptBytesMax = kept * Self.entryBytes
        limits.snapshotBytesMax = snapshot * Self.entryBytes
        return limits
    }

    /// A leader of three with 100 entries, of which it has applied all; `matches` of the others.
    private func leader(_ matches: [UInt64]) throws -> Raft {
        var options = Options(id: Self.own)
        options.storesAsynchronously = false
        var raft = Raft(
            options,
            start: Start(configuration: Configuration(voters: [1, 2, 3].map(MemberID.init(raw:)))),
            random: 0)
        raft.campaign()
        try self.settle(&raft)
        for from in [UInt64(2), 3] {
            try raft.step(self.answer(from, raft, .preVoteAnswer(isGranted: true), raft.term + 1))
        }
        try self.settle(&raft)
        for from in [UInt64(2), 3] {
            try raft.step(self.answer(from, raft, .voteAnswer(isGranted: true), raft.term))
        }
        for _ in 2...100 {
            try raft.propose([Entry(data: [UInt8](repeating: 7, count: 100))])
            try self.settle(&raft)
        }
        // A majority has all: so all is committed, and applied here.
        for (place, match) in matches.enumerated() {
            try raft.step(
                self.answer(UInt64(place + 2), raft, .appended(index: match), raft.term))
        }
        try self.settle(&raft)
        #expect(raft.role == .leader && raft.lastIndex == 100)
        return raft
    }

    private func answer(
        _ from: UInt64, _ raft: Raft, _ body: Message.Body, _ term: UInt64
    ) -> Message {
        Message(from: MemberID(raw: from), to: raft.id, term: term, body)
    }

    private func settle(_ raft: inout Raft) throws {
        while raft.hasReady {
            let ready = raft.takeReady()
            for message in ready.answers where message.to == raft.id { try raft.step(message) }
            if let stored = ready.stored { raft.stored(stored) }
            if let applied = ready.applied { raft.applied(applied) }
        }
    }

    @Test func `nothing goes behind the checkpoint`() throws {
        var raft = try self.leader([100, 100])
        raft.compact(to: 40, within: self.limits(tail: 0, kept: 0, snapshot: 0), snapshot: nil)
        #expect(raft.firstIndex == 41)
    }

    @Test func `what a member lacks stays, up to the limit`() throws {
        for (kept, first) in [(UInt64(60), UInt64(51)), (50, 51), (49, 52)] {
            var raft = try self.leader([100, 50])
            raft.compact(
                to: 90, within: self.limits(tail: 5, kept: kept, snapshot: 0), snapshot: nil)
            #expect(raft.firstIndex == first, "\(kept)")
        }
    }

    @Test func `what all have goes, but for the tail`() throws {
        for (tail, first) in [(UInt64(0), UInt64(100)), (1, 100), (20, 81), (21, 80)] {
            var raft = try self.leader([100, 100])
            raft.compact(
                to: 99, within: self.limits(tail: tail, kept: 90, snapshot: 0), snapshot: nil)
            #expect(raft.firstIndex == first, "\(tail)")
        }
    }

    @Test func `while a snapshot is under way what follows it stays, up to another limit`() throws {
        // One that is being made.
        var raft = try self.leader([100, 50])
        raft.compact(
            to: 99, within: self.limits(tail: 5, kept: 10, snapshot: 70), snapshot: 40)
        #expect(raft.firstIndex == 41)
        raft.compact(to: 99, within: self.limits(tail: 5, kept: 10, snapshot: 30), snapshot: 40)
        #expect(raft.firstIndex == 71)
        // One that is on its way to a member that lacks the rest.
        raft.offer(
            Snapshot(
                position: LogPosition(term: raft.term, index: 80),
                configuration: raft.configuration, data: []))
        try raft.step(self.answer(3, raft, .heartbeatAnswer(round: 0), raft.term))
        let place = try #require(raft.membership.place(of: MemberID(raw: 3)))
        raft.membership.peers[place].progress.becomeSnapshot(at: 80)
        raft.compact(to: 99, within: self.limits(tail: 5, kept: 10, snapshot: 30), snapshot: nil)
        #expect(raft.firstIndex == 81)
    }

    @Test func `who does not lead keeps the tail`() throws {
        var raft = try self.leader([100, 100])
        try raft.step(
            self.answer(2, raft, .heartbeat(commit: 100, round: 0), raft.term + 1))
        #expect(raft.role == .follower)
        raft.compact(to: 99, within: self.limits(tail: 30, kept: 90, snapshot: 90), snapshot: nil)
        #expect(raft.firstIndex == 71)
    }

    @Test func `the bytes are those of the entries that are there`() throws {
        var raft = try self.leader([100, 100])
        func sum() -> UInt64 {
            raft.log.slice(raft.firstIndex...raft.lastIndex, bytesMax: .max)
                .reduce(0) { $0 + $1.sizeBytes }
        }
        #expect(raft.log.bytes == sum())
        raft.compact(to: 30)
        #expect(raft.log.bytes == sum())
        // Another leader replaces the end... of a log that is not committed.
        try raft.propose([Entry(data: [1, 2, 3]), Entry(data: [4])])
        let previous = LogPosition(term: raft.term, index: 100)
        let entry = Entry(term: raft.term + 1, index: 101, data: [5, 6])
        try raft.step(
            self.answer(
                2, raft, .append(previous: previous, entries: [entry], commit: 0), raft.term + 1))
        #expect(raft.lastIndex == 101 && raft.log.bytes == sum())
    }
}
