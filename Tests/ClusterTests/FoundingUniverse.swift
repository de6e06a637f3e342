// FoundingUniverse.swift - what can happen in a `FoundingWorld`, and what must hold in each.
//
// Mistakes  are made here, in what surrounds the machine, never in the machine.

import Cluster
import Primitives
import Raft

/// What is the same for all worlds of one exploration. A class: a copy on the way to each fact
/// would cost more than the fact.
final class FoundingUniverse {
    static let names = ["a", "b", "c"]
    static let seeds = SeedList(
        names.map { SeedList.Seed(name: $0, address: "192.0.2.1:7650") })

    let scope: FoundingScope
    /// What has come of two nodes that met, by their machines and letters.
    var meetings: [UInt64: Meeting] = [:]
    var machines = Interned<Founding>()
    var disks = Interned<SeedDisk>()
    var letters = Interned<FoundingLetter>()
    var records = Interned<FoundingRecord>()
    var memory: [UInt32: Outcome] = [:]
    /// By the number of a letter.
    var kinds: [LetterKind] = []
    /// At 3 times the number of a machine, for each receiver; `.max`: not known yet.
    var announcements: [UInt16] = []

    enum LetterKind { case announcementOfEmpty, announcement, found, other }
    /// By the number of a disk.
    var facts: [DiskFacts] = []

    /// What is asked of a disk all the time.
    struct DiskFacts {
        var record: UInt16
        /// Its record names it.
        var isVoter: Bool
        var hasLog: Bool
        /// It was started again, or emptied.
        var hasFailed: Bool
    }

    init(_ scope: FoundingScope) { self.scope = scope }

    struct Step {
        enum Input { case tick, stored, works, receive(UInt16) }
        var machine: UInt16
        var input: Input

        /// Letters have numbers from 1 on; the last three are never reached.
        var key: UInt32 {
            let low: UInt16 =
                switch self.input {
                case .tick: .max
                case .stored: .max - 1
                case .works: .max - 2
                case .receive(let letter): letter
                }
            return UInt32(self.machine) << 16 | UInt32(low)
        }
    }
    struct Outcome {
        var machine: UInt16
        var effects: [Effect]
    }
    enum Effect {
        case store(UInt16)
        case send(Int, UInt16)
        case run(UInt16)
    }

    // MARK: Nodes.

    static func member(_ i: Int, _ disk: SeedDisk) -> FoundingRecord.Member {
        FoundingRecord.Member(name: Self.names[i], incarnation: disk.incarnation)
    }

    static func firstDisk(_ i: Int) -> SeedDisk {
        SeedDisk(incarnation: Incarnation(raw: UInt64(10 * (i + 1))))
    }

    /// The process of a disk, before its first event.
    func machine(_ i: Int, _ disk: SeedDisk) -> Founding {
        let draw = disk.incarnation.raw * 100 + disk.boot
        return Founding(
            Founding.Own(
                name: Self.names[i], incarnation: disk.incarnation, boot: disk.boot,
                cluster: ClusterID(raw: 0), record: disk.record, hasLog: disk.hasLog,
                draw: ClusterID(raw: draw)), seeds: Self.seeds, now: .distantFuture)
    }

    func origin() -> FoundingWorld {
        var world = FoundingWorld()
        for i in 0..<FoundingWorld.size {
            let disk = Self.firstDisk(i)
            world[i].disk = self.number(of: i, disk)
        }
        for i in 0..<FoundingWorld.size { _ = self.start(i, &world) }
        return world
    }

    /// Says what is wrong; nil: nothing.
    func start(_ i: Int, _ world: inout FoundingWorld) -> String? {
        var disk = self.disks[world[i].disk]
        disk.boot += 1
        world[i].disk = self.number(of: i, disk)
        var machine = self.machine(i, disk)
        let actions = machine.begin()
        world[i].machine = self.machines.number(machine)
        return self.perform(self.effects(actions), i, &world)
    }

    func effects(_ actions: [Founding.Action]) -> [Effect] {
        actions.compactMap { action -> Effect? in
            switch action {
            case .store(let record): .store(self.records.number(record))
            case .send(let name, let letter):
                Self.names.firstIndex(of: name).map { .send($0, self.letterNumber(letter)) }
            case .start(let record), .join(let record, _): .run(self.records.number(record))
            case .say, .refuse, .refused: nil
            }
        }
    }

