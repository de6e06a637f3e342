// HealthFactsTests.swift - each reason and each note, and that health is healthy without a reason.

import MailQueue
import Testing

@testable import Cluster

@Suite("Why a cluster is not healthy")
struct HealthFactsTests {
    /// Three voters, all there; asked is `a`.
    private func whole() -> HealthFacts {
        var facts = HealthFacts(node: "a")
        facts.voters = ["a", "b", "c"].map { .init(name: $0, presence: .reached) }
        facts.members = ["a", "b", "c"].map { .init(name: $0, isVoter: true) }
        facts.copies = .init(reached: 2, placed: 2, wanted: 2, needed: 2, absent: [], takers: 3)
        return facts
    }

    private func only(_ list: [StatusReason]) throws -> StatusReason {
        try #require(list.count == 1, "\(list)")
        return list[0]
    }

    @Test func `a whole cluster has no reason and no note`() {
        let facts = self.whole()
        #expect(facts.health == .healthy && facts.reasons == [] && facts.notes == [])
        var empty = facts
        empty.copies = nil
        #expect(empty.health == .healthy)
    }

    @Test func `a voter that is not reached is named, with why and what to do`() throws {
        var facts = self.whole()
        facts.voters[1].presence = .absent
        facts.voters[1].lastError = "connection refused"
        #expect(facts.health == .degraded)
        let reason = try self.only(facts.reasons)
        #expect(reason.label == .voterUnreachable && reason.node == "b")
        #expect(reason.sentence == "voter b is not reached: connection refused")
        #expect(
            reason.remedy
                == "start b, with an empty data directory if its disk is lost; if it is gone "
                + "for good: posthouse cluster remove b")
        facts.voters[1].wish = .leaving
        #expect(try self.only(facts.reasons).remedy.contains("posthouse cluster undrain b"))
        facts.voters[1].lastError = String(repeating: "x", count: 300)
        #expect(
            try self.only(facts.reasons).sentence
                == "voter b is not reached: " + String(repeating: "x", count: 200))
        facts.voters[1].name = nil
        let unnamed = try self.only(facts.reasons)
        #expect(unnamed.node == nil && unnamed.sentence.contains("unknown name"))
        #expect(unnamed.remedy == "start the node that does not run")
    }

    @Test func `a voter that came back with another disk is no absent one`() throws {
        var facts = self.whole()
        facts.voters[2].presence = .replaced
        let reason = try self.only(facts.reasons)
        #expect(facts.health == .degraded)
        #expect(reason.label == .voterReplaced && reason.node == "c")
        #expect(reason.remedy.hasPrefix("wait"))
    }

    @Test func `without a quorum that is the first reason, with who is to be started`() {
        var facts = self.whole()
        facts.hasQuorum = false
        facts.voters[1].presence = .absent
        facts.voters[2].presence = .absent
        #expect(facts.health == .noQuorum)
        #expect(
            facts.reasons.map(\.label) == [.noQuorum, .voterUnreachable, .voterUnreachable])
        #expect(facts.reasons[0].sentence.hasSuffix("1 of 3 voters are reached by a"))
        #expect(facts.reasons[0].remedy == "start b or c")
        facts.voters[1].presence = .reached
        facts.voters[2].presence = .reached
        #expect(facts.reasons.map(\.label) == [.noQuorum])
        #expect(facts.reasons[0].remedy.hasPrefix("wait for the election"))
    }

    @Test func `before there is a cluster the reason says for whom the node waits`() throws {
        var facts = HealthFacts(node: "a")
        facts.hasQuorum = false
        facts.waitsFor = "waits for all seeds; missing: b"
        let reason = try self.only(facts.reasons)
        #expect(facts.health == .noQuorum && reason.label == .notFounded && reason.node == "a")
        #expect(reason.sentence == "a waits for all seeds; missing: b")
    }

    @Test func `too few copies: unreachable, set too low, too few nodes, or under way`() throws {
        typealias Copies = HealthFacts.Copies
        let cases: [(Copies, StatusReason.Label, String)] = [
            (
                Copies(reached: 1, placed: 2, wanted: 2, needed: 2, absent: ["d"], takers: 3),
                .copiesUnreachable, "some mail has 1 copy within reach, others are on d"
            ),
            (
                Copies(
                    reached: 0, placed: 2, wanted: 2, needed: 2, absent: ["d", "e"], takers: 3),
                .copiesUnreachable,
                "some mail has no copy within reach, others are on d and e"
            ),
            (
                Copies(reached: 1, placed: 1, wanted: 1, needed: 2, absent: [], takers: 3),
                .copiesSetting, "some mail has 1 copy within reach, since cluster.copies is 1"
            ),
            (
                Copies(reached: 2, placed: 2, wanted: 3, needed: 3, absent: [], takers: 2),
                .copiesNodes,
                "some mail has 2 copies within reach: each is to have 3, and nodes that take "
                    + "copies: 2"
            ),
            (
                Copies(reached: 1, placed: 1, wanted: 2, needed: 2, absent: [], takers: 2),
                .copiesUnderWay, "some mail has 1 copy within reach of 2; more are being made"
            ),
        ]
        for (copies, label, sentence) in cases {
            var facts = self.whole()
            facts.copies = copies
            #expect(facts.health == .degraded)
            let reason = try self.only(facts.reasons)
            #expect(reason.label == label && reason.sentence == sentence)
            #expect(reason.node == (copies.absent.count == 1 ? "d" : nil))
            #expect(!reason.remedy.isEmpty)
        }
        // Two voters survive no loss: one copy is as good as they are.
        var two = self.whole()
        two.copies = .init(reached: 1, placed: 1, wanted: 1, needed: 1, absent: [], takers: 2)
        #expect(two.health == .healthy)
    }

    @Test func `every alarm is a reason, also of a node alone`() {
        let labels: [(String, StatusReason.Label)] = [
            ("disk", .disk), ("quota", .quota), ("clock", .clock),
            ("state_differs", .stateDiffers), ("body_lost", .bodyLost),
            ("a body on this disk is damaged", .bodyDamaged),
            ("garbage pass refused: live bodies would go", .garbageRefused),
            ("removed", .removed), ("session_refused", .sessionRefused),
            ("no_copies", .noCopies), ("other", .alarm),
        ]
        for isAlone in [false, true] {
            for (alarm, label) in labels {
                var facts = self.whole()
                facts.isAlone = isAlone
                facts.alarms = [alarm]
                facts.stateDiffers = ["b", "c"]
                #expect(facts.health == .degraded)
                #expect(facts.reasons.map(\.label) == [label])
                #expect(facts.reasons[0].node == "a" && !facts.reasons[0].remedy.isEmpty)
            }
        }
        var facts = self.whole()
        facts.alarms = ["state_differs", "other"]
        facts.stateDiffers = ["b", "c"]
        #expect(facts.reasons[0].sentence.hasPrefix("the state of b and c is another"))
        #expect(facts.reasons[1].sentence == "alarm on a: other")
    }

    @Test func `settings that differ are a note, and the cluster stays healthy`() throws {
        var facts = self.whole()
        facts.settingsDiffer = ["b"]
        #expect(facts.health == .healthy)
        let note = try self.only(facts.notes)
        #expect(note.label == .settingsDiffer && note.node == "b")
        #expect(note.sentence.hasPrefix("settings differ on b:"))
        #expect(note.remedy.hasSuffix("alike in all files; then reload"))
        facts.settingsDiffer = ["b", "c"]
        #expect(try self.only(facts.notes).sentence.hasPrefix("settings differ on b and c:"))
        #expect(try self.only(facts.notes).node == nil)
    }

    @Test func `what operators have begun, and small things, are notes`() throws {
        typealias Member = HealthFacts.Member
        let cases: [(Member, StatusReason.Label, String)] = [
            (
                Member(name: "d", isVoter: false, isReached: false, lastError: "no route"),
                .workerUnreachable, "d is not reached: no route"
            ),
            (
                Member(name: "d", isVoter: true, wish: .leaving, isDraining: true), .leaving,
                "d is being removed"
            ),
            (Member(name: "d", isVoter: true, wish: .dead), .leaving, "d is being removed"),
            (
                Member(name: "d", isVoter: false, wish: .promoted), .promotion,
                "d is to become a voter"
            ),
            (
                Member(name: "d", isVoter: true, wish: .demoted), .demotion,
                "d is to become a worker"
            ),
            (
                Member(name: "d", isVoter: true, isDraining: true), .draining,
                "d is drained: no new deliveries and sessions there"
            ),
            (Member(name: "d", isVoter: true, isStopping: true), .stopping, "d is stopping"),
            (
                Member(name: "d", isVoter: true, refusesBodies: true), .noBodies,
                "d takes no mail and no copies: its disk is low on space"
            ),
            (
                Member(name: "d", isVoter: true, lag: 10_001), .behind,
                "d is 10001 log entries behind"
            ),
        ]
        for (member, label, sentence) in cases {
            var facts = self.whole()
            facts.members.append(member)
            #expect(facts.health == .healthy)
            let note = try self.only(facts.notes)
            #expect(note.label == label && note.sentence == sentence && note.node == "d")
            #expect(!note.remedy.isEmpty)
        }
        // What is done is no note, and a voter that is absent is a reason already.
        var facts = self.whole()
        facts.members += [
            Member(name: "d", isVoter: true, wish: .promoted),
            Member(name: "e", isVoter: false, wish: .demoted),
            Member(name: "f", isVoter: true, isReached: false),
            Member(name: "g", isVoter: true, lag: 10_000),
        ]
        #expect(facts.notes == [])
    }

    @Test func `a list has a limit, and says what it leaves out`() {
        var facts = self.whole()
        facts.alarms = (0..<StatusReason.listMax).map { "alarm \($0)" }
        #expect(facts.reasons.count == StatusReason.listMax)
        #expect(facts.reasons.last?.label == .alarm)
        facts.alarms.append("one more")
        #expect(facts.reasons.count == StatusReason.listMax)
        #expect(facts.reasons.last?.label == .more)
        #expect(facts.reasons.last?.sentence == "2 more are not shown")
    }
}
