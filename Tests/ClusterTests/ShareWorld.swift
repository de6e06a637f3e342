import MailQueue
import Primitives
import Spool

@testable import Cluster

/// Nodes that hold shares, leaders that deal them, messages that come late, twice changed in their
/// order, or never; in steps of 20 ms. Clocks differ by up to 4 %.
struct ShareWorld {
    static let step = Duration.milliseconds(20)
    struct Member {
        var holder = ShareHolder()
        var dealer = ShareDealer()
        /// Thousandths of the time that its clock shows.
        var rate: Int64 = 1000
        /// As it believes itself.
        var session: SessionID?
        var open: [String: UInt32] = [:]
        var lapsesAt = Instant.zero
        var endsAt = Instant.zero
        var isLapsed = true
        var nextAsk = Instant.zero
        var leases: [String: UInt32] = [:]
        /// The latest term that it knows.
        var term: UInt64 = 0
        var isUp = true
    }
    enum Letter {
        case renewal(Renewal, to: Int)
        case answer(RenewalAnswer, to: Int)
    }
    var members: [Member] = []
    /// Raised by faults, never lowered: what is open above a lower one is excused until it ends.
    var limit: UInt32
    var limitMax = 24
    let names = ["x.test", "y.test", "z.test"]
    var dice: Generator
    var now = Instant.zero + .seconds(100)
    /// Open on the state.
    var sessions: [(id: SessionID, node: Int)] = []
    var heard: [SessionID: Instant] = [:]
    var nextSession: UInt64 = 1
    var leader: Int?
    var term: UInt64 = 0
    /// Proven in time and answered late, perhaps by one that has lost the lead and does not know.
    var unanswered: [(at: Instant, renewal: Renewal, node: Int, by: Int)] = []
    var letters: [(at: Instant, Letter)] = []
    var lossPermille = 0
    var delayMax = 30
    var hasFaults = false
    /// What was seen.
    var fullest: UInt32 = 0
    var violations = 0

    init(_ count: Int, limit: UInt32, seed: UInt64) {
        self.limit = limit
        self.dice = Generator(seed: seed)
        for _ in 0..<count {
            var member = Member()
            member.rate = 960 + Int64(self.dice.below(81))
            self.members.append(member)
        }
    }

    private static func disk(_ member: Int) -> Holder {
        Holder(node: "n\(member)", incarnation: Incarnation(raw: 1))
    }

    func clock(_ member: Int) -> Instant {
        Instant(nanoseconds: self.now.nanoseconds / 1000 * self.members[member].rate)
    }

    // MARK: Events of the world.

    mutating func elect(_ member: Int) {
        self.leader = member
        self.term += 1
        let now = self.clock(member)
        self.heard = [:]
        for session in self.sessions { self.heard[session.id] = now }
    }

    mutating func openSession(_ member: Int) {
        guard let leader else { return }
        self.sessions.removeAll { $0.node == member }
        let id = SessionID(raw: self.nextSession)
        self.nextSession += 1
        self.sessions.append((id, member))
        self.heard[id] = self.clock(leader)
        self.members[member].session = id
    }

    /// The process ends; its kernel closes what it had open.
    mutating func kill(_ member: Int) {
        let rate = self.members[member].rate
        self.members[member] = Member()
        self.members[member].rate = rate
        self.members[member].isUp = false
        if self.leader == member { self.leader = nil }
    }

    // MARK: One step.

    mutating func run(_ time: Duration) {
        let end = self.now + time
        while self.now < end { self.advance() }
    }

    mutating func advance() {
        self.now = self.now + Self.step
        if self.hasFaults { self.strike() }
        for place in self.members.indices where self.members[place].isUp { self.tick(place) }
        self.keepSessions()
        let due = self.letters.filter { $0.at <= self.now }
        self.letters.removeAll { $0.at <= self.now }
        for (_, letter) in due { self.take(letter) }
        self.check()
    }

    private mutating func strike() {
        let member = self.dice.below(self.members.count)
        switch self.dice.below(400) {
        case 0: self.kill(member)
        case 1...4: if self.members[member].isUp { self.elect(member) }
        case 5:
            // By an operator, say: nobody waits for the node.
            self.sessions.removeAll { $0.node == member }
        case 6: self.lossPermille = [0, 0, 300, 900, 1000][self.dice.below(5)]
        case 7: self.delayMax = [30, 30, 400, 5000][self.dice.below(4)]
        case 8...20:
            self.members[member].leases[self.names[self.dice.below(3)]] =
                UInt32(self.dice.below(3) * self.dice.below(30))
        case 21...23: if !self.members[member].isUp { self.members[member].isUp = true }
        case 24: self.limit = UInt32(max(Int(self.limit), 1 + self.dice.below(self.limitMax)))
        case _: break
        }
    }

    private mutating func post(_ letter: Letter) {
        guard !self.dice.chance(permille: self.lossPermille) else { return }
        let delay = Duration.milliseconds(self.dice.below(self.delayMax))
        self.letters.append((self.now + delay, letter))
    }

