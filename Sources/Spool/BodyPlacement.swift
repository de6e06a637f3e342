// BodyPlacement.swift - one message on its way to R disks, as the node that accepts it sees it.
//
// Takes     what comes of the client, what the own journal and the peers say, the passing of time.
// Gives     whom to stream to from which chunk on, whom to leave, and who are the R holders.
// Never     fewer than R, never a copy whose sync has not been confirmed (invariants 1, 8).
// Limits    `patience` for a peer that takes nothing; at most one stream to each candidate.
// See       BodyHolding (the other side), BodyCandidates (whom to ask first), decision 0014.

package import Primitives

/// The placement of one body.
///
/// The own journal is one of the holders, and no better than another: the first R that have synced
/// the whole body are the placement. A holder that is waited for longer than `patience` is joined
/// by another one, which gets everything from the own copy. Who is not among the first R is told to
/// stop; what it has stored is garbage by rule, once the command's fate is known there.
package struct BodyPlacement: Hashable, Sendable {
    /// How long a holder may owe the next step before another one is asked too.
    package static let patience = Duration.milliseconds(500)

    package enum Action: Hashable, Sendable {
        /// Send the chunks from this one on, those to come as they come, then the end.
        case stream(to: Holder, from: UInt32)
        /// Stop sending; the copy does not count.
        case abandon(Holder)
        /// R holders have synced it, ascending: the Enqueue may be proposed. Nothing follows.
        case placed([Holder])
        /// So many holders are missing and nobody is left to be asked. The body waits for
        /// `joined` until whoever waits for it gives up; 0: they are no longer missing.
        case short(by: Int)
    }

    /// What was lost of a holder.
    package enum Loss: Hashable, Sendable {
        /// The connection. What the holder has confirmed is on its disk still.
        case link
        /// The disk: its node was removed, or came back as another incarnation.
        case incarnation
    }

    private struct Part: Hashable {
        let holder: Holder
        /// Chunks that it has said to have.
        var taken: UInt32 = 0
        var isConfirmed = false
        /// Since when it owes the next step; nil: it waits for us.
        var owesSince: Instant?
        /// Was waited for too long; somebody was asked in its place.
        var isSlow = false
    }

    private enum Phase: Hashable {
        case streaming
        /// All chunks and the end are there to be sent.
        case ended
        case placed
        case givenUp
    }

    private let copies: Int
    private let own: Holder
    private var phase = Phase.streaming
    /// Chunks that have come so far.
    private var chunks: UInt32 = 0
    /// The own journal first, then in the order in which they were asked.
    private var parts: [Part]
    /// Who may be asked next, best first.
    private var spares: [Holder]
    private var missing = 0

    /// - Parameters:
    ///   - copies: R, at least 1.
    ///   - own: this node; its journal takes every chunk in any case.
    ///   - candidates: best first; see `BodyCandidates.order`.
    package init(copies: Int, own: Holder, candidates: [Holder]) {
        invariant(copies > 0, "a body has at least one copy")
        self.copies = copies
        self.own = own
        self.parts = [Part(holder: own)]
        self.spares = []
        for candidate in candidates where candidate != own && !self.spares.contains(candidate) {
            self.spares.append(candidate)
        }
    }

    /// Chunks that are there to be sent, so far.
    package var chunkCount: UInt32 { self.chunks }

    /// Neither placed nor given up: an answer of a holder can still matter.
    package var isOpen: Bool { self.phase == .streaming || self.phase == .ended }

    /// When `tick` has something to do; nil: not before another event.
    package var wake: Instant? {
        guard self.isOpen else { return nil }
        let owing = self.parts.filter { !$0.isSlow }.compactMap(\.owesSince).min()
        return owing.map { $0 + Self.patience }
    }

    /// Holders that have synced the whole, the own journal included; ascending.
    package var confirmed: [Holder] {
        self.parts.filter(\.isConfirmed).map(\.holder).sorted()
    }

    /// Peers in whose place others were asked, because they owed the next step for too long.
    package var slow: [Holder] {
        self.parts.filter { $0.isSlow && $0.holder != self.own }.map(\.holder)
    }

    // MARK: The own side.

    /// The first R - 1 candidates are asked.
    package mutating func start(now: Instant) -> [Action] { self.fill(now) }

    /// One more chunk is there to be sent; the driver sends it to whoever is streamed to.
    package mutating func appended(now: Instant) -> [Action] {
        guard self.phase == .streaming else { return [] }
        self.chunks += 1
        self.owe(now)
        return []
    }

    /// The client's last byte has come and the tag is allocated: the end record can be sent.
    package mutating func ended(now: Instant) -> [Action] {
        guard self.phase == .streaming else { return [] }
        self.phase = .ended
        self.owe(now)
        return []
    }

    /// The client has gone, or was told no: nothing of it will be proposed.
    package mutating func giveUp() -> [Action] {
        guard self.isOpen else { return [] }
        self.phase = .givenUp
        return self.abandonRest()
    }

    /// Asks others in place of those that were waited for too long.
    package mutating func tick(now: Instant) -> [Action] {
        guard self.isOpen else { return [] }
        for i in self.parts.indices {
            guard let since = self.parts[i].owesSince, now >= since + Self.patience else {
                continue
            }
            self.parts[i].isSlow = true
        }
        return self.fill(now)
    }

    // MARK: Holders.

    /// The holder has taken so many chunks in all. More than there are is ignored.
    package mutating func taken(_ holder: Holder, chunks: UInt32, now: Instant) -> [Action] {
        guard self.isOpen, let i = self.place(holder), !self.parts[i].isConfirmed,
            chunks > self.parts[i].taken, chunks <= self.chunks
        else { return [] }
        self.parts[i].taken = chunks
        self.parts[i].isSlow = false
        self.parts[i].owesSince = self.owes(self.parts[i]) ? now : nil
        return []
    }

    /// The holder's journal (or the own one) has synced the body with its end.
    package mutating func confirmed(_ holder: Holder) -> [Action] {
        // What comes before the end was sent cannot be true.
        guard self.phase == .ended, let i = self.place(holder) else { return [] }
        self.parts[i].isConfirmed = true
        self.parts[i].owesSince = nil
        self.parts[i].isSlow = false
        let holders = self.confirmed
        guard holders.count == self.copies else { return [] }
        self.phase = .placed
        return self.abandonRest() + [.placed(holders)]
    }

    /// The holder takes no bodies now; it is not asked again.
    package mutating func refused(_ holder: Holder, now: Instant) -> [Action] {
        guard self.isOpen, let i = self.place(holder), !self.parts[i].isConfirmed else { return [] }
        self.parts.remove(at: i)
        return self.fill(now)
    }

    /// - Parameter loss: a confirmed copy outlives the link, and nothing outlives the disk.
    package mutating func lost(_ holder: Holder, _ loss: Loss, now: Instant) -> [Action] {
        guard self.isOpen, holder != self.own else { return [] }
        self.spares.removeAll { $0 == holder }
        guard let i = self.place(holder), loss == .incarnation || !self.parts[i].isConfirmed else {
            return []
        }
        self.parts.remove(at: i)
        return self.fill(now)
    }

    /// A peer can be reached (again) and takes bodies.
    package mutating func joined(_ holder: Holder, now: Instant) -> [Action] {
        guard self.isOpen, self.place(holder) == nil, !self.spares.contains(holder) else {
            return []
        }
        self.spares.append(holder)
        return self.fill(now)
    }

    // MARK: Inside.

    private func place(_ holder: Holder) -> Int? {
        self.parts.firstIndex { $0.holder == holder }
    }

    private func owes(_ part: Part) -> Bool {
        guard !part.isConfirmed else { return false }
        // The own journal is waited for at its end only: it takes chunks as they come.
        return self.phase == .ended || part.holder != self.own && part.taken < self.chunks
    }

    private mutating func owe(_ now: Instant) {
        for i in self.parts.indices where self.parts[i].owesSince == nil {
            if self.owes(self.parts[i]) { self.parts[i].owesSince = now }
        }
    }

    /// Asks as many as are wanted: R, and one for each that is slow.
    private mutating func fill(_ now: Instant) -> [Action] {
        var actions: [Action] = []
        let slow = self.parts.count { $0.isSlow }
        while self.parts.count < self.copies + slow, !self.spares.isEmpty {
            let holder = self.spares.removeFirst()
            self.parts.append(Part(holder: holder))
            actions.append(.stream(to: holder, from: 0))
        }
        self.owe(now)
        let missing = max(0, self.copies - self.parts.count)
        if missing != self.missing { actions.append(.short(by: missing)) }
        self.missing = missing
        return actions
    }

    private func abandonRest() -> [Action] {
        self.parts.filter { $0.holder != self.own && !$0.isConfirmed }.map { .abandon($0.holder) }
    }
}

