// CommandCodec.swift - commands as bytes: what stands in log entries and goes to the leader.
//
// Format    u8 version, u8 kind, bool + origin (session, sequence, ranges), then the kind's fields
//           in the order in which they are written below. Numbers are varints unless said
//           otherwise.
// Limits    every count is bounded; any bytes give a command or an error.

package import Primitives
import SMTP
import Spool

extension Command {
    /// The first byte of every command.
    package static let version: UInt8 = 2

    private enum Kind: UInt8 {
        case openSession = 1
        case closeSession, expireSession, enqueue, outcome, release, grant, suspend
        case clearSuspension, cancel, report, waiveReport, admin, expire, bodyLost, tick
        case settings, drain, replicaAdded, replicasLost, removeNode
        case admit, wish
    }

    /// Pairs with `init(from:)`.
    package func encode(into writer: inout ByteWriter) {
        writer.u8(Self.version)
        writer.u8(self.kind.rawValue)
        writer.bool(self.origin != nil)
        if let origin {
            writer.varint(origin.session.raw)
            writer.varint(origin.sequence)
            writer.varint(origin.acknowledged.count)
            for range in origin.acknowledged {
                writer.varint(range.lowerBound)
                writer.varint(range.upperBound - range.lowerBound)
            }
        }
        self.encodeAction(into: &writer)
    }

    private var kind: Kind {
        switch self.action {
        case .openSession: .openSession
        case .closeSession: .closeSession
        case .expireSession: .expireSession
        case .enqueue: .enqueue
        case .outcome: .outcome
        case .release: .release
        case .grant: .grant
        case .suspend: .suspend
        case .clearSuspension: .clearSuspension
        case .cancel: .cancel
        case .report: .report
        case .waiveReport: .waiveReport
        case .admin: .admin
        case .expire: .expire
        case .bodyLost: .bodyLost
        case .tick: .tick
        case .settings: .settings
        case .drain: .drain
        case .replicaAdded: .replicaAdded
        case .replicasLost: .replicasLost
        case .removeNode: .removeNode
        case .admit: .admit
        case .wish: .wish
        }
    }

    private func encodeAction(into writer: inout ByteWriter) {
        switch self.action {
        case .openSession(let open): open.encode(into: &writer)
        case .closeSession, .tick: break
        case .expireSession(let session): writer.varint(session.raw)
        case .enqueue(let message): message.encode(into: &writer)
        case .outcome(let outcome): outcome.encode(into: &writer)
        case .release(let deliveries, let reports):
            Self.encode(deliveries, into: &writer)
            Self.encode(reports, into: &writer)
        case .grant(let grant):
            writer.varint(grant.session.raw)
            Self.encode(grant.deliveries, into: &writer)
            Self.encode(grant.reports, into: &writer)
            writer.varint(grant.term)
        case .suspend(let destination, let reply):
            writer.string(destination)
            reply.encode(into: &writer)
        case .clearSuspension(let destination): writer.string(destination)
        case .cancel(let tag), .bodyLost(let tag): tag.encode(into: &writer)
        case .report(let report, let message):
            report.encode(into: &writer)
            message.encode(into: &writer)
        case .waiveReport(let report): report.encode(into: &writer)
        case .admin(let admin):
            writer.u8(admin.verb.rawValue)
            Self.encode(admin.deliveries, into: &writer)
            writer.string(admin.reason)
        case .expire(let deliveries): Self.encode(deliveries, into: &writer)
        case .settings(let settings): settings.encode(into: &writer)
        case .drain(let node, let draining):
            writer.string(node)
            writer.bool(draining)
        case .replicaAdded(let message, let holder):
            message.encode(into: &writer)
            HolderCodec.encode(holder, into: &writer)
        case .replicasLost(let holder, let tags):
            HolderCodec.encode(holder, into: &writer)
            writer.varint(tags.count)
            for tag in tags { tag.encode(into: &writer) }
        case .removeNode(let removal): removal.encode(into: &writer)
        case .admit(let admission): admission.encode(into: &writer)
        case .wish(let node, let wish):
            writer.string(node)
            writer.u8(wish.rawValue)
        }
    }

    /// Reads one command; what follows it is left in the reader.
    package init(from reader: inout ByteReader) throws(CodecError) {
        guard try reader.u8() == Self.version else { throw .unknown("command version") }
        guard let kind = Kind(rawValue: try reader.u8()) else { throw .unknown("command") }
        self.init(.tick)
        if try reader.bool() { self.origin = try Origin(from: &reader) }
        self.action = try Self.action(kind, from: &reader)
    }

