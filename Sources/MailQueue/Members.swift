// Members.swift - who belongs to the cluster by the cluster's own memory, and what operators want.
//
// Takes     disks that the leader has met under a name; operators' wishes about names.
// Gives     rows from which any leader plans the same changes of members (MembershipPlan).
// Never     who votes: that is the log's configuration. A row outlives all disks of its name.
// Order     leave: 1 the wish (no new leases), 2 the leader waits for copies elsewhere, 3 its
//           `removeNode` ends sessions and copies and makes the row `removed`, 4 the
//           configuration follows. A disk that was removed never comes back; another one under
//           that name is admitted like any newcomer.
// Limits    `NodeRow.disksMax` disks a name, `retiredMax` that are gone.
// See       Replicas.swift (removeNode), Cluster's MemberKeeper (who proposes), design of members.

package import Primitives
package import Spool

/// What an operator wants of a node. Raw values stand in commands and in the meta blob.
package enum MemberWish: UInt8, Hashable, Sendable, CaseIterable {
    case none = 0
    /// A voter.
    case promoted = 1
    /// No voter, however few there are.
    case demoted = 2
    /// No member any more, as soon as its copies are elsewhere.
    case leaving = 3
    /// No member any more, whatever is lost with it.
    case dead = 4
    /// It has left. Nobody asks for this: `removeNode` brings it.
    case removed = 5

    package var isLeaving: Bool { self == .leaving || self == .dead }
}

/// A disk that the leader has met: from now on the cluster knows whose it is.
package struct Admission: Hashable, Sendable {
    package var node: NodeName
    package var incarnation: Incarnation
    /// Where others can dial it; "": nowhere.
    package var host: String
    package var port: UInt16
    /// Disks of the name that are no members and not its newest: they are forgotten.
    package var gone: [Incarnation]

    package static let hostBytesMax = 255
    package static let nameBytesMax = 255
    /// Disks of one name at once that are members or about to be.
    package static let disksMax = 16

    package init(
        node: NodeName, incarnation: Incarnation, host: String = "", port: UInt16 = 0,
        gone: [Incarnation] = []
    ) {
        self.node = node
        self.incarnation = incarnation
        self.host = host
        self.port = port
        self.gone = gone
    }
}

/// One disk of a name.
package struct MemberDisk: Hashable, Sendable {
    package var incarnation: Incarnation
    /// The index of the entry that admitted it.
    package var since: UInt64

    package init(incarnation: Incarnation, since: UInt64) {
        self.incarnation = incarnation
        self.since = since
    }
}

/// A name as the cluster has it.
package struct MemberView: Hashable, Sendable {
    package var name: NodeName
    package var wish: MemberWish
    package var isDraining: Bool
    /// The disk whose sessions and copies count; nil: none does.
    package var incarnation: Incarnation?
    /// Those that were admitted, oldest first; founders need no admission.
    package var disks: [MemberDisk]
    /// Those that had copies and sessions once and never will again, oldest first.
    package var retired: [Incarnation] = []
    package var host: String
    package var port: UInt16
}

extension MailQueue {
    /// In the order in which they became known.
    package var memberViews: [MemberView] {
        self.nodes.map { row in
            MemberView(
                name: row.name, wish: row.wish, isDraining: row.draining,
                incarnation: row.isMember ? row.incarnation : nil, disks: row.disks,
                retired: row.retired, host: row.host, port: row.port)
        }
    }

    /// Holders that are to leave: copies there count as absent, and no new ones are made there.
    package var leavingHolders: [Holder] {
        self.nodes.filter { $0.isMember && $0.wish.isLeaving }
            .map { Holder(node: $0.name, incarnation: $0.incarnation) }.sorted()
    }

    /// Whether this disk was a member's and is not any more.
    package func isRetired(_ node: NodeName, _ incarnation: Incarnation) -> Bool {
        self.nodes.contains { $0.name == node && $0.retired.contains(incarnation) }
    }

    /// The place of a name's row, which is made if there is none; nil: there are too many.
    private mutating func row(of name: NodeName) -> Int? {
        if let known = self.nodes.firstIndex(where: { $0.name == name }) { return known }
        guard self.nodes.count < Int(UInt16.max), !name.isEmpty,
            name.utf8.count <= Admission.nameBytesMax
        else { return nil }
        var row = NodeRow(name: name, incarnation: Incarnation(raw: 0), boot: 0)
        row.isMember = false
        self.nodes.append(row)
        return self.nodes.count - 1
    }

