// Scenario.swift - what one seed makes of the world: its size, its rates, its limits.
//
// Takes     the generator of the run; every draw happens here, in this order, before time begins.
// Gives     plain numbers; a mean of 0 is a fault that this seed does not have.

import Primitives
import Raft

/// What the caller of a run may choose.
package struct RunOptions: Sendable, Equatable {
    /// Simulated seconds with faults, before the world heals.
    package var seconds = 60
    /// Voters at the start; 0: drawn.
    package var nodes = 0
    /// Without faults, for measuring and for tests.
    package var isCalm = false

    package init(seconds: Int = 60, nodes: Int = 0, isCalm: Bool = false) {
        self.seconds = seconds
        self.nodes = nodes
        self.isCalm = isCalm
    }
}

/// The shape of the time that something takes.
struct Delay: Sendable {
    var least: Int64
    /// Drawn on top of `least`.
    var spread: Int64
    /// How often the long tail is drawn instead.
    var tailPermille: Int
    var tail: Int64

    func draw(_ dice: inout Generator) -> Int64 {
        if self.tailPermille > 0, dice.chance(permille: self.tailPermille) {
            return self.least + Int64(dice.below(Int(self.tail)))
        }
        return self.least + Int64(dice.below(Int(self.spread)))
    }
}

struct Scenario: Sendable {
    var voters = 3
    var spares = 1
    var idsDescend = false
    var usesCodec = false
    var keepsOrder = true
    var lossPermille = 0
    var replayPermille = 0
    var network = Delay(least: 50_000, spread: 500_000, tailPermille: 0, tail: 1)
    var sync = Delay(least: 200_000, spread: 2_000_000, tailPermille: 0, tail: 1)
    var apply = Delay(least: 1_000, spread: 20_000, tailPermille: 0, tail: 1)
    var splitApplyPermille = 0
    var lazyTurnPermille = 0
    var groupsMax = 64
    var segmentRecords = 100
    var checkpointEvery: UInt64 = 200
    var keepEntries: UInt64 = 20
    var clients = 4
    var think: Int64 = 100_000_000
    var readPermille = 300
    var answerPermille = 1000
    var forwardsChanges = false
    var shrinksToOne = false
    /// How often a write fails that replaces entries: the moment at which most is at stake.
    var unluckyPermille = 0
    /// How often a client sends a command many times at once.
    var burstPermille = 0
    var means = [Int64](repeating: 0, count: Fault.allCases.count)
    var options = Options(id: .none)

    static let second: Int64 = 1_000_000_000
    static let millisecond: Int64 = 1_000_000

    init(_ run: RunOptions, dice: inout Generator) {
        self.voters = dice.chance(permille: 250) ? 5 : 3
        if run.nodes > 0 { self.voters = run.nodes }
        self.spares = 1 + dice.below(2)
        self.idsDescend = dice.chance(permille: 300)
        self.usesCodec = dice.chance(permille: 150)
        self.drawDriver(&dice)
        self.drawLimits(&dice)
        self.think = dice.magnitude(20 * Self.millisecond, 1_000 * Self.millisecond)
        self.clients = 2 + dice.below(5)
        if run.isCalm { return }
        self.drawNetwork(&dice)
        self.drawDisk(&dice)
        self.drawFaults(&dice)
        self.answerPermille = dice.chance(permille: 500) ? 1000 : 900
    }

    private mutating func drawNetwork(_ dice: inout Generator) {
        if dice.chance(permille: 600) { self.lossPermille = dice.below(301) }
        if dice.chance(permille: 200) { self.lossPermille = dice.below(20) }
        if dice.chance(permille: 500) { self.replayPermille = dice.below(501) }
        self.keepsOrder = dice.chance(permille: 400)
        self.network.spread = dice.magnitude(100_000, 40 * Self.millisecond)
        if dice.chance(permille: 400) {
            self.network.tailPermille = 1 + dice.below(50)
            self.network.tail = dice.magnitude(10 * Self.millisecond, 2_000 * Self.millisecond)
        }
    }

