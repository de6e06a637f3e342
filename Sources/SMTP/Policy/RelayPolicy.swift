// RelayPolicy.swift - who may send what to whom; Reception and `check relay` ask it alike.
//
// Takes     the networks that may relay, the domains that are ours; a caller, a recipient.
// Gives     yes, with the rule that says so, or the reply that refuses. Nobody from outside may
//           relay to anywhere else: never an open relay, whatever the settings leave out.
// Standard  RFC 5321 §3.6.2, §7.1, §4.5.1 (postmaster); RFC 6409 §4.

package import Primitives

/// Who is at the other end of a session, and how far the address may be believed.
///
/// `relay.allow` names machines that connect to us. Behind a balancer three things must not pass
/// for one of them:
/// 1. the balancer itself, where its PROXY header names no client (LOCAL, UNKNOWN): it may well
///    stand in `relay.allow`, and 127.0.0.0/8 does so by default;
/// 2. a loopback address in the header of another machine: it is that machine's loopback, not ours;
/// 3. the unspecified address, which is nobody's.
package struct Caller: Equatable, Sendable {
    /// The client's; the balancer's if `isAnonymous`.
    package let address: IPAddress
    /// The balancer through which it came; nil: it came by itself.
    package let balancer: IPAddress?
    /// The header has not told who it is: a health check, or a client that cannot be known.
    package let isAnonymous: Bool
    /// The header was LOCAL: a health check for sure.
    package let isLocal: Bool

    /// - Parameter balancer: nil: it came by itself.
    package init(_ address: IPAddress, by balancer: IPAddress? = nil) {
        self.address = address
        self.balancer = balancer
        self.isAnonymous = false
        self.isLocal = false
    }

    /// A balancer that speaks for nobody in particular.
    package init(anonymousBy balancer: IPAddress, isLocal: Bool) {
        self.address = balancer
        self.balancer = balancer
        self.isAnonymous = true
        self.isLocal = isLocal
    }

    /// Whether `relay.allow` is asked about the address at all.
    package var mayBeTrusted: Bool {
        guard let balancer = self.balancer else { return true }
        if self.isAnonymous || self.address.isUnspecified { return false }
        return !self.address.isLoopback || balancer.isLoopback
    }

    /// Whose sessions are counted together; nil: nobody's, as it would be the balancer's.
    package var counted: IPAddress? { self.isAnonymous ? nil : self.address }
}

package struct RelayPolicy: Sendable {
    /// Why a recipient is accepted.
    package enum Rule: Equatable, Sendable {
        /// `<postmaster>` without a domain, which nobody refuses.
        case postmaster
        /// The domain is one of `relay.domains`.
        case ours
        /// The client may relay anywhere.
        case client
    }

    package enum Decision: Equatable, Sendable {
        case accept(Rule)
        case refuse(ServerReply)
    }

    private let allow: [AddressRange]
    private let exactDomains: Set<String>
    /// `.example.org` of `*.example.org`; "" of `*`.
    private let suffixes: [String]

    /// - Parameters:
    ///   - allow: may relay anywhere without AUTH.
    ///   - domains: accepted from anyone; "*.example.org" stands for all subdomains.
    package init(allow: [AddressRange], domains: [String]) {
        self.allow = allow
        var exact: Set<String> = []
        var suffixes: [String] = []
        for pattern in domains {
            let name = pattern.lowercased()
            if name == "*" {
                suffixes.append("")
            } else if name.hasPrefix("*.") {
                let rest = String(name.dropFirst(2))
                suffixes.append("." + (DomainName.ascii(rest) ?? rest))
            } else {
                exact.insert(DomainName.ascii(name) ?? name)
            }
        }
        self.exactDomains = exact
        self.suffixes = suffixes
    }

    /// The range for which `caller` may relay anywhere without AUTH; nil: it may not.
    package func range(trusting caller: Caller) -> AddressRange? {
        guard caller.mayBeTrusted else { return nil }
        for range in self.allow where range.contains(caller.address) { return range }
        return nil
    }

    /// The pattern by which mail for `domain` is taken from anyone; nil: there is none. Lower case,
    /// as the grammar gives it.
    package func pattern(of domain: String) -> String? {
        if self.exactDomains.contains(domain) { return domain }
        for suffix in self.suffixes where domain.hasSuffix(suffix) { return "*" + suffix }
        return nil
    }

    private func isOurs(_ domain: Substring) -> Bool {
        if self.exactDomains.isEmpty && self.suffixes.isEmpty { return false }
        let domain = String(domain)
        return self.exactDomains.contains(domain)
            || self.suffixes.contains { domain.hasSuffix($0) }
    }

    /// - Parameter mayRelay: the client is trusted, or a user has authenticated.
    package func decide(_ recipient: Recipient, mayRelay: Bool) -> Decision {
        let domain = recipient.domain
        // The grammar lets nothing but `postmaster` through without a domain.
        if domain.isEmpty { return .accept(.postmaster) }
        if self.isOurs(domain) { return .accept(.ours) }
        return mayRelay ? .accept(.client) : .refuse(.relayDenied)
    }
}
