import Delivery
import NIOPosix
import Synchronization

/// True for the first who asks.
final class OnceOnly: Sendable {
    private let asked = Mutex(false)
    func isFirst() -> Bool {
        self.asked.withLock { asked in
            defer { asked = true }
            return !asked
        }
    }
}

/// Lets a test wait for a place in a server's script.
final class Signal: Sendable {
    private let stream: AsyncStream<Void>
    private let input: AsyncStream<Void>.Continuation
    init() { (self.stream, self.input) = AsyncStream<Void>.makeStream() }
    func send() { self.input.yield() }
    func wait() async { for await _ in self.stream { return } }
}

extension RecipientProber {
    func ask(_ address: String) async -> ProbeAnswer {
        await withCheckedContinuation { continuation in
            self.probe(address, on: MultiThreadedEventLoopGroup.singleton.next()) {
                continuation.resume(returning: $0)
            }
        }
    }
}
