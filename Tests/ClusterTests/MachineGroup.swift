// MachineGroup.swift - the machines of several nodes on one clock, with wires and disks.
//
// Gives     messages that are late, lost with their link, and cut; members that are killed and come
//           back with what was synced. Everything random from one seed.

import MailQueue
import Primitives
import Raft
import SMTP
import Spool
import Testing

@testable import Cluster

typealias Tag = Primitives.Tag

/// One node: its machine while it lives, its disk for ever.
final class GroupMember {
    struct Waiting {
        var tag: Tag
        var action: Command.Action
    }
    let id: MemberID
    let name: NodeName
    var boot: BootNumber = 0
    /// The last one, when it is dead.
    var machine: NodeMachine
    var isAlive = false
    // The disk: what is synced.
    var entries: [Entry] = []
    var hardState = HardState.empty
    /// Written and not synced, with the time at which it will be.
    var writes: [(at: Instant, request: StoreRequest)] = []
    var leaseClock = LeaseClock()
    var isOpening = false
    /// Commands of the present session without a result.
    var waiting: [Waiting] = []
    /// Leases of the present session that were given to this process.
    var leases: [DeliveryID] = []

    init(id: UInt64, name: NodeName) {
        self.id = MemberID(raw: id)
        self.name = name
        self.machine = NodeMachine(
            queue: MailQueue(), options: Options(id: self.id),
            start: Start(configuration: Configuration(voters: [self.id])), known: [],
            clock: QueueClock(last: .zero, stopped: .zero, now: .zero), random: 0)
    }

    /// How the queue of this member looks; it cannot be copied.
    var lastIndex: UInt64 { self.machine.lastIndex }
    func drawTag() -> Tag? { self.machine.drawTag() }
    func holdsOthersBack(_ tag: Tag, _ limit: UInt64) -> Bool {
        self.machine.holdsOthersBack(tag, limit: limit)
    }
    func result(of tag: Tag) -> CommandResult? { self.machine.queue.result(of: tag) }
    func contains(_ message: Tag) -> Bool { self.machine.queue.contains(message) }
    var totals: QueueTotals { self.machine.queue.totals }
    var messageCount: Int { self.machine.queue.counts.messages }
    var session: SessionID { self.machine.session }
    var queueTime: QueueTime { self.machine.queue.time }
    func believed(_ wall: WallTime) -> WallTime? { self.machine.believed(wall) }
    var isClockDoubted: Bool { self.machine.isClockDoubted }
    func step(_ message: [UInt8], _ from: MemberID) throws {
        try self.machine.step(message, from: from)
    }
    func receive(_ command: [UInt8], _ from: MemberID, _ clocks: Clocks) throws {
        try self.machine.receiveCommand(command, from: from, at: clocks)
    }
    func submit(_ tag: Tag, _ action: Command.Action) -> Bool {
        self.machine.submit(tag, action)
    }
    func stateHash() -> UInt64 { self.machine.stateHash() }
}

final class MachineGroup {
    enum Load {
        case agreement([UInt8])
        case post(Post)
    }
    struct Flying {
        var at: Instant
        var from: Int
        var to: Int
        var load: Load
    }
    /// One tick of the core.
    static let tick = Duration.milliseconds(20)

    var members: [GroupMember]
    var dice: Generator
    var now = Instant(nanoseconds: 1_000_000_000_000)
    /// What a right wall clock says; it stands still while the group runs.
    var wall = WallTime(milliseconds: 1_700_000_000_000)
    /// How far each member's is ahead of that.
    var wallsAhead: [Duration]
    /// Links carry no word of clocks.
    var areClocksUntold = false
    var flying: [Flying] = []
    /// Links that carry nothing, as pairs (from, to).
    var cuts: Set<[Int]> = []
    var delayMax = 3
    /// Results by tag, as the members that asked saw them.
    var results: [Tag: CommandResult] = [:]
    /// Instants at which the last member that led proposed, for the tests.
    var closedSessions: [(session: SessionID, at: Instant)] = []
    /// Who may still send a final dot for a lease, until when.
    var held: [DeliveryID: (member: Int, boot: BootNumber)] = [:]
    var overlaps = 0
    /// Of each member's core.
    let uncommittedBytesMax: UInt64

