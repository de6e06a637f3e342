// Stages.swift - members in every role and state, made by sound means: what the fire is aimed at.

import Primitives
import Raft

struct Stage {
    let name: String
    let subject: Subject
}

/// Members 1 … 5, of which 1 is the subject; 8 and 9 are strangers.
enum Stages {
    static func member(_ raw: UInt64) -> MemberID { MemberID(raw: raw) }

    static var options: Options {
        var options = Options(id: Self.member(1))
        options.electionTicks = 10
        options.electionSpreadTicks = 10
        options.heartbeatTicks = 2
        options.appendBytesMax = 120
        options.applyingBytesMax = 200
        options.uncommittedBytesMax = 300
        options.inFlightMessagesMax = 4
        options.inFlightBytesMax = 200
        options.readsMax = 8
        return options
    }

    /// Ten entries, terms 1 1 1 2 2 2 3 3 3 3.
    static var entries: [Entry] {
        (1...10).map { Entry(term: min(3, ($0 + 2) / 3), index: $0, data: [UInt8($0)]) }
    }

    static func start(
        _ configuration: Configuration, commit: UInt64 = 6
    ) -> Start {
        Start(
            hardState: HardState(term: 4, vote: .none, commit: commit),
            configuration: configuration, entries: Self.entries, applied: 4)
    }

    static func members(_ raws: [UInt64]) -> [MemberID] { raws.map(Self.member) }

    static func make(_ configuration: Configuration) -> Subject {
        Subject(Self.options, Self.start(configuration))
    }

    static var plain: Configuration {
        Configuration(voters: Self.members([1, 2, 3, 4]), learners: Self.members([5]))
    }

    static func message(_ from: UInt64, term: UInt64, _ body: Message.Body) -> Message {
        Message(from: Self.member(from), to: Self.member(1), term: term, body)
    }

    static func settle(_ subject: inout Subject) {
        for _ in 0..<6 {
            subject.turn()
            while subject.hasStores { subject.store() }
            while subject.hasApplies { subject.apply() }
        }
    }

    static func candidate(_ configuration: Configuration) throws -> Subject {
        var subject = Self.make(configuration)
        Self.settle(&subject)
        subject.campaign()
        Self.settle(&subject)
        for id in configuration.allVoters where id != Self.member(1) {
            guard subject.raft.role == .preCandidate else { break }
            try subject.step(
                Self.message(
                    id.raw, term: subject.raft.term + 1, .preVoteAnswer(isGranted: true)))
        }
        Self.settle(&subject)
        return subject
    }

    static func leader(_ configuration: Configuration) throws -> Subject {
        var subject = try Self.candidate(configuration)
        for id in configuration.allVoters where id != Self.member(1) {
            guard subject.raft.role == .candidate else { break }
            try subject.step(
                Self.message(id.raw, term: subject.raft.term, .voteAnswer(isGranted: true)))
        }
        Self.settle(&subject)
        return subject
    }

    static func follower() throws -> Subject {
        var subject = Self.make(Self.plain)
        try subject.step(
            Self.message(
                2, term: 5,
                .append(
                    previous: LogPosition(term: 3, index: 10),
                    entries: (11...14).map { Entry(term: 5, index: $0, data: [1, 2, 3]) },
                    commit: 12)))
        return subject
    }

    /// 2 replicates, 3 probes, 4 waits for a snapshot, 5 is a learner.
    static func busyLeader(_ configuration: Configuration) throws -> Subject {
        var subject = try Self.leader(configuration)
        let last = subject.raft.lastIndex
        for id: UInt64 in [2, 3] {
            try subject.step(
                Self.message(id, term: subject.raft.term, .appended(index: last)))
            Self.settle(&subject)
        }
        subject.save(compacts: true)
        try subject.step(
            Self.message(
                4, term: subject.raft.term,
                .appendRejected(index: 10, hint: LogPosition(term: 0, index: 0))))
        subject.reportUnreachable(Self.member(3))
        try subject.propose([Entry(data: [1, 2, 3]), Entry(data: [4])])
        subject.turn()
        return subject
    }

    static func all() throws -> [Stage] {
        var stages = [
            Stage(name: "follower without a leader", subject: Self.make(Self.plain)),
            Stage(name: "follower, stores under way", subject: try Self.follower()),
            Stage(name: "candidate", subject: try Self.candidate(Self.plain)),
            Stage(name: "leader", subject: try Self.leader(Self.plain)),
            Stage(name: "busy leader", subject: try Self.busyLeader(Self.plain)),
            Stage(name: "nobody's member", subject: Self.make(Configuration())),
        ]
        var asking = Self.make(Self.plain)
        asking.campaign()
        asking.turn()
        stages.append(Stage(name: "pre-candidate", subject: asking))

        let joint = Configuration(
            voters: Self.members([1, 2, 3]), outgoing: Self.members([1, 2, 4]),
            learners: Self.members([5]), learnersNext: Self.members([4]), autoLeave: true)
        stages.append(Stage(name: "joint leader", subject: try Self.busyLeader(joint)))
        stages.append(Stage(name: "joint follower", subject: Self.make(joint)))

        let others = Configuration(voters: Self.members([2, 3, 4]))
        stages.append(Stage(name: "removed", subject: Self.make(others)))
        let learning = Configuration(
            voters: Self.members([2, 3, 4]), learners: Self.members([1, 5]))
        stages.append(Stage(name: "learner", subject: Self.make(learning)))
        let alone = Configuration(voters: Self.members([1]), learners: Self.members([5]))
        stages.append(Stage(name: "leader alone", subject: try Self.leader(alone)))

        var transferring = try Self.busyLeader(Self.plain)
        transferring.transfer(to: Self.member(3))
        stages.append(Stage(name: "transfer under way", subject: transferring))
        stages += try Self.rare()
        return stages
    }

    private static func rare() throws -> [Stage] {
        var installing = Self.make(Self.plain)
        try installing.step(
            Self.message(
                2, term: 6,
                .snapshot(
                    Snapshot(
                        position: LogPosition(term: 5, index: 20), configuration: Self.plain,
                        data: [9]))))
        installing.turn()

        var changing = try Self.busyLeader(Self.plain)
        try changing.propose([
            ConfigurationChange([
                MemberChange(.addVoter, Self.member(5)), MemberChange(.remove, Self.member(2)),
            ]).entry()
        ])
        changing.turn()

        var leaving = try Self.leader(Self.plain)
        for id: UInt64 in [2, 3] {
            let last = leaving.raft.lastIndex
            try leaving.step(Self.message(id, term: leaving.raft.term, .appended(index: last)))
        }
        Self.settle(&leaving)
        try leaving.propose([ConfigurationChange([MemberChange(.remove, Self.member(1))]).entry()])
        leaving.turn()
        return [
            Stage(name: "snapshot under way", subject: installing),
            Stage(name: "change under way", subject: changing),
            Stage(name: "leader on its way out", subject: leaving),
        ]
    }
}