/// A peer that might take a copy.
package struct BodyPeer: Hashable, Sendable {
    package var holder: Holder
    /// Its bulk connection is there.
    package var isUp: Bool
    /// It has said that it takes no bodies.
    package var isLowOnDisk: Bool
    package var isDraining: Bool
    /// A placement has waited for it for too long lately.
    package var isSlow: Bool

    package init(
        holder: Holder, isUp: Bool, isLowOnDisk: Bool = false, isDraining: Bool = false,
        isSlow: Bool = false
    ) {
        self.holder = holder
        self.isUp = isUp
        self.isLowOnDisk = isLowOnDisk
        self.isDraining = isDraining
        self.isSlow = isSlow
    }
}

package enum BodyCandidates {
    /// Whom to ask for a copy, best first: who was slow comes last, before it who drains; who is
    /// down or low on disk not at all. The rest by a hash of the stream and the holder
    /// (rendezvous), so that every peer gets its even share and a change of one moves the streams
    /// of that one only.
    package static func order(_ peers: [BodyPeer], own: Holder, stream: UInt64) -> [Holder] {
        let usable = peers.filter { $0.isUp && !$0.isLowOnDisk && $0.holder != own }
        let ranked = usable.map { peer in
            (peer: peer, rank: Self.rank(stream, peer.holder))
        }
        let sorted = ranked.sorted { a, b in
            if a.peer.isSlow != b.peer.isSlow { return b.peer.isSlow }
            if a.peer.isDraining != b.peer.isDraining { return b.peer.isDraining }
            return a.rank != b.rank ? a.rank < b.rank : a.peer.holder < b.peer.holder
        }
        return sorted.map(\.peer.holder)
    }

    static func rank(_ number: UInt64, _ holder: Holder) -> UInt64 {
        var hash = StableHash()
        hash.add(number)
        hash.add(holder.node)
        hash.add(holder.incarnation.raw)
        return hash.value
    }
}
