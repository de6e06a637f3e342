import Foundation
import Logging
import MailQueue
import NIOCore
import NIOPosix
import Networking
import OpenSSL
import Primitives
import SMTP
import Settings
import Spool
import Storage
import Synchronization
import Testing

@testable import Cluster

/// Several nodes in one process: real sockets, real TLS, real disks.
final class ClusterRig {
    struct Member {
        var running: RunningNode
        var taker: Taker
        var isAlive = true
    }
    static let names = ["a", "b", "c"]
    /// Not among the seeds, and not started by `start`.
    static let others = ["d"]
    let directory: String
    let loops = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    /// Of each member that is opened from now on.
    var limits = SnapshotLimits()
    var lowWaterBytes = 1 << 20
    var members: [Member] = []
    /// Sealed segments that are kept before the oldest is evacuated.
    var youngSegments = 4
    /// Between two looks of the storage at its old files; all of them are looked at in sixty.
    var upkeepInterval = Duration.seconds(1)
    /// Of each member that is opened from now on: how far its wall clock is ahead of this
    /// machine's.
    var wallsAhead: [Duration] = [.zero, .zero, .zero, .zero]
    /// How many of `names` are seeds, and founders.
    var seedCount = ClusterRig.names.count
    /// Nodes that are opened have no table `[cluster]`.
    var isWithoutTable = false
    /// `cluster.copies`.
    var copies: Int?
    /// `cluster.session_time`.
    var sessionTime = Settings.Cluster().sessionTime

    init() throws {
        let template = FileManager.default.temporaryDirectory.path + "/cluster-XXXXXX"
        var bytes = Array(template.utf8CString)
        self.directory = try #require(mkdtemp(&bytes).map { String(cString: $0) })
        let now = WallTime(milliseconds: Int64(Date().timeIntervalSince1970 * 1000))
        let validity = CertificateAuthority.Validity.years(1, from: now)
        let ca = try CertificateAuthority.make(name: "test", validity: validity)
        try self.write("ca.pem", ca.certificate)
        for name in Self.names + Self.others {
            let issued = try CertificateAuthority.issue(
                by: ca, name: name, hosts: [self.address], validity: validity)
            try self.write("\(name).pem", issued.certificate)
            try self.write("\(name).key", issued.key)
        }
    }

    private static let rigs = Atomic<Int>(0)

    /// Of this rig alone: no connection and no server of another test is there, so a node that
    /// comes back finds its port free.
    let address: String = {
        let number = ClusterRig.rigs.add(1, ordering: .relaxed).newValue
        let process = Int(getpid())
        return "127.\(64 + process % 128).\(process / 128 % 250).\(number % 250 + 1)"
    }()

    private func endpoint(_ place: Int) -> Endpoint {
        Endpoint(host: self.address, port: 7651 + place)
    }

    private func write(_ name: String, _ text: String) throws {
        try text.write(toFile: "\(self.directory)/\(name)", atomically: true, encoding: .utf8)
    }

    func settings(_ place: Int) -> Settings {
        let name = (Self.names + Self.others)[place]
        var settings = Settings()
        settings.node.name = name
        settings.node.hostname = "relay.test"
        settings.node.data = "\(self.directory)/data-\(name)"
        var cluster = Settings.Cluster()
        cluster.name = "test"
        cluster.listen = self.endpoint(place)
        cluster.seeds = Self.names.indices.prefix(self.seedCount).map {
            Settings.Seed(name: Self.names[$0], endpoint: self.endpoint($0))
        }
        cluster.copies = self.copies
        cluster.sessionTime = self.sessionTime
        cluster.ca = "\(self.directory)/ca.pem"
        cluster.certificate = "\(self.directory)/\(name).pem"
        cluster.key = "\(self.directory)/\(name).key"
        if !self.isWithoutTable { settings.cluster = cluster }
        return settings
    }

