// Dice.swift - messages that no sound member sends, and some that one could.

import Primitives
import Raft

struct Dice {
    private(set) var generator: Generator
    private var bytes: [UInt8] = []

    init(seed: UInt64) { self.generator = Generator(seed: seed) }

    mutating func below(_ bound: Int) -> Int { self.generator.below(bound) }
    mutating func next() -> UInt64 { self.generator.next() }
    mutating func chance(permille: Int) -> Bool { self.generator.chance(permille: permille) }

    // MARK: Numbers.

    mutating func member() -> MemberID {
        switch self.below(24) {
        case 0: MemberID(raw: 8)
        case 1: MemberID(raw: 9)
        case 2: .none
        case 3: MemberID(raw: 1)
        case 4: MemberID(raw: .max)
        case _: MemberID(raw: UInt64(2 + self.below(4)))
        }
    }

    /// Numbers at the ends of their range.
    private mutating func end() -> UInt64 {
        switch self.below(8) {
        case 0: 0
        case 1: 1
        case 2: Raft.numberMax - 1
        case 3: Raft.numberMax
        case 4: Raft.numberMax + 1
        case 5: .max
        case 6: .max - 1
        case _: self.next()
        }
    }

    private mutating func near(_ value: UInt64) -> UInt64 {
        let by = UInt64(self.below(4))
        return self.chance(permille: 500) ? value &+ by : value - min(value, by)
    }

    mutating func term(_ raft: Raft) -> UInt64 {
        switch self.below(100) {
        case 0: self.end()
        case 1..<8: self.near(raft.term)
        case 8..<14: raft.term - min(raft.term, 1)
        case 14..<20: raft.term + 1
        case _: raft.term
        }
    }

    mutating func index(_ raft: Raft) -> UInt64 {
        let log = raft.log
        return switch self.below(24) {
        case 0: self.end()
        case 1: 0
        case 2, 3: self.near(log.base.index)
        case 4, 5: self.near(log.applied)
        case 6, 7, 8: self.near(log.committed)
        case 9, 10: self.near(log.stored)
        case 11, 12: log.committed
        case 13: UInt64(self.below(16))
        case 14..<18: self.near(log.lastIndex)
        case _: log.lastIndex
        }
    }

    mutating func position(_ raft: Raft) -> LogPosition {
        let index = self.index(raft)
        if self.chance(permille: 800), let term = raft.log.term(at: index) {
            return LogPosition(term: term, index: index)
        }
        return LogPosition(term: self.term(raft), index: index)
    }

    // MARK: Entries and configurations.

    mutating func blob() -> [UInt8] {
        let length = self.chance(permille: 20) ? self.below(400) : self.below(12)
        var data: [UInt8] = []
        data.reserveCapacity(length)
        for _ in 0..<length { data.append(UInt8(truncatingIfNeeded: self.next())) }
        return data
    }

    mutating func change() -> ConfigurationChange {
        if self.chance(permille: 100) { return .leaveJoint }
        if self.chance(permille: 60) {
            // Everybody goes.
            return ConfigurationChange(
                transition: .auto, (1...5).map { MemberChange(.remove, MemberID(raw: $0)) })
        }
        let what: [MemberChange.What] = [.addVoter, .remove, .update, .addLearner]
        let transition: [Transition] = [.auto, .implicit, .explicit]
        var changes: [MemberChange] = []
        for _ in 0..<self.below(4) {
            let id = self.chance(permille: 200) ? MemberID(raw: 1) : self.member()
            changes.append(MemberChange(what[self.below(4)], id))
        }
        return ConfigurationChange(transition: transition[self.below(3)], changes)
    }

    mutating func entry(term: UInt64, index: UInt64) -> Entry {
        var entry = Entry(data: [])
        switch self.below(16) {
        case 0, 1: entry = self.change().entry(asSingle: self.chance(permille: 300))
        case 2:
            entry.kind = self.chance(permille: 500) ? .change : .changes
            entry.data = self.blob()
        case 3: break
        case _: entry.data = self.blob()
        }
        entry.term = term
        entry.index = index
        return entry
    }