    func number(of i: Int, _ disk: SeedDisk) -> UInt16 {
        let number = self.disks.number(disk)
        if Int(number) > self.facts.count {
            self.facts.append(
                DiskFacts(
                    record: disk.record.map { self.records.number($0) } ?? 0,
                    isVoter: disk.record?.names(Self.member(i, disk)) == true,
                    hasLog: disk.hasLog,
                    hasFailed: disk.boot > 1 || disk.incarnation != Self.firstDisk(i).incarnation))
        }
        return number
    }

    func facts(_ world: FoundingWorld, _ i: Int) -> DiskFacts {
        self.facts[Int(world[i].disk) - 1]
    }

    func outcome(_ step: Step) -> Outcome {
        if let known = self.memory[step.key] { return known }
        var machine = self.machines[step.machine]
        let actions =
            switch step.input {
            case .tick: machine.tick(now: .distantFuture)
            case .stored: machine.stored()
            case .works: Self.tellOfLeader(&machine)
            case .receive(let letter): machine.receive(self.letters[letter])
            }
        let outcome = Outcome(
            machine: self.machines.number(machine), effects: self.effects(actions))
        self.memory[step.key] = outcome
        return outcome
    }

    static func tellOfLeader(_ machine: inout Founding) -> [Founding.Action] {
        machine.clusterWorks()
        return []
    }

    func step(
        _ i: Int, _ input: Step.Input, _ world: inout FoundingWorld
    ) -> String? {
        let outcome = self.outcome(Step(machine: world[i].machine, input: input))
        world[i].machine = outcome.machine
        return self.perform(outcome.effects, i, &world)
    }

    /// What i says to j of itself when it is due; 0: nothing, it is not empty.
    func announcement(_ i: Int, _ j: Int, _ world: FoundingWorld) -> UInt16 {
        let machine = world[i].machine
        let place = 3 * Int(machine) + j
        while self.announcements.count <= place { self.announcements.append(.max) }
        if self.announcements[place] != .max { return self.announcements[place] }
        var letter: UInt16 = 0
        for effect in self.outcome(Step(machine: machine, input: .tick)).effects {
            if case .send(j, let number) = effect { letter = number }
        }
        self.announcements[place] = letter
        return letter
    }

    func letterNumber(_ letter: FoundingLetter) -> UInt16 {
        let number = self.letters.number(letter)
        if Int(number) > self.kinds.count {
            let kind: LetterKind =
                switch letter.body {
                case .announce(let words): words.isEmpty ? .announcementOfEmpty : .announcement
                case .found: .found
                case .invite, .answer: .other
                }
            self.kinds.append(kind)
        }
        return number
    }

    func kind(_ letter: UInt16) -> LetterKind { self.kinds[Int(letter) - 1] }

    func perform(
        _ effects: [Effect], _ i: Int, _ world: inout FoundingWorld
    ) -> String? {
        for effect in effects {
            switch effect {
            case .send(let j, let letter):
                // Can be heard at any time.
                if self.kind(letter) == .announcementOfEmpty { continue }
                world.set(letter, i, j)
            case .store(let record):
                world[i].pending = record
                if self.scope.mistake == .answersBeforeSync {
                    if let fault = self.step(i, .stored, &world) { return fault }
                }
            case .run(let record):
                world[i].running = record
                if self.disks[world[i].disk].record != self.records[record] {
                    return "\(Self.names[i]) starts with a record that is not synced"
                }
            }
        }
        return nil
    }

    // MARK: Events.

    func events(_ world: FoundingWorld) -> [FoundingEvent] {
        var events: [FoundingEvent] = []
        var isLed = false
        for i in 0..<FoundingWorld.size {
            let isWriting = world[i].pending != 0
            if isWriting { events.append(.stored(i)) }
            if self.seesLeader(i, world) {
                if !self.scope.isCoarse { events.append(.works(i)) } else { isLed = true }
            }
            let mayFail = self.mayFail(i, world)
            if mayFail, world.crashes < self.scope.crashes {
                events.append(.crash(i, isStored: false))
                if isWriting { events.append(.crash(i, isStored: true)) }
            }
            let mayLose = mayFail && (i == 0 || !self.scope.wipesFounderOnly)
            if mayLose, world.wipes < self.scope.wipes { events.append(.wipe(i)) }
            for j in 0..<FoundingWorld.size where j != i { self.events(world, j, i, &events) }
        }
        if isLed { events.append(.allSee) }
        for k in 0..<FoundingWorld.asidesMax where world.aside(k).letter != 0 {
            events.append(.deliverAside(k))
        }
        return events
    }

    /// b and c differ in their names alone: the first of them to fail is b.
    func mayFail(_ i: Int, _ world: FoundingWorld) -> Bool {
        i != 2 || self.facts(world, 1).hasFailed
    }

