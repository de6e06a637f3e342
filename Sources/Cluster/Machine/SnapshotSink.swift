// SnapshotSink.swift - a member's half of a snapshot: what is taken, checked, put in place, when.
//
// Takes     offers, pieces and ends of a leader; what became of space, writes, the check, the
//           placing; what the core wants stored; ticks.
// Gives     what is answered and done next; what the core may take (`readySnapshot`).
// Order     1 an offer of the leader that is ahead of what is committed here: space is taken.
//           2 Pieces in their order, each answered when it is written. 3 All of it is checked and
//           read; only then the core may take it. 4 The core asks to have it stored: from then on
//           it is dropped for nothing, no other is taken, and what the core stores waits behind it
//           until it is current. 5 It replaces the queue when the journal has synced that.
// Never     a state that goes back: the core takes none that is not ahead of what is committed
//           here. Files, disks, clocks: the drivers in Cluster and in the node simulator.
// Limits    one at a time; `windowMax` bytes that are not written yet; `SnapshotLimits.silence`.
// See       SnapshotSource (the other half), NodeInstall, NodeMachine.install.

package import Primitives
package import Raft
package import Spool

package struct SnapshotSink: Sendable {
    /// Bytes that a sender may have on the way beyond what is written.
    package static let windowMax: UInt64 = 32 << 20

    /// A snapshot on its way in.
    package struct Receiving: Sendable {
        package let holder: Holder
        package let offer: SnapshotOffer
        /// False: space is being taken for it.
        package fileprivate(set) var hasSpace = false
        /// Handed to the disk.
        package fileprivate(set) var received: UInt64 = 0
        package fileprivate(set) var written: UInt64 = 0
        package fileprivate(set) var isChecking = false
        fileprivate var heardAt: Instant
    }

    /// A snapshot that is whole, checked and read.
    package struct Prepared: Sendable {
        let id: UInt64
        let holder: Holder
        package let snapshot: Snapshot
    }

    package enum Offered: Equatable, Sendable {
        case answer(SnapshotVerdict, taken: UInt64)
        /// It is being worked on: answered then.
        case wait
        /// What there was before goes; then space is taken for it, and `begun`.
        case begin
    }

    package enum Begun: Equatable, Sendable {
        case answer(SnapshotVerdict, taken: UInt64)
        /// Nobody wants the space any more.
        case abandon
    }

    package enum Took: Equatable, Sendable {
        /// Of a transfer that is over.
        case ignored
        /// To be written behind what came before; then `wrote`.
        case write
        /// All that came goes, and is answered `failed`: it is not what should come next.
        case outOfOrder
    }

    package enum Checked: Equatable, Sendable {
        /// Nobody waits for it any more: it goes.
        case abandon
        /// It is kept until the core asks for it.
        case ready(taken: UInt64)
        /// All that came goes, and is answered `failed`.
        case failed
    }

    package enum Storing: Equatable, Sendable {
        case entries
        /// Remembered; given back by `placed`.
        case behind
        /// What was prepared: see `place`.
        case snapshot
    }

    package var limits = SnapshotLimits()
    package private(set) var receiving: Receiving?
    package private(set) var prepared: Prepared?
    private var preparedAt = Instant.zero
    /// The core has asked for it; it is not current yet.
    package private(set) var installing: StoreRequest?
    /// The disk is at it, or it waits for the journal.
    private(set) var isPlacing = false
    /// Without room: not tried again before.
    private var notBefore = Instant.zero
    /// What the core wants stored behind it.
    private var behind: [StoreRequest] = []
    /// Since the start of the process.
    package private(set) var installedCount: UInt64 = 0

    package init() {}

    // MARK: Taking it in.

    /// - Parameter isStopping: nothing new is begun.
    package mutating func offered(
        _ offer: SnapshotOffer, by holder: Holder, _ node: inout NodeMachine, isStopping: Bool,
        now: Instant
    ) -> Offered {
        if let prepared = self.prepared, prepared.id == offer.id, prepared.holder == holder {
            self.preparedAt = now
            return .answer(.ready, taken: offer.totalBytes)
        }
        guard offer.position.index > node.commit else {
            // It was installed, and the leader has not heard of that: its core is told.
            return .answer(.ready, taken: offer.totalBytes)
        }
        guard !isStopping, node.replica.raft.leader == holder.incarnation,
            self.installing == nil, !self.isPlacing
        else { return .answer(.refused, taken: 0) }
        if let receiving = self.receiving, receiving.holder == holder, receiving.offer == offer {
            // A broken link: on it goes.
            self.receiving?.heardAt = now
            guard receiving.hasSpace, !receiving.isChecking else { return .wait }
            return .answer(.taking, taken: receiving.received)
        }
        self.drop(&node)
        self.receiving = Receiving(holder: holder, offer: offer, heardAt: now)
        return .begin
    }

    /// Space was taken, or there is none.
    package mutating func begun(
        _ offer: SnapshotOffer, by holder: Holder, hasSpace: Bool
    ) -> Begun {
        let isWanted =
            self.receiving?.offer == offer && self.receiving?.holder == holder
            && self.receiving?.hasSpace == false
        guard hasSpace else {
            if isWanted { self.receiving = nil }
            return .answer(.refused, taken: 0)
        }
        guard isWanted else { return .abandon }
        self.receiving?.hasSpace = true
        return .answer(.taking, taken: 0)
    }

    /// The transfer that this message of `holder` belongs to, while it takes pieces.
    private func receiving(_ id: UInt64, _ holder: Holder) -> Receiving? {
        guard let receiving = self.receiving, receiving.offer.id == id,
            receiving.holder == holder, receiving.hasSpace, !receiving.isChecking
        else { return nil }
        return receiving
    }

    /// A piece came.
    package mutating func took(
        _ id: UInt64, offset: UInt64, bytes: UInt64, from holder: Holder,
        _ node: inout NodeMachine, now: Instant
    ) -> Took {
        guard let receiving = self.receiving(id, holder) else { return .ignored }
        let received = receiving.received + bytes
        guard offset == receiving.received, bytes > 0, received <= receiving.offer.totalBytes,
            received - receiving.written <= Self.windowMax
        else {
            self.drop(&node)
            return .outOfOrder
        }
        self.receiving?.received = received
        self.receiving?.heardAt = now
        return .write
    }

    /// All up to `written` is on the disk.
    ///
    /// - Returns: what is taken, to be answered; nil: the transfer is over.
    package mutating func wrote(
        _ id: UInt64, from holder: Holder, upTo written: UInt64
    ) -> UInt64? {
        guard self.receiving(id, holder) != nil else { return nil }
        self.receiving?.written = written
        return written
    }

    /// A piece could not be written.
    ///
    /// - Returns: false: the transfer is over. True: all that came goes, and is answered `failed`.
    package mutating func writeFailed(
        _ id: UInt64, from holder: Holder, _ node: inout NodeMachine
    ) -> Bool {
        guard self.receiving(id, holder) != nil else { return false }
        self.drop(&node)
        return true
    }

    /// What has come, and what was to become current, goes: the core may not take it any more.
    private mutating func drop(_ node: inout NodeMachine) {
        self.receiving = nil
        self.prepared = nil
        node.readySnapshot = nil
    }

    // MARK: Reading it.

    /// The end came.
    ///
    /// - Returns: what is to be checked, then `checked`; nil: the transfer is over.
    package mutating func isWhole(
        _ id: UInt64, from holder: Holder, now: Instant
    ) -> SnapshotOffer? {
        guard let receiving = self.receiving(id, holder) else { return nil }
        self.receiving?.isChecking = true
        self.receiving?.heardAt = now
        return receiving.offer
    }

    /// - Parameter snapshot: what the file is, all of it read and right; nil: it is not.
    package mutating func checked(
        _ id: UInt64, from holder: Holder, _ snapshot: Snapshot?, _ node: inout NodeMachine,
        now: Instant
    ) -> Checked {
        guard let receiving = self.receiving, receiving.offer.id == id,
            receiving.holder == holder, receiving.isChecking
        else { return .abandon }
        guard let snapshot else {
            self.drop(&node)
            return .failed
        }
        self.receiving = nil
        self.prepared = Prepared(id: id, holder: holder, snapshot: snapshot)
        self.preparedAt = now
        node.readySnapshot = snapshot
        return .ready(taken: receiving.offer.totalBytes)
    }

    // MARK: Installing it.

    /// Asked behind a message of agreement. 1 The core takes the snapshot that lies ready: all of
    /// it is committed now. 2 A tick, which drops what is behind the commit index, would drop the
    /// very file that the core is about to ask for. So what the core wants stored is asked at once.
    package func isTaken(by node: borrowing NodeMachine) -> Bool {
        guard let prepared = self.prepared else { return false }
        return prepared.snapshot.position.index <= node.commit
    }

    /// What the core asks for. Behind a snapshot that is being put in place everything waits.
    package mutating func store(_ request: StoreRequest, _ node: inout NodeMachine) -> Storing {
        guard self.installing == nil else {
            self.behind.append(request)
            return .behind
        }
        guard let snapshot = request.snapshot else { return .entries }
        guard let prepared = self.prepared, prepared.snapshot.position == snapshot.position else {
            unreachable("the core takes only the snapshot that lies ready")
        }
        self.prepared = nil
        node.readySnapshot = nil
        self.installing = request
        return .snapshot
    }

    /// What the core has asked for is put in place, as soon as no checkpoint is being written;
    /// none is begun until the queue is replaced.
    ///
    /// - Returns: false: not now, or nothing.
    package mutating func place(isCheckpointing: Bool, now: Instant) -> Bool {
        guard self.installing != nil, !self.isPlacing, !isCheckpointing, now >= self.notBefore
        else { return false }
        self.isPlacing = true
        return true
    }

    /// It stands in the journal as the current one.
    ///
    /// - Returns: what the core has asked for with it, which is stored behind it; then the rest,
    ///   each by `store`.
    package mutating func placed() -> (request: StoreRequest, behind: [StoreRequest]) {
        guard let request = self.installing.take() else {
            unreachable("what is being put in place is remembered")
        }
        let behind = self.behind
        self.behind = []
        return (request, behind)
    }

    /// There was no room: the old state is in force, and it is tried again.
    package mutating func notPlaced(now: Instant) {
        self.isPlacing = false
        self.notBefore = now + self.limits.pause
    }

    /// The journal has synced it, and its queue is in force.
    package mutating func installed() {
        self.isPlacing = false
        self.installedCount += 1
    }

    /// With each tick: what leads to nothing goes.
    ///
    /// - Returns: whether it does.
    package mutating func tick(_ node: inout NodeMachine, now: Instant) -> Bool {
        if let receiving = self.receiving, now - receiving.heardAt >= self.limits.silence,
            !receiving.isChecking
        {
            self.drop(&node)
            return true
        }
        guard let prepared = self.prepared,
            prepared.snapshot.position.index <= node.commit
                || now - self.preparedAt >= self.limits.silence
        else { return false }
        self.drop(&node)
        return true
    }
}

extension SnapshotOffer {
    /// Whether a file that says this of itself is what was offered.
    package func isOf(
        _ position: LogPosition, _ configuration: Configuration
    ) throws(CodecError) -> Bool {
        var reader = ByteReader(self.configuration)
        let offered = try Configuration(from: &reader)
        return position == self.position && configuration == offered
    }
}
