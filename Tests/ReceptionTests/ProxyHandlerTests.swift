import Cluster
import Logging
import NIOCore
import NIOEmbedded
import Primitives
import SMTP
import Settings
import Synchronization
import Testing

@testable import Reception

/// What was logged, and how severely.
final class LogTrap: LogHandler, Sendable {
    let lines = Mutex<[(level: Logger.Level, text: String)]>([])
    var metadata: Logger.Metadata {
        get { [:] }
        set { _ = newValue }
    }
    var logLevel: Logger.Level {
        get { .info }
        set { _ = newValue }
    }
    subscript(metadataKey _: String) -> Logger.Metadata.Value? {
        get { nil }
        set { _ = newValue }
    }
    func log(event: LogEvent) {
        let extra = (event.metadata ?? [:]).sorted { $0.key < $1.key }
            .map { "\($0.key)=\($0.value)" }.joined(separator: " ")
        self.lines.withLock { $0.append((event.level, "\(event.message) \(extra)")) }
    }
    var texts: [String] { self.lines.withLock { $0.map(\.text) } }
}

/// One connection to a listener with `proxy_protocol`, on an embedded channel.
final class ProxyDesk {
    let loop = EmbeddedEventLoop()
    let channel: EmbeddedChannel
    let door: ProxyDoor
    let queue = FakeDoor()
    let shared: SessionContext
    let registry = SessionRegistry()

    init(
        _ settings: Settings = Desk.settings(), balancer: String = "10.0.0.5",
        ledger: Ledger = Ledger(), trap: LogTrap = LogTrap(), door: ProxyDoor? = nil
    ) throws {
        var listener = Settings.Listener()
        listener.proxyProtocol = true
        listener.proxyTrusted = [try #require(AddressRange("10.0.0.0/24"))]
        let log = Logger(label: "test", factory: { _ in trap })
        let policy = ReceptionPolicy(settings, users: nil)
        self.door = door ?? ProxyDoor(listener, log: log)
        self.shared = SessionContext(
            door: self.queue, verifier: nil, ledger: ledger,
            authenticator: Authenticator(ledger: ledger), meters: ReceptionMeters(), log: log,
            face: ListenerFace(proxy: self.door), rules: SessionRules(settings, listener, policy))
        self.channel = EmbeddedChannel(loop: self.loop)
        try self.channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 25)).wait()
        let peer = try #require(IPAddress(balancer))
        let (channel, shared, registry) = (self.channel, self.shared, self.registry)
        let face = shared.currentFace
        try self.channel.pipeline.syncOperations.addHandler(
            ProxyHandler(
                self.shared, self.door, peer: peer, onStart: { registry.add($0) },
                onEnd: { registry.remove($0) }
            ) { caller, rest in
                try Reception.addSession(to: channel, shared, face, registry, caller, rest)
            })
    }

    func said() throws -> String {
        var text = ""
        while let piece = try self.channel.readOutbound(as: ByteBuffer.self) {
            text += String(buffer: piece)
        }
        return text.split(separator: "\r\n").joined(separator: "\n")
    }

    @discardableResult
    func send(_ bytes: [UInt8]) throws -> String {
        if self.channel.isActive { try self.channel.writeInbound(ByteBuffer(bytes: bytes)) }
        self.loop.run()
        return try self.said()
    }

    @discardableResult
    func send(_ text: String) throws -> String { try self.send(Array(text.utf8)) }
}

@Suite("PROXY header in front of a session")
struct ProxyHandlerTests {
    private static let line = "PROXY TCP4 203.0.113.9 192.0.2.25 40000 25\r\n"
    private static let greeting = "220 mx.example ESMTP Posthouse"

