// ClusterStatus.swift - what `cluster status` shows, as values.
//
// Counts are of the answering node's applied state (docs: contract of `/v1/cluster`).

package import Primitives

/// The answer to `GET /v1/cluster`.
package struct ClusterStatus: Sendable {
    package enum Health: String, Sendable {
        case healthy, degraded
        case noQuorum = "no_quorum"
    }
    package struct Node: Sendable {
        package enum State: String, Sendable {
            case starting, ready, draining, stopping, unreachable
        }
        package var name: NodeName
        package var role: String
        package var state: State
        package var isLeader: Bool
        /// Log entries behind the leader.
        package var lag: UInt64
        package var applied: UInt64
        package var leases: Int
        package var sessionsIn: Int
        package var sessionsOut: Int
        /// Free part of the data directory's file system, 0 … 1.
        package var diskFreeRatio: Double
        /// Milliseconds since it was heard last; 0 for the answering node. Of one that was never
        /// heard, since the answering node's start.
        package var seenMilliseconds: Int64
        /// Where its peers reach it; "": not known.
        package var address = ""
        /// Why it is not reached; nil: it is, or nobody tried.
        package var lastError: String?
    }
    package struct Queue: Sendable {
        package var messages: Int
        package var recipients: Int
        package var due: Int
        package var leased: Int
        package var deferred: Int
        package var held: Int
        package var storedBytes: UInt64
        package var originalBytes: UInt64
        /// Nil: the queue is empty.
        package var oldestSeconds: Int64?
    }
    /// Messages (recipients for the last three) per second over the last 60 s.
    package struct Rates: Sendable {
        package var accepted: Double
        package var delivered: Double
        package var deferred: Double
        package var bounced: Double
    }
    package var clusterName: String
    package var clusterID: ClusterID
    package var health: Health
    package var canLose: Int
    package var leader: NodeName?
    package var term: UInt64
    package var nodes: [Node]
    /// Nil: not caught up yet.
    package var queue: Queue?
    package var rates: Rates
    package var possibleDuplicates: UInt64
    package var alarms: [String]
    /// Why it is not healthy; empty exactly when it is.
    package var reasons: [StatusReason] = []
    /// What is worth knowing and makes it no less healthy.
    package var notes: [StatusReason] = []
    /// Who answers.
    package var node: NodeName = ""
    /// Of the answering node: its log is applied, and known to be committed, up to here.
    package var applied: UInt64 = 0
    package var committed: UInt64 = 0
    /// In the configuration, and reached by the answering node (itself among them).
    package var voters = 1
    package var votersReachable = 1
    /// What the node waits for before it belongs to a cluster that works; nil: it does.
    package var waitsFor: String?
    /// Since when there is no leader; nil: there is one.
    package var leaderlessMilliseconds: Int64?
}

/// Whether mail may be sent here, for balancers (`/readyz`).
package enum Readiness: Equatable, Sendable {
    case ready
    case notReady(Reason)
    package enum Reason: String, Sendable {
        case catchingUp = "catching_up"
        case draining
        case noQuorum = "no_quorum"
        case disk
        case storage
    }
}
