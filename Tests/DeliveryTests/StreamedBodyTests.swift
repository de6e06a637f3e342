// StreamedBodyTests.swift - large bodies piece by piece; damage on the way never gets a final dot.

import Delivery
import MailQueue
import NIOCore
import Networking
import Primitives
import SMTP
import Settings
import Synchronization
import Testing

@testable import Cluster

@Suite("Streamed bodies", .timeLimit(.minutes(1)))
struct StreamedBodyTests {
    private static let head = "Received: here\r\n"

    /// Content that makes the message, head and all, so many bytes.
    private static func content(_ bytes: Int) -> String {
        var text = "Subject: big\r\n\r\n"
        var number = 0
        while text.utf8.count < bytes - 200 {
            text += "\(number % 7 == 0 ? "." : "")line \(number) of a large one\r\n"
            number += 1
        }
        let rest = bytes - Self.head.utf8.count - text.utf8.count - 2
        return text + String(repeating: "z", count: rest) + "\r\n"
    }

    private static func bench(_ port: Int, _ content: String, lmtp: Bool = false) throws
        -> DeliveryBench
    {
        let bench = try DeliveryBench(port: port) { settings in
            guard lmtp else { return }
            var route = Settings.Route()
            route.domains = ["*"]
            route.scheme = .lmtp
            route.via = Endpoint(host: "127.0.0.1", port: port)
            settings.routes = [route]
        }
        bench.desk.rules.withLock {
            $0.share = 1
            $0.bodies[DeliveryBench.tag(1)] = MessageBody(parts: [
                ByteBuffer(string: Self.head), ByteBuffer(string: content),
            ])
        }
        return bench
    }

    private static func delivery(
        _ bytes: Int, to recipients: [String] = ["x@d.example"], lmtp: Bool = false
    ) -> LeasedDelivery {
        var delivery = DeliveryBench.delivery(
            1, to: recipients, destination: lmtp ? "lmtp:127.0.0.1" : "d.example", content: nil)
        delivery.originalBytes = UInt64(bytes)
        return delivery
    }

    @Test(arguments: [(1 << 20, false), ((1 << 20) + 1, true)], [false, true])
    func `up to 1 MiB it is read as a whole, above it is streamed, byte for byte`(
        size: (bytes: Int, streams: Bool), lmtp: Bool
    ) async throws {
        var behaviour = ScriptedServer.Behaviour()
        behaviour.keywords = ["PIPELINING", "8BITMIME"]
        let server = try await ScriptedServer.start(behaviour)
        let content = Self.content(size.bytes)
        let bench = try Self.bench(server.port, content, lmtp: lmtp)
        bench.take(Self.delivery(size.bytes, lmtp: lmtp))
        let outcome = try await bench.outcome()
        #expect(outcome.verdicts[0].verdict.kind == (lmtp ? .stored : .delivered))
        let path = lmtp ? "Return-Path: <s@a.example>\r\n" : ""
        let isSame = server.seen.messages == [path + Self.head + content]
        #expect(isSame)
        #expect(bench.desk.rules.withLock { $0.opened } == (size.streams ? 1 : 0))
        try await bench.stop()
        try await server.stop()
    }

    @Test(arguments: [0, 1, 9, 18])
    func `what cannot be read on the way gets no final dot, and is tried again`(piece: Int)
        async throws
    {
        let server = try await ScriptedServer.start()
        let content = Self.content(1_200_000)
        let bench = try Self.bench(server.port, content)
        bench.desk.rules.withLock { $0.failsAt = (piece, .unavailable) }
        bench.take(Self.delivery(1_200_000))
        let outcome = try await bench.outcome()
        #expect(outcome.verdicts[0].verdict.kind == .deferred && outcome.endsLease)
        #expect(outcome.verdicts[0].verdict.reply.enhanced == EnhancedCode(4, 3, 0))
        #expect(bench.desk.rules.withLock { $0.askedToFinish } == 0)
        // The next one finds its way on another connection.
        bench.desk.rules.withLock { $0.failsAt = nil }
        bench.take(Self.delivery(1_200_000))
        #expect(try await bench.outcome().verdicts[0].verdict.kind == .delivered)
        let isSame = server.seen.messages == [Self.head + content]
        #expect(isSame && server.seen.connections == (piece == 0 ? 1 : 2))
        try await bench.stop()
        try await server.stop()
    }

