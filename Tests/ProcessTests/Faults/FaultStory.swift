// FaultStory.swift - a cluster under load that one fault after the other meets.
//
// Takes     one Fault at a time; the dice that choose where and when.
// Gives     for each what was accepted, repeated and counted, and how long survivors gave no `250`.
// Never     a second fault before the first is healed: with R = 2 a second loss may cost mail.
// See       KillFaults, NetworkFaults, DiskFaults, ClockFaults, OperatorFaults.

import Foundation
import Testing

/// What one fault did.
struct FaultRecord {
    let fault: Fault
    var seconds = 0.0
    var counted = 0
    /// Of the survivors, the longest time without a `250` to a resident client.
    var silence = 0.0
    var refusals = 0
}

final class FaultStory {
    /// Seconds that a pause or a cut lasts: a session has expired and its leases are free.
    static let outage = 9.0
    /// What a client may wait at a survivor when a follower fails.
    static let silenceMax = 2.0
    /// Of each log, in the message of a failure.
    private static let linesMax = 25

    let fleet: Fleet
    let sink: Sink
    let clients: LedgerClients
    let disks: [SlowDisk]
    private let libraries: Folder
    private let meter = StallMeter()
    private var dice: UInt64
    private(set) var records: [FaultRecord] = []
    /// Who is met by the present fault: all others are survivors.
    private var victims: Set<Int> = []
    /// What survivors did, if the watch has ended before the fault.
    private var seen: (silence: Double, refusals: Int)?

    init(_ fleet: Fleet, _ sink: Sink, seed: Int) throws {
        self.fleet = fleet
        self.sink = sink
        self.dice = UInt64(seed)
        let libraries = try Folder()
        self.libraries = libraries
        let library = try compiledLibrary("faults/slow.c", in: libraries)
        self.disks = try fleet.nodes.map { node in
            let disk = try SlowDisk(library: library, file: node.folder.path + "/slow")
            node.settings.environment.merge(disk.environment) { $1 }
            return disk
        }
        try fleet.start()
        try fleet.waitUntilHealthy()
        self.clients = LedgerClients(4, fleet.doors)
    }

    /// In 0 ..< 1.
    func draw() -> Double {
        self.dice = self.dice &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Double(self.dice >> 40) / Double(1 << 24)
    }

    func draw(below limit: Int) -> Int { Int(self.draw() * Double(limit)) }

    var network: NodeNetwork {
        get throws {
            guard let network = self.fleet.network else { throw Failure("this needs namespaces") }
            return network
        }
    }

    // MARK: What faults are made of

    /// How long each step took, for the log of a run.
    private var steps = ""
    private var stepAt = now()

    func step(_ name: String) {
        let seconds = String(format: "%.1f", now() - self.stepAt)
        self.steps += " \(name) \(seconds) s (\(self.clients.acceptedCount))"
        self.stepAt = now()
    }

    func expectMail(_ when: String) throws {
        defer { self.step(when) }
        guard self.clients.waitForMore(20) else {
            throw Failure("\(when): nothing is accepted any more: \(self.fleet.story)")
        }
    }

    /// Mail flows while the fault lasts, and after it has lasted for long.
    func outlast(_ name: String, seconds: Double = FaultStory.outage) throws {
        poll(nil, 0, Int32(seconds * 1000))
        self.step("outage")
        try self.expectMail(name)
    }

    func leader() throws -> Int { try self.fleet.leader() }

    /// The leader, or one of the others.
    func choose(leads: Bool) throws -> Int {
        let leader = try self.leader()
        let place = leads ? leader : (leader + 1 + self.draw(below: 2)) % 3
        self.victims.insert(place)
        return place
    }

    /// What comes belongs to another fault, or to its proper part: the watch begins anew.
    func watchAgain(victims: Set<Int>) {
        self.victims = victims
        self.clients.begin(self.records.count)
        self.meter.begin()
    }

    /// Of the survivors, until now: what follows in this fault is not part of it.
    func endWatch() {
        let watches = self.clients.watches.enumerated()
            .filter { !self.victims.contains($0.offset) }.map(\.element)
        self.seen = (
            watches.map(\.longest).max() ?? 0, watches.reduce(0) { $0 + $1.refusals.count }
        )
    }

    /// The survivors went on as if nothing were.
    func expectUnnoticed(_ fault: Fault) {
        let watches = self.clients.watches
        // What this machine did not let run is nobody's silence.
        let limit = Self.silenceMax + self.meter.longest
        for place in watches.indices where !self.victims.contains(place) {
            let watch = watches[place]
            let name = Fleet.names[place]
            let log = self.fleet.nodes.map { node in
                let lines = node.log.split(separator: "\n").suffix(Self.linesMax)
                return "\(node.settings.name):\n  \(lines.joined(separator: "\n  "))\n"
            }.joined()
            #expect(
                watch.longest <= limit, "\(fault): no 250 from \(name), a survivor; logs:\n\(log)")
            #expect(
                watch.refusals.isEmpty, "\(fault): refused by \(name), a survivor; logs:\n\(log)")
        }
    }

    /// Ends a node by SIGTERM and starts it again, with other settings.
    func restart(_ place: Int, _ change: (inout RelaySettings) throws -> Void = { _ in }) throws {
        let node = self.fleet.nodes[place]
        let (status, _) = try node.stop(seconds: 30)
        #expect(status == 0)
        try change(&node.settings)
        try node.start()
        try self.fleet.waitUntilHealthy()
    }

    // MARK: One fault

    func meet(_ fault: Fault) throws -> String {
        self.steps = ""
        self.stepAt = now()
        let began = now()
        let before = self.fleet.possibleDuplicates
        self.watchAgain(victims: [])
        self.seen = nil
        try self.expectMail("before")
        poll(nil, 0, Int32(self.draw() * 500))
        try self.befall(fault)
        self.step("mended")
        try self.fleet.waitUntilHealthy()
        try self.fleet.waitUntilReady()
        self.step("healthy")
        try self.expectMail("after")
        if fault.isUnnoticed && self.seen == nil { self.expectUnnoticed(fault) }
        if self.seen == nil { self.endWatch() }
        self.records.append(
            FaultRecord(
                fault: fault, seconds: now() - began,
                counted: self.fleet.possibleDuplicates - before,
                silence: self.seen?.silence ?? 0, refusals: self.seen?.refusals ?? 0))
        return self.steps
    }

    private func befall(_ fault: Fault) throws {
        switch fault {
        case .killLeader, .killFollower, .killTwo, .pauseLeader, .pauseFollower, .wipeLeader,
            .wipeFollower:
            try self.kill(fault)
        case .isolateLeader, .isolateFollower, .muteLeader, .muteFollower, .deafLeader,
            .deafFollower, .oneWayLink, .bridge, .followersCut, .thinLink, .lossyLink, .cutBulk,
            .cutControl, .vanishLeader, .vanishFollower:
            try self.cut(fault)
        case .slowDiskLeader, .slowDiskFollower, .hungDiskLeader, .hungDiskFollower,
            .fullDiskLeader, .fullDiskFollower, .syncErrorKept, .syncErrorWiped:
            try self.harmDisk(fault)
        case .clockAhead, .clockBack: try self.jump(fault)
        case .restartAll, .drainLeader, .drainFollower, .transferLeader: try self.operate(fault)
        }
    }
}
