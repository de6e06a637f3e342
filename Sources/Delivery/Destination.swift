// Destination.swift - one destination's waiting work, its hosts, its connections.
//
// Takes     pieces of work; news of its connections.
// Gives     pieces to connections that ask for more; outcomes for what no host takes.
// Never     opens more connections than the desk's share, or than the loop has left.
// Standard  RFC 5321 §5.1 (hosts in order), §4.5.4.1 (no attempt is spent on a dead destination).
//
//   pieces ─▶ fresh ──┐            ┌─▶ connection ── finished ─▶ settle, ask for more
//             moved ──┴─ next(for:)┘        └─ elsewhere ─▶ moved (with the host in `tried`)

import Cluster
import MailQueue
import NIOCore
import Primitives
import SMTP

/// Confined to its loop.
final class Destination {
    enum Limit {
        /// A host that could not be used is left alone this long.
        static let hostPause = TimeAmount.seconds(60)
        /// A plan is made anew for the next connection when it is older.
        static let planAge = TimeAmount.seconds(120)
        /// After a failed connection beside working ones no further one is tried for this long.
        static let growthPause = TimeAmount.seconds(10)
        /// Kept connections that die under one piece before this counts as an attempt.
        static let staleStarts = 2
    }
    struct Host {
        let planned: PlannedHost
        var downUntil = NIODeadline.uptimeNanoseconds(0)
        /// Opportunistic TLS failed here: without it from now on.
        var inPlain = false
    }
    private enum Plan {
        case none
        case finding
        case hosts(until: NIODeadline)
    }

    /// What the leases of this destination are called at the desk; nil: mail for the postmaster,
    /// whose leases lie under several names.
    let name: String?
    let key: String
    /// Whose connections it takes: `name`, or that of the postmaster's domain.
    let countedAs: String
    /// What the routes are asked for.
    let domain: String
    private(set) var target: Target
    private(set) var manners: HostManners
    unowned let owner: DeliveryLoop
    private(set) var fresh = RingBuffer<Piece>()
    private(set) var moved: [Piece] = []
    private(set) var connections: [ClientConnection] = []
    private var hosts: [Host] = []
    private var plan = Plan.none
    private var growthPausedUntil = NIODeadline.uptimeNanoseconds(0)
    private var lastFailure: Reply?
    private var hasCleared = false
    private var isPumping = false
    /// As it was when it changed last; a node alone is never told.
    private var share = Int.max
    /// Work waits, and there is neither a connection nor a share.
    private var sharelessSince: NIODeadline?

    init(
        key: String, name: String?, domain: String, owner: DeliveryLoop
    ) {
        self.key = key
        self.name = name
        self.countedAs = name ?? owner.routing.table.destination(for: domain)
        self.domain = domain
        self.owner = owner
        (self.target, self.manners) = owner.routing.way(to: domain)
    }

    /// New settings: hosts are looked up anew for the next connection.
    func reload() {
        let way = self.owner.routing.way(to: self.domain)
        guard way.target != self.target || way.manners != self.manners else { return }
        (self.target, self.manners) = way
        self.hosts = []
        if case .hosts = self.plan { self.plan = .none }
    }

    var waiting: Int { self.fresh.count + self.moved.count }
    var isUnused: Bool { self.waiting == 0 && self.connections.isEmpty && !self.isFinding }
    private var isFinding: Bool {
        if case .finding = self.plan { return true }
        return false
    }

    // MARK: - Work

    func add(_ piece: Piece) { self.fresh.append(piece) }

    /// Work for a connection that is idle; nil: none that its host has not refused.
    ///
    /// - Parameter inMemory: only what can begin without reading a body.
    func next(for connection: ClientConnection, inMemory: Bool = false) -> Piece? {
        while let piece = self.candidate(for: connection, inMemory) {
            switch self.owner.standing(of: piece) {
            case .holds: return piece
            case .lapsed:
                // Until the lease holds again, or the session is another one.
                self.moved.insert(piece, at: 0)
                return nil
            case .ended: self.owner.giveBack(piece)
            }
        }
        return nil
    }

    private func candidate(for connection: ClientConnection, _ inMemory: Bool) -> Piece? {
        guard !self.owner.isStopping else { return nil }
        let address = connection.host.address
        if !self.moved.isEmpty,
            let i = self.moved.firstIndex(where: {
                !$0.tried.contains(address) && (!inMemory || $0.isInMemory)
            })
        {
            return self.moved.remove(at: i)
        }
        if inMemory, let first = self.fresh.first, !first.isInMemory { return nil }
        return self.fresh.popFirst()
    }

