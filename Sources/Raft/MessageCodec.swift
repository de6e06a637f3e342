// MessageCodec.swift - messages as bytes.
//
// Format    u8 kind, u64 from, u64 to, varint term, then the fields of the kind in their order.
//           An append's entries have no index: they follow `previous`. Docs/PeerProtocol.md.
// Fails     a decoder believes no length and no number: CodecError, never a trap.

package import Primitives

extension Message {
    /// Entries of one message, at most.
    package static let entriesMax = 1 << 17
    /// Data of one entry, at most, in bytes.
    package static let entryBytesMax = 8 << 20
    /// Data of a snapshot's message, at most, in bytes.
    package static let snapshotBytesMax = 16 << 20
    /// Members in one list of a configuration, at most.
    package static let membersMax = 1024

    private enum Kind: UInt8 {
        case preVote = 1
        case preVoteAnswer = 2
        case vote = 3
        case voteAnswer = 4
        case append = 5
        case appended = 6
        case appendRejected = 7
        case heartbeat = 8
        case heartbeatAnswer = 9
        case snapshot = 10
        case timeoutNow = 11
        case transferLeader = 12
        case propose = 13
        case read = 14
        case readAnswer = 15
    }

    // MARK: Out.

    package func encode(into writer: inout ByteWriter) {
        let (kind, fields) = self.parts
        writer.u8(kind.rawValue)
        writer.u64(self.from.raw)
        writer.u64(self.to.raw)
        writer.varint(self.term)
        fields(&writer)
    }

    private var parts: (Kind, (inout ByteWriter) -> Void) {
        switch self.body {
        case .preVote(let last, let isTransfer):
            (.preVote, { Self.write(ballot: last, isTransfer, &$0) })
        case .vote(let last, let isTransfer):
            (.vote, { Self.write(ballot: last, isTransfer, &$0) })
        case .preVoteAnswer(let isGranted): (.preVoteAnswer, { $0.bool(isGranted) })
        case .voteAnswer(let isGranted): (.voteAnswer, { $0.bool(isGranted) })
        case .append(let previous, let entries, let commit):
            (.append, { Self.write(append: previous, entries, commit, &$0) })
        case .appended(let index): (.appended, { $0.varint(index) })
        case .appendRejected(let index, let hint):
            (
                .appendRejected,
                {
                    $0.varint(index)
                    Self.write(hint, &$0)
                }
            )
        case .heartbeat(let commit, let round):
            (
                .heartbeat,
                {
                    $0.varint(commit)
                    $0.varint(round)
                }
            )
        case .heartbeatAnswer(let round): (.heartbeatAnswer, { $0.varint(round) })
        case .snapshot(let snapshot): (.snapshot, { snapshot.encode(into: &$0) })
        case .timeoutNow: (.timeoutNow, { _ in })
        case .transferLeader: (.transferLeader, { _ in })
        case .propose(let entries): (.propose, { Self.write(entries, &$0) })
        case .read(let request): (.read, { $0.varint(request) })
        case .readAnswer(let index, let request):
            (
                .readAnswer,
                {
                    $0.varint(index)
                    $0.varint(request)
                }
            )
        }
    }

    private static func write(
        ballot last: LogPosition, _ isTransfer: Bool, _ writer: inout ByteWriter
    ) {
        Self.write(last, &writer)
        writer.bool(isTransfer)
    }

    private static func write(
        append previous: LogPosition, _ entries: [Entry], _ commit: UInt64,
        _ writer: inout ByteWriter
    ) {
        Self.write(previous, &writer)
        writer.varint(commit)
        Self.write(entries, &writer)
    }

    private static func write(_ position: LogPosition, _ writer: inout ByteWriter) {
        writer.varint(position.term)
        writer.varint(position.index)
    }

    private static func write(_ entries: [Entry], _ writer: inout ByteWriter) {
        writer.varint(entries.count)
        for entry in entries {
            writer.u8(entry.kind.rawValue)
            writer.varint(entry.term)
            writer.blob(entry.data)
        }
    }

    // MARK: In.

    package init(_ bytes: [UInt8]) throws(CodecError) {
        var reader = ByteReader(bytes)
        try self.init(from: &reader)
        try reader.finish()
    }

