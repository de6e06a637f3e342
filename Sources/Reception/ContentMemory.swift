// ContentMemory.swift - how much content all sessions of a node hold in memory, together.
//
// A small message is in memory as a whole until its verdict; a larger one holds one block, and its
// beginning for the first attempt. Each is bounded, but there may be `relay.max_sessions` of them.
// So: 1 above `admittedBytes` no message is begun (452 4.3.1), and what is kept for speed only is
// given up. 2 What would go beyond `bytes` is refused (452 4.3.1 behind its end) and forgotten at
// once. Nobody waits for memory that only another waiting session could give back.
// Counted   by the buffers that are kept, not by the bytes in them: a client that sends one byte at
//           a time keeps a whole buffer for each.

import Synchronization

final class ContentMemory: Sendable {
    enum Limit {
        /// Bytes that all messages on their way in may keep.
        static let bytes = 256 << 20
        /// From here on no message is begun: those that have begun need the rest.
        static let admittedBytes = 192 << 20
    }

    private let bytes: Int
    private let admittedBytes: Int
    private let held = Atomic<Int>(0)

    init(bytes: Int = Limit.bytes, admittedBytes: Int = Limit.admittedBytes) {
        self.bytes = bytes
        self.admittedBytes = admittedBytes
    }

    /// Bytes that are held now.
    var heldBytes: Int { self.held.load(ordering: .relaxed) }

    /// Whether a message may begin, and keep what it does not need.
    var hasRoom: Bool { self.heldBytes < self.admittedBytes }

    /// A message that held `before` bytes holds `after`; false: that is too much and not noted.
    func change(from before: Int, to after: Int) -> Bool {
        let sum = self.held.wrappingAdd(after - before, ordering: .relaxed).newValue
        guard after > before, sum > self.bytes else { return true }
        self.held.wrappingSubtract(after - before, ordering: .relaxed)
        return false
    }
}
