// NodeMachinePeers.swift - the node among others: commands to the leader, renewals, elections.
//
// Takes     what peers say, ticks, links that break.
// Gives     posts. A post may be lost: commands go again when the way to the leader changes,
//           renewals are sent again by their interval.
// Limits    a peer's command: `commandBytesMax`; what only a leader may author is refused.
// See       Courier, SessionKeeper.

package import MailQueue
package import Primitives
package import Raft

extension Post {
    /// Whom it is for.
    package var to: MemberID {
        switch self {
        case .forward(let to, _), .declined(let to), .renew(let to, _, _),
            .renewed(let to, _, _):
            to
        }
    }
}

extension NodeMachine {
    /// Bytes of one forwarded command: with its stamps and the head of its record it is within the
    /// limit of a record of the journal (8 MiB).
    package static let commandBytesMax = (8 << 20) - 1024

    /// What a peer must not say; counted.
    package enum PeerError: Error, Equatable {
        case malformed(CodecError)
        case agreement(StepError)
        /// Grants, expiries, ticks and settings are the leader's own; a vote, a session is of the
        /// disk that speaks.
        case notYours
        /// A snapshot whose state is not here.
        case noSnapshot

        package var label: StaticString {
            switch self {
            case .malformed: "malformed"
            case .agreement: "agreement"
            case .notYours: "not_yours"
            case .noSnapshot: "no_snapshot"
            }
        }
    }

    /// The link to a member broke. To the leader's it is a hint: nobody waits for the silence to be
    /// over; and what was sent there may be lost.
    package mutating func linkBroke(to peer: MemberID) {
        self.replica.reportUnreachable(peer)
        self.commandsMayBeLost()
        if self.replica.raft.leader == peer { self.replica.leaderIsGone() }
    }

    package mutating func tick(random: UInt64) { self.replica.tick(random: random) }

    /// A message of agreement.
    ///
    /// - Parameter peer: who sent it, as its certificate and its first frame have it.
    package mutating func step(
        _ bytes: [UInt8], from peer: MemberID
    ) throws(PeerError) {
        let message: Message
        do {
            message = try Message(bytes)
        } catch {
            throw .malformed(error)
        }
        // Nobody speaks, or votes, for another; but whoever asks for another leader names that one.
        if message.body != .transferLeader, message.from != peer { throw .notYours }
        // One that is behind what is committed here is answered with that, and not taken.
        if case .snapshot(let snapshot) = message.body, snapshot != self.readySnapshot,
            snapshot.position.index > self.replica.raft.commit
        {
            throw .noSnapshot
        }
        do {
            try self.replica.step(message)
        } catch {
            throw .agreement(error)
        }
    }

    /// What is to be sent to others, or, with the own id, to be taken by this node.
    package mutating func takePosts(_ posts: inout [Post]) {
        swap(&posts, &self.posts)
    }

    // MARK: Commands.

    mutating func sendCommands() {
        let leader = self.replica.raft.leader
        if self.replica.raft.role == .leader {
            self.courier.turn(to: self.isReadyLeader ? .own(term: self.term) : .none)
        } else {
            self.courier.turn(to: leader == .none ? .none : .leader(leader, term: self.term))
        }
        while let command = self.courier.next(), self.hand(command) { self.courier.handedOver() }
    }

    /// - Returns: false: there is no room now. There is when something has been committed, and that
    ///   brings a turn.
    private mutating func hand(_ command: Command) -> Bool {
        switch self.courier.way {
        case .none: return false
        case .own: return self.propose(command) != nil
        case .leader(let leader, term: _):
            var writer = ByteWriter(capacity: 512)
            command.encode(into: &writer)
            self.posts.append(.forward(to: leader, command: writer.bytes))
            return true
        }
    }

    /// A command of a peer, for this node's log.
    package mutating func receiveCommand(
        _ bytes: [UInt8], from peer: MemberID, at clocks: Clocks
    ) throws(PeerError) {
        self.clocks = clocks
        let command: Command
        do {
            command = try Self.command(bytes)
        } catch {
            throw .malformed(error)
        }
        guard !command.isLeaders else { throw .notYours }
        if case .openSession(let open) = command.action, open.incarnation != peer {
            throw .notYours
        }
        guard self.isReadyLeader, self.put(command) else {
            self.posts.append(.declined(to: peer))
            return
        }
    }

