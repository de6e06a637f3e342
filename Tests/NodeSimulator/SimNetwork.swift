// SimNetwork.swift - the links between nodes: two for each pair, in order until they break.
//
// Like      the product's mesh: a control link and a bulk link, over TCP. What is under way when a
//           link breaks is lost; both ends learn of it, each in its own time; then it is made anew.
// Faults    directions that carry nothing (what is sent waits there, and the link breaks if that
//           takes long), breaks, slowness.

import Cluster
import MailQueue
import Primitives
import Spool

/// What nodes say to each other.
enum SimLoad {
    case agreement([UInt8])
    case forward([UInt8])
    case declined
    case renew(Renewal)
    case renewed(RenewalAnswer)
    case bodyWhole(Tag, SimBody)
    case bodyOpen(UInt64)
    case bodyChunk(UInt64, UInt32)
    case bodyEnd(UInt64, Tag, SimBody, chunks: UInt32)
    case bodyStored(Tag)
    case bodyRefused(Tag)
    case streamRefused(UInt64)
    case fetchBody(UInt64, Tag)
    case fetched(UInt64, SimBody)
    case fetchFailed(UInt64)
    case snapshotOffer(SnapshotOffer)
    case snapshotPiece(UInt64, UInt64)
    case snapshotDone(UInt64, SimCheckpoint)
    case snapshotAnswer(UInt64, SnapshotVerdict, UInt64)
    /// Once a second: what a node says of itself.
    case standing(refusesBodies: Bool, isDraining: Bool)
}

enum SimLinkKind: Int { case control, bulk }

/// One direction pair of one kind.
private final class SimLink {
    let ends: (Int, Int)
    let kind: SimLinkKind
    /// Counts connections; what belongs to an earlier one is lost.
    var generation: UInt32 = 0
    var isUp = false
    /// What each end believes.
    var seen = [false, false]
    var lastArrival: [Int64] = [0, 0]
    /// What waits in a direction that carries nothing, for the end with this number.
    var waiting: [[() -> Void]] = [[], []]
    var isDialing = false

    init(_ a: Int, _ b: Int, _ kind: SimLinkKind) {
        self.ends = (a, b)
        self.kind = kind
    }
}

final class SimNetwork {
    unowned var world: SimWorld!
    private let count: Int
    var traffic: [NodeTraffic.Line]
    private var links: [SimLink] = []
    /// By from * count + to: nothing gets through until then.
    private var blockedUntil: [Int64]

    init(nodes: Int) {
        self.count = nodes
        self.traffic = [NodeTraffic.Line](repeating: NodeTraffic.Line(), count: nodes)
        self.blockedUntil = [Int64](repeating: 0, count: nodes * nodes)
        for a in 0..<nodes {
            for b in a + 1..<max(a + 1, nodes) {
                self.links.append(SimLink(a, b, .control))
                self.links.append(SimLink(a, b, .bulk))
            }
        }
    }

    func begin() { self.maintain() }

    /// Dials what is down, breaks what has stood still for too long.
    private func maintain() {
        for link in self.links where !link.isUp && !link.isDialing && link.seen == [false, false] {
            self.dial(link)
        }
        self.world.after(50 * SimWorld.millisecond) { self.maintain() }
    }

    private func isBlocked(_ from: Int, _ to: Int) -> Bool {
        self.blockedUntil[from * self.count + to] > self.world.now
    }

    private func dial(_ link: SimLink) {
        let (a, b) = link.ends
        link.isDialing = true
        let wait = self.world.draw(2, 200) * SimWorld.millisecond
        self.world.after(wait) {
            link.isDialing = false
            let nodes = self.world.nodes
            guard !link.isUp, link.seen == [false, false], nodes[a].isRunning, nodes[b].isRunning,
                !nodes[a].isPaused, !nodes[b].isPaused, !self.isBlocked(a, b),
                !self.isBlocked(b, a)
            else { return }
            link.generation += 1
            link.isUp = true
            link.seen = [true, true]
            link.waiting = [[], []]
            let (first, second) = (nodes[a], nodes[b])
            let generation = link.generation
            let (firstID, secondID) = (first.id, second.id)
            // Whether it still stands counts when the word comes: a process that is paused by then
            // reads it, what came behind it, and the end, in this order.
            let (firstEpoch, secondEpoch) = (first.epoch, second.epoch)
            self.world.after(0) {
                guard link.generation == generation, link.seen[0] else { return }
                first.happen(firstEpoch) { first.linkUp(b, secondID, link.kind) }
            }
            // Nothing comes before the first word, which says whose disk it is.
            let delay = self.delay()
            link.lastArrival[1] = self.world.now + delay
            self.world.after(delay) {
                guard link.generation == generation, link.seen[1] else { return }
                second.happen(secondEpoch) { second.linkUp(a, firstID, link.kind) }
            }
        }
    }

