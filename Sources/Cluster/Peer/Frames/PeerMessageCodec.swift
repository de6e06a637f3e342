// PeerMessageCodec.swift - messages as frames, and back.
//
// Fails     a payload that is not what its kind says: CodecError, and the connection ends. A kind
//           that is not known is no fault: later versions say more.
// See       Docs/PeerProtocol.md, "Messages".

package import Primitives
import Raft
import Spool

package import struct NIOCore.ByteBuffer

extension PeerMessage {
    /// From this many bytes on blocks are not copied behind their frame's head.
    static let tailBytesMin = 4096

    package var kind: PeerFrameKind {
        switch self {
        case .raft: .raft
        case .forward: .forward
        case .forwardRefused: .forwardRefused
        case .renew: .renew
        case .renewed: .renewed
        case .founding: .founding
        case .standing: .standing
        case .bodyOpen: .bodyOpen
        case .bodyChunk: .bodyChunk
        case .bodyEnd: .bodyEnd
        case .bodyWhole: .bodyWhole
        case .bodyStored: .bodyStored
        case .bodyRefused: .bodyRefused
        case .bodyAbandoned: .bodyAbandoned
        case .fetchBody: .fetchBody
        case .fetchedHead: .fetchedHead
        case .fetchedPiece: .fetchedPiece
        case .fetchFailed: .fetchFailed
        case .fetchMore: .fetchMore
        case .fetchEnded: .fetchEnded
        case .snapshotOffer: .snapshotOffer
        case .snapshotPiece: .snapshotPiece
        case .snapshotDone: .snapshotDone
        case .snapshotAnswer: .snapshotAnswer
        }
    }

    /// The connection that it goes by.
    package var link: PeerLinkKind {
        guard let link = self.kind.link else { unreachable("a message has its connection") }
        return link
    }

    /// What is last in the payload and may be large.
    private var blocks: ByteBuffer? {
        switch self {
        case .bodyChunk(_, _, let blocks), .bodyWhole(_, _, let blocks),
            .fetchedPiece(_, let blocks, _), .snapshotPiece(_, _, let blocks):
            blocks
        case .raft, .forward, .forwardRefused, .renew, .renewed, .founding, .standing,
            .bodyOpen, .bodyEnd, .bodyStored, .bodyRefused, .bodyAbandoned, .fetchBody,
            .fetchedHead, .fetchFailed, .fetchMore, .fetchEnded, .snapshotOffer, .snapshotDone,
            .snapshotAnswer:
            nil
        }
    }

    // MARK: Out

    /// Appends the frame to `buffer`.
    ///
    /// - Returns: what has to be sent right behind `buffer`: the frame's last bytes, not copied.
    package func encode(into buffer: inout ByteBuffer) -> ByteBuffer? {
        let blocks = self.blocks
        invariant((blocks?.readableBytes ?? 0) <= Self.blocksBytesMax, "blocks of one frame")
        let tail = blocks.flatMap { $0.readableBytes >= Self.tailBytesMin ? $0 : nil }
        let start = buffer.writerIndex
        PeerFrame.write(self.kind.rawValue, into: &buffer, tail: tail) { buffer in
            self.kind.link == .control ? self.putControl(&buffer) : self.putBulk(&buffer)
            if tail == nil, let blocks { buffer.writeImmutableBuffer(blocks) }
        }
        let payload = buffer.writerIndex - start - PeerFrame.headerBytes
        invariant(
            payload + (tail?.readableBytes ?? 0) <= self.kind.payloadBytesMax,
            "a payload has a limit (\(self.kind))")
        return tail
    }

    private func putControl(_ out: inout ByteBuffer) {
        switch self {
        case .raft(let bytes): out.writeBytes(bytes)
        case .forward(let number, let command):
            out.putU64(number)
            out.writeBytes(command)
        case .forwardRefused(let number, let leader):
            out.putU64(number)
            out.putU64(leader.raw)
        case .renew(let renewal): renewal.put(&out)
        case .renewed(let answer): answer.put(&out)
        case .founding(let letter):
            invariant(letter.count <= Self.foundingBytesMax, "a letter has a limit")
            out.writeBytes(letter)
        case .standing(let standing): standing.put(&out)
        case .bodyOpen, .bodyChunk, .bodyEnd, .bodyWhole, .bodyStored, .bodyRefused,
            .bodyAbandoned, .fetchBody, .fetchedHead, .fetchedPiece, .fetchFailed, .fetchMore,
            .fetchEnded, .snapshotOffer, .snapshotPiece, .snapshotDone, .snapshotAnswer:
            unreachable("a message of the bulk connection")
        }
    }

