// NodeReasons.swift - gathers what health, reasons and notes are made of.
//
// Takes     the configuration, the applied state, links, what peers said last.
// See       HealthFacts (the rules), NodeStatus.

import MailQueue
import Networking
import Primitives
import Raft
import Spool
import Storage

extension Node {
    /// - Parameter nodes: as the status has them.
    func healthFacts(_ nodes: [ClusterStatus.Node]) -> HealthFacts {
        var facts = HealthFacts(node: self.identity.node)
        facts.isAlone = self.mesh == nil
        facts.hasQuorum = self.hasQuorum
        facts.alarms = self.alarms
        facts.stateDiffers = self.comparison.differing.sorted()
        guard !facts.isAlone else { return facts }
        facts.waitsFor = self.founding?.wait?.sentence
        let views = self.machine.queue.memberViews
        facts.voters = self.machine.configuration.allVoters.map { self.voterFact($0, views) }
            .sorted { ($0.name ?? "") < ($1.name ?? "") }
        facts.copies = self.copiesFact
        facts.members = nodes.map { self.memberFact($0, views) }
        facts.settingsDiffer = self.differingSettings
        return facts
    }

    private func voterFact(_ member: MemberID, _ views: [MemberView]) -> HealthFacts.Voter {
        guard self.reachable([member]) == 0 else {
            let isOwn = member == self.machine.id
            return HealthFacts.Voter(
                name: isOwn ? self.identity.node : self.directory.name(of: member),
                presence: .reached)
        }
        let view = views.first { view in
            view.incarnation == member || view.disks.contains { $0.incarnation == member }
        }
        let name =
            self.directory.name(of: member) ?? view?.name
            ?? self.record?.members.first { $0.incarnation == member }?.name
        var voter = HealthFacts.Voter(name: name, presence: .absent)
        guard let name else { return voter }
        voter.wish = views.first { $0.name == name }?.wish ?? .none
        if let line = self.directory[name], line.hasControl {
            voter.presence = .replaced
        } else {
            voter.lastError = self.mesh?.lastError(of: name)
        }
        return voter
    }

    private func memberFact(
        _ node: ClusterStatus.Node, _ views: [MemberView]
    ) -> HealthFacts.Member {
        let isOwn = node.name == self.identity.node
        let line = self.directory[node.name]
        var member = HealthFacts.Member(name: node.name, isVoter: node.role == "voter")
        member.isReached = node.state != .unreachable
        member.lastError = node.lastError
        member.wish = views.first { $0.name == node.name }?.wish ?? .none
        member.isDraining = self.machine.queue.isDraining(node.name)
        member.lag = node.lag
        if isOwn {
            member.isStopping = self.phase == .stopping
            // Its own low disk is an alarm.
        } else if member.isReached {
            member.isStopping = line?.standing?.isDraining == true && !member.isDraining
            member.refusesBodies = line?.standing?.refusesBodies == true
        }
        return member
    }

    private var copiesFact: HealthFacts.Copies? {
        let members = self.machine.queue.members
        let absent = members.filter { self.reachable([$0.incarnation]) == 0 }
        guard let placed = self.machine.queue.fewestCopies(),
            let reached = self.machine.queue.fewestCopies(without: absent)
        else { return nil }
        let staying = members.filter { !self.machine.queue.leavingHolders.contains($0) }
        let takesOwn = staying.contains(self.holders[0]) && self.storage.level == .normal
        let takers = self.directory.bodyPeers.count {
            $0.isUp && !$0.isLowOnDisk && staying.contains($0.holder)
        }
        return HealthFacts.Copies(
            reached: reached, placed: placed, wanted: Int(self.machine.queue.settings.copies),
            needed: self.votersToLoseAtBest + 1,
            absent: absent.filter { self.machine.queue.liveBodies(on: $0) > 0 }.map(\.node)
                .sorted(),
            takers: takers + (takesOwn ? 1 : 0))
    }

    /// Nodes whose settings file is another than what is in force; by name.
    private var differingSettings: [NodeName] {
        let inForce = self.machine.queue.settings.fileHash
        let own = self.settingsHash
        var names = own != 0 && own != inForce ? [self.identity.node] : []
        // Founders were linked before there was a cluster; who has joined none says 0.
        for line in self.directory.lines where line.hasControl {
            let said = line.standing?.settings ?? 0
            if said != 0, said != inForce { names.append(line.name) }
        }
        return names.sorted()
    }

    /// Of what this node would propose if it led; 0 before it knows the cluster's voters.
    var settingsHash: UInt64 {
        switch self.phase {
        case .starting, .opening: 0
        case .ready, .stopping, .stopped: self.wantedSettings.fileHash
        }
    }
}
