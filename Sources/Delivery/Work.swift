// Work.swift - what a connection carries: pieces of leased deliveries, and probes.

import Cluster
import MailQueue
import NIOCore
import Primitives
package import SMTP

/// A leased delivery whose pieces are under way. Confined to its event loop.
final class Lease {
    let delivery: LeasedDelivery
    /// The body once it is in memory; given free with the last piece.
    var body: MessageBody?
    /// Pieces that are queued or running; the one that makes it 0 ends the lease.
    var pieces = 0

    init(_ delivery: LeasedDelivery) {
        self.delivery = delivery
        self.body = delivery.body
    }
}

/// A question about one recipient; see RecipientProber.
struct Probe {
    let address: String
    /// Called once, on the loop.
    let answer: (ProbeAnswer) -> Void
}

/// What a host thinks of a recipient.
package enum ProbeAnswer: Hashable, Sendable {
    case valid
    /// 5yz: the client is to get this reply.
    case invalid(Reply)
    /// No host, no answer, or 4yz: accept and let the queue find out.
    case unknown
}

/// What one transaction carries.
struct Piece {
    enum Work {
        case mail(Lease)
        case probe(Probe)
    }
    /// Positions in the lease's recipients: a range as long as nothing was taken out of it.
    enum Positions {
        case range(Range<Int>)
        case list([Int])

        var count: Int {
            switch self {
            case .range(let range): range.count
            case .list(let list): list.count
            }
        }
        subscript(i: Int) -> Int {
            switch self {
            case .range(let range): range.lowerBound + i
            case .list(let list): list[i]
            }
        }
    }
    let work: Work
    var positions: Positions
    /// Hosts that could not take it in this attempt.
    var tried: [IPAddress] = []
    /// What the last of them said, and its name.
    var lastReply: Reply?
    var lastHost: String?
    /// How often a kept connection turned out dead under it.
    var staleStarts = 0

    init(_ work: Work, _ positions: Positions) {
        self.work = work
        self.positions = positions
    }

    var lease: Lease? {
        guard case .mail(let lease) = self.work else { return nil }
        return lease
    }

    /// Whether a transaction can begin without reading a body first.
    var isInMemory: Bool {
        switch self.work {
        case .mail(let lease): lease.body != nil
        case .probe: true
        }
    }

    /// The envelope of its transaction.
    ///
    /// - Parameter opening: of a body that is not in memory as a whole.
    func mail(_ routing: Routing, isLMTP: Bool, opening: OpenedBody? = nil) -> ClientMail {
        switch self.work {
        case .probe(let probe):
            var mail = ClientMail(
                sender: "", recipients: [Recipient(address: probe.address, notify: .never)],
                utf8: !Self.isASCII(probe.address))
            mail.isProbe = true
            return mail
        case .mail(let lease):
            let delivery = lease.delivery
            var recipients: [Recipient] = []
            recipients.reserveCapacity(self.positions.count)
            for i in 0..<self.positions.count {
                var recipient = delivery.recipients[self.positions[i]].recipient
                if recipient.domain.isEmpty { recipient.address = routing.postmaster }
                recipients.append(recipient)
            }
            var mail = ClientMail(
                sender: delivery.sender, recipients: recipients, eightBit: delivery.eightBit,
                ret: delivery.ret, envid: delivery.envid, bytes: delivery.originalBytes)
            if isLMTP { mail.bytes += UInt64(Self.returnPath(delivery.sender).utf8.count) }
            let parts = lease.body?.parts ?? opening?.parts ?? []
            let isWhole = lease.body != nil || opening?.isWhole == true
            mail.utf8 = delivery.utf8 && Self.needsUTF8(mail, parts, isWhole: isWhole)
            return mail
        }
    }

    /// RFC 5321 §4.4: the system of final delivery adds it; behind LMTP that is us.
    static func returnPath(_ sender: String) -> String { "Return-Path: <\(sender)>\r\n" }

    private static func isASCII(_ text: String) -> Bool { text.utf8.allSatisfy { $0 < 0x80 } }

    /// SMTPUTF8 was asked for; it is needed if an address or the header has UTF-8 (RFC 6531 §3.5):
    /// a client may say so of plain mail too, and that need not fail at a host without it.
    /// A header that goes on beyond what is here is taken to have UTF-8.
    private static func needsUTF8(
        _ mail: ClientMail, _ parts: [ByteBuffer], isWhole: Bool
    ) -> Bool {
        if !Self.isASCII(mail.sender) { return true }
        if mail.recipients.contains(where: { !Self.isASCII($0.address) }) { return true }
        var newlines = 0
        for part in parts {
            for byte in part.readableBytesView {
                if byte >= 0x80 { return true }
                if byte == 0x0A {
                    newlines += 1
                    if newlines == 2 { return false }
                } else if byte != 0x0D {
                    newlines = 0
                }
            }
        }
        return !isWhole
    }
}
