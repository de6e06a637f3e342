// ClusterRequest.swift - `POST /v1/cluster/VERB`: what it asks for, and the answer.
//
// Takes     {"node","timeout_ms","force_dead","dry_run"}; unknown members are errors.
// Gives     how far the change is; asking again does no harm, so a client asks until it is done.

import Cluster
import Primitives

extension AdminRequest {
    /// The longest that a request waits for its change, in milliseconds.
    static let changeWaitMax: Int64 = 3_600_000

    struct Change: Equatable {
        var change: ClusterChange
        /// Nil: answer at once.
        var wait: Duration?
    }

    static func change(_ verb: ClusterChange.Verb, _ body: JSON) throws(RequestFault) -> Change {
        guard case .object(let members) = body else {
            throw RequestFault(reason: "the body is not a JSON object")
        }
        var change = Change(change: ClusterChange(verb, node: nil))
        for member in members {
            switch (member.name, member.value) {
            case ("node", .null), ("timeout_ms", .null): continue
            case ("node", .text(let name)) where !name.isEmpty: change.change.node = name
            case ("timeout_ms", .integer(let number)):
                guard (0...Self.changeWaitMax).contains(number) else {
                    throw RequestFault(reason: "timeout_ms takes 0 … \(Self.changeWaitMax)")
                }
                change.wait = .milliseconds(number)
            case ("force_dead", .flag(let value)): change.change.isForced = value
            case ("dry_run", .flag(let value)): change.change.isDryRun = value
            case ("node", _), ("timeout_ms", _), ("force_dead", _), ("dry_run", _):
                throw RequestFault(reason: "\(member.name) has a value of the wrong kind")
            case _: throw RequestFault(reason: "unknown member \(member.name)")
            }
        }
        guard change.change.node != nil || verb == .transferLeader else {
            throw RequestFault(reason: "\"node\" is missing")
        }
        guard !change.change.isForced || verb == .remove else {
            throw RequestFault(reason: "force_dead goes with remove")
        }
        return change
    }
}

extension ClusterProgress {
    /// `posthouse.change/1`.
    func json(_ verb: ClusterChange.Verb) -> JSON {
        [
            "schema": "posthouse.change/1", "verb": .text(verb.rawValue),
            "node": .text(self.node), "done": .flag(self.isDone),
            "leader": .flag(self.isLeader), "sessions_in": JSON(self.sessionsIn),
            "leases": JSON(self.leases), "below": JSON(self.below), "lost": JSON(self.lost),
            "lost_messages": .list(self.lostMessages.map { .text($0.text) }),
            "can_lose": JSON(self.canLose),
        ]
    }

    /// What is still to happen, for an answer that came too late.
    var rest: String {
        "sessions \(self.sessionsIn), leases \(self.leases), messages with too few copies "
            + "elsewhere \(self.below) (\(self.lost) have no other copy)"
    }
}
