import Admin
import MailQueue
import NIOCore
import Primitives
import Synchronization

@testable import Cluster  // for the initialisers of its values

/// A node of one test: answers from constants, notes what it was asked.
final class FakeNode: AdminNode {
    struct State {
        var readiness = Readiness.ready
        var failure: AdminFailure?
        var asked: [String] = []
        var submitted: [String] = []
    }
    let state = Mutex(State())

    static let message = QueuedMessage(
        id: Tag(session: SessionID(raw: 1), sequence: 34), from: "a@b.c", bytes: 1234,
        acceptedAt: WallTime(milliseconds: 1_788_510_930_000),
        deliveries: [
            .init(
                domain: "y.z", recipients: ["x@y.z", "q@y.z"], state: .deferred, attempts: 2,
                nextAttempt: WallTime(milliseconds: 1_788_510_990_000), node: "a",
                lastReply: "451 4.3.0 \"later\"")
        ])

    func asked() -> [String] { self.state.withLock { $0.asked } }

    private func note(_ text: String) throws(AdminFailure) {
        let failure = self.state.withLock { state in
            state.asked.append(text)
            return state.failure
        }
        if let failure { throw failure }
    }

    func readiness() async -> Readiness { self.state.withLock { $0.readiness } }

    func status() async -> ClusterStatus { exampleStatus }

    func list(_ filter: QueueFilter, limit: Int) async throws(AdminFailure) -> QueuePage {
        try self.note("list \(describe(filter)) \(limit)")
        return QueuePage(messages: [Self.message], total: 7)
    }

    func show(_ id: Tag) async throws(AdminFailure) -> QueuedMessage {
        try self.note("show \(id.text)")
        return Self.message
    }

    func body(_ id: Tag) async throws(AdminFailure) -> MessageBody {
        try self.note("body \(id.text)")
        return MessageBody(parts: [ByteBuffer(string: "A: b\r\n"), ByteBuffer(string: "\r\nx\r\n")])
    }

    func act(
        _ verb: Admin.Verb, _ filter: QueueFilter, dryRun: Bool, reason: String
    ) async throws(AdminFailure) -> ActionResult {
        try self.note("\(verb.text) \(describe(filter)) \(dryRun) \(reason)")
        return ActionResult(matched: 3, changed: 2, inFlight: 1)
    }

    func change(
        _ change: ClusterChange, wait: Duration
    ) async throws(AdminFailure) -> ClusterProgress {
        try self.note(
            "\(change.verb.rawValue) \(change.node ?? "-") \(change.isForced) \(change.isDryRun) "
                + "\(wait.inMilliseconds)")
        return ClusterProgress(
            node: change.node ?? "b", isDone: change.verb == .undrain, isLeader: true,
            sessionsIn: 2, leases: 3, lost: 1, below: 4, lostMessages: [Self.message.id],
            canLose: 1)
    }

    func submit(
        sender: String, recipients: [String], message: ByteBuffer
    ) async throws(AdminFailure) -> Tag {
        try self.note("submit \(sender) \(recipients) \(message.readableBytes)")
        self.state.withLock { $0.submitted.append(String(buffer: message)) }
        return Self.message.id
    }
}

private func describe(_ filter: QueueFilter) -> String {
    var parts: [String] = []
    if let id = filter.id { parts.append("id=\(id.text)") }
    if let from = filter.from { parts.append("from=\(from)") }
    if let to = filter.to { parts.append("to=\(to)") }
    if let domain = filter.domain { parts.append("domain=\(domain)") }
    if let older = filter.older { parts.append("older=\(older.inMilliseconds)") }
    if let newer = filter.newer { parts.append("newer=\(newer.inMilliseconds)") }
    if let state = filter.state { parts.append("state=\(state.text ?? "")") }
    return "[\(parts.joined(separator: ","))]"
}

let exampleStatus = ClusterStatus(
    clusterName: "", clusterID: ClusterID(raw: 33), health: .healthy, canLose: 0, leader: "a",
    term: 4,
    nodes: [
        .init(
            name: "a", role: "voter", state: .ready, isLeader: true, lag: 0, applied: 12, leases: 3,
            sessionsIn: 2, sessionsOut: 1, diskFreeRatio: 0.5, seenMilliseconds: 0)
    ],
    queue: .init(
        messages: 5, recipients: 6, due: 1, leased: 2, deferred: 3, held: 0, storedBytes: 70,
        originalBytes: 100, oldestSeconds: nil),
    rates: .init(accepted: 1.5, delivered: 0, deferred: 0, bounced: 0), possibleDuplicates: 2,
    alarms: [],
    notes: [StatusReason(.draining, on: "a", "a is drained", remedy: "undrain it")])