    @Test func `the banner waits for the header; then the client's address is the header's`() throws
    {
        for header in [Array(Self.line.utf8), ProxyBytes.binary(ProxyBytes.v4)] {
            let desk = try ProxyDesk()
            for byte in header.dropLast() { #expect(try desk.send([byte]) == "") }
            #expect(try desk.send([header[header.count - 1]]) == Self.greeting)
            try desk.send("EHLO client.example\r\n")
            try desk.send("MAIL FROM:<a@x>\r\nRCPT TO:<b@ours.example>\r\nDATA\r\n")
            #expect(try desk.send("x: y\r\n\r\n.\r\n") == "250 2.0.0 Ok id=1-1")
            let message = desk.queue.messages[0]
            #expect(message.receivedFrom == "[203.0.113.9]")
            #expect(
                message.head.hasPrefix("Received: from client.example ([203.0.113.9])\r\n"))
            try desk.send("QUIT\r\n")
            #expect(!desk.channel.isActive)
            #expect(desk.shared.ledger.sessions == 0)
        }
    }

    @Test func `relay rules ask for the header's address, not for the balancer's`() throws {
        let settings = Desk.settings { settings in
            settings.relay.allow = [AddressRange("203.0.113.9")!, AddressRange("10.0.0.0/8")!]
        }
        func relays(_ header: [UInt8], by balancer: String = "10.0.0.5") throws -> String {
            let desk = try ProxyDesk(settings, balancer: balancer)
            try desk.send(header)
            try desk.send("EHLO x\r\nMAIL FROM:<a@x>\r\n")
            return String(try desk.send("RCPT TO:<b@far.example>\r\n").prefix(9))
        }
        #expect(try relays(Array(Self.line.utf8)) == "250 2.1.5")
        let other = Self.line.replacing("113.9", with: "113.8")
        #expect(try relays(Array(other.utf8)) == "550 5.7.1")
        // The balancer is in `relay.allow`; what names no client is not trusted for that.
        #expect(try relays(Array("PROXY UNKNOWN\r\n".utf8)) == "550 5.7.1")
        #expect(try relays(ProxyBytes.binary(0x20, 0, [])) == "550 5.7.1")
        #expect(try relays(ProxyBytes.binary(0x21, 0, [])) == "550 5.7.1")
    }

    @Test func `loopback in the header of another machine is not ours`() throws {
        let line = "PROXY TCP4 127.0.0.1 192.0.2.25 40000 25\r\n"
        for (balancer, reply) in [("10.0.0.5", "550"), ("127.0.0.1", "250")] {
            let desk = try ProxyDesk(balancer: balancer)
            try desk.send(line + "")
            try desk.send("EHLO x\r\nMAIL FROM:<a@x>\r\n")
            #expect(try desk.send("RCPT TO:<b@far.example>\r\n").hasPrefix(reply))
        }
    }

    @Test func `LOCAL and UNKNOWN are answered, may send to our domains, and are not logged`()
        throws
    {
        for header in [ProxyBytes.binary(0x20, 0, []), Array("PROXY UNKNOWN\r\n".utf8)] {
            let trap = LogTrap()
            let desk = try ProxyDesk(trap: trap)
            #expect(try desk.send(header) == Self.greeting)
            try desk.send("EHLO check\r\n")
            #expect(try desk.send("MAIL FROM:<>\r\nRCPT TO:<b@ours.example>\r\n").contains("2.1.5"))
            try desk.send("QUIT\r\n")
            #expect(trap.texts == [])
        }
    }

    @Test func `what comes with the header, before the banner, is early talk`() throws {
        for delay in [Duration.zero, .seconds(2)] {
            let desk = try ProxyDesk(Desk.settings { $0.relay.earlyTalkerDelay = delay })
            let said = try desk.send(Self.line + "EHLO x\r\n")
            desk.loop.advanceTime(by: .seconds(2))
            #expect(try said + desk.said() == "554 5.5.1 Wait for the greeting")
            #expect(!desk.channel.isActive)
        }
        let late = try ProxyDesk(Desk.settings { $0.relay.earlyTalkerDelay = .seconds(2) })
        #expect(try late.send(Self.line) == "")
        #expect(try late.send("EHLO x\r\n") == "")
        late.loop.advanceTime(by: .seconds(2))
        #expect(try late.said() == "554 5.5.1 Wait for the greeting")
    }

