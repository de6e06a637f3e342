// BodyFetch.swift - one body that a holder is asked for, piece by piece.
//
// Takes     the holder's head, pieces and refusals; the loss of its link; ticks.
// Gives     the seal, if it is the accepted message's; then content with the blocks that it lay in,
//           the last piece only when digest and length are right; or why it cannot be had.
// Limits    no more pieces are under way than were asked for; `FetchLimits.silence` for a holder
//           that may send and does not; `Node.fetchesMax` fetches at once.
// See       BodySender (the other side), BodySupply and NodeRepair (who asks).

import MailQueue
import NIOCore
import Networking
import OpenSSL
import Primitives
import Spool
import Storage

/// Why a holder did not give a body.
enum FetchFailure: Error, Equatable {
    case told(PeerFetchFailure)
    /// What came is not what the seal says, or makes no sense.
    case damaged
    /// No link to it, or it was lost.
    case link
    case silent
    case tooMany

    var label: StaticString {
        switch self {
        case .told(.absent): "absent"
        case .told(.damaged), .damaged: "damaged"
        case .told(.other), .told(.storage): "refused"
        case .told(.tooManyRequests), .tooMany: "too_many"
        case .told(.stopping): "stopping"
        case .link: "link"
        case .silent: "silent"
        }
    }
}

/// A part of a body, as a holder gave it.
struct FetchedPiece {
    /// Whole blocks as they lay on the holder's disk, how many, and what they say.
    var blocks: ByteBuffer
    var blockCount: UInt32
    var content: [UInt8]
    /// All has come, and is what was accepted.
    var isLast: Bool
}

/// Confined to the node's loop.
final class BodyFetch {
    enum News {
        case head(BodySeal)
        case piece(FetchedPiece)
        /// Nothing follows.
        case failed(FetchFailure)
    }
    let request: UInt64
    let holder: Holder
    private let message: Tag
    private unowned let node: Node
    private let report: (News) -> Void
    private var seal: BodySeal?
    private var check = ContentCheck(bytes: 0, digest: .zero)
    private var blockCount: UInt32 = 0
    /// Pieces that were asked for and have not come.
    private var asked: UInt32
    private var heardAt: Instant

    init(
        _ request: UInt64, for message: Tag, of holder: Holder, asked: UInt32, node: Node,
        report: @escaping (News) -> Void
    ) {
        self.request = request
        self.holder = holder
        self.message = message
        self.asked = asked
        self.node = node
        self.heardAt = SystemClock.bootTime()
        self.report = report
    }

    /// So many more pieces are wanted.
    func more(_ pieces: UInt32) {
        if self.asked == 0 { self.heardAt = SystemClock.bootTime() }
        self.asked += pieces
        self.send(.fetchMore(request: self.request, pieces: pieces))
    }

    /// Nothing more is wanted; no news comes any more.
    func end() {
        guard self.node.fetches.removeValue(forKey: self.request) != nil else { return }
        self.send(.fetchEnded(request: self.request))
    }

    private func send(_ message: PeerMessage) {
        // A link that takes nothing is no reason to give up: silence is.
        _ = self.node.mesh?.send(message, to: self.holder.node)
    }

    // MARK: The holder.

    func head(_ seal: BodySeal) {
        guard self.seal == nil, self.node.isAccepted(seal, of: self.message) else {
            return self.fail(.damaged)
        }
        self.seal = seal
        self.check = ContentCheck(bytes: seal.contentBytes, digest: seal.digest)
        self.heardAt = SystemClock.bootTime()
        self.report(.head(seal))
    }

    func piece(_ blocks: ByteBuffer, isLast: Bool) {
        guard let seal, isLast || self.asked > 0 else { return self.fail(.damaged) }
        if !isLast { self.asked -= 1 }
        self.heardAt = SystemClock.bootTime()
        var content: [UInt8] = []
        let count = blocks.withUnsafeReadableBytes { BlockCodec.decode($0, into: &content) }
        guard let count, let isWhole = self.check.take(content) else {
            return self.fail(.damaged)
        }
        self.blockCount += UInt32(count)
        guard isWhole || !isLast, !isWhole || self.blockCount == seal.blockCount else {
            return self.fail(.damaged)
        }
        if isWhole { self.node.fetches[self.request] = nil }
        self.report(
            .piece(
                FetchedPiece(
                    blocks: blocks, blockCount: UInt32(count), content: content, isLast: isWhole)))
    }

