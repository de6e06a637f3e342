// Settings.swift - every setting as a typed value; text, default and range stand in Catalogue.
//
// Takes     a TOML text (SettingsParser) that has been checked as a whole.
// Never     read by `apply`: what the queue needs travels in its commands.

package import Primitives

/// One node's settings. All durations and sizes are already in range.
package struct Settings: Hashable, Sendable {
    package var node = Node()
    /// Nil: a cluster of one.
    package var cluster: Cluster?
    package var listeners: [Listener] = []
    package var relay = Relay()
    /// First match wins; no match: MX.
    package var routes: [Route] = []
    package var delivery = Delivery()
    package var dns = DNS()
    package var admin = Admin()

    package init() {}

    package struct Node: Hashable, Sendable {
        package var name = ""
        /// Banner, EHLO, Received.
        package var hostname = ""
        /// The data directory.
        package var data = "/var/lib/posthouse"
        package var log = LogLevel.info
        /// Event loops for sessions; 0: one less than the cores, at least one.
        package var loops = 0
        package init() {}
    }

    package enum LogLevel: String, Hashable, Sendable, CaseIterable {
        case trace, debug, info, notice, warning, error, critical
    }

    package struct Cluster: Hashable, Sendable {
        package var name = ""
        package var listen = Endpoint(host: "", port: 7650)
        package var seeds: [Seed] = []
        package var ca = ""
        package var certificate = ""
        package var key = ""
        /// Where peers reach us, if not at `listen`.
        package var advertise: Endpoint?
        /// R; nil: a majority of the voters.
        package var copies: Int?
        package var commitTimeout = Duration.seconds(30)
        /// T, H, and what clocks may differ in percent: of the whole cluster.
        package var sessionTime = Duration.seconds(4)
        package var holdDown = Duration.seconds(3)
        package var clockDrift = 5
        package var renewal = Duration.milliseconds(400)
        /// G.
        package var dotGuard = Duration.seconds(1)
        package init() {}
    }

    /// There are others, or others may come. A seed by itself is ready for them at once.
    package var isSeveral: Bool { self.cluster != nil }

    package struct Seed: Hashable, Sendable {
        package var name: String
        package var endpoint: Endpoint
        package init(name: String, endpoint: Endpoint) {
            self.name = name
            self.endpoint = endpoint
        }
    }

    package struct Listener: Hashable, Sendable {
        package enum Mode: String, Hashable, Sendable, CaseIterable { case relay, submission }
        package enum TLS: String, Hashable, Sendable, CaseIterable { case off, starttls, implicit }
        package var address = Endpoint(host: "0.0.0.0", port: 25)
        package var mode = Mode.relay
        package var tls = TLS.off
        package var certificate = ""
        package var key = ""
        package var proxyProtocol = false
        package var proxyTrusted: [AddressRange] = []
        package init() {}
    }

    package struct Relay: Hashable, Sendable {
        /// May relay anywhere without AUTH.
        package var allow: [AddressRange] = [
            AddressRange("127.0.0.0/8")!, AddressRange("::1/128")!,
        ]
        /// Accepted from anyone: we are their MX. "*.example.org" covers all subdomains.
        package var domains: [String] = []
        package var maxMessageBytes = 50_000_000
        package var maxRecipients = 1000
        /// The file of users for AUTH; "": no AUTH.
        package var users = ""
        package var maxMessagesPerUserPerHour = 1000
        package var maxSessions = 20_000
        package var maxSessionsPerAddress = 500
        package var maxMessagesPerSession = 100_000
        /// Between two commands, and between two pieces of a message (RFC 5321 §4.5.3.2.7).
        package var idleTimeout = Duration.seconds(300)
        package var sessionTimeout = Duration.seconds(3600)
        /// Commands refused before the session is ended with 421.
        package var maxErrors = 20
        /// How long a new client must stay silent before the banner; zero: not checked.
        package var earlyTalkerDelay = Duration.zero
        /// Received fields in a message before it counts as looping (RFC 5321 §6.3).
        package var maxReceived = 100
        /// Messages in the queue before new ones are refused: as many as a restart brings back in
        /// seconds.
        package var maxQueuedMessages = 1_000_000
        /// Their bytes as stored, one copy. The disk has a limit of its own.
        package var maxQueuedBytes = 1_000_000_000_000
        package init() {}
    }

    package struct Route: Hashable, Sendable {
        package enum Scheme: String, Hashable, Sendable, CaseIterable { case smtp, smtps, lmtp }
        package enum TLS: String, Hashable, Sendable, CaseIterable {
            case none, may, encrypt, verify
        }
        package enum Verify: String, Hashable, Sendable, CaseIterable { case none, rcpt }
        /// "*" = all, "*.example.org" = all subdomains.
        package var domains: [String] = []
        package var scheme = Scheme.smtp
        package var via = Endpoint(host: "", port: 25)
        package var user = ""
        /// Given as such, or the first line of `passwordFile`.
        package var password = ""
        package var passwordFile = ""
        package var tls = TLS.may
        /// Nil: `rcpt` for domains in `relay.domains`, else `none`.
        package var verify: Verify?
        package init() {}
    }

    package struct Delivery: Hashable, Sendable {
        package var enabled = true
        /// "": `node.hostname`.
        package var helo = ""
        package var source: [String] = []
        package var ipv6 = true
        /// The last repeats; each ± 10 %.
        package var retry: [Duration] = [60, 300, 900, 1800, 3600, 7200, 14_400].map {
            .seconds($0)
        }
        package var expire = Duration.seconds(5 * 86_400)
        /// Zero: no notice.
        package var delayNotice = Duration.seconds(4 * 3600)
        package var connectionsPerDestination = 20
        /// Connections of this node to all destinations together; twice as many leases.
        package var connections = 1000
        package var recipientsPerTransaction = 100
        /// "": `postmaster@` and `node.hostname`.
        package var postmaster = ""
        /// The port of MX hosts: 25, but for tests.
        package var port = 25
        /// A report returns headers only of a message larger than this.
        package var reportMessageBytes = 50_000
        package init() {}
    }

    package struct DNS: Hashable, Sendable {
        /// Empty: the system's.
        package var servers: [String] = []
        package var dnssec = false
        package var trustAnchor = ""
        package init() {}
    }

    package struct Admin: Hashable, Sendable {
        package var listen = Endpoint(host: "127.0.0.1", port: 8680)
        package var tokenFile = ""
        /// The first line of `tokenFile`; "": no token is asked for.
        package var token = ""
        package var certificate = ""
        package var key = ""
        package init() {}
    }
}

/// A host name or address literal, and a port. Port 0 (tests): the system chooses.
package struct Endpoint: Hashable, Sendable, CustomStringConvertible {
    package var host: String
    package var port: Int
    package init(host: String, port: Int) {
        self.host = host
        self.port = port
    }
    package var description: String {
        self.host.utf8.contains(UInt8(ascii: ":"))
            ? "[\(self.host)]:\(self.port)" : "\(self.host):\(self.port)"
    }
}