    @Test(arguments: [0, 5])
    func `a lost body gives its lease back: the queue ends it`(piece: Int) async throws {
        let server = try await ScriptedServer.start()
        let bench = try Self.bench(server.port, Self.content(1_200_000))
        bench.desk.rules.withLock { $0.failsAt = (piece, .lost) }
        bench.take(Self.delivery(1_200_000))
        guard case .released(let ids) = try await bench.desk.next() else {
            Issue.record("not released")
            return
        }
        #expect(ids.map { $0.message } == [DeliveryBench.tag(1)])
        #expect(server.seen.messages.isEmpty)
        try await bench.stop()
        try await server.stop()
    }

    @Test func `recipients refused: nothing is read on, and the connection goes on`() async throws {
        var behaviour = ScriptedServer.Behaviour()
        behaviour.command = { $0.contains("RCPT TO:<no@") ? .say("550 5.1.1 unknown") : nil }
        let server = try await ScriptedServer.start(behaviour)
        let content = Self.content(1_200_000)
        let bench = try Self.bench(server.port, content)
        bench.take(Self.delivery(1_200_000, to: ["no@d.example"]))
        #expect(try await bench.outcome().verdicts[0].verdict.kind == .failed)
        bench.take(Self.delivery(1_200_000))
        #expect(try await bench.outcome().verdicts[0].verdict.kind == .delivered)
        // DATA was sent with the rest: the answer to 354 without a recipient is a lone dot.
        let isSame = server.seen.messages == ["", Self.head + content]
        #expect(isSame && server.seen.connections == 1)
        try await bench.stop()
        try await server.stop()
    }

    @Test func `a peer that rests in the middle gets all in the end`()
        async throws
    {
        var behaviour = ScriptedServer.Behaviour()
        behaviour.receiveBytes = 4096
        behaviour.pausesReading = { _ in .seconds(1) }
        let server = try await ScriptedServer.start(behaviour)
        let content = Self.content(2_000_000)
        let bench = try Self.bench(server.port, content)
        bench.take(Self.delivery(2_000_000))
        #expect(try await bench.outcome().verdicts[0].verdict.kind == .delivered)
        let isSame = server.seen.messages == [Self.head + content]
        #expect(isSame)
        try await bench.stop()
        try await server.stop()
    }

    @Test func `a report of a large original reads its header and no more`() async throws {
        let bench = try Self.bench(1, Self.content(8_000_000))
        bench.desk.rules.withLock { $0.failsAt = (1, .unavailable) }
        let line = OwedReport.Line(
            recipient: Recipient(address: "x@d.example"), action: .failed,
            verdict: Verdict(.failed, Reply(550, EnhancedCode(5, 1, 1), "no")), attempts: 1)
        bench.service.take([
            .report(
                LeasedReport(
                    id: ReportID(message: DeliveryBench.tag(1), number: 0),
                    content: OwedReport(lines: [line]),
                    original: Envelope(sender: "s@a.example", recipients: [line.recipient]),
                    acceptedAt: WallTime(milliseconds: 0), originalBytes: 8_000_000,
                    expiresAt: WallTime(milliseconds: 1000)))
        ])
        guard case .report(_, _, _, let text) = try await bench.desk.next() else {
            Issue.record("no report")
            return
        }
        #expect(text.contains("Content-Type: text/rfc822-headers\r\n"))
        #expect(text.contains("Received: here\r\nSubject: big\r\n"))
        #expect(text.utf8.count < 10_000)
        try await bench.stop()
    }
}
