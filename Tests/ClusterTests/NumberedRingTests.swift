import Primitives
import Testing

@testable import Cluster

@Suite("Values by ascending numbers")
struct NumberedRingTests {
    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `it does what a dictionary does`(seed: UInt64) {
        var dice = Generator(seed: seed)
        var ring = NumberedRing<Int>(capacity: 0)
        var model: [UInt64: Int] = [:]
        // Numbers are drawn in order and come a little out of it, as bodies are stored.
        var drawn: UInt64 = 1
        var waiting: [UInt64] = []
        for step in 0..<2000 {
            switch dice.below(4) {
            case 0:
                waiting.append(drawn)
                drawn += 1
            case 1 where !waiting.isEmpty:
                let number = waiting.remove(at: dice.below(waiting.count))
                ring.insert(step, at: number)
                model[number] = step
            case 2:
                if let number = model.keys.sorted().first {
                    ring.update(number, -step)
                    model[number] = -step
                }
            case _:
                let number = UInt64(1 + dice.below(Int(drawn)))
                #expect(ring.remove(number) == model.removeValue(forKey: number))
            }
            #expect(ring.count == model.count)
            #expect(ring.isEmpty == model.isEmpty)
        }
        for number in 0...drawn { #expect(ring[number] == model[number]) }
        #expect(Set(ring.numbers.filter { ring[$0] != nil }) == Set(model.keys))
        ring.removeAll()
        #expect(ring.isEmpty && ring[drawn] == nil)
    }

    /// Number by number it would be 8.6 thousand million steps.
    @Test(.timeLimit(.minutes(1)))
    func `a number of long ago costs one pass over those behind it`() {
        var ring = NumberedRing<UInt64>(capacity: 0)
        let gap: UInt64 = 1 << 17
        ring.insert(gap, at: gap)
        ring.insert(1, at: 1)
        #expect(ring.count == 2 && ring.numbers == 1..<gap + 1)
        #expect(ring[1] == 1 && ring[2] == nil && ring[gap] == gap)
        #expect(ring.remove(1) == 1)
        #expect(ring.numbers == gap..<gap + 1)
    }
}
