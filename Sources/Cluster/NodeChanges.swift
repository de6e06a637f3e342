// NodeChanges.swift - what operators do to the cluster's nodes: judged, proposed, watched.
//
// Takes     drain, undrain, remove, transfer-leader, promote, demote; on any node.
// Gives     a refusal with its reason, or a command; how far it has come, from the applied state.
// Never     waits for a peer: an answer comes within a second. Asking again does no harm.
// See       MemberKeeper (the leader carries wishes out), MailQueue's Members.

import MailQueue
import NIOCore
import Networking
package import Primitives
import Raft
import Spool
import Storage
import Synchronization

/// What an operator wants of one node.
package struct ClusterChange: Hashable, Sendable {
    package enum Verb: String, Hashable, Sendable, CaseIterable {
        /// No new leases, no new sessions, no leadership; until `undrain`.
        case drain
        /// The end of draining, and of leaving.
        case undrain
        /// No member any more, once its copies are elsewhere.
        case remove
        case transferLeader = "transfer-leader"
        case promote, demote
    }

    package var verb: Verb
    /// Nil: the most caught-up voter; of `transferLeader` alone.
    package var node: NodeName?
    /// `remove`: whatever is lost with it.
    package var isForced: Bool
    /// Nothing is changed: what it would cost.
    package var isDryRun: Bool

    package init(
        _ verb: Verb, node: NodeName?, isForced: Bool = false, isDryRun: Bool = false
    ) {
        self.verb = verb
        self.node = node
        self.isForced = isForced
        self.isDryRun = isDryRun
    }
}

/// How far a change has come, on the answering node's applied state.
package struct ClusterProgress: Hashable, Sendable {
    package var node: NodeName
    package var isDone: Bool
    package var isLeader: Bool
    /// Its SMTP sessions, as it said last.
    package var sessionsIn: Int
    package var leases: Int
    /// Messages that have no copy outside of the node.
    package var lost: Int
    /// Messages that would have fewer copies than they could have.
    package var below: Int
    /// Of `lost`, at most `lostMax`; of removals alone.
    package var lostMessages: [Tag]
    /// Nodes that may fail now.
    package var canLose: Int
    /// This very request has set it going.
    package var isNews = false

    package static let lostMax = 1000
}

extension Node {
    /// What is to be done for a change.
    enum ChangeStep: Sendable {
        case nothing
        case propose(Command.Action)
        case handOver(MemberID)
    }

    /// The node that a change is about: as named, or the one that is to lead.
    func target(of change: ClusterChange) -> Result<NodeName, ClusterView.Failure> {
        if let node = change.node {
            return self.knows(node) ? .success(node) : .failure(.noSuchNode(node))
        }
        guard let name = self.nextLeader else {
            return .failure(.conflict("no other voter answers and has caught up"))
        }
        return .success(name)
    }

    private func knows(_ name: NodeName) -> Bool {
        if name == self.identity.node { return true }
        if self.record?.members.contains(where: { $0.name == name }) == true { return true }
        return self.machine.queue.memberViews.contains { $0.name == name }
    }

    /// The voter with the longest log, as all nodes have said last.
    private var nextLeader: NodeName? {
        let leader = self.machine.replica.raft.leader
        let peers = self.memberPeers
        var best: (name: NodeName, log: LogPosition)?
        for voter in self.machine.configuration.voters where voter != leader {
            let isOwn = voter == self.machine.id
            guard let name = isOwn ? self.identity.node : self.directory.name(of: voter),
                peers.answers(name, voter), !self.machine.isDraining(name, peers)
            else { continue }
            let log = isOwn ? self.machine.durable : self.directory[name]?.standing?.durable
            guard let log else { continue }
            if let known = best, (known.log.term, known.log.index) >= (log.term, log.index) {
                continue
            }
            best = (name, log)
        }
        return best?.name
    }

    /// Whether a leader is known that can do something.
    var hasQuorum: Bool {
        guard self.mesh != nil else { return true }
        let leader = self.machine.replica.raft.leader
        if leader == .none { return false }
        if leader == self.machine.id { return self.votersToLose >= 0 }
        return self.directory.lines.contains { $0.incarnation == leader && $0.hasControl }
    }

    // MARK: Judgement.

