// ClientConnection+Fetch.swift - bodies that are not in memory: read whole, or opened and streamed.
//
// Takes     the desk's answers.
// Gives     a transaction that begins when there is something to send; pieces to the slices of
//           ClientConnection+Body.swift as the channel takes them.
// Limits    above `wholeBytes` a connection holds one piece of the body (64 KiB of content as
//           Reception stores it), what its final write will be, and what NIO has not written.
// Never     the final dot of a message whose digest is not right: the last piece comes only then.

import Cluster
import MailQueue
import NIOCore
import Primitives
import SMTP

/// A large body that is open, and how it begins.
struct OpenedBody {
    let source: BodySource
    /// Head and first piece.
    var parts: [ByteBuffer]
    /// There is no more than `parts`, and all of it is right.
    var isWhole: Bool
}

extension ClientConnection {
    enum FetchLimit {
        /// A message up to this size is read as a whole, head and content.
        static let wholeBytes: UInt64 = 1 << 20
    }

    /// Reads the body of a piece, or opens it, and begins then.
    func fetch(_ piece: Piece) {
        guard let lease = piece.lease else { unreachable("a probe has no body") }
        self.state = .fetching
        self.current = piece
        self.deadline = .distantFuture
        let message = lease.delivery.id.message
        guard lease.delivery.originalBytes <= FetchLimit.wholeBytes else {
            self.desk.openBody(of: message, on: self.owner.loop) { [self] result in
                switch result {
                case .success(let source): self.readOpening(of: source)
                case .failure(let error): self.cannotFetch(error)
                }
            }
            return
        }
        self.desk.readBody(of: message, on: self.owner.loop) { [self] result in
            switch result {
            case .success(let body):
                lease.body = body
                self.fetched()
            case .failure(let error): self.cannotFetch(error)
            }
        }
    }

    /// The first piece is read before MAIL: what cannot be read at all opens no transaction, and
    /// the header says whether the message needs SMTPUTF8.
    private func readOpening(of source: BodySource) {
        guard case .fetching = self.state else { return }
        source.next(on: self.owner.loop) { [self] result in
            guard case .fetching = self.state else { return }
            switch result {
            case .success(let piece):
                self.opened = OpenedBody(
                    source: source, parts: [source.head, piece.bytes], isWhole: piece.isLast)
                self.fetched()
            case .failure(let error): self.cannotFetch(error)
            }
        }
    }

    private func fetched() {
        guard case .fetching = self.state, let piece = self.current else { return }
        self.current = nil
        self.state = .idle
        self.begin(piece)
        if self.isIdle { self.pull() }
    }

    private func cannotFetch(_ error: BodyReadError) {
        guard case .fetching = self.state, let piece = self.current else { return }
        self.current = nil
        self.state = .idle
        self.owner.bodyMissing(piece, error)
        self.pull()
    }

    // MARK: - Behind 354

    /// Asks for the next piece if what is loaded is about to run out and the channel takes more.
    func readOn() {
        guard var outgoing = self.outgoing, let source = outgoing.source, !outgoing.isReading,
            outgoing.loadedBytes <= BodyLimit.finalBytes,
            self.context?.channel.isWritable == true
        else { return }
        outgoing.isReading = true
        self.outgoing = outgoing
        source.next(on: self.owner.loop) { [self] result in
            // 1 The connection ended; 2 the piece comes: nobody wants it.
            guard var outgoing = self.outgoing, outgoing.source === source else { return }
            outgoing.isReading = false
            switch result {
            case .success(let piece):
                if piece.bytes.readableBytes > 0 { outgoing.parts.append(piece.bytes) }
                if piece.isLast {
                    outgoing.source = nil
                    invariant(
                        outgoing.loadedBytes == outgoing.bytes, "a body is as long as it says")
                }
                self.outgoing = outgoing
                self.writeSlices()
            case .failure(let error): self.cannotReadOn(error)
            }
        }
    }

    /// Part of the content is on its way and the rest cannot be had, or is not what was written:
    /// the connection is reset, so that the host cannot take it for a message.
    private func cannotReadOn(_ error: BodyReadError) {
        guard let piece = self.current else { unreachable("content without a transaction") }
        self.current = nil
        self.owner.bodyMissing(piece, error)
        self.cut()
    }
}