    init(_ count: Int, seed: UInt64, uncommittedBytesMax: UInt64 = 64 << 20) {
        self.uncommittedBytesMax = uncommittedBytesMax
        self.dice = Generator(seed: seed)
        self.wallsAhead = Array(repeating: .zero, count: count)
        self.members = (0..<count).map {
            GroupMember(id: UInt64($0 + 1), name: "n\($0)")
        }
        for place in 0..<count { self.start(place) }
    }

    // MARK: Members.

    func start(_ place: Int) {
        let member = self.members[place]
        member.boot += 1
        member.leaseClock = LeaseClock()
        member.isOpening = false
        member.waiting = []
        member.leases = []
        var options = Options(id: member.id)
        options.uncommittedBytesMax = self.uncommittedBytesMax
        var start = Start(configuration: Configuration(voters: self.members.map(\.id)))
        start.hardState = member.hardState
        start.entries = member.entries
        start.hardState.commit = min(start.hardState.commit, UInt64(member.entries.count))
        var known: [LogEntry] = []
        for entry in member.entries where !entry.data.isEmpty {
            do {
                known.append(
                    try LogEntry(index: entry.index, term: entry.term, bytes: entry.data))
            } catch {
                Issue.record("what a member wrote cannot be read: \(error)")
            }
        }
        let stamp = known.last?.stamp ?? .zero
        let wall = self.clocks(of: place).wall
        let stopped = known.last.map { last in last.wall.map { wall - $0 } } ?? .zero
        member.machine = NodeMachine(
            queue: MailQueue(), options: options, start: start, known: known,
            clock: QueueClock(last: stamp, stopped: stopped, now: self.now),
            random: self.dice.next())
        member.isAlive = true
    }

    /// What was not synced is gone, and all links with it.
    func kill(_ place: Int) {
        let member = self.members[place]
        member.isAlive = false
        member.writes = []
        self.flying.removeAll { $0.to == place || $0.from == place }
        for (other, there) in self.members.enumerated() where other != place {
            self.linkBroke(there, to: member.id)
        }
    }

    private func linkBroke(_ member: GroupMember, to other: MemberID) {
        guard member.isAlive else { return }
        member.machine.linkBroke(to: other)
    }

    /// Cuts all links of a member, both ways, or heals them.
    func isolate(_ place: Int, _ isCut: Bool) {
        for other in self.members.indices where other != place {
            for pair in [[place, other], [other, place]] {
                if isCut { self.cuts.insert(pair) } else { self.cuts.remove(pair) }
            }
            if isCut {
                self.linkBroke(self.members[other], to: self.members[place].id)
                self.linkBroke(self.members[place], to: self.members[other].id)
            }
        }
    }

    var clocks: Clocks { Clocks(now: self.now, wall: self.wall) }

    func clocks(of place: Int) -> Clocks {
        Clocks(now: self.now, wall: self.wall + self.wallsAhead[place])
    }

    /// As with a link's first message, and once a second: `place` knows the clocks of who is
    /// linked.
    private func compareClocks(_ place: Int) {
        let linked = self.members.indices.filter { other in
            !self.areClocksUntold && other != place && self.members[other].isAlive
                && !self.cuts.contains([other, place])
        }
        func clocks(agreeing: Bool) -> [MemberID] {
            linked.filter {
                QueueClock.agrees(self.wallsAhead[$0] - self.wallsAhead[place]) == agreeing
            }.map { self.members[$0].id }
        }
        self.members[place].machine.compareWallClocks(
            agreeing: clocks(agreeing: true), differing: clocks(agreeing: false))
    }

    var leader: Int? {
        self.members.indices.filter {
            self.members[$0].isAlive && self.members[$0].machine.isReadyLeader
        }.max {
            self.members[$0].machine.term < self.members[$1].machine.term
        }
    }

    // MARK: Time.

