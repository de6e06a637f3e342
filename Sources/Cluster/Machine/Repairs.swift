// Repairs.swift - copies that are missing are made again; copies that are gone are told.
//
// Takes     members as they are seen, what became of copies that were asked for and of commands;
//           bodies of the own disk that are proven to be no copies any more.
// Gives     which copies are begun, with whom; the tag of one that has come; what is proposed;
//           which losses are told with the next command; messages that are given up.
// Order     1 a copy is asked for. 2 With all of it a tag of the own session is drawn, if it is
//           still wanted. 3 It lies under that tag, and is synced. 4 Only then `addition` is
//           proposed, as the command of that very tag (Docs/Decisions/0014). Losses are told, those
//           found first, until the log has them.
// Limits    RepairPlanner's; `Command.replicasLostMax` losses in one command, one at a time.
// Durable   nothing: a start makes it again of the state, and of what it finds on the disk.
// Never     bodies, disks, links: the drivers in Cluster and in the node simulator have those.
// See       RepairPlanner (which copies), NodeRepair.

package import MailQueue
package import Primitives
package import Spool

package struct Repairs {
    /// Messages that the planner looks at in one pass, fewest copies first.
    private static let shortagesMax = RepairPlanner.waitingMax
    /// A leader says again that a message is lost: its first word may not have come to anything.
    private static let giveUpAgainAfter = Duration.seconds(30)

    /// A copy that is made here. Numbers count those of this process.
    package struct Copy: Hashable, Sendable {
        let number: UInt64
        package let message: Tag
    }

    package enum Action: Equatable, Sendable {
        /// The holder is asked for the body; then `whole` or `failed`.
        case copy(Copy, from: Holder)
        /// No copy is left and none has come: `bodyLost` is proposed by this leader.
        case giveUp(Tag)
    }

    package enum Whole: Equatable, Sendable {
        /// Its session is closed: it goes.
        case ignored
        /// Nobody wants it any more: it goes, and another plan is made.
        case unwanted
        /// It ends under this tag; once the journal has synced it, `addition` is proposed.
        case store(Tag)
    }

    package var planner: RepairPlanner
    private let own: Holder
    /// One a message.
    private var copies: [Copy] = []
    private var lastNumber: UInt64 = 0
    /// Bodies of the own disk that are no copies any more, by their tags there: to be told, in
    /// the order in which they were found.
    private var lost = RingBuffer<Tag>()
    private var knownLost: Set<Tag> = []
    /// Of these, so many of the first are in a command that has no result.
    private var lostUnderWay = 0
    /// Messages that this leader has given up, and when it has said so.
    private var givenUp: [Tag: Instant] = [:]
    /// All own bodies are compared with the state: damage may have hit any of them.
    private var census: QueueCursor?

    package init(own: Holder) {
        self.own = own
        self.planner = RepairPlanner(own: own)
    }

    // MARK: Planning.

    /// Whether copies went with this command, or are about to go: another plan is made.
    package static func isPlanned(after action: Command.Action) -> Bool {
        switch action {
        case .replicasLost, .removeNode, .wish: true
        case .openSession, .closeSession, .expireSession, .enqueue, .outcome, .release, .grant,
            .suspend, .clearSuspension, .cancel, .report, .waiveReport, .admin, .expire, .bodyLost,
            .tick, .settings, .drain, .replicaAdded, .admit:
            false
        }
    }

    /// What is begun now. In a session only, and behind `census` and `losses`.
    package mutating func plan(
        _ node: borrowing NodeMachine, members: [BodyPeer], now: Instant
    ) -> [Action] {
        // Those that are to leave count as absent.
        var absent = self.planner.absent(members, now: now)
        for leaving in node.queue.leavingHolders where !absent.contains(leaving) {
            absent.append(leaving)
        }
        let short = node.queue.underReplicated(
            without: absent, from: members.filter(\.isUp).map(\.holder), limit: Self.shortagesMax)
        self.givenUp = self.givenUp.filter { now - $0.value < Self.giveUpAgainAfter }
        let actions = self.planner.plan(
            short, members: members, absent: absent,
            copies: Int(max(1, node.queue.settings.copies)), isLeader: node.isReadyLeader, now: now)
        return self.begin(actions, node, now)
    }

    private mutating func begin(
        _ planned: [RepairPlanner.Action], _ node: borrowing NodeMachine, _ now: Instant
    ) -> [Action] {
        var actions: [Action] = []
        for action in planned {
            switch action {
            case .copy(let message, let holder):
                guard node.session != .none else {
                    self.planner.settled(message)
                    continue
                }
                self.lastNumber += 1
                let copy = Copy(number: self.lastNumber, message: message)
                self.copies.append(copy)
                actions.append(.copy(copy, from: holder))
            case .giveUp(let message):
                guard node.queue.hasPending(message), self.givenUp[message] == nil else { continue }
                self.givenUp[message] = now
                actions.append(.giveUp(message))
            }
        }
        return actions
    }

    // MARK: Copying.

    /// That holder has not given it: the next one may.
    package mutating func failed(
        _ copy: Copy, _ node: borrowing NodeMachine, members: [BodyPeer], now: Instant
    ) -> [Action] {
        guard self.isUnderWay(copy) else { return [] }
        self.forget(copy)
        let holders = self.isWanted(copy, node) ? node.queue.holders(of: copy.message) : nil
        let actions = self.planner.failed(
            copy.message, holders: holders ?? [], members: members, now: now)
        return self.begin(actions, node, now)
    }

    private func isUnderWay(_ copy: Copy) -> Bool { self.copies.contains(copy) }

    private mutating func forget(_ copy: Copy) { self.copies.removeAll { $0 == copy } }

    /// The message is there, and has no copy here.
    private func isWanted(_ copy: Copy, _ node: borrowing NodeMachine) -> Bool {
        guard let holders = node.queue.holders(of: copy.message) else { return false }
        return !holders.contains(self.own)
    }

    /// All of it has come, and is what was accepted.
    package mutating func whole(_ copy: Copy, _ node: inout NodeMachine) -> Whole {
        guard self.isUnderWay(copy) else { return .ignored }
        guard self.isWanted(copy, node), let tag = node.drawTag() else {
            self.settled(copy)
            return .unwanted
        }
        return .store(tag)
    }

    /// The journal has synced the copy: what is proposed under its tag; then `added`.
    package func addition(of copy: Copy) -> Command.Action {
        .replicaAdded(copy.message, self.own)
    }

    /// The addition has this result; another plan is made.
    ///
    /// - Returns: whether the copy counts.
    package mutating func added(_ copy: Copy, _ result: CommandResult) -> Bool {
        self.settled(copy)
        return result == .done
    }

    private mutating func settled(_ copy: Copy) {
        self.forget(copy)
        self.planner.settled(copy.message)
    }

    /// The own session is closed: no command of it makes a copy live, and none tells a loss.
    package mutating func end() {
        for copy in self.copies { self.planner.settled(copy.message) }
        self.copies = []
        self.lostUnderWay = 0
    }

    // MARK: Losing.

    /// Bodies of the own disk, by their tags there, that are no copies any more.
    ///
    /// - Returns: how many of them are not known yet.
    package mutating func lose(_ tags: [Tag]) -> Int {
        var count = 0
        for tag in tags where self.knownLost.insert(tag).inserted {
            self.lost.append(tag)
            count += 1
        }
        return count
    }

    /// What is told now with `replicasLost`; then `told`. Everything before the own session has
    /// been applied: it is true of all of it.
    package mutating func losses(_ node: borrowing NodeMachine) -> [Tag] {
        guard !self.lost.isEmpty, self.lostUnderWay == 0, node.session != .none else { return [] }
        self.lostUnderWay = min(self.lost.count, Command.replicasLostMax)
        return (0..<self.lostUnderWay).map { self.lost[$0] }
    }

    /// The command that tells of them has this result.
    ///
    /// - Returns: those that the log has; what can be read of them is garbage now. Nil: its session
    ///   is closed. Else another plan is made.
    package mutating func told(_ tags: [Tag], _ result: CommandResult) -> [Tag]? {
        guard self.lostUnderWay > 0 else { return nil }
        self.lostUnderWay = 0
        guard result == .done else { return [] }
        for tag in tags {
            _ = self.lost.popFirst()
            self.knownLost.remove(tag)
        }
        return tags
    }

    /// Damage has hit bodies, and nobody knows which: all are looked for.
    package mutating func beginCensus() { self.census = QueueCursor() }

    package var hasCensus: Bool { self.census != nil }

    /// Bodies that should be on the own disk, of the next `messages` in the queue: those that it
    /// lacks are lost.
    package mutating func nextOfCensus(
        _ node: borrowing NodeMachine, messages: Int
    ) -> [Tag] {
        guard var cursor = self.census else { return [] }
        let tags = node.queue.bodyTags(on: self.own, cursor: &cursor, steps: messages)
        self.census = cursor.isDone ? nil : cursor
        return tags
    }
}
