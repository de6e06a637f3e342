// BodyHolding.swift - one body that a peer streams to this node, until it is stored or dropped.
//
// Takes     the peer's chunks and end, the own journal's sync, the loss of the link.
// Gives     what to append, what to answer; a confirmation only for what has been synced (8).
// Never     half a body: what the peer does not end is dropped.
// See       BodyPlacement (the other side).

package import Primitives

/// What the applied state says of a session that a peer calls its own.
package enum PeerSession: Hashable, Sendable {
    /// Open, and of this node and incarnation.
    case ofPeer
    /// Above what has been applied here: nothing is known of it yet, so it is believed.
    case unknown
    /// Closed, or of another node or incarnation: no command of it can make this body live.
    case foreign
}

/// Why a body is not taken.
package enum BodyRefusal: UInt8, Hashable, Sendable, CaseIterable {
    /// Low on disk, or stopping.
    case full = 1
    /// A chunk that is missing or came twice, or an end that does not fit what came.
    case brokenStream = 2
    /// The tag is not of an open session of the peer.
    case foreignTag = 3

    package var label: StaticString {
        switch self {
        case .full: "full"
        case .brokenStream: "broken_stream"
        case .foreignTag: "foreign_tag"
        }
    }
}

/// One stream of one incarnation of a peer.
package struct BodyHolding: Hashable, Sendable {
    package enum Action: Hashable, Sendable {
        /// Append the chunk that was given; nothing is synced for it.
        case append
        /// Append the end, and ask for a sync: `synced` when it has returned.
        case finish
        /// Tell the peer that the body is stored.
        case confirm(Tag)
        /// Forget what came of it (an `abandoned` record if there is any), and tell the peer.
        case refuse(BodyRefusal)
        /// Forget what came of it; nobody is to be told.
        case drop
        case ignore
    }

    private enum State: Hashable {
        case receiving(chunks: UInt32, blocks: UInt32)
        /// The end is in the journal, and may not be on the disk.
        case syncing(Tag)
        case stored(Tag)
        case dropped
    }
    private var state = State.receiving(chunks: 0, blocks: 0)

    package init() {}

    /// The tag under which it is, or is being, stored; nil: it has no end yet, or was dropped.
    package var tag: Tag? {
        switch self.state {
        case .syncing(let tag), .stored(let tag): tag
        case .receiving, .dropped: nil
        }
    }

    /// Chunks come in order, each once.
    package mutating func chunk(_ ordinal: UInt32, blocks: UInt32) -> Action {
        switch self.state {
        case .receiving(let chunks, let before):
            let (sum, overflow) = before.addingReportingOverflow(blocks)
            guard ordinal == chunks, chunks < .max, !overflow else {
                return self.refuse(.brokenStream)
            }
            self.state = .receiving(chunks: chunks + 1, blocks: sum)
            return .append
        case .syncing, .stored:
            // The peer goes on behind its own end: what it ended is whole all the same.
            return .ignore
        case .dropped: return .ignore
        }
    }

    /// - Parameters:
    ///   - end: its counts must be those of what came, and of blocks in the end record itself.
    ///   - blocks: in the end record.
    ///   - session: of `end.tag`, by the state that is applied here.
    package mutating func end(
        _ end: BodyHeader, blocks: UInt32, session: PeerSession
    ) -> Action {
        guard case .receiving(let chunks, let before) = self.state else { return .ignore }
        let (sum, overflow) = before.addingReportingOverflow(blocks)
        guard end.chunkCount == chunks, !overflow, end.blockCount == sum else {
            return self.refuse(.brokenStream)
        }
        guard session != .foreign, end.tag.session != .none, end.tag.sequence > 0 else {
            return self.refuse(.foreignTag)
        }
        self.state = .syncing(end.tag)
        return .finish
    }

    /// The own journal has synced the end.
    package mutating func synced() -> Action {
        guard case .syncing(let tag) = self.state else { return .ignore }
        self.state = .stored(tag)
        return .confirm(tag)
    }

    /// The peer wants it no more. What has an end stays until the state proves it garbage.
    package mutating func abandoned() -> Action { self.lost() }

    /// The link is gone. What has an end stays: the peer may have counted it.
    package mutating func lost() -> Action {
        switch self.state {
        case .receiving:
            self.state = .dropped
            return .drop
        case .syncing, .stored, .dropped: return .ignore
        }
    }

    /// This node takes no more bodies: low on disk, or stopping.
    package mutating func full() -> Action {
        guard case .receiving = self.state else { return .ignore }
        return self.refuse(.full)
    }

    private mutating func refuse(_ reason: BodyRefusal) -> Action {
        self.state = .dropped
        return .refuse(reason)
    }
}
