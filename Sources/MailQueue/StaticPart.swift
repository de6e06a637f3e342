// StaticPart.swift - the part of a message that never changes, as bytes: envelope, sizes, digest.
//
// Format    varint original bytes, varint stored bytes, 32 bytes digest, varint accepted at (ms),
//           u8 flags, sender, [envid], [user], received from, then each recipient: u8 notify with
//           bit 7 for ORCPT, address, [orcpt]. Texts: varint length, UTF-8.

import Primitives
import SMTP
import Spool

enum StaticPart {
    private enum Flag {
        static let eightBit: UInt8 = 1
        static let utf8: UInt8 = 2
        static let envid: UInt8 = 4
        static let user: UInt8 = 8
        /// Two bits: 0 not given, else `DSNReturn`.
        static let returnShift: UInt8 = 4
    }
    private static let hasOrcpt: UInt8 = 128

    /// All but the recipients.
    struct Head {
        var originalBytes: UInt64
        var storedBytes: UInt64
        var digest: BodyDigest
        var acceptedAt: WallTime
        var envelope: Envelope
        var receivedFrom: String
    }

    static func encode(_ message: Enqueue, into writer: inout ByteWriter) {
        let envelope = message.envelope
        writer.varint(message.receipt.originalBytes)
        writer.varint(message.receipt.storedBytes)
        message.receipt.digest.encode(into: &writer)
        writer.varint(UInt64(max(0, message.acceptedAt.milliseconds)))
        var flags: UInt8 = (envelope.ret?.rawValue ?? 0) << Flag.returnShift
        if envelope.eightBit { flags |= Flag.eightBit }
        if envelope.utf8 { flags |= Flag.utf8 }
        if envelope.envid != nil { flags |= Flag.envid }
        if envelope.user != nil { flags |= Flag.user }
        writer.u8(flags)
        writer.string(envelope.sender)
        if let envid = envelope.envid { writer.string(envid) }
        if let user = envelope.user { writer.string(user) }
        writer.string(message.receivedFrom)
        for recipient in envelope.recipients {
            let notify = recipient.notify.rawValue & 0x7F
            writer.u8(recipient.orcpt == nil ? notify : notify | Self.hasOrcpt)
            writer.string(recipient.address)
            if let orcpt = recipient.orcpt { writer.string(orcpt) }
        }
    }

    static func head(from reader: inout ByteReader) throws(CodecError) -> Head {
        let original = try reader.varint()
        let stored = try reader.varint()
        let digest = try BodyDigest(from: &reader)
        let accepted = WallTime(milliseconds: Int64(truncatingIfNeeded: try reader.varint()))
        let flags = try reader.u8()
        let returned = flags >> Flag.returnShift & 3
        let ret = DSNReturn(rawValue: returned)
        guard returned == 0 || ret != nil, flags < 64 else { throw .unknown("envelope flags") }
        let sender = try reader.string()
        let envid = flags & Flag.envid == 0 ? nil : try reader.string()
        let user = flags & Flag.user == 0 ? nil : try reader.string()
        let from = try reader.string()
        let envelope = Envelope(
            sender: sender, recipients: [], eightBit: flags & Flag.eightBit != 0,
            utf8: flags & Flag.utf8 != 0, ret: ret, envid: envid, user: user)
        return Head(
            originalBytes: original, storedBytes: stored, digest: digest, acceptedAt: accepted,
            envelope: envelope, receivedFrom: from)
    }

    static func recipient(from reader: inout ByteReader) throws(CodecError) -> Recipient {
        let notify = try reader.u8()
        let address = try reader.string()
        let orcpt = notify & Self.hasOrcpt == 0 ? nil : try reader.string()
        return Recipient(
            address: address, notify: Notify(rawValue: notify & ~Self.hasOrcpt), orcpt: orcpt)
    }
}

extension MessageRow {
    /// The envelope with all recipients, and what stands before them.
    var contents: StaticPart.Head {
        var reader = ByteReader(self.blob, range: self.staticStart..<self.blob.count)
        do {
            var head = try StaticPart.head(from: &reader)
            head.envelope.recipients.reserveCapacity(self.recipientCount)
            for _ in 0..<self.recipientCount {
                head.envelope.recipients.append(try StaticPart.recipient(from: &reader))
            }
            return head
        } catch {
            unreachable("own row: \(error)")
        }
    }

    /// Of the content, as it was accepted.
    var digest: BodyDigest {
        var reader = ByteReader(self.blob, range: self.staticStart..<self.blob.count)
        do {
            _ = try reader.varint()
            _ = try reader.varint()
            return try BodyDigest(from: &reader)
        } catch {
            unreachable("own row: \(error)")
        }
    }

    var sizes: (original: UInt64, stored: UInt64) {
        var reader = ByteReader(self.blob, range: self.staticStart..<self.blob.count)
        do { return (try reader.varint(), try reader.varint()) } catch {
            unreachable("own row: \(error)")
        }
    }
}
