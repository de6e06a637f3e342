// World.swift - a world with its own clock, network and disks, in which members of a group live.
//
// Takes     a seed and options: everything else follows from them.
// Gives     a violation or none, counters, and a hash of all that happened.
// Never     a clock, dice, threads of the real world; an order that a hash table chose.
// See       Driving (what drivers do), Life (processes), Network, Chaos (faults), Operator,
//           Clients, Observing (checks), Ending (the healed world); Docs/Invariants.md 12.

import Primitives
import Raft

package final class World {
    package let seed: UInt64
    let run: RunOptions
    var scenario: Scenario
    var dice: Generator
    var now: Int64 = 0
    var heap = EventHeap()
    var truth: Truth
    var hosts: [Host] = []
    var links: [Link] = []
    var messages = Slots<Message>()
    /// States that snapshots carry, by the number in their data.
    var snapshots: [Register] = []
    var nextGeneration = 0
    var memberCount = 0
    /// The machine of each member; -1: nobody bears that id any more.
    var route = [Int](repeating: -1, count: World.idsMax)
    /// What is on record of each member, for as long as the run.
    var records = [MemberRecord](repeating: MemberRecord(), count: World.idsMax)
    /// Members whose disks are lost, and the machine where each was.
    var destroyed: [(member: MemberID, host: Int)] = []
    /// The greatest index at which a change of members was ever put.
    var lastChange: UInt64 = 0
    var clients: [Client] = []
    /// What was committed when each read was asked for.
    var readSince: [UInt64] = []
    var isHealing = false
    var healedAt: Int64 = 0
    var trace: Trace?
    private var mix = StableHash()

    static let idsMax = 256

    /// Durable votes and promised terms of one member, in all its lives.
    struct MemberRecord {
        var votes: ContiguousArray<(term: UInt64, vote: MemberID)> = []
        var promisedTerm: UInt64 = 0
        var durableTerm: UInt64 = 0
        /// What it held when its disk was lost.
        var lastView: LogView?
    }

    package init(seed: UInt64, options: RunOptions = RunOptions(), trace: Trace? = nil) {
        self.seed = seed
        self.run = options
        self.trace = trace
        self.dice = Generator(seed: seed)
        self.scenario = Scenario(options, dice: &self.dice)
        let origin = LogPosition(term: 1, index: 1)
        self.truth = Truth(
            origin: origin, configuration: Configuration(), clients: self.scenario.clients)
        self.settle(origin: origin)
    }

    /// Founders begin at one position with one configuration; spares with nothing.
    private func settle(origin: LogPosition) {
        let count = self.scenario.voters + self.scenario.spares
        self.links = Array(repeating: Link(), count: count * count)
        var founders: [MemberID] = []
        var ids: [MemberID] = []
        for i in 0..<count {
            ids.append(self.newMember(on: i))
            if i < self.scenario.voters { founders.insertSorted(ids[i]) }
        }
        let configuration = Configuration(voters: founders)
        self.truth = Truth(
            origin: origin, configuration: configuration, clients: self.scenario.clients)
        for i in 0..<count {
            let isFounder = i < self.scenario.voters
            let disk =
                isFounder
                ? Disk(
                    founding: Checkpoint(
                        generation: 0, state: Register(position: origin),
                        configuration: configuration),
                    hardState: HardState(term: 1, vote: .none, commit: 1))
                : self.emptyDisk()
            let host = Host(
                index: i, member: ids[i], disk: disk, tickNanos: self.drawTick())
            self.hosts.append(host)
            self.push(.restart, host: i, epoch: 0, after: Int64(self.dice.below(1_000_000_000)))
        }
        for c in 0..<self.scenario.clients {
            self.clients.append(Client())
            self.push(.client, host: c, after: self.dice.around(self.scenario.think))
        }
        for fault in Fault.allCases where self.scenario.means[fault.rawValue] > 0 {
            self.pushFault(fault)
        }
        self.push(.control, host: 0, after: 1_000_000_000)
    }

    func emptyDisk() -> Disk {
        self.nextGeneration += 1
        return Disk(
            founding: Checkpoint(
                generation: self.nextGeneration, state: Register(position: .zero),
                configuration: Configuration()),
            hardState: .empty)
    }

    /// An id that nobody had before.
    func newMember(on host: Int) -> MemberID {
        self.memberCount += 1
        invariant(self.memberCount < Self.idsMax, "ids of members")
        let raw = self.scenario.idsDescend ? Self.idsMax - self.memberCount : self.memberCount
        self.route[raw] = host
        return MemberID(raw: UInt64(raw))
    }

    /// 20 ms, up to 10 % too long or too short.
    func drawTick() -> Int64 { 18_000_000 + Int64(self.dice.below(4_000_001)) }

    // MARK: Time.

    func push(
        _ kind: EventKind, host: Int, other: Int = 0, epoch: UInt32 = 0, item: Int = 0,
        after: Int64
    ) {
        self.heap.push(
            Event(
                time: self.now + after, kind: kind, host: UInt8(host), other: UInt8(other),
                epoch: epoch, item: item))
    }

    /// Lives up to `end`, or to the first violation.
    package func live(until end: Int64) {
        while self.truth.violation == nil, let event = self.heap.pop() {
            if event.time > end {
                self.heap.push(event)
                self.now = end
                return
            }
            self.now = event.time
            self.truth.now = event.time
            self.truth.counters.events += 1
            self.mix.add(UInt64(event.time))
            self.mix.add(UInt64(event.kind.rawValue) << 32 | UInt64(event.host))
            self.dispatch(event)
        }
    }

    /// Of everything that happened so far.
    package var hash: UInt64 {
        var mix = self.mix
        mix.add(self.truth.committed)
        for host in self.hosts {
            mix.add(host.state.hash)
            mix.add(host.seen.term << 32 | host.seen.commit)
        }
        mix.add(self.dice.copyOfNext())
        return mix.value
    }

    private func dispatch(_ event: Event) {
        switch event.kind {
        case .fault: self.strike(event)
        case .client: self.clientActs(Int(event.host), operation: event.item)
        case .clientTimeout: self.clientGivesUp(Int(event.host), attempt: event.item)
        case .control: self.control()
        case .tick, .turn, .deliver, .storeDone, .applyStep, .checkpointDone, .offerSnapshot,
            .snapshotReport, .recovered, .restart, .rejoin, .resume, .call:
            self.dispatch(event, to: self.hosts[Int(event.host)])
        }
    }

    private func dispatch(_ event: Event, to host: Host) {
        if host.isPaused, event.kind != .resume {
            host.held.append(event)
            return
        }
        switch event.kind {
        case .deliver: return self.deliver(event, to: host)
        case .call: return self.call(host, client: Int(event.other), attempt: event.item)
        case .tick, .turn, .storeDone, .applyStep, .checkpointDone, .offerSnapshot,
            .snapshotReport, .recovered, .restart, .rejoin, .resume, .fault, .client,
            .clientTimeout, .control:
            break
        }
        guard event.epoch == host.epoch else { return }
        switch event.kind {
        case .tick: self.tick(host)
        case .turn: if host.isTurnDue { self.turn(host) }
        case .storeDone: self.storeDone(host)
        case .applyStep: self.applyStep(host)
        case .checkpointDone: self.checkpointDone(host)
        case .offerSnapshot: self.offerSnapshot(host)
        case .snapshotReport: self.snapshotReport(host, event.item)
        case .recovered: self.recovered(host)
        case .restart: self.restart(host)
        case .rejoin: self.rejoin(host)
        case .resume: self.resume(host)
        case .deliver, .fault, .client, .clientTimeout, .call, .control:
            break
        }
    }

    @inline(__always)
    func note(_ text: @autoclosure () -> String) {
        if self.trace != nil { self.trace?.add(self.now, text()) }
    }
}

