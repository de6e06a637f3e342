// FoundingWorld.swift - three seeds, their disks, and a network that does as it likes.
//
// Network   an empty node's announcement may be heard at any time, as it is then. Of all other
//           letters the last from each node to each other is under way: it arrives, or not before
//           another takes its place. The adversary may put any letter aside and let it arrive at
//           any later time, as often as it likes, whoever has ended in between.
// Faults    a process ends at any point, with the record that it was storing on its disk or not;
//           a disk is emptied at any point and the node starts under a new incarnation.
// Mistakes  are made here, in what surrounds the machine, never in the machine.

import Cluster
import Primitives
import Raft

/// What this world does wrong on purpose.
enum PlantedMistake: CaseIterable {
    /// The driver says `stored` when it has begun to write.
    case answersBeforeSync
    /// One seed that does not answer is taken for an empty one that agrees with everything.
    case foundsWithoutAll
    /// A founding is taken by whoever it names, whatever he holds already.
    case acceptsSecond
    /// Every letter counts, whomever and whenever it was meant for.
    case takesStale
}

/// Which letters the adversary may put aside.
enum AsideKind {
    case any
    /// What makes a seed store a record.
    case foundings
    /// What the founder acts upon.
    case announcementsToFounder
}

struct FoundingScope {
    var crashes = 0
    var wipes = 0
    /// The founder's disk alone is emptied.
    var wipesFounderOnly = false
    /// Letters that the adversary may put aside, in all.
    var asides = 0
    var asideKind = AsideKind.any
    /// Two nodes that hear each other do so until they know each other, all see a leader at once,
    /// and what was put aside arrives once: fewer worlds.
    var isCoarse = false
    var mistake: PlantedMistake?
}

/// A disk, as it survives its process.
struct SeedDisk: Hashable {
    var incarnation: Incarnation
    var boot: BootNumber = 0
    var record: FoundingRecord?
    var hasLog = false
}

/// Values by small numbers: equal values have equal numbers, 0 is none.
struct Interned<Value: Hashable> {
    private var numbers: [Value: UInt16] = [:]
    private(set) var values: [Value] = []

    mutating func number(_ value: Value) -> UInt16 {
        if let known = self.numbers[value] { return known }
        self.values.append(value)
        let number = UInt16(self.values.count)
        self.numbers[value] = number
        return number
    }

    subscript(_ number: UInt16) -> Value { self.values[Int(number) - 1] }
}

/// One state of everything; all of it numbers of a `FoundingUniverse`, packed: there are many.
struct FoundingWorld: Hashable {
    struct Seed {
        var machine: UInt16 = 0
        var disk: UInt16 = 0
        /// The record that is being written.
        var pending: UInt16 = 0
        /// The record that `.start` or `.join` was said with in this process.
        var running: UInt16 = 0
    }
    /// A letter that was put aside, and its receiver; letter 0: none.
    struct Aside {
        var letter: UInt16 = 0
        var to = 0
    }
    static let size = 3
    static let asidesMax = 3

    private var seed0: UInt64 = 0
    private var seed1: UInt64 = 0
    private var seed2: UInt64 = 0
    /// From node 0, 1, 2: 16 bits for each receiver.
    private var letters0: UInt64 = 0
    private var letters1: UInt64 = 0
    private var letters2: UInt64 = 0
    /// 18 bits each, ascending, so that their order makes no difference.
    private var asides: UInt64 = 0
    /// Of the faults in scope.
    var crashes: UInt8 = 0
    var wipes: UInt8 = 0
    var asideCount: UInt8 = 0
    /// Records that a majority of their members had on disk at one time or another.
    var majorities: UInt32 = 0

    init() {}

    subscript(_ i: Int) -> Seed {
        get {
            let raw = i == 0 ? self.seed0 : i == 1 ? self.seed1 : self.seed2
            return Seed(
                machine: UInt16(truncatingIfNeeded: raw),
                disk: UInt16(truncatingIfNeeded: raw >> 16),
                pending: UInt16(truncatingIfNeeded: raw >> 32),
                running: UInt16(truncatingIfNeeded: raw >> 48))
        }
        set {
            let raw =
                UInt64(newValue.machine) | UInt64(newValue.disk) << 16
                | UInt64(newValue.pending) << 32 | UInt64(newValue.running) << 48
            switch i {
            case 0: self.seed0 = raw
            case 1: self.seed1 = raw
            case _: self.seed2 = raw
            }
        }
    }

