// FinalDotTests.swift - the guarded final write: when it goes, and what is waited for before.

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

@Suite("The wait before a large message's end, RFC 5321 §4.5.3.2.5")
struct AcknowledgementWaitTests {
    @Test func `acknowledged at once: it goes at once`() {
        var wait = AcknowledgementWait()
        #expect(wait.look(isIdle: true) == .go)
    }

    @Test func `pauses double from 1 ms to 50 ms`() {
        var wait = AcknowledgementWait()
        var pauses: [Int64] = []
        for _ in 0..<9 {
            guard case .lookAgain(let pause) = wait.look(isIdle: false) else {
                Issue.record("no pause")
                return
            }
            pauses.append(pause.inMilliseconds)
        }
        #expect(pauses == [1, 2, 4, 8, 16, 32, 50, 50, 50])
        #expect(wait.look(isIdle: true) == .go)
    }

    @Test func `the last look may still find it acknowledged, and is the last`() {
        var wait = AcknowledgementWait()
        var whole = Duration.zero
        for _ in 1..<AcknowledgementWait.Limit.looks {
            guard case .lookAgain(let pause) = wait.look(isIdle: false) else {
                Issue.record("too early")
                return
            }
            whole += pause
        }
        var other = wait
        #expect(wait.look(isIdle: true) == .go)
        #expect(other.look(isIdle: false) == .giveUp)
        // Longer than a block of content may take, so that its time-out is the one that tells.
        #expect(whole > ClientTimeouts().dataBlock && whole < .seconds(240))
    }
}

@Suite("The guarded final dot", .timeLimit(.minutes(1)))
struct FinalDotTests {
    /// Some 200,000 bytes that end with a line end.
    private static let large =
        "Subject: big\r\n\r\n"
        + String(repeating: String(repeating: "x", count: 98) + "\r\n", count: 2000)

    /// A server whose kernel takes but a few thousand bytes that nobody reads.
    private static func slow(
        _ pauses: @escaping @Sendable (Int) -> TimeAmount?
    ) -> ScriptedServer.Behaviour {
        var behaviour = ScriptedServer.Behaviour()
        behaviour.receiveBytes = 4096
        behaviour.pausesReading = pauses
        return behaviour
    }

    @Test func `a peer that does not read gets no final dot, whatever our kernel has taken`()
        async throws
    {
        let server = try await ScriptedServer.start(Self.slow { _ in .hours(1) })
        let bench = try DeliveryBench(port: server.port) { _ in
        } routing: {
            $0.timeouts.dataBlock = .milliseconds(400)
        }
        bench.take(DeliveryBench.delivery(1, content: Self.large))
        let verdict = try await bench.outcome().verdicts[0].verdict
        // The kernel has all but the end, and the peer has not: the dot was not even asked for.
        #expect(verdict.kind == .deferred)
        #expect(!verdict.reply.lines[0].contains("more than once"))
        #expect(bench.desk.rules.withLock { $0.askedToFinish } == 0)
        #expect(server.seen.messages.isEmpty)
        try await bench.stop()
        try await server.stop()
    }

    @Test func `on a node that is alone nobody's acknowledgement is waited for before the dot`()
        async throws
    {
        // As above, but it reads in the end: long after a block may take.
        let server = try await ScriptedServer.start(Self.slow { _ in .milliseconds(1500) })
        let bench = try DeliveryBench(port: server.port) { _ in
        } routing: {
            $0.timeouts.dataBlock = .milliseconds(400)
        }
        bench.desk.rules.withLock { $0.dotGuard = nil }
        bench.take(DeliveryBench.delivery(1, content: Self.large))
        #expect(try await bench.outcome().verdicts[0].verdict.kind == .delivered)
        #expect(server.seen.messages.count == 1 && server.seen.connections == 1)
        try await bench.stop()
        try await server.stop()
    }

