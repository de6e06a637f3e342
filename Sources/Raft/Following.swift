// Following.swift - a follower's log: appends, refusals with a hint, snapshots.
//
// Standard  thesis 3.5 (consistency check; conflicts), 5 (snapshots), 4.1.
// Durable   every answer waits for the store of what it promises.

import Primitives

extension Raft {
    /// Entries of the leader.
    mutating func follow(
        _ leader: MemberID, previous: LogPosition, entries: [Entry], commit: UInt64
    ) throws(StepError) {
        try self.checkCommitted(previous, entries)
        if previous.index < self.log.committed {
            // All up to the commit index is as the leader has it.
            self.send(.appended(index: self.log.committed), to: leader)
            return
        }
        guard self.log.matches(previous) else {
            let meeting = self.log.meeting(
                at: min(previous.index, self.log.lastIndex), term: previous.term)
            self.send(.appendRejected(index: previous.index, hint: meeting), to: leader)
            return
        }
        let last = self.log.merge(entries, behind: previous.index)
        // Only what this message vouches for: behind it the log may be another leader's.
        self.log.commit(to: min(commit, last))
        self.send(.appended(index: last), to: leader)
    }

    /// Who denies what is committed here has lost its word, or this member has.
    private func checkCommitted(
        _ previous: LogPosition, _ entries: [Entry]
    ) throws(StepError) {
        guard previous.index < self.log.committed else { return }
        for position in [previous] + entries.map(\.position) {
            guard position.index <= self.log.committed else { return }
            guard let term = self.log.term(at: position.index) else { continue }
            guard term == position.term else {
                throw .contradiction("entries against what is committed")
            }
        }
    }

    /// - Returns: whether the snapshot replaces the log.
    mutating func restore(_ snapshot: Snapshot) -> Bool {
        guard snapshot.position.index > self.log.committed else { return false }
        // One that does not know this member is not for it.
        guard snapshot.configuration.contains(self.id) else { return false }
        if self.log.matches(snapshot.position) {
            // The log goes as far: only the news that it is committed is new.
            self.log.commit(to: snapshot.position.index)
            return false
        }
        self.log.restore(snapshot)
        self.membership = Membership(
            snapshot.configuration, lastIndex: self.log.lastIndex,
            window: InFlight(
                messagesMax: self.options.inFlightMessagesMax,
                bytesMax: self.options.inFlightBytesMax))
        return true
    }
}
