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

@Suite("Delivery to real sockets", .timeLimit(.minutes(1)))
struct DeliveryServiceTests {
    private static let sent = "Received: here\r\n" + DeliveryBench.content

    private static func two(_ port: Int) throws -> (
        mx: [String: MXAnswer], hosts: [String: AddressAnswer]
    ) {
        (
            [
                "d.example": .records(
                    [
                        MXRecord(preference: 10, host: "one.example"),
                        MXRecord(preference: 20, host: "two.example"),
                    ], secure: false)
            ],
            [
                "one.example": .addresses([IPAddress("127.0.0.1")!], secure: false),
                "two.example": .addresses([IPAddress("127.0.0.2")!], secure: false),
            ]
        )
    }

    @Test func `a message arrives as it was accepted`() async throws {
        let server = try await ScriptedServer.start()
        let bench = try DeliveryBench(port: server.port)
        bench.take(DeliveryBench.delivery(1))
        let outcome = try await bench.outcome()
        #expect(outcome.verdicts.map { $0.verdict.kind } == [.delivered])
        #expect(outcome.endsLease && outcome.attempt == 1)
        #expect(outcome.verdicts[0].verdict.reply == Reply(250, EnhancedCode(2, 0, 0), "taken"))
        #expect(outcome.verdicts[0].verdict.remoteHost == "d.example")
        #expect(server.seen.messages == [Self.sent])
        try await bench.stop()
        try await server.stop()
    }

    @Test func `one connection carries many, the next group behind the final dot`() async throws {
        var behaviour = ScriptedServer.Behaviour()
        // The answer to a dot comes only when the next command is there: without pipelining
        // across it this would never end.
        behaviour.message = { $0 < 3 ? .hold("250 held") : .say("250 last") }
        let server = try await ScriptedServer.start(behaviour)
        let bench = try DeliveryBench(port: server.port)
        bench.desk.rules.withLock { $0.share = 1 }
        bench.take(
            DeliveryBench.delivery(1), DeliveryBench.delivery(2), DeliveryBench.delivery(3))
        for number in 1...3 {
            let outcome = try await bench.outcome()
            #expect(outcome.delivery.message == DeliveryBench.tag(UInt64(number)))
            #expect(outcome.verdicts[0].verdict.kind == .delivered)
        }
        #expect(server.seen.connections == 1 && server.seen.messages.count == 3)
        try await bench.stop()
        try await server.stop()
    }

    @Test func `a kept connection is used again, and a dead one costs no attempt`() async throws {
        var behaviour = ScriptedServer.Behaviour()
        behaviour.command = { line in
            // Closes without a word when a second transaction begins on a connection.
            line.contains("second@") ? .close : nil
        }
        let server = try await ScriptedServer.start(behaviour)
        let bench = try DeliveryBench(port: server.port)
        bench.take(DeliveryBench.delivery(1))
        _ = try await bench.outcome()
        bench.take(DeliveryBench.delivery(2))
        _ = try await bench.outcome()
        #expect(server.seen.connections == 1)
        bench.take(DeliveryBench.delivery(3, from: "second@a.example"))
        let outcome = try await bench.outcome()
        // A fresh connection closes too; only then does the attempt count.
        #expect(outcome.verdicts[0].verdict.kind == .deferred)
        #expect(server.seen.connections == 2)
        try await bench.stop()
        try await server.stop()
    }

    @Test(arguments: ["421 busy", "450 later", "554 no service here"])
    func `a host that greets with a refusal: the next one`(greeting: String) async throws {
        var behaviour = ScriptedServer.Behaviour()
        behaviour.greeting = .say(greeting)
        let (first, second) = try await ScriptedServer.startTwo(behaviour)
        let (mx, hosts) = try Self.two(first.port)
        let bench = try DeliveryBench(port: first.port, mx: mx, addresses: hosts)
        bench.take(DeliveryBench.delivery(1))
        let outcome = try await bench.outcome()
        #expect(outcome.verdicts[0].verdict.kind == .delivered)
        #expect(outcome.verdicts[0].verdict.remoteHost == "two.example")
        #expect(first.seen.connections == 1)
        try await bench.stop()
        try await first.stop()
        try await second.stop()
    }

