// QuorumScript.swift - the blocks of the files about majorities, and the ways to check the core.
//
// Output    of `committed`: a table with a row per voter, whose bar is as long as the number of
//           voters that are behind it, `?` where nothing is known; below it the index. Whatever
//           another computation finds differently is a line of its own, so that the block fails.

import Primitives
import Raft

struct QuorumScript {
    private var voters: [MemberID] = []
    private var outgoing: [MemberID] = []
    private var isJoint = false
    private var known: [MemberID: UInt64] = [:]
    private var votes: [MemberID: Bool] = [:]

    static func answer(_ block: DataFile.Block) -> [String] {
        do {
            let script = try Self(block)
            switch block.command {
            case "committed": return script.committed()
            case "vote": return script.vote()
            case _: return ["unknown command: \(block.command)"]
            }
        } catch {
            return [DirectiveError.text(of: error)]
        }
    }

    private init(_ block: DataFile.Block) throws {
        var order: [MemberID] = []
        var values: [String] = []
        for option in block.options {
            switch option.key {
            case "cfg": for id in try option.numbers() { order.append(MemberID(raw: id)) }
            case "cfgj": self.isJoint = true
            case "idx", "votes": values += option.values ?? []
            case let key: throw DirectiveError("unknown argument \(key)")
            }
        }
        for id in order { self.voters.insertSorted(id) }
        for option in block.options where option.key == "cfgj" && option.values != ["zero"] {
            for id in try option.numbers() {
                self.outgoing.insertSorted(MemberID(raw: id))
                order.append(MemberID(raw: id))
            }
        }
        // A voter of both halves is given once.
        var places: [MemberID] = []
        for id in order where !places.contains(id) { places.append(id) }
        guard places.count == values.count else {
            throw DirectiveError(
                "error: mismatched input (explicit or _) for voters "
                    + "\(places.map(\.raw).sorted()): \(values)")
        }
        for (id, value) in zip(places, values) where value != "_" {
            if block.command == "vote" {
                guard ["y", "n"].contains(value) else {
                    throw DirectiveError("unknown vote: \(value)")
                }
                self.votes[id] = value == "y"
            } else {
                self.known[id] = try DataFile.Argument.number(value)
            }
        }
    }

    private func joint(_ a: [MemberID], _ b: [MemberID]) -> Configuration {
        Configuration(voters: a, outgoing: b)
    }

    // MARK: Committed.

    private func committed() -> [String] {
        var lines = self.table()
        let index: UInt64
        if self.isJoint {
            index = self.joint(self.voters, self.outgoing).committed { self.known[$0] }
            self.compare(
                self.joint(self.outgoing, self.voters).committed { self.known[$0] }, index,
                "via symmetry", in: &lines)
        } else {
            index = Quorum.committed(self.voters) { self.known[$0] }
            self.compare(
                self.joint(self.voters, []).committed { self.known[$0] }, index,
                "via zero-joint quorum", in: &lines)
            self.compare(
                self.joint(self.voters, self.voters).committed { self.known[$0] }, index,
                "via self-joint quorum", in: &lines)
            self.lower(index, in: &lines)
        }
        self.compare(
            min(self.counted(self.voters), self.counted(self.outgoing)), index,
            "via alternative computation", in: &lines)
        let text = Self.text(index)
        // The empty table has no line of its own.
        if lines.isEmpty { return ["<empty majority quorum>" + text] }
        return lines + [text]
    }

    private func compare(
        _ other: UInt64, _ index: UInt64, _ way: String, in lines: inout [String]
    ) {
        if other != index { lines.append("\(Self.text(other)) <-- \(way)") }
    }

    /// Who is behind the committed index may be further behind without changing it.
    private func lower(_ index: UInt64, in lines: inout [String]) {
        for id in self.voters {
            guard let own = self.known[id], own > 0, own < index else { continue }
            for less in [own - 1, 0] {
                let other = Quorum.committed(self.voters) { $0 == id ? less : self.known[$0] }
                self.compare(other, index, "overlaying \(id.raw)->\(less)", in: &lines)
            }
        }
    }

    /// The greatest index that more than half have reached, by counting.
    private func counted(_ voters: [MemberID]) -> UInt64 {
        if voters.isEmpty { return .max }
        var greatest: UInt64 = 0
        for candidate in voters.compactMap({ self.known[$0] }) {
            let reached = voters.count { (self.known[$0] ?? 0) >= candidate }
            if reached * 2 > voters.count { greatest = max(greatest, candidate) }
        }
        return greatest
    }

    private func table() -> [String] {
        let all = self.joint(self.voters, self.outgoing).allVoters
        if all.isEmpty { return [] }
        var lines = [String(repeating: " ", count: all.count + 4) + "idx"]
        for id in all {
            let own = self.known[id] ?? 0
            let bar = all.count { (self.known[$0] ?? 0) < own }
            let mark =
                self.known[id] == nil
                ? "?" + String(repeating: " ", count: all.count)
                : String(repeating: "x", count: bar) + ">"
                    + String(repeating: " ", count: all.count - bar)
            let number = String(own)
            let padding = String(repeating: " ", count: max(0, 5 - number.count))
            lines.append("\(mark) \(padding)\(number)    (id=\(id.raw))")
        }
        return lines
    }

    private static func text(_ index: UInt64) -> String { index == .max ? "∞" : String(index) }

    // MARK: Votes.

    private func vote() -> [String] {
        var lines: [String] = []
        let result: BallotResult
        if self.isJoint {
            result = self.joint(self.voters, self.outgoing).result { self.votes[$0] }
            let other = self.joint(self.outgoing, self.voters).result { self.votes[$0] }
            if other != result { lines.append("\(Self.text(other)) <-- via symmetry") }
        } else {
            result = Quorum.result(self.voters) { self.votes[$0] }
            let other = self.joint(self.voters, []).result { self.votes[$0] }
            if other != result { lines.append("\(Self.text(other)) <-- via zero-joint quorum") }
        }
        let counted = self.countedVote()
        if counted != result {
            lines.append("\(Self.text(counted)) <-- via alternative computation")
        }
        return lines + [Self.text(result)]
    }

    /// Won or lost if it is so however those not heard of decide.
    private func countedVote() -> BallotResult {
        var won = true
        var canWin = true
        for half in [self.voters, self.outgoing] where !half.isEmpty {
            let yes = half.count { self.votes[$0] == true }
            let open = half.count { self.votes[$0] == nil }
            won = won && yes * 2 > half.count
            canWin = canWin && (yes + open) * 2 > half.count
        }
        return won ? .won : canWin ? .pending : .lost
    }

    private static func text(_ result: BallotResult) -> String {
        switch result {
        case .pending: "VotePending"
        case .lost: "VoteLost"
        case .won: "VoteWon"
        }
    }
}
