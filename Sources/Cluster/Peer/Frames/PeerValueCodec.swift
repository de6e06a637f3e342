// PeerValueCodec.swift - the values inside of messages, as bytes and back.
//
// See       Docs/PeerProtocol.md, "Messages".

import Primitives
import Raft
import Spool

import struct NIOCore.ByteBuffer

extension Renewal {
    func put(_ out: inout ByteBuffer) {
        invariant(
            self.shares.count <= PeerMessage.destinationsMax, "destinations of a renewal")
        out.putU64(self.session.raw)
        out.putU64(UInt64(bitPattern: self.sentAt.nanoseconds))
        out.putU64(self.term)
        out.putU64(self.deal)
        out.putU32(self.base)
        out.putU32(self.baseOpen)
        out.putVarint(self.shares.count)
        for share in self.shares {
            out.putString(share.destination)
            out.putU32(share.share)
            out.putU32(share.open)
        }
    }

    init(_ fields: inout PeerFields) throws(CodecError) {
        self.init(
            session: SessionID(raw: try fields.u64()),
            sentAt: Instant(nanoseconds: Int64(bitPattern: try fields.u64())),
            term: try fields.u64(), deal: try fields.u64(), base: try fields.u32(),
            baseOpen: try fields.u32())
        let count = try fields.count(atMost: PeerMessage.destinationsMax)
        for _ in 0..<count {
            self.shares.append(
                HeldShare(
                    destination: try fields.string(atMost: PeerMessage.destinationBytesMax),
                    share: try fields.u32(), open: try fields.u32()))
        }
    }
}

extension RenewalAnswer {
    func put(_ out: inout ByteBuffer) {
        invariant(
            self.shares.count <= PeerMessage.destinationsMax, "destinations of a renewal")
        out.putU64(self.session.raw)
        out.putU64(UInt64(bitPattern: self.sentAt.nanoseconds))
        out.putU64(self.term)
        out.putU64(self.deal)
        out.putU32(self.base)
        out.putVarint(self.shares.count)
        for share in self.shares {
            out.putString(share.destination)
            out.putU32(share.share)
        }
    }

    init(_ fields: inout PeerFields) throws(CodecError) {
        self.init(
            session: SessionID(raw: try fields.u64()),
            sentAt: Instant(nanoseconds: Int64(bitPattern: try fields.u64())),
            term: try fields.u64(), deal: try fields.u64(), base: try fields.u32())
        let count = try fields.count(atMost: PeerMessage.destinationsMax)
        for _ in 0..<count {
            self.shares.append(
                DealtShare(
                    destination: try fields.string(atMost: PeerMessage.destinationBytesMax),
                    share: try fields.u32()))
        }
    }
}

extension Standing {
    func put(_ out: inout ByteBuffer) {
        self.applied.put(&out)
        self.durable.put(&out)
        out.putU32(self.sessionsIn)
        out.putU32(self.sessionsOut)
        out.putU16(self.diskFreePermille)
        out.putBool(self.refusesBodies)
        out.putBool(self.isDraining)
        out.putU64(self.state.index)
        out.putU64(self.state.hash)
        out.putU64(UInt64(self.wall.milliseconds))
        out.putU64(self.settings)
    }

    init(_ fields: inout PeerFields) throws(CodecError) {
        self.init(
            applied: try LogPosition(&fields), durable: try LogPosition(&fields),
            sessionsIn: try fields.u32(), sessionsOut: try fields.u32(),
            diskFreePermille: try fields.u16(), refusesBodies: try fields.bool(),
            isDraining: try fields.bool(),
            state: StateMark(index: try fields.u64(), hash: try fields.u64()),
            wall: try fields.wall(upTo: Self.wallMax), settings: try fields.u64())
        guard self.diskFreePermille <= 1000 else { throw .outOfRange("permille") }
    }
}

extension BodySeal {
    func put(_ out: inout ByteBuffer) {
        invariant(self.head.count <= PeerMessage.headBytesMax, "a body's head has a limit")
        out.putBlob(self.head)
        out.putU32(self.blockCount)
        out.putU64(self.contentBytes)
        self.digest.put(&out)
    }

