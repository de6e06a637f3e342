// PitfallLogTests.swift - logs, snapshots and limits that went wrong, rows 33 … 36, 43, 51, 53.
//
// See       the table of pitfalls; each test's name begins with its row.

import Primitives
import Testing

@testable import Raft

@Suite("Pitfalls: snapshots and logs")
struct PitfallSnapshotTests {
    private func snapshot(
        _ position: LogPosition, voters: [MemberID] = [1, 2, 3], _ text: String = "s"
    ) -> Message.Body {
        .snapshot(
            Snapshot(
                position: position, configuration: Configuration(voters: voters),
                data: Array(text.utf8)))
    }

    @Test func `row 33: a snapshot is acknowledged when it is installed, and nobody stands before`()
        throws
    {
        var member = Solo(1, voters: [1, 2, 3], term: 3, terms: [1])
        try member.receive(2, term: 3, self.snapshot(.at(20, 3)))
        let actions = member.turn()
        #expect(actions.stores.map(\.snapshot?.position) == [.at(20, 3)])
        #expect(actions.sent.isEmpty)
        #expect(!member.raft.isPromotable)
        member.tick(40)
        member.replica.campaign()
        #expect(member.raft.role == .follower)
        #expect(member.store().sent.map(\.body) == [.appended(index: 20)])
        #expect(member.raft.isPromotable)
        #expect(member.raft.applied == 20)
        #expect(member.raft.firstIndex == 21)
    }

    @Test func `row 33: an older snapshot is answered with what is committed, and ignored`() throws
    {
        var member = Solo(1, voters: [1, 2, 3], term: 3, terms: [1, 2, 3], commit: 3, applied: 3)
        let before = member.raft.log
        try member.receive(2, term: 3, self.snapshot(.at(3, 3), voters: [1, 9]))
        try member.receive(2, term: 3, self.snapshot(.at(2, 2), voters: [1, 9]))
        let actions = member.settle()
        #expect(actions.sent.map(\.body) == [.appended(index: 3), .appended(index: 3)])
        #expect(actions.stores.allSatisfy { $0.snapshot == nil })
        #expect(member.raft.log == before)
        #expect(member.raft.configuration.voters == [1, 2, 3])
    }

    @Test func `row 33: a snapshot older than the log's beginning takes nothing back`() throws {
        var member = Solo(
            1, voters: [1, 2, 3], term: 3, terms: [1, 2, 3, 3], commit: 3, applied: 3)
        member.replica.compact(to: 3)
        #expect(member.raft.firstIndex == 4)
        try member.receive(2, term: 3, self.snapshot(.at(2, 2), voters: [1, 9]))
        #expect(member.settle().sent.map(\.body) == [.appended(index: 3)])
        #expect(member.raft.lastIndex == 4)
        #expect(member.raft.configuration.voters == [1, 2, 3])
    }

