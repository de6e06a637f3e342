// MessageCodecTests.swift - messages, changes, configurations, snapshots: there and back, damaged.

import Primitives
import Testing

@testable import Raft

/// Values of every kind, from one seed.
struct RandomValues {
    var dice: Generator

    init(seed: UInt64) { self.dice = Generator(seed: seed) }

    mutating func number() -> UInt64 {
        switch self.dice.below(6) {
        case 0: 0
        case 1: UInt64(self.dice.below(128))
        case 2: UInt64(self.dice.below(1 << 20))
        case 3: .max
        case 4: Raft.numberMax - UInt64(self.dice.below(2))
        case _: self.dice.next()
        }
    }

    mutating func position() -> LogPosition {
        LogPosition(term: self.number(), index: self.number())
    }

    mutating func blob(_ bound: Int = 40) -> [UInt8] {
        (0..<self.dice.below(bound)).map { _ in UInt8(truncatingIfNeeded: self.dice.next()) }
    }

    mutating func entries(behind index: UInt64?) -> [Entry] {
        let kinds: [EntryKind] = [.normal, .change, .changes]
        return (0..<self.dice.below(5)).map { at in
            Entry(
                term: self.number(), index: index.map { $0 + UInt64(at) + 1 } ?? 0,
                kind: kinds[self.dice.below(3)], data: self.blob())
        }
    }

    mutating func members() -> [MemberID] {
        (0..<self.dice.below(4)).map { _ in MemberID(raw: self.number()) }
    }

    mutating func configuration() -> Configuration {
        Configuration(
            voters: self.members(), outgoing: self.members(), learners: self.members(),
            learnersNext: self.members(), autoLeave: self.dice.chance(permille: 500))
    }

    mutating func snapshot() -> Snapshot {
        Snapshot(
            position: self.position(), configuration: self.configuration(), data: self.blob())
    }

    static let kinds = 15

    mutating func body(_ kind: Int) -> Message.Body {
        let yes = self.dice.chance(permille: 500)
        switch kind {
        case 0: return .preVote(last: self.position(), isTransfer: yes)
        case 1: return .preVoteAnswer(isGranted: yes)
        case 2: return .vote(last: self.position(), isTransfer: yes)
        case 3: return .voteAnswer(isGranted: yes)
        case 4:
            let index = min(self.number(), Raft.numberMax)
            return .append(
                previous: LogPosition(term: self.number(), index: index),
                entries: self.entries(behind: index), commit: self.number())
        case 5: return .appended(index: self.number())
        case 6: return .appendRejected(index: self.number(), hint: self.position())
        case 7: return .heartbeat(commit: self.number(), round: self.number())
        case 8: return .heartbeatAnswer(round: self.number())
        case 9: return .snapshot(self.snapshot())
        case 10: return .timeoutNow
        case 11: return .transferLeader
        case 12: return .propose(self.entries(behind: nil))
        case 13: return .read(request: self.number())
        case _: return .readAnswer(index: self.number(), request: self.number())
        }
    }

    mutating func message(_ kind: Int) -> Message {
        Message(
            from: MemberID(raw: self.number()), to: MemberID(raw: self.number()),
            term: self.number(), self.body(kind))
    }
}

@Suite("Message codec")
struct MessageCodecTests {
    static func bytes(_ message: Message) -> [UInt8] {
        var writer = ByteWriter()
        message.encode(into: &writer)
        return writer.bytes
    }

    @Test(arguments: 0..<RandomValues.kinds)
    func `every kind comes back as it went`(kind: Int) throws {
        var values = RandomValues(seed: UInt64(kind))
        for _ in 0..<300 {
            let message = values.message(kind)
            #expect(try Message(Self.bytes(message)) == message)
        }
    }

    @Test(arguments: 0..<RandomValues.kinds)
    func `every part of a message is no message, and nothing may follow one`(kind: Int) {
        var values = RandomValues(seed: UInt64(100 + kind))
        for _ in 0..<30 {
            let bytes = Self.bytes(values.message(kind))
            for length in 0..<bytes.count {
                #expect(throws: CodecError.self) { try Message(Array(bytes[..<length])) }
            }
            #expect(throws: CodecError.trailing) { try Message(bytes + [0]) }
        }
    }