extension Generator {
    /// What it would draw next.
    func copyOfNext() -> UInt64 {
        var copy = self
        return copy.next()
    }
}

/// Values by number; numbers are used again.
struct Slots<Value> {
    private var values: ContiguousArray<Value?> = []
    private var free: ContiguousArray<Int> = []

    mutating func put(_ value: Value) -> Int {
        if let slot = self.free.popLast() {
            self.values[slot] = value
            return slot
        }
        self.values.append(value)
        return self.values.count - 1
    }

    mutating func take(_ slot: Int) -> Value {
        guard let value = self.values[slot] else { unreachable("a slot holds a value") }
        self.values[slot] = nil
        self.free.append(slot)
        return value
    }
}

/// What happened, for people: the newest lines, or all of them at once to a sink.
package struct Trace: Sendable {
    package private(set) var lines: [String] = []
    private let limit: Int
    private let sink: (@Sendable (String) -> Void)?

    package init(limit: Int = 400, sink: (@Sendable (String) -> Void)? = nil) {
        self.limit = limit
        self.sink = sink
    }

    mutating func add(_ time: Int64, _ text: String) {
        let micros = time / 1000
        let seconds = String(micros / 1_000_000)
        let rest = String(micros % 1_000_000)
        let line =
            String(repeating: " ", count: max(0, 4 - seconds.count)) + seconds + "."
            + String(repeating: "0", count: max(0, 6 - rest.count)) + rest + "  " + text
        self.sink?(line)
        self.lines.append(line)
        if self.lines.count > 2 * self.limit { self.lines.removeFirst(self.limit) }
    }
}
