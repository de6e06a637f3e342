// NodeMachineClock.swift - whether queue time makes up for a stop of all nodes.
//
// Takes     which members' wall clocks agree with this node's, as the driver measured them.
// Gives     the guess of a start (`QueueClock`) is used, or dropped; walls for the log; a doubt for
//           the operator.
// Durable   what is decided: with the first entry that it stamps, once that is committed. A leader
//           that dies before has decided nothing, and the next one asks its own clocks.
// Limits    a majority's clocks agree within 60 s: then their word counts, a day at most. Else
//           queue time goes on from where it stood: mail waits longer, and none is lost.
// Never     waits for a clock: who has been told too few goes on without, and leads at once.
// See       QueueClock, NodeClock (the driver), Docs/Decisions/0022.

package import Primitives
package import Raft

/// What a node knows of wall clocks. Members in any order.
struct WallClocks {
    var agreeing: [MemberID] = []
    var differing: [MemberID] = []
    /// See `isClockDoubted`.
    var isDoubted = false
}

extension NodeMachine {
    /// This node led, and a majority's clocks said another time; or it led behind a stop that could
    /// not be counted. Until a majority agrees with it: an alarm.
    package var isClockDoubted: Bool { self.wallClocks.isDoubted }

    /// The driver has heard clocks, or lost a link. Before any turn that brings a command into
    /// the log: whoever has voted for this node has told its clock before (Docs/PeerProtocol.md).
    ///
    /// - Parameters:
    ///   - agreeing: members that are linked and whose wall clocks differ from this node's by
    ///     `QueueClock.agreementMax` at most.
    ///   - differing: those that are linked and whose clocks differ by more.
    package mutating func compareWallClocks(agreeing: [MemberID], differing: [MemberID]) {
        self.wallClocks.agreeing = agreeing
        self.wallClocks.differing = differing
        switch self.wallBallot {
        case .won: self.wallClocks.isDoubted = false
        case .lost where self.replica.raft.role == .leader: self.wallClocks.isDoubted = true
        case .lost, .pending: return
        }
    }

    /// Whether a majority of the voters agrees with this node's wall clock, itself counted, and of
    /// both lists while members change; a sole voter is one. Pending: too few have said.
    private var wallBallot: BallotResult {
        let id = self.id
        let clocks = self.wallClocks
        return self.configuration.result { member in
            if member == id || clocks.agreeing.contains(member) { return true }
            return clocks.differing.contains(member) ? false : nil
        }
    }

    /// The own wall clock, for the log: not against a majority's word. A later stop is measured
    /// from it, by another node's clock perhaps.
    package func believed(_ wall: WallTime) -> WallTime? { self.wallBallot == .lost ? nil : wall }

    /// Before a leader uses queue time: no stamp of anybody has come since the start, so all may
    /// have stood still, and only wall clocks know for how long.
    mutating func judgeGuess() {
        guard self.clock.isGuessed, self.clock.isBlindGuess || self.wallBallot != .won else {
            return
        }
        self.clock.dropGuess()
        self.wallClocks.isDoubted = true
    }
}
