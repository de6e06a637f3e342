import Delivery
import MailQueue
import NIOCore
import NIOPosix
import Networking
import Primitives
import SMTP
import Settings
import Synchronization
import Testing

@testable import Cluster

@Suite("Delivery: limits, lapse, stop", .timeLimit(.minutes(1)))
struct DeliveryStopTests {
    /// A server that says when a message has reached it, and gives no verdict.
    private func holding(_ reached: Signal) async throws -> ScriptedServer {
        var behaviour = ScriptedServer.Behaviour()
        behaviour.message = { _ in
            reached.send()
            return .hold("250 in the end")
        }
        return try await ScriptedServer.start(behaviour)
    }

    @Test func `stopping: what waits is released, what runs may finish`() async throws {
        let reached = Signal()
        let server = try await self.holding(reached)
        let bench = try DeliveryBench(port: server.port)
        bench.desk.rules.withLock { $0.share = 1 }
        bench.take(DeliveryBench.delivery(1))
        await reached.wait()
        bench.take(DeliveryBench.delivery(2))
        async let stopped: Void = bench.service.stop(within: .milliseconds(200)).get()
        let event = try await bench.desk.next()
        guard case .released(let ids) = event else {
            Issue.record("\(event)")
            return
        }
        #expect(ids.map { $0.message } == [DeliveryBench.tag(2)])
        // The verdict never comes: a deferral would be believed, and hide that it may repeat.
        guard case .abandoned(let id) = try await bench.desk.next() else {
            Issue.record("something else than the end of the lease")
            return
        }
        #expect(id.message == DeliveryBench.tag(1))
        try await stopped
        try await server.stop()
    }

    @Test func `stopping: it ends, though many destinations wait for the only connection`()
        async throws
    {
        let reached = Signal()
        let server = try await self.holding(reached)
        let bench = try DeliveryBench(port: server.port) { $0.delivery.connections = 1 }
        bench.take(DeliveryBench.delivery(1))
        await reached.wait()
        for number in 2...4 {
            let domain = "d\(number).example"
            bench.take(
                DeliveryBench.delivery(
                    UInt64(number), to: ["x@\(domain)"], destination: domain))
        }
        // Their hosts are found, and they have asked for the connection.
        for _ in 0..<4 {
            for loop in MultiThreadedEventLoopGroup.singleton.makeIterator() {
                try await loop.submit {}.get()
            }
        }
        try await bench.service.stop(within: .milliseconds(200)).get()
        var released: Set<Primitives.Tag> = []
        while released.count < 3 {
            switch try await bench.desk.next() {
            case .released(let ids): released.formUnion(ids.map { $0.message })
            case .abandoned(let id): #expect(id.message == DeliveryBench.tag(1))
            default: Issue.record("something else")
            }
        }
        #expect(released == Set((2...4).map { DeliveryBench.tag($0) }))
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

    @Test
    func `a share that is lowered ends idle connections with QUIT, one that is raised is used`()
        async throws
    {
        let quit = Signal()
        var behaviour = ScriptedServer.Behaviour()
        behaviour.command = { line in
            if line == "QUIT" { quit.send() }
            return nil
        }
        let server = try await ScriptedServer.start(behaviour)
        let bench = try DeliveryBench(port: server.port)
        bench.take(DeliveryBench.delivery(1))
        _ = try await bench.outcome()
        bench.desk.rules.withLock { $0.share = 0 }
        bench.service.sharesChanged()
        await quit.wait()
        bench.take(DeliveryBench.delivery(2))
        bench.desk.rules.withLock { $0.share = 1 }
        bench.service.sharesChanged()
        #expect(try await bench.outcome().verdicts[0].verdict.kind == .delivered)
        try await bench.stop()
        #expect(bench.desk.rules.withLock { $0.taken.values.allSatisfy { $0 == 0 } })
        try await server.stop()
    }

    @Test func `leases that no connection may be opened for go back after T`() async throws {
        let bench = try DeliveryBench(port: 1)
        bench.desk.rules.withLock { $0.share = 0 }
        bench.take(DeliveryBench.delivery(1))
        guard case .released(let ids) = try await bench.desk.next() else {
            Issue.record("something else")
            return
        }
        #expect(ids.map(\.message) == [DeliveryBench.tag(1)])
        try await bench.stop()
    }

    @Test func `after the stop work is handed back at once`() async throws {
        let bench = try DeliveryBench(port: 1)
        try await bench.stop()
        bench.take(DeliveryBench.delivery(1))
        guard case .released(let ids) = try await bench.desk.next() else {
            Issue.record("not released")
            return
        }
        #expect(ids.map { $0.message } == [DeliveryBench.tag(1)])
    }
}
