// LeaseDesk.swift - the way out: leases handed to Delivery, outcomes taken back.
//
// Takes     outcomes, one per transaction; releases; suspensions.
// Gives     leased work, to the one `LeaseTaker` of the node.
// Durable   an outcome is noted in the own journal first (written, not synced), then committed.

package import MailQueue
package import NIOCore
package import Primitives
package import SMTP

/// A delivery that this node may attempt now.
package struct LeasedDelivery: Sendable {
    package var id: DeliveryID
    /// Whose lease it is; must come back in the outcome. The process may open another session while
    /// the attempt lasts, and even get the same delivery again by it.
    package var session: SessionID
    /// Counts from 1; must come back in the outcome.
    package var attempt: UInt32
    /// What groups deliveries and limits connections: a domain in lower case, or a route's next
    /// hop ("smtp:[10.1.1.1]:25").
    package var destination: String
    package var sender: String
    package var eightBit: Bool
    package var utf8: Bool
    package var ret: DSNReturn?
    package var envid: String?
    /// Those still pending; `index` names them in the outcome.
    package var recipients: [(index: UInt16, recipient: Recipient)]
    /// Head and content together.
    package var originalBytes: UInt64
    package var acceptedAt: WallTime
    /// The body if this node still has it in memory (head first); else read it by `readBody`.
    package var body: MessageBody?
}

/// A report that this node is to compose and submit.
package struct LeasedReport: Sendable {
    package var id: ReportID
    /// What ended and how, for all recipients that this report speaks of.
    package var content: OwedReport
    package var original: Envelope
    package var acceptedAt: WallTime
    package var originalBytes: UInt64
    /// How far the message's life reaches, for "will be tried until" of delay notices.
    package var expiresAt: WallTime
}

package enum LeasedWork: Sendable {
    case delivery(LeasedDelivery)
    case report(LeasedReport)
}

/// A message as it is sent on: the head, then the content; CRLF line ends, not dot-stuffed.
package struct MessageBody: Sendable {
    package var parts: [ByteBuffer]
    package init(parts: [ByteBuffer]) { self.parts = parts }
    package var byteCount: Int { self.parts.reduce(0) { $0 + $1.readableBytes } }
}

/// Why a body cannot be had now.
package enum BodyReadError: Error, Equatable, Sendable {
    /// It could not be read this time, or another node has a copy: try later, never "absent".
    case unavailable
    /// The only copy is lost, by proof. The queue has been told and ends the message: give the
    /// lease back, unattempted.
    case lost
    /// The message has ended meanwhile.
    case gone
}

/// How one transaction ended.
package struct DeliveryOutcome: Sendable {
    package var delivery: DeliveryID
    /// As leased.
    package var session: SessionID
    package var attempt: UInt32
    /// For each recipient of the transaction.
    package var verdicts: [(index: UInt16, verdict: Verdict)]
    /// This outcome is the last of the lease: what it does not name is given back unattempted.
    package var endsLease: Bool
    package init(
        delivery: DeliveryID, session: SessionID, attempt: UInt32,
        verdicts: [(index: UInt16, verdict: Verdict)], endsLease: Bool
    ) {
        self.delivery = delivery
        self.session = session
        self.attempt = attempt
        self.verdicts = verdicts
        self.endsLease = endsLease
    }
}

/// Delivery's side of the desk. Called on the node's event loop; must return at once.
package protocol LeaseTaker: AnyObject, Sendable {
    func take(_ work: [LeasedWork])

    /// `LeaseDesk.share(of:)` has changed, for some destinations. Work that waits may have its
    /// connection now; connections above the share end, busy ones with their transaction.
    func sharesChanged()

    /// The leases have lapsed: every connection ends at once.
    ///
    /// - Parameter sparesVerdicts: but those that wait for the answer to a final dot.
    func cutConnections(sparesVerdicts: Bool)
}

/// What a session's leases are worth now.
package enum LeaseStanding: Sendable {
    case holds
    /// Nothing may begin. They may hold again, if the session's next renewal is answered.
    case lapsed
    /// Another session of this node is open: they are given back already.
    case ended
}

