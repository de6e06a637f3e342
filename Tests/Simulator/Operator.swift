// Operator.swift - people who hand over the leadership and change members, and the care for members
// that lost their disks.
//
// Like      the product: an empty machine joins as a learner under its new id, and one joint change
//           replaces the old one when it has caught up (design 4a).

import Primitives
import Raft

extension World {
    func transferSomewhere() {
        guard let leader = self.leader else { return }
        let voters = leader.replica!.raft.configuration.voters
        guard !voters.isEmpty else { return }
        let to = voters[self.dice.below(voters.count)]
        let via = self.dice.chance(permille: 700) ? leader : self.victim()
        guard via.isRunning, !via.isPaused else { return }
        self.count(.transfer)
        self.note("\(via.index) is told to hand the leadership to \(to.raw)")
        via.contactFloor = via.ticks
        via.replica!.transferLeadership(to: to)
        self.afterEvent(via)
    }

    // MARK: Changes at random.

    /// The members as the leader has them, if it is a time for changes.
    private var changeable: (Host, Configuration)? {
        guard let leader = self.leader, !leader.isPaused else { return nil }
        let configuration = leader.replica!.raft.configuration
        for id in configuration.allVoters where self.isDestroyed(id) { return nil }
        return (leader, configuration)
    }

    func changeSomething() {
        guard let (leader, configuration) = self.changeable else { return }
        guard let change = self.drawChange(configuration, from: configuration) else { return }
        let asSingle = self.dice.chance(permille: 300)
        self.propose(ConfigurationChange([change]), asSingle: asSingle, at: leader, as: .change)
    }

    func changeSeveral() {
        guard let (leader, configuration) = self.changeable else { return }
        var after = configuration
        var changes: [MemberChange] = []
        for _ in 0..<1 + self.dice.below(3) {
            guard let change = self.drawChange(after, from: configuration) else { continue }
            if changes.contains(where: { $0.member == change.member }) { continue }
            changes.append(change)
            after.voters.remove(change.member)
            after.learners.remove(change.member)
            switch change.what {
            case .addVoter: after.voters.insertSorted(change.member)
            case .addLearner: after.learners.insertSorted(change.member)
            case .remove, .update: break
            }
        }
        guard !changes.isEmpty else { return }
        let transition = Transition(rawValue: UInt8(self.dice.below(3))) ?? .auto
        self.propose(
            ConfigurationChange(transition: transition, changes), asSingle: false, at: leader,
            as: .joint)
    }

    /// Keeps between two voters (rarely one) and five. Of two, none is taken away but rarely: the
    /// one that stays may have missed that it is alone, and the other does not stand any more.
    private func drawChange(
        _ configuration: Configuration, from present: Configuration
    ) -> MemberChange? {
        let host = self.hosts[self.dice.below(self.hosts.count)]
        guard !host.isLost, !host.disk.isDamaged else { return nil }
        let id = host.member
        let isRare = self.dice.chance(permille: 100)
        if configuration.voters.contains(id) {
            guard configuration.voters.count > 3 || self.dice.chance(permille: 300) else {
                return nil
            }
            let least = isRare && self.scenario.shrinksToOne ? 1 : 2
            guard min(configuration.voters.count, present.voters.count) > least else {
                return nil
            }
            return MemberChange(self.dice.chance(permille: 500) ? .remove : .addLearner, id)
        }
        let isFull = configuration.voters.count >= 5
        if configuration.learners.contains(id) {
            return MemberChange(isRare || isFull ? .remove : .addVoter, id)
        }
        return MemberChange(
            !isFull && (isRare || self.dice.chance(permille: 400))
                ? .addVoter : .addLearner, id)
    }

    private func propose(
        _ change: ConfigurationChange, asSingle: Bool, at leader: Host, as fault: Fault?
    ) {
        var via = leader
        if self.scenario.forwardsChanges, self.dice.chance(permille: 500) { via = self.victim() }
        guard via.isRunning, !via.isPaused else { return }
        do throws(StepError) {
            try via.replica!.propose([change.entry(asSingle: asSingle)])
        } catch {
            return self.note("\(via.index) refuses \(change.text): \(error)")
        }
        if let fault { self.count(fault) }
        self.lastChange = max(self.lastChange, via.replica!.raft.lastIndex)
        self.note("\(via.index) is asked for \(change.text)")
        self.afterEvent(via)
    }

    // MARK: Care.

    /// From time to time: joint configurations are left, lost members replaced.
    func control() {
        self.push(.control, host: 0, after: 100_000_000 + Int64(self.dice.below(400_000_000)))
        self.noteReplaced()
        self.recycle()
        guard let leader = self.leader, !leader.isPaused else { return }
        let configuration = leader.replica!.raft.configuration
        if configuration.isJoint {
            if !configuration.autoLeave, self.isHealing || self.dice.chance(permille: 300) {
                self.propose(.leaveJoint, asSingle: false, at: leader, as: nil)
            }
            return
        }
        for item in self.destroyed where configuration.contains(item.member) {
            if self.replace(item.member, by: self.hosts[item.host], configuration, at: leader) {
                return
            }
        }
    }

    private func replace(
        _ old: MemberID, by host: Host, _ configuration: Configuration, at leader: Host
    ) -> Bool {
        if configuration.learners.contains(old) {
            self.propose(
                ConfigurationChange([MemberChange(.remove, old)]), asSingle: false, at: leader,
                as: nil)
            return true
        }
        guard !host.isLost, !host.disk.isDamaged else { return false }
        let new = host.member
        if !configuration.contains(new) {
            self.propose(
                ConfigurationChange([MemberChange(.addLearner, new)]), asSingle: false,
                at: leader, as: nil)
        } else if configuration.voters.contains(new) {
            self.propose(
                ConfigurationChange([MemberChange(.remove, old)]), asSingle: false, at: leader,
                as: nil)
        } else if self.hasCaughtUp(new, at: leader) {
            let transition = Transition(rawValue: UInt8(self.dice.below(3))) ?? .auto
            self.propose(
                ConfigurationChange(
                    transition: transition,
                    [MemberChange(.addVoter, new), MemberChange(.remove, old)]),
                asSingle: false, at: leader, as: nil)
        } else {
            return false
        }
        return true
    }

    private func hasCaughtUp(_ id: MemberID, at leader: Host) -> Bool {
        for peer in leader.replica!.raft.membership.peers where peer.id == id {
            return peer.progress.match + 10 >= leader.replica!.raft.commit
        }
        return false
    }

    /// Who was removed comes back empty, under another id, where that may be.
    private func recycle() {
        guard !self.isHealing else { return }
        let newest = self.truth.newestConfiguration
        for host in self.hosts
        where !newest.contains(host.member) && host.disk.current.position.index > 0 {
            guard self.dice.chance(permille: 60), host.isRunning, self.mayLose(host) else {
                continue
            }
            self.note("\(host.index) was removed and is emptied")
            host.disk.isDamaged = true
            self.end(host, isPower: false)
        }
    }
}

extension ConfigurationChange {
    var text: String {
        if self.leavesJoint { return "leaving the joint configuration" }
        return self.changes.map { "\($0.what) \($0.member.raw)" }.joined(separator: ", ")
            + " (\(self.transition))"
    }
}
