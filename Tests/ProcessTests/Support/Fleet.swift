// Fleet.swift - three relays that are one cluster, each a process of its own on loopback.

import Foundation

/// A cluster whose nodes die and come back; used by one thread at a time.
final class Fleet: @unchecked Sendable {
    static let names = ["a", "b", "c"]
    /// An election and what it takes on a busy machine.
    static let patience = 60.0

    let folder: Folder
    let nodes: [Relay]
    /// Where each node listens for its peers.
    let peerPorts: [Int]
    /// In front of `peerPorts`, if the links go through them; else empty.
    private(set) var wires: [Wire] = []
    /// If each node has a machine of its own.
    let network: NodeNetwork?

    /// - Parameters:
    ///   - settings: of all nodes; names, data and `[cluster]` are added.
    ///   - isWired: links between nodes can be cut.
    ///   - isFixed: nodes come back on the ports that they had.
    ///   - network: each node lives in a namespace of its own; else all on loopback.
    init(
        _ settings: RelaySettings, isWired: Bool = false, isFixed: Bool = false,
        network: NodeNetwork? = nil, starts: Bool = true
    ) throws {
        let folder = try Folder()
        self.folder = folder
        self.network = network
        if let network {
            self.peerPorts = Array(repeating: NodeNetwork.peerPort, count: 3)
            try Self.certify(folder.path + "/ca", Self.names)
            self.nodes = try Self.names.indices.map { place in
                try Relay(
                    Self.settings(settings, place, in: network, authority: folder.path + "/ca"),
                    starts: false)
            }
            if starts { try self.start() }
            return
        }
        let doors = isFixed ? settings.listeners.count + 1 : 0
        let ports = try Self.freePorts(6 + 3 * doors)
        self.peerPorts = Array(ports[0..<3])
        let seedPorts = isWired ? Array(ports[3..<6]) : self.peerPorts
        try Self.certify(folder.path + "/ca", Self.names)
        var nodes: [Relay] = []
        for (place, name) in Self.names.enumerated() {
            var own = settings
            own.name = name
            own.ports = Array(ports[(6 + place * doors)...].prefix(doors))
            own.extra += Self.table(
                name, listen: self.peerPorts[place],
                advertise: isWired ? seedPorts[place] : nil, seeds: seedPorts,
                authority: folder.path + "/ca")
            nodes.append(try Relay(own, starts: false))
        }
        self.nodes = nodes
        if isWired {
            self.wires = try (0..<3).map { place in
                try Wire(from: seedPorts[place], to: self.peerPorts[place])
            }
        }
        if starts { try self.start() }
    }

    /// Of a node that has a machine of its own.
    private static func settings(
        _ settings: RelaySettings, _ place: Int, in network: NodeNetwork, authority: String
    ) -> RelaySettings {
        var own = settings
        own.name = Self.names[place]
        own.space = network.nodes[place]
        own.address = NodeNetwork.address(place, .doors)
        own.ports = [NodeNetwork.smtpPort, NodeNetwork.adminPort]
        own.extra += Self.table(
            own.name, listen: NodeNetwork.peerPort, advertise: nil,
            seeds: Array(repeating: NodeNetwork.peerPort, count: 3), authority: authority,
            hosts: Self.names.indices.map { NodeNetwork.address($0, .peers) })
        return own
    }

    deinit { for wire in self.wires { wire.stop() } }

    /// Authority and certificates, made by the product's own commands.
    static func certify(_ path: String, _ names: [String]) throws {
        var calls = [["ca", "init", path]]
        calls += names.map { ["ca", "issue", path, "--node", $0, "--address", "127.0.0.1"] }
        for call in calls {
            let ended = try run(try Relay.binary(), call)
            guard ended.status == 0 else { throw Failure(ended.errorText) }
        }
    }

    /// The settings that make a node one of a cluster.
    static func table(
        _ name: String, listen: Int, advertise: Int?, seeds: [Int], authority: String,
        hosts: [String] = Array(repeating: "127.0.0.1", count: 3)
    ) -> String {
        let list = Self.names.indices.map { "\"\(Self.names[$0])@\(hosts[$0]):\(seeds[$0])\"" }
            .joined(separator: ", ")
        // A name that is not among the seeds is on loopback.
        let host = Self.names.firstIndex(of: name).map { hosts[$0] } ?? "127.0.0.1"
        return """

            [cluster]
            name = "test"
            listen = "\(host):\(listen)"
            advertise = "\(advertise.map { "127.0.0.1:\($0)" } ?? "")"
            seeds = [\(list)]
            ca = "\(authority)/ca.pem"
            certificate = "\(authority)/\(name).pem"
            key = "\(authority)/\(name).key"
            commit_timeout = "10s"

            """
    }

    /// Ports below the ephemeral ones: what a dead node leaves is not given to a connection.
    static func freePorts(_ count: Int) throws -> [Int] {
        var found: [Int] = []
        var port = 10_000 + Int(getpid()) % 1000 * 20
        while found.count < count {
            port += 1
            guard port < 32_000 else { throw Failure("no free ports below 32000") }
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            defer { close(descriptor) }
            if (try? bound(descriptor, "127.0.0.1", port)) != nil { found.append(port) }
        }
        return found
    }

