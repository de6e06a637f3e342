// Routing.swift - what the settings say about each destination, as one immutable value.
//
// Takes     the settings and what the machine knows of itself.
// Gives     for each destination its target and how to talk to it; a reload makes another value.
// Standard  RFC 5321 §4.1.3 (address literals), §4.5.1 (postmaster), §5.1 (ourselves).

package import Cluster
package import Primitives
package import SMTP
package import Settings

/// Where a destination's hosts come from.
package enum Target: Hashable, Sendable {
    /// A route's next hop, or the domain of an address literal.
    case address(IPAddress, port: Int)
    /// A route's next hop by name: its addresses, no MX.
    case host(String, port: Int)
    /// MX of the domain.
    case domain(String, port: Int)
}

/// How a host is talked to.
package struct HostManners: Hashable, Sendable {
    package var dialect = ClientOptions.Dialect.smtp
    package var tls = TLSLevel.may
    package var beginsWithTLS = false
    package var credentials: ClientOptions.Credentials?
    package init() {}
}

/// Who we are, so that mail is not sent in a circle (RFC 5321 §5.1).
package struct Ourselves: Hashable, Sendable {
    /// Host names in lower case: `node.hostname` and the names of front addresses.
    package var names: [String]
    /// Listeners and front addresses; an unspecified address stands for all of `local`.
    package var endpoints: [(address: IPAddress, port: Int)] {
        get { self.pairs.map { ($0.address, $0.port) } }
        set { self.pairs = newValue.map { Pair(address: $0.address, port: $0.port) } }
    }
    /// Addresses of this machine's interfaces.
    package var local: [IPAddress]
    private var pairs: [Pair] = []

    private struct Pair: Hashable, Sendable {
        var address: IPAddress
        var port: Int
    }

    package init(
        names: [String], endpoints: [(address: IPAddress, port: Int)] = [], local: [IPAddress] = []
    ) {
        self.names = names.map { $0.lowercased() }
        self.local = local
        self.endpoints = endpoints
    }

    package func isName(_ host: String) -> Bool { self.names.contains(host) }

    package func isEndpoint(_ address: IPAddress, port: Int) -> Bool {
        self.pairs.contains { pair in
            guard pair.port == port else { return false }
            if pair.address == address { return true }
            return pair.address.isUnspecified
                && (address.isLoopback || self.local.contains(address))
        }
    }
}

/// All that Delivery takes from the settings.
package struct Routing: Sendable {
    package var table: RouteTable
    package var ourselves: Ourselves
    package var hostname: String
    package var helo: String
    package var ipv6: Bool
    /// Local addresses to send from; the first of the host's family is used.
    package var source: [IPAddress]
    package var port: Int
    package var connections: Int
    package var recipientsPerTransaction: Int
    /// Where mail for `postmaster` without a domain goes.
    package var postmaster: String
    package var reportMessageBytes: Int
    package var timeouts = ClientTimeouts()
    /// How long a connection is kept without work.
    package var idle = Duration.seconds(8)
    /// A connection takes no further transaction when it is older: hosts behind one name share
    /// the work, and a changed address is noticed.
    package var connectionAge = Duration.seconds(300)

    package init(_ settings: Settings, ourselves: Ourselves) {
        let delivery = settings.delivery
        self.table = RouteTable(settings)
        self.ourselves = ourselves
        self.hostname = settings.node.hostname
        self.helo = delivery.helo.isEmpty ? settings.node.hostname : delivery.helo
        self.ipv6 = delivery.ipv6
        self.source = delivery.source.compactMap { IPAddress($0) }
        self.port = delivery.port
        self.connections = max(1, delivery.connections)
        self.recipientsPerTransaction = max(1, delivery.recipientsPerTransaction)
        self.postmaster =
            delivery.postmaster.isEmpty
            ? "postmaster@\(settings.node.hostname)" : delivery.postmaster
        self.reportMessageBytes = delivery.reportMessageBytes
    }

    /// Target and manners for mail to `domain`.
    package func way(to domain: String) -> (target: Target, manners: HostManners) {
        var manners = HostManners()
        guard let route = self.table.route(for: domain) else {
            if let address = Self.literal(domain) {
                return (.address(address, port: self.port), manners)
            }
            return (.domain(domain, port: self.port), manners)
        }
        manners.dialect = route.scheme == .lmtp ? .lmtp : .smtp
        manners.beginsWithTLS = route.scheme == .smtps
        manners.tls =
            switch route.tls {
            case .none: .none
            case .may: .may
            case .encrypt: .encrypt
            case .verify: .verify
            }
        if !route.user.isEmpty {
            manners.credentials = .init(user: route.user, password: route.password)
        }
        let host = route.via.host
        if let address = Self.literal(host) ?? IPAddress(host) {
            return (.address(address, port: route.via.port), manners)
        }
        return (.host(host.lowercased(), port: route.via.port), manners)
    }

    /// The local address to send from to `address`; nil: the system's choice.
    package func source(for address: IPAddress) -> IPAddress? {
        self.source.first { $0.isV4 == address.isV4 }
    }

    /// `[192.0.2.1]`, `[IPv6:2001:db8::1]` (RFC 5321 §4.1.3); a route may leave out `IPv6:`.
    static func literal(_ text: String) -> IPAddress? {
        guard text.utf8.first == UInt8(ascii: "["), text.utf8.last == UInt8(ascii: "]") else {
            return nil
        }
        let inner = text.dropFirst().dropLast()
        return IPAddress(inner.lowercased().hasPrefix("ipv6:") ? inner.dropFirst(5) : inner)
    }
}
