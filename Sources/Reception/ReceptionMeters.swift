// ReceptionMeters.swift - what reception counts for Prometheus. Handles are made once.

import Metrics
import Primitives
import SMTP

struct ReceptionMeters: Sendable {
    let accepted = Counter(label: "posthouse_accepted_total")
    /// Bytes of accepted content.
    let acceptedBytes = Counter(label: "posthouse_accepted_bytes_total")
    let sessions = Gauge(label: "posthouse_sessions", dimensions: [("direction", "in")])
    let connections = Counter(
        label: "posthouse_connections_total", dimensions: [("direction", "in")])
    let authFailures = Counter(label: "posthouse_auth_failures_total")
    let tlsFailures = Counter(
        label: "posthouse_tls_failures_total", dimensions: [("direction", "in")])
    /// Looks at the port that are no sessions.
    enum Probe { case local, silent }
    private let localProbes = Counter(
        label: "posthouse_smtp_probes_total", dimensions: [("kind", "local")])
    private let silentProbes = Counter(
        label: "posthouse_smtp_probes_total", dimensions: [("kind", "silent")])
    /// From the final dot to its reply.
    private let replySeconds = Timer(label: "posthouse_reply_seconds")
    private let replies2 = Counter(label: "posthouse_replies_total", dimensions: [("class", "2")])
    private let replies3 = Counter(label: "posthouse_replies_total", dimensions: [("class", "3")])
    private let replies4 = Counter(label: "posthouse_replies_total", dimensions: [("class", "4")])
    private let replies5 = Counter(label: "posthouse_replies_total", dimensions: [("class", "5")])

    func probe(_ kind: Probe) {
        switch kind {
        case .local: self.localProbes.increment()
        case .silent: self.silentProbes.increment()
        }
    }

    func replied(in duration: Duration) {
        self.replySeconds.recordNanoseconds(duration.inNanoseconds)
    }

    func add(_ counts: ReplyCounts) {
        if counts.positive > 0 { self.replies2.increment(by: Int64(counts.positive)) }
        if counts.intermediate > 0 { self.replies3.increment(by: Int64(counts.intermediate)) }
        if counts.transient > 0 { self.replies4.increment(by: Int64(counts.transient)) }
        if counts.permanent > 0 { self.replies5.increment(by: Int64(counts.permanent)) }
    }
}
