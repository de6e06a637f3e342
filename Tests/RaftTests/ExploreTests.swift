// ExploreTests.swift - every run of a cluster that is small enough for each commit.
//
// The tool `explore` does the larger ones. Counts are printed, not compared: they change with
// whatever a member keeps in memory.

import Explorer
import Testing

@Suite("Small scope, exhaustively")
struct ExploreTests {
    private func explore(_ scope: Scope) -> Search.Report {
        let report = Search(scope).run(depthMax: .max, statesMax: .max)
        print("explored \(report.distinct) states to depth \(report.depth): \(scope.text)")
        if let violation = report.violation {
            print(violation.text)
            for line in violation.trace { print(line) }
        }
        return report
    }

    private func scope(campaigns: Int, proposals: Int, crashes: Int) -> Scope {
        var scope = Scope()
        scope.campaigns = campaigns
        scope.proposals = proposals
        scope.crashes = crashes
        scope.partitions = 0
        scope.losses = 0
        scope.duplicates = 0
        return scope
    }

    @Test func `two elections without a crash break no promise`() {
        let report = self.explore(self.scope(campaigns: 2, proposals: 0, crashes: 0))
        #expect(report.violation == nil)
        #expect(report.isComplete)
        #expect(report.distinct > 20_000)
    }

    @Test func `a proposal and a crash after an election break no promise`() {
        let report = self.explore(self.scope(campaigns: 1, proposals: 1, crashes: 1))
        #expect(report.violation == nil)
        #expect(report.isComplete)
        #expect(report.distinct > 100_000)
    }

    /// Losses as events and losses as messages that never arrive: the same members, fewer worlds.
    @Test func `shortcuts leave no member out`() {
        var scope = self.scope(campaigns: 1, proposals: 0, crashes: 1)
        scope.losses = 2
        scope.network = .literal
        scope.isSymmetric = false
        let literal = self.explore(scope)
        scope.network = .counted
        let counted = self.explore(scope)
        #expect(literal.isComplete && literal.violation == nil)
        #expect(counted.isComplete && counted.violation == nil)
        #expect(literal.members == counted.members)
        #expect(counted.distinct < literal.distinct)
    }

    @Test func `what arrives any number of times does no harm`() {
        var scope = self.scope(campaigns: 1, proposals: 0, crashes: 1)
        scope.network = .boundless
        let report = self.explore(scope)
        #expect(report.isComplete && report.violation == nil)
        #expect(report.distinct > 2_000)
    }

    @Test func `a search that is cut short says how deep it was whole`() {
        let scope = self.scope(campaigns: 1, proposals: 0, crashes: 0)
        let whole = Search(scope).run(depthMax: .max, statesMax: .max)
        let part = Search(scope).run(depthMax: 4, statesMax: .max)
        #expect(!part.isComplete)
        #expect(part.depth == 4)
        #expect(part.perDepth == Array(whole.perDepth.prefix(5)))
        let few = Search(scope).run(depthMax: .max, statesMax: 3)
        #expect(!few.isComplete)
        #expect(few.depth < whole.depth)
    }
}
