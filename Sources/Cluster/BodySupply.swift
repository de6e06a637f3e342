// BodySupply.swift - the content of one message's body, from whoever has a copy: the own disk
// first, then one holder after the other.
//
// Takes     requests for the next piece; what the own reader and the holders give.
// Gives     pieces of content in their order, each byte once; the last one only when the source
//           that it came from has the right digest.
// Fails     a source that fails is left for the next one, which begins anew; what was handed on
//           before is skipped. All of them failed: try later; who may say more is LostBodies.
// Limits    `window` pieces of one body in memory, about 64 KiB each.
// Why       a message that may be delivered now must not wait for a repair.

import MailQueue
import NIOCore
import Networking
import Primitives
import Spool
import Storage

/// Confined to the node's loop.
final class BodySupply {
    /// Pieces that a holder may send ahead of who reads.
    static let window: UInt32 = 4

    private enum Source {
        case none
        case own(StoredContent)
        case peer(BodyFetch)
    }
    private enum Asker {
        case nobody
        case opens((Result<BodySource, BodyReadError>) -> Void)
        case reads((Result<BodyPiece, BodyReadError>) -> Void)
    }

    private let node: Node
    private let message: Tag
    /// What is proven lost here may end the message.
    private let endsLost: Bool
    private var search: BodySearch
    private var source = Source.none
    private var asker = Asker.nobody
    /// Pieces that came before they were asked for.
    private var ready = RingBuffer<BodyPiece>(capacity: 4)
    /// Content bytes that were taken from sources for who reads, and of the present source those
    /// that were taken from an earlier one.
    private var given = 0
    private var toSkip = 0
    private var isOver = false

    init(_ node: Node, _ message: Tag, endsLost: Bool) {
        self.node = node
        self.message = message
        self.endsLost = endsLost
        self.search = BodySearch(message, own: node.ownHolder)
    }

    /// Answers with the head, and with the rest to be asked for piece by piece.
    func open(_ answer: @escaping (Result<BodySource, BodyReadError>) -> Void) {
        self.asker = .opens(answer)
        self.tryNext()
    }

    /// The next piece; one request at a time.
    func next(_ answer: @escaping (Result<BodyPiece, BodyReadError>) -> Void) {
        guard !self.isOver else { return answer(.failure(.unavailable)) }
        self.asker = .reads(answer)
        if let piece = self.ready.popFirst() { return self.hand(piece) }
        if case .own(let content) = self.source { self.readOwn(content) }
    }

    /// Nobody reads any more.
    func end() {
        self.isOver = true
        self.asker = .nobody
        self.leaveSource()
    }

    private func leaveSource() {
        if case .peer(let fetch) = self.source { fetch.end() }
        self.source = .none
    }

    private func finish(_ error: BodyReadError) {
        let asker = self.asker
        self.end()
        switch asker {
        case .nobody: return
        case .opens(let answer): answer(.failure(error))
        case .reads(let answer): answer(.failure(error))
        }
    }

    // MARK: Sources.

    private func tryNext() {
        guard !self.isOver else { return }
        self.leaveSource()
        // What stands ready is of this message too: it is handed on first.
        self.toSkip = self.given
        while true {
            let peers = self.node.directory.bodyPeers
            switch self.search.next(self.node.machine, peers: peers) {
            case .over: return self.finish(.gone)
            case .nobody: return self.finish(.unavailable)
            case .own(let tag): return self.openOwn(tag)
            case .ask(let holder):
                let fetch = self.node.fetch(self.message, of: holder, pieces: Self.window) { news in
                    self.took(news)
                }
                guard let fetch else { continue }
                self.source = .peer(fetch)
                return
            }
        }
    }

    private func openOwn(_ tag: Tag) {
        let bound = NIOLoopBound(self, eventLoop: self.node.loop)
        let (loop, storage) = (self.node.loop, self.node.storage)
        storage.openBody(tag) { result in
            loop.execute {
                switch result {
                case .failure(let error): bound.value.ownFailed(tag, error)
                case .success((let body, let cursor)): bound.value.openedOwn(tag, body, cursor)
                }
            }
        }
    }

    private func openedOwn(_ tag: Tag, _ body: StoredBody, _ cursor: BodyCursor) {
        let seal = BodySeal(
            head: body.head, blockCount: UInt32(cursor.blockCount),
            contentBytes: cursor.contentBytes, digest: body.digest)
        guard self.node.isAccepted(seal, of: self.message) else {
            return self.ownFailed(tag, .damaged)
        }
        let content = StoredContent(self.node.storage, cursor, digest: body.digest)
        self.opened(.own(content), seal)
    }

    /// A copy on the own disk that cannot be read is looked at once more; others have it meanwhile.
    private func ownFailed(_ tag: Tag, _ error: BodyError) {
        guard !self.isOver else { return }
        self.source = .none
        let bound = NIOLoopBound(self, eventLoop: self.node.loop)
        let loop = self.node.loop
        guard self.endsLost else { return self.tryNext() }
        self.node.bodyFailed(self.message, tag, error) { reason in
            loop.execute {
                switch reason {
                case .lost, .gone: bound.value.finish(reason)
                case .unavailable: bound.value.tryNext()
                }
            }
        }
    }

