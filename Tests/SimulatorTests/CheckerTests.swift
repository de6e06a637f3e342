// CheckerTests.swift - each checker, fed with what must not be, says so.

import Primitives
import Raft
import Testing

@testable import Simulator

@Suite("What the simulator would not let pass")
struct CheckerTests {
    private let a = MemberID(raw: 1)
    private let b = MemberID(raw: 2)

    private func truth() -> Truth {
        Truth(
            origin: LogPosition(term: 1, index: 1), configuration: Configuration(voters: [a, b]),
            clients: 2)
    }

    private func entry(_ term: UInt64, _ index: UInt64, _ data: [UInt8] = [7]) -> Entry {
        Entry(term: term, index: index, data: data)
    }

    @Test func `two leaders in a term, or one in two lives`() {
        var truth = self.truth()
        let first = truth.leads(a, life: 0, term: 2)
        let second = truth.leads(a, life: 0, term: 2)
        #expect(first && !second)
        #expect(truth.violation == nil)
        var other = truth
        _ = other.leads(b, life: 0, term: 2)
        #expect(other.violation?.checker == .election)
        _ = truth.leads(a, life: 1, term: 2)
        #expect(truth.violation?.checker == .election)
    }

    @Test func `two entries at one position, or behind different ones`() {
        var truth = self.truth()
        truth.stores(self.entry(2, 3), termBefore: 1)
        truth.stores(self.entry(3, 3), termBefore: 1)
        truth.stores(self.entry(3, 3), termBefore: 1)
        #expect(truth.violation == nil)
        var other = truth
        other.stores(self.entry(3, 3), termBefore: 2)
        #expect(other.violation?.checker == .matching)
        truth.stores(self.entry(2, 3, [8]), termBefore: 1)
        #expect(truth.violation?.checker == .matching)
    }

    @Test func `different commits, entries and states at one index`() {
        var truth = self.truth()
        let first = truth.commits(a, in: 2, LogPosition(term: 2, index: 2))
        let second = truth.commits(b, in: 2, LogPosition(term: 2, index: 2))
        #expect(first && !second)
        truth.applies(a, self.entry(2, 2), state: 5, effect: nil)
        truth.applies(b, self.entry(2, 2), state: 5, effect: nil)
        #expect(truth.violation == nil)
        var other = truth
        _ = other.commits(b, in: 3, LogPosition(term: 3, index: 2))
        #expect(other.violation?.checker == .agreement)
        other = truth
        other.applies(b, self.entry(2, 2, [8]), state: 5, effect: nil)
        #expect(other.violation?.checker == .agreement)
        other = truth
        other.applies(b, self.entry(2, 3), state: 5, effect: nil)
        #expect(other.violation?.checker == .agreement)
        other = truth
        other.installs(b, position: LogPosition(term: 2, index: 2), state: 6)
        #expect(other.violation?.checker == .state)
        truth.applies(b, self.entry(2, 2), state: 6, effect: nil)
        #expect(truth.violation?.checker == .state)
    }

    @Test func `different members at one index`() {
        var truth = self.truth()
        truth.configures(a, Configuration(voters: [a]), at: 5)
        truth.configures(b, Configuration(voters: [a]), at: 5)
        #expect(truth.violation == nil)
        truth.configures(b, Configuration(voters: [b]), at: 5)
        #expect(truth.violation?.checker == .configuration)
    }

    @Test func `a command that takes effect twice`() {
        var truth = self.truth()
        let command = Command(client: 1, sequence: 1, what: .append, key: 0, value: 4)
        for index in UInt64(2)...3 {
            _ = truth.commits(a, in: 2, LogPosition(term: 2, index: index))
            truth.applies(a, self.entry(2, index), state: index, effect: (command, true))
        }
        #expect(truth.violation?.checker == .once)
    }

    @Test func `an answer out of order, and a stale read`() {
        var truth = self.truth()
        truth.acknowledges(9, since: 8)
        #expect(truth.violation == nil)
        var other = truth
        other.acknowledges(9, since: 9)
        #expect(other.violation?.checker == .order)
        other = truth
        other.reads(index: 8, applied: 9, since: 9, at: 0)
        #expect(other.violation?.checker == .read)
        truth.reads(index: 9, applied: 8, since: 9, at: 0)
        #expect(truth.violation?.checker == .read)
    }

    @Test func `the last position before a term leaves later leaders out`() {
        var truth = self.truth()
        _ = truth.commits(a, in: 2, LogPosition(term: 2, index: 2))
        _ = truth.commits(b, in: 4, LogPosition(term: 2, index: 3))
        #expect(truth.lastCommitted(before: 2) == LogPosition(term: 1, index: 1))
        #expect(truth.lastCommitted(before: 3) == LogPosition(term: 2, index: 2))
        #expect(truth.lastCommitted(before: 5) == LogPosition(term: 2, index: 3))
    }
}