    @Test func `row 33: a snapshot of what the log holds only tells that it is committed`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 3, terms: [1, 2, 3, 3])
        try member.receive(2, term: 3, self.snapshot(.at(3, 3)))
        let actions = member.settle()
        #expect(actions.stores.allSatisfy { $0.snapshot == nil })
        #expect(actions.sent.map(\.body) == [.appended(index: 3)])
        #expect(member.raft.commit == 3)
        #expect(member.raft.lastIndex == 4)
    }

    @Test func `row 33: of two snapshots close together the second counts`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 3, terms: [1])
        try member.receive(2, term: 3, self.snapshot(.at(20, 3)))
        _ = member.turn()
        try member.receive(2, term: 3, self.snapshot(.at(30, 3), voters: [1, 2]))
        _ = member.turn()
        #expect(member.storeOne().sent.map(\.body) == [.appended(index: 20)])
        #expect(!member.raft.isPromotable)
        #expect(member.storeOne().sent.map(\.body) == [.appended(index: 30)])
        #expect(member.raft.isPromotable)
        #expect(member.raft.applied == 30)
        #expect(member.raft.configuration.voters == [1, 2])
    }

    @Test func `row 33: a snapshot that does not know its receiver is not for it`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 3, terms: [1])
        try member.receive(2, term: 3, self.snapshot(.at(20, 3), voters: [2, 3]))
        #expect(member.settle().stores.allSatisfy { $0.snapshot == nil })
        #expect(member.raft.lastIndex == 1)
    }

    @Test func `row 33: a change being applied when a snapshot comes does not change that`() throws
    {
        var member = Solo(1, voters: [1, 2, 3], term: 3, terms: [1])
        var change = ConfigurationChange([MemberChange(.remove, 2)]).entry()
        change.term = 3
        change.index = 2
        try member.receive(
            3, term: 3, .append(previous: .at(1, 1), entries: [change], commit: 2))
        var actions = member.turn()
        actions += member.store()
        #expect(actions.applies.map(\.index) == [1, 2])
        // 2 was added again at 15; the driver has not come to entry 2 yet.
        try member.receive(3, term: 3, self.snapshot(.at(20, 3)))
        _ = member.turn()
        #expect(member.replica.apply(change)?.voters == [1, 3])
        for case .apply(_, let applied) in actions { member.replica.applied(applied) }
        _ = member.settle()
        #expect(member.raft.configuration.voters == [1, 2, 3])
        #expect(member.raft.applied == 20)
    }

    @Test func `row 33: entries behind a snapshot are taken while it is being installed`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 3, terms: [1])
        try member.receive(2, term: 3, self.snapshot(.at(20, 3)))
        try member.receive(
            2, term: 3, .append(previous: .at(20, 3), entries: [.at(21, 3, "x")], commit: 21))
        #expect(member.turn().applies.isEmpty)
        let actions = member.store()
        #expect(actions.sent.map(\.body) == [.appended(index: 20), .appended(index: 21)])
        #expect(actions.applies.map(\.index) == [21])
    }

    @Test func `row 33: one snapshot is in flight to one follower, and its end is noticed`() throws
    {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        rig.crash(3)
        for text in ["a", "b"] { try rig.propose(1, text) }
        rig.settle()
        rig.checkpoint(1)
        try rig.restart(3)
        var snapshots: [Message] = []
        for _ in 0..<4 {
            rig.tick(1, 2)
            rig.settle(except: &snapshots) { $0.isSnapshot }
        }
        #expect(snapshots.count == 1)
        // It is lost: the driver says so, and another one leaves.
        rig.at(1) { $0.reportSnapshot(3, isInstalled: false) }
        for _ in 0..<4 {
            rig.tick(1, 2)
            rig.settle(except: &snapshots) { $0.isSnapshot }
        }
        #expect(snapshots.count == 2)
        rig.arrive(snapshots[1])
        for _ in 0..<3 {
            rig.settle()
            rig.tick(1, 2)
        }
        #expect(rig.texts(3) == ["a", "b"])
        #expect(rig[3].lastIndex == rig[1].lastIndex)
    }

    @Test func `row 33: no snapshot was offered: the driver is asked for one`() throws {
        var leader = Solo(1, voters: [1, 2, 3])
        try leader.lead(helpers: 2)
        try leader.replica.propose([Entry(data: [1]), Entry(data: [2])])
        _ = leader.settle()
        try leader.receive(2, term: 1, .appended(index: 3))
        _ = leader.settle()
        leader.replica.compact(to: 3)
        #expect(leader.raft.firstIndex == 4)
        try leader.receive(3, term: 1, .appendRejected(index: 0, hint: .zero))
        #expect(leader.settle().sent.filter(\.isSnapshot).isEmpty)
        #expect(leader.raft.wantsSnapshot)
        leader.replica.offer(
            Snapshot(
                position: .at(3, 1), configuration: Configuration(voters: [1, 2, 3]), data: []))
        #expect(!leader.raft.wantsSnapshot)
        try leader.receive(3, term: 1, .heartbeatAnswer(round: 0))
        #expect(leader.settle().sent.filter(\.isSnapshot).map(\.to) == [3])
    }

    @Test func `row 34: what is committed is never taken away`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 3, terms: [1, 2, 2, 2], commit: 3)
        _ = member.settle()
        let log = member.raft.log
        for previous: LogPosition in [.at(1, 1), .at(2, 2), .zero] {
            // A leader that has something else there lacks what is committed: it is none.
            let others = (previous.index + 1...5).map { Entry.at($0, 3) }
            #expect(throws: StepError.contradiction("entries against what is committed")) {
                try member.receive(
                    2, term: 3, .append(previous: previous, entries: others, commit: 0))
            }
            #expect(member.settle().sent.isEmpty)
            // A late append of what is committed is answered with how far that goes.
            let same = (previous.index + 1...3).map { Entry.at($0, $0 == 1 ? 1 : 2) }
            try member.receive(2, term: 3, .append(previous: previous, entries: same, commit: 0))
            #expect(member.settle().sent.map(\.body) == [.appended(index: 3)])
        }
        #expect(member.raft.log == log)
        // At the commit index only what lies behind may go.
        try member.receive(
            2, term: 3, .append(previous: .at(3, 2), entries: [.at(4, 3)], commit: 0))
        #expect(Rig.log(member.raft).map { $0.first } == ["1", "2", "2", "3"])
    }

    @Test func `row 34: a shorter append that matches takes nothing away`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 3, terms: [1, 2, 2, 2])
        try member.receive(
            2, term: 3, .append(previous: .at(1, 1), entries: [.at(2, 2)], commit: 0))
        #expect(member.raft.lastIndex == 4)
        try member.receive(2, term: 3, .append(previous: .at(2, 2), entries: [], commit: 0))
        #expect(member.raft.lastIndex == 4)
    }

    @Test func `row 35: a follower that takes a snapshot does not keep the log from going`() throws
    {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        rig.crash(3)
        try rig.propose(1, "a")
        rig.settle()
        rig.checkpoint(1)
        try rig.restart(3)
        rig.tick(1, 2)
        var snapshots: [Message] = []
        rig.settle(except: &snapshots) { $0.isSnapshot }
        rig.tick(1, 2)
        rig.settle(except: &snapshots) { $0.isSnapshot }
        #expect(snapshots.count == 1)
        for text in ["b", "c", "d"] { try rig.propose(1, text) }
        rig.settle()
        rig.checkpoint(1)
        #expect(rig[1].firstIndex == rig[1].lastIndex + 1)
        // The old one arrives: from there on the log is gone, so a newer one follows.
        rig.arrive(snapshots[0])
        for _ in 0..<6 {
            rig.settle()
            rig.tick(1, 2)
        }
        if rig.texts(3) != rig.texts(1) {
            rig.at(1) { $0.reportSnapshot(3, isInstalled: true) }
            for _ in 0..<4 {
                rig.tick(1, 2)
                rig.settle()
            }
        }
        #expect(rig.texts(3) == ["a", "b", "c", "d"])
    }

    @Test func `row 36: a proposal sent to two leaders in turn is twice in every log`() throws {
        let rig = Rig(voters: [1, 2, 3])
        rig.elect(1)
        try rig.propose(1, "x")
        rig.settle()
        rig.crash(1)
        rig.elect(2)
        // The client heard nothing and asks the next leader.
        try rig.propose(2, "x")
        rig.settle()
        try rig.restart(1)
        for _ in 0..<2 {
            rig.tick(2, 2)
            rig.settle()
        }
        for id: MemberID in [1, 2, 3] { #expect(rig.texts(id) == ["x", "x"]) }
    }
}

