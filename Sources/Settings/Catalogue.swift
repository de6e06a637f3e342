// Catalogue.swift - every setting once: name, kind, range, meaning; the default is in Settings.
//
// The parser reads by it, the example file and the reference are printed from it.

import Primitives

extension Settings.Route {
    /// Scheme and endpoint, as `via` gives them.
    var url: Settings.Via {
        get { Settings.Via(scheme: self.scheme, endpoint: self.via) }
        set { (self.scheme, self.via) = (newValue.scheme, newValue.endpoint) }
    }
}

enum Catalogue {
    /// Listeners, routes, domains … in one list, at most.
    static let listLimit = 10_000

    /// All sections in the order in which they are printed.
    static var all: [SectionText] {
        [
            SectionText(Self.node), SectionText(Self.cluster), SectionText(Self.listener),
            SectionText(Self.relay), SectionText(Self.route), SectionText(Self.delivery),
            SectionText(Self.dns), SectionText(Self.admin),
        ]
    }

    static let node = Section<Settings.Node>(
        name: "node", isArray: false, text: "Who this node is and where it keeps its data.",
        keys: nodeKeys(Settings.Node()))

    private static func nodeKeys(_ initial: Settings.Node) -> [Key<Settings.Node>] {
        [
            Key(
                "name", .nodeName, \.name, of: initial, required: true, example: "\"a\"",
                "The node's name, unique in its cluster. The data directory remembers it."),
            Key(
                "hostname", .host, \.hostname, of: initial, required: true,
                example: "\"relay.example.com\"",
                "Said in the banner, in EHLO and in Received; the same on all nodes is fine."),
            Key(
                "data", .path, \.data, of: initial,
                "The data directory; made with mode 0700 if it does not exist."),
            Key(
                "log", .choice, \.log, of: initial,
                "The least severe messages that are logged."),
            Key(
                "loops", .integer(0...64), \.loops, of: initial,
                "Event loops for sessions; 0: one less than the processor's cores, at least one."),
        ]
    }

    static let cluster = Section<Settings.Cluster>(
        name: "cluster", isArray: false,
        text: "The cluster that this node belongs to. Without the table it stays alone.",
        keys: clusterKeys(Settings.Cluster()))

    private static func clusterKeys(_ initial: Settings.Cluster) -> [Key<Settings.Cluster>] {
        [
            Key(
                "name", .nodeName, \.name, of: initial, required: true, example: "\"mail-prod\"",
                "The cluster's name, the same on all nodes."),
            Key(
                "listen", .listen, \.listen, of: initial, required: true,
                example: "\"10.0.0.1:7650\"", "Where this node listens for its peers."),
            Key(
                "seeds", .list(of: .seed, limit: 64, name: "list of nodes"), \.seeds, of: initial,
                required: true,
                example: "[\"a@10.0.0.1:7650\", \"b@10.0.0.2:7650\", \"c@10.0.0.3:7650\"]",
                "The founding nodes, identical on all; the first start waits for all of them."),
            Key(
                "ca", .path, \.ca, of: initial, required: true,
                example: "\"/etc/posthouse/ca.pem\"",
                "The cluster's own certificate authority (posthouse ca init)."),
            Key(
                "certificate", .path, \.certificate, of: initial, required: true,
                example: "\"/etc/posthouse/node.pem\"",
                "This node's certificate (posthouse ca issue)."),
            Key(
                "key", .path, \.key, of: initial, required: true,
                example: "\"/etc/posthouse/node.key\"", "The key of the certificate."),
            Key(
                "advertise", .optional(.remote), \.advertise, of: initial,
                "Where peers reach this node, if not at `listen` (NAT, 0.0.0.0)."),
            Key(
                "copies", .optional(.integer(1...9)), \.copies, of: initial, example: "2",
                "Disks that hold a message before it is accepted; empty: a majority of the voters. "
                    + "The leader's file counts."),
            Key(
                "commit_timeout", .duration(.seconds(1)...(.seconds(540))), \.commitTimeout,
                of: initial,
                "How long the reply to a message may wait for the cluster before it is 451."),
            Key(
                "session_time", .duration(.seconds(2)...(.seconds(60))), \.sessionTime,
                of: initial, effect: .reload,
                "Without a word of a node for this long its session ends, and others get its mail. "
                    + "The leader's file counts, for sessions that are opened from then on."),
            Key(
                "hold_down", .duration(.zero...(.seconds(60))), \.holdDown, of: initial,
                effect: .reload,
                "How long what such a node had begun waits then: it may be done. "
                    + "The leader's file counts, as for session_time."),
            Key(
                "clock_drift", .integer(1...20), \.clockDrift, of: initial, effect: .reload,
                "By so many percent may a clock be too fast or too slow. "
                    + "The leader's file counts, as for session_time."),
            Key(
                "renewal", .duration(.milliseconds(100)...(.seconds(10))), \.renewal, of: initial,
                "How often a node asks for more time of its session."),
            Key(
                "dot_guard", .duration(.milliseconds(100)...(.seconds(30))), \.dotGuard,
                of: initial,
                "What must be left of the session when the end of a message is sent, "
                    + "and how long that may go unacknowledged."),
        ]
    }