    func run(_ duration: Duration, until isDone: () -> Bool = { false }) {
        let end = self.now + duration
        while self.now < end, !isDone() {
            self.now = self.now + .milliseconds(1)
            self.deliver()
            let millisecond = self.now.nanoseconds / 1_000_000
            for place in self.members.indices where self.members[place].isAlive {
                let member = self.members[place]
                self.sync(member)
                if millisecond % 20 == Int64(place) { self.tickMember(place) }
                if millisecond % 400 == Int64(place * 7) {
                    member.machine.renew(now: self.now)
                }
                self.turn(place)
            }
        }
    }

    private func tickMember(_ place: Int) {
        let member = self.members[place]
        member.machine.tick(random: self.dice.next())
        member.machine.keepSessions(at: self.clocks(of: place))
        member.machine.retryCommands()
        if member.machine.session == .none, !member.isOpening {
            member.isOpening = true
            // As after a restart: the node's own count of starts grows with each session.
            member.boot += 1
            member.machine.openSession(
                OpenSession(
                    node: member.name,
                    incarnation: Incarnation(raw: member.id.raw), boot: member.boot,
                    nonce: self.dice.next(), credit: 50, replayed: false, delivers: true))
        }
        if member.machine.mayLookForWork {
            let work = member.machine.nextWork(at: self.now, limit: 100)
            member.machine.propose(work: work, at: self.clocks(of: place))
        }
    }

    private func sync(_ member: GroupMember) {
        var ticket: UInt64?
        while let first = member.writes.first, first.at <= self.now {
            member.writes.removeFirst()
            for entry in first.request.entries {
                member.entries.removeAll { $0.index >= entry.index }
                member.entries.append(entry)
            }
            if let state = first.request.hardState { member.hardState = state }
            ticket = first.request.ticket
        }
        if let ticket { member.machine.stored(upTo: ticket) }
    }

    // MARK: Wires.

    func send(_ load: Load, from: Int, to: MemberID) {
        guard let place = self.members.firstIndex(where: { $0.id == to }) else { return }
        let delay = place == from ? 0 : 1 + self.dice.below(self.delayMax)
        // A link keeps its order.
        let last =
            self.flying.last { $0.from == from && $0.to == place }?.at ?? .zero
        self.flying.append(
            Flying(
                at: max(last, self.now + .milliseconds(Int64(delay))), from: from, to: place,
                load: load))
    }

    private func deliver() {
        let due = self.flying.filter { $0.at <= self.now }
        self.flying.removeAll { $0.at <= self.now }
        for one in due {
            guard !self.cuts.contains([one.from, one.to]), self.members[one.to].isAlive else {
                continue
            }
            self.receive(one)
        }
    }

