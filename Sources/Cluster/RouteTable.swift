// RouteTable.swift - which way a recipient's mail goes: the first route that matches, else MX.

package import Settings

/// The routes of the settings, asked by domain. A value: a reload makes another.
package struct RouteTable: Sendable {
    private let routes: [Settings.Route]
    private let hostname: String

    package init(_ settings: Settings) {
        self.routes = settings.routes
        self.hostname = settings.node.hostname
    }

    /// Some route asks the next host about each recipient (`verify = "rcpt"`).
    package var verifies: Bool { self.routes.contains { $0.verify == .rcpt } }

    /// The first route for `domain` (any case); nil: MX.
    package func route(for domain: some StringProtocol) -> Settings.Route? {
        let name = domain.lowercased()
        return self.routes.first { route in
            route.domains.contains { RouteTable.matches(pattern: $0, domain: name) }
        }
    }

    /// What groups deliveries: the route's next hop ("smtp:10.1.1.1:25"), else the domain in lower
    /// case; an address without a domain goes with `node.hostname`.
    package func destination(for domain: some StringProtocol) -> String {
        let name = domain.isEmpty ? self.hostname.lowercased() : domain.lowercased()
        guard let route = self.route(for: name) else { return name }
        var hop = "\(route.scheme.rawValue):\(route.via)"
        // Two routes to one host that differ in manners do not share connections.
        if route.tls != .may { hop += ";tls=\(route.tls.rawValue)" }
        if !route.user.isEmpty { hop += ";user=\(route.user)" }
        return hop
    }

    /// "*" matches all, "*.example.org" its subdomains, else the very name. Lower case both.
    package static func matches(pattern: String, domain: String) -> Bool {
        if pattern == "*" { return true }
        if pattern.hasPrefix("*.") { return domain.hasSuffix(pattern.dropFirst()) }
        return pattern.lowercased() == domain
    }
}
