// AdminNode.swift - what the admin interface asks of a node, and the values of the answers.
//
// Takes     filters and wishes of operators.
// Gives     the answering node's applied state; failures that become HTTP answers.

package import Cluster
package import MailQueue
package import NIOCore
package import Primitives

/// A node as the admin interface sees it. Called from any thread; answers within a second.
package protocol AdminNode: Sendable {
    func readiness() async -> Readiness
    func status() async -> ClusterStatus
    /// The oldest messages that match, at most `limit`, and how many match in all.
    func list(_ filter: QueueFilter, limit: Int) async throws(AdminFailure) -> QueuePage
    func show(_ id: Tag) async throws(AdminFailure) -> QueuedMessage
    func body(_ id: Tag) async throws(AdminFailure) -> MessageBody
    /// - Parameter reason: for the log, and for the report of a bounce; "" where none was given.
    func act(
        _ verb: Admin.Verb, _ filter: QueueFilter, dryRun: Bool, reason: String
    ) async throws(AdminFailure) -> ActionResult
    /// Does what an operator wants of a node of the cluster, or begins to.
    ///
    /// - Parameter wait: for it to be done.
    func change(
        _ change: ClusterChange, wait: Duration
    ) async throws(AdminFailure) -> ClusterProgress
    /// Takes a message in, as a listener would; returns when it is accepted for ever.
    ///
    /// - Parameters:
    ///   - sender: "" is the null reverse-path.
    ///   - message: header and body, lines ended by CRLF.
    func submit(
        sender: String, recipients: [String], message: ByteBuffer
    ) async throws(AdminFailure) -> Tag
}

/// One message of the queue, as operators see it.
package struct QueuedMessage: Hashable, Sendable {
    package var id: Tag
    package var from: String
    /// Head and content together, as they are sent.
    package var bytes: UInt64
    package var acceptedAt: WallTime
    package var deliveries: [Delivery]

    package struct Delivery: Hashable, Sendable {
        package var domain: String
        package var recipients: [String]
        package var state: DeliveryState
        package var attempts: UInt32
        package var nextAttempt: WallTime?
        /// Who holds the lease, or attempted last.
        package var node: NodeName?
        package var lastReply: String?

        package init(
            domain: String, recipients: [String], state: DeliveryState, attempts: UInt32,
            nextAttempt: WallTime?, node: NodeName?, lastReply: String?
        ) {
            self.domain = domain
            self.recipients = recipients
            self.state = state
            self.attempts = attempts
            self.nextAttempt = nextAttempt
            self.node = node
            self.lastReply = lastReply
        }
    }

    package init(
        id: Tag, from: String, bytes: UInt64, acceptedAt: WallTime, deliveries: [Delivery]
    ) {
        self.id = id
        self.from = from
        self.bytes = bytes
        self.acceptedAt = acceptedAt
        self.deliveries = deliveries
    }
}

package struct QueuePage: Hashable, Sendable {
    package var messages: [QueuedMessage]
    /// All that match, shown or not.
    package var total: Int
    package init(messages: [QueuedMessage], total: Int) {
        self.messages = messages
        self.total = total
    }
}

/// Counts of deliveries.
package struct ActionResult: Hashable, Sendable {
    package var matched: Int
    package var changed: Int
    /// It takes effect when their attempts have ended.
    package var inFlight: Int
    package init(matched: Int, changed: Int, inFlight: Int) {
        self.matched = matched
        self.changed = changed
        self.inFlight = inFlight
    }
}

/// Why a node does not do what the admin interface asks for.
package enum AdminFailure: Error, Hashable, Sendable {
    /// Its state is older than what it knows to be committed.
    case catchingUp
    case noQuorum
    case stopping
    /// No such message (any more).
    case noSuchMessage
    case noSuchNode(NodeName)
    /// The message is there, its body cannot be read now.
    case bodyUnavailable
    /// The disk is full.
    case full
    /// The queue is at its limit.
    case overQuota
    /// Fewer than R nodes take copies.
    case noCopies
    /// Handed over, no result in time: it may have happened.
    case timedOut
    /// The request makes no sense; the text says why.
    case invalid(String)
    /// The state does not allow it.
    case conflict(String)
}

extension DeliveryState {
    /// As filters and answers name it; nil: no delivery of the queue is in this state.
    package var text: String? {
        switch self {
        case .queued: "queued"
        case .leased: "leased"
        case .deferred: "deferred"
        case .held: "held"
        case .ended: nil
        }
    }

    package init?(text: String) {
        guard let state = Self.allCases.first(where: { $0.text == text }) else { return nil }
        self = state
    }
}

extension Admin.Verb {
    /// As paths and commands name it.
    package var text: String {
        switch self {
        case .retry: "retry"
        case .hold: "hold"
        case .release: "release"
        case .bounce: "bounce"
        case .drop: "drop"
        }
    }

    package init?(text: String) {
        guard let verb = Self.allCases.first(where: { $0.text == text }) else { return nil }
        self = verb
    }
}
