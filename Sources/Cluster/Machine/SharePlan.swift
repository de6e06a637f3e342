// SharePlan.swift - how a destination's connections should lie, by the leases that sessions hold.
//
// Takes     the limit, leases of each session, how the shares lie now.
// Gives     how they should lie. Whether and when they may is the ShareDealer's matter: nothing
//           here can break invariant 11.
// Rules     1 Nobody is without any, if there is one for each: a first message waits for nobody.
//           2 What is left goes by leases. 3 A share that nobody else needs stays where it is:
//           lowering one costs connections.

package

    enum SharePlan
{
    /// A part of the limit below which nothing is moved, but to one that has nothing at all.
    private static let stepDivisor: UInt32 = 8

    /// What each should have for its leases; the sum is at most `limit`.
    static func targets(limit: UInt32, leases: [UInt32]) -> [UInt32] {
        let least: UInt32 = leases.count <= Int(limit) ? 1 : 0
        var targets = leases.map { _ in least }
        var rest = limit - least * UInt32(leases.count)
        let wishes = leases.map { UInt64($0 - min($0, least)) }
        let sum = wishes.reduce(0, +)
        guard sum > UInt64(rest) else {
            for place in targets.indices { targets[place] += UInt32(wishes[place]) }
            return targets
        }
        let total = UInt64(rest)
        for place in targets.indices {
            let part = UInt32(total * wishes[place] / sum)
            targets[place] += part
            rest -= part
        }
        // What rounding has left goes to those with the most leases; among equals to the first.
        let order = targets.indices.sorted {
            wishes[$0] != wishes[$1] ? wishes[$0] > wishes[$1] : $0 < $1
        }
        for place in order where rest > 0 && wishes[place] > 0 {
            targets[place] += 1
            rest -= 1
        }
        return targets
    }

    /// What each should have instead of `shares`, for its leases.
    static func moved(limit: UInt32, leases: [UInt32], shares: [UInt32]) -> [UInt32] {
        let targets = Self.targets(limit: limit, leases: leases)
        let sum = shares.reduce(UInt64(0)) { $0 + UInt64($1) }
        guard sum <= UInt64(limit) else { return targets }
        let missing = zip(targets, shares).map { target, share in target - min(target, share) }
        let needed = missing.reduce(0, +)
        guard needed > 0 else { return shares }
        let free = limit - UInt32(sum)
        let step = max(1, limit / Self.stepDivisor)
        guard
            needed <= free || missing.contains(where: { $0 >= step })
                || zip(missing, shares).contains(where: { $0 > 0 && $1 == 0 })
        else { return shares }
        var moved = zip(shares, missing).map { $0 + $1 }
        var over = needed - min(needed, free)
        let order = moved.indices.sorted {
            let (a, b) = (moved[$0] - targets[$0], moved[$1] - targets[$1])
            return a != b ? a > b : $0 < $1
        }
        for place in order where over > 0 {
            let taken = min(over, moved[place] - targets[place])
            moved[place] -= taken
            over -= taken
        }
        return moved
    }
}
