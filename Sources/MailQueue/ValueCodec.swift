// ValueCodec.swift - envelopes, replies, verdicts and receipts as bytes, for commands and rows.
//
// Limits    counts are checked before anything is made of them; a text ends with its input.

package import Primitives
import SMTP
import Spool

/// Bounds of the decoders; what is above is an error, never memory.
package enum QueueLimits {
    /// Lines of one reply.
    package static let replyLines = 1 << 16
    /// Copies of one body.
    package static let holders = 64
    package static let retrySteps = 256
    /// Lines of one report, or of one outcome.
    package static let lines = Enqueue.recipientsMax
}

extension Tag {
    package func encode(into writer: inout ByteWriter) {
        writer.varint(self.session.raw)
        writer.varint(self.sequence)
    }
    package init(from reader: inout ByteReader) throws(CodecError) {
        let session = SessionID(raw: try reader.varint())
        self.init(session: session, sequence: try reader.varint())
    }
}

extension DeliveryID {
    package func encode(into writer: inout ByteWriter) {
        self.message.encode(into: &writer)
        writer.varint(UInt64(self.index))
    }
    package init(from reader: inout ByteReader) throws(CodecError) {
        let tag = try Tag(from: &reader)
        self.init(message: tag, index: UInt16(try reader.count(atMost: Int(UInt16.max))))
    }
}

extension ReportID {
    package func encode(into writer: inout ByteWriter) {
        self.message.encode(into: &writer)
        writer.varint(UInt64(self.number))
    }
    package init(from reader: inout ByteReader) throws(CodecError) {
        let tag = try Tag(from: &reader)
        self.init(message: tag, number: UInt16(try reader.count(atMost: Int(UInt16.max))))
    }
}

extension EnhancedCode {
    func encode(into writer: inout ByteWriter) {
        writer.u8(self.kind)
        writer.varint(UInt64(self.subject))
        writer.varint(UInt64(self.detail))
    }
    init(from reader: inout ByteReader) throws(CodecError) {
        let kind = try reader.u8()
        let subject = UInt16(try reader.count(atMost: Int(UInt16.max)))
        self.init(kind, subject, UInt16(try reader.count(atMost: Int(UInt16.max))))
    }
}

extension Reply {
    func encode(into writer: inout ByteWriter) {
        writer.varint(UInt64(self.code))
        writer.optional(self.enhanced) { $1.encode(into: &$0) }
        writer.varint(self.lines.count)
        for line in self.lines { writer.string(line) }
    }
    init(from reader: inout ByteReader) throws(CodecError) {
        let code = UInt16(try reader.count(atMost: Int(UInt16.max)))
        let enhanced = try reader.optional { r throws(CodecError) in try EnhancedCode(from: &r) }
        let count = try reader.count(atMost: QueueLimits.replyLines)
        guard count > 0 else { throw .outOfRange("lines of a reply") }
        var lines: [String] = []
        for _ in 0..<count { lines.append(try reader.string()) }
        self.init(code, enhanced, lines)
    }
}

extension Verdict {
    func encode(into writer: inout ByteWriter) {
        writer.u8(self.kind.rawValue)
        self.reply.encode(into: &writer)
        writer.optional(self.remoteHost) { $0.string($1) }
    }
    init(from reader: inout ByteReader) throws(CodecError) {
        guard let kind = Kind(rawValue: try reader.u8()) else { throw .unknown("verdict") }
        let reply = try Reply(from: &reader)
        let host = try reader.optional { r throws(CodecError) in try r.string() }
        self.init(kind, reply, remoteHost: host)
    }
}

extension Recipient {
    func encode(into writer: inout ByteWriter) {
        writer.string(self.address)
        writer.u8(self.notify.rawValue)
        writer.optional(self.orcpt) { $0.string($1) }
    }
    init(from reader: inout ByteReader) throws(CodecError) {
        let address = try reader.string()
        let notify = try reader.u8()
        // Bit 7 is used by the packed form of a message.
        guard notify < 128 else { throw .outOfRange("notify") }
        let orcpt = try reader.optional { r throws(CodecError) in try r.string() }
        self.init(address: address, notify: Notify(rawValue: notify), orcpt: orcpt)
    }
}

