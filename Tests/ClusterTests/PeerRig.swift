import Foundation
import Logging
import NIOCore
import NIOPosix
import Networking
import OpenSSL
import Primitives
import Settings
import Synchronization
import Testing

@testable import Cluster

/// A directory that goes with the test, with authorities and certificates in it.
final class PeerFiles: Sendable {
    let path: String
    private let authorities: [String: IssuedCertificate]
    private static let now = WallTime(milliseconds: Int64(Date().timeIntervalSince1970 * 1000))

    init() throws {
        let url = FileManager.default.temporaryDirectory
            .appendingPathComponent("posthouse-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        self.path = url.path
        var authorities: [String: IssuedCertificate] = [:]
        for name in ["ca", "other"] {
            let made = try CertificateAuthority.make(
                name: "Test \(name)", validity: .years(1, from: Self.now))
            try Data(made.certificate.utf8).write(to: url.appendingPathComponent("\(name).crt"))
            authorities[name] = made
        }
        self.authorities = authorities
    }

    deinit {
        // What is left behind is a temporary file.
        try? FileManager.default.removeItem(atPath: self.path)
    }

    func authority(_ name: String = "ca") -> String { "\(self.path)/\(name).crt" }

    func issue(
        _ node: String, by authority: String = "ca", expired: Bool = false
    ) throws -> CertificateFiles {
        let day = Duration.seconds(86_400)
        let validity =
            expired
            ? CertificateAuthority.Validity(
                from: Self.now + .zero - day - day, until: Self.now + .zero - day)
            : .years(1, from: Self.now)
        let issued = try CertificateAuthority.issue(
            by: try #require(self.authorities[authority]), name: node, hosts: [node],
            validity: validity)
        let base = "\(self.path)/\(UUID().uuidString)"
        try Data(issued.certificate.utf8).write(to: URL(fileURLWithPath: "\(base).pem"))
        try Data(issued.key.utf8).write(to: URL(fileURLWithPath: "\(base).key"))
        return CertificateFiles(certificate: "\(base).pem", key: "\(base).key")
    }
}

extension WallTime {
    fileprivate static func - (a: WallTime, b: Duration) -> WallTime {
        WallTime(milliseconds: a.milliseconds - b.inMilliseconds)
    }
}

/// State that tests wait for: looks again at every change.
final class Watched<State>: Sendable {
    private struct Inner {
        var state: State
        var waiters: [CheckedContinuation<Void, Never>] = []
    }
    private let inner: Mutex<Inner>

    init(_ state: sending State) { self.inner = Mutex(Inner(state: state)) }

    func change(_ body: (inout State) -> Void) {
        let waiters = self.inner.withLock { inner in
            body(&inner.state)
            defer { inner.waiters = [] }
            return inner.waiters
        }
        for waiter in waiters { waiter.resume() }
    }

    func get<T: Sendable>(_ body: (State) -> T) -> T { self.inner.withLock { body($0.state) } }

    /// Returns when `holds` is true of the state.
    func wait(until holds: (State) -> Bool) async {
        while true {
            var isThere = false
            await withCheckedContinuation { continuation in
                isThere = self.inner.withLock { inner in
                    if holds(inner.state) { return true }
                    inner.waiters.append(continuation)
                    return false
                }
                if isThere { continuation.resume() }
            }
            if isThere { return }
        }
    }
}

/// What a mesh has told.
struct PeerDiary {
    /// "+b control", "-b bulk", in their order.
    var changes: [String] = []
    var ups: [Hello] = []
    var messages: [PeerMessage] = []
    var refusals: [PeerRefusal] = []
    var drained = 0
    var mayRead = true
    /// What every Hello is answered with; nil: it is welcome.
    var refusal: PeerRefusal?
    /// Keep no bodies.
    var counts = (control: 0, bulk: 0)
}

/// A mesh on its own loop, and its diary. `@unchecked Sendable`: the mesh is touched on `loop`
/// only.
final class PeerNode: PeerEvents, @unchecked Sendable {
    let loop: any EventLoop
    let diary = Watched(PeerDiary())
    private(set) var mesh: PeerMesh?
    private(set) var port = 0
    /// Of the last start.
    private(set) var identity = CertificateFiles(certificate: "", key: "")
    /// Called on the loop before a message is noted.
    var onMessage: ((PeerMesh, PeerMessage) -> Void)?

