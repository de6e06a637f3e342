import Delivery
import Logging
import MailQueue
import NIOCore
import NIOPosix
import Networking
import OpenSSL
import Primitives
import SMTP
import Settings
import Synchronization
import Testing

@testable import Cluster

/// A desk that notes what it is told, and hands its notes out in order.
final class NotingDesk: DeliveryDesk {
    enum Event: Sendable {
        case settled(DeliveryOutcome)
        case released([DeliveryID])
        case abandoned(DeliveryID)
        case releasedReports([ReportID])
        case suspended(String, Reply)
        case cleared(String)
        case report(ReportID, Envelope, [String], String)
        case waived(ReportID)
    }
    struct Rules: Sendable {
        var share = 5
        var mayFinish = true
        /// As in a cluster; nil: as on a node that is alone.
        var dotGuard: Duration? = LeaseClock.guardTime
        var standing = LeaseStanding.holds
        /// Connections that are taken and not returned.
        var taken: [String: Int] = [:]
        /// How often permission for a final dot was asked for.
        var askedToFinish = 0
        var bodies: [Primitives.Tag: MessageBody] = [:]
        /// How many bodies were opened to be streamed.
        var opened = 0
        /// The piece of a streamed body, from 0, that cannot be read.
        var failsAt: (piece: Int, error: BodyReadError)?
    }

    let rules = Mutex(Rules())
    private let stream: AsyncStream<Event>
    private let input: AsyncStream<Event>.Continuation

    init() {
        (self.stream, self.input) = AsyncStream<Event>.makeStream()
    }

    /// The next note but for cleared suspensions, which every connection brings.
    ///
    /// - Throws: the test is over, by its time limit.
    func next() async throws -> Event {
        for await event in self.stream {
            if case .cleared = event { continue }
            return event
        }
        throw CancellationError()
    }

    func settle(_ outcome: DeliveryOutcome) { self.input.yield(.settled(outcome)) }
    func release(_ deliveries: [LeasedDelivery]) {
        self.input.yield(.released(deliveries.map(\.id)))
    }
    func abandon(_ delivery: LeasedDelivery) { self.input.yield(.abandoned(delivery.id)) }
    func releaseReports(_ reports: [ReportID]) { self.input.yield(.releasedReports(reports)) }
    func suspend(destination: String, reply: Reply) {
        self.input.yield(.suspended(destination, reply))
    }
    func clearSuspension(destination: String) { self.input.yield(.cleared(destination)) }
    func share(of destination: String) -> Int { self.rules.withLock { $0.share } }
    func takeConnection(to destination: String) -> Bool {
        self.rules.withLock { rules in
            guard rules.taken[destination, default: 0] < rules.share else { return false }
            rules.taken[destination, default: 0] += 1
            return true
        }
    }
    func returnConnection(to destination: String) {
        self.rules.withLock { $0.taken[destination, default: 0] -= 1 }
    }
    func standing(of delivery: LeasedDelivery) -> LeaseStanding {
        self.rules.withLock { $0.standing }
    }
    func mayFinish(_ delivery: LeasedDelivery) -> Bool {
        self.rules.withLock {
            $0.askedToFinish += 1
            return $0.mayFinish
        }
    }
    var dotGuard: Duration? { self.rules.withLock { $0.dotGuard } }
    var sessionTerm: Duration { .seconds(4) }
    func readBody(
        of message: Primitives.Tag, on loop: any EventLoop,
        _ answer: @escaping (Result<MessageBody, BodyReadError>) -> Void
    ) {
        let body = self.rules.withLock { $0.bodies[message] }
        let bound = NIOLoopBound(answer, eventLoop: loop)
        loop.execute {
            if let body { bound.value(.success(body)) } else { bound.value(.failure(.unavailable)) }
        }
    }
    func openBody(
        of message: Primitives.Tag, on loop: any EventLoop,
        _ answer: @escaping (Result<BodySource, BodyReadError>) -> Void
    ) {
        let rules = self.rules.withLock { rules in
            rules.opened += 1
            return rules
        }
        let bound = NIOLoopBound(answer, eventLoop: loop)
        let source = rules.bodies[message].map { Self.source($0, rules) }
        loop.execute {
            if let source {
                bound.value(.success(source))
            } else {
                bound.value(.failure(.unavailable))
            }
        }
    }

