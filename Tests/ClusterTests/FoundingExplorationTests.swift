// FoundingExplorationTests.swift - every run of a founding with three seeds, one crash, one wipe.

import Cluster
import Testing

/// Breadth first through all worlds of a scope, each of them once.
final class FoundingSearch {
    struct Report {
        var worlds = 0
        var machines = 0
        /// Foundings that were ever stored.
        var records = 0
        var wholeWorlds = 0
        var fault: String?
        var trace: [String] = []
    }

    /// A founding, the start of a lost one and its invitation take fewer rounds.
    static let healRounds = 16

    let universe: FoundingUniverse
    private var worlds: [FoundingWorld] = []
    private var numbers: [FoundingWorld: Int] = [:]
    private var causes: [(parent: Int, event: FoundingEvent?)] = []
    /// Worlds that are known to end well, without their letters.
    private var healing: Set<FoundingWorld> = []

    init(_ scope: FoundingScope) { self.universe = FoundingUniverse(scope) }

    func run(worldsMax: Int) -> Report {
        var report = Report()
        self.add(self.universe.origin(), 0, nil)
        var next = 0
        while next < self.worlds.count, self.worlds.count <= worldsMax {
            let world = self.worlds[next]
            if self.universe.isWhole(world) { report.wholeWorlds += 1 }
            // A mistake is to be found where it happens.
            if self.universe.scope.mistake == nil, let fault = self.heals(world) {
                report.fault = fault
                report.trace = self.trace(next)
                break
            }
            // All is decided, and no fault is left to undo it.
            if self.universe.isOver(world) {
                next += 1
                continue
            }
            for event in self.universe.events(world) {
                var successor = world
                if let fault = self.universe.follow(event, &successor) {
                    report.fault = fault
                    report.trace = self.trace(next) + [event.description]
                    break
                }
                self.add(successor, next, event)
            }
            if report.fault != nil { break }
            next += 1
        }
        if next < self.worlds.count, report.fault == nil { report.fault = "too many worlds" }
        report.worlds = self.worlds.count
        report.machines = self.universe.machines.values.count
        report.records = self.universe.records.values.count
        return report
    }

    private func add(_ world: FoundingWorld, _ parent: Int, _ event: FoundingEvent?) {
        guard self.numbers[world] == nil else { return }
        self.numbers[world] = self.worlds.count
        self.worlds.append(world)
        self.causes.append((parent, event))
    }

    /// All faults are over: does every seed end in one cluster?
    private func heals(_ world: FoundingWorld) -> String? {
        var world = world
        var path: [FoundingWorld] = []
        for _ in 0..<Self.healRounds {
            world.forget()
            if self.healing.contains(world) || self.universe.isWhole(world) {
                for world in path { self.healing.insert(world) }
                return nil
            }
            path.append(world)
            if let fault = self.universe.heal(&world) { return "while it heals: \(fault)" }
        }
        return "it does not heal"
    }

    private func trace(_ number: Int) -> [String] {
        var lines: [String] = []
        var at = number
        while let event = self.causes[at].event {
            lines.append(event.description)
            at = self.causes[at].parent
        }
        return lines.reversed()
    }
}

@Suite("Founding, exhaustively in a small scope")
struct FoundingExplorationTests {
    private func explore(_ scope: FoundingScope, worldsMax: Int = 2_000_000)
        -> FoundingSearch.Report
    {
        let search = FoundingSearch(scope)
        let report = search.run(worldsMax: worldsMax)
        print(
            "founding: \(report.worlds) worlds, \(report.machines) machines, \(report.records)"
                + " records with \(scope)")
        if let fault = report.fault { print(fault + ":\n" + report.trace.joined(separator: "\n")) }
        return report
    }

    @Test(arguments: [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
    func `with one fault, letter by letter, there is one cluster in the end`(
        crashes: Int, wipes: Int, asides: Int
    ) {
        let report = self.explore(
            FoundingScope(
                crashes: crashes, wipes: wipes, wipesFounderOnly: true, asides: asides))
        #expect(report.fault == nil)
        #expect(report.worlds > 10_000)
        #expect(report.wholeWorlds > 0)
    }

    @Test func `with a crash and a wipe there is one cluster in the end`() {
        let report = self.explore(FoundingScope(crashes: 1, wipes: 1, isCoarse: true))
        #expect(report.fault == nil)
        #expect(report.worlds > 100_000)
        #expect(report.records > 4)
    }

    @Test(arguments: [AsideKind.foundings, .announcementsToFounder])
    func `with a lost founder and a letter that comes late there is one cluster in the end`(
        kind: AsideKind
    ) {
        let report = self.explore(
            FoundingScope(
                wipes: 1, wipesFounderOnly: true, asides: 1, asideKind: kind, isCoarse: true))
        #expect(report.fault == nil)
        #expect(report.worlds > 10_000)
    }

    @Test(arguments: PlantedMistake.allCases)
    func `each planted mistake is found`(mistake: PlantedMistake) {
        var scope = FoundingScope(wipes: 1, isCoarse: true, mistake: mistake)
        switch mistake {
        case .answersBeforeSync, .foundsWithoutAll: break
        case .acceptsSecond: (scope.asides, scope.asideKind) = (1, .foundings)
        case .takesStale: scope.crashes = 1
        }
        let report = self.explore(scope)
        #expect(report.fault == mistake.fault)
        #expect(!report.trace.isEmpty)
    }
}

extension PlantedMistake {
    /// What it leads to first.
    fileprivate var fault: String {
        switch self {
        case .answersBeforeSync: "a starts with a record that is not synced"
        case .foundsWithoutAll, .takesStale, .acceptsSecond: "two disks hold different foundings"
        }
    }
}
