// PeerDirectory.swift - the other nodes as this one knows them now.
//
// Takes     links that come and go, what peers say of themselves.
// Gives     names for members, holders that can be reached, standings for the status.
// Limits    one line a name; the mesh limits the names.

import Primitives
import Spool

/// What is known of one peer.
struct PeerLine {
    var name: NodeName
    /// Of its last link.
    var incarnation: Incarnation
    /// 0: it belonged to none when it was linked.
    var cluster: ClusterID
    /// Where it can be dialed; "": nowhere.
    var host: String
    var port: UInt16
    var hasControl = false
    var hasBulk = false
    var standing: Standing?
    /// How far its wall clock was ahead of ours when it told it last; nil: not over this link.
    var clockAhead: Duration?
    /// Until then it is asked for copies behind others; nil: it was not slow.
    var slowUntil: Instant?
    /// When it said something last.
    var heardAt: Instant

    var holder: Holder { Holder(node: self.name, incarnation: self.incarnation) }
}

struct PeerDirectory {
    /// By name, ascending.
    private(set) var lines: [PeerLine] = []

    private func place(_ name: NodeName) -> Int? { self.lines.firstIndex { $0.name == name } }

    subscript(name: NodeName) -> PeerLine? { self.place(name).map { self.lines[$0] } }

    /// The name of a member that was linked to us; nil: never.
    func name(of member: Incarnation) -> NodeName? {
        self.lines.first { $0.incarnation == member }?.name
    }

    mutating func up(_ peer: Hello, _ link: PeerLinkKind, at now: Instant) {
        let fresh = PeerLine(
            name: peer.node, incarnation: peer.incarnation, cluster: peer.cluster,
            host: peer.host, port: peer.port, heardAt: now)
        let place: Int
        if let known = self.place(peer.node) {
            place = known
        } else {
            place = self.lines.firstIndex { $0.name > peer.node } ?? self.lines.count
            self.lines.insert(fresh, at: place)
        }
        if self.lines[place].incarnation != peer.incarnation { self.lines[place] = fresh }
        self.lines[place].heardAt = now
        self.lines[place].cluster = peer.cluster
        self.lines[place].host = peer.host
        self.lines[place].port = peer.port
        switch link {
        case .control: self.lines[place].hasControl = true
        case .bulk: self.lines[place].hasBulk = true
        }
    }

    mutating func down(_ name: NodeName, _ incarnation: Incarnation, _ link: PeerLinkKind) {
        guard let place = self.place(name), self.lines[place].incarnation == incarnation else {
            return
        }
        switch link {
        case .control:
            self.lines[place].hasControl = false
            self.lines[place].clockAhead = nil
        case .bulk: self.lines[place].hasBulk = false
        }
    }

    mutating func heard(_ name: NodeName, at now: Instant) {
        if let place = self.place(name) { self.lines[place].heardAt = now }
    }

    /// - Parameter wall: the own wall clock now. The peer's word has been on its way for a while,
    ///   which is nothing against the limit of an agreement.
    mutating func stands(_ name: NodeName, _ standing: Standing, wall: WallTime) {
        guard let place = self.place(name) else { return }
        self.lines[place].standing = standing
        if self.lines[place].hasControl {
            self.lines[place].clockAhead = standing.wall - wall
        }
    }

    /// Peers that are linked and have told their wall clocks, by how far those are ahead.
    func clocks(where isIt: (Duration) -> Bool) -> [Incarnation] {
        self.lines.filter { $0.clockAhead.map(isIt) ?? false }.map(\.incarnation)
    }

    /// A placement has waited for it for too long.
    mutating func isSlow(_ holder: Holder, until: Instant) {
        guard let place = self.place(holder.node), self.lines[place].holder == holder else {
            return
        }
        self.lines[place].slowUntil = until
    }

    func isSlow(_ holder: Holder, at now: Instant) -> Bool {
        self[holder.node].map { $0.holder == holder && $0.slowUntil ?? now > now } ?? false
    }

    /// For `BodyCandidates`.
    var bodyPeers: [BodyPeer] {
        self.lines.map {
            BodyPeer(
                holder: $0.holder, isUp: $0.hasBulk,
                isLowOnDisk: $0.standing?.refusesBodies ?? false,
                isDraining: $0.standing?.isDraining ?? false)
        }
    }
}
