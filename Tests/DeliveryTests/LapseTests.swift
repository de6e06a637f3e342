import Delivery
import MailQueue
import NIOCore
import NIOPosix
import Primitives
import SMTP
import Synchronization
import Testing

@testable import Cluster

@Suite("Delivery: leases that lapse", .timeLimit(.minutes(1)))
struct LapseTests {
    @Test func `nothing begins under a lease that has lapsed, until it holds again`() async throws {
        let server = try await ScriptedServer.start()
        let bench = try DeliveryBench(port: server.port)
        bench.take(DeliveryBench.delivery(1))
        _ = try await bench.outcome()
        bench.desk.rules.withLock { $0.standing = .lapsed }
        bench.take(DeliveryBench.delivery(2))
        for loop in MultiThreadedEventLoopGroup.singleton.makeIterator() {
            try await loop.submit {}.get()
        }
        #expect(server.seen.messages.count == 1)
        bench.desk.rules.withLock { $0.standing = .holds }
        bench.service.sharesChanged()
        #expect(try await bench.outcome().delivery.message == DeliveryBench.tag(2))
        #expect(server.seen.lines.filter { $0.hasPrefix("MAIL") }.count == 2)
        try await bench.stop()
        try await server.stop()
    }

    @Test func `work of a session that is another one now goes back`() async throws {
        let server = try await ScriptedServer.start()
        let bench = try DeliveryBench(port: server.port)
        bench.desk.rules.withLock { $0.standing = .ended }
        bench.take(DeliveryBench.delivery(1))
        guard case .released(let ids) = try await bench.desk.next() else {
            Issue.record("something else")
            return
        }
        #expect(ids.map(\.message) == [DeliveryBench.tag(1)])
        #expect(!server.seen.lines.contains { $0.hasPrefix("MAIL") })
        try await bench.stop()
        try await server.stop()
    }

    @Test func `behind a final dot a lapse waits for the verdict, and for nothing else`()
        async throws
    {
        let reached = Signal()
        let isSilent = Atomic<Bool>(false)
        var behaviour = ScriptedServer.Behaviour()
        behaviour.message = { _ in
            isSilent.store(true, ordering: .relaxed)
            reached.send()
            return .silence
        }
        behaviour.command = { _ in isSilent.load(ordering: .relaxed) ? .silence : nil }
        let server = try await ScriptedServer.start(behaviour)
        let bench = try DeliveryBench(port: server.port)
        bench.desk.rules.withLock { $0.share = 1 }
        bench.take(DeliveryBench.delivery(1), DeliveryBench.delivery(2))
        await reached.wait()
        bench.desk.rules.withLock {
            $0.share = 0
            $0.standing = .lapsed
        }
        bench.service.cutConnections(sparesVerdicts: true)
        // The second was written behind the dot of the first.
        guard case .released(let ids) = try await bench.desk.next() else {
            Issue.record("something else")
            return
        }
        #expect(ids.map(\.message) == [DeliveryBench.tag(2)])
        #expect(bench.desk.rules.withLock { $0.taken.values.contains(1) })
        // The hold-down is over: what became of the first nobody knows.
        bench.service.cutConnections(sparesVerdicts: false)
        guard case .abandoned(let id) = try await bench.desk.next() else {
            Issue.record("something else")
            return
        }
        #expect(id.message == DeliveryBench.tag(1))
        try await bench.stop()
        #expect(bench.desk.rules.withLock { $0.taken.values.allSatisfy { $0 == 0 } })
        try await server.stop()
    }
}
