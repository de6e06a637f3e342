// Command.swift - what is proposed, committed and applied: every change of the queue.
//
// Takes     values only: durations, never instants; the time comes with the entry's stamp.
// Never     a setting or a clock that is not in here or in the replicated state.
// See       CommandCodec (bytes), CommandResult (answers).

package import Primitives
package import SMTP
package import Spool

/// One entry of the log, as the queue understands it.
package struct Command: Hashable, Sendable {
    /// Which session asks; nil for what the leader decides by itself.
    package var origin: Origin?
    package var action: Action

    package init(_ action: Action) {
        self.origin = nil
        self.action = action
    }

    package init(_ origin: Origin, _ action: Action) {
        self.origin = origin
        self.action = action
    }

    /// What the command does. The comment says who proposes it.
    package enum Action: Hashable, Sendable {
        /// A node at its start, without origin. The session's id is the entry's index.
        case openSession(OpenSession)
        /// The session itself, when nothing of it is in flight: its leases are free at once.
        case closeSession
        /// The leader, 1.05 T after the last renewal: the leases wait for the hold-down.
        case expireSession(SessionID)
        /// A session, with the body stored under the command's tag.
        case enqueue(Enqueue)
        /// A session: how a transaction ended. `delivered`, `relayed` and `stored` count for
        /// ever.
        case outcome(Outcome)
        /// A session gives leases back unattempted.
        case release(deliveries: [DeliveryID], reports: [ReportID])
        /// The leader deals out leases.
        case grant(Grant)
        /// A session: no host of the destination can be reached. Leases stay: those that the
        /// session has not begun it gives back by a `release` behind this.
        case suspend(destination: String, reply: Reply)
        /// A session: a connection to the destination worked.
        case clearSuspension(destination: String)
        /// A session: the client was told no; also taken from closed sessions.
        case cancel(Tag)
        /// A session that holds the lease of the report: makes the message, clears the debt.
        case report(of: ReportID, message: Enqueue)
        /// A session that holds the lease of the report: nobody may be told.
        case waiveReport(ReportID)
        /// An operator, by any session.
        case admin(Admin)
        /// The leader: past their expiry.
        case expire([DeliveryID])
        /// No copy of the body is left: a session that had the last one, or the leader when there
        /// is none. What is in flight ends with its attempt.
        case bodyLost(Tag)
        /// The leader: time goes on while nothing else happens.
        case tick
        /// The leader, on election and reload.
        case settings(ClusterSettings)
        /// An operator: the node gets no new leases until `draining` is false.
        case drain(node: NodeName, draining: Bool)
        /// A session has copied the body of the message (the first value) to its own disk, under
        /// the tag of this command: from now on this copy is of the message's placement.
        case replicaAdded(Tag, Holder)
        /// A session no longer has, or cannot read, bodies of its own disk. The tags are those
        /// under which they lay there; at most `replicasLostMax`.
        case replicasLost(Holder, [Tag])
        /// The leader, for an operator: the node is a member no longer, and its copies are gone.
        case removeNode(RemoveNode)
        /// The leader: it has met this disk under this name.
        case admit(Admission)
        /// An operator: what the named node should be. A name without a row gets one.
        case wish(node: NodeName, MemberWish)
    }

    package static let replicasLostMax = 1000

    /// The tag that this command bears; a body under this tag is made live by it alone.
    package var tag: Tag? {
        self.origin.map { Tag(session: $0.session, sequence: $0.sequence) }
    }

    /// The term of the leader that computed the command. An entry of any other term is to be
    /// dropped before `apply`; nil: good in every term.
    package var leaderTerm: UInt64? {
        if case .grant(let grant) = self.action { grant.term } else { nil }
    }
}

/// Who sends a command, so that it takes effect once however often it is sent (invariant 4).
package struct Origin: Hashable, Sendable {
    package var session: SessionID
    /// From 1; each number names one command (or none: then it is acknowledged unused).
    package var sequence: UInt64
    /// Numbers whose results are known to the node, or that it will never use: forgotten here.
    /// Each range counts both ends. May be empty; at most `rangesMax`.
    package var acknowledged: [ClosedRange<UInt64>]

    package static let rangesMax = 1024

    package init(
        session: SessionID, sequence: UInt64, acknowledged: [ClosedRange<UInt64>] = []
    ) {
        self.session = session
        self.sequence = sequence
        self.acknowledged = acknowledged
    }
}

/// Void while a message would be left without a copy, unless it is forced.
package struct RemoveNode: Hashable, Sendable {
    package var node: NodeName
    package var incarnation: Incarnation
    package var force: Bool

    package init(node: NodeName, incarnation: Incarnation, force: Bool) {
        self.node = node
        self.incarnation = incarnation
        self.force = force
    }
}

