import Cluster
import NIOCore
import NIOEmbedded
import Primitives
import SMTP
import Settings
import Synchronization
import Testing

@testable import Reception

@Suite("Session handler")
struct SessionHandlerTests {
    private static let mail =
        "MAIL FROM:<a@x.example>\r\nRCPT TO:<b@ours.example>\r\nDATA\r\n"

    @Test func `a message goes to the queue with its Received field and is answered`() throws {
        let desk = try Desk()
        #expect(try desk.said() == "220 mx.example ESMTP Posthouse")
        _ = try desk.hello()
        #expect(desk.door.state.withLock { $0.sessions } == 1)
        #expect(try desk.send(Self.mail).hasSuffix("354 End data with <CR><LF>.<CR><LF>"))
        #expect(try desk.send("Subject: x\r\n\r\n..hi\r\n.\r\n") == "250 2.0.0 Ok id=1-1")
        let message = desk.door.messages[0]
        #expect(message.content == "Subject: x\r\n\r\n.hi\r\n")
        #expect(message.destinations == ["ours.example"])
        #expect(message.receivedFrom == "[192.0.2.7]")
        #expect(
            message.head.hasPrefix(
                "Received: from client.example ([192.0.2.7])\r\n\tby mx.example with ESMTP id 1-1"))
        #expect(try desk.send("QUIT\r\n") == "221 2.0.0 Bye")
        #expect(!desk.channel.isActive)
        #expect(desk.shared.ledger.sessions == 0)
        #expect(desk.door.state.withLock { $0.sessions } == 0)
    }

    @Test func `all that one read asks for is answered by one flush`() throws {
        let desk = try Desk().hello()
        let before = desk.meter.flushes
        let said = try desk.send(Self.mail.replacing("DATA\r\n", with: "RSET\r\nNOOP\r\n"))
        #expect(said.split(separator: "\n").count == 4)
        #expect(desk.meter.flushes == before + 1)
    }

    @Test func `nothing is read while the verdict is open, what came is kept`() throws {
        let desk = try Desk().hello()
        desk.door.state.withLock { $0.isHolding = true }
        try desk.send(Self.mail)
        let said = try desk.send("x\r\n.\r\nNOOP\r\n")
        #expect(said == "")
        let reads = desk.meter.reads
        desk.channel.read()
        #expect(desk.meter.reads == reads)
        desk.door.last.withLock { $0?.value.decide?() }
        #expect(try desk.said() == "250 2.0.0 Ok id=1-1\n250 2.0.0 Ok")
        #expect(desk.meter.reads == reads + 1)
    }

    @Test func `nothing is read while the queue has enough in flight`() throws {
        let desk = try Desk().hello()
        desk.door.state.withLock { $0.isFull = true }
        try desk.send(Self.mail + "half a message")
        let reads = desk.meter.reads
        desk.channel.read()
        #expect(desk.meter.reads == reads)
        desk.door.state.withLock { $0.isFull = false }
        desk.door.last.withLock { $0?.value.resume() }
        #expect(desk.meter.reads == reads + 1)
        #expect(try desk.send("\r\n.\r\n") == "250 2.0.0 Ok id=1-1")
    }

    @Test func `a client that goes away takes its half message with it`() throws {
        let desk = try Desk().hello()
        try desk.send(Self.mail + "half")
        _ = try desk.channel.finish(acceptAlreadyClosed: true)
        #expect(desk.door.state.withLock { $0.abandoned } == 1)
        #expect(desk.door.messages == [])
        #expect(desk.shared.ledger.sessions == 0)
    }

    @Test func `a message is accepted for ever even if the client left before the reply`() throws {
        let desk = try Desk().hello()
        desk.door.state.withLock { $0.isHolding = true }
        try desk.send(Self.mail + "x\r\n.\r\n")
        _ = try desk.channel.finish(acceptAlreadyClosed: true)
        desk.door.last.withLock { $0?.value.decide?() }
        #expect(desk.door.messages.count == 1)
    }

    @Test func `a silent session ends at its idle limit and not before`() throws {
        let desk = try Desk().hello()
        desk.loop.advanceTime(by: .seconds(299))
        #expect(try desk.send("NOOP\r\n") == "250 2.0.0 Ok")
        desk.loop.advanceTime(by: .seconds(299))
        #expect(try desk.said() == "")
        desk.loop.advanceTime(by: .seconds(1))
        #expect(try desk.said() == "421 4.4.2 Idle for too long, closing")
        #expect(!desk.channel.isActive)
    }

    @Test func `a busy session ends at its total limit`() throws {
        let desk = try Desk().hello()
        for _ in 0..<35 {
            desk.loop.advanceTime(by: .seconds(100))
            #expect(try desk.send("NOOP\r\n") == "250 2.0.0 Ok")
        }
        desk.loop.advanceTime(by: .seconds(100))
        #expect(try desk.said() == "421 4.4.2 The session takes too long, closing")
    }

    @Test func `a session that waits for the queue is not idle`() throws {
        let desk = try Desk().hello()
        desk.door.state.withLock { $0.isHolding = true }
        try desk.send(Self.mail + "x\r\n.\r\n")
        desk.loop.advanceTime(by: .seconds(301))
        #expect(desk.channel.isActive)
        desk.door.last.withLock { $0?.value.decide?() }
        #expect(try desk.said() == "250 2.0.0 Ok id=1-1")
    }

    @Test func `who talks before the greeting is sent away, who waits is greeted`() throws {
        let settings = Desk.settings { $0.relay.earlyTalkerDelay = .seconds(2) }
        let early = try Desk(settings)
        #expect(try early.send("EHLO x\r\n") == "")
        early.loop.advanceTime(by: .seconds(2))
        #expect(try early.said() == "554 5.5.1 Wait for the greeting")
        #expect(!early.channel.isActive)
        let polite = try Desk(settings)
        polite.loop.advanceTime(by: .milliseconds(1999))
        #expect(try polite.said() == "")
        polite.loop.advanceTime(by: .milliseconds(1))
        #expect(try polite.said().hasPrefix("220 "))
    }

    @Test func `sessions up to the limits are taken, one more is 421`() throws {
        let settings = Desk.settings {
            $0.relay.maxSessions = 3
            $0.relay.maxSessionsPerAddress = 2
        }
        let ledger = Ledger()
        let first = try Desk(settings, ledger: ledger)
        let second = try Desk(settings, ledger: ledger)
        let third = try Desk(settings, ledger: ledger)
        #expect(try third.said().hasPrefix("421 4.7.0 Too many sessions"))
        let other = try Desk(settings, client: "192.0.2.8", ledger: ledger)
        #expect(try other.said().hasPrefix("220"))
        let fourth = try Desk(settings, client: "192.0.2.9", ledger: ledger)
        #expect(try fourth.said().hasPrefix("421"))
        try first.send("QUIT\r\n")
        #expect(ledger.sessions == 2)
        _ = second
    }

    @Test func `the queue's state is told at connect and to MAIL`() throws {
        let door = FakeDoor()
        door.state.withLock { $0.obstacle = .noLeader }
        #expect(try Desk(door: door).said().hasPrefix("421 4.3.2"))
        door.state.withLock { $0.obstacle = .full }
        let desk = try Desk(door: door).hello()
        #expect(try desk.send("MAIL FROM:<a@x>\r\n").hasPrefix("452 4.3.1"))
        door.state.withLock { $0.obstacle = .noLeader }
        #expect(try desk.send("MAIL FROM:<a@x>\r\n").hasPrefix("451 4.3.2"))
        door.state.withLock { $0.obstacle = nil }
        #expect(try desk.send("MAIL FROM:<a@x>\r\n").hasPrefix("250"))
    }

    @Test func `shutdown ends idle sessions, and others behind their message`() throws {
        let idle = try Desk().hello()
        idle.handler.stop()
        #expect(try idle.said().hasPrefix("421 4.3.2"))
        #expect(!idle.channel.isActive)
        let busy = try Desk().hello()
        try busy.send(Self.mail)
        busy.handler.stop()
        #expect(busy.channel.isActive)
        #expect(
            try busy.send("x\r\n.\r\n").split(separator: "\n").map { $0.prefix(9) }
                == ["250 2.0.0", "421 4.3.2"])
        #expect(!busy.channel.isActive)
    }

    @Test func `a drained node ends idle sessions, and takes others that come`() throws {
        let registry = SessionRegistry()
        let idle = try Desk().hello()
        let busy = try Desk().hello()
        try busy.send(Self.mail)
        registry.add(idle.handler)
        registry.add(busy.handler)
        registry.endIdle()
        #expect(try idle.said().hasPrefix("421 4.3.2"))
        #expect(!idle.channel.isActive)
        #expect(busy.channel.isActive)
        let next = try Desk().hello()
        registry.add(next.handler)
        #expect(try next.send("MAIL FROM:<a@x>\r\n").hasPrefix("250"))
        #expect(
            try busy.send("x\r\n.\r\n").split(separator: "\n").map { $0.prefix(9) }
                == ["250 2.0.0", "421 4.3.2"])
    }

    @Test func `a reload of relay rules holds for sessions that are open`() throws {
        let desk = try Desk().hello()
        try desk.send("MAIL FROM:<a@x>\r\n")
        #expect(try desk.send("RCPT TO:<b@new.example>\r\n") == "550 5.7.1 Relaying denied")
        let settings = Desk.settings { $0.relay.domains = ["new.example"] }
        let policy = ReceptionPolicy(settings, users: nil)
        desk.shared.use(SessionRules(settings, Settings.Listener(), policy))
        #expect(try desk.send("RCPT TO:<b@new.example>\r\n") == "250 2.1.5 Ok")
        #expect(try desk.send("RCPT TO:<b@ours.example>\r\n") == "550 5.7.1 Relaying denied")
    }

    @Test func `the next host's refusal of a recipient is passed on, doubt is not`() throws {
        let settings = Desk.settings { settings in
            var route = Settings.Route()
            route.domains = ["ours.example"]
            route.via = Endpoint(host: "10.0.0.1", port: 25)
            settings.routes = [route]
        }
        let verifier = FakeVerifier([
            "no@ours.example": .invalid(Reply(550, EnhancedCode(5, 1, 1), "no such user")),
            "yes@ours.example": .valid,
        ])
        let desk = try Desk(settings, verifier: verifier).hello()
        let said = try desk.send(
            "MAIL FROM:<a@x>\r\nRCPT TO:<no@ours.example>\r\nRCPT TO:<yes@ours.example>\r\n"
                + "RCPT TO:<who@ours.example>\r\nRCPT TO:<x@a.sub.example>\r\n")
        #expect(
            said.split(separator: "\n").map(String.init) == [
                "250 2.1.0 Ok", "550 5.1.1 no such user", "250 2.1.5 Ok", "250 2.1.5 Ok",
                "250 2.1.5 Ok",
            ])
        #expect(
            verifier.asked.withLock { $0 }
                == ["no@ours.example", "yes@ours.example", "who@ours.example"])
    }
}
