// MemberPeers.swift - the other nodes as this one knows them at one instant.
//
// Takes     the driver's facts of links, and what peers said of themselves last.
// Gives     who answers, who drains, whose disk it is.
// Limits    one line a name; the driver limits the names.
// See       MemberKeeper, NodeMachineMembers.

package import Primitives
package import Spool

/// What is known of one peer.
package struct MemberPeer: Hashable, Sendable {
    package var name: NodeName
    /// Of its last link.
    package var incarnation: Incarnation
    /// Where it can be dialed; "": nowhere.
    package var host = ""
    package var port: UInt16 = 0
    /// Its Hello named this node's cluster.
    package var isOfCluster: Bool
    package var hasControl: Bool
    package var hasBulk: Bool
    /// When it said something last.
    package var heardAt: Instant
    /// By its own last word: an operator drains it, or it stops.
    package var isDraining = false
    /// By its own last word: it is short of space, and takes no bodies.
    package var refusesBodies = false

    package init(
        _ holder: Holder, isOfCluster: Bool, hasControl: Bool, hasBulk: Bool, heardAt: Instant
    ) {
        self.name = holder.node
        self.incarnation = holder.incarnation
        self.isOfCluster = isOfCluster
        self.hasControl = hasControl
        self.hasBulk = hasBulk
        self.heardAt = heardAt
    }

    package var holder: Holder { Holder(node: self.name, incarnation: self.incarnation) }
}

package struct MemberPeers: Sendable {
    /// A peer that said nothing for so long does not answer.
    package static let silenceMax = Duration.seconds(3)

    /// This node.
    package let own: Holder
    /// By name, ascending; without the own.
    package let lines: [MemberPeer]
    package let now: Instant

    package init(own: Holder, _ lines: [MemberPeer], now: Instant) {
        self.own = own
        self.lines = lines
        self.now = now
    }

    package subscript(name: NodeName) -> MemberPeer? { self.lines.first { $0.name == name } }

    /// The peer that was met with this disk; nil: none was.
    package func peer(of disk: Incarnation) -> MemberPeer? {
        self.lines.first { $0.incarnation == disk }
    }

    /// Whether this disk may be leased more: it answers, and did not say that it drains or stops.
    package func takesWork(_ name: NodeName, _ disk: Incarnation) -> Bool {
        self.answers(name, disk) && !(self[name]?.isDraining ?? false)
    }

    /// Whether this disk of the name is linked and has said something lately.
    package func answers(_ name: NodeName, _ disk: Incarnation) -> Bool {
        if disk == self.own.incarnation { return true }
        guard let peer = self[name], peer.incarnation == disk, peer.hasControl else { return false }
        return self.now - peer.heardAt < Self.silenceMax
    }
}