    init(loop: any EventLoop) { self.loop = loop }

    static func hello(
        _ node: String, incarnation: UInt64? = nil, boot: UInt64 = 1, cluster: UInt64 = 7,
        index: UInt64 = 0, versions: ClosedRange<UInt16> = 1...1
    ) -> Hello {
        Hello(
            cluster: ClusterID(raw: cluster), node: node,
            incarnation: Incarnation(raw: incarnation ?? UInt64(node.utf8.first ?? 0)),
            boot: boot, durableIndex: index, durableTerm: 1, versions: versions)
    }

    /// - Parameter seeds: the names that are in the settings, with the ports of those that run.
    func start(
        _ files: PeerFiles, _ hello: Hello, seeds: [(String, Int)] = [], port: Int = 0,
        limits: PeerLimits = PeerLimits()
    ) async throws {
        let identity = try files.issue(hello.node)
        self.identity = identity
        var settings = Settings.Cluster()
        settings.listen = Endpoint(host: "127.0.0.1", port: port)
        settings.seeds = seeds.map {
            Settings.Seed(name: $0.0, endpoint: Endpoint(host: "127.0.0.1", port: $0.1))
        }
        settings.ca = files.authority()
        settings.certificate = identity.certificate
        settings.key = identity.key
        let final = settings
        self.port = try await self.loop.flatSubmit {
            do {
                var logger = Logger(label: "peer")
                logger.logLevel = .critical
                let mesh = try PeerMesh(
                    settings: final, node: hello.node, loop: self.loop, logger: logger,
                    limits: limits, hello: { hello }, events: self)
                self.mesh = mesh
                return mesh.start()
            } catch {
                return self.loop.makeFailedFuture(error)
            }
        }.get()
    }

    func on<T: Sendable>(_ body: @escaping @Sendable (PeerMesh) -> T) async throws -> T {
        try await self.loop.submit {
            guard let mesh = self.mesh else { throw ChannelError.alreadyClosed }
            return body(mesh)
        }.get()
    }

    func learn(_ node: String, port: Int) async throws {
        try await self.on { $0.learn(node, address: Endpoint(host: "127.0.0.1", port: port)) }
    }

    func stop() async throws {
        try await self.loop.flatSubmit {
            self.mesh?.stop() ?? self.loop.makeSucceededVoidFuture()
        }.get()
    }

    func up(_ changes: String...) async {
        await self.diary.wait { diary in changes.allSatisfy { diary.changes.contains($0) } }
    }

    func refused(_ cause: PeerRefusal.Cause) async {
        await self.diary.wait { $0.refusals.contains { $0.cause == cause } }
    }

    // MARK: PeerEvents

    func peerUp(_ peer: Hello, _ link: PeerLinkKind) {
        self.diary.change {
            $0.changes.append("+\(peer.node) \(link)")
            $0.ups.append(peer)
        }
    }

    func peerDown(_ node: NodeName, _ incarnation: Incarnation, _ link: PeerLinkKind) {
        self.diary.change { $0.changes.append("-\(node) \(link)") }
    }

    func received(_ message: PeerMessage, from node: NodeName, _ incarnation: Incarnation) {
        if let mesh = self.mesh { self.onMessage?(mesh, message) }
        self.diary.change {
            switch message.link {
            case .control: $0.counts.control += 1
            case .bulk: $0.counts.bulk += 1
            }
            $0.messages.append(message)
        }
    }

    func peerRefused(_ who: String, _ refusal: PeerRefusal) {
        self.diary.change { $0.refusals.append(refusal) }
    }

