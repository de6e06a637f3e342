// Chaos.swift - faults strike, each kind at its own rate.
//
// Never     more lost disks than a group can bear: see `mayLose`.

import Primitives
import Raft

extension World {
    func pushFault(_ fault: Fault) {
        let mean = self.scenario.means[fault.rawValue]
        self.push(.fault, host: 0, item: fault.rawValue, after: self.dice.around(mean))
    }

    func count(_ fault: Fault) { self.truth.counters.faults[fault.rawValue] += 1 }

    func strike(_ event: Event) {
        guard !self.isHealing, let fault = Fault(rawValue: event.item) else { return }
        self.pushFault(fault)
        switch fault {
        case .crash, .powerLoss, .blackout: self.strikePower(fault)
        case .pause, .suspend, .clockRate, .clockJump: self.strikeTime(fault)
        case .partition, .oneWay, .isolate, .flap, .clog, .reset: self.strikeNetwork(fault)
        case .stall, .writeError, .syncError, .full, .refusedSegment:
            // Counted when it happens: with the next write.
            let host = self.victim()
            if host.isRunning, host.disk.armed == nil { host.disk.armed = fault }
        case .rot, .misdirected, .readError, .checkpointRot, .wipe: self.strikeDisk(fault)
        case .transfer: self.transferSomewhere()
        case .campaign:
            let host = self.victim()
            guard host.isRunning, !host.isPaused else { return }
            self.count(.campaign)
            self.note("\(host.index) is told to campaign")
            host.replica!.campaign()
            self.afterEvent(host)
        case .change: self.changeSomething()
        case .joint: self.changeSeveral()
        }
    }

    /// The leader, more often than its share.
    func victim() -> Host {
        if self.dice.chance(permille: 400), let leader = self.leader { return leader }
        return self.hosts[self.dice.below(self.hosts.count)]
    }

    /// Of the newest term, if several think so.
    var leader: Host? {
        var newest: Host?
        for host in self.hosts where host.isLeading {
            if newest == nil || newest!.replica!.raft.term < host.replica!.raft.term {
                newest = host
            }
        }
        return newest
    }

    private func strikePower(_ fault: Fault) {
        if fault == .blackout {
            self.count(fault)
            self.note("all machines lose their power")
            for host in self.hosts where host.isRunning {
                self.end(
                    host, isPower: true,
                    downFor: 50_000_000 + Int64(self.dice.below(2_000_000_000)))
            }
            return
        }
        let host = self.victim()
        guard host.isRunning else { return }
        self.count(fault)
        self.note("\(host.index) \(fault.name)")
        self.end(host, isPower: fault == .powerLoss)
    }

    private func strikeTime(_ fault: Fault) {
        let host = self.victim()
        guard host.isRunning, !host.isPaused else { return }
        self.count(fault)
        self.note("\(host.index) \(fault.name)")
        switch fault {
        case .clockRate: host.tickNanos = self.drawTick()
        case .clockJump:
            var ticks = 1 + self.dice.below(80)
            while ticks > 0, host.isRunning {
                ticks -= 1
                self.tickOnce(host)
            }
        case _:
            self.pause(
                host, nanos: self.dice.magnitude(20_000_000, 5_000_000_000),
                isSuspended: fault == .suspend)
        }
    }

    private func strikeNetwork(_ fault: Fault) {
        let a = self.victim().index
        var b = self.dice.below(self.hosts.count - 1)
        if b >= a { b += 1 }
        let until = self.now + self.dice.magnitude(50_000_000, 8_000_000_000)
        self.count(fault)
        self.note("\(fault.name) \(a) \(b), \((until - self.now) / 1_000_000) ms")
        switch fault {
        case .clog:
            // Shorter: what is held comes all at once, and old.
            let at = self.link(a, b)
            self.links[at].clogUntil = min(until, self.now + 3_000_000_000)
            self.links[at].lastArrival = max(
                self.links[at].lastArrival, self.links[at].clogUntil)
        case .reset: self.breakConnection(a, b)
        case .flap:
            for at in [self.link(a, b), self.link(b, a)] {
                self.links[at].flapUntil = until
                self.links[at].flapPeriod = self.dice.magnitude(10_000_000, 500_000_000)
            }
        case .isolate:
            self.cut(until: until) { from, to in from == a || to == a }
            self.flood(self.hosts[a])
        case .oneWay:
            if self.dice.chance(permille: 300) {
                self.cut(until: until) { from, to in from == a && to == b }
            } else if self.dice.chance(permille: 500) {
                self.cut(until: until) { from, _ in from == a }
            } else {
                self.cut(until: until) { _, to in to == a }
            }
        case _:
            let sides = self.dice.next()
            self.cut(until: until) { from, to in (sides >> from) & 1 != (sides >> to) & 1 }
        }
    }

    /// Clients that do not know better send their commands to a leader that is cut off, again and
    /// again: it has a long tail to lose.
    private func flood(_ host: Host) {
        guard host.isLeading, !host.isPaused, self.dice.chance(permille: 500),
            let command = self.clients[self.dice.below(self.clients.count)].command
        else { return }
        let count = 10 + self.dice.below(50)
        self.truth.counters.proposals += count
        for _ in 0..<count {
            try? host.replica!.propose([Entry(data: command.bytes)])
            self.afterEvent(host)
        }
    }

    private func cut(until: Int64, where isCut: (Int, Int) -> Bool) {
        for from in self.hosts.indices {
            for to in self.hosts.indices where from != to && isCut(from, to) {
                let at = self.link(from, to)
                self.links[at].cutUntil = max(self.links[at].cutUntil, until)
            }
        }
    }

    /// Damage is found at the next start; a process that ends now starts soon.
    private func strikeDisk(_ fault: Fault) {
        let host = self.victim()
        guard self.mayLose(host) else { return }
        self.count(fault)
        self.note("\(host.index) \(fault.name)")
        host.disk.isDamaged = true
        if host.isRunning { self.end(host, isPower: fault == .wipe) }
    }
}