    private mutating func drawDisk(_ dice: inout Generator) {
        self.sync.least = dice.magnitude(50_000, 10 * Self.millisecond)
        self.sync.spread = dice.magnitude(100_000, 30 * Self.millisecond)
        if dice.chance(permille: 400) {
            self.sync.tailPermille = 1 + dice.below(20)
            self.sync.tail = dice.magnitude(20 * Self.millisecond, 1_000 * Self.millisecond)
        }
        if dice.chance(permille: 500) { self.apply.spread = dice.magnitude(1_000, 100_000_000) }
        if dice.chance(permille: 500) { self.splitApplyPermille = dice.below(800) }
        if dice.chance(permille: 300) {
            self.apply.tailPermille = 1 + dice.below(40)
            self.apply.tail = dice.magnitude(20 * Self.millisecond, 3_000 * Self.millisecond)
        }
    }

    private mutating func drawDriver(_ dice: inout Generator) {
        if dice.chance(permille: 500) { self.lazyTurnPermille = dice.below(800) }
        if dice.chance(permille: 300) { self.groupsMax = 1 + dice.below(4) }
        // Eager ones let go of their logs at once: who was away gets snapshots.
        let isEager = dice.chance(permille: 300)
        self.segmentRecords = 4 + dice.below(isEager ? 8 : 300)
        self.checkpointEvery = UInt64(3 + dice.below(isEager ? 8 : 400))
        self.keepEntries = UInt64(dice.below(isEager ? 2 : 60))
        if dice.chance(permille: 400) { self.burstPermille = dice.below(80) }
        self.readPermille = dice.below(700)
        self.forwardsChanges = dice.chance(permille: 250)
        self.shrinksToOne = dice.chance(permille: 150)
    }

    /// Small limits make rare paths common.
    private mutating func drawLimits(_ dice: inout Generator) {
        if dice.chance(permille: 400) {
            self.options.inFlightMessagesMax = 1 + dice.below(8)
        }
        if dice.chance(permille: 400) {
            let most = dice.chance(permille: 500) ? 40 : 400
            self.options.appendBytesMax = UInt64(1 + dice.below(most))
        }
        if dice.chance(permille: 200) {
            self.options.applyingBytesMax = UInt64(1 + dice.below(400))
        }
        if dice.chance(permille: 200) {
            self.options.uncommittedBytesMax = UInt64(20 + dice.below(400))
        }
        if dice.chance(permille: 200) {
            self.options.inFlightBytesMax = self.options.appendBytesMax + UInt64(dice.below(500))
        }
        if dice.chance(permille: 200) { self.options.readsMax = 1 + dice.below(4) }
        if dice.chance(permille: 200) {
            self.options.electionTicks = 10 + dice.below(20)
            self.options.electionSpreadTicks = 5 + dice.below(25)
            self.options.heartbeatTicks = 2 + dice.below(5)
        }
    }

    private mutating func drawFaults(_ dice: inout Generator) {
        if dice.chance(permille: 400) { self.unluckyPermille = dice.below(700) }
        for fault in Fault.allCases {
            let mean = dice.magnitude(3 * Self.second, 40 * Self.second)
            let isPresent = dice.chance(permille: 550)
            self.means[fault.rawValue] = isPresent ? mean : 0
        }
        // Without any of these nothing would move the leadership.
        if self.means[Fault.transfer.rawValue] == 0, self.means[Fault.crash.rawValue] == 0 {
            self.means[Fault.crash.rawValue] = dice.magnitude(3 * Self.second, 10 * Self.second)
        }
        // A change that is under way to the leader could meet a loss that it did not know of.
        if self.forwardsChanges {
            for fault in Fault.allCases where fault.isDestructive {
                self.means[fault.rawValue] = 0
            }
        }
    }
}

extension Generator {
    /// Between the two; each power of two between them is as likely as the others.
    mutating func magnitude(_ least: Int64, _ most: Int64) -> Int64 {
        var doublings = 0
        while least << Int64(doublings + 1) <= most { doublings += 1 }
        let low = least << Int64(self.below(doublings + 1))
        let high = Swift.min(low * 2, most)
        return low + (high > low ? Int64(self.below(Int(high - low))) : 0)
    }

    /// Between 0 and twice the mean.
    mutating func around(_ mean: Int64) -> Int64 { 1 + Int64(self.below(Int(mean) * 2)) }
}