    @Test func `a header has 5 s, whole; late and garbled ones are closed without a word`() throws {
        let desk = try ProxyDesk()
        desk.loop.advanceTime(by: .milliseconds(4999))
        #expect(try desk.send(Self.line) == Self.greeting)
        let trap = LogTrap()
        let late = try ProxyDesk(trap: trap)
        try late.send("PROXY ")
        late.loop.advanceTime(by: .milliseconds(4999))
        #expect(late.channel.isActive)
        late.loop.advanceTime(by: .milliseconds(1))
        #expect(!late.channel.isActive)
        #expect(try late.said() == "")
        #expect(trap.texts.count == 1 && trap.texts[0].contains("reason=timeout"))
        for (bytes, reason) in [("EHLO x\r\n", "missing"), ("PROXY TCP9 x\r\n", "malformed")] {
            let trap = LogTrap()
            let desk = try ProxyDesk(trap: trap)
            #expect(try desk.send(bytes) == "")
            #expect(!desk.channel.isActive)
            #expect(trap.texts[0].contains("peer=10.0.0.5 reason=\(reason) "))
        }
    }

    @Test func `one line of log a minute and reason, which counts the others`() throws {
        let trap = LogTrap()
        let door = try ProxyDesk(trap: trap).door
        let peer = try #require(IPAddress("192.0.2.66"))
        let start = Instant(nanoseconds: 1_000_000_000)
        for second in 0..<60 { door.note(.untrusted, from: peer, at: start + .seconds(second)) }
        door.note(.missing, from: peer, at: start + .seconds(1))
        #expect(trap.texts.count == 2)
        door.note(.untrusted, from: peer, at: start + .seconds(60))
        #expect(trap.texts.count == 3)
        #expect(trap.texts[2].contains("others=59"))
    }

    @Test func `so many may wait for their header, one more is closed`() throws {
        let first = try ProxyDesk()
        for _ in 1..<ProxyDoor.Limit.waiting { #expect(first.door.enter()) }
        let more = try ProxyDesk(door: first.door)
        #expect(!more.channel.isActive)
        first.door.leave()
        let again = try ProxyDesk(door: first.door)
        #expect(try again.send(Self.line) == Self.greeting)
        // It has its header now and waits no more.
        #expect(first.door.enter())
        #expect(!first.door.enter())
    }

    @Test func `sessions are counted by the header's address, the balancer's own are not`() throws {
        let settings = Desk.settings { $0.relay.maxSessionsPerAddress = 1 }
        let ledger = Ledger()
        var desks: [ProxyDesk] = []
        for (header, code) in [
            (Self.line, "220"), (Self.line, "421"),
            (Self.line.replacing("3.9", with: "3.8"), "220"),
            ("PROXY UNKNOWN\r\n", "220"), ("PROXY UNKNOWN\r\n", "220"),
        ] {
            let desk = try ProxyDesk(settings, ledger: ledger)
            desks.append(desk)
            #expect(try desk.send(header).hasPrefix(code))
        }
        #expect(ledger.sessions == 4)
        for desk in desks { _ = try desk.channel.finish(acceptAlreadyClosed: true) }
        #expect(ledger.sessions == 0)
    }

    @Test func `a look at the port is no fault; an end within the header is`() throws {
        let trap = LogTrap()
        _ = try ProxyDesk(trap: trap).channel.finish(acceptAlreadyClosed: true)
        #expect(trap.texts == [])
        let cut = try ProxyDesk(trap: trap)
        try cut.send("PROXY TCP4")
        _ = try cut.channel.finish(acceptAlreadyClosed: true)
        #expect(trap.texts.count == 1 && trap.texts[0].contains("reason=cut_off"))
    }

    @Test func `a node that stops closes those that wait for their header`() throws {
        let desk = try ProxyDesk()
        let done = desk.loop.makePromise(of: Void.self)
        desk.registry.stop(by: .distantFuture, on: desk.loop, done)
        desk.loop.run()
        #expect(!desk.channel.isActive)
        try done.futureResult.wait()
    }

    @Test func `only ranges of the listener are believed`() throws {
        let door = try ProxyDesk().door
        for (address, isTrusted) in [
            ("10.0.0.0", true), ("10.0.0.255", true), ("::ffff:10.0.0.7", true),
            ("10.0.1.0", false), ("127.0.0.1", false), ("::1", false),
        ] {
            #expect(door.trusts(try #require(IPAddress(address))) == isTrusted, "\(address)")
        }
    }
}