    @Test(arguments: 0..<RandomValues.kinds)
    func `a flipped byte is refused or is another message of the same length of life`(
        kind: Int
    ) throws {
        var values = RandomValues(seed: UInt64(200 + kind))
        for _ in 0..<12 {
            let bytes = Self.bytes(values.message(kind))
            for at in bytes.indices {
                for mask: UInt8 in [0x01, 0x02, 0x40, 0x80, 0xFF] {
                    var damaged = bytes
                    damaged[at] ^= mask
                    let read: Message
                    do { read = try Message(damaged) } catch { continue }
                    // A number may be written with more bytes than it needs; but for those it is
                    // the same bytes again, and always the same message.
                    let again = Self.bytes(read)
                    #expect(again == damaged || again.count < damaged.count)
                    #expect(try Message(again) == read)
                }
            }
        }
    }

    @Test func `kinds that are not known are refused`() {
        let body = Array(Self.bytes(Message(from: 1, to: 2, term: 3, .timeoutNow)).dropFirst())
        for kind: UInt8 in 0...255 where !(1...15).contains(kind) {
            #expect(throws: CodecError.unknown("message")) { try Message([kind] + body) }
        }
        var writer = ByteWriter()
        Message(from: 1, to: 2, term: 3, .propose([Entry(data: [])])).encode(into: &writer)
        let at = writer.bytes.count - 3
        for kind: UInt8 in 3...255 {
            var bytes = writer.bytes
            bytes[at] = kind
            #expect(throws: CodecError.unknown("entry")) { try Message(bytes) }
        }
    }

    // MARK: Limits, at the limit and one above.

    private func head(_ kind: UInt8) -> ByteWriter {
        var writer = ByteWriter()
        writer.u8(kind)
        writer.u64(2)
        writer.u64(1)
        writer.varint(UInt64(3))
        return writer
    }

    @Test func `so many entries, and not one more`() throws {
        for (count, isTaken) in [(Message.entriesMax, true), (Message.entriesMax + 1, false)] {
            var writer = self.head(13)
            writer.varint(count)
            for _ in 0..<count { for byte: UInt8 in [0, 1, 0] { writer.u8(byte) } }
            if isTaken {
                guard case .propose(let entries) = try Message(writer.bytes).body else {
                    Issue.record("another kind")
                    continue
                }
                #expect(entries.count == count)
            } else {
                #expect(throws: CodecError.outOfRange("count")) { try Message(writer.bytes) }
            }
        }
    }

    @Test func `so many bytes of data in an entry and in a snapshot, and not one more`() throws {
        let data = Array(repeating: UInt8(1), count: Message.entryBytesMax)
        let fits = Message(from: 2, to: 1, term: 3, .propose([Entry(data: data)]))
        #expect(try Message(Self.bytes(fits)) == fits)
        let larger = Message(from: 2, to: 1, term: 3, .propose([Entry(data: data + [1])]))
        #expect(throws: CodecError.outOfRange("count")) { try Message(Self.bytes(larger)) }

        var snapshot = Snapshot(
            position: .at(1, 1), configuration: Configuration(voters: [1]),
            data: Array(repeating: 1, count: Message.snapshotBytesMax))
        let whole = Message(from: 2, to: 1, term: 3, .snapshot(snapshot))
        #expect(try Message(Self.bytes(whole)) == whole)
        snapshot.data.append(1)
        let above = Message(from: 2, to: 1, term: 3, .snapshot(snapshot))
        #expect(throws: CodecError.outOfRange("count")) { try Message(Self.bytes(above)) }
    }

    @Test func `so many members in a list, and not one more`() throws {
        for place in 0..<4 {
            for (count, isTaken) in [(Message.membersMax, true), (Message.membersMax + 1, false)] {
                let list = (1...UInt64(count)).map(MemberID.init(raw:))
                var lists: [[MemberID]] = [[], [], [], []]
                lists[place] = list
                let configuration = Configuration(
                    voters: lists[0], outgoing: lists[1], learners: lists[2],
                    learnersNext: lists[3])
                var writer = ByteWriter()
                configuration.encode(into: &writer)
                var reader = ByteReader(writer.bytes)
                if isTaken {
                    #expect(try Configuration(from: &reader) == configuration)
                } else {
                    #expect(throws: CodecError.outOfRange("count")) {
                        try Configuration(from: &reader)
                    }
                }
            }
        }
    }

    @Test func `an append begins at the greatest index at most`() throws {
        for (index, isTaken) in [
            (Raft.numberMax, true), (Raft.numberMax + 1, false), (.max, false),
        ] {
            let message = Message(
                from: 2, to: 1, term: 3,
                .append(previous: .at(index, 1), entries: [], commit: 0))
            if isTaken {
                #expect(try Message(Self.bytes(message)) == message)
            } else {
                #expect(throws: CodecError.outOfRange("index")) {
                    try Message(Self.bytes(message))
                }
            }
        }
    }

    @Test func `a false count is found without its memory`() {
        var writer = self.head(13)
        writer.varint(Message.entriesMax)
        #expect(throws: CodecError.truncated) { try Message(writer.bytes) }
    }
}

