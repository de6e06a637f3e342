// Reception.swift - all listeners of a node: opened, reloaded, stopped.
//
// Takes     settings, the queue's intake, and whoever can verify recipients.
// Gives     sessions on the loops that it was given.
// Fails     with a fault that names the file or the port and what to do about it.
// See       SessionHandler (one connection), ReceptionPolicy (who may do what).

package import Cluster
package import Logging
package import NIOCore
import Networking
import OpenSSL
package import Primitives
import SMTP
package import Settings
import Synchronization

/// Why reception cannot start or reload; what was in force stays so.
package struct ReceptionFault: Error, Equatable, Sendable {
    /// What is wrong, in one line.
    package let detail: String
    /// What the operator does about it.
    package let remedy: String
}

/// One per node.
package final class Reception: Sendable {
    /// A listener and what its sessions share.
    private struct Port: Sendable {
        var settings: Settings.Listener
        var context: SessionContext
    }

    private let loops: [any EventLoop]  // existential: NIO's own type
    private let group: any EventLoopGroup  // existential: NIO's own type
    private let registries: [ObjectIdentifier: NIOLoopBoundBox<SessionRegistry>]
    private let ports: [Port]
    private let ledger = Ledger()
    private let memory = ContentMemory()
    private let log: Logger
    private let files: FileAccess
    private let listeners = Mutex<[Listener]>([])

    /// Reads certificates and users; opens nothing.
    package convenience init(
        _ settings: Settings, intake: Intake, verifier: (any RecipientVerifier)?,
        loops: any EventLoopGroup, log: Logger
    ) throws(ReceptionFault) {
        try self.init(settings, door: intake, verifier: verifier, loops: loops, log: log)
    }

    init(
        _ settings: Settings, door: any MessageDoor, verifier: (any RecipientVerifier)?,
        loops: any EventLoopGroup, log: Logger, files: FileAccess = .system
    ) throws(ReceptionFault) {
        let policy = try Self.policy(settings, files)
        let authenticator = Authenticator(ledger: self.ledger)
        let meters = ReceptionMeters()
        self.group = loops
        self.loops = Array(loops.makeIterator())
        self.log = log
        self.files = files
        var registries: [ObjectIdentifier: NIOLoopBoundBox<SessionRegistry>] = [:]
        for loop in self.loops {
            registries[ObjectIdentifier(loop)] = .makeBoxSendingValue(
                SessionRegistry(), eventLoop: loop)
        }
        self.registries = registries
        var ports: [Port] = []
        for listener in settings.listeners {
            ports.append(
                Port(
                    settings: listener,
                    context: SessionContext(
                        door: door, verifier: verifier, ledger: self.ledger,
                        memory: self.memory, authenticator: authenticator, meters: meters, log: log,
                        certificates: try Self.certificates(listener),
                        isImplicit: listener.tls == .implicit,
                        proxy: listener.proxyProtocol ? ProxyDoor(listener, log: log) : nil,
                        rules: SessionRules(settings, listener, policy))))
        }
        self.ports = ports
    }

    private static func policy(
        _ settings: Settings, _ files: FileAccess
    ) throws(ReceptionFault) -> ReceptionPolicy {
        let path = settings.relay.users
        guard !path.isEmpty else { return ReceptionPolicy(settings, users: nil) }
        let bytes: [UInt8]
        do throws(FileAccess.Failure) {
            bytes = try files.read(path)
        } catch {
            throw ReceptionFault(
                detail: "relay.users: \(path) \(error.text)",
                remedy: "Make it with `posthouse user add NAME --file \(path)`")
        }
        do throws(UserFileFault) {
            return ReceptionPolicy(
                settings, users: try UserFile(String(decoding: bytes, as: UTF8.self)))
        } catch {
            throw ReceptionFault(
                detail: "\(path):\(error.line): \(error.what)",
                remedy: "Repair the line, or make it anew with `posthouse user add`")
        }
    }

    private static func certificates(
        _ listener: Settings.Listener
    ) throws(ReceptionFault) -> CertificateStore? {
        guard listener.tls != .off else { return nil }
        do throws(OpenSSLError) {
            return try CertificateStore([
                CertificateFiles(certificate: listener.certificate, key: listener.key)
            ])
        } catch {
            throw ReceptionFault(
                detail: "listener \(listener.address): \(error.detail)", remedy: error.remedy)
        }
    }

    /// Sessions that are open.
    package var sessions: Int { self.ledger.sessions }

    /// Where it listens, in the order of the settings; empty before `start`.
    package var addresses: [(address: IPAddress, port: Int)] {
        self.listeners.withLock { $0.map { ($0.address, $0.port) } }
    }

    /// Opens all ports; if one fails, those that were opened are closed again.
    package func start() -> EventLoopFuture<Void> {
        let loop = self.loops[0]
        let log = self.log
        let opened = self.ports.map { port in
            port.context.certificates?.watch(on: loop) { event in Self.report(event, log) }
            return self.open(port, on: loop)
        }
        return EventLoopFuture.whenAllComplete(opened, on: loop).flatMap { results in
            var listeners: [Listener] = []
            var fault: (any Error)?
            for result in results {
                switch result {
                case .success(let listener): listeners.append(listener)
                case .failure(let error): fault = fault ?? error
                }
            }
            guard let fault else {
                self.listeners.withLock { $0 = listeners }
                return loop.makeSucceededVoidFuture()
            }
            return EventLoopFuture.andAllComplete(listeners.map { $0.close() }, on: loop)
                .flatMapThrowing { throw fault }
        }
    }

    private func open(_ port: Port, on loop: any EventLoop) -> EventLoopFuture<Listener> {
        let place = port.settings.address
        guard let address = IPAddress(place.host) else {
            return loop.makeFailedFuture(
                ReceptionFault(
                    detail: "listener.address: \(place.host) is not an IP address",
                    remedy: "Use an address of this machine, or 0.0.0.0"))
        }
        let context = port.context
        let registries = self.registries
        let log = self.log
        return Listener.bind(
            address, port: place.port, on: loop, children: self.group,
            paused: { reason in
                log.warning(
                    "accepting pauses", metadata: ["listener": "\(place)", "reason": "\(reason)"])
            },
            initializer: { channel in
                guard let registry = registries[ObjectIdentifier(channel.eventLoop)] else {
                    unreachable("a session on an event loop that reception does not know")
                }
                try Self.addHandlers(to: channel, context, registry.value)
            })
    }

    private static func addHandlers(
        to channel: any Channel, _ context: SessionContext, _ registry: SessionRegistry
    ) throws {
        // A client that went away while it was accepted has no address any more.
        guard let remote = channel.remoteAddress, let peer = IPAddress(remote) else {
            channel.close(promise: nil)
            return
        }
        guard let door = context.proxy else {
            _ = try Self.addSession(to: channel, context, registry, Caller(peer), ByteBuffer())
            return
        }
        guard door.trusts(peer) else {
            door.note(.untrusted, from: peer, at: SystemClock.bootTime())
            channel.close(promise: nil)
            return
        }
        try channel.pipeline.syncOperations.addHandler(
            ProxyHandler(
                context, door, peer: peer, onStart: { registry.add($0) },
                onEnd: { registry.remove($0) }
            ) { caller, rest in
                try Self.addSession(to: channel, context, registry, caller, rest)
            })
    }

    /// Adds TLS, if it begins with the connection, and the session.
    ///
    /// - Parameter arrived: what came behind a PROXY header.
    /// - Returns: what of it is to go through the new handlers: the begin of a handshake.
    static func addSession(
        to channel: any Channel, _ context: SessionContext, _ registry: SessionRegistry,
        _ caller: Caller, _ arrived: ByteBuffer
    ) throws -> ByteBuffer {
        let handler = SessionHandler(
            context, caller: caller, arrived: context.isImplicit ? ByteBuffer() : arrived,
            onStart: { registry.add($0) }, onEnd: { registry.remove($0) })
        let pipeline = channel.pipeline.syncOperations
        if context.isImplicit, let store = context.certificates {
            let limit = handler.rules.limits.handshake
            try pipeline.addHandler(
                TLSHandler(store.current.makeConnection(), handshakeTimeout: limit))
        }
        try pipeline.addHandler(handler)
        return context.isImplicit ? arrived : ByteBuffer()
    }

    private static func report(_ event: CertificateStore.Event, _ log: Logger) {
        switch event {
        case .reloaded(let certificates):
            log.notice(
                "certificates reloaded",
                metadata: ["names": "\(certificates.first?.names ?? [])"])
        case .rejected(let error):
            log.error(
                "certificates not reloaded, the old ones stay",
                metadata: ["reason": "\(error.detail)", "remedy": "\(error.remedy)"])
        }
    }

    /// Limits of `settings` hold for sessions that begin from now on; relay rules, routes and users
    /// for those that are open too. Listeners stay as they are.
    ///
    /// - Throws: nothing has changed then.
    package func reload(_ settings: Settings) throws(ReceptionFault) {
        let policy = try Self.policy(settings, self.files)
        // All or nothing: a certificate that cannot be used holds up the rest.
        for port in self.ports {
            do throws(OpenSSLError) {
                try port.context.certificates?.check()
            } catch {
                throw ReceptionFault(detail: error.detail, remedy: error.remedy)
            }
        }
        for port in self.ports {
            port.context.use(SessionRules(settings, port.settings, policy))
            if let event = port.context.certificates?.reload() { Self.report(event, self.log) }
        }
    }

    /// No new sessions; idle ones end now, others behind their transaction, the rest at `grace`.
    ///
    /// - Returns: done when every session is closed.
    package func stop(within grace: Duration) -> EventLoopFuture<Void> {
        let deadline = NIODeadline.now() + .nanoseconds(grace.inNanoseconds)
        let loop = self.loops[0]
        let listeners = self.listeners.withLock { listeners in
            defer { listeners = [] }
            return listeners
        }
        for port in self.ports { port.context.certificates?.stop() }
        let closed = EventLoopFuture.andAllComplete(listeners.map { $0.close() }, on: loop)
        return closed.flatMap {
            EventLoopFuture.andAllComplete(
                self.loops.map { loop in
                    let promise = loop.makePromise(of: Void.self)
                    guard let registry = self.registries[ObjectIdentifier(loop)] else {
                        unreachable("a loop without its sessions")
                    }
                    loop.execute { registry.value.stop(by: deadline, on: loop, promise) }
                    return promise.futureResult
                }, on: loop)
        }
    }
}
