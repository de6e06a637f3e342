// RecentBodies.swift - bodies that came in moments ago, for the first attempt.
//
// Limits    `bytesMax` in all; the oldest go first. Losing one costs a read, never mail.

import NIOCore
import Primitives

/// First in, first out, by bytes.
struct RecentBodies {
    /// Content that is kept in memory over all messages.
    static let bytesMax = 64 << 20

    /// Names without a body that may stand in the ring.
    static let namesSlack = 1024

    private var bodies: [Tag: MessageBody] = [:]
    private var order = RingBuffer<Tag>(capacity: 256)
    private var bytes = 0

    /// Names in the ring, with a body or without.
    var nameCount: Int { self.order.count }

    subscript(tag: Tag) -> MessageBody? { self.bodies[tag] }

    mutating func insert(_ tag: Tag, _ body: MessageBody) {
        self.bodies[tag] = body
        self.order.append(tag)
        self.bytes += body.byteCount
        while self.bytes > Self.bytesMax, let oldest = self.order.popFirst() { self.forget(oldest) }
    }

    mutating func remove(_ tag: Tag) {
        self.forget(tag)
        // Names whose body has gone are dropped from the front: the ring stays short while mail
        // is delivered in about the order in which it came.
        while let first = self.order.first, self.bodies[first] == nil { _ = self.order.popFirst() }
        // One that stays long must not keep the names of all that came and went behind it.
        if self.order.count > 2 * self.bodies.count + Self.namesSlack { self.compact() }
    }

    private mutating func compact() {
        var kept = RingBuffer<Tag>(capacity: self.bodies.count)
        while let tag = self.order.popFirst() {
            if self.bodies[tag] != nil { kept.append(tag) }
        }
        self.order = kept
    }

    private mutating func forget(_ tag: Tag) {
        if let body = self.bodies.removeValue(forKey: tag) { self.bytes -= body.byteCount }
    }
}
