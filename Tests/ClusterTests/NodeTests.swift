import Foundation
import Logging
import MailQueue
import NIOCore
import NIOPosix
import Primitives
import Raft
import SMTP
import Settings
import Storage
import Synchronization
import Testing

@testable import Cluster

/// A data directory and the nodes that live in it, one after the other.
final class Rig: Sendable {
    let directory: String
    let loops = MultiThreadedEventLoopGroup(numberOfThreads: 2)
    /// What would end the process.
    let faults = Mutex<[StorageError]>([])

    init() throws {
        let template = FileManager.default.temporaryDirectory.path + "/node-XXXXXX"
        var bytes = Array(template.utf8CString)
        self.directory = try #require(mkdtemp(&bytes).map { String(cString: $0) })
    }

    /// - Parameter prepare: what is done to the node before it starts.
    func open(
        delivers: Bool = true, segmentBytes: Int = 4 << 20,
        prepare: @Sendable (RunningNode) -> Void = { _ in }
    ) async throws -> (RunningNode, Taker) {
        var settings = Settings()
        settings.node.name = "a"
        settings.node.hostname = "relay.test"
        settings.node.data = self.directory
        settings.delivery.enabled = delivers
        var options = StorageOptions()
        options.segmentBytes = segmentBytes
        options.reserveBytes = 1 << 20
        options.lowWaterBytes = 1 << 20
        let node = try RunningNode.open(
            settings, loops: self.loops, logger: Logger(label: "test"), options: options
        ) { fault in self.faults.withLock { $0.append(fault) } }
        let taker = Taker()
        node.desk.attach(taker)
        prepare(node)
        try await node.start()
        return (node, taker)
    }

    /// The loop with this number; the node's own is one of them.
    func loop(_ number: Int) -> any EventLoop {
        Array(self.loops.makeIterator())[number]
    }

    func end() async throws {
        try FileManager.default.removeItem(atPath: self.directory)
        try await self.loops.shutdownGracefully()
    }

    /// Sends one message as a session on `loop` would.
    func send(
        _ node: RunningNode, on loop: any EventLoop, content: [UInt8],
        recipients: [String] = ["b@sink.test"], sender: String = "a@client.test",
        beforeReturn: @escaping @Sendable () -> Void = {}
    ) async throws -> IntakeVerdict {
        let promise = loop.makePromise(of: IntakeVerdict.self)
        loop.execute {
            guard case .success(let body) = node.intake.begin(on: loop, resume: {}) else {
                return promise.succeed(.refused(.noLeader))
            }
            var rest = content[...]
            while !rest.isEmpty {
                _ = body.append(ByteBuffer(bytes: rest.prefix(10_000)))
                rest = rest.dropFirst(10_000)
            }
            let list = recipients.map { Recipient(address: $0) }
            body.finish(
                envelope: Envelope(sender: sender, recipients: list),
                destinations: list.map { String($0.domain) },
                head: { ByteBuffer(string: "Received: id \($0.text)\r\n") }
            ) { verdict in
                beforeReturn()
                promise.succeed(verdict)
            }
        }
        return try await promise.futureResult.get()
    }
}

private func bytes(_ body: MessageBody) -> [UInt8] {
    body.parts.flatMap { Array($0.readableBytesView) }
}

@Suite("Node of one voter", .timeLimit(.minutes(2)))
struct NodeTests {
    @Test(arguments: [0, 1])
    func `what is accepted is leased, with head and content, after its 250`(loop: Int) async throws
    {
        let rig = try Rig()
        let (node, taker) = try await rig.open()
        let early = Atomic<Int>(0)
        let verdict = try await rig.send(node, on: rig.loop(loop), content: Array("hello\r\n".utf8))
        {
            early.add(taker.deliveries.count, ordering: .relaxed)
        }
        guard case .accepted(let tag) = verdict else {
            Issue.record("\(verdict)")
            return
        }
        await taker.wait { taker.deliveries.count == 1 }
        #expect(early.load(ordering: .relaxed) == 0)
        let delivery = try #require(taker.deliveries.first)
        #expect(delivery.id.message == tag)
        #expect(delivery.attempt == 1)
        #expect(delivery.recipients.map(\.recipient.address) == ["b@sink.test"])
        let body = try #require(delivery.body)
        #expect(bytes(body) == Array("Received: id \(tag.text)\r\nhello\r\n".utf8))
        await node.stop()
        try await rig.end()
    }

