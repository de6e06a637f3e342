// NetworkFaults.swift - partitions of every shape; cut packets vanish, and nobody gets an RST.
//
// Method    namespaces (NodeNetwork); without root the isolations alone, by proxies (Wire).

import Foundation

extension FaultStory {
    func cut(_ fault: Fault) throws {
        switch fault {
        case .isolateLeader, .isolateFollower:
            try self.isolate(try self.choose(leads: fault == .isolateLeader))
        case .muteLeader, .muteFollower:
            let place = try self.choose(leads: fault == .muteLeader)
            try self.whileCut { network in
                for peer in 0..<3 where peer != place { try network.drop(from: place, to: peer) }
            }
        case .deafLeader, .deafFollower:
            let place = try self.choose(leads: fault == .deafLeader)
            try self.whileCut { network in
                for peer in 0..<3 where peer != place { try network.drop(from: peer, to: place) }
            }
        case .oneWayLink, .followersCut:
            let leader = try self.leader()
            let pair = [(leader + 1) % 3, (leader + 2) % 3]
            let first = self.draw(below: 2)
            try self.whileCut { network in
                try network.drop(from: pair[first], to: pair[1 - first])
                if fault == .followersCut {
                    try network.drop(from: pair[1 - first], to: pair[first])
                }
            }
        case .bridge:
            let place = try self.choose(leads: false)
            let leader = try self.leader()
            try self.whileCut { try $0.cut(leader, place) }
        case .thinLink:
            let place = try self.choose(leads: false)
            try self.whileCut {
                try $0.slow(place, bitsPerSecond: 400_000, delayMilliseconds: 400)
            }
        case .lossyLink:
            let place = try self.choose(leads: false)
            try self.whileCut { try $0.lose(oneIn: 7, at: place) }
        case .cutBulk, .cutControl: try self.cutConnection(isBulk: fault == .cutBulk)
        case .vanishLeader, .vanishFollower:
            try self.vanish(try self.choose(leads: fault == .vanishLeader))
        case _: throw Failure("\(fault) is of another kind")
        }
    }

    private func whileCut(_ cut: (NodeNetwork) throws -> Void) throws {
        let network = try self.network
        try cut(network)
        defer { network.mendOrSay() }
        try self.outlast("cut")
    }

    private func isolate(_ place: Int) throws {
        // Clients still find it, and are told 4xx or nothing.
        if self.fleet.network != nil {
            return try self.whileCut { network in
                for peer in 0..<3 where peer != place { try network.cut(place, peer) }
            }
        }
        try self.fleet.isolate(place)
        defer { self.fleet.mend() }
        try self.outlast("cut off")
    }

    /// The machine goes first and the process with it: its kernel says no last word.
    private func vanish(_ place: Int) throws {
        let network = try self.network
        let node = self.fleet.nodes[place]
        try network.pull(place)
        defer { network.mendOrSay() }
        node.kill()
        try self.outlast("vanished")
        try network.mend()
        self.clients.hangUp(at: place)
        try node.start()
    }

    private func cutConnection(isBulk: Bool) throws {
        let network = try self.network
        let leader = try self.leader()
        let place = try self.choose(leads: false)
        // The node with the lesser name dials.
        let dialer = min(leader, place)
        let other = max(leader, place)
        // With nothing to do, heartbeats go over one of them ten times a second, and over the
        // other one word a second.
        try self.clients.hold()
        // One that was dialed while the network was cut is there until its handshake's time is
        // over.
        let areTwo = try eventually(within: Fleet.patience) {
            try network.connections(dialer: dialer, to: other).count == 2
        }
        guard areTwo else {
            throw Failure(
                "not two: \(try network.connections(dialer: dialer, to: other))")
        }
        let seen = try network.connections(dialer: dialer, to: other)
        poll(nil, 0, 2000)
        let counts = try network.connections(dialer: dialer, to: other).compactMap { later in
            seen.first { $0.port == later.port }
                .map { (port: later.port, segments: later.segments - $0.segments) }
        }.sorted { $0.segments < $1.segments }
        self.clients.goOn()
        guard counts.count == 2, counts[1].segments > 2 * counts[0].segments else {
            throw Failure("which of these is the bulk connection? \(counts)")
        }
        try network.cutConnection(
            dialer: dialer, port: counts[isBulk ? 0 : 1].port, at: other)
        defer { network.mendOrSay() }
        try self.outlast("one cut")
    }
}

extension NodeNetwork {
    /// For the end of a fault, which may be its failure.
    func mendOrSay() {
        do {
            try self.mend()
        } catch {
            print("cannot mend the network: \(error)")
        }
    }
}
