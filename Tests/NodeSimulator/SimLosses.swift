// SimLosses.swift - what disks lose for good: bodies that rot, disks that are wiped.
//
// Never     the last copy of a message, and never a majority of any configuration: what is left is
//           enough, so nothing may be lost (invariants 1, 2).

import Cluster
import MailQueue
import Primitives
import Raft
import Spool

extension SimWorld {
    /// One copy on this disk can be read no more.
    func rot(_ node: SimNode) {
        let leaving = self.leaving
        let able = self.truth.live.map { self.truth.mail[$0].tag }.filter { tag in
            let valid = self.truth.validCopies(of: tag)
            return valid.contains { $0 === node }
                && valid.contains { $0 !== node && !leaving.contains($0.holder) }
        }
        guard !able.isEmpty,
            let copy = self.truth.queue.bodyTag(
                of: able[self.dice.below(able.count)], on: node.holder)
        else { return }
        self.counters[.rots] += 1
        self.note("\(node.name)'s copy \(copy.text) rots")
        node.disk.damage(copy)
    }

    /// The process ends, its disk is empty; after a while it comes back with another incarnation.
    func wipe(_ node: SimNode) {
        guard self.mayDestroy(node) else { return }
        self.counters[.wipes] += 1
        self.note("\(node.name)'s disk is wiped")
        node.end(isPower: true)
        node.wipe(self.newDisk(of: node.place))
        self.after(self.magnitude(60 * Self.millisecond, 8 * Self.second)) { node.start() }
    }

    /// Whether all that was promised survives the loss of this disk.
    func mayDestroy(_ node: SimNode) -> Bool {
        self.keepsMajorities(without: node) && self.keepsCopies(without: node)
    }

    private func keepsMajorities(without node: SimNode) -> Bool {
        // By its own configuration, too: the newest may be known to it alone, since who agreed to
        // it has left by it. That of one that was removed is of old.
        let isMember = !self.isRemoved(node)
        for other in self.nodes where other !== node || isMember {
            let configuration = other.machine.configuration
            // A new disk begins with the founders' configuration, and is none of them.
            guard configuration.contains(other.id) else { continue }
            for voters in [configuration.voters, configuration.outgoing] where !voters.isEmpty {
                // Who does not vote takes no vote along.
                let unsure = voters.contains(node.id) ? self.askedToVoteNoMore : []
                let left = voters.count {
                    $0 != node.id && self.node(of: $0) != nil && !unsure.contains($0)
                }
                guard left >= Quorum.majority(of: voters.count) else { return false }
            }
        }
        // A change under way may need this very disk: until each member's own disk knows that it is
        // committed. Who has forgotten that with a loss of power is back in the midst of it.
        return !self.nodes.contains { other in
            let known = max(
                other.disk.durableState.commit, other.disk.checkpoint?.position.index ?? 0)
            return !self.isRemoved(other)
                && other.disk.hasChange(behind: min(known, self.truth.applied))
        }
    }

    /// Their copies may go with them, also when the word has not come into the log yet.
    private var leaving: [Holder] { self.truth.queue.leavingHolders + self.askedToLeave }

    func keepsCopies(without node: SimNode) -> Bool {
        // Of an Enqueue that is under way one holder at least is left, or it is refused.
        let members = self.truth.queue.members
        let gone = members.count { $0 == node.holder || self.node(of: $0.incarnation) == nil }
        guard gone < self.scenario.copies else { return false }
        let leaving = self.leaving
        return self.truth.live.allSatisfy { place in
            self.truth.validCopies(of: self.truth.mail[place].tag).contains {
                $0 !== node && !leaving.contains($0.holder)
            }
        }
    }

    // MARK: The end.

    /// Nothing rots unseen for ever: the next start of a node finds it.
    func findAllDamage() {
        for node in self.nodes where !node.disk.damaged.isEmpty {
            if node.isRunning { node.end(isPower: false) }
            self.after(Self.second) { node.start() }
        }
    }

    /// Before anything that is held goes on: R copies of everything (invariant 2).
    func repair() {
        let bound = 120 * Self.second
        self.endWishes()
        self.run(until: self.now + bound) { !self.isRepaired }
        guard self.violation == nil else { return }
        self.check(
            2, self.isRepaired,
            "copies are not made again: \(self.missingText); \(self.agreementText)")
    }

    private var isRepaired: Bool { self.missing.isEmpty }

    private var missing: [Tag] {
        let wanted = min(self.scenario.copies, self.truth.queue.members.count)
        return self.truth.live.map { self.truth.mail[$0].tag }
            .filter { self.truth.validCopies(of: $0).count < wanted }
    }

    /// Who could lead, and why nobody does.
    private var agreementText: String {
        self.nodes.map { node in
            let raft = node.machine.replica.raft
            return "\(node.name)/\(node.id.raw) \(raft.role) term \(raft.term) log "
                + "\(raft.lastIndex) commit \(raft.commit) voters "
                + "\(raft.configuration.voters.map(\.raw))"
        }.joined(separator: ", ")
    }

    private var missingText: String {
        self.missing.prefix(5).map { tag in
            let holders = self.truth.queue.holders(of: tag) ?? []
            return tag.text + " on "
                + holders.map { "\($0.node)/\($0.incarnation.raw)" }.joined(separator: ",")
        }.joined(separator: "; ")
    }

    /// All disks are members, none that is gone is, and as many vote as founded.
    var membersAreRight: Bool {
        let members = self.truth.queue.members.map(\.incarnation)
        guard members.count == self.nodes.count else { return false }
        return self.nodes.allSatisfy { node in
            let configuration = node.machine.configuration
            return members.contains(node.id) && !configuration.isJoint
                && configuration.voters.count >= self.scenario.founders
                && (configuration.voters + configuration.learners).allSatisfy {
                    self.node(of: $0) != nil
                }
        }
    }

    var membersText: String {
        self.nodes.map {
            "\($0.name)/\($0.id.raw): voters \($0.machine.configuration.voters.map(\.raw)), "
                + "learners \($0.machine.configuration.learners.map(\.raw))"
        }.joined(separator: "; ")
    }
}