    @Test func `no connection anywhere: the destination is suspended, no attempt is spent`()
        async throws
    {
        let gone = try await ScriptedServer.start()
        try await gone.stop()
        let (mx, hosts) = try Self.two(gone.port)
        let bench = try DeliveryBench(port: gone.port, mx: mx, addresses: hosts)
        bench.take(DeliveryBench.delivery(1), DeliveryBench.delivery(2))
        let event = try await bench.desk.next()
        guard case .suspended(let name, let reply) = event else {
            Issue.record("\(event)")
            return
        }
        #expect(name == "d.example" && reply.enhanced == EnhancedCode(4, 4, 1))
        #expect(reply.lines[0].contains("Connection refused"))
        // What was not begun is given back by name, behind the suspension.
        guard case .released(let ids) = try await bench.desk.next() else {
            Issue.record("not released")
            return
        }
        #expect(ids.map { $0.message } == [DeliveryBench.tag(1), DeliveryBench.tag(2)])
        try await bench.stop()
    }

    @Test func `a suspension leaves a lease alone of which a piece is behind its final dot`()
        async throws
    {
        var behaviour = ScriptedServer.Behaviour()
        let reached = Signal()
        behaviour.message = { _ in
            reached.send()
            return .hold("250 taken")
        }
        let server = try await ScriptedServer.start(behaviour)
        // The postmaster's host takes the message and is slow; the others' cannot be found.
        let bench = try DeliveryBench(
            port: server.port, mx: ["d.example": .failed(DNSFailure(.server, "SERVFAIL"))],
            change: { $0.delivery.postmaster = "pm@p.example" },
            routing: { $0.timeouts.finalDot = .milliseconds(300) })
        bench.take(DeliveryBench.delivery(1, to: ["postmaster", "x@d.example"]))
        guard case .suspended("d.example", _) = try await bench.desk.next() else {
            Issue.record("not suspended")
            return
        }
        await reached.wait()
        // Nothing is given back before the verdict, or what stands for it, has come.
        let outcome = try await bench.outcome()
        #expect(outcome.verdicts.map { $0.index } == [0] && outcome.endsLease)
        #expect(outcome.verdicts[0].verdict.reply.lines[0].contains("more than once"))
        try await bench.stop()
        try await server.stop()
    }

    @Test func `4yz to a recipient: only that one goes to the next host, in the same attempt`()
        async throws
    {
        var behaviour = ScriptedServer.Behaviour()
        behaviour.command = { $0.contains("later@") ? .say("450 4.2.0 greylisted") : nil }
        let (first, second) = try await ScriptedServer.startTwo(behaviour)
        let (mx, hosts) = try Self.two(first.port)
        let bench = try DeliveryBench(port: first.port, mx: mx, addresses: hosts)
        bench.take(DeliveryBench.delivery(1, to: ["x@d.example", "later@d.example"]))
        let one = try await bench.outcome()
        #expect(one.verdicts.map { $0.index } == [0] && !one.endsLease)
        let two = try await bench.outcome()
        #expect(two.verdicts.map { $0.index } == [1] && two.endsLease)
        #expect(two.verdicts[0].verdict.kind == .delivered)
        #expect(two.verdicts[0].verdict.remoteHost == "two.example")
        #expect(second.seen.lines.contains("RCPT TO:<later@d.example>"))
        try await bench.stop()
        try await first.stop()
        try await second.stop()
    }

    @Test func `4yz at the last host: deferred with its words`() async throws {
        var behaviour = ScriptedServer.Behaviour()
        behaviour.command = { $0.hasPrefix("RCPT") ? .say("450 4.2.0 greylisted") : nil }
        let server = try await ScriptedServer.start(behaviour)
        let bench = try DeliveryBench(port: server.port)
        bench.take(DeliveryBench.delivery(1))
        let verdict = try await bench.outcome().verdicts[0].verdict
        #expect(verdict.kind == .deferred)
        #expect(verdict.reply == Reply(450, EnhancedCode(4, 2, 0), "greylisted"))
        try await bench.stop()
        try await server.stop()
    }

    @Test func `closed behind the final dot: deferred, may be sent more than once`() async throws {
        var behaviour = ScriptedServer.Behaviour()
        behaviour.message = { _ in .close }
        let server = try await ScriptedServer.start(behaviour)
        let bench = try DeliveryBench(port: server.port)
        bench.take(DeliveryBench.delivery(1))
        let verdict = try await bench.outcome().verdicts[0].verdict
        #expect(verdict.kind == .deferred)
        #expect(verdict.reply.lines[0].contains("may be sent more than once"))
        #expect(server.seen.messages.count == 1)
        try await bench.stop()
        try await server.stop()
    }