    private func receive(_ one: Flying) {
        let member = self.members[one.to]
        let from = self.members[one.from].id
        self.compareClocks(one.to)
        switch one.load {
        case .agreement(let bytes):
            #expect(throws: Never.self) { try member.step(bytes, from) }
        case .post(.forward(_, let command)):
            #expect(throws: Never.self) {
                try member.receive(command, from, self.clocks(of: one.to))
            }
        case .post(.declined): member.machine.commandsMayBeLost()
        case .post(.renew(_, let session, let sentAt)):
            member.machine.receiveRenewal(session, sentAt: sentAt, from: from, self.now)
        case .post(.renewed(_, let session, let sentAt)):
            if session == member.machine.session {
                member.leaseClock.renewed(sentAt: Instant(nanoseconds: sentAt))
            }
        }
    }

    // MARK: Turns.

    func turn(_ place: Int) {
        let member = self.members[place]
        var actions: [Replica.Action] = []
        while true {
            actions = []
            member.machine.turn(&actions, at: self.clocks(of: place))
            var posts: [Post] = []
            member.machine.takePosts(&posts)
            for post in posts { self.send(.post(post), from: place, to: post.to) }
            if actions.isEmpty { break }
            for action in actions { self.carryOut(action, place) }
        }
    }

    private func carryOut(_ action: Replica.Action, _ place: Int) {
        let member = self.members[place]
        switch action {
        case .store(let request):
            member.writes.append((self.now + .milliseconds(1), request))
        case .send(let message):
            var writer = ByteWriter()
            message.encode(into: &writer)
            self.send(.agreement(writer.bytes), from: place, to: message.to)
        case .apply(let entries, let applied):
            for entry in entries { self.apply(entry, place) }
            member.machine.appliedAll(applied)
        case .readable(let read): member.machine.proved(read)
        case .changed: return
        }
    }

    private func apply(_ entry: Entry, _ place: Int) {
        let member = self.members[place]
        let session = member.machine.session
        var effects: [Effect] = []
        let result: (entry: LogEntry, result: CommandResult)?
        do {
            result = try member.machine.apply(entry, effects: &effects)
        } catch {
            Issue.record("what is committed cannot be read: \(error)")
            return
        }
        // The first entry of a term has no command.
        guard let applied = result else { return }
        if let origin = applied.entry.command.origin, origin.session == session {
            let tag = Tag(session: origin.session, sequence: origin.sequence)
            if self.results[tag] == nil { self.results[tag] = applied.result }
            member.waiting.removeAll { $0.tag == tag }
        }
        if member.isOpening, member.machine.takeOpening() != nil { member.isOpening = false }
        for effect in effects { self.note(effect, place) }
    }

    private func note(_ effect: Effect, _ place: Int) {
        let member = self.members[place]
        switch effect {
        case .leased(let delivery, let session) where session == member.machine.session:
            self.grant(delivery, place)
        case .sessionClosed(let session):
            self.closedSessions.append((session, self.now))
            if member.machine.session == .none { member.leases = [] }
        case .leased, .reportLeased, .sessionOpened, .leaseEnded, .messageFinished,
            .possibleDuplicates, .recipientsFailed:
            return
        }
    }

    /// Invariant 6: nobody else may still send the final dot of this delivery.
    private func grant(_ delivery: DeliveryID, _ place: Int) {
        if let held = self.held[delivery], held.member != place {
            let other = self.members[held.member]
            if other.isAlive, other.boot == held.boot, other.leases.contains(delivery),
                other.leaseClock.mayFinish(at: self.now)
            {
                self.overlaps += 1
            }
        }
        self.held[delivery] = (place, self.members[place].boot)
        self.members[place].leases.append(delivery)
    }

    // MARK: Commands.

    func submit(_ place: Int, _ action: Command.Action) -> Tag? {
        let member = self.members[place]
        guard member.isAlive, let tag = member.machine.drawTag() else { return nil }
        #expect(member.submit(tag, action))
        member.waiting.append(GroupMember.Waiting(tag: tag, action: action))
        return tag
    }

    func enqueue(_ place: Int, to domain: String) -> Tag? {
        let member = self.members[place]
        return self.submit(
            place,
            .enqueue(
                Enqueue(
                    envelope: Envelope(
                        sender: "a@x.test", recipients: [Recipient(address: "b@\(domain)")]),
                    destinations: [domain],
                    receipt: BodyReceipt(
                        originalBytes: 10, storedBytes: 10, digest: .zero,
                        holders: [
                            Holder(
                                node: member.name,
                                incarnation: Incarnation(raw: member.id.raw))
                        ]),
                    acceptedAt: WallTime(milliseconds: 0), receivedFrom: "")))
    }

    func deliver(_ delivery: DeliveryID, _ place: Int, _ kind: Verdict.Kind) -> Tag? {
        guard let work = self.members[place].machine.queue.work(delivery) else { return nil }
        self.members[place].leases.removeAll { $0 == delivery }
        return self.submit(
            place,
            .outcome(
                Outcome(
                    delivery: delivery, attempt: work.attempt,
                    lines: [
                        Outcome.Line(recipient: 0, verdict: Verdict(kind, Reply(250, nil, "ok")))
                    ], endsLease: true)))
    }

    /// All live members have applied the same and agree.
    func agree() -> Bool {
        let live = self.members.filter(\.isAlive)
        let applied = live.map { $0.machine.applied.index }
        guard Set(applied).count == 1 else { return false }
        return Set(live.map { $0.stateHash() }).count == 1
    }
}
