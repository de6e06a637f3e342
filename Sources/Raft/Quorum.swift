// Quorum.swift - what a majority is, and what two majorities at once are.
//
// Standard  thesis 3.5, 3.6 (majorities), 4.3 (joint configurations: both majorities).

import Primitives

/// How a ballot stands.
package enum BallotResult: Hashable, Sendable {
    case pending
    case lost
    case won
}

/// Majorities of sorted lists of members. The functions are pure: what each member has said is
/// asked from the caller.
package enum Quorum {
    /// How many of `count` make a majority.
    package static func majority(of count: Int) -> Int { count / 2 + 1 }

    /// The greatest index that a majority has acknowledged; `.max` for an empty list, which so
    /// never decides a joint configuration.
    ///
    /// - Parameter acknowledged: of a member; nil: nothing is known, which counts as 0.
    package static func committed(
        _ voters: [MemberID], acknowledged: (MemberID) -> UInt64?
    ) -> UInt64 {
        if voters.isEmpty { return .max }
        if voters.count <= Self.smallMax {
            return withUnsafeTemporaryAllocation(of: UInt64.self, capacity: voters.count) { all in
                for (i, id) in voters.enumerated() { all[i] = acknowledged(id) ?? 0 }
                return Self.pick(all)
            }
        }
        var all = voters.map { acknowledged($0) ?? 0 }
        return all.withUnsafeMutableBufferPointer { Self.pick($0) }
    }

    /// Lists up to this long are judged without memory of the heap.
    private static let smallMax = 16

    /// The value that a majority reaches. Insertion sort: lists are short.
    private static func pick(_ all: UnsafeMutableBufferPointer<UInt64>) -> UInt64 {
        for i in all.indices {
            var at = i
            let value = all[i]
            while at > 0, all[at - 1] > value {
                all[at] = all[at - 1]
                at -= 1
            }
            all[at] = value
        }
        return all[all.count - Self.majority(of: all.count)]
    }

    /// How a vote among `voters` stands; an empty list is won.
    ///
    /// - Parameter vote: of a member; nil: not heard of.
    package static func result(
        _ voters: [MemberID], vote: (MemberID) -> Bool?
    ) -> BallotResult {
        if voters.isEmpty { return .won }
        var yes = 0
        var missing = 0
        for id in voters {
            switch vote(id) {
            case true?: yes += 1
            case nil: missing += 1
            case false?: continue
            }
        }
        let needed = Self.majority(of: voters.count)
        if yes >= needed { return .won }
        return yes + missing >= needed ? .pending : .lost
    }
}

extension Configuration {
    /// The greatest index that is committed by this configuration.
    package func committed(acknowledged: (MemberID) -> UInt64?) -> UInt64 {
        min(
            Quorum.committed(self.voters, acknowledged: acknowledged),
            Quorum.committed(self.outgoing, acknowledged: acknowledged))
    }

    /// How a vote stands: a joint configuration needs both majorities.
    package func result(vote: (MemberID) -> Bool?) -> BallotResult {
        let incoming = Quorum.result(self.voters, vote: vote)
        let outgoing = Quorum.result(self.outgoing, vote: vote)
        if incoming == outgoing { return incoming }
        return incoming == .lost || outgoing == .lost ? .lost : .pending
    }
}
