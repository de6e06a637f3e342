// SimWorld.swift - time, chance, and who is there.
//
// Order     events at one instant happen in the order in which they were planned.
// Never     a clock, a thread, an order of a hash table: all that happens follows from the seed.

import Cluster
import MailQueue
import Primitives
import Raft
import Spool

typealias Tag = Primitives.Tag

/// The heap's entries: what happens when, and to which life of which node.
private struct SimEvent {
    var time: Int64
    var order: UInt64
    var node: SimNode?
    var epoch: UInt32
    var body: () -> Void
}

/// A binary heap of events.
private struct SimHeap {
    private var events: [SimEvent] = []
    private var nextOrder: UInt64 = 0

    private func isBefore(_ a: Int, _ b: Int) -> Bool {
        self.events[a].time != self.events[b].time
            ? self.events[a].time < self.events[b].time
            : self.events[a].order < self.events[b].order
    }

    var first: Int64? { self.events.first?.time }

    mutating func push(_ time: Int64, _ node: SimNode?, _ body: @escaping () -> Void) {
        self.nextOrder += 1
        self.events.append(
            SimEvent(
                time: time, order: self.nextOrder, node: node, epoch: node?.epoch ?? 0, body: body))
        var at = self.events.count - 1
        while at > 0, self.isBefore(at, (at - 1) / 2) {
            self.events.swapAt(at, (at - 1) / 2)
            at = (at - 1) / 2
        }
    }

    mutating func pop() -> SimEvent? {
        guard !self.events.isEmpty else { return nil }
        self.events.swapAt(0, self.events.count - 1)
        let first = self.events.removeLast()
        var at = 0
        while 2 * at + 1 < self.events.count {
            var child = 2 * at + 1
            if child + 1 < self.events.count, self.isBefore(child + 1, child) { child += 1 }
            guard self.isBefore(child, at) else { break }
            self.events.swapAt(at, child)
            at = child
        }
        return first
    }
}

final class SimWorld {
    static let second: Int64 = 1_000_000_000
    static let millisecond: Int64 = 1_000_000

    let options: NodeRunOptions
    let scenario: SimScenario
    var dice: Generator
    /// Of the world, which nobody in it knows.
    private(set) var now: Int64 = 0
    private var heap = SimHeap()
    var hash = StableHash()
    var trace: SimTrace?
    var counters = NodeCounters()
    var traffic = NodeTraffic()
    /// Disks whose nodes were ever asked to leave: their copies may go with them.
    var askedToLeave: [Holder] = []
    /// Disks whose nodes were ever asked to be no voters: no majority may need them.
    var askedToVoteNoMore: [MemberID] = []
    private(set) var violation: NodeViolation?
    /// No faults any more.
    var isHealing = false
    /// By node: its disk takes its time until then.
    var stallUntil: [Int64] = []

    private(set) var nodes: [SimNode] = []
    /// The first disks of the first nodes.
    private(set) var founders: [MemberID] = []
    private var disksMade: UInt64 = 0
    let truth: Truth
    let network: SimNetwork
    let servers: SimServers
    var clients: [SimClient] = []

    init(seed: UInt64, options: NodeRunOptions) {
        self.options = options
        var dice = Generator(seed: seed)
        self.scenario = SimScenario(options, &dice)
        self.dice = dice
        self.truth = Truth()
        self.network = SimNetwork(nodes: self.scenario.nodes)
        self.servers = SimServers(count: self.scenario.destinations)
        self.truth.world = self
        self.network.world = self
        self.servers.world = self
        self.stallUntil = (0..<self.scenario.nodes).map { _ in 0 }
        for place in 0..<self.scenario.nodes {
            let id = self.newDisk(of: place)
            if place < self.scenario.founders { self.founders.append(id) }
            self.nodes.append(SimNode(place: place, id: id, world: self))
        }
    }

    func begin() {
        for node in self.nodes {
            self.after(self.draw(0, 300 * Self.millisecond)) { node.start() }
        }
        self.network.begin()
        self.servers.begin()
        for number in 0..<self.scenario.clients {
            let client = SimClient(number: number, world: self)
            self.clients.append(client)
            client.begin()
        }
        self.beginOperator()
        self.beginWishes()
        self.beginChaos()
        self.watch()
    }

    // MARK: Disks.

    /// An empty disk's incarnation.
    func newDisk(of place: Int) -> MemberID {
        self.disksMade += 1
        let id = MemberID(raw: self.disksMade << 8 | UInt64(place))
        return id
    }

    /// Whose disk it is; nil: it does not exist any more.
    func node(of disk: MemberID) -> SimNode? { self.nodes.first { $0.id == disk } }

    /// The founding record, which every disk gets with its first links.
    var record: [FoundingRecord.Member] {
        self.founders.enumerated().map {
            FoundingRecord.Member(name: "n\($0.offset)", incarnation: $0.element)
        }
    }

    // MARK: Time.

    /// Plans what happens to the world.
    func after(_ nanos: Int64, _ body: @escaping () -> Void) {
        self.heap.push(self.now + max(0, nanos), nil, body)
    }

    /// Plans what happens to the present process of a node; void if that ends before, late if it
    /// is paused then.
    func after(_ nanos: Int64, on node: SimNode, _ body: @escaping () -> Void) {
        self.heap.push(self.now + max(0, nanos), node, body)
    }

