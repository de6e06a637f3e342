// IncomingBody.swift - one message's content on its way to the disks.
//
// Takes     pieces of content, as read from the socket.
// Gives     digested, compressed blocks: a small body as a whole at its end, a larger one as a
//           stream while it arrives.
// Limits    `blockBytes` of content per block; what is kept for the first attempt is at most
//           `memoryBytesMax` a message.

package import NIOCore
import OpenSSL
package import Primitives
package import SMTP
import Spool
import Storage

/// Scratch memory of one event loop, shared by all its sessions.
final class IntakeLane {
    /// Where the pieces of one block are put together.
    let block = UnsafeMutableRawBufferPointer.allocate(
        byteCount: IncomingBody.blockBytes, alignment: 16)
    /// Compressed blocks on their way to the journal.
    var encoded: [UInt8] = []
    var digest = SHA256()

    deinit { self.block.deallocate() }
}

/// One message's content on its way to the disks. Confined to the session's event loop; after
/// `finish` the node reads `submission`, and nothing here is changed but by the verdict.
package final class IncomingBody {
    /// Content bytes of one compressed block.
    static let blockBytes = 64 << 10
    /// Room for the pieces of a small message, so that their list does not grow step by step.
    private static let usualPieces = 8
    /// A body up to this size stays in memory for its first attempt.
    static let memoryBytesMax = 256 << 10

    let loop: any EventLoop
    private let node: Node
    private let lane: IntakeLane
    private let resume: () -> Void
    /// Kept for the first attempt; empty above `memoryBytesMax`.
    private var pieces: [ByteBuffer] = []
    private var contentBytes = 0
    /// Memory that is kept until the verdict; a piece keeps the whole buffer that it is part of.
    package private(set) var heldBytes = 0
    private var keepsPieces = true
    private var streaming: StreamedContent?
    private var verdict: ((IntakeVerdict) -> Void)?
    /// See `refuse`.
    private(set) var isRefused = false

    init(node: Node, loop: any EventLoop, lane: IntakeLane, resume: @escaping () -> Void) {
        self.node = node
        self.loop = loop
        self.lane = lane
        self.resume = resume
    }

    /// Takes the next piece (CRLF line ends, dots unstuffed); the buffer is handed over.
    ///
    /// - Returns: false when too much is in flight: stop reading the socket until `resume`.
    package func append(_ piece: consuming ByteBuffer) -> Bool {
        self.contentBytes += piece.readableBytes
        guard let streaming = self.streaming else {
            if self.pieces.isEmpty { self.pieces.reserveCapacity(Self.usualPieces) }
            self.heldBytes += piece.storageCapacity
            self.pieces.append(piece)
            if self.contentBytes > Self.blockBytes { self.startStreaming() }
            return true
        }
        streaming.append(piece, lane: self.lane)
        if self.contentBytes > Self.memoryBytesMax {
            self.shed()
        } else if self.keepsPieces {
            self.heldBytes += piece.storageCapacity
            self.pieces.append(piece)
        }
        return self.node.mayReadOn(self.loop, resume: self.resume)
    }

    private func startStreaming() {
        let streaming = StreamedContent(self.node)
        for piece in self.pieces { streaming.append(piece, lane: self.lane) }
        self.streaming = streaming
        self.heldBytes += Self.blockBytes
    }

    /// Memory is short: what is kept for a quick first attempt only is forgotten.
    package func shed() {
        guard self.streaming != nil, self.keepsPieces else { return }
        self.keepsPieces = false
        self.pieces = []
        self.heldBytes = Self.blockBytes
    }

    /// The content is complete. The tag is drawn now and `head` makes the header fields that stand
    /// in front of the content (Received with the id; Date and Message-ID on submission), each
    /// line ended by CRLF. `destinations[i]` groups `envelope.recipients[i]` (RouteTable).
    ///
    /// - Parameters:
    ///   - receivedFrom: where it came from, for listings, e.g. `[192.0.2.7]`.
    ///   - verdict: called exactly once, on the session's loop.
    package func finish(
        envelope: Envelope, destinations: [String], receivedFrom: String = "",
        head: @escaping @Sendable (Tag) -> ByteBuffer,
        verdict: @escaping (IntakeVerdict) -> Void
    ) {
        self.verdict = verdict
        let content: Submission.Content
        if let streaming = self.streaming {
            content = .streamed(streaming.finish(lane: self.lane))
            // 1 The submission owns the stream from here. 2 The client may go before the node has
            // taken it: `abandon` must not touch it then.
            self.streaming = nil
        } else {
            content = .whole(self.encodeWhole())
        }
        let submission = Submission(
            envelope: envelope, destinations: destinations, receivedFrom: receivedFrom, head: head,
            content: content, contentBytes: UInt64(self.contentBytes),
            pieces: self.pieces, body: NIOLoopBound(self, eventLoop: self.loop), loop: self.loop)
        self.pieces = []
        self.node.submit(submission)
    }

    /// Digest and blocks of a body of at most one block.
    private func encodeWhole() -> Submission.Whole {
        let lane = self.lane
        for piece in self.pieces { piece.withUnsafeReadableBytes { lane.digest.update($0) } }
        lane.encoded.removeAll(keepingCapacity: true)
        if self.pieces.count == 1 {
            self.pieces[0].withUnsafeReadableBytes { BlockCodec.encode($0, into: &lane.encoded) }
        } else if self.contentBytes > 0 {
            var offset = 0
            for piece in self.pieces {
                piece.withUnsafeReadableBytes { bytes in
                    UnsafeMutableRawBufferPointer(rebasing: lane.block[offset...])
                        .copyMemory(from: bytes)
                    offset += bytes.count
                }
            }
            BlockCodec.encode(
                UnsafeRawBufferPointer(rebasing: lane.block[..<offset]), into: &lane.encoded)
        }
        return Submission.Whole(
            blocks: lane.encoded, blockCount: self.contentBytes > 0 ? 1 : 0,
            digest: lane.digest.finish())
    }

    /// The client has gone or the message was refused: nothing of it stays. After `finish`: the
    /// client went before the verdict; what is accepted stays accepted.
    package func abandon() {
        self.pieces = []
        self.streaming?.abandon()
        self.streaming = nil
    }

    /// After `finish`: the session tells its client no before the verdict. What is accepted all the
    /// same is taken back, or counted: the client will send it again.
    package func refuse() { self.isRefused = true }

    /// Called by the node on the session's loop.
    func decide(_ verdict: IntakeVerdict) {
        guard let callback = self.verdict else { unreachable("a second verdict") }
        self.verdict = nil
        if self.isRefused, case .accepted(let tag) = verdict {
            self.node.onLoop { $0.cancel(tag) }
        }
        callback(verdict)
    }
}

