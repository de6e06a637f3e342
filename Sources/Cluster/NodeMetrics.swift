// NodeMetrics.swift - what the node counts for Prometheus. Handles are made once.

import MailQueue
import Metrics
import Primitives

struct NodeMetrics: Sendable {
    private let takeover = Counter(
        label: "posthouse_possible_duplicates_total", dimensions: [("cause", "takeover")])
    private let reply = Counter(
        label: "posthouse_possible_duplicates_total", dimensions: [("cause", "reply")])
    private let leases = Gauge(label: "posthouse_leases")
    private let leader = Gauge(label: "posthouse_leader")
    private let term = Gauge(label: "posthouse_term")
    private let lag = Gauge(label: "posthouse_commit_lag")
    private let diskFree = Gauge(label: "posthouse_disk_free_ratio")
    private let commit = Timer(label: "posthouse_commit_seconds")
    private let followerLag = Timer(label: "posthouse_follower_lag_seconds")
    private let sync = Timer(label: "posthouse_journal_sync_seconds")
    private let repairs = Counter(label: "posthouse_body_repairs_total")
    private let copiesLost = Counter(label: "posthouse_body_copies_lost_total")
    private let lost = Counter(label: "posthouse_bodies_lost_total")
    /// Reception counts what comes by SMTP; this is what comes over the admin interface.
    private let accepted = Counter(label: "posthouse_accepted_total")
    private let states: [Gauge] = ["due", "leased", "deferred", "held"].map {
        Gauge(label: "posthouse_queue_messages", dimensions: [("state", $0)])
    }

    func duplicates(_ cause: DuplicateCause, _ count: UInt32) {
        switch cause {
        case .takeover: self.takeover.increment(by: Int64(count))
        case .reply: self.reply.increment(by: Int64(count))
        }
    }

    /// A copy was made again, and counts.
    func bodyRepaired() { self.repairs.increment() }

    /// A copy on the own disk is no copy any more.
    func copyLost() { self.copiesLost.increment() }

    /// A holder did not give a body.
    func fetchFailed(_ why: StaticString) {
        Counter(label: "posthouse_body_fetch_failures_total", dimensions: [("cause", "\(why)")])
            .increment()
    }

    /// The only copy of a message's body is lost.
    func bodyLost() { self.lost.increment() }

    /// Another node has another state at the same index.
    func stateDiffers() { Counter(label: "posthouse_state_differences_total").increment() }

    /// A message of a peer was dropped.
    func peerError(_ why: StaticString) {
        Counter(label: "posthouse_peer_errors_total", dimensions: [("cause", "\(why)")])
            .increment()
    }

    /// Another node's founding, or its wish to join, is refused.
    func foundingRefused(_ why: StaticString) {
        Counter(label: "posthouse_founding_refusals_total", dimensions: [("cause", "\(why)")])
            .increment()
    }

    /// A batch of the journal was written and synced.
    func synced(in duration: Duration) { self.sync.recordNanoseconds(duration.inNanoseconds) }

    /// From an append of this leader to a follower's acknowledgement.
    func followed(in duration: Duration) {
        self.followerLag.recordNanoseconds(duration.inNanoseconds)
    }

    /// A message was handed in over the admin interface.
    func handedIn() { self.accepted.increment() }

    /// From proposal to result.
    func committed(in duration: Duration) { self.commit.recordNanoseconds(duration.inNanoseconds) }

    /// What is recorded once a second.
    struct Sample: Equatable, Sendable {
        /// Of the whole queue, by state.
        var due: Int
        var leased: Int
        var deferred: Int
        var held: Int
        /// Of this node's session.
        var leases: Int
        var isLeader: Bool
        var term: UInt64
        /// Log entries.
        var lag: UInt64
        /// 0 … 1.
        var diskFreeRatio: Double
    }

    func record(_ sample: Sample) {
        let counts = [sample.due, sample.leased, sample.deferred, sample.held]
        for (gauge, value) in zip(self.states, counts) { gauge.record(Int64(value)) }
        self.leases.record(Int64(sample.leases))
        self.leader.record(sample.isLeader ? 1 : 0)
        self.term.record(Int64(sample.term))
        self.lag.record(Int64(sample.lag))
        self.diskFree.record(sample.diskFreeRatio)
    }
}
