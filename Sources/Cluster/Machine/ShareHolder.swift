// ShareHolder.swift - the node's half of the shares: which table holds.
//
// Takes     answers of the leader, the end of the lease time.
// Gives     the table that the node goes by, and what it says of it in its renewals.
// Never     a table of a leader that a later one was asked after: what was said to the later one
//           would not be true any more. Nor one whose renewal has lapsed: it may have been under
//           way while the shares were given to others.
// See       ShareDealer, Docs/Decisions/0021.

package import MailQueue
package import Primitives

package struct ShareHolder: Sendable {
    package private(set) var table = ShareTable()
    /// To which session and by whose leader the table was dealt, and its number among those; 0:
    /// none.
    private var session = SessionID.none
    private var term: UInt64 = 0
    private var number: UInt64 = 0
    /// The latest term whose leader was asked.
    private var askedTerm: UInt64 = 0

    package init() {}

    /// The leader of `term` is being asked: tables of earlier ones are not taken any more.
    ///
    /// - Returns: the number of the table that it dealt to this session, and that holds; 0: none.
    package mutating func ask(_ session: SessionID, term: UInt64) -> UInt64 {
        self.askedTerm = max(self.askedTerm, term)
        return term == self.term && session == self.session ? self.number : 0
    }

    /// An answer to a renewal of the own session.
    ///
    /// - Returns: another table holds now.
    package mutating func take(
        _ answer: RenewalAnswer, _ timing: SessionTiming, now: Instant
    ) -> Bool {
        let end = answer.sentAt + timing.holderTerm
        guard answer.deal != 0, answer.term == self.askedTerm, now < end,
            answer.term > self.term || answer.session != self.session
                || answer.deal > self.number,
            let table = ShareTable(checked: answer.base, answer.shares)
        else { return false }
        self.session = answer.session
        self.term = answer.term
        self.number = answer.deal
        self.table = table
        return true
    }

    /// The lease time is over, or the session has closed: nothing may be opened.
    package mutating func lapse() {
        self.number = 0
        self.table = ShareTable()
    }
}
