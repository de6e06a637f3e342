// SessionKeeper.swift - the leader's half of the sessions: renewals answered, silence ended.
//
// Takes     renewals as they come in; proofs that this node led after they came; what is applied.
// Gives     answers, which give a node time to hold its leases; sessions whose time is over.
// Order     a renewal is answered only if 1 a round of the quorum that began after it came was
//           answered, 2 an entry of the own term is applied, 3 the session is open on that state,
//           4 nothing in the log will close it. Who has proposed an expiry answers that session
//           never again. So a session that could be closed by anybody gets no more time.
// Limits    T and the drift of clocks (LeaseClock); `SessionKeeper.askedMax` renewals wait.
// See       LeaseClock (the node's half), Docs/Invariants.md 6.

import MailQueue
import Primitives
import Raft

struct SessionKeeper {
    /// Renewals that wait for a proof; those beyond are not answered: the next one comes soon.
    static let askedMax = 4096

    /// A renewal that is to be answered.
    struct Renewal: Equatable {
        var from: MemberID
        var session: SessionID
        /// The sender's own clock, given back as it came.
        var sentAt: Int64
    }

    private struct Guest {
        var session: SessionID
        /// 1.05 T.
        var limit: Duration
        var heardAt: Instant
    }

    /// The term in which this node keeps the sessions; 0: it does not.
    private(set) var term: UInt64 = 0
    /// Ascending.
    private var guests: [Guest] = []
    /// Came since the last proof was asked for.
    private var asked: [Renewal] = []
    /// Wait for the proof with this number.
    private var proving: (read: UInt64, renewals: [Renewal])?
    /// Proven; wait until their index is applied.
    private var proven: [(index: UInt64, renewals: [Renewal])] = []
    private var lastRead: UInt64 = 0
    /// Entries of the own log that are not applied and may close these sessions, in their order.
    /// They outlive the end of the term: the entry may be committed by another.
    private var closings: [(index: UInt64, term: UInt64, session: SessionID)] = []

    /// This node leads in `term` and has applied an entry of it: T begins anew for all sessions,
    /// whose renewals another leader may have answered just now.
    ///
    /// - Parameter sessions: that are open, with the leader's count of their T.
    mutating func begin(
        term: UInt64, _ sessions: [(session: SessionID, limit: Duration)], now: Instant
    ) {
        self.reset(term)
        // With an entry of this term all that came before it is applied. So an older one that is
        // not has been replaced: nothing would ever take it out, and its session would be neither
        // answered nor ended.
        self.closings.removeAll { $0.term < term }
        self.guests = sessions.sorted { $0.session < $1.session }
            .map { Guest(session: $0.session, limit: $0.limit, heardAt: now) }
    }

    private mutating func reset(_ term: UInt64) {
        self.term = term
        self.guests = []
        self.asked = []
        self.proving = nil
        self.proven = []
    }

    /// This node does not lead any more.
    mutating func end() {
        guard self.term != 0 else { return }
        self.reset(0)
    }

    mutating func opened(_ session: SessionID, limit: Duration, now: Instant) {
        guard self.term != 0, self.place(session) == nil else { return }
        self.guests.append(Guest(session: session, limit: limit, heardAt: now))
        self.guests.sort { $0.session < $1.session }
    }

    mutating func closed(_ session: SessionID) { self.guests.removeAll { $0.session == session } }

    /// The entry at `index` of the own log may close the session.
    mutating func closes(_ session: SessionID, at index: UInt64, term: UInt64) {
        self.closings.append((index, term, session))
    }

    /// Everything up to `index` is applied: what was to close has closed, or had no effect.
    mutating func applied(_ index: UInt64) {
        guard let first = self.closings.first, first.index <= index else { return }
        self.closings.removeAll { $0.index <= index }
    }

    private func isClosing(_ session: SessionID) -> Bool {
        self.closings.contains { $0.session == session }
    }

    private func place(_ session: SessionID) -> Int? {
        self.guests.firstIndex { $0.session == session }
    }

    /// A renewal came.
    mutating func renew(_ renewal: Renewal, now: Instant) {
        guard self.term != 0, let place = self.place(renewal.session),
            !self.isClosing(renewal.session), self.asked.count < Self.askedMax
        else { return }
        self.guests[place].heardAt = max(self.guests[place].heardAt, now)
        self.asked.append(renewal)
    }

    /// The number of the proof to ask for now; nil: nothing waits, or one is under way.
    mutating func read() -> UInt64? {
        guard self.proving == nil, !self.asked.isEmpty else { return nil }
        self.lastRead += 1
        self.proving = (self.lastRead, self.asked)
        self.asked = []
        return self.lastRead
    }

    /// The proof came to nothing: ask again.
    mutating func unproven() {
        guard let proving else { return }
        self.asked = proving.renewals + self.asked
        self.proving = nil
    }

    /// This node led when the proof `read` was asked for, or later; `index` was committed then.
    mutating func prove(_ read: UInt64, index: UInt64) {
        guard let proving, proving.read == read else { return }
        self.proving = nil
        self.proven.append((index, proving.renewals))
    }

    /// Renewals that may be answered on the state at `applied`.
    mutating func answers(applied: UInt64, isOpen: (SessionID) -> Bool) -> [Renewal] {
        var answers: [Renewal] = []
        while let first = self.proven.first, first.index <= applied {
            self.proven.removeFirst()
            for renewal in first.renewals {
                guard self.place(renewal.session) != nil, !self.isClosing(renewal.session),
                    isOpen(renewal.session)
                else { continue }
                answers.append(renewal)
            }
        }
        return answers
    }

    /// Sessions of which nothing was heard for 1.05 T, and whose end is not in the log: it is to be
    /// proposed.
    func overdue(now: Instant) -> [SessionID] {
        self.guests.filter { now - $0.heardAt >= $0.limit && !self.isClosing($0.session) }
            .map(\.session)
    }
}
