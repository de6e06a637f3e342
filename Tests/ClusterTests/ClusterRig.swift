import Foundation
import Logging
import MailQueue
import NIOCore
import NIOPosix
import OpenSSL
import Primitives
import SMTP
import Settings
import Storage
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
    private var ports: [Int] = []
    var members: [Member] = []

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
                by: ca, name: name, hosts: ["127.0.0.1"], validity: validity)
            try self.write("\(name).pem", issued.certificate)
            try self.write("\(name).key", issued.key)
        }
    }

    /// Ports on which nobody listens now.
    private func choosePorts() async throws {
        var held: [any Channel] = []
        for _ in Self.names + Self.others {
            held.append(
                try await ServerBootstrap(group: self.loops).bind(host: "127.0.0.1", port: 0).get())
        }
        self.ports = held.compactMap { $0.localAddress?.port }
        for channel in held { try await channel.close() }
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
        cluster.listen = Endpoint(host: "127.0.0.1", port: self.ports[place])
        cluster.seeds = zip(Self.names, self.ports).map {
            Settings.Seed(name: $0, endpoint: Endpoint(host: "127.0.0.1", port: $1))
        }
        cluster.ca = "\(self.directory)/ca.pem"
        cluster.certificate = "\(self.directory)/\(name).pem"
        cluster.key = "\(self.directory)/\(name).key"
        settings.cluster = cluster
        return settings
    }

    func open(_ place: Int) throws -> Member {
        var options = StorageOptions()
        options.segmentBytes = 4 << 20
        options.reserveBytes = 1 << 20
        options.lowWaterBytes = 1 << 20
        var logger = Logger(label: self.settings(place).node.name)
        logger.logLevel = .notice
        let running = try RunningNode.open(
            self.settings(place), loops: self.loops, logger: logger, options: options
        ) { error in Issue.record("\(error)") }
        let taker = Taker()
        running.desk.attach(taker)
        return Member(running: running, taker: taker)
    }

    /// Opens all and waits until each has its session.
    func start() async throws {
        try await self.choosePorts()
        for place in Self.names.indices { self.members.append(try self.open(place)) }
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

    func restart(_ place: Int) async throws {
        self.members[place] = try self.open(place)
        try await self.members[place].running.start()
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
                leader = leader ?? name.flatMap { Self.names.firstIndex(of: $0) }
            }
            return leader != nil
        }
        return try #require(leader)
    }

    func send(
        _ place: Int, _ content: [UInt8], to recipient: String = "b@sink.test"
    ) async throws -> IntakeVerdict {
        let loop = self.members[place].running.node.loop
        let intake = self.members[place].running.intake
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
