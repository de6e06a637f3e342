import NIOPosix
import Primitives
import Testing

@testable import Delivery

@Suite("What is remembered of probes")
struct ProbeMemoryTests {
    private static let asker = OneAnswer(loop: MultiThreadedEventLoopGroup.singleton.next()) { _ in
    }
    private static let start = Instant(nanoseconds: 0)

    @Test(arguments: [
        (ProbeAnswer.valid, RecipientProber.Limit.valid),
        (.unknown, RecipientProber.Limit.unknown),
    ])
    func `an answer lives for its time and not a nanosecond longer`(
        answer: ProbeAnswer, lifetime: Duration
    ) {
        var memory = ProbeMemory()
        #expect(memory.ask("x", at: Self.start, Self.asker) == .toAsk)
        #expect(memory.learn("x", answer, at: Self.start).count == 1)
        let end = Self.start + lifetime
        #expect(memory.ask("x", at: end - .nanoseconds(1), Self.asker) == .known(answer))
        #expect(memory.ask("x", at: end, Self.asker) == .toAsk)
    }

    @Test func `equal questions are asked once and answered together`() {
        var memory = ProbeMemory()
        #expect(memory.ask("x", at: Self.start, Self.asker) == .toAsk)
        #expect(memory.ask("x", at: Self.start, Self.asker) == .asked)
        #expect(memory.learn("x", .valid, at: Self.start).count == 2)
    }

    @Test func `one more than the limit: the oldest goes`() {
        var memory = ProbeMemory(limit: 3)
        for name in ["a", "b", "c", "d"] { _ = memory.learn(name, .valid, at: Self.start) }
        #expect(memory.count == 3)
        #expect(memory.ask("a", at: Self.start, Self.asker) == .toAsk)
        #expect(memory.ask("b", at: Self.start, Self.asker) == .known(.valid))
    }

    @Test func `the same names learnt over and over do not grow it`() {
        var memory = ProbeMemory(limit: 3)
        for round in 0..<1000 {
            _ = memory.learn(round % 2 == 0 ? "a" : "b", .valid, at: Self.start)
        }
        #expect(memory.count <= 3)
        #expect(memory.remembered <= 6)
    }
}
