// Clients.swift - the workload: commands that are sent again until they are answered, and reads.
//
// Like      sessions: (client, sequence) makes a command take effect once, sent how often it may.

import Primitives
import Raft

struct Client: Sendable {
    /// Of the last command.
    var sequence: UInt64 = 0
    var isBusy = false
    var isRead = false
    /// Counts attempts over all operations: what belongs to an earlier one is void.
    var attempt = 0
    var host = 0
    var hostEpoch: UInt32 = 0
    /// What anybody had been told of when the operation began.
    var since: UInt64 = 0
    var command: Command?
    var request: UInt64 = 0
    var done = 0
}

extension World {
    /// The next operation begins.
    func clientActs(_ c: Int, operation: Int) {
        if self.clients[c].isBusy || self.isHealing && operation == 0 { return }
        self.clients[c].isBusy = true
        self.clients[c].since = self.truth.acknowledged
        self.clients[c].isRead = self.dice.chance(permille: self.scenario.readPermille)
        if operation != 0 { self.clients[c].isRead = operation == 2 }
        if !self.clients[c].isRead {
            self.clients[c].sequence += 1
            self.clients[c].command = Command(
                client: UInt8(c), sequence: self.clients[c].sequence,
                what: Command.What(rawValue: UInt8(self.dice.below(3))) ?? .get,
                key: UInt8(self.dice.below(8)),
                value: UInt32(truncatingIfNeeded: self.dice.next()))
        }
        self.attempt(c)
    }

    private func attempt(_ c: Int) {
        self.clients[c].attempt += 1
        self.clients[c].host = -1
        var to = self.dice.below(self.hosts.count)
        if self.dice.chance(permille: 500), let leader = self.leader { to = leader.index }
        let attempt = self.clients[c].attempt
        self.push(
            .call, host: to, other: c, item: attempt, after: Int64(self.dice.below(1_000_000)))
        self.push(
            .clientTimeout, host: c, item: attempt,
            after: self.dice.magnitude(200_000_000, 2_000_000_000))
    }

    /// The request reaches a process.
    func call(_ host: Host, client c: Int, attempt: Int) {
        guard self.clients[c].attempt == attempt, self.clients[c].isBusy else { return }
        guard host.isRunning else { return self.tryLater(c) }
        self.clients[c].host = host.index
        self.clients[c].hostEpoch = host.epoch
        do throws(StepError) {
            if self.clients[c].isRead {
                self.clients[c].request = UInt64(self.readSince.count)
                self.readSince.append(self.truth.committed)
                try host.replica!.requestRead(self.clients[c].request)
            } else if let command = self.clients[c].command {
                // Many times at once: a leader that is cut off then has a long tail to lose.
                var count = 1
                if self.scenario.burstPermille > 0,
                    self.dice.chance(permille: self.scenario.burstPermille)
                {
                    count += self.dice.below(30)
                }
                self.truth.counters.proposals += count
                for _ in 0..<count { try host.replica!.propose([Entry(data: command.bytes)]) }
            }
        } catch {
            self.tryLater(c)
        }
        self.afterEvent(host)
    }

    private func tryLater(_ c: Int) {
        self.push(
            .clientTimeout, host: c, item: self.clients[c].attempt,
            after: 10_000_000 + Int64(self.dice.below(100_000_000)))
    }

    func clientGivesUp(_ c: Int, attempt: Int) {
        guard self.clients[c].isBusy, self.clients[c].attempt == attempt else { return }
        self.attempt(c)
    }

    private func finish(_ c: Int) {
        self.clients[c].isBusy = false
        self.clients[c].done += 1
        self.push(.client, host: c, after: self.dice.around(self.scenario.think))
    }

    /// A process has applied a command: who waits there is answered.
    func commandApplied(_ command: Command, on host: Host) {
        let c = Int(command.client)
        let client = self.clients[c]
        guard client.isBusy, !client.isRead, client.sequence == command.sequence,
            client.host == host.index, client.hostEpoch == host.epoch
        else { return }
        // The answer is lost: the client asks again.
        if self.scenario.answerPermille < 1000,
            !self.dice.chance(permille: self.scenario.answerPermille)
        {
            return
        }
        self.truth.counters.commands += 1
        self.truth.acknowledges(
            self.truth.effect(client: c, sequence: command.sequence), since: client.since)
        self.finish(c)
    }

    /// Reads whose index is applied by now.
    func answerReads(_ host: Host) {
        guard !host.readable.isEmpty else { return }
        let position = host.state.position.index
        var i = 0
        while i < host.readable.count {
            let read = host.readable[i]
            guard read.index <= position else {
                i += 1
                continue
            }
            host.readable.remove(at: i)
            for c in self.clients.indices
            where self.clients[c].isBusy && self.clients[c].isRead
                && self.clients[c].request == read.request
                && self.clients[c].hostEpoch == host.epoch
                && self.clients[c].host == host.index
            {
                self.truth.counters.reads += 1
                self.truth.reads(
                    index: read.index, applied: position,
                    since: max(self.readSince[Int(read.request)], self.clients[c].since),
                    at: host.index)
                self.finish(c)
            }
        }
    }
}
