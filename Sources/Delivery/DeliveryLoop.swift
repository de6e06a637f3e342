// DeliveryLoop.swift - all destinations of one event loop.
//
// Takes     leased work and probes, on its loop.
// Gives     outcomes and releases to the desk.
// Threads   confined to `loop`; DeliveryService deals destinations out to the loops.

import Cluster
import Logging
import MailQueue
import Metrics
import NIOCore
import OpenSSL
import Primitives
import SMTP

/// `@unchecked Sendable`: every function is called on `loop`.
final class DeliveryLoop: @unchecked Sendable {
    let loop: any EventLoop  // existential: any group's loop; no call per message goes through it
    let desk: any DeliveryDesk  // existential: one desk in the process, another in tests
    let names: NameService
    let trust: ClientTrust
    let log: Logger
    let meters: DeliveryMeters
    private(set) var routing: Routing
    private(set) var isStopping = false
    private var destinations: [String: Destination] = [:]
    /// Destinations that were suspended a short while ago: nobody waits for a probe of those.
    private var dead: [String: NIODeadline] = [:]
    private var connectionCount = 0
    /// Destinations that wait for a connection slot, first come, first served.
    private var slotless: [String] = []
    private var ticker: RepeatedTask?
    private var dice: Generator
    private var stopped: EventLoopPromise<Void>?
    private var stopDeadline = NIODeadline.distantFuture
    private let loops: Int

    init(
        on loop: any EventLoop, of loops: Int, desk: any DeliveryDesk, routing: Routing,
        names: NameService, trust: ClientTrust, seed: UInt64, log: Logger, meters: DeliveryMeters
    ) {
        self.loop = loop
        self.loops = loops
        self.desk = desk
        self.routing = routing
        self.names = names
        self.trust = trust
        self.dice = Generator(seed: seed)
        self.log = log
        self.meters = meters
    }

    func draw() -> UInt64 { self.dice.next() }

    /// Begins to watch deadlines, every `tick`.
    func start(tick: Duration) {
        let tick = TimeAmount.nanoseconds(tick.inNanoseconds)
        self.ticker = self.loop.scheduleRepeatedTask(initialDelay: tick, delay: tick) {
            [weak self] _ in self?.tick()
        }
    }

    /// New settings hold for connections that are opened from now on.
    func use(_ routing: Routing) {
        self.routing = routing
        for key in self.destinations.keys.sorted() {
            guard let destination = self.destinations[key] else { continue }
            destination.reload()
            for connection in destination.connections where connection.isIdle { connection.quit() }
        }
    }

    // MARK: - Work

    func take(_ delivery: LeasedDelivery) {
        guard !self.isStopping else {
            self.desk.release([delivery])
            return
        }
        let lease = Lease(delivery)
        let count = delivery.recipients.count
        let hasBare = delivery.recipients.contains { $0.recipient.domain.isEmpty }
        if hasBare {
            self.takeApart(lease)
            return
        }
        let destination = self.destination(for: delivery)
        let step = self.routing.recipientsPerTransaction
        var at = 0
        while at < count {
            let end = min(count, at + step)
            lease.pieces += 1
            destination.add(Piece(.mail(lease), .range(at..<end)))
            at = end
        }
        destination.pump()
    }

    /// `postmaster` without a domain goes where the postmaster's mail goes, the rest its own way.
    private func takeApart(_ lease: Lease) {
        let recipients = lease.delivery.recipients
        let bare = recipients.indices.filter { recipients[$0].recipient.domain.isEmpty }
        let rest = recipients.indices.filter { !recipients[$0].recipient.domain.isEmpty }
        lease.pieces = rest.isEmpty ? 1 : 2
        let postmaster = Recipient(address: self.routing.postmaster)
        let domain = String(postmaster.domain)
        let office = self.destination(
            key: "postmaster \(domain)", name: nil,
            domain: domain.isEmpty ? self.routing.hostname : domain)
        office.add(Piece(.mail(lease), .list(bare)))
        if !rest.isEmpty {
            let destination = self.destination(for: lease.delivery)
            destination.add(Piece(.mail(lease), .list(rest)))
            destination.pump()
        }
        office.pump()
    }

    func probe(_ probe: Probe, destination name: String, domain: String) {
        guard !self.isStopping, self.dead[name].map({ $0 <= NIODeadline.now() }) ?? true else {
            probe.answer(.unknown)
            return
        }
        let destination = self.destination(key: name, name: name, domain: domain)
        destination.add(Piece(.probe(probe), .range(0..<1)))
        destination.pump()
    }

    private func destination(for delivery: LeasedDelivery) -> Destination {
        if let known = self.destinations[delivery.destination] { return known }
        let addressed = delivery.recipients.first { !$0.recipient.domain.isEmpty }
        let domain = addressed.map { String($0.recipient.domain) } ?? self.routing.hostname
        return self.destination(
            key: delivery.destination, name: delivery.destination, domain: domain)
    }

