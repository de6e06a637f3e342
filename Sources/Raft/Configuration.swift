// Configuration.swift - who is a member, and the changes of that, as values and as bytes.
//
// Standard  thesis 4: single changes (4.1), joint consensus (4.3), learners as non-voting members
//           that catch up (4.2.1).
// Format    of an entry's data: `.change` u8 what, u64 member. `.changes` nothing at all, or
//           u8 transition, varint count, then u8 what and u64 member each.

package import Primitives

/// The members in force. All lists are in ascending order without repetition.
package struct Configuration: Hashable, Sendable {
    package var voters: [MemberID]
    /// Not empty: the configuration is joint, and a majority of these is needed as well.
    package var outgoing: [MemberID]
    /// Take the log, neither vote nor count.
    package var learners: [MemberID]
    /// Outgoing voters that become learners when the joint configuration is left.
    package var learnersNext: [MemberID]
    /// The leader leaves the joint configuration by itself.
    package var autoLeave: Bool

    package init(
        voters: [MemberID] = [], outgoing: [MemberID] = [], learners: [MemberID] = [],
        learnersNext: [MemberID] = [], autoLeave: Bool = false
    ) {
        self.voters = voters
        self.outgoing = outgoing
        self.learners = learners
        self.learnersNext = learnersNext
        self.autoLeave = autoLeave
    }

    package var isJoint: Bool { !self.outgoing.isEmpty }

    package func isVoter(_ id: MemberID) -> Bool {
        self.voters.contains(id) || self.outgoing.contains(id)
    }

    package func contains(_ id: MemberID) -> Bool {
        self.isVoter(id) || self.learners.contains(id) || self.learnersNext.contains(id)
    }

    /// Voters of either half, ascending.
    package var allVoters: [MemberID] {
        self.isJoint ? Self.union(self.voters, self.outgoing) : self.voters
    }

    static func union(_ a: [MemberID], _ b: [MemberID]) -> [MemberID] {
        var all = a
        for id in b { all.insertSorted(id) }
        return all
    }
}

extension [Incarnation] {
    /// Keeps the list ascending and without repetition.
    package mutating func insertSorted(_ id: MemberID) {
        let at = self.firstIndex { $0 >= id } ?? self.count
        if at < self.count, self[at] == id { return }
        self.insert(id, at: at)
    }

    package mutating func remove(_ id: MemberID) { self.removeAll { $0 == id } }
}

/// One change of one member.
package struct MemberChange: Hashable, Sendable {
    package enum What: UInt8, Hashable, Sendable {
        case addVoter = 0
        case remove = 1
        /// Members stay; something about one of them that the core does not know has changed.
        case update = 2
        case addLearner = 3
    }

    package var what: What
    /// `.none`: the change is ignored.
    package var member: MemberID

    package init(_ what: What, _ member: MemberID) {
        self.what = what
        self.member = member
    }
}

/// How a change of several members comes to its end.
package enum Transition: UInt8, Hashable, Sendable {
    /// One change directly, several by a joint configuration that is left by itself.
    case auto = 0
    /// A joint configuration that is left by itself.
    case implicit = 1
    /// A joint configuration that is left on request: propose no changes at all.
    case explicit = 2
}

/// What an entry of kind `.change` or `.changes` says.
package struct ConfigurationChange: Hashable, Sendable {
    /// Members in one change, at most.
    package static let changesMax = 256

    package var transition: Transition
    /// Empty, with `.auto`: leave the joint configuration.
    package var changes: [MemberChange]

    package init(transition: Transition = .auto, _ changes: [MemberChange]) {
        self.transition = transition
        self.changes = changes
    }

    package static let leaveJoint = ConfigurationChange([])

    package var leavesJoint: Bool { self.changes.isEmpty && self.transition == .auto }

    /// Whether it goes through a joint configuration.
    package var entersJoint: Bool { self.transition != .auto || self.changes.count > 1 }

    /// The entry to propose. `asSingle`: the older kind, for one change.
    package func entry(asSingle: Bool = false) -> Entry {
        var writer = ByteWriter(capacity: 2 + 9 * self.changes.count)
        if asSingle, self.changes.count == 1 {
            Self.write(self.changes[0], into: &writer)
            return Entry(kind: .change, data: writer.bytes)
        }
        if !self.leavesJoint {
            writer.u8(self.transition.rawValue)
            writer.varint(self.changes.count)
            for change in self.changes { Self.write(change, into: &writer) }
        }
        return Entry(kind: .changes, data: writer.bytes)
    }

    /// Reads an entry of kind `.change` or `.changes` back.
    package init(_ entry: Entry) throws(CodecError) {
        var reader = ByteReader(entry.data)
        switch entry.kind {
        case .normal: throw .unknown("change of members")
        case .change: self.init([try Self.read(&reader)])
        case .changes where entry.data.isEmpty: self = .leaveJoint
        case .changes:
            guard let transition = Transition(rawValue: try reader.u8()) else {
                throw .unknown("transition")
            }
            let count = try reader.count(atMost: Self.changesMax)
            var changes: [MemberChange] = []
            for _ in 0..<count { changes.append(try Self.read(&reader)) }
            self.init(transition: transition, changes)
        }
        try reader.finish()
    }

    /// Whether an entry can be read as what its kind says.
    static func isSound(_ entry: Entry) -> Bool {
        // What is wrong with it is of no interest: the entry is refused.
        entry.kind == .normal || (try? ConfigurationChange(entry)) != nil
    }

    private static func write(_ change: MemberChange, into writer: inout ByteWriter) {
        writer.u8(change.what.rawValue)
        writer.u64(change.member.raw)
    }

    private static func read(_ reader: inout ByteReader) throws(CodecError) -> MemberChange {
        guard let what = MemberChange.What(rawValue: try reader.u8()) else {
            throw .unknown("change of a member")
        }
        return MemberChange(what, MemberID(raw: try reader.u64()))
    }
}
