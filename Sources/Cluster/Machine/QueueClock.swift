// QueueClock.swift - where queue time comes from: the last stamp plus what has passed since.
//
// Takes     readings of CLOCK_BOOTTIME; once, at a start, the difference of the wall clocks.
// Gives     the stamp of the next entry; never less than the last, never more than 60 s ahead.
// See       NodeMachineClock (whether a stop counts), Docs/Operations.md, "clock".

package import MailQueue
package import Primitives

/// What a driver reads when something happens.
package struct Clocks: Equatable, Sendable {
    /// CLOCK_BOOTTIME.
    package var now: Instant
    /// For people, and for going on after a full stop.
    package var wall: WallTime
    package init(now: Instant, wall: WallTime) {
        self.now = now
        self.wall = wall
    }
}

/// The leader's stamp for log entries.
package struct QueueClock: Sendable {
    /// The longest step between two entries: a machine that slept does not expire mail at once.
    package static let stepMax = Duration.seconds(60)
    /// The longest stop that queue time makes up for by the wall clock.
    package static let stopMax = Duration.seconds(86_400)
    /// Wall clocks that are at most this far apart agree.
    package static let agreementMax = Duration.seconds(60)

    /// Whether a wall clock that is ahead of another by `difference`, or behind it, agrees with it.
    package static func agrees(_ difference: Duration) -> Bool {
        max(difference, .zero - difference) <= Self.agreementMax
    }

    private var last: QueueTime
    private var lastRead: Instant
    /// The newest stamp that is known, while `last` is ahead of it by the word of this node's wall
    /// clock alone, or not ahead since that has gone back; nil: that clock has nothing to say.
    private var guessedFrom: QueueTime?
    /// How long the stop was is not known: that it was none is the guess.
    private let isBlind: Bool

    /// Goes on from `last`, the stamp of the newest entry. Where others have gone on meanwhile,
    /// their first newer stamp counts instead: a wall clock that is wrong must not carry a cluster
    /// that never stood still into another day. Where nobody has, behind a stop of all, who leads
    /// asks the others' wall clocks first, and may `dropGuess`.
    ///
    /// - Parameter stopped: how long the node stood still by the wall clock; what is negative or
    ///   above `stopMax` counts as nothing and as `stopMax`; nil: there is no telling.
    package init(last: QueueTime, stopped: Duration?, now: Instant) {
        self.last = last + min(max(.zero, stopped ?? .zero), Self.stopMax)
        self.isBlind = stopped == nil
        self.lastRead = now
        self.guessedFrom = stopped == .zero ? nil : last
    }

    /// Whether the next stamp would count a stop by the word of this node's wall clock alone.
    package var isGuessed: Bool { self.guessedFrom != nil }

    /// And no clock can say whether it is right.
    package var isBlindGuess: Bool { self.isGuessed && self.isBlind }

    /// The wall clock is not to be believed: goes on from where the known stamps stood.
    package mutating func dropGuess() {
        guard let known = self.guessedFrom else { return }
        self.last = known
        self.guessedFrom = nil
    }

    /// Queue time at `now`, without using it up.
    package func reading(at now: Instant) -> QueueTime {
        self.last + min(max(.zero, now - self.lastRead), Self.stepMax)
    }

    /// An entry with this stamp is applied at `now`: who follows keeps up with the leader's time.
    package mutating func observe(_ stamp: QueueTime, at now: Instant) {
        if let known = self.guessedFrom {
            guard stamp > known else { return }
            self.guessedFrom = nil
        } else if stamp <= self.last {
            return
        }
        self.last = stamp
        self.lastRead = now
    }

    /// The stamp of an entry that is proposed at `now`.
    package mutating func stamp(at now: Instant) -> QueueTime {
        let stamp = self.reading(at: now)
        self.guessedFrom = nil
        // Whole milliseconds only are used up, so that many entries a millisecond lose no time.
        let used = stamp - self.last
        self.last = stamp
        self.lastRead = now - self.lastRead > Self.stepMax ? now : self.lastRead + used
        return stamp
    }
}
