// RingBuffer.swift - first in, first out, without moving elements.

/// A queue that grows by doubling and never shrinks by itself.
package struct RingBuffer<Element> {
    private var storage: [Element?]
    private var head = 0
    package private(set) var count = 0

    package init(capacity: Int = 0) {
        self.storage = Array(repeating: nil, count: capacity)
    }

    package var isEmpty: Bool { self.count == 0 }
    package var first: Element? { self.count == 0 ? nil : self.storage[self.head] }

    /// The element `offset` places behind the first.
    package subscript(offset: Int) -> Element {
        get {
            invariant(offset >= 0 && offset < self.count, "index of a ring")
            return self.storage[self.position(offset)]!
        }
        set {
            invariant(offset >= 0 && offset < self.count, "index of a ring")
            self.storage[self.position(offset)] = newValue
        }
    }

    package mutating func append(_ element: Element) {
        if self.count == self.storage.count { self.grow() }
        self.storage[self.position(self.count)] = element
        self.count += 1
    }

    package mutating func popFirst() -> Element? {
        guard self.count > 0 else { return nil }
        let element = self.storage[self.head]
        self.storage[self.head] = nil
        self.head += 1
        if self.head == self.storage.count { self.head = 0 }
        self.count -= 1
        return element
    }

    private func position(_ offset: Int) -> Int {
        let p = self.head + offset
        return p >= self.storage.count ? p - self.storage.count : p
    }

    private mutating func grow() {
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