    /// A run of entries as a leader of `term` has it, or nearly so.
    mutating func entries(behind previous: LogPosition, term: UInt64) -> [Entry] {
        var entries: [Entry] = []
        var last = previous
        for _ in 0..<self.below(5) {
            var own = last.term
            if self.chance(permille: 300) { own = min(term, own &+ 1) }
            if self.chance(permille: 300) { own = term }
            if self.chance(permille: 10) { own = self.end() }
            let index = self.chance(permille: 990) ? last.index &+ 1 : self.end()
            entries.append(self.entry(term: own, index: index))
            last = LogPosition(term: own, index: index)
        }
        return entries
    }

    private mutating func list() -> [MemberID] {
        var list: [MemberID] = []
        for _ in 0..<self.below(4) {
            if self.chance(permille: 950) {
                list.insertSorted(MemberID(raw: UInt64(1 + self.below(5))))
            } else {
                list.append(self.member())
            }
        }
        return list
    }

    mutating func configuration(_ raft: Raft) -> Configuration {
        if self.chance(permille: 400) { return raft.configuration }
        var made = Configuration(voters: self.list())
        if self.chance(permille: 800) { made.voters.insertSorted(MemberID(raw: 1)) }
        if self.chance(permille: 300) { made.outgoing = self.list() }
        if self.chance(permille: 300) { made.learners = self.list() }
        if self.chance(permille: 100) { made.learnersNext = self.list() }
        made.autoLeave = self.chance(permille: 100)
        return made
    }

    // MARK: Messages.

    mutating func message(to raft: Raft) -> Message {
        let term = self.term(raft)
        // Another leader of the same term is refused at once: that leads nowhere.
        let from =
            raft.leader != .none && self.chance(permille: 600) ? raft.leader : self.member()
        let to = self.chance(permille: 990) ? raft.id : self.member()
        return Message(from: from, to: to, term: term, self.body(raft, term: term))
    }

    private mutating func body(_ raft: Raft, term: UInt64) -> Message.Body {
        let yes = self.chance(permille: 700)
        switch self.below(20) {
        case 0: return .preVote(last: self.position(raft), isTransfer: yes)
        case 1: return .preVoteAnswer(isGranted: yes)
        case 2: return .vote(last: self.position(raft), isTransfer: yes)
        case 3: return .voteAnswer(isGranted: yes)
        case 4...7:
            let previous = self.position(raft)
            return .append(
                previous: previous, entries: self.entries(behind: previous, term: term),
                commit: self.index(raft))
        case 8, 9: return .appended(index: self.index(raft))
        case 10, 11:
            return .appendRejected(index: self.index(raft), hint: self.position(raft))
        case 12: return .heartbeat(commit: self.index(raft), round: self.index(raft))
        case 13: return .heartbeatAnswer(round: UInt64(self.below(6)))
        case 14:
            return .snapshot(
                Snapshot(
                    position: self.position(raft), configuration: self.configuration(raft),
                    data: self.blob()))
        case 15: return .timeoutNow
        case 16: return .transferLeader
        case 17: return .propose(self.entries(behind: .zero, term: term))
        case 18: return .read(request: self.end())
        case _: return .readAnswer(index: self.index(raft), request: self.end())
        }
    }

    // MARK: Bytes.

    /// Bytes of a message, damaged; of nothing at all, now and then.
    mutating func bytes(like message: Message) -> [UInt8] {
        var writer = ByteWriter(capacity: 64)
        message.encode(into: &writer)
        var bytes = writer.bytes
        for _ in 0...self.below(3) {
            switch self.below(5) {
            case 0: bytes.removeLast(self.below(bytes.count + 1))
            case 1: bytes.append(UInt8(truncatingIfNeeded: self.next()))
            case _:
                guard !bytes.isEmpty else { continue }
                let at = self.below(bytes.count)
                bytes[at] ^= 1 << UInt8(self.below(8))
            }
        }
        return bytes
    }

    mutating func noise() -> [UInt8] {
        var bytes: [UInt8] = []
        let length = self.below(48)
        bytes.reserveCapacity(length)
        for _ in 0..<length {
            let draw = self.next()
            // Small numbers get further than any others.
            bytes.append(UInt8(truncatingIfNeeded: draw & 0x100 == 0 ? draw : draw & 7))
        }
        if !bytes.isEmpty, self.chance(permille: 700) { bytes[0] = UInt8(self.below(17)) }
        return bytes
    }
}
