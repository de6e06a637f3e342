// BodyWorld.swift - all there is at one moment: nodes, their disks, streams, proposals, the log.
//
// Format    a world is numbers of interned values, so equal worlds have equal words. `bits`:
//           budgets of two bits from below, then messages begun, messages answered, leader, who is
//           cut off.

import Primitives
import Spool

/// A body on a disk, or on its way to it.
struct BodyCopy: Hashable {
    var tag: Tag
    /// Which of the scope's messages.
    var content: Int
    var isSynced: Bool
}

/// One node: its disk, and what it has in memory.
struct BodyNode: Hashable {
    struct Placing: Hashable {
        var content: Int
        var tag: Tag
        var machine: BodyPlacement
        var ticks = 0
    }
    struct Holding: Hashable {
        var from: Int
        var tag: Tag
        var machine: BodyHolding
    }
    struct Repair: Hashable {
        var message: Tag
        var copy: Tag
    }
    var place: Int
    /// Disks so far; what the node calls itself is `incarnation`.
    var disks = 1
    var incarnation = 1
    var boot = 1
    var session = SessionID.none
    var sequence: UInt64 = 0
    /// The log that it has applied.
    var applied: UInt32
    /// Ascending by tag.
    var disk: [BodyCopy] = []
    var placings: [Placing] = []
    var holdings: [Holding] = []
    /// Copies whose command is not proposed yet.
    var repairs: [Repair] = []
    var planner: RepairPlanner
    /// Found to be lost, and not told the queue yet.
    var losses: [Tag] = []

    init(place: Int, applied: UInt32) {
        self.place = place
        self.applied = applied
        self.planner = RepairPlanner(own: LogBook.holder(place, 1))
    }

    var holder: Holder { LogBook.holder(self.place, self.incarnation) }

    /// Something follows from the next sync, whether or not the bodies are still there.
    var waitsForSync: Bool {
        self.disk.contains { !$0.isSynced } || !self.holdings.isEmpty || !self.repairs.isEmpty
            || self.placings.contains {
                $0.machine.isOpen && !$0.machine.confirmed.contains(self.holder)
            }
    }

    mutating func drawTag() -> Tag {
        self.sequence += 1
        return Tag(session: self.session, sequence: self.sequence)
    }

    mutating func store(_ copy: BodyCopy) {
        let at = self.disk.firstIndex { copy.tag < $0.tag } ?? self.disk.count
        self.disk.insert(copy, at: at)
    }

    /// Nothing is left of what was in memory.
    mutating func forget() {
        self.boot += 1
        self.session = .none
        self.sequence = 0
        self.placings = []
        self.holdings = []
        self.repairs = []
        self.planner = RepairPlanner(own: self.holder)
        self.losses = []
    }
}

/// On its way between two nodes.
enum BodyMail: Hashable {
    case body(from: Int, to: Int, content: Int, tag: Tag)
    case answer(from: Int, to: Int, tag: Tag, isStored: Bool)

    var ends: (from: Int, to: Int) {
        switch self {
        case .body(let from, let to, _, _), .answer(let from, let to, _, _): (from, to)
        }
    }
}

struct BodyProposal: Hashable {
    var from: Int
    var command: UInt32
}

struct BodyWorld {
    enum Budget: UInt32, CaseIterable {
        case crashes = 0
        case wipes = 2
        case cuts = 4
        case leaders = 6
        case expiries = 8
        case giveUps = 10
        case repairs = 12
        case repeats = 14
        case rots = 16
    }
    private static let begunBit: UInt32 = 18
    private static let answeredBit: UInt32 = 20
    private static let leaderBit: UInt32 = 22
    private static let cutBit: UInt32 = 24
    private static let proposalFlag: UInt32 = 0x8000_0000

    var nodes: [3 of UInt32] = [0, 0, 0]
    var log: UInt32 = 0
    private(set) var bits: UInt32 = 0
    /// Numbers of mail, then of proposals with `proposalFlag`; ascending.
    private(set) var words: ContiguousArray<UInt32> = []

    init() {}

    func used(_ budget: Budget) -> Int { Int(self.bits >> budget.rawValue & 3) }
    mutating func use(_ budget: Budget) {
        // At rest more is repaired than the budget has room for.
        if self.used(budget) < BodyScope.budgetMax { self.bits += 1 << budget.rawValue }
    }
    var losses: Int { self.used(.wipes) + self.used(.rots) }