    /// A piece that no host has seen comes back to the queue.
    func putBack(_ piece: Piece) {
        if self.owner.isStopping {
            self.owner.giveBack(piece)
        } else {
            self.moved.insert(piece, at: 0)
        }
    }

    /// A host did not take it: another one may.
    func move(_ piece: Piece, from host: PlannedHost, _ reply: Reply) {
        var piece = piece
        piece.tried.append(host.address)
        piece.lastReply = reply
        piece.lastHost = host.name
        if self.owner.isStopping {
            self.owner.giveBack(piece)
        } else {
            self.moved.append(piece)
        }
    }

    /// Whether a host is left that may be tried for a piece that `host` refuses too.
    func hasAlternative(to host: PlannedHost, for piece: Piece) -> Bool {
        let now = NIODeadline.now()
        return self.hosts.contains {
            $0.planned.address != host.address && !piece.tried.contains($0.planned.address)
                && $0.downUntil <= now
        }
    }

    /// Everything that waits, for who gives up on it.
    func takeAll() -> [Piece] {
        var all = self.moved
        self.moved = []
        while let piece = self.fresh.popFirst() { all.append(piece) }
        return all
    }

    // MARK: - Pump

    /// Brings waiting work to idle connections, opens further ones, or gives up. Call whenever
    /// something has changed.
    func pump() {
        guard !self.isPumping, !self.owner.isStopping else { return }
        self.isPumping = true
        defer { self.isPumping = false }
        self.serveIdle()
        guard self.waiting > 0 else { return }
        let now = NIODeadline.now()
        switch self.plan {
        case .finding: return
        case .none:
            if self.connections.isEmpty || now >= self.growthPausedUntil { self.find() }
        case .hosts(let until):
            if now >= until && self.connections.isEmpty {
                self.find()
                return
            }
            self.grow(now)
            self.giveUpWhatNoHostTakes(now)
        }
    }

    private func serveIdle() {
        var i = self.connections.count - 1
        while i >= 0 && self.waiting > 0 {
            // A connection may end while it is served; the list is looked at anew each time.
            if i < self.connections.count, self.connections[i].isIdle {
                self.connections[i].pull()
            }
            i -= 1
        }
    }

    private func find() {
        self.plan = .finding
        HostFinder(
            self.target, routing: self.owner.routing, names: self.owner.names,
            seed: self.owner.draw(), on: self.owner.loop
        ) { [self] in self.found($0) }
    }

    private func found(_ result: HostPlanResult) {
        let now = NIODeadline.now()
        self.plan = .none
        switch result {
        case .hosts(let planned):
            self.plan = .hosts(until: now + Limit.planAge)
            let known = self.hosts
            self.hosts = planned.map { planned in
                var host = Host(planned: planned)
                if let before = known.first(where: { $0.planned.address == planned.address }) {
                    host.inPlain = before.inPlain
                    host.downUntil = before.downUntil
                }
                return host
            }
        case .failed(let reply):
            self.owner.fail(self.takeAll(), reply)
        case .deferred(let reply):
            self.lastFailure = reply
            if self.connections.isEmpty {
                self.suspend(reply)
            } else {
                self.growthPausedUntil = now + Limit.growthPause
            }
        }
        // The answer may have come inside `pump`; then that goes on, else this does.
        if self.isPumping { self.owner.pumpSoon(self) } else { self.pump() }
        self.owner.forgetIfUnused(self)
    }

    private func grow(_ now: NIODeadline) {
        var opening = self.connections.reduce(0) { $0 + ($1.isOpening ? 1 : 0) }
        guard opening < self.waiting else { return }
        let limit = self.owner.share(of: self)
        while opening < self.waiting && self.connections.count < limit {
            guard let host = self.pick(now), self.owner.takeSlot(for: self) else { return }
            opening += 1
            self.connections.append(ClientConnection(to: host.planned, inPlain: host.inPlain, self))
            self.connections[self.connections.count - 1].dial()
        }
    }

    /// The host for another connection: for fresh work the best that works, the least used among
    /// equals; for moved work one that it has not tried.
    private func pick(_ now: NIODeadline) -> Host? {
        let up = self.hosts.filter { $0.downUntil <= now }
        for piece in self.moved where self.fresh.isEmpty || self.isStranded(piece) {
            let untried = up.first { !piece.tried.contains($0.planned.address) }
            if let untried { return untried }
        }
        if self.fresh.isEmpty { return nil }
        if now < self.growthPausedUntil && !self.connections.isEmpty { return nil }
        guard let best = up.first else { return nil }
        var choice: (host: Host, used: Int)?
        for host in up where host.planned.preference == best.planned.preference {
            let used = self.connections.reduce(0) {
                $0 + ($1.host.address == host.planned.address ? 1 : 0)
            }
            if used < choice?.used ?? Int.max { choice = (host, used) }
        }
        return choice?.host
    }

