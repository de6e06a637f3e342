import Primitives
import Raft
import Testing

@testable import Cluster

@Suite("How far followers are behind")
struct FollowerLagTests {
    private let b = MemberID(raw: 2)
    private let c = MemberID(raw: 3)

    private func at(_ milliseconds: Int) -> Instant {
        .zero + .milliseconds(milliseconds)
    }

    @Test func `each follower's acknowledgement of the marked append is timed once`() {
        var lag = FollowerLag()
        #expect(!lag.wantsMark)
        #expect(lag.tick(self.at(0)) == nil)
        #expect(lag.wantsMark)
        lag.appended(10, [self.b, self.c], at: self.at(1))
        #expect(!lag.wantsMark)
        #expect(lag.acknowledged(self.b, 9, at: self.at(2)) == nil)
        #expect(lag.acknowledged(self.b, 10, at: self.at(3)) == .milliseconds(2))
        #expect(lag.acknowledged(self.b, 11, at: self.at(4)) == nil)
        // What is appended meanwhile is not marked: the slower one is waited for.
        _ = lag.tick(self.at(20))
        #expect(!lag.wantsMark)
        #expect(lag.acknowledged(self.c, 40, at: self.at(31)) == .milliseconds(30))
        #expect(lag.wantsMark)
    }

    @Test func `who does not answer is counted with the time so far, and the next append marked`() {
        var lag = FollowerLag()
        _ = lag.tick(self.at(0))
        lag.appended(10, [self.b, self.c], at: self.at(0))
        _ = lag.acknowledged(self.b, 10, at: self.at(2))
        var told: [(age: Duration, count: Int)] = []
        for number in 1...50 {
            if let late = lag.tick(self.at(20 * number)) { told.append(late) }
        }
        #expect(told.map(\.age) == [.seconds(1)])
        #expect(told.map(\.count) == [1])
        #expect(lag.wantsMark)
        #expect(lag.acknowledged(self.c, 10, at: self.at(1100)) == nil)
    }

    @Test func `a leader without followers marks nothing, and one that leads no more forgets`() {
        var lag = FollowerLag()
        _ = lag.tick(self.at(0))
        lag.appended(1, [], at: self.at(0))
        #expect(!lag.isMarked)
        _ = lag.tick(self.at(20))
        lag.appended(2, [self.b], at: self.at(21))
        lag.end()
        #expect(lag.acknowledged(self.b, 2, at: self.at(22)) == nil)
    }
}
