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

@Suite("Delivery: limits, lapse, stop", .timeLimit(.minutes(1)))
struct DeliveryStopTests {
    @Test func `stopping: what waits is released, what runs may finish`() async throws {
        var behaviour = ScriptedServer.Behaviour()
        let reached = Signal()
        behaviour.message = { _ in
            reached.send()
            return .hold("250 in the end")
        }
        let server = try await ScriptedServer.start(behaviour)
        let bench = try DeliveryBench(port: server.port)
        bench.desk.rules.withLock { $0.share = 1 }
        bench.take(DeliveryBench.delivery(1))
        await reached.wait()
        bench.take(DeliveryBench.delivery(2))
        async let stopped: Void = bench.service.stop(within: .milliseconds(200)).get()
        let event = await bench.desk.next()
        guard case .released(let ids) = event else {
            Issue.record("\(event)")
            return
        }
        #expect(ids.map { $0.message } == [DeliveryBench.tag(2)])
        // The verdict never comes: at the deadline the first one is unknown.
        let verdict = try await bench.outcome().verdicts[0].verdict
        #expect(verdict.kind == .deferred)
        #expect(verdict.reply.lines[0].contains("may be sent more than once"))
        try await stopped
        try await server.stop()
    }

    @Test func `connections of one destination stay at its share, all together at the limit`()
        async throws
    {
        var behaviour = ScriptedServer.Behaviour()
        behaviour.keywords = ["8BITMIME"]
        let server = try await ScriptedServer.start(behaviour)
        let bench = try DeliveryBench(port: server.port) { $0.delivery.connections = 3 }
        bench.desk.rules.withLock { $0.share = 2 }
        for number in 0..<40 {
            let domain = "d\(number % 4).example"
            bench.take(
                DeliveryBench.delivery(
                    UInt64(number), to: ["x@\(domain)"], destination: domain))
        }
        for _ in 0..<40 {
            #expect(try await bench.outcome().verdicts[0].verdict.kind == .delivered)
        }
        #expect(server.seen.messages.count == 40)
        #expect(server.seen.busyMost <= 3 && server.seen.openMost >= 2)
        try await bench.stop()
        try await server.stop()
    }

    @Test func `an idle connection is ended with QUIT when its time is over`() async throws {
        let quit = Signal()
        var behaviour = ScriptedServer.Behaviour()
        behaviour.command = { line in
            if line == "QUIT" { quit.send() }
            return nil
        }
        let server = try await ScriptedServer.start(behaviour)
        let bench = try DeliveryBench(port: server.port) { _ in
        } routing: {
            $0.idle = .milliseconds(100)
        }
        bench.take(DeliveryBench.delivery(1))
        _ = try await bench.outcome()
        await quit.wait()
        try await bench.stop()
        try await server.stop()
    }

    @Test func `after the stop work is handed back at once`() async throws {
        let bench = try DeliveryBench(port: 1)
        try await bench.stop()
        bench.take(DeliveryBench.delivery(1))
        guard case .released(let ids) = await bench.desk.next() else {
            Issue.record("not released")
            return
        }
        #expect(ids.map { $0.message } == [DeliveryBench.tag(1)])
    }
}