    private static func action(
        _ kind: Kind, from reader: inout ByteReader
    ) throws(CodecError) -> Action {
        switch kind {
        case .openSession: return .openSession(try OpenSession(from: &reader))
        case .closeSession: return .closeSession
        case .expireSession: return .expireSession(SessionID(raw: try reader.varint()))
        case .enqueue: return .enqueue(try Enqueue(from: &reader))
        case .outcome: return .outcome(try Outcome(from: &reader))
        case .release:
            let deliveries = try Self.deliveries(from: &reader)
            return .release(deliveries: deliveries, reports: try Self.reports(from: &reader))
        case .grant:
            let session = SessionID(raw: try reader.varint())
            let deliveries = try Self.deliveries(from: &reader)
            let reports = try Self.reports(from: &reader)
            let term = try reader.varint()
            return .grant(
                Grant(session: session, deliveries: deliveries, reports: reports, term: term))
        case .suspend:
            let destination = try reader.string()
            return .suspend(destination: destination, reply: try Reply(from: &reader))
        case .clearSuspension: return .clearSuspension(destination: try reader.string())
        case .cancel: return .cancel(try Tag(from: &reader))
        case .report:
            let report = try ReportID(from: &reader)
            return .report(of: report, message: try Enqueue(from: &reader))
        case .waiveReport: return .waiveReport(try ReportID(from: &reader))
        case .admin:
            guard let verb = Admin.Verb(rawValue: try reader.u8()) else { throw .unknown("verb") }
            let deliveries = try Self.deliveries(from: &reader)
            let reason = try reader.string()
            return .admin(Admin(verb: verb, deliveries: deliveries, reason: reason))
        case .expire: return .expire(try Self.deliveries(from: &reader))
        case .bodyLost: return .bodyLost(try Tag(from: &reader))
        case .tick: return .tick
        case .settings: return .settings(try ClusterSettings(from: &reader))
        case .drain:
            let node = try reader.string()
            return .drain(node: node, draining: try reader.bool())
        case .replicaAdded:
            let message = try Tag(from: &reader)
            return .replicaAdded(message, try HolderCodec.holder(from: &reader))
        case .replicasLost:
            let holder = try HolderCodec.holder(from: &reader)
            return .replicasLost(holder, try Self.tags(from: &reader))
        case .removeNode: return .removeNode(try RemoveNode(from: &reader))
        case .admit: return .admit(try Admission(from: &reader))
        case .wish:
            let node = try reader.string()
            guard let wish = MemberWish(rawValue: try reader.u8()) else { throw .unknown("wish") }
            return .wish(node: node, wish)
        }
    }

    /// Ids in one list.
    package static let idsMax = 1 << 16

    private static func encode(_ ids: [DeliveryID], into writer: inout ByteWriter) {
        writer.varint(ids.count)
        for id in ids { id.encode(into: &writer) }
    }
    private static func encode(_ ids: [ReportID], into writer: inout ByteWriter) {
        writer.varint(ids.count)
        for id in ids { id.encode(into: &writer) }
    }
    private static func deliveries(
        from reader: inout ByteReader
    ) throws(CodecError) -> [DeliveryID] {
        var ids: [DeliveryID] = []
        for _ in 0..<(try reader.count(atMost: Self.idsMax)) {
            ids.append(try DeliveryID(from: &reader))
        }
        return ids
    }
    private static func tags(from reader: inout ByteReader) throws(CodecError) -> [Tag] {
        var tags: [Tag] = []
        for _ in 0..<(try reader.count(atMost: Self.replicasLostMax)) {
            tags.append(try Tag(from: &reader))
        }
        return tags
    }
    private static func reports(from reader: inout ByteReader) throws(CodecError) -> [ReportID] {
        var ids: [ReportID] = []
        for _ in 0..<(try reader.count(atMost: Self.idsMax)) {
            ids.append(try ReportID(from: &reader))
        }
        return ids
    }
}

extension Origin {
    init(from reader: inout ByteReader) throws(CodecError) {
        let session = SessionID(raw: try reader.varint())
        let sequence = try reader.varint()
        self.init(session: session, sequence: sequence)
        for _ in 0..<(try reader.count(atMost: Self.rangesMax)) {
            let lower = try reader.varint()
            let (upper, overflow) = lower.addingReportingOverflow(try reader.varint())
            guard !overflow else { throw .outOfRange("range") }
            self.acknowledged.append(lower...upper)
        }
    }
}

extension RemoveNode {
    func encode(into writer: inout ByteWriter) {
        writer.string(self.node)
        writer.u64(self.incarnation.raw)
        writer.bool(self.force)
    }
    init(from reader: inout ByteReader) throws(CodecError) {
        let node = try reader.string()
        let incarnation = Incarnation(raw: try reader.u64())
        self.init(node: node, incarnation: incarnation, force: try reader.bool())
    }
}

