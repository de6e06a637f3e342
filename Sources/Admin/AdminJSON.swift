// AdminJSON.swift - the documents of the admin interface: ids are strings, times RFC 3339 UTC,
// sizes bytes, durations milliseconds.

import Cluster
import MailQueue
import Primitives

extension ClusterStatus {
    /// `posthouse.cluster/1`.
    var json: JSON {
        [
            "schema": "posthouse.cluster/1",
            "status": .text(self.health.rawValue),
            "can_lose": JSON(self.canLose),
            "leader": JSON(self.leader),
            "term": .text("\(self.term)"),
            "name": .text(self.clusterName),
            "cluster_id": .text(Base32.text(self.clusterID.raw)),
            "nodes": .list(self.nodes.map(\.json)),
            "queue": self.queue?.json ?? .null,
            "rates": [
                "accepted": .real(self.rates.accepted), "delivered": .real(self.rates.delivered),
                "deferred": .real(self.rates.deferred), "bounced": .real(self.rates.bounced),
            ],
            "possible_duplicates": JSON(self.possibleDuplicates),
            "alarms": .list(self.alarms.map { .text($0) }),
            "reasons": .list(self.reasons.map(\.json)),
            "notes": .list(self.notes.map(\.json)),
            "node": .text(self.node),
            "local": [
                "applied": JSON(self.applied), "committed": JSON(self.committed),
                "voters": JSON(self.voters), "voters_reachable": JSON(self.votersReachable),
                "waits_for": JSON(self.waitsFor),
                "leaderless_ms": self.leaderlessMilliseconds.map { .integer($0) } ?? .null,
            ],
        ]
    }
}

extension StatusReason {
    var json: JSON {
        [
            "label": .text(self.label.rawValue),
            "node": JSON(self.node),
            "sentence": .text(self.sentence),
            "remedy": .text(self.remedy),
        ]
    }
}

extension ClusterStatus.Node {
    var json: JSON {
        [
            "name": .text(self.name),
            "role": .text(self.role),
            "state": .text(self.state.rawValue),
            "leader": .flag(self.isLeader),
            "lag": JSON(self.lag),
            "applied": JSON(self.applied),
            "leases": JSON(self.leases),
            "sessions": ["in": JSON(self.sessionsIn), "out": JSON(self.sessionsOut)],
            "disk_free_ratio": .real(self.diskFreeRatio),
            "seen_ms": JSON(self.seenMilliseconds),
            "address": .text(self.address),
            "last_error": JSON(self.lastError),
        ]
    }
}

extension ClusterStatus.Queue {
    var json: JSON {
        [
            "messages": JSON(self.messages),
            "recipients": JSON(self.recipients),
            "due": JSON(self.due),
            "leased": JSON(self.leased),
            "deferred": JSON(self.deferred),
            "held": JSON(self.held),
            "stored_bytes": JSON(self.storedBytes),
            "original_bytes": JSON(self.originalBytes),
            "oldest_seconds": self.oldestSeconds.map { .integer($0) } ?? .null,
        ]
    }
}

extension QueuePage {
    /// `posthouse.queue/1`.
    var json: JSON {
        [
            "schema": "posthouse.queue/1",
            "messages": .list(self.messages.map { .object($0.members) }),
            "total": JSON(self.total),
        ]
    }
}

extension QueuedMessage {
    /// `posthouse.message/1`.
    var json: JSON {
        .object([JSON.Member(name: "schema", value: "posthouse.message/1")] + self.members)
    }

    var members: [JSON.Member] {
        [
            JSON.Member(name: "id", value: .text(self.id.text)),
            JSON.Member(name: "from", value: .text(self.from)),
            JSON.Member(name: "size", value: JSON(self.bytes)),
            JSON.Member(name: "accepted_at", value: .text(self.acceptedAt.rfc3339)),
            JSON.Member(name: "deliveries", value: .list(self.deliveries.map(\.json))),
        ]
    }
}

extension QueuedMessage.Delivery {
    var json: JSON {
        [
            "domain": .text(self.domain),
            "recipients": .list(self.recipients.map { .text($0) }),
            "state": JSON(self.state.text),
            "attempts": JSON(self.attempts),
            "next_attempt": JSON(self.nextAttempt?.rfc3339),
            "node": JSON(self.node),
            "last_reply": JSON(self.lastReply),
        ]
    }
}

extension ActionResult {
    /// `posthouse.action/1`.
    var json: JSON {
        [
            "schema": "posthouse.action/1", "matched": JSON(self.matched),
            "changed": JSON(self.changed), "in_flight": JSON(self.inFlight),
        ]
    }
}