/// The desk; one per node, used from any event loop.
package final class LeaseDesk: Sendable {
    private let node: Node

    init(node: Node) { self.node = node }

    /// Names the taker. Once, before the node is started.
    package func attach(_ taker: any LeaseTaker) {
        self.node.onLoop { $0.taker = taker }
    }

    /// Settles (part of) a lease: noted in the journal and committed.
    package func settle(_ outcome: DeliveryOutcome) {
        self.node.onLoop { $0.settle(outcome) }
    }

    /// Gives leases back unattempted.
    package func release(_ deliveries: [LeasedDelivery]) {
        self.node.onLoop { $0.release(deliveries) }
    }

    /// The hold-down behind the lapse is over and the verdict has not come: what became of the
    /// delivery will never be known here. The lease goes with its session, and is counted as one
    /// that may repeat.
    package func abandon(_ delivery: LeasedDelivery) {
        let session = delivery.session
        self.node.onLoop { $0.abandon(session) }
    }

    /// Gives leased reports back unattempted.
    package func releaseReports(_ reports: [ReportID]) {
        self.node.onLoop { $0.propose(.release(deliveries: [], reports: reports), .nothing) }
    }

    /// All hosts of a destination failed to connect: the queue lets it rest, 1 min doubling to 15,
    /// no attempt counted; `reply` says why. Leases stay: `release` behind this those that were
    /// not begun.
    package func suspend(destination: String, reply: Reply) {
        self.node.onLoop {
            $0.propose(.suspend(destination: destination, reply: reply), .nothing)
        }
    }

    /// A connection to the destination worked: the next suspension starts at 1 min again. Cheap
    /// when it is not suspended.
    package func clearSuspension(destination: String) {
        self.node.onLoop { $0.clearSuspension(of: destination) }
    }

    /// Connections that this node may have to `destination` now (its share of the cluster's limit).
    /// More may be open: a share is lowered while they are.
    package func share(of destination: String) -> Int { self.node.share(of: destination) }

    /// Asks for one more connection to `destination`; with a yes it counts as open until
    /// `returnConnection`. A node alone counts none: its caller stays within `share`.
    package func takeConnection(to destination: String) -> Bool {
        self.node.takeConnection(to: destination)
    }

    /// One that was taken is closed.
    package func returnConnection(to destination: String) {
        self.node.returnConnection(to: destination)
    }

    /// T: what a lease is worth without a share.
    package var sessionTerm: Duration { self.node.sessionTerm }

    /// Whether a transaction for this delivery may begin now.
    package func standing(of delivery: LeasedDelivery) -> LeaseStanding {
        self.node.standing(of: delivery.session)
    }

    /// Whether the final dot of this delivery may be sent now: its lease is of the session that is
    /// open, and that has at least G left.
    package func mayFinish(_ delivery: LeasedDelivery) -> Bool {
        self.node.mayFinish(of: delivery.session)
    }

    /// How long a final dot may be under way, unacknowledged; nil while this node is alone: nobody
    /// else can be given the lease meanwhile (Docs/Decisions/0009).
    package var dotGuard: Duration? { self.node.dotGuard }

    /// The body as a whole, from own segments; answered on `loop`. For small ones.
    package func readBody(
        of message: Tag, on loop: any EventLoop,
        _ answer: @escaping (Result<MessageBody, BodyReadError>) -> Void
    ) { self.node.readBody(of: message, on: loop, endsLost: true, answer) }

    /// The body, to be read piece by piece; answered on `loop`.
    package func openBody(
        of message: Tag, on loop: any EventLoop,
        _ answer: @escaping (Result<BodySource, BodyReadError>) -> Void
    ) { self.node.openBody(of: message, on: loop, answer) }

    /// Stores a composed report and proposes `Report(tag, of)`: creates the message and clears the
    /// debt, or does neither (then the report is leased again later). `content` is the whole
    /// message with its header. `envelope.sender` is "".
    package func submitReport(
        _ report: ReportID, envelope: Envelope, destinations: [String], content: ByteBuffer,
        head: @escaping @Sendable (Tag) -> ByteBuffer
    ) {
        self.node.onLoop {
            $0.submitReport(
                report, envelope: envelope, destinations: destinations, content: content,
                head: head)
        }
    }

    /// Clears a debt without a message: nobody may be told (RFC 5321 §6.1).
    package func waiveReport(_ report: ReportID) {
        self.node.onLoop { $0.propose(.waiveReport(report), .nothing) }
    }

    /// Connections that Delivery has open, for `cluster status`.
    package func note(connections: Int) { self.node.note(connectionsOut: connections) }
}
