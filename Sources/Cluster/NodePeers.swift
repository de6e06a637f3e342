// NodePeers.swift - the node among others: what peers say is taken, what is for them is sent.
//
// Takes     links that come and go, and their messages, from the mesh; ticks.
// Gives     messages of agreement, posts, standings.
// Never     a peer's word as fatal: what it must not say is dropped and counted.
// See       NodeBodies (bodies), NodeFounding (the beginning), Docs/PeerProtocol.md.

import Logging
import MailQueue
import NIOCore
import Networking
import OpenSSL
package import Primitives
import Raft
import Spool
import Storage
import Synchronization

extension Node: PeerEvents {
    /// The core's tick: elections take 25 to 50 of them, heartbeats 5.
    static let raftTick = Duration.milliseconds(20)

    package func peerUp(_ peer: Hello, _ link: PeerLinkKind) {
        self.directory.up(peer, link, at: SystemClock.bootTime())
        switch link {
        case .control:
            // Before all else that is for it: a leader has the clocks of those who made it one.
            _ = self.mesh?.send(.standing(self.standing()), to: peer.node)
            self.foundingPeerUp(peer)
            // What found no link goes again.
            self.machine.commandsMayBeLost()
            // It may be given work again.
            self.dispatch()
        case .bulk:
            self.holderJoined(Holder(node: peer.node, incarnation: peer.incarnation))
            self.planRepairsSoon()
        }
        self.planTurn()
    }

    package func peerDown(
        _ node: NodeName, _ incarnation: Incarnation, _ link: PeerLinkKind
    ) {
        self.directory.down(node, incarnation, link)
        self.snapshotLinkLost(Holder(node: node, incarnation: incarnation))
        switch link {
        case .control:
            self.foundingPeerDown(node)
            self.machine.linkBroke(to: incarnation)
            self.compareClocks()
        case .bulk:
            self.holderLost(Holder(node: node, incarnation: incarnation))
        }
        self.planTurn()
    }

    package func received(
        _ message: PeerMessage, from node: NodeName, _ incarnation: Incarnation
    ) {
        let now = SystemClock.bootTime()
        self.directory.heard(node, at: now)
        switch message {
        case .raft(let bytes):
            // 1 Others have founded, and lead; this disk has not stored the record yet. 2 What its
            // core promised now, votes and entries, would be forgotten when it begins anew by the
            // record. So it promises nothing; all of that is sent again.
            guard !self.machine.isUnfounded else { break }
            self.attempt(node) { node throws(NodeMachine.PeerError) in
                try node.machine.step(bytes, from: incarnation)
            }
            self.observeLag(of: incarnation, now)
            self.takeSnapshotIfReady()
        case .forward(_, let command):
            self.attempt(node) { node throws(NodeMachine.PeerError) in
                try node.machine.receiveCommand(
                    command, from: incarnation, at: node.clocks)
            }
        case .forwardRefused: self.machine.commandsMayBeLost()
        case .renew(let renewal):
            self.machine.receiveRenewal(
                renewal.session, sentAt: renewal.sentAt.nanoseconds, from: incarnation, now)
            self.hearShares(renewal, of: node, now)
        case .renewed(let answer): self.renewed(answer)
        case .standing(let standing):
            self.stands(node, standing)
            // What is applied is committed, and synced on that disk: it will never have less. The
            // leader knows it by acknowledgements; whoever follows must know a copied disk too.
            self.mesh?.acknowledged(
                incarnation, index: standing.applied.index, term: standing.applied.term,
                commit: standing.applied.index)
        case .founding(let bytes): self.receiveFounding(bytes, from: node)
        case .bodyOpen, .bodyChunk, .bodyEnd, .bodyWhole, .bodyStored, .bodyRefused,
            .bodyAbandoned, .fetchBody, .fetchedHead, .fetchedPiece, .fetchFailed, .fetchMore,
            .fetchEnded:
            self.receiveBody(message, from: Holder(node: node, incarnation: incarnation))
        case .snapshotOffer, .snapshotPiece, .snapshotDone, .snapshotAnswer:
            self.receiveSnapshot(message, from: Holder(node: node, incarnation: incarnation))
        }
        self.planTurn()
    }

    /// Does what a peer asks; what it must not ask is counted, and said once in a while.
    func attempt(
        _ node: NodeName, _ body: (Node) throws(NodeMachine.PeerError) -> Void
    ) {
        do {
            try body(self)
        } catch {
            self.metrics.peerError(error.label)
            self.logger.debug(
                "a message of a peer is dropped",
                metadata: ["peer": "\(node)", "why": "\(error)"])
        }
    }

    // MARK: Lag of followers.

    func markLag(_ request: StoreRequest) {
        guard self.machine.isReadyLeader, let last = request.entries.last else { return }
        let followers = self.machine.configuration.voters.filter { $0 != self.machine.id }
        self.followerLag.appended(last.index, followers, at: SystemClock.bootTime())
    }

