// SimWishes.swift - what operators want of nodes: drained, promoted, demoted, another leader, gone;
// and disks that were removed come back empty.
//
// Never     more than one node that is to leave; `--force-dead`: what it costs is the operator's.

import Cluster
import MailQueue
import Primitives
import Raft
import Spool

extension SimWorld {
    func beginWishes() {
        guard self.scenario.hasWishes else { return }
        self.after(self.magnitude(Self.second, 15 * Self.second)) {
            guard !self.isHealing else { return }
            self.wish()
            self.bringBack()
            self.beginWishes()
        }
    }

    private func view(of node: SimNode) -> MemberView? {
        self.truth.queue.memberViews.first { $0.name == node.name }
    }

    private func wish() {
        let target = self.nodes[self.dice.below(self.nodes.count)]
        let asker = self.nodes[self.dice.below(self.nodes.count)]
        let roll = self.dice.below(100)
        self.after(0, on: asker) {
            guard asker.phase == .ready, asker.machine.session != .none else { return }
            self.counters[.wishes] += 1
            switch roll {
            case ..<15: asker.propose(.drain(node: target.name, draining: true), .nothing)
            case ..<35: asker.propose(.drain(node: target.name, draining: false), .nothing)
            case ..<45: asker.propose(.wish(node: target.name, .promoted), .nothing)
            case ..<55: self.demote(target, asker)
            case ..<70: asker.propose(.wish(node: target.name, .none), .nothing)
            case ..<85: self.leave(target, asker)
            case _:
                asker.machine.handOver(to: target.id)
                asker.isTurnPlanned = true
            }
        }
    }

    /// Not while a voter is lost for good: for a moment nobody may know, and what is left of the
    /// voters would be no majority.
    private func demote(_ target: SimNode, _ asker: SimNode) {
        let isWhole = self.nodes.allSatisfy { node in
            self.isRemoved(node)
                || node.machine.configuration.voters.allSatisfy { self.node(of: $0) != nil }
        }
        guard isWhole else { return }
        self.askedToVoteNoMore.append(target.id)
        asker.propose(.wish(node: target.name, .demoted), .nothing)
    }

    /// As `Node.judge(removalOf:)`: not what would cost the quorum. And not who has the last copy
    /// that can be read: what rots unseen elsewhere the node cannot know.
    private func leave(_ target: SimNode, _ asker: SimNode) {
        let views = self.truth.queue.memberViews
        guard self.truth.queue.members.count > self.scenario.copies,
            !views.contains(where: { $0.wish.isLeaving || $0.wish == .removed }),
            asker.allows(removalOf: target.id), self.keepsCopies(without: target)
        else { return }
        self.askedToLeave.append(target.holder)
        self.note("\(target.name) is to leave")
        asker.propose(.wish(node: target.name, .leaving), .nothing)
    }

    /// A disk that was removed, or was admitted when its name was to be removed and went with it:
    /// the node says so, and asks for an empty one.
    func isRemoved(_ node: SimNode) -> Bool {
        if self.truth.queue.isRetired(node.name, node.id) { return true }
        guard let view = self.view(of: node), view.wish == .removed else { return false }
        return view.disks.contains { $0.incarnation == node.id }
    }

    /// Who was removed is stopped, and its disk is emptied.
    private func bringBack() {
        for node in self.nodes where self.isRemoved(node) && self.mayDestroy(node) {
            self.note("\(node.name) was removed, and begins anew")
            node.end(isPower: false)
            node.wipe(self.newDisk(of: node.place))
            self.after(Self.second) { node.start() }
        }
    }

    /// Nobody is to leave any more, and nobody is drained.
    func endWishes() {
        self.bringBack()
        for node in self.nodes {
            self.after(0, on: node) {
                for view in node.machine.queue.memberViews {
                    if view.wish != .none, view.wish != .removed {
                        node.propose(.wish(node: view.name, .none), .nothing)
                    }
                    if view.isDraining {
                        node.propose(.drain(node: view.name, draining: false), .nothing)
                    }
                }
            }
        }
    }
}