    private func delay() -> Int64 {
        let scenario = self.world.scenario
        if self.world.chance(5) { return self.world.draw(5, 200) * SimWorld.millisecond }
        return self.world.draw(scenario.wireLeast, scenario.wireMost)
    }

    private func link(_ a: Int, _ b: Int, _ kind: SimLinkKind) -> SimLink {
        for link in self.links
        where link.kind == kind && link.ends == (min(a, b), max(a, b)) {
            return link
        }
        unreachable("no link between two nodes")
    }

    func isUp(_ from: Int, _ to: Int, _ kind: SimLinkKind) -> Bool {
        self.link(from, to, kind).seen[from < to ? 0 : 1]
    }

    /// - Returns: false: there is no link. True says nothing.
    func send(_ load: SimLoad, _ kind: SimLinkKind, from: Int, to: Int) -> Bool {
        let link = self.link(from, to, kind)
        guard link.seen[from < to ? 0 : 1] else { return false }
        guard link.isUp else { return true }
        self.count(load, from: from, to: to)
        let side = from < to ? 1 : 0
        let generation = link.generation
        let node = self.world.nodes[to]
        let arrive: () -> Void = {
            guard link.isUp, link.generation == generation else { return }
            node.happen(node.epoch) { node.receive(load, kind, from: from) }
        }
        link.lastArrival[side] = max(link.lastArrival[side], self.world.now + self.delay())
        self.world.after(link.lastArrival[side] - self.world.now) {
            if self.isBlocked(from, to) || !link.waiting[side].isEmpty {
                link.waiting[side].append(arrive)
            } else {
                arrive()
            }
        }
        return true
    }

    private func count(_ load: SimLoad, from: Int, to: Int) {
        guard self.world.options.scale != nil else { return }
        self.traffic[from].frames += 1
        self.traffic[to].received += 1
        if load.isBody {
            self.traffic[from].bodyBytes += load.bytes
        } else {
            self.traffic[from].otherBytes += load.bytes
        }
    }

    // MARK: Faults.

    /// What is under way is lost, and both ends learn it.
    private func cut(_ link: SimLink) {
        guard link.isUp else { return }
        link.isUp = false
        link.waiting = [[], []]
        let (a, b) = link.ends
        for (side, pair) in [(a, b), (b, a)].enumerated() {
            let node = self.world.nodes[pair.0]
            guard node.isRunning else {
                link.seen[side] = false
                continue
            }
            let generation = link.generation
            let epoch = node.epoch
            let notice =
                self.world.chance(700) ? self.delay() : self.world.draw(1, 2000) * 1_000_000
            self.world.after(notice) {
                guard link.generation == generation, link.seen[side] else { return }
                link.seen[side] = false
                node.happen(epoch) { node.linkDown(pair.1, link.kind) }
            }
        }
    }

    func breakLinks(_ a: Int, _ b: Int) {
        for kind in [SimLinkKind.control, .bulk] { self.cut(self.link(a, b, kind)) }
    }

    func breakOne(_ a: Int, _ b: Int, _ kind: SimLinkKind) { self.cut(self.link(a, b, kind)) }

    /// A process has ended: its kernel, or nobody, tells the others.
    func ended(_ node: Int) {
        for link in self.links where link.ends.0 == node || link.ends.1 == node {
            link.seen[link.ends.0 == node ? 0 : 1] = false
            self.cut(link)
        }
    }

    func block(_ from: Int, _ to: Int, for nanos: Int64) {
        let place = from * self.count + to
        let until = self.world.now + nanos
        self.blockedUntil[place] = max(self.blockedUntil[place], until)
        let patience = self.world.magnitude(500 * SimWorld.millisecond, 6 * SimWorld.second)
        for kind in [SimLinkKind.control, .bulk] {
            let link = self.link(from, to, kind)
            let generation = link.generation
            let side = from < to ? 1 : 0
            self.world.after(patience) {
                if link.generation == generation, self.isBlocked(from, to) { self.cut(link) }
            }
            self.world.after(nanos + 1) { self.release(link, side, generation, from, to) }
        }
    }

    private func release(
        _ link: SimLink, _ side: Int, _ generation: UInt32, _ from: Int, _ to: Int
    ) {
        guard link.generation == generation, link.isUp, !self.isBlocked(from, to) else { return }
        let all = link.waiting[side]
        link.waiting[side] = []
        for one in all { one() }
    }

    func heal() {
        for i in self.blockedUntil.indices { self.blockedUntil[i] = 0 }
        for link in self.links {
            for side in [0, 1] {
                let (from, to) = side == 1 ? link.ends : (link.ends.1, link.ends.0)
                self.release(link, side, link.generation, from, to)
            }
        }
    }
}
