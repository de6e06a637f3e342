// Life.swift - processes begin, end, wait; disks are lost, and the machines come back as others.
//
// Durable   what lies behind the last known sync is synced again before the member starts.
// See       design 4a (a lost disk is another member), 5 (restart).

import Primitives
import Raft

extension World {
    /// The process ends, with its machine or alone; it comes back later.
    func end(_ host: Host, isPower: Bool, downFor: Int64? = nil) {
        if host.disk.checkpointing != nil { self.truth.counters.halfCheckpoints += 1 }
        if host.disk.crash(isPower: isPower, dice: &self.dice) { self.truth.counters.torn += 1 }
        // What waited for a paused process is lost with it, and its senders learn so in the end.
        for event in host.forget() where event.kind == .deliver { self.deliver(event, to: host) }
        let pause = downFor ?? self.dice.magnitude(50_000_000, 8_000_000_000)
        self.push(.restart, host: host.index, epoch: host.epoch, after: pause)
    }

    func restart(_ host: Host) {
        guard !host.isRunning, !host.isLost else { return }
        if host.disk.isDamaged { return self.loseDisk(host) }
        self.push(
            .recovered, host: host.index, epoch: host.epoch,
            after: 1_000_000 + self.scenario.sync.draw(&self.dice))
    }

    /// The journal is read and its end written again: the member starts.
    func recovered(_ host: Host) {
        guard !host.isRunning, !host.isLost else { return }
        if host.disk.isDamaged { return self.loseDisk(host) }
        host.disk.rewrite()
        self.recordVotes(host)
        let checkpoint = host.disk.current
        var replay = LogReplay(applied: checkpoint.position)
        let start: Start
        do throws(ReplayError) {
            for segment in host.disk.segments {
                for record in segment.records {
                    switch record {
                    case .entry(let entry): replay.take(entry)
                    case .hardState(let state): replay.take(state)
                    case .base(let position, _): replay.take(base: position)
                    }
                }
            }
            start = try replay.start(configuration: checkpoint.configuration)
        } catch {
            return self.truth.fail(.restart, "host \(host.index): \(error)")
        }
        self.checkStart(start, of: host)
        self.begin(host, with: start)
    }

    private func begin(_ host: Host, with start: Start) {
        self.truth.counters.starts += 1
        let checkpoint = host.disk.current
        host.disk.forget(to: checkpoint.position)
        host.state = checkpoint.state
        host.configuration = checkpoint.configuration
        host.wholeUpTo = checkpoint.position.index
        self.truth.installs(
            host.member, position: checkpoint.position, state: checkpoint.state.hash)
        self.note(
            "\(host.index) starts as \(host.member.raw): term \(start.hardState.term), vote "
                + "\(start.hardState.vote.raw), log \(start.base.text)..+\(start.entries.count), "
                + "commit \(start.hardState.commit), \(start.configuration.text)")
        var options = self.scenario.options
        options.id = host.member
        host.replica = Replica(options, start: start, random: self.dice.next())
        host.seen = Host.Seen(
            term: host.replica!.raft.term, commit: checkpoint.position.index, role: .follower)
        host.contactFloor = host.ticks
        self.push(
            .tick, host: host.index, epoch: host.epoch,
            after: Int64(self.dice.below(Int(host.tickNanos))))
        self.afterEvent(host)
    }

    // MARK: Pauses.

    func pause(_ host: Host, nanos: Int64, isSuspended: Bool) {
        host.isPaused = true
        host.pausedAt = self.now
        host.isSuspended = isSuspended
        self.push(.resume, host: host.index, epoch: host.epoch, after: nanos)
    }

    func resume(_ host: Host) {
        guard host.isPaused else { return }
        self.note("\(host.index) goes on")
        host.isPaused = false
        var held: [Event] = []
        swap(&held, &host.held)
        // Requests of clients may be seen before what the peers have to say, or after.
        if self.dice.chance(permille: 500) {
            held = held.filter { $0.kind == .call } + held.filter { $0.kind != .call }
        }
        for event in held {
            var late = event
            late.time = self.now
            self.heap.push(late)
        }
        guard host.isSuspended else { return }
        var missed = min((self.now - host.pausedAt) / host.tickNanos, 200)
        while missed > 0, host.isRunning {
            missed -= 1
            self.tickOnce(host)
        }
    }

    // MARK: Lost disks.

    /// The member's word is lost: the machine comes back as another member.
    private func loseDisk(_ host: Host) {
        self.truth.counters.destroyed += 1
        self.note("\(host.index) has lost what member \(host.member.raw) promised")
        host.isLost = true
        self.retire(host)
        self.destroyed.append((host.member, host.index))
        self.push(
            .rejoin, host: host.index, epoch: host.epoch,
            after: self.dice.magnitude(50_000_000, 2_000_000_000))
    }

    /// Nobody bears this id any more.
    func retire(_ host: Host) {
        self.records[Int(host.member.raw)].lastView = host.disk.view
        self.route[Int(host.member.raw)] = -1
    }

    func rejoin(_ host: Host) {
        host.isLost = false
        host.member = self.newMember(on: host.index)
        host.disk = self.emptyDisk()
        self.note("\(host.index) is empty and comes as member \(host.member.raw)")
        self.restart(host)
    }

    /// Whether one more member may lose its disk: in every configuration that is or may come back
    /// in force, a majority of each half must still have theirs.
    func mayLose(_ host: Host) -> Bool {
        guard !host.isLost, !host.disk.isDamaged else { return false }
        guard self.memberCount < Self.idsMax - 20 else { return false }
        // A change that nobody has applied yet: what it leads to is not known.
        var oldest = UInt64.max
        for other in self.hosts where !other.isLost {
            if other.disk.current.position.index > 0 {
                oldest = min(oldest, other.disk.current.position.index)
            }
            if other.isRunning, self.lastChange > other.state.position.index,
                other.isLeading
            {
                return false
            }
        }
        guard self.lastChange <= self.truth.newestApplied else { return false }
        for (_, configuration) in self.truth.configurations(from: oldest) {
            for half in [configuration.voters, configuration.outgoing] where !half.isEmpty {
                var lost = half.contains(host.member) ? 1 : 0
                for id in half where self.isDestroyed(id) { lost += 1 }
                if lost > (half.count - 1) / 2 { return false }
            }
        }
        return true
    }

    func isDestroyed(_ id: MemberID) -> Bool {
        if self.destroyed.contains(where: { $0.member == id }) { return true }
        // Rotten already, and found at the next start.
        let host = self.route[Int(id.raw)]
        return host >= 0 && self.hosts[host].disk.isDamaged
    }

    func noteReplaced() {
        let newest = self.truth.newestConfiguration
        let before = self.destroyed.count
        self.destroyed.removeAll { item in
            // It still counts where an older configuration may come back: see `mayLose`.
            !newest.contains(item.member) && !self.isInOlderConfiguration(item.member)
        }
        self.truth.counters.replaced += before - self.destroyed.count
    }

    private func isInOlderConfiguration(_ id: MemberID) -> Bool {
        var oldest = UInt64.max
        for host in self.hosts where !host.isLost && host.disk.current.position.index > 0 {
            oldest = min(oldest, host.disk.current.position.index)
        }
        return self.truth.configurations(from: oldest).contains { $0.configuration.contains(id) }
    }
}
