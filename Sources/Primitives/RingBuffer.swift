// RingBuffer.swift - first in, first out, without moving elements.

/// A queue that grows by doubling and never shrinks by itself.
///
/// Inlinable: what is not specialised in the user's module looks up its type at each call, which
/// cost more than the work that is queued here.
package struct RingBuffer<Element> {
    @usableFromInline var storage: [Element?]
    @usableFromInline var head = 0
    @usableFromInline var length = 0

    @inlinable package init(capacity: Int = 0) {
        self.storage = Array(repeating: nil, count: capacity)
    }

    @inlinable package var count: Int { self.length }
    @inlinable package var isEmpty: Bool { self.length == 0 }
    @inlinable package var first: Element? {
        self.length == 0 ? nil : self.storage[self.head]
    }

    /// The element `offset` places behind the first.
    @inlinable package subscript(offset: Int) -> Element {
        get {
            invariant(offset >= 0 && offset < self.count, "index of a ring")
            return self.storage[self.position(offset)]!
        }
        set {
            invariant(offset >= 0 && offset < self.count, "index of a ring")
            self.storage[self.position(offset)] = newValue
        }
    }

    @inlinable package mutating func append(_ element: Element) {
        if self.count == self.storage.count { self.grow() }
        self.storage[self.position(self.count)] = element
        self.length += 1
    }

    @inlinable package mutating func popFirst() -> Element? {
        guard self.count > 0 else { return nil }
        let element = self.storage[self.head]
        self.storage[self.head] = nil
        self.head += 1
        if self.head == self.storage.count { self.head = 0 }
        self.length -= 1
        return element
    }

    @inlinable func position(_ offset: Int) -> Int {
        let p = self.head + offset
        return p >= self.storage.count ? p - self.storage.count : p
    }

    @inlinable mutating func grow() {
        var larger: [Element?] = []
        larger.reserveCapacity(max(16, self.storage.count * 2))
        for i in 0..<self.count { larger.append(self.storage[self.position(i)]) }
        let capacity = max(16, self.storage.count * 2)
        while larger.count < capacity { larger.append(nil) }
        self.storage = larger
        self.head = 0
    }
}

extension RingBuffer: Sendable where Element: Sendable {}