    func run(until end: Int64, while goesOn: () -> Bool = { true }) {
        while self.violation == nil, let time = self.heap.first, time <= end {
            guard goesOn(), let event = self.heap.pop() else { return }
            self.now = event.time
            self.hash.add(UInt64(bitPattern: event.time))
            guard let node = event.node else {
                event.body()
                continue
            }
            node.happen(event.epoch, event.body)
        }
        if self.violation == nil { self.now = max(self.now, end) }
    }

    // MARK: Chance.

    /// Evenly between the two.
    func draw(_ least: Int64, _ most: Int64) -> Int64 {
        least + Int64(self.dice.below(Int(max(1, most - least + 1))))
    }

    /// Between the two, each order of magnitude alike.
    func magnitude(_ least: Int64, _ most: Int64) -> Int64 {
        var steps = 0
        while (least << Int64(steps + 1)) <= most { steps += 1 }
        let low = least << Int64(self.dice.below(steps + 1))
        return min(most, self.draw(low, 2 * low))
    }

    func chance(_ permille: Int) -> Bool { self.dice.chance(permille: permille) }

    // MARK: Words.

    @inline(__always)
    func note(_ text: @autoclosure () -> String) {
        if self.trace != nil { self.trace?.add(self.now, text()) }
    }

    /// The first broken promise ends the run.
    func fail(_ invariant: Int, _ text: @autoclosure () -> String) {
        guard self.violation == nil else { return }
        self.violation = NodeViolation(invariant: invariant, time: self.now, text: text())
        self.note("VIOLATION of \(invariant): \(self.violation?.text ?? "")")
    }

    func check(_ invariant: Int, _ holds: Bool, _ text: @autoclosure () -> String) {
        if !holds { self.fail(invariant, text()) }
    }
}

/// What one seed makes of the world: its size, its rates, its limits. All draws in one place.
struct SimScenario {
    var nodes = 3
    /// The first of them found the cluster; the others are workers.
    var founders = 3
    var copies = 2
    var destinations = 4
    var clients = 4
    /// Mean nanoseconds between two messages of one client.
    var pace: Int64
    /// Leases that a session may hold.
    var credit: UInt32
    /// Connections that a node has at once, and to one destination in all.
    var connections: Int
    var connectionsPerDestination: Int
    var commitTimeout: Duration
    /// Records after which a segment is full.
    var segmentRecords: Int
    var session: SessionTiming
    var expire: Duration
    /// Zero: no notices.
    var delayNotice: Duration
    var checkpointInterval: Duration
    /// Operators drain, promote, demote and remove nodes.
    var hasWishes = false
    /// Turns come a little after their events, this often.
    /// Of the log in memory.
    var log = LogLimits()
    /// A node that is away for less is waited for.
    var repairAfter: Duration
    var lazyPermille: Int
    var syncLeast: Int64
    var syncMost: Int64
    var wireLeast: Int64
    var wireMost: Int64
    /// Mean time between two faults of a kind; 0: none.
    var means = [Int64](repeating: 0, count: SimFault.allCases.count)

    init(_ options: NodeRunOptions, _ dice: inout Generator) {
        func pick<T>(_ values: [T]) -> T { values[dice.below(values.count)] }
        let ms = SimWorld.millisecond
        self.nodes = pick([3, 3, 3, 3, 4, 5])
        self.founders = max(3, self.nodes - pick([0, 0, 1, 2]))
        self.copies = self.founders / 2 + 1
        self.pace = pick([100, 300, 1000, 3000]) * ms
        self.credit = pick([2, 5, 20, 100])
        self.connections = pick([1, 3, 10, 50])
        self.connectionsPerDestination = pick([3, 5, 20])
        self.commitTimeout = .milliseconds(pick([1000, 3000, 10_000]))
        self.segmentRecords = pick([20, 60, 200, 1000])
        self.session = SessionTiming(
            term: .seconds(pick([2, 4, 4, 8])), holdDown: .milliseconds(pick([0, 1000, 3000])))
        self.expire = .seconds(pick([20, 60]))
        self.delayNotice = .seconds(pick([0, 0, 3]))
        self.checkpointInterval = .milliseconds(pick([500, 2000, 10_000]))
        self.repairAfter = .seconds(pick([1, 5, 300]))
        self.log.tailBytes = pick([0, 2000, 50_000])
        self.log.keptBytesMax = self.log.tailBytes + pick([1000, 20_000, 500_000])
        self.log.snapshotBytesMax = self.log.keptBytesMax + pick([5000, 100_000])
        self.lazyPermille = pick([0, 0, 100, 400])
        self.syncLeast = pick([50_000, 500_000, 2_000_000])
        self.syncMost = self.syncLeast * pick([2, 10, 40])
        self.wireLeast = pick([20_000, 200_000, 2_000_000])
        self.wireMost = self.wireLeast * pick([2, 10, 30])
        if let scale = options.scale { self.becomeLarge(scale) }
        guard !options.isCalm else { return }
        self.hasWishes = dice.chance(permille: 300)
        for fault in SimFault.allCases {
            // Some seeds know only few kinds of fault, and those often.
            let isThere = dice.chance(permille: 600)
            let mean = pick([2000, 5000, 15_000, 30_000]) * ms
            if isThere { self.means[fault.rawValue] = mean * fault.rarity }
        }
    }
}