    /// No connection that there is leads to a host that it has not tried.
    private func isStranded(_ piece: Piece) -> Bool {
        !self.connections.contains { !piece.tried.contains($0.host.address) }
    }

    /// Whether a connection should end, so that moved work gets one to another host.
    func wantsSlot(of connection: ClientConnection) -> Bool {
        guard self.moved.contains(where: { self.isStranded($0) }),
            self.connections.count >= self.owner.share(of: self)
        else { return false }
        return self.connections.first { !$0.isOpening } === connection
    }

    private func giveUpWhatNoHostTakes(_ now: NIODeadline) {
        let up = self.hosts.filter { $0.downUntil <= now }.map { $0.planned.address }
        var kept: [Piece] = []
        var given: [Piece] = []
        for piece in self.moved {
            let hasHost =
                up.contains { !piece.tried.contains($0) } || !self.isStranded(piece)
            if hasHost || (piece.tried.isEmpty && !self.connections.isEmpty) {
                kept.append(piece)
            } else if piece.tried.isEmpty {
                // Nothing was tried for it: it goes with the fresh work.
                self.fresh.append(piece)
            } else {
                given.append(piece)
            }
        }
        self.moved = kept
        for piece in given { self.owner.putOff(piece) }
        if !self.fresh.isEmpty && self.connections.isEmpty && up.isEmpty {
            self.suspend(self.lastFailure ?? Self.noHost)
        }
    }

    private static let noHost = Reply(451, EnhancedCode(4, 4, 1), "no host could be reached")

    /// No host can be used: all that waits goes back, and nothing is tried until the queue says so.
    private func suspend(_ reply: Reply) {
        self.plan = .none
        self.hosts = []
        self.hasCleared = false
        self.owner.suspend(self, reply)
    }

    // MARK: - Shares

    /// More connections than the share are open, without those that are about to end.
    var isOverShare: Bool {
        guard self.connections.count > self.share else { return false }
        return self.connections.reduce(0) { $0 + ($1.isLeaving ? 0 : 1) } > self.share
    }

    /// Idle connections above the share end, and those that are being opened; busy ones end with
    /// their transactions.
    func shareChanged() {
        self.share = self.owner.share(of: self)
        for connection in self.connections where connection.isIdle && self.isOverShare {
            connection.quit()
        }
        for connection in self.connections where connection.isOpening && self.isOverShare {
            connection.cut()
        }
        if self.waiting > 0 { self.pump() }
    }

    /// Called by the loop's tick. Leases for which there is no share go back after T: another
    /// session may have one.
    func releaseIfShareless(_ now: NIODeadline) {
        guard self.waiting > 0, self.connections.isEmpty, self.owner.share(of: self) == 0 else {
            self.sharelessSince = nil
            return
        }
        let since = self.sharelessSince ?? now
        self.sharelessSince = since
        let term = self.owner.desk.sessionTerm
        guard now - since >= .nanoseconds(term.inNanoseconds) else { return }
        for piece in self.takeAll() { self.owner.giveBack(piece) }
        self.owner.forgetIfUnused(self)
    }

    // MARK: - News of connections

    func connectionOpened() {
        guard !self.hasCleared else { return }
        self.hasCleared = true
        if let name { self.owner.desk.clearSuspension(destination: name) }
    }

    /// A connection has ended; it has settled or put back what it carried.
    func connectionEnded(_ connection: ClientConnection, _ remedy: HostRemedy, _ reply: Reply) {
        self.connections.removeAll { $0 === connection }
        self.owner.giveSlotBack(of: self)
        let now = NIODeadline.now()
        let index = self.hosts.firstIndex { $0.planned.address == connection.host.address }
        switch remedy {
        case .reconnect: break
        case .sameHostInPlain:
            if let index { self.hosts[index].inPlain = true }
        case .nextHost:
            self.lastFailure = reply
            let works = self.connections.contains {
                !$0.isOpening && $0.host.address == connection.host.address
            }
            if works {
                self.growthPausedUntil = now + Limit.growthPause
            } else if let index {
                self.hosts[index].downUntil = now + Limit.hostPause
            }
        }
        self.pump()
        self.owner.forgetIfUnused(self)
    }
}
