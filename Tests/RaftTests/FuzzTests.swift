// FuzzTests.swift - a short run of nonsense against members in every role; the long one is a tool.
//
// See       Tests/Tools/fuzz, which shapes its messages better and runs for millions.

import Primitives
import Testing

@testable import Raft

@Suite("Nonsense from peers, row 53")
struct FuzzTests {
    private static func number(_ dice: inout Generator, near value: UInt64) -> UInt64 {
        switch dice.below(12) {
        case 0: .max
        case 1: Raft.numberMax + UInt64(dice.below(3)) - 1
        case 2: 0
        case _: value + UInt64(dice.below(4)) - min(value, UInt64(dice.below(4)))
        }
    }

    private static func entries(
        _ dice: inout Generator, behind previous: LogPosition, term: UInt64
    ) -> [Entry] {
        var index = previous.index
        return (0..<dice.below(4)).map { _ in
            index &+= 1
            var entry = Entry(data: [UInt8(dice.below(256))])
            if dice.chance(permille: 150) {
                let what: [MemberChange.What] = [.addVoter, .remove, .addLearner]
                let changes = (0..<dice.below(3)).map { _ in
                    MemberChange(what[dice.below(3)], MemberID(raw: UInt64(dice.below(6))))
                }
                entry = ConfigurationChange(changes).entry()
            }
            entry.term = dice.chance(permille: 700) ? term : previous.term
            entry.index = index
            return entry
        }
    }

    private static func body(
        _ dice: inout Generator, _ raft: Raft, term: UInt64
    ) -> Message.Body {
        let index = Self.number(&dice, near: raft.lastIndex)
        let known = raft.log.term(at: index) ?? Self.number(&dice, near: raft.term)
        let position = LogPosition(term: known, index: index)
        let yes = dice.chance(permille: 700)
        switch dice.below(16) {
        case 0: return .preVote(last: position, isTransfer: yes)
        case 1: return .preVoteAnswer(isGranted: yes)
        case 2: return .vote(last: position, isTransfer: yes)
        case 3: return .voteAnswer(isGranted: yes)
        case 4...6:
            return .append(
                previous: position, entries: Self.entries(&dice, behind: position, term: term),
                commit: Self.number(&dice, near: raft.lastIndex))
        case 7: return .appended(index: index)
        case 8: return .appendRejected(index: index, hint: position)
        case 9: return .heartbeat(commit: Self.number(&dice, near: raft.commit), round: 1)
        case 10: return .heartbeatAnswer(round: UInt64(dice.below(3)))
        case 11:
            let voters = [1, 2, UInt64(3 + dice.below(3))].map(MemberID.init(raw:))
            return .snapshot(
                Snapshot(
                    position: position, configuration: Configuration(voters: voters), data: []))
        case 12: return .timeoutNow
        case 13: return .propose(Self.entries(&dice, behind: .zero, term: 0))
        case 14: return .read(request: dice.next())
        case _: return .transferLeader
        }
    }

    /// One driver's step: stores and applies may be late.
    private static func work(
        _ replica: inout Replica, _ dice: inout Generator, _ tickets: inout [UInt64],
        _ applies: inout [([Entry], Applied)]
    ) {
        var actions: [Replica.Action] = []
        replica.turn(&actions)
        for action in actions {
            switch action {
            case .store(let request): tickets.append(request.ticket)
            case .apply(let entries, let applied): applies.append((entries, applied))
            case .send, .readable, .changed: continue
            }
        }
        if !tickets.isEmpty, dice.chance(permille: 700) {
            replica.stored(upTo: tickets.removeFirst())
        }
        if !applies.isEmpty, dice.chance(permille: 600) {
            let (entries, applied) = applies.removeFirst()
            for entry in entries where entry.kind != .normal { _ = replica.apply(entry) }
            replica.applied(applied)
        }
        switch dice.below(12) {
        case 0: for _ in 0..<11 { replica.tick(random: dice.next()) }
        case 1...3: replica.tick(random: dice.next())
        case 4: replica.campaign()
        // A request that is refused here is no matter.
        case 5: _ = try? replica.propose([Entry(data: [1])])
        case 6: replica.compact(to: replica.raft.applied)
        case _: break
        }
    }

    @Test(arguments: 0..<8)
    func `no nonsense of a peer stops a member or takes back what it knew`(part: UInt64) {
        var dice = Generator(seed: 5300 + part)
        var refused = 0
        var roles: Set<Role> = []
        for _ in 0..<250 {
            var replica = Solo(1, voters: [1, 2, 3], learners: [4], term: 2, terms: [1, 1, 2, 2])
                .replica
            var tickets: [UInt64] = []
            var applies: [([Entry], Applied)] = []
            for _ in 0..<50 {
                let before = replica.raft
                let term = Self.number(&dice, near: before.term)
                let own = dice.chance(permille: 600) ? before.term : term
                let message = Message(
                    from: MemberID(raw: UInt64(1 + dice.below(5))), to: 1, term: own,
                    Self.body(&dice, before, term: own))
                do { try replica.step(message) } catch { refused += 1 }
                Self.work(&replica, &dice, &tickets, &applies)
                let after = replica.raft
                roles.insert(after.role)
                guard after.term >= before.term, after.commit >= before.commit,
                    after.applied >= before.applied, after.applied <= after.commit,
                    after.commit <= after.lastIndex
                else {
                    Issue.record("\(message) took something back")
                    return
                }
            }
        }
        #expect(refused > 1000)
        #expect(roles == [.follower, .preCandidate, .candidate, .leader])
    }
}
