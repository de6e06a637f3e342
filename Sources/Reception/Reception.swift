// Reception.swift - all listeners of a node: opened, reloaded, stopped.
//
// Takes     settings, the queue's intake, and whoever can verify recipients.
// Gives     sessions on the loops that it was given.
// Fails     with a fault that names the file or the port and what to do about it.
// See       ReceptionReload (new settings), SessionHandler (one connection), ReceptionPolicy.

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
    /// A listener, what its sessions share, and its socket, once it is open.
    struct Port: Sendable {
        var settings: Settings.Listener
        let context: SessionContext
        var socket: Listener?
    }

    struct State: Sendable {
        /// In the order of the settings.
        var ports: [Port] = []
        /// Closed by a reload; their sessions go on, under the rules of later reloads.
        var retired: [Port] = []
    }

    let loops: [any EventLoop]  // existential: NIO's own type
    private let group: any EventLoopGroup  // existential: NIO's own type
    private let registries: [ObjectIdentifier: NIOLoopBoundBox<SessionRegistry>]
    private let door: any MessageDoor  // existential: `Intake`, or a test's
    private let verifier: (any RecipientVerifier)?  // existential: Delivery's, or a test's
    private let ledger = Ledger()
    private let memory = ContentMemory()
    private let meters = ReceptionMeters()
    private let authenticator: Authenticator
    let log: Logger
    private let files: FileAccess
    let state = Mutex(State())

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
        self.authenticator = Authenticator(ledger: self.ledger)
        self.door = door
        self.verifier = verifier
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
        let policy = try self.policy(settings)
        var ports: [Port] = []
        for listener in settings.listeners {
            ports.append(try self.port(listener, SessionRules(settings, listener, policy)))
        }
        self.state.withLock { $0.ports = ports }
    }

    func policy(_ settings: Settings) throws(ReceptionFault) -> ReceptionPolicy {
        let path = settings.relay.users
        guard !path.isEmpty else { return ReceptionPolicy(settings, users: nil) }
        let bytes: [UInt8]
        do throws(FileAccess.Failure) {
            bytes = try self.files.read(path)
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

    /// A listener that is not open yet.
    func port(
        _ listener: Settings.Listener, _ rules: SessionRules
    ) throws(ReceptionFault) -> Port {
        let face = ListenerFace(
            certificates: try Self.certificates(listener), isImplicit: listener.tls == .implicit,
            proxy: listener.proxyProtocol ? ProxyDoor(listener, log: self.log) : nil)
        return Port(
            settings: listener,
            context: SessionContext(
                door: self.door, verifier: self.verifier, ledger: self.ledger,
                memory: self.memory, authenticator: self.authenticator, meters: self.meters,
                log: self.log, face: face, rules: rules))
    }

    static func certificates(
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
        self.state.withLock { state in
            state.ports.compactMap { $0.socket.map { ($0.address, $0.port) } }
        }
    }

    /// Opens all ports; if one fails, those that were opened are closed again.
    package func start() -> EventLoopFuture<Void> {
        let ports = self.state.withLock { $0.ports }
        return self.open(ports).map { sockets in
            self.state.withLock { state in
                for (place, socket) in sockets.enumerated() { state.ports[place].socket = socket }
            }
            for port in ports { self.watch(port.context.currentFace.certificates) }
        }
    }

    /// All of `ports`, or none.
    func open(_ ports: [Port]) -> EventLoopFuture<[Listener]> {
        let loop = self.loops[0]
        let opened = ports.map { self.open($0, on: loop) }
        return EventLoopFuture.whenAllComplete(opened, on: loop).flatMap { results in
            var listeners: [Listener] = []
            var fault: (any Error)?
            for result in results {
                switch result {
                case .success(let listener): listeners.append(listener)
                case .failure(let error): fault = fault ?? error
                }
            }
            guard let fault else { return loop.makeSucceededFuture(listeners) }
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
        let face = context.currentFace
        guard let door = face.proxy else {
            _ = try Self.addSession(
                to: channel, context, face, registry, Caller(peer), ByteBuffer())
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
                try Self.addSession(to: channel, context, face, registry, caller, rest)
            })
    }

    /// Adds TLS, if it begins with the connection, and the session.
    ///
    /// - Parameter arrived: what came behind a PROXY header.
    /// - Returns: what of it is to go through the new handlers: the begin of a handshake.
    static func addSession(
        to channel: any Channel, _ context: SessionContext, _ face: ListenerFace,
        _ registry: SessionRegistry, _ caller: Caller, _ arrived: ByteBuffer
    ) throws -> ByteBuffer {
        let handler = SessionHandler(
            context, face, caller: caller, arrived: face.isImplicit ? ByteBuffer() : arrived,
            onStart: { registry.add($0) }, onEnd: { registry.remove($0) })
        let pipeline = channel.pipeline.syncOperations
        if face.isImplicit, let store = face.certificates {
            let limit = handler.rules.limits.handshake
            try pipeline.addHandler(
                TLSHandler(store.current.makeConnection(), handshakeTimeout: limit))
        }
        try pipeline.addHandler(handler)
        return face.isImplicit ? arrived : ByteBuffer()
    }

    /// Looks at the files from time to time.
    func watch(_ store: CertificateStore?) {
        guard let store else { return }
        let log = self.log
        let files = store.certificateFiles
        CertificateMeter.record(store.current.certificates, files: files, .smtp)
        store.watch(on: self.loops[0]) { event in Self.report(event, files, log) }
    }

    static func report(_ event: CertificateStore.Event, _ files: [String], _ log: Logger) {
        switch event {
        case .reloaded(let context):
            CertificateMeter.record(context.certificates, files: files, .smtp)
            log.notice(
                "certificates reloaded",
                metadata: ["names": "\(context.certificates.first?.names ?? [])"])
        case .rejected(let error):
            log.error(
                "certificates not reloaded, the old ones stay",
                metadata: ["reason": "\(error.detail)", "remedy": "\(error.remedy)"])
        }
    }

    /// Idle sessions end now, others behind their transaction; new ones may come.
    package func endIdle() {
        for loop in self.loops {
            guard let registry = self.registries[ObjectIdentifier(loop)] else {
                unreachable("a loop without its sessions")
            }
            loop.execute { registry.value.endIdle() }
        }
    }

    /// No new sessions; idle ones end now, others behind their transaction, the rest at `grace`.
    ///
    /// - Returns: done when every session is closed.
    package func stop(within grace: Duration) -> EventLoopFuture<Void> {
        let deadline = NIODeadline.now() + .nanoseconds(grace.inNanoseconds)
        let loop = self.loops[0]
        let ports = self.state.withLock { state in
            defer { state = State() }
            return state.ports
        }
        for port in ports { port.context.currentFace.certificates?.stop() }
        let closed = EventLoopFuture.andAllComplete(
            ports.compactMap { $0.socket?.close() }, on: loop)
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