    private func observeLag(of follower: MemberID, _ now: Instant) {
        guard self.followerLag.isMarked else { return }
        let match = self.machine.match(of: follower)
        if let lag = self.followerLag.acknowledged(follower, match, at: now) {
            self.metrics.followed(in: lag)
        }
    }

    private func tickLag(_ now: Instant) {
        guard self.machine.isReadyLeader else { return self.followerLag.end() }
        guard let (age, count) = self.followerLag.tick(now) else { return }
        for _ in 0..<count { self.metrics.followed(in: age) }
    }

    // MARK: Out.

    /// A message of agreement. May be lost: the core sends again what matters. That of a snapshot
    /// waits for its file.
    func send(_ message: Message) {
        if case .snapshot(let snapshot) = message.body {
            return self.sendSnapshot(message, snapshot)
        }
        self.sendDirectly(message)
    }

    func sendDirectly(_ message: Message) {
        guard let mesh, let name = self.directory.name(of: message.to) else { return }
        var writer = ByteWriter(capacity: 256)
        message.encode(into: &writer)
        _ = mesh.send(.raft(writer.bytes), to: name)
    }

    /// What the machine has for others, and for itself.
    func sendPosts() {
        self.machine.takePosts(&self.posts)
        for post in self.posts { self.send(post) }
        self.posts.removeAll(keepingCapacity: true)
    }

    private func send(_ post: Post) {
        if case .renewed(_, let session, let sentAt) = post, post.to == self.machine.id {
            self.answerOwnRenewal(session, sentAt: Instant(nanoseconds: sentAt))
            return
        }
        guard let mesh, let name = self.directory.name(of: post.to) else { return }
        let isSent: Bool
        switch post {
        case .forward(_, let command):
            isSent = mesh.send(.forward(number: 0, command: command), to: name)
        case .declined:
            isSent = mesh.send(.forwardRefused(number: 0, leader: .none), to: name)
        case .renew(_, let session, let sentAt):
            let renewal = self.renewal(of: session, sentAt: Instant(nanoseconds: sentAt))
            isSent = mesh.send(.renew(renewal), to: name)
        case .renewed(_, let session, let sentAt):
            let answer = self.renewalAnswer(to: session, sentAt: Instant(nanoseconds: sentAt))
            isSent = mesh.send(.renewed(answer), to: name)
        }
        if !isSent { self.machine.commandsMayBeLost() }
    }

    /// The leader has answered a renewal of ours.
    func renewed(_ answer: RenewalAnswer) {
        guard answer.session == self.machine.session else { return }
        self.leaseClock.renewed(sentAt: answer.sentAt)
        self.shared.hasOthers.store(true, ordering: .relaxed)
        self.publishLease()
        self.takeShares(answer)
    }

    // MARK: Time.

    /// From the start of a node of several on.
    func startTicks() {
        self.timers.append(
            self.loop.scheduleRepeatedTask(
                initialDelay: .zero, delay: .nanoseconds(Self.raftTick.inNanoseconds)
            ) { _ in self.peerTick() })
        self.timers.append(
            self.loop.scheduleRepeatedTask(initialDelay: .zero, delay: .seconds(1)) { _ in
                self.sendStandings()
            })
    }

    private func peerTick() {
        let clocks = self.clocks
        self.machine.tick(random: self.generator.next())
        self.tickLag(clocks.now)
        self.machine.keepSessions(at: clocks)
        self.machine.retryCommands()
        self.tickBodies(clocks.now)
        self.keepMembers(clocks.now)
        self.tickSnapshots(clocks.now)
        self.tickShares(clocks.now)
        self.planTurn()
    }

    func sendStandings() {
        guard let mesh else { return }
        self.noteAcknowledged()
        let standing = self.standing()
        for line in self.directory.lines where line.hasControl {
            _ = mesh.send(.standing(standing), to: line.name)
        }
    }

    private func standing() -> Standing {
        let disk = self.storage.statistics()
        let applied = self.machine.applied
        return Standing(
            applied: applied, durable: self.machine.durable,
            sessionsIn: UInt32(clamping: self.shared.sessionsIn.load(ordering: .relaxed)),
            sessionsOut: UInt32(clamping: self.shared.connectionsOut.load(ordering: .relaxed)),
            diskFreePermille: UInt16(
                clamping: disk.freeBytes / max(1, disk.totalBytes / 1000)),
            refusesBodies: self.storage.level != .normal,
            isDraining: self.phase == .stopping || self.care.drainingSince != nil
                || self.shared.isLeaving.load(ordering: .relaxed),
            state: self.comparison.own.last ?? .none, wall: self.wallClock(),
            settings: self.settingsHash)
    }

    /// What this node says of itself before anything else.
    func hello() -> Hello {
        Hello(
            cluster: self.cluster, node: self.identity.node,
            incarnation: self.identity.incarnation, boot: self.boot,
            durableIndex: self.machine.durable.index, durableTerm: self.durableTerm)
    }
}
