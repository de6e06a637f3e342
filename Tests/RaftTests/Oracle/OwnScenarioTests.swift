// OwnScenarioTests.swift - scenarios of our own, in the grammar of etcd's files.
//
// They are for what those files do not show. Each line of an expected output was argued from the
// thesis and from how etcd's core is known to behave before it was accepted.

import Testing

struct OwnScenario: Sendable, CustomTestStringConvertible {
    var name: String
    var text: String

    init(_ name: String, _ text: String) {
        self.name = name
        self.text = text
    }

    var testDescription: String { self.name }

    static let all: [Self] = [
        .split, .asking, .forgetting, .transfer, .transferWithQuorum, .forwarding, .commits,
        .window, .sizes, .uncommitted, .probing, .unreachable, .silent, .compacted, .delegated,
        .unasked, .older, .waiting, .explicit, .implicit, .leaving, .newLeader, .fewer, .single,
        .learners, .appendRace, .unapplied, .pages, .rooms, .refused, .majorities,
    ]
}

@Suite("Scenarios of our own", .counted)
struct OwnScenarioTests {
    @Test(arguments: OwnScenario.all)
    func `every block answers as written`(_ scenario: OwnScenario) throws {
        let result = Script.run(try DataFile(scenario.text, file: scenario.name))
        Tally.current?.add(result)
        for failure in result.failures.prefix(3) {
            Issue.record(Comment(rawValue: failure.description))
        }
        let failed = result.failures.count
        #expect(failed == 0, "\(result.passed) blocks passed")
    }

    @Test func `a wrong line is found, wherever it stands`() throws {
        let text = """
            add-nodes 1 voters=(1) index=2
            ----
            ok

            campaign 1
            ----

            process-ready 1
            ----
            Ready MustSync=true:
            Lead:0 State:StateCandidate
            HardState Term:1 Vote:1 Commit:3
            """
        let result = Script.run(try DataFile(text, file: "wrong"))
        #expect(result.passed == 2)
        let failure = try #require(result.failures.first)
        #expect(failure.block.line == 8)
        #expect(failure.wanted.last == "HardState Term:1 Vote:1 Commit:3")
        #expect(failure.got.last == "HardState Term:1 Vote:1 Commit:2")
        #expect("\(failure)".contains("first difference in line 3 of the output"))
    }
}
