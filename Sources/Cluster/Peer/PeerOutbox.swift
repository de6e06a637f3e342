// PeerOutbox.swift - frames that wait for their connection.
//
// Small frames share a buffer, so that many cost one write; large blocks go as they are. What is
// handed to the channel is counted until the kernel has it, and no more than `windowBytes` is, so
// that TLS works in slices and memory is held once.

import NIOCore
import Primitives

struct PeerOutbox {
    /// Bytes handed to the channel and not yet taken by the kernel, about.
    static let windowBytes = 1 << 20
    /// A shared buffer takes further frames up to this size.
    private static let sharedBytes = 16 << 10

    private var waiting = CircularBuffer<ByteBuffer>()
    private var open = ByteBuffer()
    private var openLimitReached: Bool { self.open.readableBytes >= Self.sharedBytes }
    private var waitingBytes = 0
    /// Handed to the channel.
    private(set) var writingBytes = 0

    /// All that the kernel does not have yet.
    var queuedBytes: Int { self.waitingBytes + self.writingBytes }
    var isEmpty: Bool { self.waitingBytes == 0 }

    /// Adds one frame.
    ///
    /// - Parameter encode: appends the frame and returns what has to follow it.
    mutating func add(_ encode: (inout ByteBuffer) -> ByteBuffer?) {
        let before = self.open.readableBytes
        let tail = encode(&self.open)
        self.waitingBytes += self.open.readableBytes - before
        if let tail {
            self.seal()
            self.waiting.append(tail)
            self.waitingBytes += tail.readableBytes
        } else if self.openLimitReached {
            self.seal()
        }
    }

    private mutating func seal() {
        guard self.open.readableBytes > 0 else { return }
        self.waiting.append(self.open)
        self.open = ByteBuffer()
    }

    /// Gives out what may be written now; `written` has to follow for each call that gave any.
    mutating func take(_ write: (ByteBuffer) -> Void) -> Int {
        var taken = 0
        if self.waiting.isEmpty { self.seal() }
        while self.writingBytes + taken < Self.windowBytes, let next = self.waiting.popFirst() {
            taken += next.readableBytes
            write(next)
            if self.waiting.isEmpty { self.seal() }
        }
        self.waitingBytes -= taken
        self.writingBytes += taken
        return taken
    }

    mutating func written(_ bytes: Int) { self.writingBytes -= bytes }

    mutating func clear() {
        self.waiting.removeAll()
        self.open = ByteBuffer()
        self.waitingBytes = 0
    }
}
