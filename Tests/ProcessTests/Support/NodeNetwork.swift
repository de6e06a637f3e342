// NodeNetwork.swift - three machines on two switches: one for peers, one for clients and the sink.
//
// Takes     what is cut, between whom and in which direction.
// Method    a namespace for each node and one that holds both switches, the clients and the sink.
//           Packets that are cut vanish (iptables DROP, a link that is down): nobody gets an RST.
// See       NetworkSpace; Faults/NetworkFaults.

import Foundation

final class NodeNetwork: Sendable {
    /// Which side of a node.
    enum Side: String, CaseIterable, Sendable {
        case peers, doors

        fileprivate var prefix: String { self == .peers ? "10.77.1." : "10.77.2." }
    }

    /// Outlives the tests if they are killed, and then ends what they have started.
    private let keeper: ChildProcess
    let outside: NetworkSpace
    let nodes: [NetworkSpace]
    static let outsideAddress = Side.doors.prefix + "100"
    /// The same in every node: each has a machine of its own.
    static let peerPort = 7650
    static let smtpPort = 2525
    static let adminPort = 8680

    static func address(_ place: Int, _ side: Side) -> String { side.prefix + "\(place + 1)" }

    init() throws {
        try need("ip", package: "iproute2")
        try need("ss", package: "iproute2")
        try need("tc", package: "iproute2")
        try need("iptables", package: "iptables")
        try need("nsenter", package: "util-linux")
        try NetworkSpace.removeOrphans()
        let outside = try NetworkSpace("outside")
        self.outside = outside
        for side in Side.allCases {
            try outside.ip("link", "add", side.rawValue, "type", "bridge")
            try outside.ip("link", "set", side.rawValue, "up")
        }
        let doors = Side.doors.rawValue
        try outside.ip("address", "add", Self.outsideAddress + "/24", "dev", doors)
        let nodes = try Fleet.names.enumerated().map { place, name in
            let node = try NetworkSpace(name)
            for side in Side.allCases {
                let near = side.rawValue
                let far = "\(side.rawValue)-\(name)"
                try outside.ip(
                    "link", "add", far, "type", "veth", "peer", "name", near, "netns", node.name)
                try outside.ip("link", "set", far, "master", near, "up")
                try node.ip("address", "add", Self.address(place, side) + "/24", "dev", near)
                try node.ip("link", "set", near, "up")
            }
            return node
        }
        self.nodes = nodes
        self.keeper = try NetworkSpace.keeper(of: [outside] + nodes)
    }

    deinit { self.keeper.signal(SIGKILL) }

    /// What `place` sends to `peer` vanishes; the other direction stays.
    func drop(from place: Int, to peer: Int) throws {
        try self.nodes[peer].call(
            "iptables", "-A", "INPUT", "-s", Self.address(place, .peers), "-j", "DROP")
    }

    /// Nothing passes between the two, in either direction.
    func cut(_ one: Int, _ other: Int) throws {
        try self.drop(from: one, to: other)
        try self.drop(from: other, to: one)
    }

    /// One packet in `every`, of those that come to `place` from its peers, vanishes.
    func lose(oneIn every: Int, at place: Int) throws {
        try self.nodes[place].call(
            "iptables", "-A", "INPUT", "-i", Side.peers.rawValue, "-m", "statistic", "--mode",
            "random", "--probability", "\(1 / Double(every))", "-j", "DROP")
    }

    /// What `place` sends to its peers goes at this rate, behind as much as fits in `delay`.
    func slow(_ place: Int, bitsPerSecond: Int, delayMilliseconds: Int) throws {
        try self.nodes[place].call(
            "tc", "qdisc", "replace", "dev", Side.peers.rawValue, "root", "tbf", "rate",
            "\(bitsPerSecond)bit", "burst", "4000", "latency", "\(delayMilliseconds)ms")
    }

    /// Both cables of a node are pulled.
    func pull(_ place: Int) throws {
        for side in Side.allCases { try self.nodes[place].ip("link", "set", side.rawValue, "down") }
    }

    /// Nothing of the connection whose dialer has `port` at `dialer` reaches `place`, and no new
    /// one can be opened: the other connection of the pair goes on.
    func cutConnection(dialer: Int, port: Int, at place: Int) throws {
        let from = ["-s", Self.address(dialer, .peers), "-p", "tcp"]
        let rules = [["--sport", "\(port)"], ["--syn"]]
        for rule in rules {
            let line = ["iptables", "-A", "INPUT"] + from + rule + ["-j", "DROP"]
            try self.nodes[place].call(line)
        }
        try self.nodes[dialer].call(
            "iptables", "-A", "INPUT", "-s", Self.address(place, .peers), "-p", "tcp", "--dport",
            "\(port)", "-j", "DROP")
    }

    /// Everything passes again.
    func mend() throws {
        for node in self.nodes {
            try node.call("iptables", "-F", "INPUT")
            for side in Side.allCases { try node.ip("link", "set", side.rawValue, "up") }
            // There may be none.
            _ = try run(
                node.entering[0],
                [node.entering[1], "tc", "qdisc", "del", "dev", Side.peers.rawValue, "root"])
        }
    }

    /// Connections that `dialer` has to `place`: its port, and segments sent and received.
    func connections(dialer: Int, to place: Int) throws -> [(port: Int, segments: Int)] {
        let text = try self.nodes[dialer].call(
            "ss", "-tinHO", "dst", "\(Self.address(place, .peers)):\(Self.peerPort)")
        return text.split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            let address = Self.address(dialer, .peers) + ":"
            guard words.first == "ESTAB",
                let own = words.first(where: { $0.hasPrefix(address) }),
                let port = Int(own.dropFirst(address.count))
            else { return nil }
            let segments = words.filter { $0.hasPrefix("segs_") }
                .compactMap { $0.split(separator: ":").last.flatMap { Int($0) } }
            return (port, segments.reduce(0, +))
        }
    }
}
