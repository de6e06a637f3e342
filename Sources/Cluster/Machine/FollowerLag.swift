// FollowerLag.swift - how far behind the leader its followers have what it appends on their disks.
//
// Takes     the leader's appends, and what followers have acknowledged; ticks of 20 ms.
// Gives     times from the leader's append to each follower's acknowledgement, of one append at a
//           time: at most fifty a second for each follower, whatever the load.
// Limits    one mark; who does not acknowledge it for `ticksMax` is counted with that time.
// See       `posthouse_follower_lag_seconds`.

import Primitives
import Raft

struct FollowerLag {
    private struct Mark {
        var index: UInt64
        var at: Instant
        var waits: [MemberID]
        var ticks = 0
    }

    private var mark: Mark?
    private var isDue = false
    /// After a second the mark is told as it is, and another one set.
    private static let ticksMax = 50

    var isMarked: Bool { self.mark != nil }
    /// Whether the next append is to be marked.
    var wantsMark: Bool { self.isDue && self.mark == nil }

    /// Gives the times of those that have not acknowledged for too long.
    mutating func tick(_ now: Instant) -> (age: Duration, count: Int)? {
        self.isDue = true
        guard var mark else { return nil }
        mark.ticks += 1
        self.mark = mark
        guard mark.ticks >= Self.ticksMax else { return nil }
        self.mark = nil
        return (now - mark.at, mark.waits.count)
    }

    /// The leader has appended up to `index`, which `followers` are to store.
    mutating func appended(_ index: UInt64, _ followers: [MemberID], at now: Instant) {
        self.isDue = false
        if !followers.isEmpty { self.mark = Mark(index: index, at: now, waits: followers) }
    }

    /// A follower has stored up to `index`.
    mutating func acknowledged(
        _ follower: MemberID, _ index: UInt64, at now: Instant
    ) -> Duration? {
        guard var mark, index >= mark.index,
            let place = mark.waits.firstIndex(of: follower)
        else { return nil }
        mark.waits.remove(at: place)
        self.mark = mark.waits.isEmpty ? nil : mark
        return now - mark.at
    }

    /// It leads no more.
    mutating func end() { self = FollowerLag() }
}
