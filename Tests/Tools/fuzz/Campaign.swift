// Campaign.swift - episodes: a member in some state, and a row of blows.

import Primitives
import Raft

/// What came of it.
struct Tally {
    var runs: UInt64 = 0
    var byteRuns: UInt64 = 0
    var decoded: UInt64 = 0
    var taken: UInt64 = 0
    var restarts: UInt64 = 0
    /// Restarts whose journal denied the checkpoint.
    var wordsLost: UInt64 = 0
    var refusals: [StepError: UInt64] = [:]
    var roles: [UInt64] = [0, 0, 0, 0]
    var states: [UInt64] = [0, 0, 0, 0, 0]
    /// Of the followers of a leader.
    var flows: [UInt64] = [0, 0, 0]
    var actionsMost = 0
    var entriesMost: UInt64 = 0

    mutating func see(_ raft: Raft) {
        self.roles[Int(raft.role.rawValue)] += 1
        if raft.configuration.isJoint { self.states[0] += 1 }
        if raft.membership.place(of: raft.id) == nil { self.states[1] += 1 }
        if raft.log.snapshot != nil { self.states[2] += 1 }
        if raft.transferee != .none { self.states[3] += 1 }
        if raft.wantsSnapshot { self.states[4] += 1 }
        if raft.role == .leader {
            for peer in raft.membership.peers where peer.id != raft.id {
                self.flows[Int(peer.progress.state.rawValue)] += 1
            }
        }
        self.entriesMost = max(self.entriesMost, raft.lastIndex - raft.log.base.index)
    }

    static let roleNames = ["follower", "pre-candidate", "candidate", "leader"]
    static let flowNames = ["probing", "replicating", "waiting for a snapshot"]
    static let stateNames = [
        "joint", "not a member", "snapshot under way", "transfer under way", "wants a snapshot",
    ]
}

/// An episode that cannot go on.
private enum Ending: Error { case lost }

struct Campaign {
    /// Messages of one episode: enough to get deep, few enough to come back to each stage often.
    static let blowsMax = 64

    private let stages: [Stage]
    private let seed: UInt64
    private(set) var tally = Tally()

    init(seed: UInt64) throws {
        self.seed = seed
        self.stages = try Stages.all()
    }

    /// - Returns: what went wrong; nil: nothing.
    mutating func play(episode: UInt64, blows: Int, trace: Bool) -> String? {
        var dice = Dice(seed: self.seed &* 0x1_0000_0001 &+ episode)
        let stage = self.stages[dice.below(self.stages.count)]
        var subject = stage.subject
        if trace { print("episode \(episode): \(stage.name)") }
        do {
            for _ in 0..<blows {
                try self.blow(&subject, &dice, trace: trace)
                try subject.check(depth: 24)
                self.tally.see(subject.raft)
                try self.work(&subject, &dice, trace: trace)
            }
            try subject.check(depth: .max)
        } catch Ending.lost {
            return nil
        } catch {
            return "\(stage.name): \(error)"
        }
        self.tally.actionsMost = max(self.tally.actionsMost, subject.actionsMost)
        return nil
    }

    /// One message.
    private mutating func blow(_ subject: inout Subject, _ dice: inout Dice, trace: Bool) throws {
        self.tally.runs += 1
        var message: Message
        switch dice.below(10) {
        case 0:
            guard let read = self.decode(dice.noise()) else { return }
            message = read
        case 1, 2:
            let like: Message
            if subject.sent.isEmpty || dice.chance(permille: 700) {
                like = dice.message(to: subject.raft)
            } else {
                like = subject.sent[dice.below(subject.sent.count)]
            }
            guard var read = self.decode(dice.bytes(like: like)) else { return }
            if dice.chance(permille: 800) { read.to = subject.raft.id }
            message = read
        case _: message = dice.message(to: subject.raft)
        }
        // What the links refuse by the certificate: messages in this member's own name are told
        // apart by the core, too, and count as a refusal.
        if trace { print("  step \(message)") }
        do {
            try subject.step(message)
            self.tally.taken += 1
        } catch {
            self.tally.refusals[error, default: 0] += 1
        }
    }

    private mutating func decode(_ bytes: [UInt8]) -> Message? {
        self.tally.byteRuns += 1
        // What the decoder throws is the peer's mistake: the link ends there.
        guard let message = try? Message(bytes) else { return nil }
        self.tally.decoded += 1
        return message
    }

    /// What a driver does between two messages, if it finds the time.
    private mutating func work(_ subject: inout Subject, _ dice: inout Dice, trace: Bool) throws {
        if dice.chance(permille: 600) { subject.turn() }
        let draw = dice.below(32)
        if trace { print("  work \(draw): \(subject.raft.role) \(subject.raft.hardState)") }
        switch draw {
        case 0..<8: subject.store()
        case 8..<14: subject.apply()
        case 14..<18: subject.tick(dice.next())
        case 18: for _ in 0..<10 { subject.tick(dice.next()) }
        case 19: Stages.settle(&subject)
        case 20: subject.save(compacts: dice.chance(permille: 700))
        case 21: subject.campaign()
        case 22: self.count { () throws(StepError) in try subject.read() }
        case 23, 24:
            let entry = dice.entry(term: 0, index: 0)
            self.count { () throws(StepError) in try subject.propose([entry]) }
        case 25: subject.transfer(to: dice.member())
        case 26: subject.reportUnreachable(dice.member())
        case 27: subject.reportSnapshot(dice.member(), isInstalled: dice.chance(permille: 500))
        case 28 where dice.chance(permille: 100):
            try self.restart(&subject)
        case _: break
        }
    }

    /// A member that comes back must not trap. That its records deny each other it may find: two
    /// leaders of one term can bring it there, and nothing else here.
    private mutating func restart(_ subject: inout Subject) throws {
        self.tally.restarts += 1
        do {
            try subject.restart()
        } catch is ReplayError {
            self.tally.wordsLost += 1
            throw Ending.lost
        }
    }

    /// A request of the own node that is refused is no fault.
    private func count(_ body: () throws(StepError) -> Void) {
        do { try body() } catch { return }
    }
}
