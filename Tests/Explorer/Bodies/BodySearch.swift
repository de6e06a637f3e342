// BodySearch.swift - breadth first through all worlds of bodies, each of them once.
//
// See       BodySteps (the world after an event), BodyChecks (what must hold).

import MailQueue
import Primitives
import Spool

package final class BodySearch {
    package struct Report: Sendable {
        /// Distinct worlds, by the least number of events that lead to them.
        package var perDepth: [Int] = [1]
        package var distinct = 1
        package var generated = 0
        package var settled = 0
        /// Nothing is left to look at: these are all the worlds of the scope.
        package var isComplete = false
        package var depth = 0
        package var violation: Search.Violation?
        package var logs = 0
        package var nodes = 0
    }

    let scope: BodyScope
    let book = LogBook()
    var nodes = Interner<BodyNode>()
    var mails = Interner<BodyMail>()
    var proposals = Interner<BodyProposal>()
    /// Worlds that come to rest as they should.
    var restful = DigestSet()
    private var isSeen = DigestSet()
    private var parents: ContiguousArray<UInt32> = [0]
    private var causes: ContiguousArray<UInt32> = [0]
    private let origin: BodyWorld

    package init(_ scope: BodyScope) {
        self.scope = scope
        var origin = BodyWorld()
        origin.log = self.book.root
        let sessions = self.book.facts(origin.log).sessions
        for place in 0..<3 {
            var node = BodyNode(place: place, applied: origin.log)
            node.session = SessionID(raw: sessions[place])
            origin.nodes[place] = self.nodes.number(node)
        }
        self.origin = origin
    }

    package func run(
        depthMax: Int, statesMax: Int, progress: (Report) -> Void = { _ in }
    ) -> Report {
        var report = Report()
        var frontier = [self.origin]
        _ = self.isSeen.insert(self.origin.digest)
        var first = 0
        while report.depth < depthMax {
            let before = report.distinct
            var next: [BodyWorld] = []
            let isWhole = self.expand(
                frontier, first: first, into: &next, statesMax: statesMax, &report)
            report.logs = self.book.count
            report.nodes = self.nodes.values.count
            if report.distinct > before { report.perDepth.append(report.distinct - before) }
            guard isWhole else { break }
            if next.isEmpty {
                report.isComplete = true
                break
            }
            report.depth += 1
            first = before
            frontier = next
            progress(report)
        }
        return report
    }

    /// - Returns: whether all of the frontier was looked at.
    private func expand(
        _ frontier: [BodyWorld], first: Int, into next: inout [BodyWorld], statesMax: Int,
        _ report: inout Report
    ) -> Bool {
        for (i, world) in frontier.enumerated() {
            let number = UInt32(first + i)
            for event in self.list(world) {
                var successor = world
                guard self.follow(event, &successor) else { continue }
                report.generated += 1
                let digest = successor.digest
                if self.isSeen.contains(digest) { continue }
                var text = self.fault(in: successor)
                if text == nil, digest.a % UInt64(self.scope.settleEvery) == 0 {
                    report.settled += 1
                    text = self.faultAtRest(successor)
                }
                if let text {
                    let trace = self.trace(self.path(number) + [event])
                    report.violation = Search.Violation(text: text, trace: trace)
                    return false
                }
                _ = self.isSeen.insert(digest)
                self.parents.append(number)
                self.causes.append(event.raw)
                next.append(successor)
                report.distinct += 1
            }
            if report.distinct >= statesMax { return false }
        }
        return true
    }

    // MARK: What can happen next.

    /// The leader and a majority reach each other, and the leader is reached from `place`.
    func canCommit(_ world: BodyWorld, from place: Int) -> Bool {
        let members = self.book.facts(world.log).members
        let voters = (0..<3).filter {
            world.areLinked(world.leader, $0) && members.contains(self.node(world, $0).holder)
        }
        return world.areLinked(place, world.leader) && voters.contains(world.leader)
            && voters.count >= 2
    }

    func list(_ world: BodyWorld) -> [BodyEvent] {
        var events: [BodyEvent] = []
        for (content, place) in self.scope.acceptors.enumerated() where !world.isBegun(content) {
            // Two messages of one node are alike: the first comes first.
            let isNext = content == 0 || world.isBegun(0) || self.scope.acceptors[0] != place
            if isNext, self.node(world, place).session != .none {
                events.append(BodyEvent(.accept, place, UInt32(content)))
            }
        }
        for mail in world.mail { events.append(BodyEvent(.deliver, 0, mail)) }
        for place in 0..<3 { self.list(world, place, &events) }
        self.listLog(world, &events)
        if world.cut != nil { events.append(BodyEvent(.heal)) }
        return events
    }

    private func list(_ world: BodyWorld, _ place: Int, _ events: inout [BodyEvent]) {
        let node = self.node(world, place)
        let unsynced = node.disk.contains { !$0.isSynced }
        if node.waitsForSync { events.append(BodyEvent(.sync, place)) }
        if world.used(.crashes) < self.scope.crashes {
            events.append(BodyEvent(.crash, place, 0))
            if unsynced { events.append(BodyEvent(.crash, place, 1)) }
        }
        if world.used(.wipes) < self.scope.wipes { events.append(BodyEvent(.wipe, place)) }
        if world.cut != place, node.applied != world.log {
            events.append(BodyEvent(.apply, place))
        }
        if !self.scope.collectsAtOnce, !node.disk.isEmpty {
            events.append(BodyEvent(.collect, place))
        }
        for placing in node.placings {
            if placing.ticks == 0, placing.machine.wake != nil {
                events.append(BodyEvent(.tick, place, UInt32(placing.content)))
            }
            if world.used(.giveUps) < self.scope.giveUps {
                events.append(BodyEvent(.giveUp, place, UInt32(placing.content)))
            }
        }
        if world.used(.repairs) < self.scope.repairs { events.append(BodyEvent(.repair, place)) }
        if world.cut == nil, world.used(.cuts) < self.scope.cuts {
            events.append(BodyEvent(.cut, place))
        }
        if world.used(.rots) < self.scope.rots {
            for i in node.disk.indices where node.disk[i].isSynced {
                events.append(BodyEvent(.rot, place, UInt32(i)))
            }
        }
    }

    private func listLog(_ world: BodyWorld, _ events: inout [BodyEvent]) {
        let facts = self.book.facts(world.log)
        for number in world.proposals {
            let proposal = self.proposals[number]
            guard self.canCommit(world, from: proposal.from) else { continue }
            events.append(BodyEvent(.commit, 0, number))
            if world.used(.repeats) < self.scope.repeats {
                events.append(BodyEvent(.commitTwice, 0, number))
            }
        }
        if self.canCommit(world, from: world.leader) {
            for message in facts.messages {
                events.append(BodyEvent(.end, 0, UInt32(message.content)))
            }
            if world.used(.expiries) < self.scope.expiries {
                for place in 0..<3 where facts.sessions[place] != 0 {
                    events.append(BodyEvent(.expire, place))
                }
            }
        }
        if world.used(.leaders) < self.scope.leaders {
            for place in 0..<3
            where place != world.leader && world.cut != place
                && facts.members.contains(self.node(world, place).holder)
            {
                events.append(BodyEvent(.lead, place))
            }
        }
    }

    // MARK: How it came to that.

    private func path(_ number: UInt32) -> [BodyEvent] {
        var path: [BodyEvent] = []
        var at = Int(number)
        while at != 0 {
            path.append(BodyEvent(raw: self.causes[at]))
            at = Int(self.parents[at])
        }
        return path.reversed()
    }

    private func trace(_ path: [BodyEvent]) -> [String] {
        var world = self.origin
        var lines: [String] = []
        for (i, event) in path.enumerated() {
            lines.append("\(i + 1). " + self.text(of: event, world))
            _ = self.follow(event, &world)
        }
        return lines
    }
}
