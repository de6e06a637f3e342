// ProxyHeader.swift - what a balancer says of a connection, in front of its first byte.
//
// Standard  The PROXY protocol, versions 1 and 2 (HAProxy's doc/proxy-protocol.txt, 2020/03/05).

import Primitives

/// One header, read to its end.
struct ProxyHeader: Equatable, Sendable {
    enum Kind: Equatable, Sendable {
        /// The balancer speaks for itself: a health check (§2.2, command 0).
        case local
        /// The balancer speaks for a client.
        case proxy
    }

    struct Place: Equatable, Sendable {
        var address: IPAddress
        var port: UInt16
    }

    /// 1 or 2.
    var version: Int
    var kind: Kind
    /// The client; nil: not told (LOCAL, UNKNOWN, UNSPEC, a Unix socket). The connection keeps its
    /// own address then.
    var source: Place?
    /// Where the client has connected to.
    var destination: Place?
    /// Bytes of the header; what stands behind them is the client's.
    var length: Int
}

/// Why a connection is closed without a word. The raw value is the label of its metric.
enum ProxyRefusal: String, Error, Equatable, Sendable, CaseIterable {
    /// The peer is not in `proxy_trusted`.
    case untrusted
    /// The first bytes are those of no header.
    case missing
    /// A header that cannot be read.
    case malformed
    /// Longer than `ProxyParser.Limit`.
    case tooLong = "too_long"
    /// Neither version 1 nor 2.
    case version
    /// Neither LOCAL nor PROXY.
    case command
    /// No stream, or an address family that there is not.
    case family
    /// The CRC32C does not fit.
    case checksum
    /// Not complete within `ProxyHandler.Limit.headerTime`.
    case timeout
    /// The connection ended within the header.
    case cutOff = "cut_off"
    /// `ProxyDoor.Limit.waiting` connections wait for their header.
    case tooMany = "too_many"
    /// The node is stopping.
    case stopping

    /// For the operator.
    var remedy: String {
        switch self {
        case .untrusted: "add the balancer to proxy_trusted, or keep others from this port"
        case .missing, .timeout, .cutOff:
            "have the balancer send the PROXY protocol (HAProxy: send-proxy-v2), or check another"
                + " port"
        case .malformed, .tooLong, .version, .command, .family, .checksum:
            "the balancer must speak version 1 or 2 of the PROXY protocol, for TCP"
        case .tooMany: "the balancer opens connections and sends nothing"
        case .stopping: ""
        }
    }
}
