// Fault.swift - what befalls a cluster under load, and what must be seen meanwhile.

/// One kind; which node it meets is drawn, unless the name says it.
enum Fault: String, CaseIterable, Sendable {
    case killLeader, killFollower
    /// Two of three, one after the other, the cluster whole in between.
    case killTwo
    /// Longer than a session lives (T = 4 s).
    case pauseLeader, pauseFollower

    /// Cut off from its peers, while clients and the sink reach it.
    case isolateLeader, isolateFollower
    /// Its peers hear nothing from it; what they send arrives.
    case muteLeader, muteFollower
    /// It hears nothing from its peers; what it sends arrives.
    case deafLeader, deafFollower
    /// Between two followers, in one direction.
    case oneWayLink
    /// Leader and a follower do not reach each other, and both reach the third.
    case bridge
    /// The followers do not reach each other, and both reach the leader.
    case followersCut
    /// A follower behind a thin line, behind one that loses packets.
    case thinLink, lossyLink
    /// Of leader and a follower: one connection passes nothing, the other one everything.
    case cutBulk, cutControl
    /// Power fails: no packet leaves it any more, so no connection of its is reset.
    case vanishLeader, vanishFollower

    /// Each sync takes 300 ms longer.
    case slowDiskLeader, slowDiskFollower
    /// No write and no sync ends.
    case hungDiskLeader, hungDiskFollower
    /// Not a block is free.
    case fullDiskLeader, fullDiskFollower
    /// A sync fails and what was not synced is gone: the disk is kept, or is another.
    case syncErrorKept, syncErrorWiped
    /// `kill -9`, and the machine comes back with an empty disk.
    case wipeLeader, wipeFollower

    /// The wall clock jumps by a year; by an hour, back.
    case clockAhead, clockBack

    /// Each in turn, by SIGTERM.
    case restartAll
    case drainLeader, drainFollower, transferLeader

    /// Whether it takes less than 15 s on a machine of two processors, so that it is met each time.
    var isShort: Bool {
        switch self {
        case .killLeader, .killFollower, .pauseLeader, .pauseFollower, .isolateLeader,
            .isolateFollower, .vanishLeader, .vanishFollower, .hungDiskLeader, .hungDiskFollower,
            .slowDiskLeader, .slowDiskFollower, .wipeFollower, .restartAll, .transferLeader:
            true
        case .killTwo, .muteLeader, .muteFollower, .deafLeader, .deafFollower, .oneWayLink,
            .bridge, .followersCut, .thinLink, .lossyLink, .cutBulk, .cutControl, .fullDiskLeader,
            .fullDiskFollower, .syncErrorKept, .syncErrorWiped, .wipeLeader, .clockAhead,
            .clockBack, .drainLeader, .drainFollower:
            false
        }
    }

    /// Whether the other nodes must go on as if nothing were: no refusal, and no more than 2 s
    /// between two `250` to one client. A leader's fault may cost an election.
    var isUnnoticed: Bool {
        switch self {
        case .killFollower, .pauseFollower, .isolateFollower, .muteFollower, .deafFollower,
            .oneWayLink, .bridge, .followersCut, .thinLink, .lossyLink, .cutBulk, .cutControl,
            .vanishFollower, .slowDiskFollower, .hungDiskFollower, .fullDiskFollower,
            .wipeFollower, .drainFollower, .transferLeader:
            true
        case .killLeader, .killTwo, .pauseLeader, .isolateLeader, .muteLeader, .deafLeader,
            .vanishLeader, .slowDiskLeader, .hungDiskLeader, .fullDiskLeader, .syncErrorKept,
            .syncErrorWiped, .wipeLeader, .clockAhead, .clockBack, .restartAll, .drainLeader:
            false
        }
    }

    /// Whether it can be met without root: on loopback, with proxies on the links.
    var isForAll: Bool {
        switch self {
        case .muteLeader, .muteFollower, .deafLeader, .deafFollower, .oneWayLink, .bridge,
            .followersCut, .thinLink, .lossyLink, .cutBulk, .cutControl, .vanishLeader,
            .vanishFollower, .fullDiskLeader, .fullDiskFollower:
            false
        case .killLeader, .killFollower, .killTwo, .pauseLeader, .pauseFollower, .isolateLeader,
            .isolateFollower, .slowDiskLeader, .slowDiskFollower, .hungDiskLeader,
            .hungDiskFollower, .syncErrorKept, .syncErrorWiped, .wipeLeader, .wipeFollower,
            .clockAhead, .clockBack, .restartAll, .drainLeader, .drainFollower, .transferLeader:
            true
        }
    }
}
