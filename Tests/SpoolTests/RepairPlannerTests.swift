import Primitives
import Spool
import Testing

private func holder(_ node: String, _ incarnation: UInt64 = 1) -> Holder {
    Holder(node: node, incarnation: Incarnation(raw: incarnation))
}
private let names = ["a", "b", "c", "d", "e"]
private let members = names.map { BodyPeer(holder: holder($0), isUp: true) }
private func tag(_ number: Int) -> Primitives.Tag {
    Primitives.Tag(session: SessionID(raw: 4), sequence: UInt64(number))
}
private func short(_ number: Int, _ nodes: [String], bytes: UInt64 = 1000) -> BodyShortage {
    BodyShortage(message: tag(number), storedBytes: bytes, holders: nodes.map { holder($0) })
}
private func seconds(_ seconds: Int) -> Instant { .zero + .seconds(seconds) }

/// What each of the members would do.
private func plans(
    _ shortages: [BodyShortage], _ members: [BodyPeer] = members, absent: [Holder] = [],
    copies: Int = 2
) -> [String: [RepairPlanner.Action]] {
    var plans: [String: [RepairPlanner.Action]] = [:]
    for member in members where member.isUp {
        var planner = RepairPlanner(own: member.holder)
        plans[member.holder.node] = planner.plan(
            shortages, members: members, absent: absent, copies: copies, isLeader: false,
            now: .zero)
    }
    return plans
}

@Suite("Repair of bodies (2)")
struct RepairPlannerTests {
    @Test func `exactly one member that lacks it copies, from one that has it`() {
        var counts: [String: Int] = [:]
        for number in 1...300 {
            let all = plans([short(number, ["b"])])
            let busy = all.filter { !$0.value.isEmpty }
            #expect(busy.count == 1 && busy["b"] == nil)
            #expect(
                busy.first?.value == [.copy(message: tag(number), from: holder("b"))])
            counts[busy.first?.key ?? "", default: 0] += 1
        }
        #expect(counts.count == 4 && counts.values.allSatisfy { $0 > 40 })
    }

    @Test func `as many as are missing, of those that are up and have room`() {
        var some = members
        some[2].isUp = false
        some[3].isLowOnDisk = true
        let all = plans([short(1, ["b"])], some, copies: 3)
        #expect(all.filter { !$0.value.isEmpty }.keys.sorted() == ["a", "e"])
        let none = plans([short(1, ["c"])], some, copies: 2)
        #expect(none.allSatisfy { $0.value.isEmpty })
    }

    @Test func `one plan is not made twice, and what has ended is forgotten`() {
        var planner = RepairPlanner(own: holder("a"))
        let two = [members[0], members[1]]
        let plan = { (planner: inout RepairPlanner, list: [BodyShortage]) in
            planner.plan(
                list, members: two, absent: [], copies: 2, isLeader: false, now: .zero)
        }
        #expect(
            plan(&planner, [short(1, ["b"])]) == [.copy(message: tag(1), from: holder("b"))])
        #expect(plan(&planner, [short(1, ["b"])]).isEmpty)
        #expect(planner.underWay == [tag(1)] && planner.bytesInFlight == 1000)
        planner.settled(tag(1))
        #expect(planner.underWay.isEmpty)
        #expect(!plan(&planner, [short(1, ["b"])]).isEmpty)
    }

    @Test func `bytes and copies under way have a limit, and one large body goes alone`() {
        let two = [members[0], members[1]]
        let plan = { (sizes: [UInt64]) -> Int in
            var planner = RepairPlanner(own: holder("a"))
            let list = sizes.enumerated().map { short($0 + 1, ["b"], bytes: $1) }
            let actions = planner.plan(
                list, members: two, absent: [], copies: 2, isLeader: false, now: .zero)
            return actions.count
        }
        let most = RepairPlanner.bytesInFlightMax
        #expect(plan([most, 1]) == 1 && plan([most - 1, 1]) == 2 && plan([most - 1, 2]) == 1)
        #expect(plan([most * 10]) == 1)
        let count = RepairPlanner.copiesInFlightMax
        #expect(plan(Array(repeating: 1, count: count)) == count)
        #expect(plan(Array(repeating: 1, count: count + 1)) == count)
    }

    @Test func `a node that is away is waited for 5 minutes, one that comes back is forgotten`() {
        var planner = RepairPlanner(own: holder("a"))
        var seen = members
        seen[1].isUp = false
        #expect(planner.absent(seen, now: seconds(10)).isEmpty)
        #expect(planner.absent(seen, now: seconds(309)).isEmpty)
        #expect(planner.absent(seen, now: seconds(310)) == [holder("b")])
        #expect(planner.absent(members, now: seconds(311)).isEmpty)
        #expect(planner.absent(seen, now: seconds(312)).isEmpty)
        #expect(planner.absent(seen, now: seconds(612)) == [holder("b")])
    }

    @Test func `a copy that is absent counts as missing, and is a source if it is up after all`() {
        let all = plans([short(1, ["b", "c"])], absent: [holder("b")])
        #expect(all.filter { !$0.value.isEmpty }.count == 1)
        #expect(plans([short(1, ["b", "c"])]).allSatisfy { $0.value.isEmpty })
    }

    @Test func `a source that fails is followed by another, then by a wait of 30 s`() {
        let three = [members[0], members[1], members[2]]
        var planner = RepairPlanner(own: holder("a"))
        let list = [short(1, ["b", "c"])]
        let plan = { (planner: inout RepairPlanner, now: Instant) in
            planner.plan(
                list, members: three, absent: [], copies: 3, isLeader: false, now: now)
        }
        guard case .copy(_, let first)? = plan(&planner, .zero).first else {
            Issue.record("no copy")
            return
        }
        let other = first == holder("b") ? holder("c") : holder("b")
        let holders = list[0].holders
        #expect(
            planner.failed(tag(1), holders: holders, members: three, now: .zero)
                == [.copy(message: tag(1), from: other)])
        #expect(
            planner.failed(tag(1), holders: holders, members: three, now: .zero).isEmpty)
        #expect(plan(&planner, seconds(29)).isEmpty)
        #expect(plan(&planner, seconds(30)).count == 1)
        // Ended meanwhile: no holders, no further source.
        #expect(planner.failed(tag(1), holders: [], members: three, now: seconds(31)).isEmpty)
    }

    @Test func `what has no copy is given up by the leader after a minute, and once it is known`() {
        var planner = RepairPlanner(own: holder("a"))
        let plan = { (planner: inout RepairPlanner, list: [BodyShortage], leads: Bool, now: Int) in
            planner.plan(
                list, members: members, absent: [], copies: 2, isLeader: leads, now: seconds(now))
        }
        let lost = [short(1, [])]
        #expect(plan(&planner, lost, true, 0).isEmpty)
        #expect(plan(&planner, lost, true, 59).isEmpty)
        // A copy came to the log after all, and was lost again.
        #expect(plan(&planner, [], true, 59).isEmpty)
        #expect(plan(&planner, lost, true, 60).isEmpty)
        #expect(plan(&planner, lost, true, 120) == [.giveUp(tag(1))])
        #expect(plan(&planner, lost, false, 200).isEmpty)
    }
}