    func isBegun(_ content: Int) -> Bool { self.bits >> (Self.begunBit + UInt32(content)) & 1 == 1 }
    mutating func begin(_ content: Int) { self.bits |= 1 << (Self.begunBit + UInt32(content)) }
    var answered: UInt32 { self.bits >> Self.answeredBit & 3 }
    mutating func answer(_ content: Int) { self.bits |= 1 << (Self.answeredBit + UInt32(content)) }
    var leader: Int {
        get { Int(self.bits >> Self.leaderBit & 3) }
        set { self.bits = self.bits & ~(3 << Self.leaderBit) | UInt32(newValue) << Self.leaderBit }
    }
    /// The node that reaches nobody; nil: none.
    var cut: Int? {
        get {
            let value = Int(self.bits >> Self.cutBit & 3)
            return value == 0 ? nil : value - 1
        }
        set {
            let value = UInt32((newValue ?? -1) + 1)
            self.bits = self.bits & ~(3 << Self.cutBit) | value << Self.cutBit
        }
    }
    func areLinked(_ a: Int, _ b: Int) -> Bool { a == b || self.cut != a && self.cut != b }

    var mail: ArraySlice<UInt32> {
        self.words.prefix { $0 & Self.proposalFlag == 0 }
    }
    var proposals: [UInt32] {
        self.words.filter { $0 & Self.proposalFlag != 0 }.map { $0 & ~Self.proposalFlag }
    }
    mutating func send(_ mail: UInt32) { self.insert(mail) }
    mutating func propose(_ proposal: UInt32) { self.insert(proposal | Self.proposalFlag) }
    mutating func take(mail: UInt32) { self.remove(mail) }
    mutating func take(proposal: UInt32) { self.remove(proposal | Self.proposalFlag) }
    mutating func dropMail(where isGone: (UInt32) -> Bool) {
        self.words.removeAll { $0 & Self.proposalFlag == 0 && isGone($0) }
    }

    private mutating func insert(_ word: UInt32) {
        let at = self.words.firstIndex { $0 >= word } ?? self.words.count
        if at < self.words.count, self.words[at] == word { return }
        self.words.insert(word, at: at)
    }
    private mutating func remove(_ word: UInt32) {
        guard let at = self.words.firstIndex(of: word) else { unreachable("not under way") }
        self.words.remove(at: at)
    }

    var digest: Digest {
        var digest = Digest()
        digest.add(UInt64(self.nodes[0]) << 32 | UInt64(self.nodes[1]))
        digest.add(UInt64(self.nodes[2]) << 32 | UInt64(self.log))
        digest.add(UInt64(self.bits) << 32 | UInt64(self.words.count))
        for word in self.words { digest.add(UInt64(word)) }
        digest.finish()
        return digest
    }
}

/// What can happen next.
struct BodyEvent: Hashable {
    enum Kind: UInt32 {
        /// The argument is the message.
        case accept
        /// The argument is the mail.
        case deliver
        case sync
        /// The argument is 1 if what was not synced outlives it.
        case crash
        case wipe
        case apply
        /// The argument is the proposal.
        case commit
        case commitTwice
        /// Garbage is deleted, all else carried forward.
        case collect
        /// The argument is the message: 500 ms are over.
        case tick
        case repair
        /// The argument is the message: its last recipient ends.
        case end
        case expire
        /// The argument is the message: its client is told no.
        case giveUp
        case cut
        case heal
        case lead
        /// The argument is the place of a body on the disk.
        case rot
    }
    let raw: UInt32
    init(raw: UInt32) { self.raw = raw }
    init(_ kind: Kind, _ place: Int = 0, _ argument: UInt32 = 0) {
        invariant(argument < 1 << 25, "an argument fits into an event")
        self.raw = kind.rawValue << 27 | UInt32(place) << 25 | argument
    }
    var kind: Kind {
        guard let kind = Kind(rawValue: self.raw >> 27) else { unreachable("no such event") }
        return kind
    }
    var place: Int { Int(self.raw >> 25 & 3) }
    var argument: UInt32 { self.raw & (1 << 25 - 1) }
}
