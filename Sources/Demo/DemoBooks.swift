// DemoBooks.swift - the ledger, as load, sink and demo share it.
//
// Threads   any; everything is under one lock.

import Console
import Primitives
import Synchronization

final class DemoBooks: Sendable {
    private struct State: Sendable {
        var ledger = DemoLedger()
        /// 5xx answers; the first one is said.
        var refused = 0
        var isFullSaid = false
        /// Ids that a node had at the end.
        var queued: Set<String> = []
    }

    private let run: UInt64
    private let terminal: Terminal
    private let state = Mutex(State())

    init(run: UInt64, terminal: Terminal) {
        self.run = run
        self.terminal = terminal
    }

    func draw() -> Int? {
        let (number, isNew) = self.state.withLock { state in
            let number = state.ledger.draw()
            defer { state.isFullSaid = number == nil }
            return (number, number == nil && !state.isFullSaid)
        }
        if isNew { self.terminal.tell("the ledger is full: no more load") }
        return number
    }

    func note(_ attempt: DemoAttempt) {
        switch attempt {
        case .accepted(let mail, let id):
            self.state.withLock { $0.ledger.accept(mail.number, id: id) }
        case .again: break
        case .refused(_, let reply):
            let isFirst = self.state.withLock { state in
                state.refused += 1
                return state.refused == 1
            }
            if isFirst { self.terminal.tell("a node refused mail for good: \(reply)") }
        }
    }

    func arrived(_ arrival: DemoArrival) {
        switch arrival {
        case .marked(let mark):
            if mark.run != self.run { return }
            self.state.withLock { $0.ledger.arrive(mark.number, attempt: mark.attempt) }
        case .other(let from, let to, let subject):
            self.terminal.tell(
                "arrived at the sink: from <\(from)> to "
                    + "\(to.map { "<\($0)>" }.joined(separator: ", ")): "
                    + "\(subject.debugDescription)")
        }
    }

    /// Accepted and delivered so far.
    var counts: (accepted: Int, delivered: Int, duplicates: Int) {
        self.state.withLock {
            ($0.ledger.accepted, $0.ledger.delivered, $0.ledger.duplicates)
        }
    }

    /// Accepted, and not arrived.
    var missing: Int { self.state.withLock { $0.ledger.missing.count } }

    /// What a node still has at the end is late, not lost.
    func note(queued: Set<String>) { self.state.withLock { $0.queued = queued } }

    var lost: Int { self.state.withLock { $0.ledger.lost(queued: $0.queued) } }

    var line: String {
        self.state.withLock { $0.ledger.line(lost: $0.ledger.lost(queued: $0.queued)) }
    }

    /// Says what the last line leaves open.
    ///
    /// - Parameter possible: what the nodes say may have been sent twice.
    func explain(possible: Int) {
        let (ledger, late, refused) = self.state.withLock { state in
            let late = state.ledger.missing.count - state.ledger.lost(queued: state.queued)
            return (state.ledger, late, state.refused)
        }
        if late > 0 { self.terminal.tell("\(late) accepted messages are still queued") }
        if refused > 0 { self.terminal.tell("\(refused) messages were refused for good") }
        if ledger.duplicates == 0 { return }
        self.terminal.tell(
            "of \(ledger.duplicates) duplicates the client sent \(ledger.sentAgain) again, as it "
                + "had no answer; the nodes counted \(possible) deliveries that may repeat")
    }
}
