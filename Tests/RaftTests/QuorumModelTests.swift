// QuorumModelTests.swift - majorities, single and joint, against a model that counts sets.

import Primitives
import Testing

@testable import Raft

@Suite("Quorums against a naive model, thesis 3.5, 4.3")
struct QuorumModelTests {
    /// Every subset of `members`.
    static func subsets(_ members: [MemberID]) -> [Set<MemberID>] {
        (0..<(1 << members.count)).map { mask in
            Set(members.enumerated().filter { mask >> $0.offset & 1 == 1 }.map(\.element))
        }
    }

    /// Whether more than half of `members` are in `set`.
    static func isQuorum(_ set: Set<MemberID>, of members: [MemberID]) -> Bool {
        2 * members.count { set.contains($0) } > members.count
    }

    static func members(_ count: Int, from first: UInt64 = 1) -> [MemberID] {
        (0..<UInt64(count)).map { MemberID(raw: first + $0) }
    }

    @Test func `a majority is more than half, and two of them always meet`() {
        for count in 1...6 {
            let all = Self.members(count)
            let quorums = Self.subsets(all).filter { $0.count >= Quorum.majority(of: count) }
            #expect(quorums.allSatisfy { Self.isQuorum($0, of: all) })
            let others = Self.subsets(all).filter { $0.count < Quorum.majority(of: count) }
            #expect(others.allSatisfy { !Self.isQuorum($0, of: all) })
            for a in quorums { for b in quorums { #expect(!a.isDisjoint(with: b)) } }
        }
    }

    /// The greatest index that some majority has acknowledged whole.
    static func committed(_ members: [MemberID], _ known: [MemberID: UInt64]) -> UInt64 {
        if members.isEmpty { return .max }
        return Self.subsets(members).filter { Self.isQuorum($0, of: members) }
            .map { set in set.map { known[$0] ?? 0 }.min() ?? 0 }.max() ?? 0
    }

    /// Won if those in favour are a majority; lost if all the others together would not be.
    static func result(_ members: [MemberID], _ votes: [MemberID: Bool]) -> BallotResult {
        if members.isEmpty { return .won }
        let yes = Set(members.filter { votes[$0] == true })
        if Self.isQuorum(yes, of: members) { return .won }
        let possible = Set(members.filter { votes[$0] != false })
        return Self.isQuorum(possible, of: members) ? .pending : .lost
    }

    @Test func `the committed index is the best that a whole majority has`() {
        var dice = Generator(seed: 35)
        for count in 0...8 {
            for _ in 0..<200 {
                let all = Self.members(count)
                var known: [MemberID: UInt64] = [:]
                for id in all where !dice.chance(permille: 200) {
                    known[id] = UInt64(dice.below(6))
                }
                let found = Quorum.committed(all) { known[$0] }
                #expect(found == Self.committed(all, known), "\(known)")
            }
        }
    }

    @Test func `long lists are judged like short ones`() {
        var dice = Generator(seed: 36)
        for count in 14...40 {
            let all = Self.members(count)
            let known = all.map { _ in dice.next() % 100 }
            let found = Quorum.committed(all) { known[Int($0.raw) - 1] }
            #expect(known.count { $0 >= found } > count / 2)
            #expect(known.count { $0 > found } <= count / 2)
        }
    }

    @Test func `a ballot is won, lost or open as the sets say, for every way to vote`() {
        for count in 0...6 {
            let all = Self.members(count)
            let ways = (0..<count).reduce(1) { ways, _ in ways * 3 }
            for way in 0..<ways {
                var votes: [MemberID: Bool] = [:]
                var rest = way
                for id in all {
                    if rest % 3 > 0 { votes[id] = rest % 3 == 1 }
                    rest /= 3
                }
                #expect(Quorum.result(all) { votes[$0] } == Self.result(all, votes))
            }
        }
    }

    /// Both halves' sets, over all pairs of lists of members 1 … 5.
    @Test func `a joint configuration needs both majorities, for every pair of halves`() {
        var dice = Generator(seed: 43)
        let lists = Self.subsets(Self.members(5)).map { $0.sorted() }.filter { !$0.isEmpty }
        for voters in lists {
            for outgoing in lists {
                let configuration = Configuration(voters: voters, outgoing: outgoing)
                for _ in 0..<3 {
                    var known: [MemberID: UInt64] = [:]
                    var votes: [MemberID: Bool] = [:]
                    for id in Self.members(5) {
                        if dice.chance(permille: 800) { known[id] = UInt64(dice.below(5)) }
                        if dice.chance(permille: 800) { votes[id] = dice.chance(permille: 600) }
                    }
                    let index = configuration.committed { known[$0] }
                    #expect(
                        index
                            == min(Self.committed(voters, known), Self.committed(outgoing, known)))
                    #expect(
                        configuration.result { votes[$0] }
                            == Self.both(
                                Self.result(voters, votes), Self.result(outgoing, votes)))
                }
            }
        }
    }

    private static func both(_ a: BallotResult, _ b: BallotResult) -> BallotResult {
        if a == .lost || b == .lost { return .lost }
        return a == .won && b == .won ? .won : .pending
    }

    @Test func `quorums before, during and after a change always meet`() {
        let all = Self.members(5)
        let lists = Self.subsets(all).map { $0.sorted() }.filter { !$0.isEmpty }
        for old in lists {
            for new in lists {
                let joint = Configuration(voters: new, outgoing: old)
                for set in Self.subsets(all) {
                    let votes: (MemberID) -> Bool? = { set.contains($0) }
                    guard joint.result(vote: votes) == .won else { continue }
                    // Whoever is not in the set cannot win the old one or the new one.
                    let rest: (MemberID) -> Bool? = { !set.contains($0) }
                    #expect(Configuration(voters: old).result(vote: rest) != .won)
                    #expect(Configuration(voters: new).result(vote: rest) != .won)
                }
            }
        }
    }
}
