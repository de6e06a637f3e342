// BodySource.swift - a stored body, read piece by piece for those who send it on.
//
// Takes     requests for the next piece, one at a time, from any loop.
// Gives     the head at once, then content; the last piece only when the digest of all content is
//           right, so that who holds back the end of what he sends never ends a wrong message.
// Threads   pieces are read and digested on the storage's reader (those of a peer on the node's
//           loop); answers come on the asker's loop.

package import NIOCore
import OpenSSL
import Primitives
import Spool
import Storage
import Synchronization

/// The next part of a body's content.
package struct BodyPiece: Sendable {
    package var bytes: ByteBuffer
    /// All of the content has come, and it is what was written.
    package var isLast: Bool
    package init(bytes: ByteBuffer, isLast: Bool) {
        self.bytes = bytes
        self.isLast = isLast
    }
}

/// An open body. Holds no file and no lock; forget it at any time.
package final class BodySource: Sendable {
    package typealias Answer = @Sendable (Result<BodyPiece, BodyReadError>) -> Void
    package let head: ByteBuffer
    /// Head and content.
    package let byteCount: Int
    private let more: @Sendable (@escaping Answer) -> Void

    /// - Parameter more: gives the next piece, on any thread.
    package init(
        head: ByteBuffer, contentBytes: Int, more: @escaping @Sendable (@escaping Answer) -> Void
    ) {
        self.head = head
        self.byteCount = head.readableBytes + contentBytes
        self.more = more
    }

    /// The next piece, on `loop`. One request at a time, and none behind the last piece.
    package func next(
        on loop: any EventLoop,
        _ answer: @escaping (Result<BodyPiece, BodyReadError>) -> Void
    ) {
        let bound = NIOLoopBound(answer, eventLoop: loop)
        self.more { result in loop.execute { bound.value(result) } }
    }
}

/// Whether content is what was written: counts and digests what has come.
struct ContentCheck: ~Copyable {
    private var digest = SHA256()
    private var bytes: UInt64 = 0
    private let expectedBytes: UInt64
    private let expected: BodyDigest

    init(bytes: UInt64, digest: BodyDigest) {
        self.expectedBytes = bytes
        self.expected = digest
    }

    /// Takes what came next; nothing means that nothing more comes.
    ///
    /// - Returns: whether all of it has come, and is right; nil: it is not what was written.
    mutating func take(_ content: [UInt8]) -> Bool? {
        self.digest.update(content)
        self.bytes += UInt64(content.count)
        // The end before all of it, or more than there should be.
        guard self.bytes <= self.expectedBytes,
            !content.isEmpty || self.bytes == self.expectedBytes
        else { return nil }
        guard self.bytes == self.expectedBytes else { return false }
        return BodyDigest(self.digest.finish()) == self.expected ? true : nil
    }
}

/// Reads and digests the content of one stored body. The storage answers one request after the
/// other; the lock orders them for the compiler.
final class StoredContent: Sendable {
    private let storage: Storage
    private let cursor: BodyCursor
    private let check: Mutex<ContentCheck>

    init(_ storage: Storage, _ cursor: BodyCursor, digest: BodyDigest) {
        self.storage = storage
        self.cursor = cursor
        self.check = Mutex(ContentCheck(bytes: cursor.contentBytes, digest: digest))
    }

    var byteCount: UInt64 { self.cursor.contentBytes }

    /// The next piece of content; `isLast` with the one that makes it complete and right.
    func next(
        _ answer: @escaping @Sendable (Result<(bytes: [UInt8], isLast: Bool), BodyError>) -> Void
    ) {
        self.storage.readMore(self.cursor) { result in
            answer(result.flatMap { self.take($0) })
        }
    }

    private func take(_ bytes: [UInt8]) -> Result<(bytes: [UInt8], isLast: Bool), BodyError> {
        guard let isLast = self.check.withLock({ $0.take(bytes) }) else {
            return .failure(.damaged)
        }
        return .success((bytes, isLast))
    }

    /// Reads on to the end and keeps nothing; nil: all of it is right.
    func verify(_ answer: @escaping @Sendable (BodyError?) -> Void) {
        self.next { result in
            switch result {
            case .failure(let error): answer(error)
            case .success((_, true)): answer(nil)
            case .success((_, false)): self.verify(answer)
            }
        }
    }
}
