// Search.swift - breadth first through all worlds of a scope, each of them once.
//
// Keeps     16 bytes a world to know it again, 8 to tell how it came about, and the words of those
//           that are next.
// See       Successors (what can happen), Checks (what must not), Trace (how it came to that).

import Primitives
import Raft

package final class Search {
    /// What was found.
    package struct Report: Sendable {
        /// Distinct worlds, by the least number of events that lead to them.
        package var perDepth: [Int] = [1]
        package var distinct = 1
        /// Successors made, those known already too.
        package var generated = 0
        /// Nothing is left to look at: these are all the worlds of the scope.
        package var isComplete = false
        /// All worlds up to this depth were looked at.
        package var depth = 0
        package var violation: Violation?
        package var members = 0
        package var messages = 0
    }

    package struct Violation: Sendable {
        package var text: String
        package var trace: [String]
    }

    let scope: Scope
    let catalogue: Catalogue
    var ghosts: [Ghost] = [Ghost()]
    var ghostNumbers: [Ghost: UInt32] = [Ghost(): 0]
    var isSeen = DigestSet()

    /// By number of a world, in the order in which they were found.
    private var parents: ContiguousArray<UInt32> = [0]
    private var causes: ContiguousArray<UInt32> = [0]
    private(set) var origin: World
    /// What is being tried: for the trace, should the replica trap.
    private var attempt: (world: UInt32, event: Event)?

    package init(_ scope: Scope) {
        self.scope = scope
        self.catalogue = Catalogue(isBoundless: scope.network == .boundless)
        var origin = World()
        for i in 0..<World.size {
            origin.members[i] = self.catalogue.number(of: Member(scope.options(i)))
        }
        origin.touched = scope.isSymmetric ? 0 : World.size - 1
        self.origin = origin
        if scope.isElected { self.elect() }
    }

    /// Lets node 1 win an election and everybody hear of it; then nothing is under way or used up.
    private func elect() {
        var world = self.origin
        var events: ContiguousArray<Event> = [Event(.campaign, 0)]
        var isQuiet = false
        while !isQuiet {
            isQuiet = true
            for event in events {
                var next = world
                guard case .moved = self.follow(event, &next) else { continue }
                isQuiet = false
                world = next
                break
            }
            self.list(world, &events)
            events.removeAll { $0.kind != .sync && $0.kind != .deliver }
        }
        world.removeMessages { _ in true }
        world.resetBudgets()
        self.origin = world
    }

    /// - Parameter statesMax: stops when so many worlds are known.
    /// - Parameter progress: after each depth.
    package func run(
        depthMax: Int, statesMax: Int, progress: (Report) -> Void = { _ in }
    ) -> Report {
        var report = Report()
        var frontier: ContiguousArray<UInt32> = []
        self.origin.write(to: &frontier)
        _ = self.isSeen.insert(self.origin.digest)
        var first = 0
        while report.depth < depthMax {
            let before = report.distinct
            var next: ContiguousArray<UInt32> = []
            let isWhole = self.expand(
                frontier, first: first, into: &next, statesMax: statesMax, &report)
            report.members = self.catalogue.memberCount
            report.messages = self.catalogue.messageCount
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
        _ frontier: ContiguousArray<UInt32>, first: Int, into next: inout ContiguousArray<UInt32>,
        statesMax: Int, _ report: inout Report
    ) -> Bool {
        var world = World()
        var successor = World()
        var events: ContiguousArray<Event> = []
        var number = UInt32(first)
        var at = 0
        while at < frontier.count {
            world.read(from: frontier, at: &at)
            self.list(world, &events)
            for event in events {
                self.attempt = (number, event)
                successor = world
                switch self.follow(event, &successor) {
                case .nothing: continue
                case .fault(let text):
                    report.violation = self.violation(text, number, event)
                    return false
                case .moved: report.generated += 1
                }
                let digest = successor.digest
                if self.isSeen.contains(digest) || self.isCovered(successor) { continue }
                if let text = self.fault(in: successor, at: event) {
                    report.violation = self.violation(text, number, event)
                    return false
                }
                _ = self.isSeen.insert(digest)
                self.parents.append(number)
                self.causes.append(event.raw)
                successor.write(to: &next)
                report.distinct += 1
            }
            if report.distinct >= statesMax { return false }
            number += 1
        }
        return true
    }

    // MARK: How it came to that.

    private func violation(_ text: String, _ number: UInt32, _ event: Event) -> Violation {
        Violation(text: text, trace: self.trace(self.path(number) + [event]))
    }

    /// Events from the beginning to the world of this number.
    private func path(_ number: UInt32) -> [Event] {
        var path: [Event] = []
        var at = Int(number)
        while at != 0 {
            path.append(Event(raw: self.causes[at]))
            at = Int(self.parents[at])
        }
        return path.reversed()
    }

    /// The events up to what is being tried, which trapped.
    package func traceOfAttempt() -> [String] {
        guard let (world, event) = self.attempt else { return [] }
        return self.trace(self.path(world)) + [self.text(of: event)]
    }
}