extension Envelope {
    func encode(into writer: inout ByteWriter) {
        writer.string(self.sender)
        writer.bool(self.eightBit)
        writer.bool(self.utf8)
        writer.u8(self.ret?.rawValue ?? 0)
        writer.optional(self.envid) { $0.string($1) }
        writer.optional(self.user) { $0.string($1) }
        writer.varint(self.recipients.count)
        for recipient in self.recipients { recipient.encode(into: &writer) }
    }
    init(from reader: inout ByteReader) throws(CodecError) {
        let sender = try reader.string()
        let eightBit = try reader.bool()
        let utf8 = try reader.bool()
        let raw = try reader.u8()
        let ret = DSNReturn(rawValue: raw)
        guard raw == 0 || ret != nil else { throw .unknown("ret") }
        let envid = try reader.optional { r throws(CodecError) in try r.string() }
        let user = try reader.optional { r throws(CodecError) in try r.string() }
        let count = try reader.count(atMost: Enqueue.recipientsMax)
        var recipients: [Recipient] = []
        recipients.reserveCapacity(min(count, reader.remaining / 3))
        for _ in 0..<count { recipients.append(try Recipient(from: &reader)) }
        self.init(
            sender: sender, recipients: recipients, eightBit: eightBit, utf8: utf8, ret: ret,
            envid: envid, user: user)
    }
}

extension BodyDigest {
    func encode(into writer: inout ByteWriter) {
        writer.u64(self.a)
        writer.u64(self.b)
        writer.u64(self.c)
        writer.u64(self.d)
    }
    init(from reader: inout ByteReader) throws(CodecError) {
        let a = try reader.u64()
        let b = try reader.u64()
        let c = try reader.u64()
        self.init(a: a, b: b, c: c, d: try reader.u64())
    }
}

enum HolderCodec {
    static func encode(_ holders: [Holder], into writer: inout ByteWriter) {
        writer.varint(holders.count)
        for holder in holders { Self.encode(holder, into: &writer) }
    }
    static func encode(_ holder: Holder, into writer: inout ByteWriter) {
        writer.string(holder.node)
        writer.u64(holder.incarnation.raw)
    }
    static func holders(from reader: inout ByteReader) throws(CodecError) -> [Holder] {
        var holders: [Holder] = []
        for _ in 0..<(try reader.count(atMost: QueueLimits.holders)) {
            holders.append(try Self.holder(from: &reader))
        }
        return holders
    }
    static func holder(from reader: inout ByteReader) throws(CodecError) -> Holder {
        let node = try reader.string()
        return Holder(node: node, incarnation: Incarnation(raw: try reader.u64()))
    }
}

extension BodyReceipt {
    func encode(into writer: inout ByteWriter) {
        writer.varint(self.originalBytes)
        writer.varint(self.storedBytes)
        self.digest.encode(into: &writer)
        HolderCodec.encode(self.holders, into: &writer)
    }
    init(from reader: inout ByteReader) throws(CodecError) {
        // Sizes are summed over the whole queue: 2⁴⁰ a message is far from an overflow.
        let original = UInt64(try reader.count(atMost: 1 << 40))
        let stored = UInt64(try reader.count(atMost: 1 << 40))
        let digest = try BodyDigest(from: &reader)
        self.init(
            originalBytes: original, storedBytes: stored, digest: digest,
            holders: try HolderCodec.holders(from: &reader))
    }
}

extension OwedReport {
    func encode(into writer: inout ByteWriter) {
        writer.u8(self.kind.rawValue)
        writer.varint(self.lines.count)
        for line in self.lines {
            line.recipient.encode(into: &writer)
            writer.u8(line.action.rawValue)
            line.verdict.encode(into: &writer)
            writer.varint(UInt64(line.attempts))
            writer.optional(line.status) { $1.encode(into: &$0) }
        }
    }
    init(from reader: inout ByteReader) throws(CodecError) {
        guard let kind = Kind(rawValue: try reader.u8()) else { throw .unknown("report") }
        var lines: [Line] = []
        for _ in 0..<(try reader.count(atMost: QueueLimits.lines)) {
            let recipient = try Recipient(from: &reader)
            guard let action = Action(rawValue: try reader.u8()) else { throw .unknown("action") }
            let verdict = try Verdict(from: &reader)
            let attempts = UInt32(try reader.count(atMost: Int(UInt32.max)))
            let status = try reader.optional { r throws(CodecError) in try EnhancedCode(from: &r) }
            lines.append(
                Line(
                    recipient: recipient, action: action, verdict: verdict, attempts: attempts,
                    status: status))
        }
        self.init(lines: lines, kind: kind)
    }
}
