import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import Demo

/// What came to the sink.
private final class Arrivals: Sendable {
    private let all = Mutex<[DemoArrival]>([])
    private let (stream, source) = AsyncStream<Int>.makeStream()

    func add(_ arrival: DemoArrival) {
        let count = self.all.withLock { all in
            all.append(arrival)
            return all.count
        }
        self.source.yield(count)
    }

    /// When there are so many.
    func wait(for count: Int) async -> [DemoArrival] {
        for await seen in self.stream where seen >= count { break }
        return self.all.withLock { $0 }
    }
}

@Suite("The demo's ports", .timeLimit(.minutes(1)))
struct FrontPortTests {
    private static func load(
        _ port: Int, on loop: any EventLoop, messages: Int,
        note: @escaping @Sendable (DemoAttempt) -> Void
    ) async throws -> NIOLoopBound<DemoLoad> {
        let drawn = Mutex(0)
        let draw: @Sendable () -> Int? = {
            drawn.withLock { count in
                defer { count += 1 }
                return count < messages ? count : nil
            }
        }
        return try await loop.submit {
            let load = DemoLoad(
                loop: loop, port: port, run: 9, perSecond: 1000, draw: draw, ledger: note)
            load.start()
            return NIOLoopBound(load, eventLoop: loop)
        }.get()
    }

    @Test func `mail of the load goes through the front port to the node that is there`()
        async throws
    {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let arrivals = Arrivals()
        let sink = try await SinkPort.start(on: group) { arrivals.add($0) }
        // The first node is said to be ready, and refuses: nothing listens there any more.
        let gone = try await ServerBootstrap(group: group).bind(host: "127.0.0.1", port: 0).get()
        let gonePort = try #require(gone.localAddress?.port)
        try await gone.close()
        let front = FrontPort([gonePort, sink])
        for place in 0..<2 { front.note(place, isReady: true) }
        let port = try await front.start(on: group)
        let accepted = Mutex(0)
        let loop = group.next()
        let load = try await Self.load(port, on: loop, messages: 40) { attempt in
            if case .accepted = attempt { accepted.withLock { $0 += 1 } }
        }
        let came = await arrivals.wait(for: 40)
        let numbers = came.compactMap { arrival -> Int? in
            if case .marked(let mark) = arrival, mark.run == 9 { mark.number } else { nil }
        }
        #expect(numbers.sorted() == Array(0..<40))
        try await loop.submit { load.value.stop() }.get()
        while try await !loop.submit({ load.value.hasEnded }).get() {}
        #expect(accepted.withLock { $0 } == 40)
        try await group.shutdownGracefully()
    }

    @Test func `connections go to the ready nodes in turn`() {
        let front = FrontPort([1, 2, 3])
        #expect(front.order == [])
        for place in 0..<3 { front.note(place, isReady: true) }
        #expect([front.order, front.order, front.order] == [[0, 1, 2], [1, 2, 0], [2, 0, 1]])
        front.note(1, isReady: false)
        #expect([front.order, front.order, front.order] == [[0, 2], [2, 0], [0, 2]])
    }

    @Test func `lines are read across pieces, and a long one is seen`() {
        var reader = LineReader()
        for piece in ["ab", "c\r\nde\n", "\r\n", "f"] {
            var bytes = ByteBuffer(string: piece)
            reader.append(&bytes)
        }
        var lines: [String] = []
        while let line = reader.next() { lines.append(String(buffer: line)) }
        #expect(lines == ["abc", "de", ""])
        #expect(!reader.isTooLong)
        var long = ByteBuffer(repeating: 0x61, count: LineReader.lineBytesMax)
        reader.append(&long)
        #expect(reader.next() == nil)
        #expect(reader.isTooLong)
    }
}
