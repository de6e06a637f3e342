// PeerMesh.swift - the links between this node and all others.
//
// Takes     messages for nodes by name; addresses of members beyond the seeds.
// Gives     peers that come and go, and their messages in order of each link (PeerEvents).
// Never     looks into a message.
// Limits    PeerLimits. One loop: the node's; every function is to be called on it.
// Standard  TLS 1.3 (RFC 8446), both sides certified by the cluster's own authority.
// See       Docs/PeerProtocol.md; PeerLink, PeerMesh+Links, PeerMesh+Dialing.

package import Logging
package import NIOCore
import Networking
import OpenSSL
package import Primitives
package import Settings

/// What the node is told. All on the mesh's loop.
package protocol PeerEvents: AnyObject {
    /// The link may be used from now on.
    func peerUp(_ peer: Hello, _ link: PeerLinkKind)
    /// What was sent and not answered may or may not have arrived.
    func peerDown(_ node: NodeName, _ incarnation: Incarnation, _ link: PeerLinkKind)
    func received(_ message: PeerMessage, from node: NodeName, _ incarnation: Incarnation)
    /// A connection with `who` (a name as far as it is known, else an address) was refused or ended
    /// for a cause; counted and, once a minute, logged already.
    func peerRefused(_ who: String, _ refusal: PeerRefusal)
    /// Why a peer whose Hello is right may not speak all the same; nil: it may.
    func refusal(of peer: Hello) -> PeerRefusal?
    /// A bulk link that was full (`isWritable`) takes messages again.
    func peerDrained(_ node: NodeName)
    /// Asked before each frame of a bulk link; false: reading stops until `resumeReading`.
    func mayRead(from node: NodeName) -> Bool
}

extension PeerEvents {
    package func peerRefused(_ who: String, _ refusal: PeerRefusal) {}
    package func refusal(of peer: Hello) -> PeerRefusal? { nil }
    package func peerDrained(_ node: NodeName) {}
    package func mayRead(from node: NodeName) -> Bool { true }
}

/// Times and sizes. The defaults are the product's; tests use small ones.
package struct PeerLimits: Sendable {
    package var tick = Duration.seconds(1)
    /// From the connection to the peer's Hello, in ticks; also for the TLS handshake.
    package var greetingTicks = 5
    /// A link on which nothing was read for so long is dead; both sides speak once a tick.
    package var silenceTicks = 5
    /// A link whose queue has not moved for so long is dead.
    package var stallTicks = 30
    /// How long a goodbye may take to be read.
    package var leavingTicks = 1
    /// Bytes that may wait for a peer: beyond it the link is cut.
    package var controlQueueBytes = 64 << 20
    /// Bytes that may wait for a peer: beyond it nothing more is taken (`isWritable`).
    package var bulkQueueBytes = 8 << 20
    /// First and longest pause between attempts to connect, before jitter.
    package var backoffFirst = Duration.milliseconds(50)
    package var backoffLast = Duration.seconds(1)
    /// Pause, before jitter, between attempts to connect with a seed that is a member no longer,
    /// and of a node that was told so itself.
    package var removedPause = Duration.seconds(10)
    package var connectTimeout = Duration.seconds(3)
    /// Connections of strangers (no Hello yet) at once.
    package var strangersMax = 64
    /// Names of peers that are known at once.
    package var peersMax = 1024
    package init() {}

    func queueBytes(_ kind: PeerLinkKind) -> Int {
        switch kind {
        case .control: self.controlQueueBytes
        case .bulk: self.bulkQueueBytes
        }
    }
}