    static let listener = Section<Settings.Listener>(
        name: "listener", isArray: true, text: "One address on which mail is received.",
        keys: listenerKeys(Settings.Listener()))

    private static func listenerKeys(_ initial: Settings.Listener) -> [Key<Settings.Listener>] {
        [
            Key(
                "address", .listen, \.address, of: initial, required: true,
                example: "\"0.0.0.0:25\"", effect: .reload,
                "Address and port; port 0: any free one."),
            Key(
                "mode", .choice, \.mode, of: initial, effect: .reload,
                "relay: mail from other servers; submission: mail of users, who must "
                    + "authenticate, with Date and Message-ID added."),
            Key(
                "tls", .choice, \.tls, of: initial, effect: .reload,
                "off, offered (starttls), or from the first byte (implicit)."),
            Key(
                "certificate", .path, \.certificate, of: initial, effect: .reload,
                "PEM file with the certificate and its chain; read again when it changes."),
            Key(
                "key", .path, \.key, of: initial, effect: .reload,
                "PEM file with the key of the certificate."),
            Key(
                "proxy_protocol", .flag, \.proxyProtocol, of: initial, effect: .reload,
                "true: each connection must begin with a PROXY header, from proxy_trusted only."),
            Key(
                "proxy_trusted", .list(of: .range, limit: 1000, name: "list of address ranges"),
                \.proxyTrusted, of: initial, effect: .reload,
                "Balancers whose PROXY headers are believed."),
        ]
    }

    static let route = Section<Settings.Route>(
        name: "route", isArray: true,
        text: "Where mail for some domains goes. The first match wins; without one: MX.",
        keys: routeKeys(Settings.Route()))

    private static func routeKeys(_ initial: Settings.Route) -> [Key<Settings.Route>] {
        [
            Key(
                "domains",
                .list(
                    of: .domainPattern(allowAll: true), limit: listLimit, name: "list of domains"),
                \.domains, of: initial, required: true,
                example: "[\"example.org\", \"*.example.org\"]", effect: .reload,
                "\"*.example.org\" stands for all subdomains, \"*\" for all domains."),
            Key(
                "via", .via, \.url, of: initial, required: true,
                example: "\"smtp://10.1.1.1:25\"", effect: .reload,
                "The next host: smtp://, smtps:// or lmtp://; ports 25, 465 and 24 if left out."),
            Key(
                "user", .plain("name", like: "\"relay\""), \.user, of: initial, effect: .reload,
                "User for AUTH at the next host; empty: no AUTH."),
            Key(
                "password", .plain("text", like: "\"…\""), \.password, of: initial,
                effect: .reload, "The user's password; better in a file."),
            Key(
                "password_file", .path, \.passwordFile, of: initial, effect: .reload,
                "File whose first line is the password."),
            Key(
                "tls", .choice, \.tls, of: initial, effect: .reload,
                "none; may: if offered; encrypt: demanded; verify: demanded, with a certificate "
                    + "that is valid for the host."),
            Key(
                "verify", .optional(.choice), \.verify, of: initial, effect: .reload,
                "rcpt: ask the next host at RCPT whether the recipient exists; none: do not. "
                    + "Empty: rcpt for domains of relay.domains, from clients that may not relay."),
        ]
    }

    static let dns = Section<Settings.DNS>(
        name: "dns", isArray: false, text: "How names are resolved.", keys: dnsKeys(Settings.DNS()))

    private static func dnsKeys(_ initial: Settings.DNS) -> [Key<Settings.DNS>] {
        [
            Key(
                "servers", .list(of: .dnsServer, limit: 16, name: "list of addresses"), \.servers,
                of: initial,
                "DNS servers, \"127.0.0.1@5353\" with a port; empty: those of /etc/resolv.conf."),
            Key(
                "dnssec", .flag, \.dnssec, of: initial,
                "Validate answers; needs trust_anchor and a resolver that passes signatures on."),
            Key(
                "trust_anchor", .path, \.trustAnchor, of: initial,
                "File with the root's keys, as unbound-anchor writes it."),
        ]
    }

    static let admin = Section<Settings.Admin>(
        name: "admin", isArray: false, text: "The HTTP interface for commands, health and metrics.",
        keys: adminKeys(Settings.Admin()))

    private static func adminKeys(_ initial: Settings.Admin) -> [Key<Settings.Admin>] {
        [
            Key("listen", .listen, \.listen, of: initial, "Address and port."),
            Key(
                "token_file", .path, \.tokenFile, of: initial,
                "File whose first line every client must show as bearer token; with certificate "
                    + "and key it is required when `listen` is not on loopback."),
            Key(
                "certificate", .path, \.certificate, of: initial,
                "PEM file with the certificate for HTTPS."),
            Key("key", .path, \.key, of: initial, "PEM file with the key of the certificate."),
        ]
    }
}
