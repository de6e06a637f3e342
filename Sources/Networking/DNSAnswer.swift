// DNSAnswer.swift - what the DNS said, as values.
//
// Standard  RFC 5321 §5.1 (MX), RFC 7505 (null MX), RFC 4035 §4.3 (secure, bogus).

package import Primitives

/// One mail exchanger.
package struct MXRecord: Hashable, Sendable {
    /// Lower is tried first.
    package var preference: UInt16
    /// In lower case, without the final dot.
    package var host: String

    package init(preference: UInt16, host: String) {
        self.preference = preference
        self.host = host
    }
}

/// Why there is no answer. Always worth another try later.
package struct DNSFailure: Error, Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
        /// The servers answered with an error (SERVFAIL, REFUSED, CNAME loop, …).
        case server
        /// No answer in time.
        case timeout
        /// DNSSEC says that the answer was tampered with.
        case bogus
        /// Our own: too many questions waiting, or the resolver is stopped.
        case overloaded
    }
    package var kind: Kind
    /// For the log and the queue's last reply, in one line.
    package var reason: String

    package init(_ kind: Kind, _ reason: String) {
        self.kind = kind
        self.reason = reason
    }

    /// For metrics.
    package var label: StaticLabel {
        switch self.kind {
        case .server: "dns_server"
        case .timeout: "dns_timeout"
        case .bogus: "dns_bogus"
        case .overloaded: "dns_overloaded"
        }
    }
}

/// The answer to "who takes mail for this domain?".
package enum MXAnswer: Hashable, Sendable {
    /// At least one host, in the order of the answer (neither sorted nor shuffled). `secure`:
    /// proven by DNSSEC.
    case records([MXRecord], secure: Bool)
    /// "This domain takes no mail" (RFC 7505): a permanent failure.
    case null
    /// The domain exists and has no MX: its own address is the exchanger (RFC 5321 §5.1).
    case noRecords
    /// The domain does not exist, or is no name that the DNS could hold: a permanent failure.
    case noDomain
    case failed(DNSFailure)
}

/// The answer to "which addresses has this host?".
package enum AddressAnswer: Hashable, Sendable {
    /// At least one, IPv6 before IPv4, each family in the order of the answer. `secure`: every part
    /// is proven by DNSSEC.
    case addresses([IPAddress], secure: Bool)
    /// The name exists and has no address (of the families that were asked for).
    case noRecords
    /// The name does not exist, or is no name that the DNS could hold.
    case noDomain
    case failed(DNSFailure)
}