package struct OpenSession: Hashable, Sendable {
    package var node: NodeName
    package var incarnation: Incarnation
    /// Greater than that of every earlier session of this incarnation, else the command is void.
    package var boot: BootNumber
    /// Tells a command that was sent twice from another one.
    package var nonce: UInt64
    /// The most leases (deliveries and reports together) that the session holds at once.
    package var credit: UInt32
    /// All outcome notes of the node have been sent before: its old leases are free at once.
    package var replayed: Bool
    /// False: the node accepts and stores, and gets no leases.
    package var delivers: Bool

    package init(
        node: NodeName, incarnation: Incarnation, boot: BootNumber, nonce: UInt64, credit: UInt32,
        replayed: Bool, delivers: Bool
    ) {
        self.node = node
        self.incarnation = incarnation
        self.boot = boot
        self.nonce = nonce
        self.credit = credit
        self.replayed = replayed
        self.delivers = delivers
    }
}

/// A message and where it is to go. Its tag is the command's.
package struct Enqueue: Hashable, Sendable {
    /// At most `recipientsMax` recipients.
    package var envelope: Envelope
    /// For each recipient what groups deliveries: a domain in lower case or a route's next hop.
    package var destinations: [String]
    package var receipt: BodyReceipt
    /// By the acceptor's clock; for people.
    package var acceptedAt: WallTime
    /// Where it came from, for listings, e.g. `[192.0.2.7]`.
    package var receivedFrom: String

    /// Twice as many reports at most, which are numbered with 16 bits.
    package static let recipientsMax = 30_000

    package init(
        envelope: Envelope, destinations: [String], receipt: BodyReceipt, acceptedAt: WallTime,
        receivedFrom: String
    ) {
        self.envelope = envelope
        self.destinations = destinations
        self.receipt = receipt
        self.acceptedAt = acceptedAt
        self.receivedFrom = receivedFrom
    }
}

/// How one transaction ended.
package struct Outcome: Hashable, Sendable {
    package struct Line: Hashable, Sendable {
        /// The recipient's place in the envelope.
        package var recipient: UInt16
        package var verdict: Verdict
        package init(recipient: UInt16, verdict: Verdict) {
            self.recipient = recipient
            self.verdict = verdict
        }
    }
    package var delivery: DeliveryID
    /// As leased.
    package var attempt: UInt32
    package var lines: [Line]
    /// The lease ends with this; pending recipients that no line of the lease named were not tried.
    package var endsLease: Bool
    /// The attempt failed at the body here: no attempt is counted, the delivery gets suspect.
    package var damaged: Bool

    package init(
        delivery: DeliveryID, attempt: UInt32, lines: [Line], endsLease: Bool, damaged: Bool = false
    ) {
        self.delivery = delivery
        self.attempt = attempt
        self.lines = lines
        self.endsLease = endsLease
        self.damaged = damaged
    }
}

package struct Grant: Hashable, Sendable {
    package var session: SessionID
    /// At most `itemsMax`.
    package var deliveries: [DeliveryID]
    package var reports: [ReportID]
    /// Of the leader that computed it.
    package var term: UInt64

    package static let itemsMax = 1000

    package init(
        session: SessionID, deliveries: [DeliveryID], reports: [ReportID], term: UInt64
    ) {
        self.session = session
        self.deliveries = deliveries
        self.reports = reports
        self.term = term
    }
}

/// What an operator does to chosen deliveries; on one in flight it takes effect after the attempt.
package struct Admin: Hashable, Sendable {
    package enum Verb: UInt8, Hashable, Sendable, CaseIterable {
        /// Due now; a suspension of its destination ends.
        case retry = 1
        case hold = 2
        /// What is held is queued again.
        case release = 3
        /// Fails with a report to the sender.
        case bounce = 4
        /// Ends without a word.
        case drop = 5
    }
    package var verb: Verb
    /// At most `itemsMax`.
    package var deliveries: [DeliveryID]
    /// In the report of a bounce; may be empty.
    package var reason: String

    package static let itemsMax = 1000

    package init(verb: Verb, deliveries: [DeliveryID], reason: String) {
        self.verb = verb
        self.deliveries = deliveries
        self.reason = reason
    }
}

/// Settings that `apply` needs: replicated, so that all nodes decide alike.
package struct ClusterSettings: Hashable, Sendable {
    /// The wait after each counted attempt; the last repeats; each ± 10 %. Not empty.
    package var retry: [Duration] = [60, 300, 900, 1800, 3600, 7200, 14_400].map { .seconds($0) }
    /// Counted from Enqueue.
    package var expire = Duration.seconds(5 * 86_400)
    /// Counted from Enqueue; zero: no notice.
    package var delayNotice = Duration.seconds(4 * 3600)
    package var connectionsPerDestination: UInt32 = 20
    /// R: an Enqueue with fewer holders is refused.
    package var copies: UInt32 = 1
    /// Of sessions that are opened from now on.
    package var session = SessionTiming()
    package var suspensionFirst = Duration.seconds(60)
    /// Suspensions double up to this; one that ended this long ago is forgotten.
    package var suspensionMax = Duration.seconds(900)
    /// A delivery whose holder died, or whose body failed, this often is held for the operator.
    package var suspectMax: UInt32 = 20

    /// Leases that one destination may have at once, so that a slow one cannot take all credit.
    package var leasesPerDestination: UInt32 {
        let (leases, overflow) = self.connectionsPerDestination.multipliedReportingOverflow(by: 8)
        return overflow ? .max : max(1, leases)
    }

    package init() {}
}
