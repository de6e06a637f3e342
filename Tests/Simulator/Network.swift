// Network.swift - links between machines: they lose, repeat, delay, reorder, cut, hold and break.
//
// Takes     messages of members; the machine that bears the addressee's id gets them.
// Never     a message changed, or one to a machine whose member is another by now.

import Primitives
import Raft

/// One direction between two machines.
struct Link: Sendable {
    var cutUntil: Int64 = 0
    var clogUntil: Int64 = 0
    var flapUntil: Int64 = 0
    var flapPeriod: Int64 = 1
    /// Counts connections: what was under way on an earlier one is lost.
    var epoch: UInt32 = 0
    /// Nothing arrives before what was sent before it, where order is kept.
    var lastArrival: Int64 = 0

    func isCut(at now: Int64) -> Bool {
        now < self.cutUntil || (now < self.flapUntil && (now / self.flapPeriod) & 1 == 0)
    }
}

extension World {
    func link(_ from: Int, _ to: Int) -> Int { from * self.hosts.count + to }

    func send(_ message: Message, from host: Host) {
        self.truth.counters.messages += 1
        self.checkPromise(message, of: host)
        if self.scenario.usesCodec { self.checkCodec(message) }
        let to = self.route[Int(message.to.raw)]
        guard to >= 0, to != host.index else { return self.lose(message, from: host) }
        let at = self.link(host.index, to)
        if self.links[at].isCut(at: self.now) { return self.lose(message, from: host) }
        if self.scenario.lossPermille > 0, self.dice.chance(permille: self.scenario.lossPermille) {
            return self.lose(message, from: host)
        }
        self.dispatchCopy(message, from: host, to: to, link: at)
        if self.scenario.replayPermille > 0,
            self.dice.chance(permille: self.scenario.replayPermille)
        {
            self.truth.counters.replayed += 1
            self.dispatchCopy(message, from: host, to: to, link: at)
        }
    }

    private func dispatchCopy(_ message: Message, from host: Host, to: Int, link at: Int) {
        var delay = self.scenario.network.draw(&self.dice)
        if case .snapshot = message.body {
            delay += 1_000_000 + Int64(self.dice.below(300_000_000))
        }
        var arrival = max(self.now + delay, self.links[at].clogUntil)
        if self.scenario.keepsOrder {
            arrival = max(arrival, self.links[at].lastArrival)
            self.links[at].lastArrival = arrival
        }
        self.push(
            .deliver, host: to, other: host.index, epoch: self.links[at].epoch,
            item: self.messages.put(message), after: arrival - self.now)
    }

    private func lose(_ message: Message, from host: Host) {
        self.truth.counters.lost += 1
        if case .snapshot = message.body {
            self.reportSnapshot(to: message.to, isInstalled: false, from: host)
        }
    }

    /// The sender of a snapshot learns later what became of it.
    func reportSnapshot(to id: MemberID, isInstalled: Bool, from host: Host) {
        guard host.isRunning else { return }
        self.push(
            .snapshotReport, host: host.index, epoch: host.epoch,
            item: Int(id.raw) << 1 | (isInstalled ? 1 : 0),
            after: 1_000_000 + Int64(self.dice.below(200_000_000)))
    }

    func deliver(_ event: Event, to host: Host) {
        let message = self.messages.take(event.item)
        let from = self.hosts[Int(event.other)]
        let isWhole =
            event.epoch == self.links[self.link(from.index, host.index)].epoch
            && host.member == message.to && host.isRunning
        if case .snapshot = message.body {
            self.reportSnapshot(to: message.to, isInstalled: isWhole, from: from)
        }
        guard isWhole else {
            self.truth.counters.lost += 1
            return
        }
        self.note("\(host.index) < \(from.index)  \(message.text)")
        host.heard[Int(message.from.raw)] = host.ticks
        if case .transferLeader = message.body { host.contactFloor = host.ticks }
        self.truth.counters.checks[Checker.sound.rawValue] += 1
        let before = host.replica!.raft.hardState
        do throws(StepError) {
            try host.replica!.step(message)
        } catch {
            self.refused(message, error, at: host)
        }
        switch message.body {
        case .preVote:
            self.checkPreVote(message, before: before, at: host)
        case .preVoteAnswer, .vote, .voteAnswer, .append, .appended, .appendRejected, .heartbeat,
            .heartbeatAnswer, .snapshot, .timeoutNow, .transferLeader, .propose, .read, .readAnswer:
            break
        }
        self.afterEvent(host)
    }

    private func refused(_ message: Message, _ error: StepError, at host: Host) {
        switch error {
        case .unknownPeer, .proposalDropped:
            self.note("\(host.index) drops it: \(error)")
        case .malformed("sender"): break
        case .malformed(let label), .contradiction(let label):
            self.truth.fail(.sound, "host \(host.index) refuses \(message.text): \(label.text)")
        }
    }

    func checkCodec(_ message: Message) {
        var writer = ByteWriter(capacity: 64)
        message.encode(into: &writer)
        let back = try? Message(writer.bytes)
        self.truth.check(.codec, back == message, "\(message.text) came back as something else")
    }

    /// A connection between two machines breaks, and both learn of it.
    func breakConnection(_ a: Int, _ b: Int) {
        self.links[self.link(a, b)].epoch += 1
        self.links[self.link(b, a)].epoch += 1
        for (host, other) in [(self.hosts[a], self.hosts[b]), (self.hosts[b], self.hosts[a])] {
            guard host.isRunning, !host.isPaused else { continue }
            host.replica!.reportUnreachable(other.member)
            if host.replica!.raft.leader == other.member, self.dice.chance(permille: 500) {
                self.note("\(host.index) campaigns: its connection to the leader broke")
                host.replica!.campaign()
            }
            self.afterEvent(host)
        }
    }
}

extension Message {
    /// For people.
    var text: String {
        "\(self.from.raw)>\(self.to.raw) t\(self.term) " + self.body.text
    }
}

extension Message.Body {
    var text: String {
        switch self {
        case .append(let previous, let entries, let commit):
            let range = entries.isEmpty ? "" : " ..\(entries[entries.count - 1].position.text)"
            return "append \(previous.text)\(range) commit \(commit)"
        case .snapshot(let snapshot):
            return "snapshot \(snapshot.position.text) \(snapshot.configuration.text)"
        case .appendRejected(let index, let hint):
            return "rejected \(index) hint \(hint.text)"
        case .preVote(let last, _): return "preVote \(last.text)"
        case .vote(let last, let isTransfer):
            return "vote \(last.text)" + (isTransfer ? " transfer" : "")
        case .preVoteAnswer(let isGranted): return isGranted ? "preVote yes" : "preVote no"
        case .voteAnswer(let isGranted): return isGranted ? "vote yes" : "vote no"
        case .appended(let index): return "appended \(index)"
        case .heartbeat(let commit, let round): return "heartbeat commit \(commit) round \(round)"
        case .heartbeatAnswer(let round): return "heartbeat answer \(round)"
        case .timeoutNow: return "timeoutNow"
        case .transferLeader: return "transferLeader"
        case .propose(let entries): return "propose \(entries.count)"
        case .read(let request): return "read \(request)"
        case .readAnswer(let index, let request): return "readAnswer \(index) for \(request)"
        }
    }
}