    @Test func `on a node that is alone a slow peer has as long as the standard says, not G`()
        async throws
    {
        let server = try await ScriptedServer.start(Self.slow { _ in .seconds(4) })
        let bench = try DeliveryBench(port: server.port)
        bench.desk.rules.withLock { $0.dotGuard = nil }
        bench.take(
            DeliveryBench.delivery(1, content: String(Self.large.prefix(60_000)) + "\r\n"))
        #expect(try await bench.outcome().verdicts[0].verdict.kind == .delivered)
        #expect(server.seen.messages.count == 1 && server.seen.connections == 1)
        try await bench.stop()
        try await server.stop()
    }

    @Test func `a final write that is not acknowledged for G ends the connection`() async throws {
        let server = try await ScriptedServer.start(Self.slow { _ in .hours(1) })
        let bench = try DeliveryBench(port: server.port)
        // One write with its dot, far more than the peer's kernel takes.
        let small = String(Self.large.prefix(60_000)) + "\r\n"
        let begun = NIODeadline.now()
        bench.take(DeliveryBench.delivery(1, content: small))
        let verdict = try await bench.outcome().verdicts[0].verdict
        #expect(verdict.kind == .deferred)
        #expect(verdict.reply.lines[0].contains("lost connection"))
        #expect(verdict.reply.lines[0].contains("more than once"))
        // Nobody's time-out but the kernel's: that of the final dot is ten minutes.
        #expect(NIODeadline.now() - begun >= .seconds(1))
        #expect(server.seen.messages.isEmpty)
        try await bench.stop()
        try await server.stop()
    }

    @Test func `behind the verdict the kernel waits as long as ever`() async throws {
        // The second message meets a peer that rests for much longer than G.
        let server = try await ScriptedServer.start(Self.slow { $0 == 2 ? .seconds(4) : nil })
        let bench = try DeliveryBench(port: server.port)
        bench.desk.rules.withLock { $0.share = 1 }
        bench.take(DeliveryBench.delivery(1))
        #expect(try await bench.outcome().verdicts[0].verdict.kind == .delivered)
        // Its own end is not guarded: behind so small a window G is short on a busy machine.
        bench.desk.rules.withLock { $0.dotGuard = nil }
        bench.take(DeliveryBench.delivery(2, content: Self.large))
        #expect(try await bench.outcome().verdicts[0].verdict.kind == .delivered)
        #expect(server.seen.connections == 1 && server.seen.messages.count == 2)
        try await bench.stop()
        try await server.stop()
    }

    @Test(arguments: [65_536, 65_537])
    func `at the limit one write, one byte more: the rest behind an acknowledgement`(
        bytes: Int
    ) async throws {
        let server = try await ScriptedServer.start()
        let bench = try DeliveryBench(port: server.port)
        let head = "Received: here\r\n"
        let start = "Subject: big\r\n\r\n"
        let rest = bytes - head.utf8.count - start.utf8.count - 2
        let content = start + String(repeating: "y", count: rest) + "\r\n"
        bench.desk.rules.withLock { $0.share = 1 }
        bench.take(
            DeliveryBench.delivery(1, content: content), DeliveryBench.delivery(2))
        for _ in 0..<2 {
            #expect(try await bench.outcome().verdicts[0].verdict.kind == .delivered)
        }
        #expect(server.seen.messages.first == head + content)
        try await bench.stop()
        try await server.stop()
    }

    @Test func `TLS: a large message goes byte for byte, and the next one behind it`() async throws
    {
        let certificates = try DeliveryTLSTests.Certificates(for: ["mx.example"])
        var behaviour = ScriptedServer.Behaviour()
        behaviour.keywords = ["PIPELINING", "STARTTLS"]
        behaviour.tls = certificates.server
        let server = try await ScriptedServer.start(behaviour)
        let bench = try DeliveryBench(port: server.port)
        bench.desk.rules.withLock { $0.share = 1 }
        bench.take(
            DeliveryBench.delivery(1, content: Self.large), DeliveryBench.delivery(2))
        for _ in 0..<2 {
            #expect(try await bench.outcome().verdicts[0].verdict.kind == .delivered)
        }
        #expect(server.seen.messages.first == "Received: here\r\n" + Self.large)
        #expect(server.seen.messages.count == 2 && server.seen.connections == 1)
        try await bench.stop()
        try await server.stop()
        try certificates.remove()
    }
}