    private func destination(key: String, name: String?, domain: String) -> Destination {
        if let known = self.destinations[key] { return known }
        let destination = Destination(
            key: key, name: name, domain: domain.lowercased(), owner: self)
        self.destinations[key] = destination
        return destination
    }

    func noteDead(_ destination: Destination) {
        self.dead[destination.key] = NIODeadline.now() + Destination.Limit.hostPause
    }

    func forgetIfUnused(_ destination: Destination) {
        if destination.isUnused { self.destinations[destination.key] = nil }
    }

    func pumpSoon(_ destination: Destination) {
        let key = destination.key
        self.loop.execute { [self] in self.destinations[key]?.pump() }
    }

    // MARK: - Slots

    func share(of destination: Destination) -> Int {
        let share = self.desk.share(of: destination.countedAs)
        // Mail for the postmaster has one connection, of those that lead where it goes.
        return destination.name == nil ? min(1, share) : share
    }

    /// Takes one of this loop's connections and of the share; without one of the loop's left the
    /// destination waits for its turn.
    func takeSlot(for destination: Destination) -> Bool {
        let limit = max(1, self.routing.connections / self.loops)
        guard self.connectionCount < limit else {
            if !self.slotless.contains(destination.key) { self.slotless.append(destination.key) }
            self.endOneIdle()
            return false
        }
        guard self.desk.takeConnection(to: destination.countedAs) else { return false }
        self.connectionCount += 1
        return true
    }

    func giveSlotBack(of destination: Destination) {
        self.desk.returnConnection(to: destination.countedAs)
        self.connectionCount -= 1
        self.endIfDone()
        while !self.slotless.isEmpty {
            let destination = self.destinations[self.slotless.removeFirst()]
            // One whose work has ended meanwhile needs no turn: the next one has it.
            if let destination, destination.waiting > 0 { return self.pumpSoon(destination) }
        }
    }

    /// Whether a transaction for it may begin. A probe needs no lease.
    func standing(of piece: Piece) -> LeaseStanding {
        piece.lease.map { self.desk.standing(of: $0.delivery) } ?? .holds
    }

    /// Shares have changed: see `LeaseTaker`.
    func sharesChanged() {
        guard !self.isStopping else { return }
        for key in self.destinations.keys.sorted() { self.destinations[key]?.shareChanged() }
    }

    /// The leases have lapsed: see `LeaseTaker`.
    func cutConnections(sparesVerdicts: Bool) {
        for key in self.destinations.keys.sorted() {
            for connection in self.destinations[key]?.connections ?? [] {
                if sparesVerdicts, connection.session.stage == .finalDot {
                    connection.endBehindVerdict()
                } else {
                    connection.cut(isAbandoned: true)
                }
            }
        }
    }

    private func endOneIdle() {
        for key in self.destinations.keys.sorted() {
            guard let idle = self.destinations[key]?.connections.first(where: { $0.isIdle }) else {
                continue
            }
            idle.quit()
            return
        }
    }

    // MARK: - Time

    private func tick() {
        let now = NIODeadline.now()
        if !self.dead.isEmpty { self.dead = self.dead.filter { $0.value > now } }
        // Order matters to nobody here, but a run should be like the next one.
        for key in self.destinations.keys.sorted() {
            guard let destination = self.destinations[key] else { continue }
            for connection in destination.connections { connection.check(now) }
            if destination.waiting > 0 { destination.pump() }
            destination.releaseIfShareless(now)
        }
        let sum = self.meters.connections(self.connectionCount, on: self.loop)
        self.desk.note(connections: sum)
        if self.isStopping && now >= self.stopDeadline { self.cutAll() }
    }

    // MARK: - The end

    /// No new transactions; what waits is released, what runs may finish until `deadline`.
    func stop(by deadline: NIODeadline, _ promise: EventLoopPromise<Void>) {
        self.stopped = promise
        self.stopDeadline = deadline
        self.isStopping = true
        self.slotless = []
        for key in self.destinations.keys.sorted() {
            guard let destination = self.destinations[key] else { continue }
            for piece in destination.takeAll() { self.giveBack(piece) }
            for connection in destination.connections { connection.stop() }
        }
        self.endIfDone()
    }

    private func cutAll() {
        for key in self.destinations.keys.sorted() {
            for connection in self.destinations[key]?.connections ?? [] {
                connection.cut(isAbandoned: true)
            }
        }
    }

    private func endIfDone() {
        guard self.isStopping, self.connectionCount == 0, let stopped else { return }
        self.stopped = nil
        self.ticker?.cancel()
        self.ticker = nil
        self.destinations = [:]
        stopped.succeed()
    }
}