    private func putBulk(_ out: inout ByteBuffer) {
        switch self {
        case .bodyOpen(let stream), .bodyAbandoned(let stream): out.putU64(stream)
        case .bodyChunk(let stream, let number, _):
            out.putU64(stream)
            out.putU64(number)
        case .bodyEnd(let stream, let tag, let seal):
            out.putU64(stream)
            tag.put(&out)
            seal.put(&out)
        case .bodyWhole(let tag, let seal, _):
            tag.put(&out)
            seal.put(&out)
        case .bodyStored(let tag): tag.put(&out)
        case .bodyRefused(let body, let reason):
            body.put(&out)
            out.writeInteger(reason.rawValue)
        case .fetchBody(let request, let tag, let pieces):
            out.putU64(request)
            tag.put(&out)
            out.putU32(pieces)
        case .fetchMore(let request, let pieces):
            out.putU64(request)
            out.putU32(pieces)
        case .fetchEnded(let request): out.putU64(request)
        case .fetchedHead(let request, let seal):
            out.putU64(request)
            seal.put(&out)
        case .fetchedPiece(let request, _, let isLast):
            out.putU64(request)
            out.putBool(isLast)
        case .fetchFailed(let request, let reason):
            out.putU64(request)
            out.writeInteger(reason.rawValue)
        case .snapshotOffer(let offer): offer.put(&out)
        case .snapshotPiece(let id, let offset, _):
            out.putU64(id)
            out.putU64(offset)
        case .snapshotDone(let id, let digest):
            out.putU64(id)
            digest.put(&out)
        case .snapshotAnswer(let id, let verdict, let taken):
            out.putU64(id)
            out.writeInteger(verdict.rawValue)
            out.putU64(taken)
        case .raft, .forward, .forwardRefused, .renew, .renewed, .founding, .standing:
            unreachable("a message of the control connection")
        }
    }

    // MARK: In

    /// Nil: a kind that this version does not know, or one that is no message (hello, goodbye,
    /// alive).
    package init?(_ frame: PeerFrame) throws(CodecError) {
        guard let kind = PeerFrameKind(rawValue: frame.kind), let link = kind.link else {
            return nil
        }
        var fields = PeerFields(frame.payload)
        self =
            switch link {
            case .control: try Self.control(kind, &fields)
            case .bulk: try Self.bulk(kind, &fields)
            }
        try fields.finish()
    }

    private static func control(
        _ kind: PeerFrameKind, _ fields: inout PeerFields
    ) throws(CodecError) -> PeerMessage {
        switch kind {
        case .raft: return .raft(try fields.restBytes(atMost: kind.payloadBytesMax))
        case .forward:
            return .forward(
                number: try fields.u64(),
                command: try fields.restBytes(atMost: Self.commandBytesMax))
        case .forwardRefused:
            return .forwardRefused(
                number: try fields.u64(), leader: Incarnation(raw: try fields.u64()))
        case .renew: return .renew(try Renewal(&fields))
        case .renewed: return .renewed(try RenewalAnswer(&fields))
        case .founding:
            return .founding(try fields.restBytes(atMost: Self.foundingBytesMax))
        case .standing: return .standing(try Standing(&fields))
        case .hello, .goodbye, .alive, .bodyOpen, .bodyChunk, .bodyEnd, .bodyWhole, .bodyStored,
            .bodyRefused, .bodyAbandoned, .fetchBody, .fetchedHead, .fetchedPiece, .fetchFailed,
            .fetchMore, .fetchEnded, .snapshotOffer, .snapshotPiece, .snapshotDone,
            .snapshotAnswer:
            unreachable("a kind of the control connection")
        }
    }

    private static func bulk(
        _ kind: PeerFrameKind, _ fields: inout PeerFields
    ) throws(CodecError) -> PeerMessage {
        switch kind {
        case .bodyOpen: return .bodyOpen(stream: try fields.u64())
        case .bodyChunk:
            return .bodyChunk(
                stream: try fields.u64(), number: try fields.u64(),
                blocks: try fields.rest(atMost: Self.blocksBytesMax))
        case .bodyEnd:
            return .bodyEnd(
                stream: try fields.u64(), tag: try Tag(&fields), try BodySeal(&fields))
        case .bodyWhole:
            return .bodyWhole(
                tag: try Tag(&fields), try BodySeal(&fields),
                blocks: try fields.rest(atMost: Self.blocksBytesMax))
        case .bodyStored: return .bodyStored(tag: try Tag(&fields))
        case .bodyRefused:
            let body = try PeerBody(&fields)
            return .bodyRefused(body, PeerBodyRefusal(rawValue: try fields.u8()) ?? .other)
        case .bodyAbandoned: return .bodyAbandoned(stream: try fields.u64())
        case .fetchBody:
            return .fetchBody(
                request: try fields.u64(), tag: try Tag(&fields), pieces: try fields.u32())
        case .fetchMore:
            return .fetchMore(request: try fields.u64(), pieces: try fields.u32())
        case .fetchEnded: return .fetchEnded(request: try fields.u64())
        case .fetchedHead:
            return .fetchedHead(request: try fields.u64(), try BodySeal(&fields))
        case .fetchedPiece:
            let request = try fields.u64()
            let isLast = try fields.bool()
            return .fetchedPiece(
                request: request, blocks: try fields.rest(atMost: Self.blocksBytesMax),
                isLast: isLast)
        case .fetchFailed:
            return .fetchFailed(
                request: try fields.u64(), PeerFetchFailure(rawValue: try fields.u8()) ?? .other)
        case .snapshotOffer: return .snapshotOffer(try SnapshotOffer(&fields))
        case .snapshotPiece:
            return .snapshotPiece(
                id: try fields.u64(), offset: try fields.u64(),
                bytes: try fields.rest(atMost: Self.blocksBytesMax))
        case .snapshotDone:
            return .snapshotDone(id: try fields.u64(), digest: try BodyDigest(&fields))
        case .snapshotAnswer:
            let id = try fields.u64()
            let verdict = SnapshotVerdict(rawValue: try fields.u8()) ?? .refused
            return .snapshotAnswer(id: id, verdict, takenBytes: try fields.u64())
        case .hello, .goodbye, .alive, .raft, .forward, .forwardRefused, .renew, .renewed,
            .founding, .standing:
            unreachable("a kind of the bulk connection")
        }
    }
}