    func fail(_ failure: FetchFailure) {
        guard self.node.fetches.removeValue(forKey: self.request) != nil else { return }
        self.node.metrics.fetchFailed(failure.label)
        if failure == .damaged || failure == .silent {
            self.send(.fetchEnded(request: self.request))
        }
        self.report(.failed(failure))
    }

    func tick(_ now: Instant) {
        guard self.seal == nil || self.asked > 0, now - self.heardAt >= FetchLimits.silence
        else { return }
        self.fail(.silent)
    }
}

extension Node {
    /// Bodies that are asked for at once.
    private static let fetchesMax = 1024
    /// Bodies that one peer is given at once.
    private static let answersMax = 1024

    /// Asks a holder for the body of a message. `report` is never called inside this.
    ///
    /// - Parameter pieces: that it may send at once.
    /// - Returns: nil: it cannot be asked (counted).
    func fetch(
        _ message: Tag, of holder: Holder, pieces: UInt32,
        report: @escaping (BodyFetch.News) -> Void
    ) -> BodyFetch? {
        guard self.fetches.count < Self.fetchesMax else {
            self.metrics.fetchFailed(FetchFailure.tooMany.label)
            return nil
        }
        self.nextFetch += 1
        guard let tag = self.machine.queue.bodyTag(of: message, on: holder), let mesh,
            self.directory[holder.node]?.holder == holder,
            mesh.send(
                .fetchBody(request: self.nextFetch, tag: tag, pieces: pieces), to: holder.node)
        else {
            self.metrics.fetchFailed(FetchFailure.link.label)
            return nil
        }
        let fetch = BodyFetch(
            self.nextFetch, for: message, of: holder, asked: pieces, node: self, report: report)
        self.fetches[fetch.request] = fetch
        return fetch
    }

    /// It is the message that was accepted.
    func isAccepted(_ seal: BodySeal, of message: Tag) -> Bool {
        self.machine.accepts(
            message, digest: seal.digest,
            originalBytes: seal.contentBytes + UInt64(seal.head.count))
    }

    func fetchesLost(_ holder: Holder) {
        for fetch in self.orderedFetches where fetch.holder == holder { fetch.fail(.link) }
    }

    func tickFetches(_ now: Instant) {
        for fetch in self.orderedFetches { fetch.tick(now) }
    }

    private var orderedFetches: [BodyFetch] {
        self.fetches.values.sorted { $0.request < $1.request }
    }

    // MARK: What peers say of fetches.

    func receiveFetch(_ message: PeerMessage, from holder: Holder) {
        switch message {
        case .fetchBody(let request, let tag, let pieces):
            self.serve(request, tag, pieces, to: holder)
        case .fetchMore(let request, let pieces):
            self.answer(request, to: holder)?.allow(pieces)
        case .fetchEnded(let request): self.answer(request, to: holder)?.end()
        case .fetchedHead(let request, let seal): self.fetch(request, of: holder)?.head(seal)
        case .fetchedPiece(let request, let blocks, let isLast):
            self.fetch(request, of: holder)?.piece(blocks, isLast: isLast)
        case .fetchFailed(let request, let why):
            self.fetch(request, of: holder)?.fail(.told(why))
        case .raft, .forward, .forwardRefused, .renew, .renewed, .founding, .standing,
            .bodyOpen, .bodyChunk, .bodyEnd, .bodyWhole, .bodyStored, .bodyRefused,
            .bodyAbandoned, .snapshotOffer, .snapshotPiece, .snapshotDone, .snapshotAnswer:
            return
        }
    }

    /// Nil: it has ended, or is another's: what comes of it is late.
    private func fetch(_ request: UInt64, of holder: Holder) -> BodyFetch? {
        self.fetches[request].flatMap { $0.holder == holder ? $0 : nil }
    }

    private func answer(_ request: UInt64, to holder: Holder) -> BodySender? {
        self.senders.first { $0.holder == holder && $0.isAnswer(request) }
    }

    private func serve(_ request: UInt64, _ tag: Tag, _ pieces: UInt32, to holder: Holder) {
        guard self.senders.count(where: { $0.holder == holder }) < Self.answersMax else {
            _ = self.mesh?.send(.fetchFailed(request: request, .tooManyRequests), to: holder.node)
            return
        }
        let sender = BodySender(
            node: self, tag: tag, to: holder, request: request, allowed: pieces)
        self.senders.append(sender)
        sender.begin()
    }
}