    package init(from reader: inout ByteReader) throws(CodecError) {
        guard let kind = Kind(rawValue: try reader.u8()) else { throw .unknown("message") }
        let from = MemberID(raw: try reader.u64())
        let to = MemberID(raw: try reader.u64())
        let term = try reader.varint()
        self.init(from: from, to: to, term: term, try Self.body(kind, &reader))
    }

    private static func body(
        _ kind: Kind, _ reader: inout ByteReader
    ) throws(CodecError) -> Body {
        switch kind {
        case .preVote:
            .preVote(last: try Self.position(&reader), isTransfer: try reader.bool())
        case .vote: .vote(last: try Self.position(&reader), isTransfer: try reader.bool())
        case .preVoteAnswer: .preVoteAnswer(isGranted: try reader.bool())
        case .voteAnswer: .voteAnswer(isGranted: try reader.bool())
        case .append: try Self.append(&reader)
        case .appended: .appended(index: try reader.varint())
        case .appendRejected:
            .appendRejected(index: try reader.varint(), hint: try Self.position(&reader))
        case .heartbeat: .heartbeat(commit: try reader.varint(), round: try reader.varint())
        case .heartbeatAnswer: .heartbeatAnswer(round: try reader.varint())
        case .snapshot: .snapshot(try Snapshot(from: &reader))
        case .timeoutNow: .timeoutNow
        case .transferLeader: .transferLeader
        case .propose: .propose(try Self.entries(&reader, behind: nil))
        case .read: .read(request: try reader.varint())
        case .readAnswer: .readAnswer(index: try reader.varint(), request: try reader.varint())
        }
    }

    private static func append(_ reader: inout ByteReader) throws(CodecError) -> Body {
        let previous = try Self.position(&reader)
        guard previous.index <= Raft.numberMax else { throw .outOfRange("index") }
        let commit = try reader.varint()
        return .append(
            previous: previous, entries: try Self.entries(&reader, behind: previous.index),
            commit: commit)
    }

    private static func position(_ reader: inout ByteReader) throws(CodecError) -> LogPosition {
        LogPosition(term: try reader.varint(), index: try reader.varint())
    }

    private static func entries(
        _ reader: inout ByteReader, behind previous: UInt64?
    ) throws(CodecError) -> [Entry] {
        let count = try reader.count(atMost: Self.entriesMax)
        var entries: [Entry] = []
        // Three bytes are the least that an entry takes: a false count reserves no memory.
        entries.reserveCapacity(min(count, reader.remaining / 3))
        var index = previous ?? 0
        for _ in 0..<count {
            guard let kind = EntryKind(rawValue: try reader.u8()) else { throw .unknown("entry") }
            if previous != nil { index += 1 }
            entries.append(
                Entry(
                    term: try reader.varint(), index: index, kind: kind,
                    data: try reader.blob(atMost: Self.entryBytesMax)))
        }
        return entries
    }
}

extension Configuration {
    package func encode(into writer: inout ByteWriter) {
        for list in [self.voters, self.outgoing, self.learners, self.learnersNext] {
            writer.varint(list.count)
            for id in list { writer.u64(id.raw) }
        }
        writer.bool(self.autoLeave)
    }

    package init(from reader: inout ByteReader) throws(CodecError) {
        self.init(
            voters: try Self.members(&reader), outgoing: try Self.members(&reader),
            learners: try Self.members(&reader), learnersNext: try Self.members(&reader),
            autoLeave: try reader.bool())
    }

    private static func members(_ reader: inout ByteReader) throws(CodecError) -> [MemberID] {
        let count = try reader.count(atMost: Message.membersMax)
        var members: [MemberID] = []
        for _ in 0..<count { members.append(MemberID(raw: try reader.u64())) }
        return members
    }
}

extension Snapshot {
    package func encode(into writer: inout ByteWriter) {
        writer.varint(self.position.term)
        writer.varint(self.position.index)
        self.configuration.encode(into: &writer)
        writer.blob(self.data)
    }

    package init(from reader: inout ByteReader) throws(CodecError) {
        self.init(
            position: LogPosition(term: try reader.varint(), index: try reader.varint()),
            configuration: try Configuration(from: &reader),
            data: try reader.blob(atMost: Message.snapshotBytesMax))
    }
}