    /// Whether, and how, a change of `name` is done.
    func judge(
        _ change: ClusterChange, _ name: NodeName
    ) -> Result<ChangeStep, ClusterView.Failure> {
        if self.progress(of: change, name).isDone { return .success(.nothing) }
        let view = self.machine.queue.memberViews.first { $0.name == name }
        if view?.wish == .removed {
            return .failure(
                .conflict(
                    "\(name) was removed; with an empty data directory it can join again"))
        }
        switch change.verb {
        case .drain:
            return .success(
                view?.isDraining == true
                    ? .nothing : .propose(.drain(node: name, draining: true)))
        case .undrain: return .success(.propose(.drain(node: name, draining: false)))
        case .remove, .transferLeader, .promote, .demote: break
        }
        guard self.mesh != nil, let record else {
            return .failure(.conflict("a cluster of one has no other node"))
        }
        let disk = self.machine.newestDisk(of: name, founders: record.members)
        guard let disk else { return .failure(.noSuchNode(name)) }
        switch change.verb {
        case .remove: return self.judge(removalOf: name, disk, change, view, record)
        case .transferLeader: return self.judge(transferTo: name, disk)
        case .promote: return self.judge(promotionOf: name, disk, view)
        case .demote: return self.judge(demotionOf: name, disk, view, record)
        case .drain, .undrain: return .success(.nothing)
        }
    }

    private func judge(
        removalOf name: NodeName, _ disk: Incarnation, _ change: ClusterChange,
        _ view: MemberView?, _ record: FoundingRecord
    ) -> Result<ChangeStep, ClusterView.Failure> {
        let peers = self.memberPeers
        if self.machine.configuration.voters.contains(disk),
            !self.machine.allowsRemoval(of: disk, self.founders(of: record), peers)
        {
            return .failure(.conflict(self.quorumReason("removing", name)))
        }
        let wish = change.isForced ? MemberWish.dead : .leaving
        let next = ChangeStep.propose(.wish(node: name, wish))
        if change.isForced { return .success(view?.wish == wish ? .nothing : next) }
        let progress = self.progress(of: change, name)
        guard progress.lost == 0 || peers.answers(name, disk) else {
            return .failure(
                .conflict(
                    "\(progress.lost) messages have no copy outside of \(name), which does not "
                        + "answer; start it, or give them up with --force-dead --yes"))
        }
        return .success(view?.wish.isLeaving == true ? .nothing : next)
    }

    private func judge(
        transferTo name: NodeName, _ disk: Incarnation
    ) -> Result<ChangeStep, ClusterView.Failure> {
        guard self.machine.configuration.voters.contains(disk) else {
            return .failure(.conflict("\(name) is no voter: only voters lead"))
        }
        let peers = self.memberPeers
        guard peers.answers(name, disk) else {
            return .failure(.conflict("\(name) does not answer"))
        }
        guard !self.machine.isDraining(name, peers) else {
            return .failure(.conflict("\(name) is draining; undrain it first"))
        }
        return .success(.handOver(disk))
    }

    private func judge(
        promotionOf name: NodeName, _ disk: Incarnation, _ view: MemberView?
    ) -> Result<ChangeStep, ClusterView.Failure> {
        if view?.wish.isLeaving == true {
            return .failure(.conflict("\(name) is to leave; undrain it first"))
        }
        guard self.memberPeers.answers(name, disk) else {
            return .failure(.conflict("\(name) does not answer: it cannot catch up"))
        }
        return .success(
            view?.wish == .promoted ? .nothing : .propose(.wish(node: name, .promoted)))
    }

    private func judge(
        demotionOf name: NodeName, _ disk: Incarnation, _ view: MemberView?,
        _ record: FoundingRecord
    ) -> Result<ChangeStep, ClusterView.Failure> {
        if view?.wish.isLeaving == true {
            return .failure(.conflict("\(name) is to leave; undrain it first"))
        }
        let change = ConfigurationChange([MemberChange(.addLearner, disk)])
        let plan = self.machine.membershipPlan(self.founders(of: record), self.memberPeers)
        guard plan.allows(change) else {
            return .failure(.conflict(self.quorumReason("demoting", name)))
        }
        return .success(
            view?.wish == .demoted ? .nothing : .propose(.wish(node: name, .demoted)))
    }

    private func quorumReason(_ verb: String, _ name: NodeName) -> String {
        let voters = self.machine.configuration.voters
        if voters.count == 1 { return "\(name) is the only voter" }
        return "\(verb) \(name) would cost the quorum: of \(voters.count) voters "
            + "\(self.reachable(voters)) answer"
    }

    // MARK: Progress.