    @Test(arguments: [
        "HTTP/1.1 200 OK\r\n\r\n", "\u{0}\u{1}\u{2}\u{3}\n",
        String(repeating: "250-a line of many\r\n", count: 100_000),
    ])
    func `garbage and endless replies: the host is given up`(text: String) async throws {
        var behaviour = ScriptedServer.Behaviour()
        behaviour.command = { $0.hasPrefix("MAIL") ? .raw(text) : nil }
        let server = try await ScriptedServer.start(behaviour)
        let bench = try DeliveryBench(port: server.port)
        bench.take(DeliveryBench.delivery(1))
        let verdict = try await bench.outcome().verdicts[0].verdict
        #expect(verdict.kind == .deferred && verdict.reply.enhanced == EnhancedCode(4, 5, 0))
        try await bench.stop()
        try await server.stop()
    }

    @Test(arguments: ["EHLO", "MAIL", "RCPT", "DATA", "."])
    func `a server that falls silent is waited for and no longer`(verb: String) async throws {
        var behaviour = ScriptedServer.Behaviour()
        behaviour.keywords = ["8BITMIME"]
        // Begins a reply and never ends it: bytes must not stretch the time.
        behaviour.command = { $0.hasPrefix(verb) ? .raw("250-o") : nil }
        if verb == "." { behaviour.message = { _ in .raw("2") } }
        let server = try await ScriptedServer.start(behaviour)
        // Only the step in question is short, so that a slow machine does not end another one.
        let bench = try DeliveryBench(port: server.port) { _ in
        } routing: { routing in
            let short = Duration.milliseconds(150)
            switch verb {
            case "EHLO": routing.timeouts.greeting = short
            case "MAIL": routing.timeouts.mail = short
            case "RCPT": routing.timeouts.recipient = short
            case "DATA": routing.timeouts.dataStart = short
            case _: routing.timeouts.finalDot = short
            }
        }
        bench.take(DeliveryBench.delivery(1))
        let event = try await bench.desk.next()
        switch event {
        case .suspended(_, let reply):
            #expect(verb == "EHLO" && reply.lines[0].contains("timed out"))
        case .settled(let outcome):
            let verdict = outcome.verdicts[0].verdict
            #expect(verdict.kind == .deferred && verdict.reply.lines[0].contains("timed out"))
            #expect(verdict.reply.lines[0].contains("more than once") == (verb == "."))
        case _: Issue.record("\(event)")
        }
        try await bench.stop()
        try await server.stop()
    }

    @Test func `452 behind accepted recipients: the next transaction, same connection`()
        async throws
    {
        var behaviour = ScriptedServer.Behaviour()
        let third = OnceOnly()
        behaviour.command = { line in
            line.contains("c@") && third.isFirst() ? .say("452 4.5.3 too many") : nil
        }
        let server = try await ScriptedServer.start(behaviour)
        let bench = try DeliveryBench(port: server.port)
        bench.take(DeliveryBench.delivery(1, to: ["a@d.example", "b@d.example", "c@d.example"]))
        let one = try await bench.outcome()
        #expect(one.verdicts.map { $0.index } == [0, 1] && !one.endsLease)
        let two = try await bench.outcome()
        #expect(two.verdicts.map { $0.index } == [2] && two.endsLease)
        #expect(server.seen.connections == 1 && server.seen.messages.count == 2)
        try await bench.stop()
        try await server.stop()
    }

    @Test func `more recipients than a transaction takes: several, settled one by one`()
        async throws
    {
        let server = try await ScriptedServer.start()
        let bench = try DeliveryBench(port: server.port) {
            $0.delivery.recipientsPerTransaction = 2
        }
        bench.desk.rules.withLock { $0.share = 1 }
        bench.take(DeliveryBench.delivery(1, to: (0..<5).map { "r\($0)@d.example" }))
        var indices: [UInt16] = []
        for i in 0..<3 {
            let outcome = try await bench.outcome()
            indices += outcome.verdicts.map { $0.index }
            #expect(outcome.endsLease == (i == 2))
        }
        #expect(indices == [0, 1, 2, 3, 4] && server.seen.messages.count == 3)
        try await bench.stop()
        try await server.stop()
    }

    @Test func `without permission the final dot never leaves`() async throws {
        let server = try await ScriptedServer.start()
        let bench = try DeliveryBench(port: server.port)
        bench.desk.rules.withLock { $0.mayFinish = false }
        bench.take(DeliveryBench.delivery(1))
        let event = try await bench.desk.next()
        guard case .released(let ids) = event else {
            Issue.record("\(event)")
            return
        }
        #expect(ids == [DeliveryID(message: DeliveryBench.tag(1), index: 0)])
        #expect(server.seen.messages.isEmpty)
        try await bench.stop()
        try await server.stop()
    }

