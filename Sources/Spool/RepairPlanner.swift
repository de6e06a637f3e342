// RepairPlanner.swift - which copies this node makes of messages that have too few.
//
// Takes     members as they are seen now, messages with too few copies by the applied state.
// Gives     what to copy from whom, and messages that no copy is left of.
// Never     a copy that another member is to make; a copy of what has ended; two of one message.
// Limits    `bytesInFlightMax`, `copiesInFlightMax`; `repairAfter`, `lostAfter`, `retryAfter`.
// See       MailQueue `underReplicated`, `replicaAdded`; decision 0014.

package import Primitives

/// A message with fewer copies than it should have.
package struct BodyShortage: Hashable, Sendable {
    package var message: Tag
    /// Bytes on one disk.
    package var storedBytes: UInt64
    /// By the applied state, ascending; those that are absent too.
    package var holders: [Holder]

    package init(message: Tag, storedBytes: UInt64, holders: [Holder]) {
        self.message = message
        self.storedBytes = storedBytes
        self.holders = holders
    }
}

/// The repair of one node. Nothing of it is durable: after a restart it is made again of the state.
package struct RepairPlanner: Hashable, Sendable {
    /// A node that is away for less than this is waited for.
    package static let repairAfter = Duration.seconds(300)
    /// A message without a copy is given up after this: a copy may be on its way to the log.
    package static let lostAfter = Duration.seconds(60)
    /// A message whose sources all failed is tried again after this.
    package static let retryAfter = Duration.seconds(30)
    /// Stored bytes being copied to this node at once; one body may be larger by itself.
    package static let bytesInFlightMax: UInt64 = 8 << 20
    package static let copiesInFlightMax = 16
    /// Messages that failed or have no copy, remembered at once; the rest has its turn later.
    package static let waitingMax = 1024

    package enum Action: Hashable, Sendable {
        /// Take a tag of the own session, store the body under it, sync it, and only then propose
        /// `replicaAdded` as the command of that very tag. Then `settled`, whatever came of it.
        case copy(message: Tag, from: Holder)
        /// Propose `bodyLost`, without origin.
        case giveUp(Tag)
    }

    private struct Copy: Hashable {
        let message: Tag
        let storedBytes: UInt64
        var tried: [Holder]
    }
    private struct Waiting: Hashable {
        let message: Tag
        let until: Instant
    }
    private struct Absence: Hashable {
        let holder: Holder
        let since: Instant
    }

    /// How long this one waits for a node that is away.
    package var waitsFor = Self.repairAfter
    /// How long this one hopes for a message without a copy.
    package var hopesFor = Self.lostAfter

    private let own: Holder
    /// Ascending by message.
    private var copies: [Copy] = []
    private var failed: [Waiting] = []
    /// Messages without any copy, until when they are hoped for.
    private var hopeless: [Waiting] = []
    private var absences: [Absence] = []

    package init(own: Holder) { self.own = own }

    package var bytesInFlight: UInt64 { self.copies.reduce(0) { $0 + $1.storedBytes } }

    /// Members that have been away for `waitsFor`: what they hold counts as missing.
    ///
    /// - Parameter members: all of them, this node too.
    package mutating func absent(_ members: [BodyPeer], now: Instant) -> [Holder] {
        let away = members.filter { !$0.isUp && $0.holder != self.own }.map(\.holder).sorted()
        self.absences = away.map { holder in
            let known = self.absences.first { $0.holder == holder }
            return known ?? Absence(holder: holder, since: now)
        }
        return self.absences.filter { now >= $0.since + self.waitsFor }.map(\.holder)
    }

    /// Decides what to begin now.
    ///
    /// - Parameters:
    ///   - shortages: those with the fewest present copies first, as `underReplicated` gives them
    ///     for the holders that `absent` names.
    ///   - absent: what `absent(_:now:)` gave.
    ///   - copies: R.
    ///   - isLeader: one node gives messages up.
    package mutating func plan(
        _ shortages: [BodyShortage], members: [BodyPeer], absent: [Holder], copies: Int,
        isLeader: Bool, now: Instant
    ) -> [Action] {
        var actions: [Action] = []
        self.failed.removeAll { $0.until <= now }
        self.hopeless.removeAll { waiting in
            !shortages.contains { $0.message == waiting.message && $0.holders.isEmpty }
        }
        for shortage in shortages {
            if shortage.holders.isEmpty {
                if isLeader, self.isHopeless(shortage.message, now) {
                    actions.append(.giveUp(shortage.message))
                }
                continue
            }
            guard let source = self.source(of: shortage, members, absent, copies) else { continue }
            self.copies.append(
                Copy(
                    message: shortage.message, storedBytes: shortage.storedBytes, tried: [source]))
            self.copies.sort { $0.message < $1.message }
            actions.append(.copy(message: shortage.message, from: source))
        }
        return actions
    }

    /// The source could not give it: another one is asked, or the message waits.
    ///
    /// - Parameter holders: of the message now, by the applied state; empty if it has ended.
    package mutating func failed(
        _ message: Tag, holders: [Holder], members: [BodyPeer], now: Instant
    ) -> [Action] {
        guard let i = self.copies.firstIndex(where: { $0.message == message }) else { return [] }
        let tried = self.copies[i].tried
        let next = holders.first { holder in
            !tried.contains(holder) && members.contains { $0.holder == holder && $0.isUp }
        }
        if let next {
            self.copies[i].tried.append(next)
            return [.copy(message: message, from: next)]
        }
        self.copies.remove(at: i)
        if self.failed.count < Self.waitingMax {
            self.failed.append(Waiting(message: message, until: now + Self.retryAfter))
        }
        return []
    }

    /// `replicaAdded` has a result, or the copy was given up: the message has ended, say.
    package mutating func settled(_ message: Tag) {
        self.copies.removeAll { $0.message == message }
    }

    /// Messages that are being copied here, ascending.
    package var underWay: [Tag] { self.copies.map(\.message) }

    // MARK: Inside.

    private mutating func isHopeless(_ message: Tag, _ now: Instant) -> Bool {
        if let known = self.hopeless.first(where: { $0.message == message }) {
            return known.until <= now
        }
        if self.hopeless.count < Self.waitingMax {
            self.hopeless.append(Waiting(message: message, until: now + self.hopesFor))
        }
        return false
    }

    /// From whom this node copies the message now; nil: it does not.
    private func source(
        of shortage: BodyShortage, _ members: [BodyPeer], _ absent: [Holder], _ copies: Int
    ) -> Holder? {
        let present = shortage.holders.filter { !absent.contains($0) }
        guard present.count < copies, self.hasRoom(for: shortage.storedBytes),
            !self.copies.contains(where: { $0.message == shortage.message }),
            !self.failed.contains(where: { $0.message == shortage.message }),
            self.isChosen(shortage, members, count: copies - present.count)
        else { return nil }
        // One that is up; the one whose turn it is for this message, so that reads are spread.
        let up = shortage.holders.filter { holder in
            members.contains { $0.holder == holder && $0.isUp }
        }
        let number = shortage.message.session.raw ^ shortage.message.sequence
        return up.min { a, b in
            (BodyCandidates.rank(number, a), a) < (BodyCandidates.rank(number, b), b)
        }
    }

    private func hasRoom(for bytes: UInt64) -> Bool {
        guard self.copies.count < Self.copiesInFlightMax else { return false }
        return self.copies.isEmpty || self.bytesInFlight + bytes <= Self.bytesInFlightMax
    }

    /// Whether this node is one of the members that are to make the missing copies. All members
    /// choose alike, as long as they see the same members up.
    private func isChosen(
        _ shortage: BodyShortage, _ members: [BodyPeer], count: Int
    ) -> Bool {
        let lacking = members.filter { !shortage.holders.contains($0.holder) }
        let nobody = Holder(node: "", incarnation: Incarnation(raw: 0))
        let number = shortage.message.sequence &+ shortage.message.session.raw << 32
        let order = BodyCandidates.order(lacking, own: nobody, stream: number)
        return order.prefix(count).contains(self.own)
    }
}
