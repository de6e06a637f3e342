// SimChaos.swift - faults strike, each kind at its own rate; then the world heals.

import Cluster
import MailQueue
import Primitives
import Raft

enum SimFault: Int, CaseIterable {
    case crash, powerLoss, blackout, pause, longPause, isolate, split, oneWay, breakLinks, stall
    case diskError, lowDisk, rot, wipe, stop

    /// How much rarer than the others.
    var rarity: Int64 {
        switch self {
        case .blackout: 4
        case .powerLoss, .diskError, .lowDisk, .longPause, .rot, .wipe: 2
        case .crash, .pause, .isolate, .split, .oneWay, .breakLinks, .stall, .stop: 1
        }
    }
}

extension SimScenario {
    /// What the leader proposes as the cluster's settings.
    var settings: ClusterSettings {
        var settings = ClusterSettings()
        settings.retry = [.seconds(1), .seconds(2), .seconds(5), .seconds(10)]
        settings.expire = self.expire
        settings.delayNotice = self.delayNotice
        settings.connectionsPerDestination = UInt32(self.connectionsPerDestination)
        settings.copies = UInt32(self.copies)
        settings.session = self.session
        settings.suspensionFirst = .seconds(1)
        settings.suspensionMax = .seconds(8)
        return settings
    }
}

extension SimWorld {
    func beginChaos() {
        for fault in SimFault.allCases where self.scenario.means[fault.rawValue] > 0 {
            self.plan(fault)
        }
    }

    private func plan(_ fault: SimFault) {
        let mean = self.scenario.means[fault.rawValue]
        self.after(self.draw(mean / 4, mean * 7 / 4)) {
            guard !self.isHealing else { return }
            self.strike(fault)
            self.plan(fault)
        }
    }

    /// The leader, more often than its share.
    private func victim() -> SimNode {
        let leader = self.nodes.first { $0.isRunning && $0.machine.isReadyLeader }
        if self.chance(400), let leader { return leader }
        return self.nodes[self.dice.below(self.nodes.count)]
    }

    private func strike(_ fault: SimFault) {
        let node = self.victim()
        switch fault {
        case .crash: self.end(node, isPower: false, .crashes)
        case .powerLoss: self.end(node, isPower: true, .powerLosses)
        case .blackout:
            self.note("all lose their power")
            for node in self.nodes { self.end(node, isPower: true, .powerLosses) }
        case .pause:
            self.counters[.pauses] += 1
            node.pause(self.magnitude(10 * Self.millisecond, 3 * Self.second))
        case .longPause:
            self.counters[.longPauses] += 1
            // Often for about T: the first renewal meets the expiry.
            let isClose = self.chance(600)
            node.pause(
                isClose
                    ? self.draw(3900, 4700) * Self.millisecond
                    : self.magnitude(3 * Self.second, 14 * Self.second))
        case .isolate, .split, .oneWay: self.partition(fault, node)
        case .breakLinks:
            self.counters[.breaks] += 1
            let other = self.other(than: node)
            if self.chance(500) {
                self.network.breakLinks(node.place, other)
            } else {
                let kind: SimLinkKind = self.chance(500) ? .control : .bulk
                self.network.breakOne(node.place, other, kind)
            }
        case .stall:
            self.counters[.stalls] += 1
            let nanos = self.magnitude(100 * Self.millisecond, 5 * Self.second)
            self.stallUntil[node.place] = self.now + nanos
        case .diskError:
            // A sync has failed: nothing more is promised, the process ends with 70.
            self.counters[.diskErrors] += 1
            self.end(node, isPower: true, .crashes)
        case .rot: self.rot(node)
        case .wipe: self.wipe(node)
        case .stop: self.stop(node)
        case .lowDisk:
            guard node.isRunning else { return }
            self.counters[.lowDisks] += 1
            node.isLowOnDisk = true
            self.after(self.magnitude(Self.second, 10 * Self.second)) {
                node.isLowOnDisk = false
            }
        }
    }

    private func other(than node: SimNode) -> Int {
        let other = self.dice.below(self.nodes.count - 1)
        return other >= node.place ? other + 1 : other
    }

