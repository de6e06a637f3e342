// House.swift - one running node with all its rooms, in the order of start and stop.

import Admin
import Cluster
import Console
import Delivery
import Glibc
import Logging
import Metrics
import NIOCore
import NIOPosix
import Networking
import OpenSSL
import Primitives
import Reception
import Settings
import Storage
import Synchronization

/// Why the node does not start: what to do, and the exit code.
struct StartFailure: Error {
    var remedy: String
    var status: ExitStatus
}

final class House: Sendable {
    /// SIGTERM is done within ten seconds with healthy peers, and in 6.5 s more if a balancer asks.
    private static let grace = Duration.seconds(8)

    private let loops: MultiThreadedEventLoopGroup
    private let node: RunningNode
    private let resolver: Networking.Resolver
    private let delivery: DeliveryService
    private let reception: Reception
    private let adminTask: Task<Void, any Error>
    /// As at the start: it changes at a restart only, and so do the names to which nothing is sent.
    private let hostname: String
    private let settings: Mutex<Settings>
    private let logger: Logger

    private init(
        loops: MultiThreadedEventLoopGroup, node: RunningNode, resolver: Networking.Resolver,
        delivery: DeliveryService, reception: Reception,
        adminTask: Task<Void, any Error>, settings: Settings, logger: Logger
    ) {
        self.loops = loops
        self.node = node
        self.resolver = resolver
        self.delivery = delivery
        self.reception = reception
        self.adminTask = adminTask
        self.hostname = settings.node.hostname
        self.settings = Mutex(settings)
        self.logger = logger
    }

    static func open(
        _ settings: Settings, loops: MultiThreadedEventLoopGroup, sink: LogSink
    ) async throws(StartFailure) -> House {
        let registry = PrometheusRegistry()
        MetricsSystem.bootstrap(registry)
        let logger = Logger(label: "posthouse")
        let node = try Self.openNode(settings, loops: loops, logger: logger, sink: sink)
        let resolver = try Self.resolver(settings)
        let delivery = try Self.delivery(
            settings, node: node, resolver: resolver, loops: loops, logger: logger)
        // Leases come with the session: whoever takes them must be there first.
        node.desk.attach(delivery)
        // A node that waits for others answers what it waits for.
        let adminTask = try await Self.admin(
            settings, node: node, registry: registry, loops: loops, logger: logger)
        do {
            try await node.start()
        } catch {
            throw StartFailure(remedy: "\(error)", status: .configuration)
        }
        let reception = try await Self.reception(
            settings, node: node, delivery: delivery, loops: loops, logger: logger)
        let ourselves = Self.ourselves(settings, bound: reception.addresses)
        delivery.reload(Routing(settings, ourselves: ourselves))
        node.whenDrained { reception.endIdle() }
        return House(
            loops: loops, node: node, resolver: resolver, delivery: delivery,
            reception: reception, adminTask: adminTask, settings: settings, logger: logger)
    }

    private static func openNode(
        _ settings: Settings, loops: MultiThreadedEventLoopGroup, logger: Logger, sink: LogSink
    ) throws(StartFailure) -> RunningNode {
        do {
            return try RunningNode.open(settings, loops: loops, logger: logger) { error in
                // Nothing is acknowledged any more. Whoever is connected tries again elsewhere.
                sink.flush()
                say("posthouse: \(error.remedy)")
                // Not `exit`: it would take the libraries down under threads that still run.
                _exit(ExitStatus.internalFault.rawValue)
            }
        } catch {
            throw StartFailure(remedy: error.remedy, status: .internalFault)
        }
    }

    private static func resolver(_ settings: Settings) throws(StartFailure) -> Networking.Resolver {
        var configuration = Networking.Resolver.Configuration()
        configuration.servers = settings.dns.servers
        configuration.trustAnchor = settings.dns.dnssec ? settings.dns.trustAnchor : nil
        do {
            return try Networking.Resolver(configuration)
        } catch {
            throw StartFailure(
                remedy: "\(error.detail); \(error.remedy)", status: .configuration)
        }
    }

    private static func delivery(
        _ settings: Settings, node: RunningNode, resolver: Networking.Resolver,
        loops: MultiThreadedEventLoopGroup, logger: Logger
    ) throws(StartFailure) -> DeliveryService {
        do {
            return DeliveryService(
                desk: node.desk,
                routing: Routing(settings, ourselves: Self.ourselves(settings, bound: [])),
                names: NameService(resolver), trust: try ClientTrust(),
                loops: Array(loops.makeIterator()), seed: Secrets.randomWord(), log: logger)
        } catch {
            throw StartFailure(
                remedy: "\(error.detail); \(error.remedy)", status: .configuration)
        }
    }

    /// Names and addresses to which no mail is relayed: it would come back.
    ///
    /// - Parameter bound: where the listeners are.
    private static func ourselves(
        _ settings: Settings, bound: [(address: IPAddress, port: Int)]
    ) -> Ourselves {
        var local: [IPAddress] = []
        // Without the list only names and listeners count as ours.
        if let devices = try? System.enumerateDevices() {
            local = devices.compactMap { $0.address?.ipAddress.flatMap { IPAddress($0) } }
        }
        return Ourselves(names: [settings.node.hostname], endpoints: bound, local: local)
    }
}

// MARK: The doors