    /// Pieces of 64 KiB behind the head; one fails if the rules say so.
    private static func source(_ body: MessageBody, _ rules: Rules) -> BodySource {
        let content = body.parts[1]
        let sent = Mutex(0)
        return BodySource(head: body.parts[0], contentBytes: content.readableBytes) { answer in
            let from = sent.withLock { sent in
                defer { sent = min(content.readableBytes, sent + 65_536) }
                return sent
            }
            if let failure = rules.failsAt, from / 65_536 == failure.piece {
                return answer(.failure(failure.error))
            }
            let length = min(65_536, content.readableBytes - from)
            guard let piece = content.getSlice(at: content.readerIndex + from, length: length)
            else {
                Issue.record("there is no piece at \(from)")
                return answer(.failure(.unavailable))
            }
            answer(
                .success(
                    BodyPiece(bytes: piece, isLast: from + length == content.readableBytes)))
        }
    }

    func submitReport(
        _ report: ReportID, envelope: Envelope, destinations: [String], content: ByteBuffer,
        head: @escaping @Sendable (Primitives.Tag) -> ByteBuffer
    ) {
        let tag = Primitives.Tag(session: SessionID(raw: 9), sequence: 9)
        self.input.yield(
            .report(
                report, envelope, destinations,
                String(buffer: head(tag)) + String(buffer: content)))
    }
    func waiveReport(_ report: ReportID) { self.input.yield(.waived(report)) }
    func note(connections: Int) {}
}

/// A delivery service with a desk and a DNS of the test's own.
struct DeliveryBench {
    let desk = NotingDesk()
    let service: DeliveryService

    /// - Parameter mx: hosts by domain; each host is an address on loopback.
    init(
        port: Int, mx: [String: MXAnswer] = [:], addresses: [String: AddressAnswer] = [:],
        change: (inout Settings) -> Void = { _ in },
        routing changeRouting: (inout Routing) -> Void = { _ in }, authority: String? = nil
    ) throws {
        var settings = Settings()
        settings.node.hostname = "relay.example"
        settings.delivery.port = port
        change(&settings)
        var routing = Routing(settings, ourselves: Ourselves(names: ["relay.example"]))
        changeRouting(&routing)
        let names = NameService(
            mx: { name, loop, answer in loop.execute { answer(mx[name] ?? .noRecords) } },
            addresses: { name, _, loop, answer in
                loop.execute {
                    answer(
                        addresses[name]
                            ?? .addresses([IPAddress("127.0.0.1")!], secure: false))
                }
            })
        let context = try TLSClientContext(trust: .nobody)
        self.service = DeliveryService(
            desk: self.desk, routing: routing, names: names,
            trust: ClientTrust(
                anybody: context,
                verified: try authority.map { try TLSClientContext(trust: .authority($0)) }
                    ?? context),
            loops: [MultiThreadedEventLoopGroup.singleton.next()], seed: 1,
            log: Logger(label: "test"), tick: .milliseconds(20))
    }

    static let content = "Subject: test\r\n\r\n.dot\r\nbody\r\n"

    static func delivery(
        _ number: UInt64, to recipients: [String] = ["x@d.example"],
        destination: String = "d.example", content: String? = DeliveryBench.content,
        from sender: String = "s@a.example"
    ) -> LeasedDelivery {
        let parts = content.map { text in
            MessageBody(parts: [
                ByteBuffer(string: "Received: here\r\n"), ByteBuffer(string: text),
            ])
        }
        return LeasedDelivery(
            id: DeliveryID(message: self.tag(number), index: 0), session: SessionID(raw: 1),
            attempt: 1, destination: destination, sender: sender, eightBit: false, utf8: false,
            ret: nil,
            envid: nil,
            recipients: recipients.enumerated().map {
                (index: UInt16($0.offset), recipient: Recipient(address: $0.element))
            },
            originalBytes: UInt64(parts?.byteCount ?? 100),
            acceptedAt: WallTime(milliseconds: 1_790_000_000_000), body: parts)
    }

    static func tag(_ number: UInt64) -> Primitives.Tag {
        Primitives.Tag(session: SessionID(raw: 1), sequence: number)
    }

    func take(_ deliveries: LeasedDelivery...) {
        self.service.take(deliveries.map { .delivery($0) })
    }

    /// The next outcome; anything else is an issue.
    func outcome() async throws -> DeliveryOutcome {
        let event = try await self.desk.next()
        guard case .settled(let outcome) = event else {
            Issue.record("\(event)")
            throw Unexpected()
        }
        return outcome
    }

    func stop() async throws { try await self.service.stop(within: .seconds(2)).get() }
    struct Unexpected: Error {}
}
