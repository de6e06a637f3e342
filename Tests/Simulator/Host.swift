// Host.swift - one machine: a name, a disk, a clock, and at most one process with one member.
//
// Seam      `replica` and `state` are the node. A whole node takes their place with its own
//           actions; disk, clock, life and network stay.

import Primitives
import Raft

final class Host {
    /// What is committed and waits for the state machine.
    struct Batch {
        var entries: [Entry]
        var done: Int
        var applied: Applied
    }

    /// What was last seen of the process.
    struct Seen {
        var term: UInt64 = 0
        var commit: UInt64 = 0
        var role = Role.follower
    }

    let index: Int
    var member: MemberID
    var disk: Disk
    /// Nil: no process runs.
    var replica: Replica?
    /// Counts lives of the process: what belonged to an earlier one is void.
    var epoch: UInt32 = 0
    var isPaused = false
    var pausedAt: Int64 = 0
    /// The clock went on while the process did not.
    var isSuspended = false
    /// Events that wait for a paused process.
    var held: [Event] = []
    var tickNanos: Int64

    var state: Register
    var configuration: Configuration
    /// The state came as a whole up to here in this life.
    var wholeUpTo: UInt64 = 0
    var batches = RingBuffer<Batch>()
    var isApplying = false
    var actions: [Replica.Action] = []
    var isTurnDue = false
    var isOfferDue = false
    var readable: [ReadState] = []
    var lastTicket: UInt64 = 0

    var seen = Seen()
    /// Own ticks, and at which of them each member was last heard.
    var ticks: UInt64 = 0
    var heard: [UInt64]
    /// The quorum may be counted from here on.
    var contactFloor: UInt64 = 0
    /// The failing write was chosen: the process starts again soon.
    var isUnlucky = false
    /// The disk is lost; a new member comes.
    var isLost = false

    init(index: Int, member: MemberID, disk: Disk, tickNanos: Int64) {
        self.index = index
        self.member = member
        self.disk = disk
        self.state = disk.current.state
        self.configuration = disk.current.configuration
        self.heard = Array(repeating: 0, count: World.idsMax)
        self.tickNanos = tickNanos
        self.actions.reserveCapacity(16)
    }

    var isRunning: Bool { self.replica != nil }
    var isLeading: Bool { self.replica?.raft.role == .leader }

    /// Memory goes with the process.
    ///
    /// - Returns: what had reached the machine and was not taken yet.
    func forget() -> [Event] {
        var lost: [Event] = []
        swap(&lost, &self.held)
        self.replica = nil
        self.epoch += 1
        self.isPaused = false
        self.batches = RingBuffer()
        self.isApplying = false
        self.isTurnDue = false
        self.isOfferDue = false
        self.readable.removeAll()
        self.lastTicket = 0
        self.seen = Seen()
        return lost
    }
}