@Suite("Pitfalls: limits and input")
struct PitfallLimitTests {
    @Test func `row 43: a silent follower gets so many appends and not one more`() throws {
        for limit in [1, 2, 7, 8, 9, 20] {
            var leader = Solo(1, voters: [1, 2, 3]) { $0.inFlightMessagesMax = limit }
            try leader.lead(helpers: 2)
            try leader.receive(2, term: 1, .appended(index: 1))
            _ = leader.settle()
            var sent = 0
            for n in 0..<30 {
                try leader.replica.propose([Entry(data: [UInt8(n)])])
                sent += leader.turn().sent(to: 2).count
            }
            #expect(sent == limit)
            // An answer to the first makes room for one.
            try leader.receive(2, term: 1, .appended(index: 2))
            let more = leader.turn().sent(to: 2)
            #expect(more.count == 1)
        }
    }

    @Test func `row 43: a silent follower gets so many bytes, and one append above`() throws {
        var leader = Solo(1, voters: [1, 2, 3]) { $0.inFlightBytesMax = 100 }
        try leader.lead(helpers: 2)
        try leader.receive(2, term: 1, .appended(index: 1))
        _ = leader.settle()
        var sent = 0
        for _ in 0..<20 {
            try leader.replica.propose([Entry(data: Array(repeating: 1, count: 33))])
            sent += leader.turn().sent(to: 2).count
        }
        // 99 is below the limit, 132 is not.
        #expect(sent == 4)
    }