    /// A source has said what it has: the accepted message.
    private func opened(_ source: Source, _ seal: BodySeal) {
        guard !self.isOver else { return }
        self.source = source
        if case .opens = self.asker { return self.handSource(seal) }
        if case .own(let content) = source, case .reads = self.asker { self.readOwn(content) }
    }

    private func handSource(_ seal: BodySeal) {
        guard case .opens(let answer) = self.asker else { return }
        self.asker = .nobody
        let handle = SupplyHandle(self, on: self.node.loop)
        answer(
            .success(
                BodySource(
                    head: ByteBuffer(bytes: seal.head), contentBytes: Int(seal.contentBytes)
                ) { handle.next($0) }))
    }

    private func took(_ news: BodyFetch.News) {
        guard !self.isOver else { return }
        switch news {
        case .head(let seal): self.opened(self.source, seal)
        case .failed:
            self.source = .none
            self.tryNext()
        case .piece(let piece): self.came(piece.content, isLast: piece.isLast)
        }
    }

    // MARK: Pieces.

    private func readOwn(_ content: StoredContent) {
        let bound = NIOLoopBound(self, eventLoop: self.node.loop)
        let loop = self.node.loop
        content.next { result in
            loop.execute {
                switch result {
                case .success((let bytes, let isLast)): bound.value.came(bytes, isLast: isLast)
                case .failure(let error):
                    guard let tag = bound.value.node.ownTag(of: bound.value.message) else {
                        return bound.value.tryNext()
                    }
                    bound.value.ownFailed(tag, error)
                }
            }
        }
    }

    private func came(_ content: [UInt8], isLast: Bool) {
        guard !self.isOver else { return }
        let skipped = min(self.toSkip, content.count)
        self.toSkip -= skipped
        let bytes = ByteBuffer(bytes: content[skipped...])
        guard bytes.readableBytes > 0 || isLast else { return self.askOn() }
        self.given += bytes.readableBytes
        let piece = BodyPiece(bytes: bytes, isLast: isLast)
        guard case .reads = self.asker else { return self.ready.append(piece) }
        self.hand(piece)
    }

    private func hand(_ piece: BodyPiece) {
        guard case .reads(let answer) = self.asker else { return }
        self.asker = .nobody
        if piece.isLast {
            self.isOver = true
            self.leaveSource()
        } else if case .peer(let fetch) = self.source {
            fetch.more(1)
        }
        answer(.success(piece))
    }

    /// Nothing of the last piece was new.
    private func askOn() {
        switch self.source {
        case .none: return
        case .own(let content): self.readOwn(content)
        case .peer(let fetch): fetch.more(1)
        }
    }
}

/// What a `BodySource` holds of a supply: from any loop; when it goes, the supply ends.
private final class SupplyHandle: Sendable {
    private let bound: NIOLoopBound<BodySupply>
    private let loop: any EventLoop  // existential: the node's, whatever it is

    init(_ supply: BodySupply, on loop: any EventLoop) {
        self.bound = NIOLoopBound(supply, eventLoop: loop)
        self.loop = loop
    }

    deinit {
        let bound = self.bound
        self.loop.execute { bound.value.end() }
    }

    func next(_ answer: @escaping BodySource.Answer) {
        let bound = self.bound
        self.loop.execute { bound.value.next { answer($0) } }
    }
}

extension Node {
    /// Under which tag the own disk has the body of a message; nil: it is of no placement here.
    func ownTag(of message: Tag) -> Tag? {
        self.machine.queue.bodyTag(of: message, on: self.ownHolder)
    }

    /// A body of a cluster of several, to be read piece by piece. From any loop.
    func supply(
        _ message: Tag, endsLost: Bool,
        _ answer: @escaping @Sendable (Result<BodySource, BodyReadError>) -> Void
    ) {
        self.onLoop { BodySupply($0, message, endsLost: endsLost).open(answer) }
    }

    /// The same as a whole. From any loop.
    func supplyWhole(
        _ message: Tag, endsLost: Bool,
        _ answer: @escaping @Sendable (Result<MessageBody, BodyReadError>) -> Void
    ) {
        self.onLoop { node in
            let supply = BodySupply(node, message, endsLost: endsLost)
            supply.open { result in
                switch result {
                case .failure(let error): answer(.failure(error))
                case .success(let source):
                    var parts = [source.head]
                    func goOn() {
                        // The source lives as long as this is called.
                        supply.next { result in
                            withExtendedLifetime(source) {}
                            switch result {
                            case .failure(let error): answer(.failure(error))
                            case .success(let piece):
                                if piece.bytes.readableBytes > 0 { parts.append(piece.bytes) }
                                if piece.isLast {
                                    answer(.success(MessageBody(parts: parts)))
                                } else {
                                    goOn()
                                }
                            }
                        }
                    }
                    goOn()
                }
            }
        }
    }
}
