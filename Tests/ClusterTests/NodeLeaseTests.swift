import MailQueue
import NIOCore
import Networking
import Primitives
import SMTP
import Testing

@testable import Cluster

@Suite("Leases and outcomes of a node", .timeLimit(.minutes(1)))
struct NodeLeaseTests {
    /// A hundred recipients, each answered with a hundred lines of a kilobyte: ten megabytes.
    @Test func `replies as long as a host likes make no entry that is too long`() async throws {
        let rig = try Rig()
        let (node, taker) = try await rig.open()
        _ = try await rig.send(node, on: rig.loop(0), content: Array("x\r\n".utf8))
        await taker.wait { taker.deliveries.count == 1 }
        let delivery = try #require(taker.deliveries.first)
        let line = String(repeating: "n", count: 1000)
        let reply = Reply(550, EnhancedCode(5, 1, 1), Array(repeating: line, count: 100))
        node.desk.settle(
            DeliveryOutcome(
                delivery: delivery.id, session: delivery.session, attempt: delivery.attempt,
                verdicts: (0..<100).map { ($0, Verdict(.failed, reply)) }, endsLease: true))
        await taker.wait { taker.reports.count == 1 }
        let kept = try #require(taker.reports.first?.content.lines.first?.verdict.reply)
        #expect(kept.code == 550 && !kept.lines.isEmpty && kept.lines.count < 100)
        await node.stop()
        try await rig.end()
    }

    @Test func `a lease is kept back while a Cancel of its message is under way`() async throws {
        let rig = try Rig()
        let (node, taker) = try await rig.open()
        _ = try await rig.send(node, on: rig.loop(0), content: Array("x\r\n".utf8))
        await taker.wait { taker.deliveries.count == 1 }
        let id = try #require(taker.deliveries.first).id
        try await node.node.loop.submit {
            let inner = node.node
            var work: [LeasedWork] = []
            inner.withheld[id.message] = []
            inner.handOut(id, &work)
            #expect(work.isEmpty && inner.withheld[id.message] == [id])
            inner.withheld[id.message] = nil
            inner.handOut(id, &work)
            #expect(work.count == 1)
        }.get()
        await node.stop()
        try await rig.end()
    }

    @Test func `sessions have the times of the leader's file, and end by them`() async throws {
        let rig = try ClusterRig()
        rig.sessionTime = .seconds(2)
        try await rig.start()
        for place in 0..<3 {
            let timing = try await rig.on(place) { $0.leaseClock.timing }
            #expect(timing == SessionTiming(term: .seconds(2)))
        }
        let leader = try await rig.leader()
        let session = try await rig.on((leader + 1) % 3) { $0.machine.session }
        let before = SystemClock.bootTime()
        try await rig.kill((leader + 1) % 3)
        try await rig.wait { try await rig.on(leader) { !$0.machine.queue.isOpen(session) } }
        // Not before T is over; with the usual T it would be 4.2 s less one renewal at least.
        #expect(SystemClock.bootTime() - before > .milliseconds(2100 - 500))
        try await rig.end()
    }
}