/// A message whose content is complete, on its way to the queue.
struct Submission: Sendable {
    /// All blocks of a small body.
    struct Whole: Sendable {
        var blocks: [UInt8]
        var blockCount: Int
        var digest: Digest256
    }
    /// A body whose blocks are in the journal already.
    struct Streamed: Sendable {
        var stream: BodyStream
        var blockCount: Int
        var digest: Digest256
        var storedBytes: UInt64
    }
    enum Content: Sendable {
        case whole(Whole)
        case streamed(Streamed)
    }
    var envelope: Envelope
    var destinations: [String]
    var receivedFrom: String
    var head: @Sendable (Tag) -> ByteBuffer
    var content: Content
    var contentBytes: UInt64
    /// The content for the first attempt; empty: read it back.
    var pieces: [ByteBuffer]
    /// Who waits for the verdict; nil: nobody (a report of ours).
    var body: NIOLoopBound<IncomingBody>?
    var loop: (any EventLoop)?
}

/// The blocks of a body that is larger than one block.
private final class StreamedContent {
    private let node: Node
    private let storage: Storage
    private let stream: BodyStream
    private var digest = SHA256()
    private let block = UnsafeMutableRawBufferPointer.allocate(
        byteCount: IncomingBody.blockBytes, alignment: 16)
    private var filled = 0
    private var blockCount = 0
    private var storedBytes: UInt64 = 0

    init(_ node: Node) {
        self.node = node
        self.storage = node.storage
        let stream = self.storage.openStream()
        self.stream = stream
        // Other nodes are sent what comes of it from the journal.
        if node.isSeveral { node.onLoop { $0.openPlacing(stream) } }
    }

    deinit { self.block.deallocate() }

    func append(_ piece: ByteBuffer, lane: IntakeLane) {
        piece.withUnsafeReadableBytes { bytes in
            self.digest.update(bytes)
            var rest = bytes[...]
            while !rest.isEmpty {
                let room = self.block.count - self.filled
                let part = rest.prefix(room)
                UnsafeMutableRawBufferPointer(rebasing: self.block[self.filled...])
                    .copyMemory(from: UnsafeRawBufferPointer(rebasing: part))
                self.filled += part.count
                rest = rest.dropFirst(part.count)
                if self.filled == self.block.count { self.writeBlock(lane: lane) }
            }
        }
    }

    private func writeBlock(lane: IntakeLane) {
        guard self.filled > 0 else { return }
        lane.encoded.removeAll(keepingCapacity: true)
        BlockCodec.encode(
            UnsafeRawBufferPointer(rebasing: self.block[..<self.filled]), into: &lane.encoded)
        self.filled = 0
        self.blockCount += 1
        self.storedBytes += UInt64(lane.encoded.count)
        self.storage.appendChunk(self.stream, blocks: lane.encoded)
    }

    func finish(lane: IntakeLane) -> Submission.Streamed {
        self.writeBlock(lane: lane)
        return Submission.Streamed(
            stream: self.stream, blockCount: self.blockCount, digest: self.digest.finish(),
            storedBytes: self.storedBytes)
    }

    func abandon() {
        self.storage.abandon(self.stream)
        let stream = self.stream
        if self.node.isSeveral { self.node.onLoop { $0.abandonPlacing(stream) } }
    }
}