package final class PeerMesh {
    let loop: any EventLoop  // existential: the node's loop, whatever it is
    let limits: PeerLimits
    let logger: Logger
    let settings: Settings.Cluster
    let name: NodeName
    let certificates: WatchedFiles<PeerCertificates>
    private let hello: () -> Hello
    weak var events: (any PeerEvents)?  // existential: the node owns the mesh
    /// Of this start.
    private let process = Secrets.randomWord()
    var generator = Generator(seed: Secrets.randomWord())
    private var listener: Listener?
    private var ticker: RepeatedTask?
    var isRunning = false
    private(set) var advertised = Endpoint(host: "", port: 0)

    var records: [NodeName: PeerRecord] = [:]
    /// Names of `records`, in the order in which they became known.
    var names: [NodeName] = []
    /// All connections that are not closed.
    var links: [PeerLink] = []
    private(set) var memory = PeerMemory()
    var gate = WarningGate()
    var metrics = PeerMetrics()

    /// - Parameters:
    ///   - node: this node's name, which its certificate bears.
    ///   - hello: what this node is now; asked for each connection.
    /// - Throws: an error that names the file and says what to do about it.
    package init(
        settings: Settings.Cluster, node: NodeName, loop: any EventLoop, logger: Logger,
        limits: PeerLimits = PeerLimits(), hello: @escaping () -> Hello, events: any PeerEvents
    ) throws {
        self.loop = loop
        self.limits = limits
        self.logger = logger
        self.settings = settings
        self.name = node
        self.hello = hello
        self.events = events
        self.certificates = try PeerCertificates.watched(settings, node)
        for seed in settings.seeds where seed.name != node {
            self.add(seed.name, address: seed.endpoint, isSeed: true)
        }
    }

    /// Opens the port and begins to dial.
    ///
    /// - Returns: the port; fails with `ListenFailure`.
    package func start() -> EventLoopFuture<Int> {
        guard let address = IPAddress(self.settings.listen.host) else {
            return self.loop.makeFailedFuture(
                ListenFailure(
                    label: "listen_no_address",
                    detail: "cluster.listen is no address: \(self.settings.listen)",
                    remedy: "Use an address that `ip address` shows, or 0.0.0.0"))
        }
        self.isRunning = true
        let mesh = NIOLoopBound(self, eventLoop: self.loop)
        return Listener.bind(
            address, port: self.settings.listen.port, on: self.loop, children: self.loop,
            paused: { reason in
                mesh.value.logger.warning(
                    "accepting peers pauses", metadata: ["reason": "\(reason)"])
            },
            initializer: { channel in
                let added = try mesh.value.addHandlers(to: channel, dialed: nil)
                mesh.value.links.append(added)
            }
        ).map { listener in
            mesh.value.opened(listener)
            return listener.port
        }
    }

    private func opened(_ listener: Listener) {
        guard self.isRunning else {
            listener.close().whenFailure { _ in }  // stopped meanwhile: nobody waits for it
            return
        }
        self.listener = listener
        self.advertised = self.reachable(at: listener.port)
        let mesh = NIOLoopBound(self, eventLoop: self.loop)
        let tick = TimeAmount.nanoseconds(self.limits.tick.inNanoseconds)
        self.ticker = self.loop.scheduleRepeatedTask(initialDelay: tick, delay: tick) { _ in
            mesh.value.tick()
        }
        self.watchCertificates()
        for name in self.names { self.dial(name) }
    }

    /// Where others reach us; host "": we do not know.
    private func reachable(at port: Int) -> Endpoint {
        if let advertise = self.settings.advertise { return advertise }
        let listen = self.settings.listen
        if listen.host != "0.0.0.0", listen.host != "::" {
            return Endpoint(host: listen.host, port: port)
        }
        return self.settings.seeds.first { $0.name == self.name }?.endpoint
            ?? Endpoint(host: "", port: 0)
    }

    /// Closes the port and all connections; no event comes any more.
    package func stop() -> EventLoopFuture<Void> {
        self.isRunning = false
        self.certificates.stop()
        self.events = nil
        self.ticker?.cancel()
        self.ticker = nil
        for name in self.names { self.records[name]?.cancelDials() }
        var closed = self.links.compactMap(\.closeFuture)
        for link in self.links { link.close() }
        if let listener = self.listener { closed.append(listener.close()) }
        self.listener = nil
        return .andAllComplete(closed, on: self.loop)
    }

    // MARK: What the node asks

    /// - Returns: false: there is no such link now, or its queue is full; nothing was sent.
    package func send(_ message: PeerMessage, to node: NodeName) -> Bool {
        guard let link = self.records[node]?.links[message.link] else { return false }
        return link.send(message)
    }

    package func isUp(_ node: NodeName, _ kind: PeerLinkKind) -> Bool {
        self.records[node]?.links[kind]?.isUp ?? false
    }

    /// Whether the bulk link is up and not full; `peerDrained` tells when it is no longer full.
    package func isWritable(_ node: NodeName) -> Bool {
        guard let link = self.records[node]?.links[.bulk], link.isUp else { return false }
        return link.queuedBytes < self.limits.bulkQueueBytes
    }

    /// Where a node is dialed; nil: it dials us, or nobody knows it.
    package func address(of node: NodeName) -> Endpoint? { self.records[node]?.address }

    /// Why the last attempt to reach a node came to nothing; nil: it did not, or none was made.
    package func lastError(of node: NodeName) -> String? { self.records[node]?.lastError }

    /// Bytes that wait for `node`.
    package func queuedBytes(_ node: NodeName, _ kind: PeerLinkKind) -> Int {
        self.records[node]?.links[kind]?.queuedBytes ?? 0
    }

    /// Goes on with bulk links that `mayRead` has stopped.
    package func resumeReading(from node: NodeName) {
        self.records[node]?.links[.bulk]?.resume()
    }

    /// A member beyond the seeds. A seed's address is that of the settings.
    package func learn(_ node: NodeName, address: Endpoint) {
        guard node != self.name else { return }
        let record = self.records[node] ?? self.add(node, address: nil, isSeed: false)
        guard let record else { return }
        if !record.isSeed { record.address = address }
        self.remember(node)
        self.dial(node)
    }

    /// A node that was forgotten is a member again: another disk has its name.
    package func remember(_ node: NodeName) {
        guard let record = self.records[node], record.isForgotten else { return }
        record.isForgotten = false
        record.cancelDials()
        record.delays = PerLink(
            control: self.limits.backoffFirst, bulk: self.limits.backoffFirst)
        self.dial(node)
    }

    /// Closes what is open with a node that is a member no longer, and says so to it.
    ///
    /// It is dialed no more, but for a seed: with an empty disk a seed waits for those that dial
    /// it, and so it is looked for, without a word in the log, once in `removedPause`.
    package func forget(_ node: NodeName) {
        guard let record = self.records[node], !record.isForgotten else { return }
        record.isForgotten = true
        record.cancelDials()
        let goodbye = Goodbye(
            label: PeerRefusal.Cause.removed.rawValue, sentence: PeerRefusal.removedSentence)
        for kind in PeerLinkKind.allCases {
            // Whoever is about to be greeted may be another disk.
            if let link = record.links[kind] { link.close(link.isUp ? goodbye : nil) }
            self.dialLater(record, kind)
        }
    }

    /// Closes both links; they are made again at once if we are the one who dials.
    package func disconnect(_ node: NodeName) {
        guard let record = self.records[node] else { return }
        for kind in PeerLinkKind.allCases {
            record.links[kind]?.close(
                Goodbye(label: "stopping", sentence: "this connection is not needed any more"))
        }
    }

    /// A member's disk has acknowledged the log up to `index` in `term`: it will never have less.
    ///
    /// - Parameter commit: known to be committed here.
    package func acknowledged(
        _ incarnation: Incarnation, index: UInt64, term: UInt64, commit: UInt64
    ) {
        self.memory.acknowledged(incarnation, index: index, term: term, commit: commit)
    }

    /// Takes in what a disk says of itself. False: it was rolled back or copied.
    func meet(_ hello: Hello) -> Bool { self.memory.meet(hello.shown) }

    package var statistics: PeerStatistics { self.metrics.statistics }

    // MARK: Of this node

    func ownHello(_ kind: PeerLinkKind) -> Hello {
        var hello = self.hello()
        hello.link = kind
        hello.process = self.process
        hello.host = self.advertised.host
        hello.port = UInt16(clamping: self.advertised.port)
        return hello
    }

    private func tick() {
        let links = self.links
        for link in links { link.tick() }
        var up = PerLink(control: 0, bulk: 0)
        for link in links where link.isUp { if let kind = link.kind { up[kind] += 1 } }
        self.metrics.sample(control: up.control, bulk: up.bulk)
    }

    /// Nil: there are too many.
    @discardableResult
    func add(_ node: NodeName, address: Endpoint?, isSeed: Bool) -> PeerRecord? {
        guard self.records.count < self.limits.peersMax else { return nil }
        let record = PeerRecord(
            node, address: address, isSeed: isSeed, delay: self.limits.backoffFirst)
        self.records[node] = record
        self.names.append(node)
        return record
    }
}
