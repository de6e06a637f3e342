// BodySender.swift - one stored body on its way to a peer, piece by piece from the own segments.
//
// Takes     blocks as they lie on the disk: nothing is expanded or compressed again.
// Gives     a stream that the peer stores, or the answer to one that asked for the body.
// Limits    one piece is read at a time, and only while the bulk link takes more.

import NIOCore
package import Primitives
import Spool
import Storage

/// Confined to the node's loop.
final class BodySender {
    enum Way: Equatable {
        /// The peer is to store it.
        case stream(UInt64)
        /// The peer asked for it.
        case answer(UInt64)
    }
    /// The body has its end in `Node.senders`.
    private unowned let node: Node
    let tag: Tag
    let holder: Holder
    private let way: Way
    private var seal: BodySeal?
    private var cursor: BodyCursor?
    private var sent: UInt64 = 0
    private var isReading = false
    private var isEnded = false

    init(node: Node, tag: Tag, to holder: Holder, way: Way, seal: BodySeal?) {
        self.node = node
        self.tag = tag
        self.holder = holder
        self.way = way
        self.seal = seal
    }

    func isStream(_ number: UInt64) -> Bool { self.way == .stream(number) }

    func begin() {
        let bound = NIOLoopBound(self, eventLoop: self.node.loop)
        let loop = self.node.loop
        self.node.storage.openBody(self.tag, raw: true) { result in
            loop.execute { bound.value.opened(result) }
        }
    }

    /// Nothing more is sent.
    func end() {
        guard !self.isEnded else { return }
        self.isEnded = true
        self.node.senderEnded(self)
    }

    private func opened(_ result: Result<(StoredBody, BodyCursor), BodyError>) {
        guard !self.isEnded else { return }
        switch result {
        case .failure: self.fail()
        case .success((let body, let cursor)):
            self.cursor = cursor
            let seal = BodySeal(
                head: body.head, blockCount: UInt32(cursor.blockCount),
                contentBytes: cursor.contentBytes, digest: body.digest)
            self.seal = seal
            switch self.way {
            case .stream(let number): self.send(.bodyOpen(stream: number))
            case .answer(let request): self.send(.fetchedHead(request: request, seal))
            }
            self.goOn()
        }
    }

    /// The link takes more.
    func goOn() {
        guard let cursor, !self.isReading, !self.isEnded,
            self.node.mesh?.isWritable(self.holder.node) == true
        else { return }
        self.isReading = true
        let bound = NIOLoopBound(self, eventLoop: self.node.loop)
        let loop = self.node.loop
        self.node.storage.readMore(cursor) { result in
            loop.execute { bound.value.read(result) }
        }
    }

    private func read(_ result: Result<[UInt8], BodyError>) {
        self.isReading = false
        guard !self.isEnded, let seal else { return }
        switch result {
        case .failure: self.fail()
        case .success(let blocks) where blocks.isEmpty:
            switch self.way {
            case .stream(let number):
                self.send(.bodyEnd(stream: number, tag: self.tag, seal))
            case .answer(let request):
                self.send(
                    .fetchedPiece(request: request, blocks: ByteBuffer(), isLast: true))
            }
            self.end()
        case .success(let blocks):
            switch self.way {
            case .stream(let number):
                self.send(
                    .bodyChunk(
                        stream: number, number: self.sent, blocks: ByteBuffer(bytes: blocks)))
            case .answer(let request):
                self.send(
                    .fetchedPiece(
                        request: request, blocks: ByteBuffer(bytes: blocks), isLast: false))
            }
            self.sent += 1
            self.goOn()
        }
    }

    private func fail() {
        switch self.way {
        case .stream(let number): self.send(.bodyAbandoned(stream: number))
        case .answer(let request): self.send(.fetchFailed(request: request, .storage))
        }
        self.end()
    }

    private func send(_ message: PeerMessage) {
        guard !self.isEnded, self.node.mesh?.send(message, to: self.holder.node) != true else {
            return
        }
        self.end()
    }
}

extension Node {
    func senderEnded(_ sender: BodySender) { self.senders.removeAll { $0 === sender } }

    package func peerDrained(_ node: NodeName) {
        for sender in self.senders where sender.holder.node == node { sender.goOn() }
    }
}
