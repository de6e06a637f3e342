// MetricCatalogue.swift - every metric once: name, kind, labels, meaning, when to be alarmed.
//
// `Docs/Metrics.md` is printed from it; a test finds metrics in the sources that are not here.

package enum MetricCatalogue {
    package struct Entry: Sendable {
        package var name: String
        var kind: MetricKind
        var labels: String
        package var meaning: String
        var alert: String
    }

    package static func entry(_ name: String) -> Entry? { self.byName[name] }

    private static let byName = Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0) })

    private static func entry(
        _ name: String, _ kind: MetricKind, _ meaning: String, labels: String = "",
        alert: String = ""
    ) -> Entry {
        Entry(
            name: "posthouse_\(name)", kind: kind, labels: labels, meaning: meaning, alert: alert)
    }

    package static let all: [Entry] = mail + node + storage

    private static let mail: [Entry] = [
        entry(
            "accepted_total", .counter, "Messages answered 250 here.",
            alert: "no increase for an hour in which it is usual"),
        entry("accepted_bytes_total", .counter, "Bytes of the messages answered 250 here."),
        entry(
            "replies_total", .counter, "Replies to clients by their first digit.",
            labels: "class: 2, 3, 4, 5", alert: "class 4 above 10 % for 15 min"),
        entry(
            "connections_total", .counter, "Connections of clients.", labels: "direction: in"),
        entry(
            "auth_failures_total", .counter, "AUTH commands that failed.",
            alert: "> 1/s for 15 min: somebody guesses passwords"),
        entry(
            "tls_failures_total", .counter, "TLS handshakes with clients that failed.",
            labels: "direction: in"),
        entry(
            "smtp_probes_total", .counter,
            "Looks at a port that were no sessions: LOCAL of a balancer, or closed unspoken to.",
            labels: "kind: local, silent"),
        entry(
            "proxy_refused_total", .counter,
            "Connections closed for want of a PROXY header that is valid and trusted.",
            labels: "reason: untrusted, missing, malformed, too_long, version, command, family, "
                + "checksum, timeout, cut_off, too_many, stopping",
            alert: "any increase: the balancer is set up wrongly, or somebody goes around it"),
        entry("delivered_total", .counter, "Recipients that the next host took."),
        entry(
            "deferred_total", .counter, "Recipients whose attempt is to be repeated.",
            alert: "more than 30 % of all attempts for 15 min"),
        entry(
            "failed_total", .counter, "Recipients that ended without delivery.",
            alert: "more than 5 % of all ends for 15 min"),
        entry(
            "possible_duplicates_total", .counter,
            "Recipients that may have got a message twice, in the whole cluster: every node counts "
                + "what it applies, from its start on. Take the maximum over the nodes, no sum.",
            labels: "cause: takeover, reply",
            alert: "any increase without a death, or a stop behind a slow host"),
        entry(
            "reply_seconds", .histogram, "From the last byte of a message to its reply.",
            alert: "p99 > 1 s for 10 min"),
        entry(
            "delivery_connections", .gauge, "Connections to other hosts that are open now."),
        entry(
            "sessions", .gauge, "SMTP sessions of clients that are open now.",
            labels: "direction: in",
            alert: "near relay.max_sessions"),
    ]

    private static let node: [Entry] = [
        entry(
            "certificate_not_after_seconds", .gauge,
            "When a certificate in use ends, in seconds since 1970.",
            labels: "use: smtp, cluster; file: of the certificate",
            alert: "less than 14 days from now"),
        entry(
            "peer_links", .gauge, "Connections with other nodes that may be used.",
            labels: "link: control, bulk", alert: "below the number of the other nodes for 1 min"),
        entry(
            "peer_bytes_total", .counter, "Bytes to and from other nodes, within TLS.",
            labels: "link: control, bulk; direction: in, out"),
        entry(
            "peer_refusals_total", .counter,
            "Connections with other nodes that were refused or ended; Docs/PeerProtocol.md.",
            labels: "cause: version, feature_level, other_cluster, our_name, rolled_back, "
                + "same_name, certificate_name, certificate_expired, certificate_untrusted, "
                + "certificate_missing, tls, hello, frame, payload, timeout, silent, stalled, "
                + "queue_full, too_many, removed, told, told_removed",
            alert: "any increase: a stranger, a copied disk, or a certificate that has expired"),
        entry(
            "state_differences_total", .counter,
            "Nodes that have another state than this one at the same entry of the log.",
            alert: "any increase: see the log for what to do"),
        entry(
            "peer_errors_total", .counter,
            "Messages of other nodes that were dropped: what a peer must not say.",
            labels: "cause: malformed, agreement, not_yours, no_snapshot, shares",
            alert: "any increase: versions that do not fit, or a fault of ours"),
        entry(
            "founding_refusals_total", .counter,
            "What other nodes asked while there was no cluster, and were refused.",
            labels: "cause: other_cluster, other_incarnation, other_seeds, peers_disagree"),
        entry(
            "peer_skipped_frames_total", .counter,
            "Frames of other nodes of kinds that only a later version knows."),
        entry(
            "queue_messages", .gauge, "Deliveries in the queue of the whole cluster.",
            labels: "state: due, leased, deferred, held",
            alert: "due > 1,000 and growing for 10 min"),
        entry(
            "queue_quota_used_ratio", .gauge,
            "The queue by relay.max_queued_messages or _bytes, whichever is fuller; at 1 new mail "
                + "is refused.", alert: "> 0.8"),
        entry("leases", .gauge, "Deliveries that this node may attempt now."),
        entry(
            "leader", .gauge, "1 on the node that leads the cluster, else 0.",
            alert: "the maximum over all nodes is 0 for 1 min"),
        entry("term", .gauge, "The cluster's term.", alert: "four or more changes in 15 min"),
        entry(
            "commit_lag", .gauge, "Log entries that are written and not applied.",
            alert: "> 10,000 for 5 min"),
        entry(
            "follower_lag_seconds", .histogram,
            "From an append of this leader to a follower's word that it is synced there; a sample.",
            alert: "p99 > 1 s for 5 min"),
        entry("commit_seconds", .histogram, "From the proposal of a command to its result."),
        entry("build_info", .gauge, "Always 1.", labels: "version"),
        entry(
            "metrics_dropped", .gauge, "Series that are beyond a limit and not shown.",
            alert: "> 0"),
    ]

    private static let storage: [Entry] = [
        entry(
            "journal_sync_seconds", .histogram, "One sync of the journal; mail waits for it.",
            alert: "p99 > 100 ms for 10 min"),
        entry(
            "disk_free_ratio", .gauge, "Free part of the data directory's file system.",
            alert: "< 0.1"),
        entry(
            "body_repairs_total", .counter, "Bodies copied again because a copy was lost.",
            alert: "any increase without the loss of a disk"),
        entry(
            "body_copies_lost_total", .counter,
            "Copies on this node's disk that are damaged or gone; others have the body.",
            alert: "any increase"),
        entry(
            "body_fetch_failures_total", .counter,
            "Bodies that another node was asked for and did not give.",
            labels: "cause: absent, damaged, link, refused, silent, stopping, too_many",
            alert: "damaged: any increase"),
        entry(
            "bodies_lost_total", .counter,
            "Messages that failed because their only copy was damaged or gone.",
            alert: "any increase"),
    ]

    /// `Docs/Metrics.md`.
    package static var reference: String {
        var lines = [
            "# Metrics", "",
            "Generated from `Sources/Admin/MetricCatalogue.swift`; do not edit.", "",
            "`GET /metrics` on `admin.listen` answers with Prometheus text. Durations are "
                + "histograms in seconds. Addresses never stand in labels. Beside these there are "
                + "`process_cpu_seconds_total`, `process_resident_memory_bytes`, "
                + "`process_open_fds` and `process_threads`.", "",
            "| name | kind | labels | meaning | be alarmed when |", "|---|---|---|---|---|",
        ]
        for entry in self.all.sorted(by: { $0.name < $1.name }) {
            lines.append(
                "| `\(entry.name)` | \(entry.kind.rawValue) | \(entry.labels) | \(entry.meaning) "
                    + "| \(entry.alert) |")
        }
        return lines.joined(separator: "\n") + "\n"
    }
}