@Suite("Configuration and snapshot codec")
struct ConfigurationCodecTests {
    private static func change(_ values: inout RandomValues) -> ConfigurationChange {
        let whats: [MemberChange.What] = [.addVoter, .remove, .update, .addLearner]
        let transitions: [Transition] = [.auto, .implicit, .explicit]
        let changes = (0..<values.dice.below(6)).map { _ in
            MemberChange(whats[values.dice.below(4)], MemberID(raw: values.number()))
        }
        return ConfigurationChange(transition: transitions[values.dice.below(3)], changes)
    }

    @Test func `changes come back as they went, parts of them do not`() throws {
        var values = RandomValues(seed: 300)
        for _ in 0..<2000 {
            let change = Self.change(&values)
            let entry = change.entry()
            #expect(entry.kind == .changes)
            #expect(try ConfigurationChange(entry) == change)
            for length in 1..<max(1, entry.data.count) {
                let part = Entry(kind: .changes, data: Array(entry.data[..<length]))
                #expect(throws: CodecError.self) { try ConfigurationChange(part) }
            }
            let more = Entry(kind: .changes, data: entry.data + [0])
            #expect(throws: CodecError.self) { try ConfigurationChange(more) }
        }
    }

    @Test func `one change has an older form`() throws {
        var values = RandomValues(seed: 301)
        for _ in 0..<500 {
            let change = Self.change(&values)
            let entry = change.entry(asSingle: true)
            #expect(entry.kind == (change.changes.count == 1 ? .change : .changes))
            guard entry.kind == .change else { continue }
            #expect(try ConfigurationChange(entry) == ConfigurationChange(change.changes))
            for length in 0..<entry.data.count {
                let part = Entry(kind: .change, data: Array(entry.data[..<length]))
                #expect(throws: CodecError.truncated) { try ConfigurationChange(part) }
            }
        }
    }

    @Test func `no data leaves the joint configuration; a normal entry is no change`() throws {
        #expect(ConfigurationChange.leaveJoint.entry() == Entry(kind: .changes, data: []))
        #expect(try ConfigurationChange(Entry(kind: .changes, data: [])).leavesJoint)
        #expect(throws: CodecError.unknown("change of members")) {
            try ConfigurationChange(Entry(data: []))
        }
    }

    @Test func `kinds and transitions that are not known are refused`() {
        for raw: UInt8 in 4...255 {
            let data: [UInt8] = [raw] + Array(repeating: 0, count: 8)
            #expect(throws: CodecError.unknown("change of a member")) {
                try ConfigurationChange(Entry(kind: .change, data: data))
            }
        }
        for raw: UInt8 in 3...255 {
            #expect(throws: CodecError.unknown("transition")) {
                try ConfigurationChange(Entry(kind: .changes, data: [raw, 0]))
            }
        }
    }

    @Test func `so many changes at once, and not one more`() throws {
        let most = ConfigurationChange.changesMax
        for (count, isTaken) in [(most, true), (most + 1, false)] {
            let change = ConfigurationChange(
                Array(repeating: MemberChange(.addVoter, 5), count: count))
            if isTaken {
                #expect(try ConfigurationChange(change.entry()) == change)
            } else {
                #expect(throws: CodecError.outOfRange("count")) {
                    try ConfigurationChange(change.entry())
                }
            }
        }
    }

    @Test func `a flipped byte of a change is refused or another change`() throws {
        var values = RandomValues(seed: 302)
        for _ in 0..<200 {
            let entry = Self.change(&values).entry()
            for at in entry.data.indices {
                var damaged = entry
                damaged.data[at] ^= 1 << UInt8(values.dice.below(8))
                let read: ConfigurationChange
                do { read = try ConfigurationChange(damaged) } catch { continue }
                let again = read.entry()
                // Leaving has the shorter form.
                #expect(again.data == damaged.data || read.leavesJoint)
                #expect(try ConfigurationChange(again) == read)
            }
        }
    }

    @Test func `configurations and snapshots come back, parts of them do not`() throws {
        var values = RandomValues(seed: 303)
        for _ in 0..<300 {
            let snapshot = values.snapshot()
            var writer = ByteWriter()
            snapshot.encode(into: &writer)
            var reader = ByteReader(writer.bytes)
            #expect(try Snapshot(from: &reader) == snapshot)
            try reader.finish()
            for length in 0..<writer.bytes.count {
                var part = ByteReader(writer.bytes, range: 0..<length)
                #expect(throws: CodecError.self) { try Snapshot(from: &part) }
            }
        }
    }
}