    @Test func `a checkpoint of many slices is of one index, and a restart begins from it`()
        async throws
    {
        let rig = try Rig()
        let (node, _) = try await rig.open(delivers: false)
        for _ in 0..<20 {
            _ = try await rig.send(node, on: rig.loop(0), content: Array("hello\r\n".utf8))
        }
        let ended = Mutex<[StorageError?]>([])
        await withCheckedContinuation { continuation in
            node.node.onLoop { node in
                node.checkpoint.rowsPerSlice = 1
                node.makeCheckpoint { error in ended.withLock { $0.append(error) } }
                continuation.resume()
            }
        }
        // Mail comes in between the slices; the last checkpoint waits for this one.
        for _ in 0..<5 {
            _ = try await rig.send(node, on: rig.loop(1), content: Array("more\r\n".utf8))
        }
        await node.stop()
        #expect(ended.withLock { $0 } == [nil])
        let (again, _) = try await rig.open(delivers: false)
        let counts = await withCheckedContinuation { continuation in
            again.node.onLoop { continuation.resume(returning: $0.machine.queue.counts) }
        }
        #expect(counts.messages == 25)
        await again.stop()
        try await rig.end()
    }

    @Test func `alone, a final dot needs no guard; when another node has a session it is G`()
        async throws
    {
        let rig = try Rig()
        let (node, _) = try await rig.open()
        #expect(node.desk.dotGuard == nil)
        let open = OpenSession(
            node: "b", incarnation: Incarnation(raw: 7), boot: 1, nonce: 1, credit: 1,
            replayed: true, delivers: true)
        node.node.onLoop { $0.proposeAsLeader(Command(.openSession(open))) }
        // What is accepted behind it tells that it is applied.
        _ = try await rig.send(node, on: rig.loop(0), content: [])
        await withCheckedContinuation { continuation in
            node.node.onLoop { node in
                node.renew()
                continuation.resume()
            }
        }
        #expect(node.desk.dotGuard == LeaseClock.guardTime)
        await node.stop()
        try await rig.end()
    }

    @Test(arguments: [0, 1, 65_536, 65_537, 300_000, 3_000_000])
    func `a body of any size reads back after a restart`(size: Int) async throws {
        let rig = try Rig()
        var (node, _) = try await rig.open(delivers: false)
        var generator = Generator(seed: UInt64(size))
        let content = (0..<size).map { _ in UInt8(generator.below(256)) }
        let verdict = try await rig.send(node, on: rig.loop(1), content: content)
        guard case .accepted(let tag) = verdict else {
            Issue.record("\(verdict)")
            return
        }
        await node.stop()
        (node, _) = try await rig.open(delivers: false)
        let body = try await node.view.body(tag)
        #expect(bytes(body) == Array("Received: id \(tag.text)\r\n".utf8) + content)
        await node.stop()
        try await rig.end()
    }

    @Test func `an unsettled lease is leased again after a restart without a word, and counted`()
        async throws
    {
        let rig = try Rig()
        var (node, taker) = try await rig.open()
        _ = try await rig.send(node, on: rig.loop(0), content: [])
        await taker.wait { taker.deliveries.count == 1 }
        // As a killed process: nothing is said to the queue any more.
        node.node.storage.close()
        (node, taker) = try await rig.open()
        await taker.wait { taker.deliveries.count == 1 }
        let status = await node.view.status()
        #expect(status.possibleDuplicates == 1)
        #expect(status.queue?.messages == 1)
        await node.stop()
        try await rig.end()
    }

