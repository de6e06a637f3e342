// BodyReceipt.swift - what is known of a stored body: its size, its digest, where it lies.

package import Primitives

/// SHA-256 of a body's content (not of its head), as four big-endian words.
package struct BodyDigest: Hashable, Sendable {
    package var a: UInt64, b: UInt64, c: UInt64, d: UInt64
    package init(a: UInt64, b: UInt64, c: UInt64, d: UInt64) {
        self.a = a
        self.b = b
        self.c = c
        self.d = d
    }
    package static let zero = BodyDigest(a: 0, b: 0, c: 0, d: 0)
}

/// One node that holds a copy: a wiped node is another holder.
package struct Holder: Hashable, Comparable, Sendable {
    package var node: NodeName
    package var incarnation: Incarnation
    package init(node: NodeName, incarnation: Incarnation) {
        self.node = node
        self.incarnation = incarnation
    }
    package static func < (a: Holder, b: Holder) -> Bool {
        a.node != b.node ? a.node < b.node : a.incarnation < b.incarnation
    }
}

/// What `BodyStored` from all holders amounts to; travels in the Enqueue command.
package struct BodyReceipt: Hashable, Sendable {
    /// Bytes of the message as it is sent on: head and content, CRLF line ends.
    package var originalBytes: UInt64
    /// Bytes on one node's disk.
    package var storedBytes: UInt64
    package var digest: BodyDigest
    /// In ascending order, without repetition.
    package var holders: [Holder]
    package init(
        originalBytes: UInt64, storedBytes: UInt64, digest: BodyDigest, holders: [Holder]
    ) {
        self.originalBytes = originalBytes
        self.storedBytes = storedBytes
        self.digest = digest
        self.holders = holders
    }
}