    init(_ fields: inout PeerFields) throws(CodecError) {
        self.init(
            head: try fields.blob(atMost: PeerMessage.headBytesMax),
            blockCount: try fields.u32(), contentBytes: try fields.u64(),
            digest: try BodyDigest(&fields))
    }
}

extension PeerBody {
    func put(_ out: inout ByteBuffer) {
        switch self {
        case .stream(let stream):
            out.writeInteger(UInt8(1))
            out.putU64(stream)
        case .tag(let tag):
            out.writeInteger(UInt8(2))
            tag.put(&out)
        }
    }

    init(_ fields: inout PeerFields) throws(CodecError) {
        switch try fields.u8() {
        case 1: self = .stream(try fields.u64())
        case 2: self = .tag(try Tag(&fields))
        case _: throw .unknown("body")
        }
    }
}

extension SnapshotOffer {
    func put(_ out: inout ByteBuffer) {
        out.putU64(self.id)
        self.position.put(&out)
        out.putU64(self.totalBytes)
        out.writeBytes(self.configuration)
    }

    init(_ fields: inout PeerFields) throws(CodecError) {
        self.init(
            id: try fields.u64(), position: try LogPosition(&fields),
            totalBytes: try fields.u64(),
            configuration: try fields.restBytes(atMost: PeerMessage.configurationBytesMax))
    }
}

extension LogPosition {
    func put(_ out: inout ByteBuffer) {
        out.putU64(self.term)
        out.putU64(self.index)
    }

    init(_ fields: inout PeerFields) throws(CodecError) {
        self.init(term: try fields.u64(), index: try fields.u64())
    }
}

extension Tag {
    func put(_ out: inout ByteBuffer) {
        out.putU64(self.session.raw)
        out.putU64(self.sequence)
    }

    init(_ fields: inout PeerFields) throws(CodecError) {
        self.init(session: SessionID(raw: try fields.u64()), sequence: try fields.u64())
    }
}

extension BodyDigest {
    /// The 32 bytes in their order: the words are big-endian.
    func put(_ out: inout ByteBuffer) {
        for word in [self.a, self.b, self.c, self.d] { out.putU64(word.byteSwapped) }
    }

    init(_ fields: inout PeerFields) throws(CodecError) {
        self.init(
            a: try fields.u64().byteSwapped, b: try fields.u64().byteSwapped,
            c: try fields.u64().byteSwapped, d: try fields.u64().byteSwapped)
    }
}

/// Why the other side ends a connection, in its own words.
package struct Goodbye: Equatable, Sendable {
    /// Bytes of the sentence, at most.
    static let sentenceBytesMax = 1024
    /// Bytes of the label, at most.
    static let labelBytesMax = 64

    /// One of `PeerRefusal.Cause`, or of a later version's.
    package var label: String
    package var sentence: String

    package init(label: String, sentence: String) {
        self.label = label
        self.sentence = sentence
    }

    func encode(into buffer: inout ByteBuffer) {
        PeerFrame.write(PeerFrameKind.goodbye.rawValue, into: &buffer) { out in
            out.putString(Self.cut(self.label, Self.labelBytesMax))
            out.putString(Self.cut(self.sentence, Self.sentenceBytesMax))
        }
    }

    init(_ payload: ByteBuffer) throws(CodecError) {
        var fields = PeerFields(payload)
        self.label = try fields.string(atMost: Self.labelBytesMax)
        self.sentence = try fields.string(atMost: Self.sentenceBytesMax)
    }

    /// Whole characters only.
    private static func cut(_ text: String, _ limit: Int) -> String {
        var text = text
        while text.utf8.count > limit { text.removeLast() }
        return text
    }
}

extension PeerFields {
    /// A peer's word of the time: one that cannot be is refused, so that differences always fit.
    fileprivate mutating func wall(upTo latest: WallTime) throws(CodecError) -> WallTime {
        let milliseconds = try self.u64()
        guard milliseconds <= UInt64(latest.milliseconds) else { throw .outOfRange("wall clock") }
        return WallTime(milliseconds: Int64(milliseconds))
    }
}
