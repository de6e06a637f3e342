// SimTraffic.swift - what goes between the nodes, for the cost of a message in larger clusters.
//
// Takes     everything that is sent, with its sender.
// Gives     frames and bytes for each node, what carries bodies apart from all else.
// Method    frames as in Docs/PeerProtocol.md; contents that no codec of the world encodes are
//           counted by the lengths that stand there. TLS is not counted.

import Cluster
import Raft

package struct NodeTraffic: Sendable {
    package struct Line: Sendable {
        package var frames = 0
        package var received = 0
        package var bodyBytes = 0
        /// Agreement, forwarded commands, renewals, standings, confirmations.
        package var otherBytes = 0
        /// Entries.
        package var applied: UInt64 = 0
    }
    package var lines: [Line] = []
    /// Messages that were promised.
    package var accepted = 0
    /// The place of who led at the end.
    package var leader = 0
}

extension SimScenario {
    private static let clientsPerNode = 20

    /// Three voters, as many workers as that makes, and a busy day.
    mutating func becomeLarge(_ nodes: Int) {
        let ms = SimWorld.millisecond
        self.nodes = nodes
        self.founders = 3
        self.copies = 2
        self.clients = Self.clientsPerNode * nodes
        self.pace = 50 * ms
        self.destinations = 8
        self.credit = 500
        self.connections = 50
        self.connectionsPerDestination = 20 * nodes
        self.commitTimeout = .seconds(10)
        self.segmentRecords = 1000
        self.checkpointInterval = .seconds(10)
        self.repairAfter = .seconds(300)
        self.expire = .seconds(60)
        self.delayNotice = .zero
        self.log = LogLimits()
        self.lazyPermille = 0
        self.syncLeast = 500_000
        self.syncMost = 1_000_000
        self.wireLeast = 20_000
        self.wireMost = 200_000
    }
}

extension SimWorld {
    private func appliedOf(_ place: Int) -> UInt64 { self.nodes[place].machine.applied.index }

    func beginCounting() {
        let lines = self.nodes.indices.map { place in
            var line = NodeTraffic.Line()
            line.applied = self.appliedOf(place)
            return line
        }
        self.network.traffic = lines
        self.traffic.accepted = self.counters[.accepted]
    }

    func endCounting() {
        guard self.options.scale != nil else { return }
        self.traffic.lines = self.network.traffic
        for place in self.nodes.indices {
            self.traffic.lines[place].applied =
                self.appliedOf(place) - self.traffic.lines[place].applied
        }
        self.traffic.accepted = self.counters[.accepted] - self.traffic.accepted
        self.traffic.leader = self.nodes.firstIndex { $0.machine.isReadyLeader } ?? 0
    }
}

extension SimLoad {
    private static let frameHead = 10
    private static let tag = 16
    /// Head with its length, block count, content bytes, digest.
    private static let seal = 300 + 4 + 4 + 8 + 32

    var isBody: Bool {
        switch self {
        case .bodyWhole, .bodyOpen, .bodyChunk, .bodyEnd, .fetched: true
        case _: false
        }
    }

    /// On the wire.
    var bytes: Int { Self.frameHead + self.payload }

    private var payload: Int {
        switch self {
        case .agreement(let bytes), .forward(let bytes): bytes.count
        case .declined: 16
        case .renew(let renewal):
            42 + renewal.shares.reduce(0) { $0 + $1.destination.utf8.count + 9 }
        case .renewed(let answer):
            38 + answer.shares.reduce(0) { $0 + $1.destination.utf8.count + 5 }
        case .bodyWhole(_, let body): Self.tag + Self.seal + Int(body.contentBytes)
        case .bodyOpen: 8
        case .bodyChunk: 16 + 64_000
        case .bodyEnd: 8 + Self.tag + Self.seal
        case .bodyStored: Self.tag
        case .bodyRefused, .streamRefused: 18
        case .fetchBody: 28
        case .fetched(_, let body): Self.seal + Int(body.contentBytes)
        case .fetchFailed: 9
        case .snapshotOffer, .snapshotDone, .snapshotAnswer: 128
        case .snapshotPiece: 262_144
        case .standing: 83
        }
    }
}