    func open(_ place: Int) throws -> Member {
        var options = StorageOptions()
        options.segmentBytes = 4 << 20
        options.youngSegments = self.youngSegments
        options.upkeepInterval = self.upkeepInterval
        options.reserveBytes = 1 << 20
        options.lowWaterBytes = self.lowWaterBytes
        var logger = Logger(label: self.settings(place).node.name)
        logger.logLevel = .notice
        let ahead = self.wallsAhead[place]
        let running = try RunningNode.open(
            self.settings(place), loops: self.loops, logger: logger, options: options,
            wallClock: { SystemClock.wallTime() + ahead }
        ) { error in Issue.record("\(error)") }
        running.node.snapshotLimits = self.limits
        let taker = Taker()
        running.desk.attach(taker)
        return Member(running: running, taker: taker)
    }

    /// Opens all and waits until each has its session.
    func start() async throws {
        for place in 0..<self.seedCount { self.members.append(try self.open(place)) }
        try await withThrowingTaskGroup { group in
            for member in self.members {
                let running = member.running
                group.addTask { try await running.start() }
            }
            try await group.waitForAll()
        }
    }

    /// As a killed process: its links are reset, its disk is as it was synced, nothing is said.
    func kill(_ place: Int) async throws {
        self.members[place].isAlive = false
        let node = self.members[place].running.node
        try await node.loop.flatSubmit {
            for timer in node.timers { timer.cancel() }
            node.phase = .stopped
            return node.mesh?.stop() ?? node.loop.makeSucceededVoidFuture()
        }.get()
        node.storage.close()
    }

    /// A killed node is there again, and waits to be started.
    func reopen(_ place: Int) async throws {
        try await self.wait { try self.isFree(place) }
        self.members[place] = try self.open(place)
    }

    func restart(_ place: Int) async throws {
        try await self.reopen(place)
        try await self.members[place].running.start()
    }

    /// Whether nobody listens at the node's place. A process that another test starts at this very
    /// moment has what we had open, until it is another program.
    private func isFree(_ place: Int) throws -> Bool {
        let endpoint = self.endpoint(place)
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        var one: Int32 = 1
        setsockopt(
            descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(endpoint.port).bigEndian
        inet_pton(AF_INET, endpoint.host, &address.sin_addr)
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }

    /// A node that is no seed; returns when it has its session.
    func startAnother() async throws -> Int {
        let place = self.members.count
        self.members.append(try self.open(place))
        try await self.members[place].running.start()
        return place
    }

    /// A killed node gets an empty disk and is started again.
    func replaceDisk(_ place: Int) async throws {
        try FileManager.default.removeItem(atPath: self.settings(place).node.data)
        try await self.restart(place)
    }

    /// Looks again and again until it holds; the suite's time limit ends what never does.
    func wait(until isThere: () async throws -> Bool) async throws {
        let loop = self.loops.next()
        while try await !isThere() {
            try Task.checkCancellation()
            try await loop.scheduleTask(in: .milliseconds(10)) {}.futureResult.get()
        }
    }

    func status(_ place: Int) async -> ClusterStatus {
        await self.members[place].running.view.status()
    }

    /// Who leads, as soon as anybody knows.
    func leader() async throws -> Int {
        var leader: Int?
        try await self.wait {
            for place in self.members.indices where self.members[place].isAlive {
                let name = await self.status(place).leader
                let led = name.flatMap { Self.names.firstIndex(of: $0) }
                // One that was killed may be thought to lead for a moment.
                if let led, self.members[led].isAlive { leader = leader ?? led }
            }
            return leader != nil
        }
        return try #require(leader)
    }

    func send(
        _ place: Int, _ content: [UInt8], to recipient: String = "b@sink.test"
    ) async throws -> IntakeVerdict {
        try await Self.send(self.members[place].running, content, to: recipient)
    }

    static func send(
        _ running: RunningNode, _ content: [UInt8], to recipient: String = "b@sink.test"
    ) async throws -> IntakeVerdict {
        let loop = running.node.loop
        let intake = running.intake
        let promise = loop.makePromise(of: IntakeVerdict.self)
        loop.execute {
            guard case .success(let body) = intake.begin(on: loop, resume: {}) else {
                return promise.succeed(.refused(.noLeader))
            }
            var rest = content[...]
            while !rest.isEmpty {
                _ = body.append(ByteBuffer(bytes: rest.prefix(10_000)))
                rest = rest.dropFirst(10_000)
            }
            let recipient = Recipient(address: recipient)
            body.finish(
                envelope: Envelope(sender: "a@client.test", recipients: [recipient]),
                destinations: [String(recipient.domain)],
                head: { ByteBuffer(string: "Received: id \($0.text)\r\n") }
            ) { promise.succeed($0) }
        }
        return try await promise.futureResult.get()
    }

    func end() async throws {
        for member in self.members where member.isAlive { await member.running.stop() }
        try await self.loops.shutdownGracefully()
        try FileManager.default.removeItem(atPath: self.directory)
    }
}

// What tests of bodies do to nodes.
extension ClusterRig {
    /// On the node's loop.
    func on<T: Sendable>(
        _ place: Int, _ body: @escaping @Sendable (Node) throws -> T
    ) async throws -> T {
        let node = self.members[place].running.node
        return try await node.loop.submit { try body(node) }.get()
    }

