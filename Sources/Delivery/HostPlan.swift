// HostPlan.swift - which hosts a destination's mail goes to, and in which order.
//
// Takes     the MX answer, then the addresses of the hosts that it names; dice.
// Gives     what to look up, then the hosts in order, or why there are none.
// Never     asks anybody: HostFinder does.
// Standard  RFC 5321 §5.1; RFC 7505 §3, §4.2; RFC 3463 §3.5 (x.4.x); RFC 1035 §3.3.9.

package import Networking
package import Primitives
package import SMTP

/// A host to try: one address of one exchanger.
package struct PlannedHost: Hashable, Sendable {
    package var name: String
    package var address: IPAddress
    package var port: Int
    package var preference: UInt16

    package init(name: String, address: IPAddress, port: Int, preference: UInt16 = 0) {
        self.name = name
        self.address = address
        self.port = port
        self.preference = preference
    }
}

/// How the question "where to?" ended.
package enum HostPlanResult: Hashable, Sendable {
    /// At least one, best first.
    case hosts([PlannedHost])
    /// No host now; later perhaps.
    case deferred(Reply)
    /// No host ever, as far as the DNS knows.
    case failed(Reply)
}

/// A plan for one destination, made in two steps: `init` with the MX answer, `result` with the
/// addresses of `exchangers`.
package struct HostPlan: Sendable {
    package enum Limit {
        /// Exchangers whose addresses are looked up; RFC 5321 §5.1 allows to limit them.
        package static let exchangers = 10
        /// Addresses that one attempt tries.
        package static let addresses = 20
        /// Addresses of one exchanger.
        package static let addressesPerExchanger = 6
    }

    package let domain: String
    package let port: Int
    /// In the order of trying; what is ourselves and everything behind it is not among them.
    package private(set) var exchangers: [MXRecord] = []
    /// The answer without any look-up of addresses.
    package private(set) var verdict: HostPlanResult?
    /// Records that were left out, for the log: "10.0.0.1: an address, not a name".
    package private(set) var ignored: [String] = []
    private let isImplicit: Bool
    /// An exchanger was ourselves.
    private var foundOurselves = false

    package init(
        domain: String, port: Int, answer: MXAnswer, ourselves: Ourselves,
        dice: inout Generator
    ) {
        self.domain = domain
        self.port = port
        switch answer {
        case .records(let records, _):
            self.isImplicit = false
            self.order(records, ourselves, &dice)
        case .noRecords:
            self.isImplicit = true
            self.order([MXRecord(preference: 0, host: domain)], ourselves, &dice)
        case .null:
            self.isImplicit = false
            self.verdict = .failed(
                Reply(556, EnhancedCode(5, 1, 10), "\(domain) accepts no mail (null MX)"))
        case .noDomain:
            self.isImplicit = false
            self.verdict = .failed(
                Reply(550, EnhancedCode(5, 1, 2), "the domain \(domain) does not exist"))
        case .failed(let failure):
            self.isImplicit = false
            self.verdict = .deferred(
                Reply(451, EnhancedCode(4, 4, 3), "MX of \(domain): \(failure.reason)"))
        }
    }

    /// A plan for a host that is named by a route: its addresses only.
    package init(host: String, port: Int) {
        self.domain = host
        self.port = port
        self.isImplicit = true
        self.exchangers = [MXRecord(preference: 0, host: host)]
    }

    private mutating func order(
        _ records: [MXRecord], _ ourselves: Ourselves, _ dice: inout Generator
    ) {
        var usable: [MXRecord] = []
        for record in records {
            if record.host.isEmpty || record.host == "." {
                self.ignored.append("\"\(record.host)\": no name")
            } else if IPAddress(record.host) != nil {
                self.ignored.append("\(record.host): an address, not a name")
            } else {
                usable.append(record)
            }
        }
        // First mixed, then sorted by a stable sort: equal preferences stay mixed.
        dice.mix(&usable)
        usable = usable.enumerated()
            .sorted { ($0.element.preference, $0.offset) < ($1.element.preference, $1.offset) }
            .map { $0.element }
        if let own = usable.first(where: { ourselves.isName($0.host) }) {
            self.foundOurselves = true
            usable.removeAll { $0.preference >= own.preference }
        }
        self.exchangers = Array(usable.prefix(Limit.exchangers))
        if usable.isEmpty { self.verdict = self.nothing(temporary: nil) }
    }

    /// - Parameter answers: for each of `exchangers`, in their order.
    package func result(
        _ answers: [AddressAnswer], ourselves: Ourselves, ipv6: Bool, dice: inout Generator
    ) -> HostPlanResult {
        if let verdict { return verdict }
        var plan = self
        var hosts: [PlannedHost] = []
        var temporary: Reply?
        for (record, answer) in zip(self.exchangers, answers) {
            switch answer {
            case .addresses(let all, _):
                let own = all.contains { ourselves.isEndpoint($0, port: self.port) }
                if own {
                    plan.foundOurselves = true
                    hosts.removeAll { $0.preference >= record.preference }
                    return hosts.isEmpty
                        ? plan.nothing(temporary: temporary) : .hosts(hosts)
                }
                for address in Self.alternating(all, ipv6: ipv6, dice: &dice) {
                    hosts.append(
                        PlannedHost(
                            name: record.host, address: address, port: self.port,
                            preference: record.preference))
                }
            case .noRecords, .noDomain: continue
            case .failed(let failure):
                temporary = Reply(
                    451, EnhancedCode(4, 4, 3), "address of \(record.host): \(failure.reason)")
            }
        }
        if hosts.isEmpty {
            let isGone = self.isImplicit && answers.first == .noDomain
            if isGone {
                return .failed(
                    Reply(550, EnhancedCode(5, 1, 2), "the host \(self.domain) does not exist"))
            }
            return plan.nothing(temporary: temporary)
        }
        return .hosts(Array(hosts.prefix(Limit.addresses)))
    }

    /// Each family mixed, IPv6 first, then in turn (RFC 5321 §5.1: any order among equals).
    private static func alternating(
        _ all: [IPAddress], ipv6: Bool, dice: inout Generator
    ) -> [IPAddress] {
        var v6 = ipv6 ? all.filter { !$0.isV4 } : []
        var v4 = all.filter { $0.isV4 }
        dice.mix(&v6)
        dice.mix(&v4)
        var result: [IPAddress] = []
        for i in 0..<max(v4.count, v6.count) {
            if i < v6.count { result.append(v6[i]) }
            if i < v4.count { result.append(v4[i]) }
        }
        return Array(result.prefix(Limit.addressesPerExchanger))
    }

    private func nothing(temporary: Reply?) -> HostPlanResult {
        if self.foundOurselves {
            return .failed(
                Reply(
                    554, EnhancedCode(5, 4, 6), "mail for \(self.domain) comes back to this system")
            )
        }
        if let temporary { return .deferred(temporary) }
        let why = self.ignored.isEmpty ? "" : " (\(self.ignored.joined(separator: "; ")))"
        return .failed(
            Reply(
                550, EnhancedCode(5, 4, 4), "\(self.domain) has no host that takes mail\(why)"))
    }
}
