// Progress.swift - what the leader knows of one follower's log, and how it sends to it.
//
// Standard  thesis 3.5 (matchIndex, nextIndex), 10.2.1 (pipelining); flow as etcd's core has it:
//           probe (one append at a time until the place is found), replicate (optimistic, a
//           window of appends), snapshot (nothing until it is installed).

import Primitives

/// One member as the leader sees it.
package struct Progress: Hashable, Sendable {
    package enum State: UInt8, Hashable, Sendable {
        case probe
        case replicate
        case snapshot
    }

    /// The member has stored everything up to here, as the leader's log has it.
    package var match: UInt64
    /// The next entry to send.
    package var next: UInt64
    package var state = State.probe
    package var isLearner: Bool
    /// Heard of since the last check of the quorum.
    package var isRecentlyActive = false
    /// Of the snapshot that is on its way; 0 none.
    package var pendingSnapshot: UInt64 = 0
    package var inFlight: InFlight
    /// The newest round of reads that it has answered.
    package var round: UInt64 = 0
    /// Nothing more is sent until it answers or a heartbeat passes.
    var isFlowPaused = false
    /// The greatest commit index that was sent to it, as far as it may know the entries.
    var sentCommit: UInt64 = 0

    package init(match: UInt64, next: UInt64, isLearner: Bool, inFlight: InFlight) {
        self.match = match
        self.next = next
        self.isLearner = isLearner
        self.inFlight = inFlight
    }

    /// Whether appends wait.
    package var isPaused: Bool {
        switch self.state {
        case .probe, .replicate: self.isFlowPaused
        case .snapshot: true
        }
    }

    private mutating func reset(_ state: State) {
        self.isFlowPaused = false
        self.pendingSnapshot = 0
        self.state = state
        self.inFlight.removeAll()
    }

    /// Finds out again where the logs meet; behind a snapshot that was sent, if there was one.
    mutating func becomeProbe() {
        let snapshot = self.state == .snapshot ? self.pendingSnapshot : 0
        self.reset(.probe)
        self.next = max(self.match, snapshot) + 1
        self.sentCommit = min(self.sentCommit, self.next - 1)
    }

    mutating func becomeReplicate() {
        self.reset(.replicate)
        self.next = self.match + 1
    }

    mutating func becomeSnapshot(at index: UInt64) {
        self.reset(.snapshot)
        self.pendingSnapshot = index
        self.next = index + 1
        self.sentCommit = index
    }

    /// An append with `count` entries leaves.
    mutating func sent(count: Int, dataBytes: UInt64) {
        switch self.state {
        case .replicate:
            if count > 0 {
                self.next += UInt64(count)
                self.inFlight.add(self.next - 1, bytes: dataBytes)
            }
            // A full window, or an empty append into one, is a probe: wait for its answer.
            self.isFlowPaused = self.inFlight.isFull
        case .probe: if count > 0 { self.isFlowPaused = true }
        case .snapshot: unreachable("an append to a follower that waits for a snapshot")
        }
    }

    mutating func sent(commit: UInt64) { self.sentCommit = commit }

    /// Whether telling it of `commit` can advance what it knows.
    func canLearn(commit: UInt64) -> Bool {
        commit > self.sentCommit && self.sentCommit < self.next - 1
    }

    /// It has stored up to `index`. False: that was known.
    mutating func advance(to index: UInt64) -> Bool {
        guard index > self.match else { return false }
        self.match = index
        self.next = max(self.next, index + 1)
        self.isFlowPaused = false
        return true
    }

    /// It has refused an append behind `rejected` and may match at `hint`. False: the refusal is
    /// an old one.
    mutating func retreat(rejected: UInt64, hint: UInt64) -> Bool {
        if self.state == .replicate {
            guard rejected > self.match else { return false }
            self.next = self.match + 1
            self.sentCommit = min(self.sentCommit, self.next - 1)
            return true
        }
        // A probe is out for one place only: `next - 1`.
        guard self.next - 1 == rejected else { return false }
        self.next = max(min(rejected, hint + 1), self.match + 1)
        self.sentCommit = min(self.sentCommit, self.next - 1)
        self.isFlowPaused = false
        return true
    }
}

/// The window of appends that a follower has not answered: a ring of their last indexes.
package struct InFlight: Hashable, Sendable {
    private struct Item: Hashable {
        var index: UInt64
        var bytes: UInt64
    }

    private var ring: [Item] = []
    private var head = 0
    package private(set) var count = 0
    private var bytes: UInt64 = 0
    private let messagesMax: Int
    private let bytesMax: UInt64

    /// - Parameter bytesMax: 0: no limit.
    package init(messagesMax: Int, bytesMax: UInt64) {
        self.messagesMax = messagesMax
        self.bytesMax = bytesMax
    }

    package var isFull: Bool {
        self.count == self.messagesMax || (self.bytesMax != 0 && self.bytes >= self.bytesMax)
    }

    mutating func add(_ index: UInt64, bytes: UInt64) {
        invariant(!self.isFull, "a window has a limit")
        if self.count == self.ring.count { self.grow() }
        var place = self.head + self.count
        if place >= self.ring.count { place -= self.ring.count }
        self.ring[place] = Item(index: index, bytes: bytes)
        self.count += 1
        self.bytes += bytes
    }

    /// All up to `index` are answered.
    mutating func free(upTo index: UInt64) {
        while self.count > 0, self.ring[self.head].index <= index {
            self.bytes -= self.ring[self.head].bytes
            self.head = self.head + 1 == self.ring.count ? 0 : self.head + 1
            self.count -= 1
        }
        if self.count == 0 { self.head = 0 }
    }

    mutating func removeAll() {
        self.count = 0
        self.head = 0
        self.bytes = 0
    }

    private mutating func grow() {
        var larger: [Item] = []
        larger.reserveCapacity(max(8, self.ring.count * 2))
        for i in 0..<self.count { larger.append(self.ring[(self.head + i) % self.ring.count]) }
        let capacity = min(max(8, self.ring.count * 2), self.messagesMax)
        while larger.count < capacity { larger.append(Item(index: 0, bytes: 0)) }
        self.ring = larger
        self.head = 0
    }
}
