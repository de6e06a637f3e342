// NodeRemovals.swift - nodes that were removed: left alone, and told.
//
// Takes     the rows of members, the configuration, the Hello of whoever connects, ticks.
// Gives     who is forgotten by the mesh, and who is refused with the word that it was removed.
// Order     1 the row says removed, and no disk of the name is in the configuration. 2 For
//           `farewellTime` its links stay: it applies its own removal meanwhile. 3 They are closed,
//           and the name is forgotten until its row is a member's again. A removed disk that comes
//           later is told in the goodbye: it follows no log that could tell it.
// Never     a disk that is not known yet: a name comes back with an empty one, to be admitted.
// See       PeerMesh.forget, NodeMembers; Docs/PeerProtocol.md, "Who dials" and "Refusals".

import Logging
import MailQueue
import Networking
package import Primitives
import Raft
import Storage

/// What the node remembers of those that were removed.
struct RemovedNodes {
    /// From the end of the membership to the end of the links.
    static let farewellTime = Duration.seconds(5)

    private struct Line {
        var name: NodeName
        var since: Instant
    }
    /// In the order in which they were seen to be removed.
    private var lines: [Line] = []

    /// Those of `names`, which are no members now, that have been none for long enough.
    mutating func due(_ names: [NodeName], _ now: Instant) -> [NodeName] {
        self.lines.removeAll { !names.contains($0.name) }
        for name in names where !self.lines.contains(where: { $0.name == name }) {
            self.lines.append(Line(name: name, since: now))
        }
        return self.lines.filter { now - $0.since >= Self.farewellTime }.map(\.name)
    }
}

extension Node {
    /// With each look at the members.
    func forgetRemoved(_ now: Instant) {
        guard let mesh else { return }
        let gone = self.care.views.filter {
            $0.wish == .removed && $0.name != self.identity.node && !self.hasMember($0)
        }
        for view in self.care.views where view.wish != .removed { mesh.remember(view.name) }
        for name in self.removals.due(gone.map(\.name), now) {
            // Another disk of that name, about to be admitted.
            if let line = self.directory[name], line.hasControl || line.hasBulk,
                !self.machine.queue.isRetired(name, line.incarnation)
            {
                continue
            }
            mesh.forget(name)
        }
    }

    /// Whether a disk of that name has a part in the agreement.
    private func hasMember(_ view: MemberView) -> Bool {
        let founders = self.record?.members.filter { $0.name == view.name }.map(\.incarnation) ?? []
        return (founders + view.disks.map(\.incarnation) + view.retired).contains {
            self.machine.configuration.contains($0)
        }
    }

    package func refusal(of peer: Hello) -> PeerRefusal? {
        guard self.machine.queue.isRetired(peer.node, peer.incarnation),
            !self.machine.configuration.contains(peer.incarnation)
        else { return nil }
        return PeerRefusal(.removed, PeerRefusal.removedSentence)
    }

    /// What a peer says of this node is for the operator to read; nothing else follows from it.
    package func peerRefused(_ who: String, _ refusal: PeerRefusal) {
        guard refusal.cause == .toldRemoved, !self.alarms.contains("removed") else { return }
        self.raise("removed")
        self.logger.error(
            "this node was removed from the cluster, says a peer",
            metadata: [
                "peer": "\(who)",
                "remedy": "Stop it. With an empty data directory it can join again.",
            ])
    }
}