    private func partition(_ fault: SimFault, _ node: SimNode) {
        let nanos = self.magnitude(100 * Self.millisecond, 12 * Self.second)
        self.counters[fault == .oneWay ? .oneWays : .partitions] += 1
        self.note("\(fault) at \(node.name) for \(nanos / Self.millisecond) ms")
        switch fault {
        case .oneWay:
            let other = self.other(than: node)
            self.network.block(node.place, other, for: nanos)
        case .split:
            let sides = self.dice.next()
            for a in self.nodes.indices {
                for b in self.nodes.indices where (sides >> a) & 1 != (sides >> b) & 1 {
                    self.network.block(a, b, for: nanos)
                }
            }
        case _:
            for b in self.nodes.indices where b != node.place {
                self.network.block(node.place, b, for: nanos)
                self.network.block(b, node.place, for: nanos)
            }
        }
    }

    private func end(_ node: SimNode, isPower: Bool, _ count: NodeCount) {
        guard node.isRunning else { return }
        self.counters[count] += 1
        self.note("\(node.name) \(isPower ? "loses its power" : "is killed")")
        node.end(isPower: isPower)
        self.after(self.magnitude(60 * Self.millisecond, 8 * Self.second)) { node.start() }
    }

    /// Now and then others at nearly the same time: one's last words meet another's handover.
    private func stop(_ node: SimNode) {
        self.restart(node)
        guard self.chance(500) else { return }
        for other in self.nodes where other !== node {
            self.after(self.draw(0, Self.second)) { self.restart(other) }
        }
    }

    private func restart(_ node: SimNode) {
        node.stop {
            let wait = self.magnitude(60 * Self.millisecond, 8 * Self.second)
            self.after(wait) { node.start() }
        }
    }

    func stall(_ place: Int) -> Bool { self.stallUntil[place] > self.now }

    // MARK: The end.

    /// Within this all is to be done once the last fault is over.
    private static let restBound = 200 * SimWorld.second

    /// No faults any more: all that was promised comes true.
    func heal() {
        self.isHealing = true
        self.note("the world heals")
        self.network.heal()
        self.servers.heal()
        for place in self.stallUntil.indices { self.stallUntil[place] = 0 }
        for node in self.nodes { node.isLowOnDisk = false }
        self.findAllDamage()
        self.repair()
        guard self.violation == nil else { return }
        let start = self.now
        self.release(until: start + Self.restBound)
        self.run(until: start + Self.restBound) { !self.isAtRest }
        guard self.violation == nil else { return }
        guard self.isAtRest else { return self.fail(10, self.unrest) }
        self.truth.checkEnd()
        // What is left on the disks goes with the next checkpoints.
        let rest = self.now
        self.run(until: rest + 60 * Self.second) { !self.isAtBaseLine }
        self.check(9, self.isAtBaseLine, "disks do not get empty: \(self.diskText)")
    }

    private func release(until end: Int64) {
        guard self.now < end else { return }
        self.releaseAll()
        self.endWishes()
        self.after(2 * Self.second) { self.release(until: end) }
    }

    private var isAtRest: Bool {
        self.clients.allSatisfy(\.isIdle) && self.truth.isEmpty && self.membersAreRight
            && self.nodes.allSatisfy {
                $0.isRunning && !$0.isPaused && self.truth.hasAll($0)
                    && $0.machine.session != .none && $0.waiters.isEmpty
            }
    }

    private var unrest: String {
        var words: [String] = []
        for client in self.clients where !client.isIdle { words.append("client \(client.number)") }
        words += self.truth.unrest
        if !self.membersAreRight { words.append(self.membersText) }
        for node in self.nodes {
            words.append(
                "\(node.name) applied \(node.machine.applied.index) session "
                    + "\(node.machine.session.raw) waiting \(node.waiters.count)")
        }
        return "no rest: " + words.joined(separator: ", ")
    }

    private var isAtBaseLine: Bool {
        self.nodes.allSatisfy { node in
            node.disk.carried.isEmpty && node.disk.segments.count <= 2
        }
    }

    private var diskText: String {
        self.nodes.map {
            "\($0.name) \($0.disk.segments.count) segments, carried "
                + $0.disk.carried.prefix(3).map { $0.tag.text }.joined(separator: " ")
        }.joined(separator: ", ")
    }

    /// The states agree, now and then.
    func watch() {
        self.after(500 * Self.millisecond) {
            self.truth.sweep()
            self.watch()
        }
    }
}
