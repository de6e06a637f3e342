// BodyRules.swift - whose copy of a body is asked for, believed, given up.
//
// Takes     the applied state, and peers as they are seen.
// Gives     members for the repair; holders in the order in which they are asked; whether what a
//           holder says it has is the message; what the loss of a copy means.
// Never     takes a member that is down for one that has lost anything.
// See       Repairs, NodeRepair, BodySupply, LostBodies; Docs/Invariants.md 1, 2.

import MailQueue
package import Primitives
package import Spool

/// What it means that a body cannot be read on its disk; proven, not only tried.
package enum LostBody: Equatable, Sendable {
    /// The message has ended.
    case over
    /// Another body of it was stored here meanwhile, or is to be asked for elsewhere.
    case elsewhere
    /// Others have it: the copy is lost, not the message.
    case copy
    /// It was the last one: `bodyLost` is proposed, each time, since an earlier proposal may not
    /// have come to anything.
    case message
    /// It was the last one, and its recipients have ended.
    case told
}

extension NodeMachine {
    /// The members for the repair. Who is to leave gives copies, and is to make none.
    ///
    /// - Parameters:
    ///   - isLowOnDisk: this node takes no bodies.
    ///   - isDraining: this node begins nothing.
    ///   - peers: those with a link.
    package func bodyMembers(
        own: Holder, isLowOnDisk: Bool, isDraining: Bool, peers: [BodyPeer]
    ) -> [BodyPeer] {
        let leaving = self.queue.leavingHolders
        return self.queue.members.map { member in
            var peer = peers.first { $0.holder == member } ?? BodyPeer(holder: member, isUp: false)
            if member == own {
                peer = BodyPeer(
                    holder: own, isUp: true, isLowOnDisk: isLowOnDisk, isDraining: isDraining)
            }
            peer.isDraining = peer.isDraining || self.queue.isDraining(member.node)
            peer.isLowOnDisk = peer.isLowOnDisk || leaving.contains(member)
            return peer
        }
    }

    /// Holders of the message that can be asked now, in the order in which they are to be: another
    /// one first for each message.
    package func sources(of message: Tag, own: Holder, peers: [BodyPeer]) -> [Holder] {
        let holders = self.queue.holders(of: message) ?? []
        let up = peers.filter { holders.contains($0.holder) }.map {
            // What a holder wants to store has nothing to do with what it can give.
            BodyPeer(holder: $0.holder, isUp: $0.isUp)
        }
        return BodyCandidates.order(up, own: own, stream: message.sequence)
    }

    /// It is the message that was accepted; what has ended is nobody's to judge.
    ///
    /// - Parameter originalBytes: of head and content.
    package func accepts(_ message: Tag, digest: BodyDigest, originalBytes: UInt64) -> Bool {
        guard let accepted = self.queue.accepted(message) else { return true }
        return accepted.digest == digest && accepted.originalBytes == originalBytes
    }

    /// A body that a peer asked for cannot be given. Of no placement (any more), there is nothing
    /// to lose.
    package func isCopy(_ tag: Tag, of own: Holder) -> Bool {
        self.queue.bodyState(tag, on: own) == .live
    }

    /// The body of `message` that lies under `tag` on the own disk cannot be read. Only the last
    /// copy's loss is the message's.
    package func loss(of message: Tag, under tag: Tag, on own: Holder) -> LostBody {
        guard let holders = self.queue.holders(of: message) else { return .over }
        let isCounted = self.queue.bodyTag(of: message, on: own) == tag
        guard isCounted else { return .elsewhere }
        guard holders == [own] else { return .copy }
        return self.queue.hasPending(message) ? .message : .told
    }
}

/// The search for one message's body: the own disk first, then one holder after the other.
package struct BodySearch {
    package enum Step: Equatable, Sendable {
        /// The message has ended.
        case over
        /// It lies under this tag on the own disk.
        case own(Tag)
        case ask(Holder)
        /// All have failed, or cannot be asked: try later.
        case nobody
    }

    private let message: Tag
    private let own: Holder
    private var tried: [Holder] = []

    package init(_ message: Tag, own: Holder) {
        self.message = message
        self.own = own
    }

    /// Who is tried next: at first, and after each that has failed.
    package mutating func next(_ node: borrowing NodeMachine, peers: [BodyPeer]) -> Step {
        guard let holders = node.queue.holders(of: self.message) else { return .over }
        if holders.contains(self.own), !self.tried.contains(self.own) {
            self.tried.append(self.own)
            if let tag = node.queue.bodyTag(of: self.message, on: self.own) { return .own(tag) }
        }
        let sources = node.sources(of: self.message, own: self.own, peers: peers)
        guard let next = sources.first(where: { !self.tried.contains($0) }) else { return .nobody }
        self.tried.append(next)
        return .ask(next)
    }
}

/// Of a body that a holder was asked for.
package enum FetchLimits {
    /// How long a holder may owe the next piece.
    package static let silence = Duration.seconds(10)
}