    @Test func `a large message goes in slices, byte for byte`() async throws {
        let server = try await ScriptedServer.start()
        let bench = try DeliveryBench(port: server.port)
        let lines = (0..<40_000).map { "\($0 % 7 == 0 ? "." : "")line \($0) of a large one\r\n" }
        let content = "Subject: big\r\n\r\n" + lines.joined()
        bench.take(DeliveryBench.delivery(1, content: content))
        let outcome = try await bench.outcome()
        #expect(outcome.verdicts[0].verdict.kind == .delivered)
        #expect(server.seen.messages == ["Received: here\r\n" + content])
        try await bench.stop()
        try await server.stop()
    }

    @Test func `a body that is not in memory is read; one that cannot be read defers`() async throws
    {
        let server = try await ScriptedServer.start()
        let bench = try DeliveryBench(port: server.port)
        let body = DeliveryBench.delivery(1).body!
        bench.desk.rules.withLock { $0.bodies[DeliveryBench.tag(1)] = body }
        bench.take(DeliveryBench.delivery(1, content: nil))
        let read = try await bench.outcome()
        #expect(read.verdicts[0].verdict.kind == .delivered && server.seen.messages == [Self.sent])
        bench.take(DeliveryBench.delivery(2, content: nil))
        let missing = try await bench.outcome()
        #expect(missing.verdicts[0].verdict.kind == .deferred)
        #expect(missing.verdicts[0].verdict.reply.enhanced == EnhancedCode(4, 3, 0))
        try await bench.stop()
        try await server.stop()
    }

    @Test(arguments: [
        (MXAnswer.null, EnhancedCode(5, 1, 10)), (.noDomain, EnhancedCode(5, 1, 2)),
        (
            .records([MXRecord(preference: 1, host: "relay.example")], secure: false),
            EnhancedCode(5, 4, 6)
        ),
    ])
    func `what the DNS rules out fails at once`(answer: MXAnswer, code: EnhancedCode) async throws {
        let bench = try DeliveryBench(port: 1, mx: ["d.example": answer])
        bench.take(DeliveryBench.delivery(1))
        let verdict = try await bench.outcome().verdicts[0].verdict
        #expect(verdict.kind == .failed && verdict.reply.enhanced == code)
        #expect(verdict.remoteHost == nil)
        try await bench.stop()
    }

    @Test func `a DNS that does not answer suspends the destination`() async throws {
        let bench = try DeliveryBench(
            port: 1, mx: ["d.example": .failed(DNSFailure(.server, "SERVFAIL"))])
        bench.take(DeliveryBench.delivery(1))
        let event = try await bench.desk.next()
        guard case .suspended("d.example", let reply) = event else {
            Issue.record("\(event)")
            return
        }
        #expect(reply.enhanced == EnhancedCode(4, 4, 3))
        try await bench.stop()
    }

    @Test func `postmaster without a domain goes to the postmaster, the others their way`()
        async throws
    {
        let server = try await ScriptedServer.start()
        let bench = try DeliveryBench(port: server.port) { $0.delivery.postmaster = "pm@p.example" }
        bench.take(DeliveryBench.delivery(1, to: ["postmaster", "x@d.example"]))
        let outcomes = [try await bench.outcome(), try await bench.outcome()]
        #expect(outcomes.flatMap { $0.verdicts.map { $0.index } }.sorted() == [0, 1])
        #expect(outcomes.map { $0.endsLease } == [false, true])
        let recipients = server.seen.lines.filter { $0.hasPrefix("RCPT") }.sorted()
        #expect(recipients == ["RCPT TO:<pm@p.example>", "RCPT TO:<x@d.example>"])
        try await bench.stop()
        try await server.stop()
    }

    @Test func `LMTP gets a Return-Path and answers for each recipient`() async throws {
        var behaviour = ScriptedServer.Behaviour()
        behaviour.keywords = ["PIPELINING"]
        let server = try await ScriptedServer.start(behaviour)
        let bench = try DeliveryBench(port: 1) { settings in
            var route = Settings.Route()
            route.domains = ["*"]
            route.scheme = .lmtp
            route.via = Endpoint(host: "127.0.0.1", port: server.port)
            settings.routes = [route]
        }
        bench.take(DeliveryBench.delivery(1, destination: "lmtp:127.0.0.1"))
        let outcome = try await bench.outcome()
        #expect(outcome.verdicts[0].verdict.kind == .stored)
        #expect(server.seen.lines.first == "LHLO relay.example")
        #expect(server.seen.messages == ["Return-Path: <s@a.example>\r\n" + Self.sent])
        try await bench.stop()
        try await server.stop()
    }
}