    /// Puts a command of a peer into the log, unless it stands there and waits for being applied:
    /// couriers send again what may be lost, and a leader that is slow would be given the more to
    /// do the slower it is.
    ///
    /// - Returns: false: there is no room for it.
    private mutating func put(_ command: Command) -> Bool {
        guard let tag = command.tag else { return self.propose(command) != nil }
        self.underWay.turn(to: self.term)
        if self.underWay.tags.contains(tag) { return true }
        guard self.propose(command) != nil else { return false }
        self.underWay.tags.insert(tag)
        return true
    }

    /// The leader took a command of ours not, or a link to it broke: all goes again, soon.
    package mutating func commandsMayBeLost() {
        // What is in the own log is not lost while the term lasts, and its end is another way.
        if case .own = self.courier.way { return }
        self.isStalled = true
    }

    /// Between two times at which all that waits is sent again on one way, in ticks of the driver
    /// (20 ms): a leader without room must not be buried in what it has declined.
    private static let retryTicks = 10

    /// Called with each tick of the driver: what got stuck goes again.
    package mutating func retryCommands() {
        self.ticksSinceRetry += 1
        guard self.isStalled, self.ticksSinceRetry >= Self.retryTicks else { return }
        self.isStalled = false
        self.ticksSinceRetry = 0
        self.courier.sendAgain()
    }

    private static func command(_ bytes: [UInt8]) throws(CodecError) -> Command {
        guard bytes.count <= Self.commandBytesMax else { throw .outOfRange("command") }
        var reader = ByteReader(bytes)
        let command = try Command(from: &reader)
        try reader.finish()
        return command
    }

    // MARK: Sessions.

    /// A command is in the own log at `index`: it may close a session.
    mutating func noteClosing(_ command: Command, at index: UInt64) {
        let session: SessionID?
        switch command.action {
        case .expireSession(let expired): session = expired
        case .closeSession: session = command.origin?.session
        case .openSession(let open): session = self.queue.session(of: open.node)
        case .removeNode(let removal): session = self.queue.session(of: removal.node)
        case .enqueue, .outcome, .release, .grant, .suspend, .clearSuspension, .cancel, .report,
            .waiveReport, .admin, .expire, .bodyLost, .tick, .settings, .drain, .replicaAdded,
            .replicasLost, .admit, .wish:
            session = nil
        }
        if let session { self.keeper.closes(session, at: index, term: self.term) }
    }

    /// The own session asks for more time.
    package mutating func renew(now: Instant) {
        guard self.session != .none else { return }
        switch self.courier.way {
        case .none: return
        case .own: self.receiveRenewal(self.session, sentAt: now.nanoseconds, from: self.id, now)
        case .leader(let leader, term: _):
            self.posts.append(.renew(to: leader, session: self.session, sentAt: now.nanoseconds))
        }
    }

    /// A session asks this node for more time.
    package mutating func receiveRenewal(
        _ session: SessionID, sentAt: Int64, from peer: MemberID, _ now: Instant
    ) {
        self.keeper.renew(
            SessionKeeper.Renewal(from: peer, session: session, sentAt: sentAt), now: now)
        self.askForProof()
    }

    private mutating func askForProof() {
        guard let read = self.keeper.read() else { return }
        do {
            try self.replica.requestRead(read)
        } catch {
            self.keeper.unproven()
        }
    }

    /// This node led when it asked for the proof.
    package mutating func proved(_ read: ReadState) {
        self.keeper.prove(read.request, index: read.index)
        self.answerRenewals()
        self.askForProof()
    }

    private mutating func answerRenewals() {
        let open = self.queue.openSessions
        let answers = self.keeper.answers(applied: self.applied.index) { open.contains($0) }
        for answer in answers {
            self.posts.append(
                .renewed(to: answer.from, session: answer.session, sentAt: answer.sentAt))
        }
    }

    /// The leader's care for the sessions, with each tick: silence ends them.
    package mutating func keepSessions(at clocks: Clocks) {
        self.clocks = clocks
        let now = clocks.now
        guard self.isReadyLeader else {
            self.keeper.end()
            return
        }
        if self.keeper.term != self.term {
            let sessions = self.queue.openSessionDisks.map {
                (session: $0.session, limit: $0.timing.leaderTerm)
            }
            self.keeper.begin(term: self.term, sessions, now: now)
        }
        self.answerRenewals()
        self.askForProof()
        // Alone nobody else could be given its leases (Docs/Decisions/0006).
        guard !self.isSoleVoter else { return }
        for session in self.keeper.overdue(now: now) {
            _ = self.propose(Command(.expireSession(session)))
        }
    }
}