extension House {
    private static func reception(
        _ settings: Settings, node: RunningNode, delivery: DeliveryService,
        loops: MultiThreadedEventLoopGroup, logger: Logger
    ) async throws(StartFailure) -> Reception {
        do {
            let reception = try Reception(
                settings, intake: node.intake,
                verifier: CallAhead(prober: RecipientProber(delivery)), loops: loops, log: logger)
            try await reception.start().get()
            for place in reception.addresses {
                say("listening smtp \(Endpoint(host: "\(place.address)", port: place.port))")
            }
            return reception
        } catch let fault as ReceptionFault {
            throw StartFailure(
                remedy: "\(fault.detail); \(fault.remedy)", status: .configuration)
        } catch let failure as ListenFailure {
            throw StartFailure(
                remedy: "\(failure.detail); \(failure.remedy)", status: .inputOutput)
        } catch {
            throw StartFailure(remedy: "cannot listen: \(error)", status: .inputOutput)
        }
    }

    private static func admin(
        _ settings: Settings, node: RunningNode, registry: PrometheusRegistry,
        loops: MultiThreadedEventLoopGroup, logger: Logger
    ) async throws(StartFailure) -> Task<Void, any Error> {
        var secure: (@Sendable (any Channel) throws -> Void)?
        if !settings.admin.certificate.isEmpty {
            let store: CertificateStore
            do {
                store = try CertificateStore([
                    CertificateFiles(
                        certificate: settings.admin.certificate, key: settings.admin.key)
                ])
            } catch {
                throw StartFailure(
                    remedy: "\(error.detail); \(error.remedy)", status: .configuration)
            }
            store.watch(on: loops.next()) { _ in }
            secure = { channel in
                try channel.pipeline.syncOperations.addHandler(
                    TLSHandler(
                        try store.current.makeConnection(), handshakeTimeout: .seconds(10)))
            }
        }
        let (bound, boundSource) = AsyncStream<Int>.makeStream()
        let server = AdminServer(
            node: ClusterNode(node.view), settings: settings, secure: secure, metrics: registry,
            group: loops, logger: logger
        ) { boundSource.yield($0) }
        let task = Task {
            defer { boundSource.finish() }
            try await server.run()
        }
        for await port in bound {
            say("listening admin \(Endpoint(host: settings.admin.listen.host, port: port))")
            return task
        }
        switch await task.result {
        case .success:
            throw StartFailure(remedy: "the admin interface ended at once", status: .inputOutput)
        case .failure(let error):
            throw StartFailure(
                remedy: "cannot listen on admin.listen \(settings.admin.listen): \(error)",
                status: .inputOutput)
        }
    }

    /// SIGHUP: all of the new settings that can change at run time, or none.
    func reload(path: String) async {
        let fresh: Settings
        do {
            fresh = try SettingsParser.load(path)
        } catch {
            self.logger.error(
                "settings not reloaded: the old ones stay", metadata: ["faults": "\(error)"])
            return
        }
        guard await self.reloadReception(fresh) else { return }
        self.node.reload(fresh)
        let old = self.settings.withLock { settings in
            defer { settings = fresh }
            return settings
        }
        var ours = fresh
        ours.node.hostname = self.hostname
        self.delivery.reload(
            Routing(fresh, ourselves: Self.ourselves(ours, bound: self.reception.addresses)))
        var waiting: [String] = []
        if old.node != fresh.node { waiting.append("node") }
        if old.cluster != fresh.cluster { waiting.append("cluster") }
        if old.dns != fresh.dns { waiting.append("dns") }
        if old.admin != fresh.admin { waiting.append("admin") }
        self.logger.notice("settings reloaded")
        for warning in fresh.warnings { self.logger.warning("\(warning)") }
        if waiting.isEmpty { return }
        self.logger.warning(
            "some changes need a restart",
            metadata: ["tables": "\(waiting.joined(separator: ", "))"])
    }

    /// False: nothing has changed, and it has been said why.
    private func reloadReception(_ fresh: Settings) async -> Bool {
        let reason: String
        do {
            for place in try await self.reception.reload(fresh).get() {
                say("listening smtp \(Endpoint(host: "\(place.address)", port: place.port))")
            }
            return true
        } catch let fault as ReceptionFault {
            reason = "\(fault.detail); \(fault.remedy)"
        } catch let failure as ListenFailure {
            reason = "\(failure.detail); \(failure.remedy)"
        } catch {
            reason = "\(error)"
        }
        self.logger.error(
            "settings not reloaded: the old ones stay", metadata: ["faults": "\(reason)"])
        return false
    }

    /// The end, in order; done within `grace` and what the disk needs.
    func stop() async {
        self.logger.notice("stopping")
        self.node.leave()
        await self.node.waitForBalancers()
        self.node.refuseNewMail()
        do {
            try await self.reception.stop(within: Self.grace).get()
            try await self.delivery.stop(within: Self.grace).get()
        } catch {
            self.logger.error("a part did not stop in order", metadata: ["error": "\(error)"])
        }
        await self.node.stop()
        self.adminTask.cancel()
        self.resolver.shutdown()
        self.logger.notice("stopped")
    }
}

/// Joins Reception's question with Delivery's answer; neither knows the other.
private struct CallAhead: RecipientVerifier {
    let prober: RecipientProber

    func verify(
        _ address: String, on loop: any EventLoop,
        answer: @escaping @Sendable (RecipientAnswer) -> Void
    ) {
        self.prober.probe(address, on: loop) { found in
            switch found {
            case .valid: answer(.valid)
            case .invalid(let reply): answer(.invalid(reply))
            case .unknown: answer(.unknown)
            }
        }
    }
}
