// ClusterView.swift - what operators see and do, from any thread.
//
// Takes     filters and wishes of operators; messages handed in over the admin interface.
// Gives     values of the answering node's applied state.
// Cost      lists and actions walk the queue in slices, so that the node's loop stays free.

package import MailQueue
package import NIOCore
import Networking
import OpenSSL
package import Primitives
import Raft
package import SMTP
import Settings
import Storage
import Synchronization

/// The operator's window; one per node.
package final class ClusterView: Sendable {
    package typealias Filter = QueueFilter
    package typealias Verb = Admin.Verb

    /// Messages that are looked at before the loop does something else.
    private static let sliceMessages = 2000

    /// Why an operator's wish is not done.
    package enum Failure: Error, Equatable, Sendable {
        case starting
        case stopping
        case noSuchMessage
        case bodyUnavailable
        case refused(IntakeRefusal)
        /// RFC 5321 §4.1.2 knows no such address.
        case badAddress(String)
        /// No leader, or one without a majority. What was handed over before may happen yet.
        case noQuorum
        /// Handed over, no result in time: it may happen yet.
        case timedOut
        case noSuchNode(NodeName)
        /// The state does not allow it; the text says why.
        case conflict(String)
    }

    let node: Node
    private let hostname: String
    private let routes: Mutex<RouteTable>

    init(node: Node, settings: Settings) {
        self.node = node
        self.hostname = settings.node.hostname
        self.routes = Mutex(RouteTable(settings))
    }

    /// For balancers; that they ask is remembered: see NodeLeaving.
    package var readiness: Readiness {
        self.node.shared.checkedAt.store(SystemClock.bootTime().nanoseconds, ordering: .relaxed)
        return self.node.readiness
    }

    package func status() async -> ClusterStatus {
        await self.onLoop { $0.status() }
    }

    /// The oldest messages that match, at most `limit`, and how many match in all.
    package func list(
        _ filter: Filter, limit: Int
    ) async throws(Failure) -> (messages: [MessageView], total: Int) {
        var messages: [MessageView] = []
        var total = 0
        var cursor = QueueCursor()
        while !cursor.isDone {
            let from = cursor
            let left = limit - messages.count
            let slice = try await self.whenReady { node in
                var cursor = from
                let found = node.machine.queue.list(
                    filter, cursor: &cursor, steps: Self.sliceMessages, limit: left)
                return (found, cursor)
            }
            messages += slice.0.messages
            total += slice.0.total
            cursor = slice.1
        }
        return (messages, total)
    }

    package func view(_ tag: Tag) async throws(Failure) -> MessageView {
        guard let view = try await self.whenReady({ $0.machine.queue.view(tag) }) else {
            throw .noSuchMessage
        }
        return view
    }

    package func body(_ tag: Tag) async throws(Failure) -> MessageBody {
        _ = try await self.view(tag)
        let node = self.node
        let result: Result<MessageBody, BodyReadError> = await withCheckedContinuation {
            continuation in
            node.onLoop {
                $0.readBody(of: tag, on: $0.loop, endsLost: false) {
                    continuation.resume(returning: $0)
                }
            }
        }
        switch result {
        case .success(let body): return body
        case .failure: throw .bodyUnavailable
        }
    }

    /// Does `verb` to all deliveries that match.
    ///
    /// - Returns: deliveries that matched; that changed; that change after their attempt.
    package func act(
        _ verb: Verb, _ filter: Filter, dryRun: Bool, reason: String
    ) async throws(Failure) -> (matched: Int, changed: Int, inFlight: Int) {
        if !dryRun { try await self.awaitQuorum() }
        var sum = (matched: 0, changed: 0, inFlight: 0)
        var cursor = QueueCursor()
        while !cursor.isDone {
            let from = cursor
            let (found, next) = try await self.whenReady { node in
                var cursor = from
                let found = node.machine.queue.match(
                    filter, cursor: &cursor, steps: Self.sliceMessages, limit: Admin.itemsMax)
                return (found, cursor)
            }
            cursor = next
            sum.matched += found.count
            var rest = found[...]
            while !dryRun, !rest.isEmpty {
                let batch = Admin(
                    verb: verb, deliveries: Array(rest.prefix(Admin.itemsMax)), reason: reason)
                rest = rest.dropFirst(Admin.itemsMax)
                let patience = self.node.commitTimeout
                let result = try await self.propose(.admin(batch), patience: patience)
                guard case .changed(let changed, let inFlight) = result else {
                    throw await self.failure(of: result)
                }
                sum.changed += Int(changed)
                sum.inFlight += Int(inFlight)
            }
        }
        return sum
    }

    /// Takes a message in, as a submission listener would; returns when it is accepted for ever.
    ///
    /// - Parameters:
    ///   - sender: "" is the null reverse-path.
    ///   - content: header and body, lines ended by CRLF.
    package func submit(
        sender: String, recipients: [String], content: ByteBuffer
    ) async throws(Failure) -> Tag {
        if let obstacle = self.node.obstacle { throw .refused(obstacle) }
        try await self.awaitQuorum()
        guard let from = Path.address(sender, .reverse) else { throw .badAddress(sender) }
        var list: [Recipient] = []
        var utf8 = from.isUTF8
        for text in recipients {
            guard let to = Path.address(text) else { throw .badAddress(text) }
            list.append(Recipient(address: to.address))
            utf8 = utf8 || to.isUTF8
        }
        let routes = self.routes.withLock { $0 }
        var header = HeaderScanner()
        let eightBit = content.withUnsafeReadableBytes { bytes in
            header.scan(bytes)
            return bytes.contains { $0 >= 0x80 }
        }
        header.finish()
        let envelope = Envelope(
            sender: from.address, recipients: list, eightBit: eightBit || utf8, utf8: utf8)
        let destinations = list.map { routes.destination(for: $0.domain) }
        let trace = TraceHead(
            helo: "localhost", client: IPAddress(v4: 0x7F00_0001), hostname: self.hostname,
            keyword: utf8 ? .utf8smtp : .esmtp, tls: nil)
        let added = AddedFields(missingIn: header, isSubmission: true)
        let single = list.count == 1 ? list[0].address : nil
        let time = SystemClock.wallTime()
        return try await self.enqueue(envelope, destinations, content) { tag in
            trace.head(id: tag.text, at: time, recipient: single, added: added)
        }
    }

    /// New routes, for what is handed in from now on.
    func use(_ routes: RouteTable) { self.routes.withLock { $0 = routes } }

    private func enqueue(
        _ envelope: Envelope, _ destinations: [String], _ content: ByteBuffer,
        head: @escaping @Sendable (Tag) -> ByteBuffer
    ) async throws(Failure) -> Tag {
        let node = self.node
        let verdict: IntakeVerdict = await withCheckedContinuation { continuation in
            node.onLoop { node in
                let body = IncomingBody(
                    node: node, loop: node.loop, lane: IntakeLane(), resume: {})
                var rest = content
                while rest.readableBytes > 0,
                    let piece = rest.readSlice(
                        length: min(rest.readableBytes, IncomingBody.blockBytes))
                {
                    // What is in memory already needs no back-pressure.
                    _ = body.append(piece)
                }
                body.finish(
                    envelope: envelope, destinations: destinations, receivedFrom: "admin",
                    head: head
                ) { continuation.resume(returning: $0) }
            }
        }
        switch verdict {
        case .accepted(let tag):
            node.metrics.handedIn()
            return tag
        case .refused(let refusal): throw .refused(refusal)
        }
    }

    /// The wall time of a queue time, for printing.
    package func wallTime(of time: QueueTime) async -> WallTime {
        await self.onLoop { node in
            let now = node.machine.queueTime(at: SystemClock.bootTime())
            return SystemClock.wallTime() + (time - now)
        }
    }

    // MARK: The node's loop

    func onLoop<T: Sendable>(_ body: @escaping @Sendable (Node) -> T) async -> T {
        let node = self.node
        return await withCheckedContinuation { continuation in
            node.onLoop { continuation.resume(returning: body($0)) }
        }
    }

    private func whenReady<T: Sendable>(
        _ body: @escaping @Sendable (Node) -> T
    ) async throws(Failure) -> T {
        let result: Result<T, Failure> = await self.onLoop { node in
            switch node.phase {
            case .ready, .stopping: .success(body(node))
            case .starting, .opening: .failure(.starting)
            case .stopped: .failure(.stopping)
            }
        }
        return try result.get()
    }
}