    /// What can become of letters from j to i.
    func events(
        _ world: FoundingWorld, _ j: Int, _ i: Int, _ events: inout [FoundingEvent]
    ) {
        let speaks = self.announcement(j, i, world) != 0
        let isUnderWay = world.letter(j, i) != 0
        if self.scope.isCoarse {
            if j < i { events.append(.meet(j, i)) }
        } else if speaks {
            events.append(.hear(j, i))
        }
        if isUnderWay { events.append(.deliver(j, i)) }
        if world.asideCount < self.scope.asides {
            let kind = self.scope.asideKind
            if speaks, kind == .any || kind == .announcementsToFounder && i == 0 {
                events.append(.putAside(j, i, isAnnouncement: true))
            }
            if isUnderWay, kind == .any || self.kind(world.letter(j, i)) == .found {
                events.append(.putAside(j, i, isAnnouncement: false))
            }
        }
        if self.scope.mistake == .foundsWithoutAll, i == 0 { events.append(.assume(j)) }
    }

    /// Whether a majority of the record that this node runs with is up and runs with it.
    func seesLeader(_ i: Int, _ world: FoundingWorld) -> Bool {
        let running = world[i].running
        guard running != 0, !self.facts(world, i).hasLog else { return false }
        let up = (0..<FoundingWorld.size).count { j in
            world[j].running == running && self.facts(world, j).isVoter
        }
        return up >= Self.majority
    }

    static let majority = Quorum.majority(of: FoundingWorld.size)

    /// Says what is wrong with the world after the event; nil: nothing.
    func follow(_ event: FoundingEvent, _ world: inout FoundingWorld) -> String? {
        let fault =
            switch event {
            case .meet(let i, let j): self.meet(i, j, &world)
            case .deliver(let i, let j): self.deliver(i, j, &world)
            case .deliverAside(let k):
                self.deliverAside(k, &world)
            case .hear(let i, let j):
                self.deliver(self.announcement(i, j, world), to: j, &world)
            case .putAside(let i, let j, let isAnnouncement):
                self.putAside(
                    isAnnouncement ? self.announcement(i, j, world) : world.letter(i, j),
                    to: j, &world)
            case .stored(let i): self.stored(i, &world)
            case .works(let i): self.works(i, &world)
            case .allSee: self.allSee(&world)
            case .crash(let i, let isStored): self.crash(i, isStored: isStored, &world)
            case .wipe(let i): self.wipe(i, &world)
            case .assume(let i): self.assume(i, &world)
            }
        return fault ?? self.fault(&world)
    }

    func putAside(
        _ letter: UInt16, to j: Int, _ world: inout FoundingWorld
    ) -> String? {
        world.putAside(letter, to: j)
        return nil
    }

    func stored(_ i: Int, _ world: inout FoundingWorld) -> String? {
        if let fault = self.write(i, &world) { return fault }
        // With that mistake the machine was told long ago.
        return self.scope.mistake == .answersBeforeSync ? nil : self.step(i, .stored, &world)
    }

    func write(_ i: Int, _ world: inout FoundingWorld) -> String? {
        var disk = self.disks[world[i].disk]
        let record = self.records[world[i].pending]
        if let held = disk.record, held != record {
            return "\(Self.names[i]) has accepted a second founding"
        }
        disk.record = record
        world[i].disk = self.number(of: i, disk)
        world[i].pending = 0
        return nil
    }

    func works(_ i: Int, _ world: inout FoundingWorld) -> String? {
        var disk = self.disks[world[i].disk]
        disk.hasLog = true
        world[i].disk = self.number(of: i, disk)
        return self.step(i, .works, &world)
    }

    func allSee(_ world: inout FoundingWorld) -> String? {
        let due = (0..<FoundingWorld.size).filter { self.seesLeader($0, world) }
        for i in due {
            if let fault = self.works(i, &world) { return fault }
        }
        return nil
    }

    func crash(
        _ i: Int, isStored: Bool, _ world: inout FoundingWorld
    ) -> String? {
        if isStored, let fault = self.write(i, &world) { return fault }
        world[i] = FoundingWorld.Seed(disk: world[i].disk)
        world.crashes += 1
        return self.start(i, &world)
    }

    func wipe(_ i: Int, _ world: inout FoundingWorld) -> String? {
        let old = self.disks[world[i].disk]
        let new = SeedDisk(incarnation: Incarnation(raw: old.incarnation.raw + 1))
        world[i] = FoundingWorld.Seed(disk: self.number(of: i, new))
        world.wipes += 1
        return self.start(i, &world)
    }
}
