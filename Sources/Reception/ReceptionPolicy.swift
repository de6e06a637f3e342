// ReceptionPolicy.swift - who may send what to whom: one immutable value, swapped by a reload.
//
// Takes     settings and the file of users.
// Gives     a decision per recipient. Nobody from outside may relay to anywhere else: never an open
//           relay, whatever the settings leave out.
// Standard  RFC 5321 §3.6.2, §7.1, §4.5.1 (postmaster); RFC 6409 §4.

package import Cluster
package import Primitives
package import SMTP
package import Settings

package struct ReceptionPolicy: Sendable {
    /// What becomes of one recipient.
    package enum Decision: Equatable, Sendable {
        case accept
        /// Ask its next host first.
        case verify
        case refuse(ServerReply)
    }

    package let routes: RouteTable
    /// Some route asks its next host whatever the client.
    private let verifies: Bool
    private let allow: [AddressRange]
    private let exactDomains: Set<String>
    /// `.example.org` of `*.example.org`; "" of `*`.
    private let suffixes: [String]
    /// By name; only ever looked up.
    let users: UserFile
    /// AUTH is offered.
    package let hasUsers: Bool
    let messagesPerUserPerHour: Int

    /// - Parameter users: the content of `relay.users`; nil if there is no such file.
    package init(_ settings: Settings, users: UserFile?) {
        self.routes = RouteTable(settings)
        self.verifies = self.routes.verifies
        self.allow = settings.relay.allow
        var exact: Set<String> = []
        var suffixes: [String] = []
        for pattern in settings.relay.domains {
            let name = pattern.lowercased()
            if name == "*" {
                suffixes.append("")
            } else if name.hasPrefix("*.") {
                suffixes.append(String(name.dropFirst()))
            } else {
                exact.insert(DomainName.ascii(name) ?? name)
            }
        }
        self.exactDomains = exact
        self.suffixes = suffixes
        self.users = users ?? UserFile()
        self.hasUsers = users != nil
        self.messagesPerUserPerHour = settings.relay.maxMessagesPerUserPerHour
    }

    /// May relay anywhere without AUTH.
    package func isTrusted(_ address: IPAddress) -> Bool {
        for range in self.allow where range.contains(address) { return true }
        return false
    }

    /// Whether we take mail for `domain` from anyone. Lower case, as the grammar gives it.
    package func isOurs(_ domain: String) -> Bool {
        if self.exactDomains.contains(domain) { return true }
        for suffix in self.suffixes where domain.hasSuffix(suffix) { return true }
        return false
    }

    /// - Parameter mayRelay: the client is trusted, or a user has authenticated.
    package func decide(_ recipient: Recipient, mayRelay: Bool) -> Decision {
        let domain = recipient.domain
        // The grammar lets nothing but `postmaster` through without a domain.
        if domain.isEmpty { return .accept }
        let isOurs =
            !(self.exactDomains.isEmpty && self.suffixes.isEmpty)
            && self.isOurs(String(domain))
        guard mayRelay || isOurs else { return .refuse(.relayDenied) }
        guard self.verifies || isOurs else { return .accept }
        switch self.routes.route(for: domain)?.verify {
        case .some(.rcpt): return .verify
        case .some(.none): return .accept
        // Ours by default, if its next host is known; who may relay gets the bounce if it fails.
        case nil:
            return isOurs && !mayRelay && self.routes.route(for: domain) != nil
                ? .verify : .accept
        }
    }
}
