// EventHeap.swift - what will happen in the simulated world, in the order of time.
//
// Takes     small events; two at the same instant keep the order in which they were put in.
// Never     an order that depends on anything but time and the number of the event.

/// What happens. Raw values stand in the hash of a run.
package enum EventKind: UInt8, Sendable {
    case tick
    case turn
    case deliver
    case storeDone
    case applyStep
    case checkpointDone
    case offerSnapshot
    case snapshotReport
    case recovered
    case restart
    case rejoin
    case resume
    case fault
    case client
    case clientTimeout
    case call
    case control
}

/// One event: 40 bytes, no references.
package struct Event: Sendable {
    package var time: Int64
    package var order: UInt64 = 0
    package var kind: EventKind
    /// The machine; for `.client…` the client.
    package var host: UInt8
    /// For `.deliver` the sender's machine.
    package var other: UInt8 = 0
    /// The life of the process, or of the connection, that the event belongs to.
    package var epoch: UInt32 = 0
    /// A slot, a number, a kind of fault: what `kind` says.
    package var item: Int = 0
}

/// A binary heap.
struct EventHeap {
    private var events: ContiguousArray<Event> = []
    private var nextOrder: UInt64 = 0

    init() { self.events.reserveCapacity(1024) }

    var isEmpty: Bool { self.events.isEmpty }
    var count: Int { self.events.count }

    @inline(__always)
    private static func isBefore(_ a: borrowing Event, _ b: borrowing Event) -> Bool {
        a.time != b.time ? a.time < b.time : a.order < b.order
    }

    mutating func push(_ event: Event) {
        var new = event
        new.order = self.nextOrder
        self.nextOrder += 1
        var at = self.events.count
        self.events.append(new)
        self.events.withUnsafeMutableBufferPointer { events in
            while at > 0 {
                let parent = (at - 1) / 2
                if !Self.isBefore(new, events[parent]) { break }
                events[at] = events[parent]
                at = parent
            }
            events[at] = new
        }
    }

    mutating func pop() -> Event? {
        guard let last = self.events.popLast() else { return nil }
        if self.events.isEmpty { return last }
        let first = self.events[0]
        self.events.withUnsafeMutableBufferPointer { events in
            var at = 0
            while true {
                var child = 2 * at + 1
                if child >= events.count { break }
                if child + 1 < events.count, Self.isBefore(events[child + 1], events[child]) {
                    child += 1
                }
                if !Self.isBefore(events[child], last) { break }
                events[at] = events[child]
                at = child
            }
            events[at] = last
        }
        return first
    }
}