extension OpenSession {
    func encode(into writer: inout ByteWriter) {
        writer.string(self.node)
        writer.u64(self.incarnation.raw)
        writer.varint(self.boot)
        writer.u64(self.nonce)
        writer.varint(UInt64(self.credit))
        writer.bool(self.replayed)
        writer.bool(self.delivers)
    }
    init(from reader: inout ByteReader) throws(CodecError) {
        let node = try reader.string()
        let incarnation = Incarnation(raw: try reader.u64())
        let boot = try reader.varint()
        let nonce = try reader.u64()
        let credit = UInt32(try reader.count(atMost: Int(UInt32.max)))
        let replayed = try reader.bool()
        self.init(
            node: node, incarnation: incarnation, boot: boot, nonce: nonce, credit: credit,
            replayed: replayed, delivers: try reader.bool())
    }
}

extension Enqueue {
    func encode(into writer: inout ByteWriter) {
        self.envelope.encode(into: &writer)
        // Mostly all recipients have one destination: told once.
        let isOne = !self.destinations.contains { $0 != self.destinations[0] }
        writer.varint(self.destinations.count)
        writer.bool(isOne)
        for name in isOne ? self.destinations.prefix(1) : self.destinations[...] {
            writer.string(name)
        }
        self.receipt.encode(into: &writer)
        writer.varint(UInt64(max(0, self.acceptedAt.milliseconds)))
        writer.string(self.receivedFrom)
    }
    init(from reader: inout ByteReader) throws(CodecError) {
        let envelope = try Envelope(from: &reader)
        let count = try reader.count(atMost: Self.recipientsMax)
        guard count == envelope.recipients.count else { throw .outOfRange("destinations") }
        var destinations: [String] = []
        if try reader.bool() {
            if count > 0 {
                destinations = Array(repeating: try reader.string(), count: count)
            }
        } else {
            for _ in 0..<count { destinations.append(try reader.string()) }
        }
        let receipt = try BodyReceipt(from: &reader)
        let accepted = try reader.count(atMost: Int.max)
        self.init(
            envelope: envelope, destinations: destinations, receipt: receipt,
            acceptedAt: WallTime(milliseconds: Int64(accepted)),
            receivedFrom: try reader.string())
    }
}

extension Outcome {
    func encode(into writer: inout ByteWriter) {
        self.delivery.encode(into: &writer)
        writer.varint(UInt64(self.attempt))
        writer.bool(self.endsLease)
        writer.bool(self.damaged)
        writer.varint(self.lines.count)
        for line in self.lines {
            writer.varint(UInt64(line.recipient))
            line.verdict.encode(into: &writer)
        }
    }
    init(from reader: inout ByteReader) throws(CodecError) {
        let delivery = try DeliveryID(from: &reader)
        let attempt = UInt32(try reader.count(atMost: Int(UInt32.max)))
        let ends = try reader.bool()
        let damaged = try reader.bool()
        var lines: [Line] = []
        for _ in 0..<(try reader.count(atMost: QueueLimits.lines)) {
            let recipient = UInt16(try reader.count(atMost: Int(UInt16.max)))
            lines.append(Line(recipient: recipient, verdict: try Verdict(from: &reader)))
        }
        self.init(
            delivery: delivery, attempt: attempt, lines: lines, endsLease: ends, damaged: damaged)
    }
}

extension ClusterSettings {
    func encode(into writer: inout ByteWriter) {
        writer.varint(self.retry.count)
        for wait in self.retry { writer.milliseconds(wait) }
        writer.milliseconds(self.expire)
        writer.milliseconds(self.delayNotice)
        writer.varint(UInt64(self.connectionsPerDestination))
        writer.varint(UInt64(self.copies))
        self.session.encode(into: &writer)
        writer.milliseconds(self.suspensionFirst)
        writer.milliseconds(self.suspensionMax)
        writer.varint(UInt64(self.suspectMax))
    }
    init(from reader: inout ByteReader) throws(CodecError) {
        self.init()
        let count = try reader.count(atMost: QueueLimits.retrySteps)
        guard count > 0 else { throw .outOfRange("retry") }
        self.retry = []
        for _ in 0..<count { self.retry.append(try reader.milliseconds()) }
        self.expire = try reader.milliseconds()
        self.delayNotice = try reader.milliseconds()
        self.connectionsPerDestination = UInt32(try reader.count(atMost: Int(UInt32.max)))
        self.copies = UInt32(try reader.count(atMost: Int(UInt32.max)))
        self.session = try SessionTiming(from: &reader)
        self.suspensionFirst = try reader.milliseconds()
        self.suspensionMax = try reader.milliseconds()
        self.suspectMax = UInt32(try reader.count(atMost: Int(UInt32.max)))
    }
}
