// BodyExploreTests.swift - every run of one message's body that is small enough for each commit.
//
// The tool `explore --bodies` does the larger ones. Counts are printed, not compared.

import Explorer
import Testing

@Suite("Bodies in small scope, exhaustively (1, 2, 3)")
struct BodyExploreTests {
    private func explore(_ change: (inout BodyScope) -> Void) -> BodySearch.Report {
        var scope = BodyScope()
        scope.acceptors = [0]
        scope.crashes = 0
        scope.wipes = 0
        scope.cuts = 0
        scope.leaders = 0
        scope.repairs = 0
        change(&scope)
        let report = BodySearch(scope).run(depthMax: .max, statesMax: 200_000)
        print("explored \(report.distinct) states to depth \(report.depth): \(scope.text)")
        if scope.mistake == nil, let violation = report.violation {
            print(violation.text)
            for line in violation.trace { print(line) }
        }
        return report
    }

    @Test func `a message without a fault is placed, ends, and leaves nothing`() {
        let report = self.explore { $0.collectsAtOnce = false }
        #expect(report.isComplete && report.violation == nil)
        #expect(report.distinct > 500)
    }

    @Test func `a crash at any step loses no message that was taken`() {
        let report = self.explore { $0.crashes = 1 }
        #expect(report.isComplete && report.violation == nil)
        #expect(report.distinct > 5000)
    }

    @Test func `a disk lost at any step costs one copy, and repair makes another`() {
        let report = self.explore {
            $0.wipes = 1
            $0.repairs = 1
        }
        #expect(report.isComplete && report.violation == nil)
        #expect(report.distinct > 10_000)
    }

    @Test func `a rotten body at any step is known, and repaired`() {
        let report = self.explore { $0.rots = 1 }
        #expect(report.isComplete && report.violation == nil)
        #expect(report.distinct > 1000)
    }

    @Test func `each mistake of a driver is found`() {
        for mistake in BodyMistake.allCases {
            let report = self.explore {
                $0.mistake = mistake
                $0.wipes = mistake == .hidesLoss ? 0 : 1
                $0.rots = mistake == .hidesLoss ? 1 : 0
                $0.crashes = mistake == .unknownIsClosed || mistake == .confirmsUnsynced ? 1 : 0
                $0.repairs = mistake == .addsUnsynced ? 1 : 0
            }
            #expect(report.violation != nil, "\(mistake)")
        }
    }
}
