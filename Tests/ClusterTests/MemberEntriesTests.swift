// MemberEntriesTests.swift - which disks the plan of members knows of, by the applied state.

import MailQueue
import Primitives
import Raft
import Testing

@testable import Cluster

@Suite("The disks that a plan of members knows")
struct MemberEntriesTests {
    private static let founders = (UInt64(1)...3).map {
        FoundingRecord.Member(name: "n\($0)", incarnation: Incarnation(raw: $0))
    }

    /// The plan's next change on the state that these commands make.
    private func next(
        _ commands: [Command], voters: [UInt64], learners: [UInt64] = []
    ) -> ConfigurationChange? {
        var queue = MailQueue()
        var effects: [Effect] = []
        for (place, command) in commands.enumerated() {
            _ = queue.apply(
                command, index: UInt64(place) + 1, stamp: QueueTime(milliseconds: 1),
                effects: &effects)
        }
        var configuration = Configuration(voters: voters.map { MemberID(raw: $0) })
        configuration.learners = learners.map { MemberID(raw: $0) }
        let applied = UInt64(commands.count)
        var start = Start(configuration: configuration)
        start.base = LogPosition(term: 1, index: applied)
        start.applied = applied
        start.hardState = HardState(term: 1, vote: .none, commit: applied)
        let machine = NodeMachine(
            queue: queue, options: Options(id: MemberID(raw: 1)), start: start, known: [],
            clock: QueueClock(last: .zero, stopped: .zero, now: .zero), random: 0)
        let entries = machine.memberEntries(
            founders: Self.founders, seeds: Self.founders.map(\.name)
        ) { _, disk in disk.raw < 2 || disk.raw == 3 || disk.raw == 20 }
        return MembershipPlan(
            configuration: machine.configuration,
            directory: entries.map {
                var entry = $0
                entry.match = applied
                return entry
            }, leader: machine.id, founders: 3, lastIndex: applied, isUnderWay: false
        ).next
    }

    private func admit(_ node: String, _ disk: UInt64) -> Command {
        Command(.admit(Admission(node: node, incarnation: Incarnation(raw: disk))))
    }

    private func open(_ node: String, _ disk: UInt64) -> Command {
        Command(
            .openSession(
                OpenSession(
                    node: node, incarnation: Incarnation(raw: disk), boot: 1, nonce: disk,
                    credit: 1, replayed: true, delivers: true)))
    }

    @Test func `a disk is replaced a second time, though the one before is retired already`() {
        let commands = [
            self.open("n1", 1), self.open("n2", 2), self.open("n3", 3),
            self.admit("n2", 10), self.open("n2", 10),
            self.admit("n2", 20), self.open("n2", 20),
        ]
        let change = self.next(commands, voters: [1, 3, 10], learners: [20])
        #expect(
            change
                == ConfigurationChange(
                    transition: .implicit,
                    [
                        MemberChange(.addVoter, MemberID(raw: 20)),
                        MemberChange(.remove, MemberID(raw: 10)),
                    ]))
    }

    @Test(arguments: [true, false])
    func `a worker that was removed leaves the configuration, voter or not`(votes: Bool) {
        let commands = [
            self.open("n1", 1), self.open("n2", 2), self.open("n3", 3),
            self.admit("w", 20), self.open("w", 20),
            Command(
                .removeNode(
                    RemoveNode(node: "w", incarnation: Incarnation(raw: 20), force: true))),
        ]
        let wish = Command(
            Origin(session: SessionID(raw: 1), sequence: 1), .wish(node: "w", .leaving))
        let change = self.next(
            Array(commands.dropLast()) + [wish] + commands.suffix(1),
            voters: votes ? [1, 2, 3, 20] : [1, 2, 3], learners: votes ? [] : [20])
        #expect(
            change == ConfigurationChange([MemberChange(.remove, MemberID(raw: 20))]))
    }

    @Test func `a disk that is gone and no member any more is of no interest`() {
        let commands = [
            self.open("n1", 1), self.open("n2", 2), self.open("n3", 3),
            self.admit("n2", 10), self.open("n2", 10), self.admit("n2", 20), self.open("n2", 20),
        ]
        #expect(self.next(commands, voters: [1, 3, 20]) == nil)
    }
}
