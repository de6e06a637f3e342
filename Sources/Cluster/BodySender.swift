// BodySender.swift - one stored body for a peer that asked for it, piece by piece.
//
// Takes     blocks as they lie on the disk: nothing is expanded or compressed again.
// Gives     head, pieces, end, as the asker and the link allow.
// Limits    one piece is read ahead, and sent only while the bulk link takes more; no more pieces
//           than the asker has allowed.
// Fails     a copy that cannot be read is looked at once more, and told as lost (LostBodies).

import NIOCore
package import Primitives
import Spool
import Storage

/// Confined to the node's loop.
final class BodySender {
    /// What comes next.
    private enum Step {
        /// The end record is being read.
        case opening
        case head(BodySeal, BodyCursor)
        case reading(BodySeal, BodyCursor)
        /// Read, and waits for the link or for the asker.
        case piece([UInt8], BodySeal, BodyCursor)
        case closing
        case failing(PeerFetchFailure)
        case over
    }
    /// The sender has its end in `Node.senders`.
    private unowned let node: Node
    /// Under which the body lies on the own disk.
    let tag: Tag
    let holder: Holder
    /// The asker's number.
    private let request: UInt64
    private var step = Step.opening
    /// Pieces that may be sent now.
    private var allowed: UInt64
    private var isReading = false

    init(node: Node, tag: Tag, to holder: Holder, request: UInt64, allowed: UInt32) {
        self.node = node
        self.tag = tag
        self.holder = holder
        self.request = request
        self.allowed = UInt64(allowed)
    }

    func isAnswer(_ request: UInt64) -> Bool { self.request == request }

    private var isOver: Bool { if case .over = self.step { true } else { false } }

    func begin() {
        let bound = NIOLoopBound(self, eventLoop: self.node.loop)
        let loop = self.node.loop
        self.node.storage.openBody(self.tag, raw: true) { result in
            loop.execute { bound.value.opened(result) }
        }
    }

    /// The asker takes more.
    func allow(_ pieces: UInt32) {
        self.allowed = min(self.allowed + UInt64(pieces), UInt64(UInt32.max))
        self.goOn()
    }

    /// Nothing more is sent.
    func end() {
        guard !self.isOver else { return }
        self.step = .over
        self.node.senderEnded(self)
    }

    private func opened(_ result: Result<(StoredBody, BodyCursor), BodyError>) {
        guard !self.isOver else { return }
        switch result {
        case .failure(let error): self.fail(error)
        case .success((let body, let cursor)):
            let seal = BodySeal(
                head: body.head, blockCount: UInt32(cursor.blockCount),
                contentBytes: cursor.contentBytes, digest: body.digest)
            self.step = .head(seal, cursor)
            self.goOn()
        }
    }

    /// The link takes more, or the asker does.
    func goOn() {
        while !self.isReading, self.node.mesh?.isWritable(self.holder.node) == true {
            switch self.step {
            case .opening, .over: return
            case .head(let seal, let cursor):
                self.step = .reading(seal, cursor)
                self.send(.fetchedHead(request: self.request, seal))
            case .reading(_, let cursor): self.read(cursor)
            case .piece(let blocks, let seal, let cursor):
                guard self.allowed > 0 else { return }
                self.allowed -= 1
                self.step = .reading(seal, cursor)
                self.send(
                    .fetchedPiece(
                        request: self.request, blocks: ByteBuffer(bytes: blocks), isLast: false))
            case .closing:
                self.send(.fetchedPiece(request: self.request, blocks: ByteBuffer(), isLast: true))
                self.end()
            case .failing(let failure):
                self.send(.fetchFailed(request: self.request, failure))
                self.end()
            }
        }
    }

    private func read(_ cursor: BodyCursor) {
        self.isReading = true
        let bound = NIOLoopBound(self, eventLoop: self.node.loop)
        let loop = self.node.loop
        self.node.storage.readMore(cursor) { result in
            loop.execute { bound.value.read(result) }
        }
    }

    private func read(_ result: Result<[UInt8], BodyError>) {
        self.isReading = false
        guard case .reading(let seal, let cursor) = self.step else { return }
        switch result {
        case .failure(let error): self.fail(error)
        case .success(let blocks):
            self.step = blocks.isEmpty ? .closing : .piece(blocks, seal, cursor)
            self.goOn()
        }
    }

    private func fail(_ error: BodyError) {
        self.step = .failing(PeerFetchFailure(error))
        self.node.ownCopyFailed(self.tag, error)
        self.goOn()
    }

    private func send(_ message: PeerMessage) {
        guard self.node.mesh?.send(message, to: self.holder.node) != true else { return }
        self.end()
    }
}

extension PeerFetchFailure {
    init(_ error: BodyError) {
        switch error {
        case .absent: self = .absent
        case .damaged: self = .damaged
        case .io: self = .storage
        case .closed: self = .stopping
        }
    }
}

extension Node {
    func senderEnded(_ sender: BodySender) { self.senders.removeAll { $0 === sender } }

    /// A bulk link that was full takes more; bodies that it did not take are offered again.
    package func peerDrained(_ node: NodeName) {
        for sender in self.senders where sender.holder.node == node { sender.goOn() }
        for sender in self.streamSenders where sender.holder.node == node { sender.goOn() }
        for sending in self.source.sendings where sending.holder.node == node {
            self.sendPieces(sending.holder)
        }
        if let line = self.directory[node], line.hasBulk { self.holderJoined(line.holder) }
    }
}