    func progress(of change: ClusterChange, _ name: NodeName) -> ClusterProgress {
        let view = self.machine.queue.memberViews.first { $0.name == name }
        let disk = self.machine.newestDisk(of: name, founders: self.record?.members ?? [])
        var progress = ClusterProgress(
            node: name, isDone: false, isLeader: self.leaderName == name,
            sessionsIn: self.sessionsIn(of: name, disk),
            leases: self.machine.queue.leaseCount(of: name), lost: 0, below: 0,
            lostMessages: [], canLose: self.canLose)
        if change.verb == .remove, let incarnation = view?.incarnation {
            let holder = Holder(node: name, incarnation: incarnation)
            let peers = self.memberPeers
            (progress.lost, progress.below) = self.machine.costOfLeaving(holder, peers)
            progress.lostMessages = self.machine.queue.lastCopies(
                of: holder, limit: ClusterProgress.lostMax
            ) { self.machine.isThere($0, peers) }
        }
        progress.isDone = self.isDone(change.verb, name, view, disk, progress)
        return progress
    }

    private func sessionsIn(of name: NodeName, _ disk: Incarnation?) -> Int {
        if name == self.identity.node {
            return self.shared.sessionsIn.load(ordering: .relaxed)
        }
        guard let disk, self.memberPeers.answers(name, disk) else { return 0 }
        return Int(self.directory[name]?.standing?.sessionsIn ?? 0)
    }

    /// By its own last word, while it answers: until it says otherwise nobody hands it anything.
    private func saysThatItDrains(_ name: NodeName, _ disk: Incarnation?) -> Bool {
        if name == self.identity.node { return self.care.drainingSince != nil }
        guard let disk, self.memberPeers.answers(name, disk) else { return false }
        return self.directory[name]?.standing?.isDraining ?? false
    }

    private func isDone(
        _ verb: ClusterChange.Verb, _ name: NodeName, _ view: MemberView?, _ disk: Incarnation?,
        _ progress: ClusterProgress
    ) -> Bool {
        let configuration = self.machine.configuration
        switch verb {
        case .drain:
            // A leader that nobody can relieve goes on.
            let leads = progress.isLeader && self.mesh != nil
            return view?.isDraining == true && !leads && progress.leases == 0
                && progress.sessionsIn == 0
        case .undrain:
            return view?.isDraining != true && view?.wish.isLeaving != true
                && !self.saysThatItDrains(name, disk)
        case .remove:
            guard view?.wish == .removed, !configuration.isJoint else { return false }
            let disks = self.record?.members.filter { $0.name == name }.map(\.incarnation) ?? []
            return !disks.contains { configuration.contains($0) }
                && !(view?.disks ?? []).contains { configuration.contains($0.incarnation) }
        case .transferLeader: return progress.isLeader
        case .promote:
            return disk.map { configuration.voters.contains($0) } == true && !configuration.isJoint
                && view?.wish != .demoted
        case .demote:
            return disk.map { configuration.isVoter($0) } == false && view?.wish == .demoted
        }
    }
}

// MARK: The way in.

extension ClusterView {
    /// How long an election may take before an operator is told that there is no quorum.
    private static let quorumPatience = Duration.milliseconds(700)
    /// A command without a result in this time is said to be unknown.
    private static let changePatience = Duration.milliseconds(950)
    private static let pollInterval = Duration.milliseconds(50)

    /// Does what an operator wants, or begins to.
    ///
    /// - Parameter wait: for it to be done; zero: the answer says how far it is.
    package func change(
        _ change: ClusterChange, wait: Duration
    ) async throws(Failure) -> ClusterProgress {
        let start = SystemClock.bootTime()
        try await self.awaitQuorum()
        let name = try await self.onLoop { $0.target(of: change) }.get()
        if change.isDryRun { return await self.onLoop { $0.progress(of: change, name) } }
        var isNews = true
        switch try await self.onLoop({ $0.judge(change, name) }).get() {
        case .nothing: isNews = false
        case .handOver(let member):
            await self.onLoop {
                $0.machine.handOver(to: member)
                $0.planTurn()
            }
        case .propose(let action):
            let result = try await self.propose(
                action, patience: Self.changePatience - (SystemClock.bootTime() - start))
            guard result == .done else { throw await self.failure(of: result) }
        }
        while true {
            var progress = await self.onLoop { $0.progress(of: change, name) }
            progress.isNews = isNews
            if progress.isDone || SystemClock.bootTime() - start >= wait { return progress }
            try await self.pause()
        }
    }

    /// Returns when there is a leader who can do something.
    func awaitQuorum() async throws(Failure) {
        let start = SystemClock.bootTime()
        while await !self.onLoop({ $0.hasQuorum }) {
            guard SystemClock.bootTime() - start < Self.quorumPatience else { throw .noQuorum }
            try await self.pause()
        }
    }

    private func pause() async throws(Failure) {
        do {
            try await Task.sleep(for: .nanoseconds(Self.pollInterval.inNanoseconds))
        } catch {
            throw .stopping  // the server ends
        }
    }
}
