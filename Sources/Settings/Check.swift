// Check.swift - what must hold between settings, and of the files that they name.
//
// Takes     settings whose values are each in range; the paths that could not be read are skipped.
// Gives     faults; fills in the secrets that files hold.

import Primitives

struct Check {
    let lines: LineIndex
    let faulty: Set<String>
    let files: FileAccess
    var faults: [SettingsFault] = []

    init(lines: LineIndex, faulty: Set<String>, files: FileAccess) {
        self.lines = lines
        self.faulty = faulty
        self.files = files
    }

    mutating func all(_ settings: inout Settings) {
        self.node(settings)
        self.listeners(settings)
        self.addresses(settings)
        self.relay(settings.relay)
        self.routes(&settings.routes)
        self.delivery(settings.delivery)
        self.dns(settings.dns)
        self.admin(&settings.admin)
        if let cluster = settings.cluster { self.cluster(cluster) }
    }

    mutating func fault(_ path: String, _ what: String, _ remedy: String) {
        guard !self.faulty.contains(path) else { return }
        self.faults.append(
            SettingsFault(line: self.lines.line(of: path), what: what, remedy: remedy))
    }

    private mutating func node(_ settings: Settings) {
        if settings.node.data.isEmpty {
            self.fault("node.data", "node.data is empty", "give a directory")
        }
        if settings.node.hostname.isEmpty {
            self.fault(
                "node.hostname", "node.hostname is empty", "give the relay's name in the DNS")
        }
    }

    private mutating func listeners(_ settings: Settings) {
        if settings.listeners.isEmpty && settings.cluster == nil {
            self.fault(
                "listener", "no [[listener]]: no mail could come in",
                "add one with address = \"0.0.0.0:25\"")
        }
        for (index, listener) in settings.listeners.enumerated() {
            let path = "listener[\(index)]"
            self.certificate(
                at: path, name: "listener", certificate: listener.certificate, key: listener.key,
                neededBy: listener.tls == .off ? nil : "tls = \"\(listener.tls.rawValue)\"")
            if listener.proxyProtocol && listener.proxyTrusted.isEmpty {
                self.fault(
                    "\(path).proxy_protocol", "proxy_protocol without proxy_trusted",
                    "name the balancers' addresses in proxy_trusted")
            }
            if !listener.proxyProtocol && !listener.proxyTrusted.isEmpty {
                self.fault(
                    "\(path).proxy_trusted", "proxy_trusted without proxy_protocol",
                    "set proxy_protocol = true, or remove it")
            }
            for range in listener.proxyTrusted where range.prefix == 0 {
                self.fault(
                    "\(path).proxy_trusted", "\(range) lets every client choose its address",
                    "name the balancers' addresses only")
            }
        }
    }

    /// Two listeners cannot have the same port of the same address, nor of one and all.
    private mutating func addresses(_ settings: Settings) {
        var taken: [(path: String, endpoint: Endpoint)] = []
        for (index, listener) in settings.listeners.enumerated() {
            taken.append(("listener[\(index)].address", listener.address))
        }
        taken.append(("admin.listen", settings.admin.listen))
        if let cluster = settings.cluster { taken.append(("cluster.listen", cluster.listen)) }
        for (index, later) in taken.enumerated() where !self.faulty.contains(later.path) {
            let rival = taken[..<index].first { earlier in
                !self.faulty.contains(earlier.path)
                    && Self.collide(earlier.endpoint, later.endpoint)
            }
            guard let rival else { continue }
            // A default has no line: the fault is told where the other one stands.
            let isDefault = self.lines.lines[later.path] == nil
            let (here, other) = isDefault ? (rival, later) : (later, rival)
            let place =
                isDefault
                ? "of \(other.path) by default"
                : "on line \(self.lines.line(of: other.path))"
            self.fault(
                here.path, "\(here.endpoint) collides with \(other.endpoint) \(place)",
                "choose another port or address")
        }
    }

    private static func collide(_ a: Endpoint, _ b: Endpoint) -> Bool {
        guard a.port == b.port, a.port != 0, let first = IPAddress(a.host),
            let second = IPAddress(b.host), first.isV4 == second.isV4
        else { return false }
        return first == second || first.isUnspecified || second.isUnspecified
    }