    @Test func `row 43: so much may be proposed and not committed, at the limit and one above`()
        throws
    {
        var leader = Solo(1, voters: [1, 2, 3]) { $0.uncommittedBytesMax = 100 }
        try leader.lead(helpers: 2)
        try leader.receive(2, term: 1, .appended(index: 1))
        _ = leader.settle()
        try leader.replica.propose([Entry(data: Array(repeating: 1, count: 60))])
        try leader.replica.propose([Entry(data: Array(repeating: 1, count: 40))])
        #expect(throws: StepError.proposalDropped) {
            try leader.replica.propose([Entry(data: [1])])
        }
        #expect(leader.raft.lastIndex == 3)
        _ = leader.settle()
        try leader.receive(2, term: 1, .appended(index: 3))
        _ = leader.settle()
        // One proposal may be larger than the limit, if it is alone.
        try leader.replica.propose([Entry(data: Array(repeating: 1, count: 500))])
        #expect(throws: StepError.proposalDropped) {
            try leader.replica.propose([Entry(data: [1])])
        }
    }

    @Test func `row 43: so much is handed out to be applied, then the applier is waited for`()
        throws
    {
        let size = Entry.at(1, 1, "0123456789").sizeBytes
        for limit: UInt64 in [2 * size, 2 * size + 1, 3 * size - 1] {
            var member = Solo(1, voters: [1, 2, 3]) { $0.applyingBytesMax = limit }
            let entries = (1...9).map { Entry.at($0, 1, "0123456789") }
            try member.receive(2, term: 1, .append(previous: .zero, entries: entries, commit: 9))
            _ = member.turn()
            var actions = member.store()
            #expect(actions.applies.map(\.index) == [1, 2])
            #expect(member.turn().isEmpty)
            for case .apply(_, let applied) in actions { member.replica.applied(applied) }
            actions = member.turn()
            #expect(actions.applies.map(\.index) == [3, 4])
        }
    }

    @Test func `row 43: one append has so many bytes, one entry at least`() throws {
        let size = Entry.at(2, 1, "0123456789").sizeBytes
        for (limit, counts) in [
            (2 * size, [2, 2, 1]), (2 * size - 1, [1, 1, 1, 1, 1]), (1, [1, 1, 1, 1, 1]),
            (2 * size + 1, [2, 2, 1]), (5 * size, [5]),
        ] {
            var leader = Solo(1, voters: [1, 2, 3]) { $0.appendBytesMax = limit }
            try leader.lead(helpers: 2)
            for n in 0..<5 {
                try leader.replica.propose([.at(0, 0, "012345678\(n)")])
            }
            _ = leader.settle()
            try leader.receive(2, term: 1, .appended(index: 1))
            let sent = leader.settle().sent(to: 2).compactMap { body -> Int? in
                guard case .append(_, let entries, _) = body, !entries.isEmpty else { return nil }
                return entries.count
            }
            #expect(sent == counts)
        }
    }

    @Test func `row 51: a change that is nonsense never gets into a log`() throws {
        let nonsense = Entry(kind: .changes, data: [9, 9, 9])
        var leader = Solo(1, voters: [1, 2, 3])
        try leader.lead(helpers: 2)
        let last = leader.raft.lastIndex
        for kind: EntryKind in [.change, .changes] {
            let entry = Entry(kind: kind, data: [9, 9, 9])
            #expect(throws: StepError.malformed("change of members")) {
                try leader.replica.propose([Entry(data: [1]), entry])
            }
        }
        #expect(leader.raft.lastIndex == last)
        var member = Solo(1, voters: [1, 2, 3])
        var entry = nonsense
        entry.term = 1
        entry.index = 1
        #expect(throws: StepError.malformed("change of members")) {
            try member.receive(2, term: 1, .append(previous: .zero, entries: [entry], commit: 1))
        }
        #expect(member.raft.lastIndex == 0)
    }

    @Test func `row 51: a change that is impossible changes nothing, on any member`() throws {
        var member = Solo(1, voters: [1, 2, 3])
        let changes = [
            ConfigurationChange([1, 2, 3].map { MemberChange(.remove, MemberID(raw: $0)) }),
            .leaveJoint,
            ConfigurationChange(
                transition: .explicit, [1, 2, 3].map { MemberChange(.remove, MemberID(raw: $0)) }),
        ]
        var entries = changes.map { $0.entry() }
        for i in entries.indices {
            entries[i].term = 1
            entries[i].index = UInt64(i + 1)
        }
        try member.receive(2, term: 1, .append(previous: .zero, entries: entries, commit: 3))
        _ = member.settle()
        #expect(member.raft.applied == 3)
        #expect(member.raft.configuration == Configuration(voters: [1, 2, 3]))
        for entry in entries { #expect(member.replica.apply(entry) == nil) }
        #expect(member.replica.apply(Entry(kind: .changes, data: [9])) == nil)
    }
}
