// PitfallInputTests.swift - what no sound peer says, row 53: refused by name, and nothing changes.

import Primitives
import Testing

@testable import Raft

@Suite("Pitfalls: unvalidated input, row 53")
struct PitfallInputTests {
    static let beyond = Raft.numberMax + 1

    private static func message(_ term: UInt64, _ body: Message.Body) -> Message {
        Message(from: 2, to: 1, term: term, body)
    }

    private static func snapshot(
        _ position: LogPosition, _ configuration: Configuration = Configuration(voters: [1, 2])
    ) -> Message.Body {
        .snapshot(Snapshot(position: position, configuration: configuration, data: []))
    }

    /// Message, and what it is refused as. The member is in term 3 with a log 1 2 3, commit 2.
    static let cases: [(Message, StepError)] = [
        (message(beyond, .heartbeatAnswer(round: 0)), .malformed("term")),
        (message(.max, .timeoutNow), .malformed("term")),
        (Message(from: .none, to: 1, term: 3, .timeoutNow), .malformed("sender")),
        (Message(from: 1, to: 1, term: 3, .timeoutNow), .malformed("sender")),
        (Message(from: 2, to: 9, term: 3, .timeoutNow), .malformed("addressee")),
        (message(0, .vote(last: .zero, isTransfer: false)), .malformed("ballot")),
        (message(4, .vote(last: .at(1, 5), isTransfer: false)), .malformed("ballot")),
        (message(4, .preVote(last: .at(beyond, 3), isTransfer: false)), .malformed("ballot")),
        (
            message(3, .append(previous: .at(1, 4), entries: [], commit: 0)),
            .malformed("previous")
        ),
        (
            message(3, .append(previous: .at(beyond, 3), entries: [], commit: 0)),
            .malformed("previous")
        ),
        (message(0, .append(previous: .zero, entries: [], commit: 0)), .malformed("previous")),
        (
            message(3, .append(previous: .zero, entries: [], commit: beyond)),
            .malformed("commit")
        ),
        (message(3, .appended(index: beyond)), .malformed("index")),
        (message(3, .appendRejected(index: beyond, hint: .zero)), .malformed("hint")),
        (message(3, .appendRejected(index: 3, hint: .at(4, 1))), .malformed("hint")),
        (message(3, .readAnswer(index: beyond, request: 1)), .malformed("index")),
        (message(3, snapshot(.zero)), .malformed("snapshot")),
        (message(3, snapshot(.at(beyond, 3))), .malformed("snapshot")),
        (message(3, snapshot(.at(9, 4))), .malformed("snapshot")),
        (message(3, snapshot(.at(9, 3), Configuration())), .malformed("snapshot")),
        (
            message(3, snapshot(.at(9, 3), Configuration(voters: [2, 1]))),
            .malformed("snapshot")
        ),
        (message(3, .propose([])), .malformed("empty proposal")),
        (
            message(3, .propose([Entry(kind: .change, data: [])])),
            .malformed("change of members")
        ),
        (Message(from: 9, to: 1, term: 3, .appended(index: 1)), .unknownPeer),
        (Message(from: 9, to: 1, term: 9, .voteAnswer(isGranted: true)), .unknownPeer),
        (message(0, .propose([Entry(data: [1])])), .proposalDropped),
        (message(0, .read(request: 1)), .proposalDropped),
        (
            message(3, .heartbeat(commit: 4, round: 0)),
            .contradiction("a leader knows entries here that are not")
        ),
    ]

    @Test(arguments: Self.cases.indices)
    func `row 53: refused by name, and nothing has changed`(at: Int) {
        let (message, error) = Self.cases[at]
        var member = Solo(1, voters: [1, 2, 3], term: 3, terms: [1, 2, 3], commit: 2)
        _ = member.settle()
        let before = member.replica
        #expect(throws: error) { try member.replica.step(message) }
        #expect(member.replica == before)
        #expect(member.settle().isEmpty)
    }

    @Test(arguments: [
        [Entry.at(5, 3)], [.at(4, 2)], [.at(4, 4)], [.at(4, 3), .at(6, 3)], [.at(4, 3), .at(4, 3)],
        [.at(3, 3), .at(4, 3)], [.at(4, 0)], [.at(.max, 3)],
    ])
    func `row 53: entries that are out of order are refused`(entries: [Entry]) {
        var member = Solo(1, voters: [1, 2, 3], term: 3, terms: [1, 2, 3])
        let before = member.replica
        #expect(throws: StepError.malformed("order of entries")) {
            try member.receive(
                2, term: 3, .append(previous: .at(3, 3), entries: entries, commit: 0))
        }
        #expect(member.replica == before)
    }

    @Test func `row 53: entries up to the greatest index are taken, and none beyond`() throws {
        let end = LogPosition.at(Raft.numberMax - 1, 3)
        var member = Solo(1, voters: [1, 2, 3], term: 3)
        try member.receive(2, term: 3, Self.snapshot(end, Configuration(voters: [1, 2, 3])))
        _ = member.settle()
        try member.receive(
            2, term: 3, .append(previous: end, entries: [.at(Raft.numberMax, 3)], commit: 0))
        #expect(throws: StepError.malformed("order of entries")) {
            try member.receive(
                2, term: 3,
                .append(
                    previous: .at(Raft.numberMax, 3), entries: [.at(Raft.numberMax + 1, 3)],
                    commit: 0))
        }
        #expect(member.raft.lastIndex == Raft.numberMax)
    }

    @Test func `row 53: who acknowledges more than there is has lost its mind, and is told apart`()
        throws
    {
        var leader = Solo(1, voters: [1, 2, 3])
        try leader.lead(helpers: 2)
        let before = leader.replica
        #expect(throws: StepError.malformed("acknowledged too much")) {
            try leader.receive(2, term: 1, .appended(index: 2))
        }
        #expect(leader.replica == before)
        try leader.receive(2, term: 1, .appended(index: 1))
    }

    @Test func `row 53: a second leader of one term is a contradiction`() throws {
        var member = Solo(1, voters: [1, 2, 3], term: 3)
        try member.receive(2, term: 3, .heartbeat(commit: 0, round: 0))
        _ = member.settle()
        for body: Message.Body in [
            .heartbeat(commit: 0, round: 0), .append(previous: .zero, entries: [], commit: 0),
            Self.snapshot(.at(9, 3), Configuration(voters: [1, 2, 3])),
        ] {
            let before = member.replica
            #expect(throws: StepError.contradiction("two leaders of one term")) {
                try member.receive(3, term: 3, body)
            }
            #expect(member.replica == before)
        }
        // Of the next term it may.
        try member.receive(3, term: 4, .heartbeat(commit: 0, round: 0))
        #expect(member.raft.leader == 3)
    }

    @Test func `row 53: an answer to a round that never was proves nothing`() throws {
        var leader = Solo(1, voters: [1, 2, 3])
        try leader.lead(helpers: 2)
        try leader.receive(2, term: 1, .appended(index: 1))
        _ = leader.settle()
        try leader.receive(2, term: 1, .heartbeatAnswer(round: 99))
        try leader.replica.requestRead(1)
        #expect(leader.settle().readable.isEmpty)
        try leader.receive(2, term: 1, .heartbeatAnswer(round: 1))
        #expect(leader.settle().readable.count == 1)
    }
}
