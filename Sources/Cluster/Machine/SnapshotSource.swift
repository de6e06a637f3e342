// SnapshotSource.swift - the leader's half of a snapshot: which is made, who gets which piece when.
//
// Takes     ticks, the core's words about a snapshot, a member's answers, what was read and sent.
// Gives     what is made, offered, read, sent; what the core is told; failures worth a line.
// Order     1 an export is made only if the log goes on from the checkpoint that it is a copy of,
//           and the members are those of now. 2 The offer goes in front of the core's words, which
//           wait. 3 Pieces go from where the member says. 4 Only a member that has said that all
//           of it is there and can be read gets the core's words, and only in their term.
// Fails     any step that does not come about is told to the core after `pause`; nothing else is
//           sent to the member meanwhile.
// Limits    SnapshotLimits; one export at a time, one transfer a member.
// Never     files, links, clocks: the drivers in Cluster and in the node simulator have those.
// See       SnapshotSink (the other half), NodeSnapshots, Docs/Decisions/0018.

package import Primitives
package import Raft
package import Spool

package struct SnapshotSource: Sendable {
    /// A snapshot on its way to one member.
    package struct Sending: Sendable {
        package let holder: Holder
        /// What the core says, once the file is there.
        let message: Message
        var sent: UInt64 = 0
        var taken: UInt64 = 0
        /// It has said where to begin.
        var isWanted = false
        var isReading = false
        var isDone = false
        var heardAt: Instant

        init(_ holder: Holder, _ message: Message, _ now: Instant) {
            self.holder = holder
            self.message = message
            self.heardAt = now
        }
    }

    /// Why a member has not got it, for people.
    package enum Failure: String, Sendable {
        case silent
        case refused
        case failed
        case termIsOver = "the term is over"
        case unreadable = "cannot be read"
        case linkIsGone = "its link is gone"
    }

    /// The newest checkpoint, as the driver has it.
    package struct Checkpoint: Sendable {
        package var index: UInt64
        /// The members that it knows; nil: not known.
        package var configuration: Configuration?

        package init(index: UInt64, configuration: Configuration?) {
            self.index = index
            self.configuration = configuration
        }
    }

    package enum Making: Equatable, Sendable {
        /// Nothing now.
        case nothing
        /// The checkpoint does not serve: another one first, then its copy.
        case checkpoint
        case export
    }

    package enum TickAction: Equatable, Sendable {
        /// See `begin`.
        case make
        /// Worth a line: not the same again and again.
        case say(Holder, Failure)
        /// The core is told that the member has got nothing.
        case report(MemberID)
        /// Nobody reads the export any more.
        case release
    }

    package enum Offering: Equatable, Sendable {
        /// The member is told nothing; the core hears of it later.
        case later
        /// The same, and another export is made: see `begin`.
        case make
        /// To be sent; then `offered`.
        case offer(SnapshotOffer, Holder)
    }

    package enum Answered: Equatable, Sendable {
        /// Of a transfer that is over.
        case ignored
        /// See `next`.
        case goOn
        /// It has all of it: the core's words go over the control link.
        case speak(Message)
        /// The core is told that the member has it.
        case installed
        /// Nil: not worth a line.
        case failed(Failure?)
    }

    package enum Next: Equatable, Sendable {
        case nothing
        case read(id: UInt64, offset: UInt64)
        /// All pieces were sent: the end, then `ended` if it was taken.
        case end(id: UInt64)
    }

    /// What is offered.
    struct Export: Sendable {
        var position: LogPosition
        var bytes: UInt64
    }

    package var limits = SnapshotLimits()
    /// Drawn for each export: names it to others.
    private(set) var id: UInt64 = 0
    private(set) var export: Export?
    /// The position of the last one, whether it is still there or not.
    private var position = LogPosition.zero
    private(set) var isExporting = false
    /// No other export is tried before.
    private var notBefore = Instant.zero
    private var usedAt = Instant.zero
    package private(set) var sendings: [Sending] = []
    /// Members of which the core is told then that they have got nothing.
    private var failures: [(member: MemberID, at: Instant)] = []
    /// Sent and installed, and refused or failed, since the start of the process.
    package private(set) var sentCount: UInt64 = 0
    package private(set) var refusedCount: UInt64 = 0
    /// Who has not taken one, and why, as it was said last.
    private var said: (Holder, Failure)?

    package init() {}

    private func place(_ holder: Holder) -> Int? {
        self.sendings.firstIndex { $0.holder == holder }
    }

    // MARK: Making one.

    /// With each tick: what is to be done, in its order.
    package mutating func tick(_ raft: Raft, now: Instant) -> [TickAction] {
        var actions: [TickAction] = []
        if raft.wantsSnapshot { actions.append(.make) }
        if raft.role != .leader {
            self.sendings = []
            self.failures = []
        } else {
            self.forgetInstalled(raft)
        }
        for sending in self.sendings where now - sending.heardAt >= self.limits.silence {
            if let why = self.failed(sending.holder, .silent, now: now) {
                actions.append(.say(sending.holder, why))
            }
        }
        while let place = self.failures.firstIndex(where: { $0.at <= now }) {
            actions.append(.report(self.failures.remove(at: place).member))
        }
        if self.export != nil, self.sendings.isEmpty, now - self.usedAt >= self.limits.idle {
            self.export = nil
            actions.append(.release)
        }
        return actions
    }

    /// Members of which the core knows that they have got so far.
    private mutating func forgetInstalled(_ raft: Raft) {
        for sending in self.sendings {
            let place = raft.membership.place(of: sending.holder.incarnation)
            let progress = place.map { raft.membership.peers[$0].progress }
            if progress?.state == .snapshot { continue }
            if let progress, progress.match >= self.position.index { self.sentCount += 1 }
            self.sendings.removeAll { $0.holder == sending.holder }
        }
    }

    /// A snapshot is wanted: what is begun now.
    ///
    /// - Parameter isBusy: a checkpoint is being made, or nothing is begun any more.
    package mutating func begin(
        _ raft: Raft, _ checkpoint: Checkpoint, isBusy: Bool, now: Instant
    ) -> Making {
        guard !self.isExporting, !isBusy, now >= self.notBefore else { return .nothing }
        self.isExporting = true
        return Self.serves(checkpoint, raft) ? .export : .checkpoint
    }

    /// A checkpoint serves if the log goes on from it, and its members are those of now: one that
    /// does not know its receiver is refused.
    private static func serves(_ checkpoint: Checkpoint, _ raft: Raft) -> Bool {
        checkpoint.index > 0 && checkpoint.index + 1 >= raft.firstIndex
            && checkpoint.configuration == raft.configuration
    }

    package mutating func exportFailed(now: Instant) {
        self.isExporting = false
        self.notBefore = now + self.limits.pause
    }

    /// The copy is there. The one before may be removed: whoever is getting it is offered this one.
    ///
    /// - Parameter id: drawn for it.
    /// - Returns: what the core is offered.
    package mutating func exported(
        _ position: LogPosition, _ configuration: Configuration, bytes: UInt64, id: UInt64,
        now: Instant
    ) -> Snapshot {
        self.isExporting = false
        for sending in self.sendings { self.notSent(sending.holder.incarnation, now) }
        self.sendings = []
        self.export = Export(position: position, bytes: bytes)
        self.position = position
        self.id = id
        self.usedAt = now
        return Snapshot(position: position, configuration: configuration, data: [])
    }

    /// From where on the log is kept for one that is being made or sent; nil: there is none.
    ///
    /// - Parameter checkpoint: the index of the newest.
    package func keptFrom(checkpoint: UInt64) -> UInt64? {
        let making = self.isExporting ? checkpoint : nil
        return self.export.map { min($0.position.index, making ?? .max) } ?? making
    }

    // MARK: Sending.

    /// The core speaks of a snapshot: the file first.
    ///
    /// - Parameter holder: to whom; nil: it is not known where that member is.
    package mutating func offer(
        _ message: Message, _ snapshot: Snapshot, to holder: Holder?, now: Instant
    ) -> Offering {
        guard let holder else {
            self.notSent(message.to, now)
            return .later
        }
        self.sendings.removeAll { $0.holder == holder }
        guard let export = self.export, export.position == snapshot.position else {
            // What was offered to the core has been removed: another is made.
            self.notSent(message.to, now)
            return .make
        }
        var writer = ByteWriter(capacity: 64)
        snapshot.configuration.encode(into: &writer)
        return .offer(
            SnapshotOffer(
                id: self.id, position: snapshot.position, totalBytes: export.bytes,
                configuration: writer.bytes), holder)
    }

    /// The offer of the core's `message` was sent, or its link takes nothing.
    package mutating func offered(
        _ message: Message, to holder: Holder, isSent: Bool, now: Instant
    ) {
        guard isSent else { return self.notSent(message.to, now) }
        self.usedAt = now
        self.sendings.append(Sending(holder, message, now))
    }

    private mutating func notSent(_ member: MemberID, _ now: Instant) {
        self.failures.append((member, now + self.limits.pause))
    }

    /// The transfer to this member is over: the core is told, and offers it again.
    ///
    /// - Returns: what is worth a line; nil: there was none, or it was said before.
    package mutating func failed(_ holder: Holder, _ why: Failure, now: Instant) -> Failure? {
        guard let place = self.place(holder) else { return nil }
        self.sendings.remove(at: place)
        self.notSent(holder.incarnation, now)
        // The same again and again is said once.
        guard self.said?.0 != holder || self.said?.1 != why else { return nil }
        self.said = (holder, why)
        return why
    }

    /// The member answers.
    ///
    /// - Parameters:
    ///   - taken: bytes that it has.
    ///   - term: of this node now.
    package mutating func answered(
        _ id: UInt64, _ verdict: SnapshotVerdict, taken: UInt64, by holder: Holder, term: UInt64,
        now: Instant
    ) -> Answered {
        guard id == self.id, let place = self.place(holder), let export = self.export,
            taken <= export.bytes
        else { return .ignored }
        self.usedAt = now
        self.sendings[place].heardAt = now
        switch verdict {
        case .refused, .failed:
            self.refusedCount += 1
            return .failed(
                self.failed(holder, verdict == .failed ? .failed : .refused, now: now))
        case .taking:
            if !self.sendings[place].isWanted {
                self.sendings[place].isWanted = true
                self.sendings[place].sent = taken
            }
            self.sendings[place].taken = taken
            return .goOn
        case .ready:
            let message = self.sendings[place].message
            guard message.term == term else {
                return .failed(self.failed(holder, .termIsOver, now: now))
            }
            return .speak(message)
        case .installed:
            self.sendings.remove(at: place)
            self.sentCount += 1
            self.said = nil
            return .installed
        }
    }

    /// What goes to the member now. One piece is read at a time; see `hasRead`.
    ///
    /// - Parameter isWritable: its link takes more.
    package mutating func next(for holder: Holder, isWritable: Bool) -> Next {
        guard let place = self.place(holder), let export = self.export else { return .nothing }
        let sending = self.sendings[place]
        guard sending.isWanted, !sending.isReading, !sending.isDone, isWritable else {
            return .nothing
        }
        guard sending.sent < export.bytes else { return .end(id: self.id) }
        guard sending.sent < sending.taken + self.limits.windowBytes else { return .nothing }
        self.sendings[place].isReading = true
        return .read(id: self.id, offset: sending.sent)
    }

    /// The end was sent.
    package mutating func ended(_ holder: Holder) {
        guard let place = self.place(holder) else { return }
        self.sendings[place].isDone = true
    }

    /// The piece at `offset` was read, or cannot be.
    ///
    /// - Returns: false: of a transfer that is over. True: it is sent, then `sent` or `failed`.
    package mutating func hasRead(_ id: UInt64, offset: UInt64, for holder: Holder) -> Bool {
        guard id == self.id, let place = self.place(holder), self.sendings[place].isReading,
            self.sendings[place].sent == offset
        else { return false }
        self.sendings[place].isReading = false
        return true
    }

    /// A piece was sent; see `next`.
    package mutating func sent(_ bytes: UInt64, to holder: Holder) {
        guard let place = self.place(holder) else { return }
        self.sendings[place].sent += bytes
    }
}