    @Test func `a settled delivery is gone, also after a restart`() async throws {
        let rig = try Rig()
        var (node, taker) = try await rig.open()
        _ = try await rig.send(node, on: rig.loop(0), content: Array("x\r\n".utf8))
        await taker.wait { taker.deliveries.count == 1 }
        let delivery = try #require(taker.deliveries.first)
        node.desk.settle(
            DeliveryOutcome(
                delivery: delivery.id, session: delivery.session, attempt: delivery.attempt,
                verdicts: [(0, Verdict(.delivered, Reply(250, nil, "ok")))], endsLease: true))
        await node.stop()
        (node, taker) = try await rig.open()
        let status = await node.view.status()
        #expect(status.queue?.messages == 0)
        #expect(status.possibleDuplicates == 0)
        #expect(taker.deliveries.isEmpty)
        await node.stop()
        try await rig.end()
    }

    @Test func `a failure owes a report; submitting it makes one message to the sender`()
        async throws
    {
        let rig = try Rig()
        let (node, taker) = try await rig.open()
        _ = try await rig.send(node, on: rig.loop(0), content: Array("x\r\n".utf8))
        await taker.wait { taker.deliveries.count == 1 }
        let delivery = try #require(taker.deliveries.first)
        node.desk.settle(
            DeliveryOutcome(
                delivery: delivery.id, session: delivery.session, attempt: delivery.attempt,
                verdicts: [(0, Verdict(.failed, Reply(550, EnhancedCode(5, 1, 1), "no")))],
                endsLease: true))
        await taker.wait { taker.reports.count == 1 }
        let report = try #require(taker.reports.first)
        #expect(report.original.sender == "a@client.test")
        for _ in 0..<2 {
            // The second is refused: the debt is cleared.
            node.desk.submitReport(
                report.id,
                envelope: Envelope(sender: "", recipients: [Recipient(address: "a@client.test")]),
                destinations: ["client.test"],
                content: ByteBuffer(string: "Subject: sorry\r\n\r\n"),
                head: { _ in ByteBuffer() })
        }
        await taker.wait { taker.deliveries.count == 2 }
        let status = await node.view.status()
        #expect(status.queue?.messages == 1)
        #expect(taker.deliveries.map(\.sender) == ["a@client.test", ""])
        await node.stop()
        try await rig.end()
    }

    @Test func `queue time and the term go on over restarts, the session is a new one`()
        async throws
    {
        let rig = try Rig()
        var terms: [UInt64] = []
        var sessions = Set<UInt64>()
        for _ in 0..<3 {
            let (node, _) = try await rig.open(delivers: false)
            guard
                case .accepted(let tag) = try await rig.send(node, on: rig.loop(0), content: [1])
            else {
                Issue.record("not accepted")
                return
            }
            sessions.insert(tag.session.raw)
            terms.append(await node.view.status().term)
            await node.stop()
        }
        #expect(terms == [1, 2, 3])
        #expect(sessions.count == 3)
        try await rig.end()
    }

    @Test func `a client that goes right behind the final dot of a large message breaks nothing`()
        async throws
    {
        let rig = try Rig()
        let (node, _) = try await rig.open(delivers: false)
        let loop = rig.loop(1)
        for _ in 0..<20 {
            let promise = loop.makePromise(of: IntakeVerdict.self)
            loop.execute {
                guard case .success(let body) = node.intake.begin(on: loop, resume: {}) else {
                    return promise.succeed(.refused(.noLeader))
                }
                _ = body.append(ByteBuffer(repeating: 0x61, count: 200_000))
                body.finish(
                    envelope: Envelope(sender: "", recipients: [Recipient(address: "b@x.test")]),
                    destinations: ["x.test"], head: { _ in ByteBuffer() }
                ) { promise.succeed($0) }
                body.abandon()
            }
            guard case .accepted = try await promise.futureResult.get() else {
                Issue.record("not accepted")
                return
            }
        }
        #expect(await node.view.status().queue?.messages == 20)
        await node.stop()
        try await rig.end()
    }