    private mutating func relay(_ relay: Settings.Relay) {
        for range in relay.allow where range.prefix == 0 {
            self.fault(
                "relay.allow", "\(range) makes an open relay: anybody could send to anywhere",
                "name your own networks")
        }
        self.duplicates(relay.domains, "relay.domains")
        if relay.maxSessionsPerAddress > relay.maxSessions {
            self.fault(
                "relay.max_sessions_per_address",
                "max_sessions_per_address \(relay.maxSessionsPerAddress) exceeds "
                    + "max_sessions \(relay.maxSessions)",
                "lower it, or raise max_sessions")
        }
        if !relay.users.isEmpty, let bytes = self.file(relay.users, "relay.users") {
            do {
                _ = try UserFile(String(decoding: bytes, as: UTF8.self))
            } catch {
                self.fault(
                    "relay.users", "\(relay.users):\(error.line): \(error.what)",
                    "mend that line; posthouse user add writes good ones")
            }
        }
    }

    private mutating func duplicates(_ names: [String], _ path: String) {
        var seen: Set<String> = []
        for name in names where !seen.insert(name).inserted {
            self.fault(path, "\(name) stands in \(path) twice", "remove one")
        }
    }

    private mutating func delivery(_ delivery: Settings.Delivery) {
        if delivery.retry.isEmpty {
            self.fault("delivery.retry", "delivery.retry is empty", "give one duration at least")
        }
        if let first = delivery.retry.first, first > delivery.expire {
            self.fault(
                "delivery.retry",
                "the first retry comes after \(Quantity.print(first)), the message has ended by "
                    + "then (expire \(Quantity.print(delivery.expire)))",
                "shorten it, or lengthen expire")
        }
        if delivery.delayNotice > delivery.expire
            && self.lines.lines["delivery.delay_notice"] != nil
        {
            self.fault(
                "delivery.delay_notice",
                "delay_notice \(Quantity.print(delivery.delayNotice)) exceeds expire "
                    + Quantity.print(delivery.expire),
                "shorten it, or set 0s")
        }
        self.duplicates(delivery.source, "delivery.source")
        if !delivery.ipv6, let v6 = delivery.source.first(where: { $0.contains(":") }) {
            self.fault(
                "delivery.source", "source \(v6), but ipv6 = false", "remove it, or set ipv6 = true"
            )
        }
        if delivery.connectionsPerDestination > delivery.connections {
            self.fault(
                "delivery.connections_per_destination",
                "connections_per_destination \(delivery.connectionsPerDestination) exceeds "
                    + "connections \(delivery.connections)",
                "lower it, or raise connections")
        }
    }

    private mutating func dns(_ dns: Settings.DNS) {
        if dns.dnssec && dns.trustAnchor.isEmpty {
            self.fault(
                "dns.dnssec", "dnssec without trust_anchor",
                "set trust_anchor to the file that unbound-anchor writes")
        }
        if !dns.trustAnchor.isEmpty { _ = self.file(dns.trustAnchor, "dns.trust_anchor") }
        self.duplicates(dns.servers, "dns.servers")
    }

    /// Three renewals may be lost, and half of the session's time is left for transactions.
    private mutating func times(_ cluster: Settings.Cluster) {
        if cluster.renewal * 4 > cluster.sessionTime {
            self.fault(
                "cluster.renewal",
                "a renewal each \(Quantity.print(cluster.renewal)) comes too seldom for a "
                    + "session_time of \(Quantity.print(cluster.sessionTime))",
                "at most a fourth of session_time")
        }
        if cluster.dotGuard * 2 > cluster.sessionTime {
            self.fault(
                "cluster.dot_guard",
                "dot_guard \(Quantity.print(cluster.dotGuard)) leaves too little of a "
                    + "session_time of \(Quantity.print(cluster.sessionTime))",
                "at most half of session_time")
        }
    }

    private mutating func cluster(_ cluster: Settings.Cluster) {
        self.duplicates(cluster.seeds.map(\.name), "cluster.seeds")
        self.duplicates(cluster.seeds.map(\.endpoint.description), "cluster.seeds")
        if cluster.seeds.isEmpty {
            self.fault("cluster.seeds", "cluster.seeds is empty", "name the founding nodes")
        }
        if let copies = cluster.copies, copies > max(1, cluster.seeds.count) {
            self.fault(
                "cluster.copies", "\(copies) copies on \(cluster.seeds.count) nodes",
                "lower copies, or name more seeds")
        }
        self.times(cluster)
        if !cluster.ca.isEmpty { self.pem(cluster.ca, "cluster.ca", holds: "CERTIFICATE") }
        self.certificate(
            at: "cluster", name: "cluster", certificate: cluster.certificate, key: cluster.key,
            neededBy: "a cluster")
        let listen = IPAddress(cluster.listen.host)
        if listen?.isUnspecified == true && cluster.advertise == nil {
            self.fault(
                "cluster.listen", "peers cannot reach \(cluster.listen)",
                "set cluster.advertise to the address that peers use")
        }
    }
}
