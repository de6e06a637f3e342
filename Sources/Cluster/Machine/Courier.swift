// Courier.swift - the own commands without a result, on their way to whoever leads.
//
// Takes     commands of this node; who leads, and in which term; results.
// Gives     commands to hand to the leader, each once on one way. When the way changes (another
//           leader or term, a link that broke) all of them go again: their results are remembered
//           by (session, number), so what arrives twice takes effect once (invariant 4).
// Never     forgets a command of an open session that has no result. Of a closed one facts go on
//           (somebody has the mail, somebody was told no); whoever waits for the rest is told.

import MailQueue
import Primitives
import Raft

struct Courier {
    /// Where commands go.
    enum Way: Equatable {
        case none
        /// This node leads.
        case own(term: UInt64)
        case leader(MemberID, term: UInt64)
    }

    private(set) var way = Way.none
    /// Commands of the own session by number.
    private var items = NumberedRing<Command>(capacity: 256)
    /// Numbers up to here were handed out on this way, but for `late` ones.
    private var handed: UInt64 = 0
    /// Numbers below that came after them: their bodies took longer.
    private var late: [UInt64] = []
    /// The own OpenSession that has no result.
    private var opening: Command?
    /// Facts of sessions that are closed, in their order.
    private var facts: [Command] = []
    /// So many of `facts` were handed out on this way.
    private var factsSent = 0
    private var isOpeningSent = false
    /// The CloseSession: goes when nothing else is without a result.
    private var closing: (command: Command, number: UInt64)?
    private var isClosingSent = false

    mutating func add(_ command: Command, number: UInt64) {
        if case .closeSession = command.action {
            self.closing = (command, number)
            return
        }
        self.items.insert(command, at: number)
        if number <= self.handed { self.late.append(number) }
    }

    mutating func add(fact command: Command) { self.facts.append(command) }

    mutating func open(_ command: Command) {
        self.opening = command
        self.isOpeningSent = false
    }

    /// Commands go another way from now on.
    mutating func turn(to way: Way) {
        guard way != self.way else { return }
        self.way = way
        self.sendAgain()
    }

    /// What was handed out may not have arrived.
    mutating func sendAgain() {
        self.handed = 0
        self.late = []
        self.factsSent = 0
        self.isOpeningSent = false
        self.isClosingSent = false
    }

    /// The next command to hand over: facts of old sessions first, then the new session, so that
    /// what is known of old leases is in the log before anybody is given them. It stays the next
    /// one until `handedOver`.
    mutating func next() -> Command? {
        guard self.way != .none else { return nil }
        if self.factsSent < self.facts.count { return self.facts[self.factsSent] }
        if let opening = self.dueOpening { return opening }
        while let number = self.late.first {
            if let command = self.items[number] { return command }
            self.late.removeFirst()
        }
        let numbers = self.items.numbers
        self.handed = max(self.handed, numbers.lowerBound - 1)
        while self.handed + 1 < numbers.upperBound {
            if let command = self.items[self.handed + 1] { return command }
            self.handed += 1
        }
        return self.dueClosing
    }

    /// Facts are in the log before it is handed over, not only sent: a leader may decline one and
    /// take what comes behind it.
    private var dueOpening: Command? {
        self.facts.isEmpty && !self.isOpeningSent ? self.opening : nil
    }

    /// Behind the results of all others, not only behind their sending: 1 A leader that is not
    /// ready declines an outcome. 2 It is ready, takes the CloseSession, and all leases are free at
    /// once. 3 Another node delivers what that outcome would have ended, and nobody counts it.
    private var dueClosing: Command? {
        guard let closing, !self.isClosingSent, self.facts.isEmpty,
            self.items.numbers.allSatisfy({ self.items[$0] == nil })
        else { return nil }
        return closing.command
    }

    /// A fact with this number is on its way.
    func hasFact(_ tag: Tag) -> Bool { self.facts.contains { $0.tag == tag } }

    /// What `next` gave is on its way.
    mutating func handedOver() {
        if self.factsSent < self.facts.count {
            self.factsSent += 1
        } else if self.dueOpening != nil {
            self.isOpeningSent = true
        } else if !self.late.isEmpty {
            self.late.removeFirst()
        } else if self.dueClosing != nil {
            self.isClosingSent = true
        } else {
            self.handed += 1
        }
    }

    /// The command of the own session with this number has its result.
    mutating func resolve(_ number: UInt64) {
        _ = self.items.remove(number)
        if self.closing?.number == number { self.closing = nil }
    }

    /// A fact of a closed session is in the log.
    mutating func resolveFact(_ origin: Origin) {
        let tag = Tag(session: origin.session, sequence: origin.sequence)
        while let place = self.facts.firstIndex(where: { $0.tag == tag }) {
            self.facts.remove(at: place)
            if place < self.factsSent { self.factsSent -= 1 }
        }
    }

    mutating func opened() { self.opening = nil }

    /// The OpenSession that has no result.
    var openingSession: OpenSession? {
        if case .openSession(let open)? = self.opening?.action { open } else { nil }
    }

    func command(_ number: UInt64) -> Command? {
        self.closing?.number == number ? self.closing?.command : self.items[number]
    }

    /// The numbers of the own session's commands without a result, ascending.
    var waiting: [UInt64] {
        let numbers = self.items.numbers.filter { self.items[$0] != nil }
        guard let closing else { return numbers }
        return (numbers + [closing.number]).sorted()
    }

    /// Something has no result: a command, or a fact of a closed session.
    var owes: Bool { !self.facts.isEmpty || !self.waiting.isEmpty }

    /// The own session is closed: what is a fact stays to be said, the rest has no effect any more.
    mutating func close() {
        for number in self.items.numbers {
            if let command = self.items[number], command.isFact { self.facts.append(command) }
        }
        self.items.removeAll()
        self.closing = nil
        self.isClosingSent = false
        self.handed = 0
        self.late = []
    }
}

extension Command {
    /// Taken from closed sessions too.
    var isFact: Bool {
        switch self.action {
        case .outcome, .cancel: true
        case .openSession, .closeSession, .expireSession, .enqueue, .release, .grant, .suspend,
            .clearSuspension, .report, .waiveReport, .admin, .expire, .bodyLost, .tick, .settings,
            .drain, .replicaAdded, .replicasLost, .removeNode, .admit, .wish:
            false
        }
    }

    /// Only a leader may author it: nobody else's is taken.
    var isLeaders: Bool {
        switch self.action {
        case .expireSession, .grant, .expire, .tick, .settings, .removeNode, .admit: true
        case .openSession, .closeSession, .enqueue, .outcome, .release, .suspend,
            .clearSuspension, .cancel, .report, .waiveReport, .admin, .bodyLost, .drain,
            .replicaAdded, .replicasLost, .wish:
            false
        }
    }
}
