// World.swift - all there is at one moment: members, messages under way, history, what is used up.
//
// Format    kept as words: the count of messages, the three members, the history, `bits`, then the
//           messages in ascending order. Members, messages and histories are numbers of the
//           catalogue and of the search, so equal worlds have equal words.
//           `bits`: seven budgets of four bits from below, `cut` in 28…29, `touched` in 30…31.

import Primitives

struct World: Equatable {
    static let size = 3
    private static let headerWords = 6

    var members: [3 of UInt32] = [0, 0, 0]
    /// Number of the history.
    var ghost: UInt32 = 0
    private(set) var bits: UInt32 = 0
    /// Under way; sorted, so that their order says nothing.
    private(set) var messages: ContiguousArray<UInt32> = []

    static func == (a: World, b: World) -> Bool {
        a.members[0] == b.members[0] && a.members[1] == b.members[1]
            && a.members[2] == b.members[2] && a.ghost == b.ghost && a.bits == b.bits
            && a.messages == b.messages
    }

    init() {}

    // MARK: Budgets.

    enum Budget: UInt32, CaseIterable {
        case campaigns = 0
        case proposals = 4
        case crashes = 8
        case partitions = 12
        case heartbeats = 16
        case losses = 20
        case duplicates = 24
    }

    func used(_ budget: Budget) -> Int { Int(self.bits >> budget.rawValue & 15) }

    mutating func use(_ budget: Budget) {
        invariant(self.used(budget) < Scope.budgetMax, "a budget has four bits")
        self.bits += 1 << budget.rawValue
    }

    mutating func giveBack(_ budget: Budget) { self.bits -= 1 << budget.rawValue }

    mutating func resetBudgets() { self.bits &= 0xF000_0000 }

    /// 1 + the place of the member that is cut off; 0: none.
    var cut: Int {
        get { Int(self.bits >> 28 & 3) }
        set { self.bits = self.bits & ~(3 << 28) | UInt32(newValue) << 28 }
    }

    /// Members that something has happened to have the places below it; 2 stands for 3: the last
    /// one is known by the others.
    var touched: Int {
        get { Int(self.bits >> 30) }
        set { self.bits = self.bits & ~(3 << 30) | UInt32(newValue) << 30 }
    }

    func isCut(_ a: Int, _ b: Int) -> Bool {
        self.cut != 0 && (self.cut == a + 1 || self.cut == b + 1)
    }

    // MARK: Messages.

    /// - Parameter once: a second one like it adds nothing.
    mutating func send(_ message: UInt32, once: Bool) {
        var at = self.messages.count
        while at > 0, self.messages[at - 1] > message { at -= 1 }
        if once, at > 0, self.messages[at - 1] == message { return }
        self.messages.insert(message, at: at)
    }

    mutating func take(_ message: UInt32) {
        guard let at = self.messages.firstIndex(of: message) else {
            unreachable("what arrives was under way")
        }
        self.messages.remove(at: at)
    }

    mutating func removeMessages(where isGone: (UInt32) -> Bool) {
        var keep = 0
        for i in self.messages.indices where !isGone(self.messages[i]) {
            self.messages[keep] = self.messages[i]
            keep += 1
        }
        self.messages.removeLast(self.messages.count - keep)
    }

    // MARK: Words.

    func write(to words: inout ContiguousArray<UInt32>) {
        words.append(UInt32(self.messages.count))
        for i in 0..<Self.size { words.append(self.members[i]) }
        words.append(self.ghost)
        words.append(self.bits)
        words.append(contentsOf: self.messages)
    }

    /// - Parameter at: where it begins; afterwards, where the next one does.
    mutating func read(from words: ContiguousArray<UInt32>, at: inout Int) {
        let count = Int(words[at])
        for i in 0..<Self.size { self.members[i] = words[at + 1 + i] }
        self.ghost = words[at + 4]
        self.bits = words[at + 5]
        self.messages.removeAll(keepingCapacity: true)
        at += Self.headerWords
        self.messages.append(contentsOf: words[at..<at + count])
        at += count
    }

    var digest: Digest {
        var digest = Digest()
        digest.add(UInt64(self.members[0]) << 32 | UInt64(self.members[1]))
        digest.add(UInt64(self.members[2]) << 32 | UInt64(self.ghost))
        digest.add(UInt64(self.bits) << 32 | UInt64(self.messages.count))
        var i = 0
        while i + 1 < self.messages.count {
            digest.add(UInt64(self.messages[i]) << 32 | UInt64(self.messages[i + 1]))
            i += 2
        }
        if i < self.messages.count { digest.add(UInt64(self.messages[i])) }
        digest.finish()
        return digest
    }
}