    /// As a client does: after a 451 it tries again.
    func accepted(_ place: Int, _ content: [UInt8]) async throws -> Primitives.Tag {
        var accepted: Primitives.Tag?
        try await self.wait {
            if case .accepted(let tag) = try await self.send(place, content) { accepted = tag }
            return accepted != nil
        }
        return try #require(accepted)
    }

    func accepted(_ place: Int, _ text: String) async throws -> Primitives.Tag {
        try await self.accepted(place, Array(text.utf8))
    }

    /// Nodes that have a copy of the message, as this node's state says.
    func holders(_ tag: Primitives.Tag, by place: Int) async throws -> [Int] {
        let holders = try await self.on(place) { $0.machine.queue.holders(of: tag) ?? [] }
        return holders.compactMap { Self.names.firstIndex(of: $0.node) }
    }

    /// What lies on the node's disk as its copy of the message, if that is right.
    func ownCopy(_ tag: Primitives.Tag, _ place: Int) async throws -> [UInt8]? {
        let own = try await self.on(place) { $0.ownTag(of: tag) }
        guard let own else { return nil }
        let storage = self.members[place].running.node.storage
        let result: Result<StoredBody, BodyError> = await withCheckedContinuation { continuation in
            storage.readBody(own) { continuation.resume(returning: $0) }
        }
        guard case .success(let body) = result else { return nil }
        return body.content
    }

    /// Reads all of a body as Delivery does, piece by piece.
    func read(_ tag: Primitives.Tag, _ place: Int) async throws -> Result<[UInt8], BodyReadError> {
        let desk = self.members[place].running.desk
        let loop = self.members[place].running.node.loop
        let promise = loop.makePromise(of: Result<[UInt8], BodyReadError>.self)
        @Sendable func next(_ source: BodySource, _ content: [UInt8]) {
            source.next(on: loop) { result in
                switch result {
                case .success(let piece):
                    let content = content + Array(buffer: piece.bytes)
                    if piece.isLast {
                        promise.succeed(.success(content))
                    } else {
                        next(source, content)
                    }
                case .failure(let error): promise.succeed(.failure(error))
                }
            }
        }
        loop.execute {
            desk.openBody(of: tag, on: loop) { result in
                switch result {
                case .success(let source): next(source, [])
                case .failure(let error): promise.succeed(.failure(error))
                }
            }
        }
        return try await promise.futureResult.get()
    }

    /// Changes the node's disk where `bytes` stand: in how many files.
    @discardableResult
    func damage(_ bytes: [UInt8], _ place: Int) throws -> Int {
        let data = "\(self.directory)/data-\(Self.names[place])"
        return try changeBytes(bytes, in: [data + "/journal", data + "/bodies"])
    }

    /// Content that does not compress, so that its bytes can be found on the disk.
    static func content(_ size: Int, seed: UInt64 = 1) -> [UInt8] {
        var dice = Generator(seed: seed)
        var content = Array("Subject: here\r\n\r\n".utf8)
        content.reserveCapacity(size + 8)
        while content.count < size {
            withUnsafeBytes(of: dice.next()) { content.append(contentsOf: $0) }
        }
        return content
    }
}