    /// Under way from i to j.
    func letter(_ i: Int, _ j: Int) -> UInt16 {
        let row = i == 0 ? self.letters0 : i == 1 ? self.letters1 : self.letters2
        return UInt16(truncatingIfNeeded: row >> UInt64(16 * j))
    }

    mutating func set(_ letter: UInt16, _ i: Int, _ j: Int) {
        let change = UInt64(letter ^ self.letter(i, j)) << UInt64(16 * j)
        switch i {
        case 0: self.letters0 ^= change
        case 1: self.letters1 ^= change
        case _: self.letters2 ^= change
        }
    }

    func aside(_ k: Int) -> Aside {
        let raw = self.asides >> UInt64(18 * k)
        return Aside(letter: UInt16(truncatingIfNeeded: raw >> 2), to: Int(raw & 3))
    }

    mutating func forgetAside(_ k: Int) {
        // Zeros come first, so that the order is kept.
        let width = UInt64(18)
        let below = self.asides & (1 << (width * UInt64(k)) - 1)
        let above = self.asides >> (width * UInt64(k + 1))
        self.asides = above << (width * UInt64(k + 1)) | below << width
    }

    mutating func putAside(_ letter: UInt16, to j: Int) {
        var all = (0..<Self.asidesMax).map { self.asides >> UInt64(18 * $0) & 0x3FFFF }
        all[0] = UInt64(letter) << 2 | UInt64(j)
        all.sort()
        self.asides = all[0] | all[1] << 18 | all[2] << 36
        self.asideCount += 1
    }

    /// Nothing is under way, and no fault was used up.
    mutating func forget() {
        (self.letters0, self.letters1, self.letters2, self.asides) = (0, 0, 0, 0)
        (self.crashes, self.wipes, self.asideCount) = (0, 0, 0)
    }

    func hash(into hasher: inout Hasher) {
        let seeds = Self.fold(Self.fold(self.seed0) ^ self.seed1) ^ self.seed2
        let letters = Self.fold(Self.fold(self.letters0) ^ self.letters1) ^ self.letters2
        let faults = UInt64(self.crashes) | UInt64(self.wipes) << 8
        hasher.combine(seeds)
        hasher.combine(letters)
        hasher.combine(Self.fold(self.asides) ^ faults)
    }

    private static func fold(_ word: UInt64) -> UInt64 {
        let product = word.multipliedFullWidth(by: 0x9E37_79B9_7F4A_7C15)
        return product.high ^ product.low
    }
}

enum FoundingEvent: Hashable, CustomStringConvertible {
    /// The second hears the announcement of the first.
    case hear(Int, Int)
    /// They hear each other's announcements until neither has news (`isCoarse`).
    case meet(Int, Int)
    case deliver(Int, Int)
    case deliverAside(Int)
    /// An announcement, or what is under way.
    case putAside(Int, Int, isAnnouncement: Bool)
    case stored(Int)
    case works(Int)
    /// All that run in the cluster see its leader (`isCoarse`).
    case allSee
    /// The process ends, and the next one starts: in between it would only be silent.
    case crash(Int, isStored: Bool)
    case wipe(Int)
    /// `foundsWithoutAll`: the founder takes this seed's assent for granted.
    case assume(Int)

    var description: String {
        let names = FoundingUniverse.names
        return switch self {
        case .hear(let i, let j): "\(names[j]) hears \(names[i])"
        case .meet(let i, let j): "\(names[i]) and \(names[j]) meet"
        case .deliver(let i, let j): "\(names[i])'s last letter reaches \(names[j])"
        case .deliverAside(let k): "letter \(k) that was put aside arrives"
        case .putAside(let i, let j, let isAnnouncement):
            "\(isAnnouncement ? "an announcement" : "the last letter") of \(names[i]) to"
                + " \(names[j]) is put aside"
        case .stored(let i): "\(names[i]) has synced"
        case .works(let i): "\(names[i]) sees a leader"
        case .allSee: "all see a leader"
        case .crash(let i, let isStored):
            "\(names[i]) starts again\(isStored ? ", its write kept" : "")"
        case .wipe(let i): "the disk of \(names[i]) is emptied"
        case .assume(let i): "\(names[0]) assumes that \(names[i]) agrees"
        }
    }
}