    /// Starts all that do not run, at the same time: on the first start they wait for one another.
    func start() throws {
        let dead = self.nodes.filter { $0.process == nil }
        let results = Shared<[String]>([])
        for node in dead {
            Thread.detachNewThread {
                do {
                    try node.start()
                    results.with { $0.append("") }
                } catch { results.with { $0.append("\(error)") } }
            }
        }
        let all = results.wait(seconds: 120) { $0.count == dead.count ? $0 : nil }
        let faults = (all ?? ["a start does not end"]).filter { !$0.isEmpty }
        if !faults.isEmpty { throw Failure(faults.joined(separator: "\n")) }
    }

    /// Ends all in order; their exit codes.
    func stop() throws -> [Int] {
        var codes: [Int] = []
        for node in self.nodes where node.process != nil {
            codes.append(try node.stop(seconds: 30).status)
        }
        return codes
    }

    /// SMTP ports of those that run.
    var ports: [Int] { self.nodes.filter { $0.process != nil }.map(\.port) }

    /// Where clients find the nodes; `isFixed` or `network` is needed.
    var doors: [Door] {
        self.nodes.map { node in
            Door(
                address: node.settings.address, port: node.settings.ports[0],
                space: self.network?.outside)
        }
    }

    /// Places of the nodes that answer, with what they say.
    func answers() -> [(place: Int, status: [String: Any])] {
        self.nodes.indices.compactMap { place in
            guard self.nodes[place].process != nil,
                let status = try? self.nodes[place].cluster()
            else { return nil }
            return (place, status)
        }
    }

    /// The place of the leader on which all of `places` agree.
    func leader(among places: [Int] = [0, 1, 2]) throws -> Int {
        var found: Int?
        let agreed = try eventually(within: Self.patience) {
            let names = try places.map { try self.nodes[$0].cluster()["leader"] as? String }
            guard let name = names[0], names.allSatisfy({ $0 == name }) else { return false }
            found = Self.names.firstIndex(of: name)
            return found.map { places.contains($0) } ?? false
        }
        guard agreed, let found else { throw Failure("no leader: \(self.story)") }
        return found
    }

    /// All nodes run, and each says that the cluster is healthy.
    func waitUntilHealthy(seconds: Double = Fleet.patience) throws {
        let isHealthy = eventually(within: seconds) {
            let answers = self.answers()
            return answers.count == self.nodes.count
                && answers.allSatisfy { $0.status["status"] as? String == "healthy" }
        }
        guard isHealthy else { throw Failure("the cluster is not healthy: \(self.story)") }
    }

    /// All nodes take mail: one whose session has expired is healthy before it has a new one.
    func waitUntilReady() throws {
        let areReady = eventually(within: Self.patience) {
            self.nodes.allSatisfy { (try? $0.get("/readyz").status) == 200 }
        }
        guard areReady else { throw Failure("a node takes no mail: \(self.story)") }
    }

    /// The others have heard how far this node's log goes, as it says once a second.
    func waitUntilKnown(_ place: Int) throws {
        let own = Self.applied(self.nodes[place].settings.name, in: try self.nodes[place].cluster())
        let isKnown = eventually(within: Self.patience) {
            self.answers().allSatisfy {
                Self.applied(self.nodes[place].settings.name, in: $0.status) >= own
            }
        }
        guard isKnown else { throw Failure("the others do not hear node \(place): \(self.story)") }
    }

    private static func applied(_ name: String, in status: [String: Any]) -> Int {
        let nodes = status["nodes"] as? [[String: Any]] ?? []
        return Int(any: nodes.first { $0["name"] as? String == name }?["applied"]) ?? 0
    }

    /// All nodes say that the queue is empty.
    func waitUntilEmpty(seconds: Double = 90) throws {
        let isEmpty = eventually(within: seconds) {
            let answers = self.answers()
            return answers.count == self.nodes.count
                && answers.allSatisfy {
                    Int(any: ($0.status["queue"] as? [String: Any])?["messages"]) == 0
                }
        }
        guard isEmpty else { throw Failure("the queue is not empty: \(self.story)") }
    }

    /// The greatest that a node says; they differ while one is behind.
    var possibleDuplicates: Int {
        self.answers().compactMap { Int(any: $0.status["possible_duplicates"]) }.max() ?? 0
    }

    /// For messages of failures.
    var story: String {
        self.nodes.map { node in
            let status = (try? node.get("/v1/cluster").body) ?? "no answer"
            let log = node.log.split(separator: "\n").suffix(6).joined(separator: "\n  ")
            return "\n\(node.settings.name): \(status)\n  \(log)"
        }.joined()
    }
}

extension Relay {
    func pause() { self.process?.signal(SIGSTOP) }
    func resume() { self.process?.signal(SIGCONT) }

    /// A value of `/metrics`; 0 if it is not there.
    func metric(_ name: String) throws -> Double {
        for line in try self.get("/metrics").body.split(separator: "\n")
        where line.hasPrefix(name + " ") {
            return Double(line.dropFirst(name.count + 1)) ?? -1
        }
        return 0
    }
}