    mutating func admit(_ admission: Admission) -> CommandResult {
        guard admission.incarnation.raw != 0,
            admission.host.utf8.count <= Admission.hostBytesMax,
            let place = self.row(of: admission.node)
        else { return .refused(.malformed) }
        let incarnation = admission.incarnation
        guard !self.nodes[place].retired.contains(incarnation) else {
            return .refused(.notMember)
        }
        self.nodes[place].disks.removeAll {
            $0.incarnation != incarnation && admission.gone.contains($0.incarnation)
        }
        if !self.nodes[place].disks.contains(where: { $0.incarnation == incarnation }) {
            guard self.nodes[place].disks.count < NodeRow.disksMax else {
                return .refused(.tooManyDisks)
            }
            self.nodes[place].disks.append(
                MemberDisk(incarnation: incarnation, since: self.applied))
            // What was removed was another disk.
            if self.nodes[place].wish == .removed { self.nodes[place].wish = .none }
        }
        self.nodes[place].host = admission.host
        self.nodes[place].port = admission.port
        return .done
    }

    mutating func wish(_ node: NodeName, _ wish: MemberWish) -> CommandResult {
        guard wish != .removed, let place = self.row(of: node) else {
            return .refused(.malformed)
        }
        let before = self.nodes[place].wish
        guard before != .removed else { return .refused(.notMember) }
        self.nodes[place].wish = wish
        if wish.isLeaving != before.isLeaving { self.nodes[place].draining = wish.isLeaving }
        return .done
    }

    /// A node that is no longer drained does not leave either.
    mutating func drain(_ node: NodeName, _ draining: Bool) -> CommandResult {
        guard let place = self.nodes.firstIndex(where: { $0.name == node }) else {
            return .refused(.unknown)
        }
        self.nodes[place].draining = draining
        if !draining, self.nodes[place].wish.isLeaving { self.nodes[place].wish = .none }
        return .done
    }

    /// Messages with a copy on this holder for which those elsewhere do not suffice.
    ///
    /// - Parameter isShort: told the other holders.
    package func shortage(without holder: Holder, isShort: (_ others: [Holder]) -> Bool) -> Int {
        var messages = 0
        for placement in self.placements where placement.holders.contains(holder) {
            if isShort(placement.holders.filter { $0 != holder }) { messages += placement.messages }
        }
        return messages
    }

    /// Its name has a newer disk; it is a member until the configuration follows.
    package func isSuperseded(_ holder: Holder) -> Bool {
        let row = self.nodes.first { $0.name == holder.node }
        guard let newest = row?.disks.last?.incarnation else { return false }
        return newest != holder.incarnation
    }
}

extension NodeRow {
    static let disksMax = Admission.disksMax

    // Format: name, u64 incarnation, varint boot, bool draining, bool member, retired (varint
    // count, u64 each), u8 wish, disks (varint count, of each u64 incarnation, varint since),
    // host, u16 port, unsettled Enqueues.

    func encode(into writer: inout ByteWriter) {
        writer.string(self.name)
        writer.u64(self.incarnation.raw)
        writer.varint(self.boot)
        writer.bool(self.draining)
        writer.bool(self.isMember)
        writer.varint(self.retired.count)
        for incarnation in self.retired { writer.u64(incarnation.raw) }
        writer.u8(self.wish.rawValue)
        writer.varint(self.disks.count)
        for disk in self.disks {
            writer.u64(disk.incarnation.raw)
            writer.varint(disk.since)
        }
        writer.string(self.host)
        writer.u16(self.port)
        self.unsettled.encode(into: &writer)
    }

    init(from reader: inout ByteReader) throws(CodecError) {
        self.init(
            name: try reader.string(), incarnation: Incarnation(raw: try reader.u64()),
            boot: try reader.varint())
        self.draining = try reader.bool()
        self.isMember = try reader.bool()
        for _ in 0..<(try reader.count(atMost: Self.retiredMax)) {
            self.retired.append(Incarnation(raw: try reader.u64()))
        }
        guard let wish = MemberWish(rawValue: try reader.u8()) else { throw .unknown("wish") }
        self.wish = wish
        for _ in 0..<(try reader.count(atMost: Self.disksMax)) {
            let incarnation = Incarnation(raw: try reader.u64())
            self.disks.append(MemberDisk(incarnation: incarnation, since: try reader.varint()))
        }
        self.host = try reader.string()
        self.port = try reader.u16()
        self.unsettled = try UnsettledEnqueues(from: &reader)
    }
}

extension Admission {
    /// Disks that one command forgets, at most.
    static let goneMax = 64

    func encode(into writer: inout ByteWriter) {
        writer.string(self.node)
        writer.u64(self.incarnation.raw)
        writer.string(self.host)
        writer.u16(self.port)
        writer.varint(self.gone.count)
        for incarnation in self.gone { writer.u64(incarnation.raw) }
    }

    init(from reader: inout ByteReader) throws(CodecError) {
        let node = try reader.string()
        let incarnation = Incarnation(raw: try reader.u64())
        let host = try reader.string()
        let port = try reader.u16()
        var gone: [Incarnation] = []
        for _ in 0..<(try reader.count(atMost: Self.goneMax)) {
            gone.append(Incarnation(raw: try reader.u64()))
        }
        self.init(node: node, incarnation: incarnation, host: host, port: port, gone: gone)
    }
}