    private mutating func tick(_ place: Int) {
        let now = self.clock(place)
        let isOpen = self.sessions.contains { $0.id == self.members[place].session }
        if !isOpen, self.members[place].session != nil, self.dice.chance(permille: 100) {
            // It learns that its session is closed.
            self.lapse(place)
            self.members[place].session = nil
        }
        if now >= self.members[place].lapsesAt { self.lapse(place) }
        if self.members[place].isLapsed, now >= self.members[place].endsAt {
            self.members[place].open = [:]
        }
        if self.members[place].session == nil {
            if self.dice.chance(permille: 100) { self.openSession(place) }
            return
        }
        self.connect(place)
        if self.leader != nil, self.dice.chance(permille: 300) {
            self.members[place].term = self.term
        }
        guard now >= self.members[place].nextAsk, let session = self.members[place].session else {
            return
        }
        self.members[place].nextAsk = now + LeaseClock.renewal
        let term = self.members[place].term
        var renewal = Renewal(session: session, sentAt: now, term: term)
        renewal.deal = self.members[place].holder.ask(session, term: term)
        self.fill(&renewal, place)
        if let leader, self.term == term { self.post(.renewal(renewal, to: leader)) }
    }

    private func fill(_ renewal: inout Renewal, _ place: Int) {
        var board = ShareLedger()
        board.use(self.members[place].holder.table)
        board.restore(self.members[place].open)
        let report = board.report(isFull: renewal.deal == 0)
        renewal.base = report.base
        renewal.baseOpen = report.baseOpen
        renewal.shares = report.rows
    }

    private mutating func connect(_ place: Int) {
        for name in self.names {
            let open = self.members[place].open[name] ?? 0
            if open < self.members[place].holder.table.share(of: name) {
                // Greedy: whatever may be open is, most of the time.
                if self.dice.chance(permille: 700) { self.members[place].open[name] = open + 1 }
            } else if open > 0, self.dice.chance(permille: 60) {
                self.members[place].open[name] = open - 1
            }
        }
    }

    /// All ends but what waits for the answer to its final dot.
    private mutating func lapse(_ place: Int) {
        guard !self.members[place].isLapsed else { return }
        self.members[place].isLapsed = true
        self.members[place].holder.lapse()
        for name in self.names {
            let open = self.members[place].open[name] ?? 0
            self.members[place].open[name] = UInt32(self.dice.below(Int(open) + 1))
        }
    }

    /// Silence ends sessions.
    private mutating func keepSessions() {
        guard let leader else { return }
        let now = self.clock(leader)
        let limit = SessionTiming().leaderTerm
        self.sessions.removeAll { now - (self.heard[$0.id] ?? now) >= limit }
        self.meet(leader, self.term)
        let late = self.unanswered.filter { $0.at <= self.now }
        self.unanswered.removeAll { $0.at <= self.now }
        for one in late where self.members[one.by].dealer.term == one.renewal.term {
            self.answer(one.renewal, one.node, by: one.by)
        }
    }

    private mutating func meet(_ place: Int, _ term: UInt64) {
        let guests = self.sessions.map {
            ShareDealer.Guest(session: $0.id, disk: Self.disk($0.node))
        }.sorted { $0.session < $1.session }
        let disks = self.members.indices.map { Self.disk($0) }
        let now = self.clock(place)
        self.members[place].dealer.meet(term: term, guests, disks: disks, now: now)
    }

    private mutating func take(_ letter: Letter) {
        switch letter {
        case .renewal(let renewal, let to):
            // Only with a proof that it leads; what it proved before may be answered later.
            guard to == self.leader, renewal.term == self.term,
                let session = self.sessions.first(where: { $0.id == renewal.session })
            else { return }
            self.heard[renewal.session] = max(
                self.heard[renewal.session] ?? .zero, self.clock(to))
            self.hear(renewal, to)
            if self.hasFaults, self.dice.chance(permille: 150) {
                let at = self.now + .milliseconds(self.dice.below(1500))
                self.unanswered.append((at, renewal, session.node, to))
            } else {
                self.answer(renewal, session.node, by: to)
            }
        case .answer(let answer, let to):
            guard self.members[to].isUp, answer.session == self.members[to].session else { return }
            let now = self.clock(to)
            let end = answer.sentAt + SessionTiming().holderTerm
            self.members[to].lapsesAt = max(self.members[to].lapsesAt, end)
            self.members[to].endsAt = max(
                self.members[to].endsAt, answer.sentAt + SessionTiming().holderEnd)
            if now < self.members[to].lapsesAt { self.members[to].isLapsed = false }
            _ = self.members[to].holder.take(answer, SessionTiming(), now: now)
        }
    }

    private mutating func hear(_ renewal: Renewal, _ place: Int) {
        self.meet(place, renewal.term)
        self.members[place].dealer.hear(renewal, now: self.clock(place))
    }

    private mutating func answer(_ renewal: Renewal, _ node: Int, by place: Int) {
        var needs: [LeaseCount] = []
        for name in self.names {
            for session in self.sessions.sorted(by: { $0.id < $1.id }) {
                let leases = self.members[session.node].leases[name] ?? 0
                guard leases > 0 else { continue }
                needs.append(LeaseCount(destination: name, session: session.id, leases: leases))
            }
        }
        let now = self.clock(place)
        self.members[place].dealer.plan(limit: self.limit, needs, now: now)
        var answer = RenewalAnswer(
            session: renewal.session, sentAt: renewal.sentAt, term: renewal.term)
        if let (number, table) = self.members[place].dealer.deal(to: renewal.session, now: now) {
            answer.deal = number
            answer.base = table.base
            answer.shares = table.rows
        }
        self.post(.answer(answer, to: node))
    }

    private mutating func check() {
        for name in self.names {
            var open: UInt32 = 0
            var most: UInt32 = 0
            for member in self.members where member.isUp {
                open += member.open[name] ?? 0
                most += max(member.open[name] ?? 0, member.holder.table.share(of: name))
            }
            self.fullest = max(self.fullest, open)
            if most > self.limit { self.violations += 1 }
        }
    }

    func shares(_ name: String) -> [UInt32] {
        self.members.map { $0.holder.table.share(of: name) }
    }
}
