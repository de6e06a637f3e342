import MailQueue
import Primitives
import Testing

@testable import Cluster

@Suite("Acknowledgements (4)") struct AcknowledgementTests {
    @Test func `they go in ranges, when there are many or one is urgent`() {
        var known = Acknowledgements()
        for number in UInt64(1)...63 { known.add(number) }
        #expect(known.take() == [])
        known.add(64)
        #expect(known.take() == [1...64])
        known.add(70)
        known.addUrgent(66)
        known.add(65)
        #expect(known.take() == [65...66, 70...70])
        #expect(known.take() == [])
    }

    @Test func `an Enqueue is not acknowledged before its Cancel is`() {
        var known = Acknowledgements()
        known.hold(5)
        known.add(5)
        known.addUrgent(6)
        #expect(known.take() == [6...6])
        known.addUrgent(9)
        known.release(5)
        #expect(known.take() == [5...5, 9...9])
        // It was collected already: taken back out of its range.
        for number in UInt64(20)...22 { known.add(number) }
        known.hold(21)
        known.addUrgent(23)
        #expect(known.take() == [20...20, 22...23])
        known.release(21)
        known.addUrgent(24)
        #expect(known.take() == [21...21, 24...24])
        // The Cancel came first: the Enqueue's own result is still to come.
        known.hold(10)
        known.release(10)
        known.addUrgent(11)
        #expect(known.take() == [11...11])
        known.addUrgent(10)
        #expect(known.take() == [10...10])
    }

    @Test func `no command has more ranges than others read, and none is forgotten`() throws {
        var known = Acknowledgements()
        let numbers = stride(from: UInt64(1), through: 5999, by: 2)
        for number in numbers { known.add(number) }
        var all: [ClosedRange<UInt64>] = []
        while true {
            let ranges = known.take()
            if ranges.isEmpty { break }
            let origin = Origin(
                session: SessionID(raw: 3), sequence: 9999, acknowledged: ranges)
            var writer = ByteWriter(capacity: 64)
            Command(origin, .tick).encode(into: &writer)
            var reader = ByteReader(writer.bytes)
            #expect(try Command(from: &reader).origin == origin)
            all += ranges
        }
        #expect(all == numbers.map { $0...$0 })
        // In any order: neighbours are one range.
        for number in (UInt64(7000)...9000).reversed() { known.add(number) }
        #expect(known.take() == [7000...9000])
    }
}