    func refusal(of peer: Hello) -> PeerRefusal? { self.diary.get { $0.refusal } }
    func peerDrained(_ node: NodeName) { self.diary.change { $0.drained += 1 } }
    func mayRead(from node: NodeName) -> Bool { self.diary.get { $0.mayRead } }
}

/// A peer that says what the test wants. `@unchecked Sendable`: confined to its channel's loop.
final class RawPeer: ChannelInboundHandler, @unchecked Sendable {
    typealias InboundIn = ByteBuffer

    struct Diary {
        var frames: [PeerFrame] = []
        var isClosed = false
        var isSecured = false
    }
    let diary = Watched(Diary())
    private var decoder = PeerFrameDecoder()
    private var channel: (any Channel)?
    private var tls: TLSConnection?
    /// The other end's certificate.
    var shown: CertificateInfo? { self.tls?.peerCertificate }

    /// - Parameters:
    ///   - identity: nil: none is shown.
    ///   - reads: false: after the handshake nothing is read.
    static func connect(
        to port: Int, named node: String, _ files: PeerFiles, identity: CertificateFiles?,
        on loop: any EventLoop
    ) async throws -> RawPeer {
        let peer = RawPeer()
        let context = try TLSClientContext(
            trust: .authority(files.authority()), identity: identity, minimum: .tls13)
        peer.channel = try await Dialer.connect(
            toHost: "127.0.0.1", port: port, timeout: .seconds(5), on: loop,
            initializer: { channel in
                let tls = try context.makeConnection(serverName: nil, matching: [node])
                peer.tls = tls
                try channel.pipeline.syncOperations.addHandlers([
                    TLSHandler(tls, handshakeTimeout: .seconds(10)), peer,
                ])
            }
        ).get()
        return peer
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .established? = event as? TLSEvent { self.diary.change { $0.isSecured = true } }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.decoder.append(Self.unwrapInboundIn(data))
        do {
            while let frame = try self.decoder.next() {
                self.decoder.isGreeting = false
                self.diary.change { $0.frames.append(frame) }
            }
        } catch {
            context.close(promise: nil)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.diary.change { $0.isClosed = true }
    }

    func send(_ bytes: ByteBuffer) { self.channel?.writeAndFlush(bytes, promise: nil) }

    func send(_ message: PeerMessage) {
        var bytes = ByteBuffer()
        if var tail = message.encode(into: &bytes) { bytes.writeBuffer(&tail) }
        self.send(bytes)
    }

    func send(kind: UInt8, _ payload: [UInt8] = []) {
        var bytes = ByteBuffer()
        PeerFrame.write(kind, into: &bytes) { $0.writeBytes(payload) }
        self.send(bytes)
    }

    func send(_ hello: Hello) {
        var writer = ByteWriter()
        hello.encode(into: &writer)
        self.send(kind: PeerFrameKind.hello.rawValue, writer.bytes)
    }

    /// Hello, their Hello, and `alive`.
    func greet(_ hello: Hello) async throws {
        self.send(hello)
        await self.diary.wait { $0.frames.first?.kind == PeerFrameKind.hello.rawValue }
        self.send(kind: PeerFrameKind.alive.rawValue)
    }

    func stopReading() async throws {
        try await self.channel?.setOption(ChannelOptions.autoRead, value: false).get()
    }

    func close() { self.channel?.close(promise: nil) }

    func closed() async { await self.diary.wait { $0.isClosed } }

    /// The goodbye, once the connection has ended.
    func goodbye() async throws -> Goodbye {
        await self.diary.wait { diary in
            diary.isClosed
                || diary.frames.contains { $0.kind == PeerFrameKind.goodbye.rawValue }
        }
        let frame = self.diary.get { diary in
            diary.frames.last { $0.kind == PeerFrameKind.goodbye.rawValue }
        }
        return try Goodbye(try #require(frame).payload)
    }
}