    @Test
    func `the most recipients with the longest parameters, and the largest report, are stored`()
        async throws
    {
        let rig = try Rig()
        var (node, _) = try await rig.open(delivers: false, segmentBytes: 32 << 20)
        let inner = node.node
        let intake = node.intake
        // relay.max_recipients at its greatest; RFC 5321 §4.5.3.1.3 and RFC 3461 §4.2 lengths.
        let list = (0..<5000).map { number in
            Recipient(
                address: String(repeating: "a", count: 64) + "@\(number)."
                    + String(repeating: "b", count: 180) + ".test",
                orcpt: "rfc822;" + String(repeating: "c", count: 493))
        }
        let promise = inner.loop.makePromise(of: IntakeVerdict.self)
        inner.loop.execute {
            guard case .success(let body) = intake.begin(on: inner.loop, resume: {}) else {
                return promise.succeed(.refused(.noLeader))
            }
            body.finish(
                envelope: Envelope(sender: "a@client.test", recipients: list),
                destinations: list.map { String($0.domain) }, head: { _ in ByteBuffer() }
            ) { promise.succeed($0) }
        }
        guard case .accepted(let tag) = try await promise.futureResult.get() else {
            Issue.record("not accepted")
            return
        }
        // delivery.report_message at its greatest, and room for the other parts of the report.
        var dice = Generator(seed: 4)
        let content = (0..<4_200_000).map { _ in UInt8(dice.below(256)) }
        node.desk.submitReport(
            ReportID(message: tag, number: 0),
            envelope: Envelope(sender: "", recipients: [Recipient(address: "a@client.test")]),
            destinations: ["client.test"], content: ByteBuffer(bytes: content),
            head: { _ in ByteBuffer() })
        await node.stop()
        (node, _) = try await rig.open(delivers: false, segmentBytes: 32 << 20)
        #expect(await node.view.status().queue?.recipients == 5000)
        await node.stop()
        try await rig.end()
    }

    @Test func `operators list, hold, release and drop`() async throws {
        let rig = try Rig()
        let (node, _) = try await rig.open(delivers: false)
        for number in 0..<3 {
            _ = try await rig.send(
                node, on: rig.loop(0), content: [], recipients: ["b\(number)@d\(number).test"])
        }
        let all = try await node.view.list(ClusterView.Filter(), limit: 2)
        #expect(all.messages.count == 2 && all.total == 3)
        let held = try await node.view.act(
            .hold, ClusterView.Filter(domain: "d1.test"), dryRun: false, reason: "")
        #expect(held == (1, 1, 0))
        #expect(await node.view.status().queue?.held == 1)
        let dry = try await node.view.act(.drop, ClusterView.Filter(), dryRun: true, reason: "")
        #expect(dry == (3, 0, 0))
        let dropped = try await node.view.act(
            .drop, ClusterView.Filter(), dryRun: false, reason: "")
        #expect(dropped == (3, 3, 0))
        #expect(await node.view.status().queue?.messages == 0)
        await node.stop()
        try await rig.end()
    }

    @Test func `a node that stops refuses new mail`() async throws {
        let rig = try Rig()
        let (node, _) = try await rig.open()
        node.refuseNewMail()
        await node.stop()
        #expect(node.intake.obstacle == .stopping)
        try await rig.end()
    }

    @Test func `a command of a later version ends the node with what to do, here and at a start`()
        async throws
    {
        let rig = try Rig()
        let (node, _) = try await rig.open()
        _ = try await rig.send(node, on: rig.loop(0), content: [])
        let index = try await node.node.loop.submit {
            let node = node.node
            let index = node.machine.lastIndex + 1
            // What a leader of a later version would have put there.
            try node.machine.replica.propose([255, 255, 255], onlyInTerm: node.machine.term)
            node.turn()
            return index
        }.get()
        let expected = StorageError.unknownFormat(file: "Entry \(index) of the log")
        while rig.faults.withLock({ $0.isEmpty }) { try await node.node.loop.submit {}.get() }
        #expect(rig.faults.withLock { $0 } == [expected])
        // As the end of the process would.
        try await node.node.loop.submit {
            for timer in node.node.timers { timer.cancel() }
            node.node.wake?.cancel()
        }.get()
        node.node.storage.close()
        await #expect(throws: NodeStartError.self) { _ = try await rig.open() }
        try await rig.end()
    }
}
