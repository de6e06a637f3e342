import Foundation
import Logging
import NIOCore
import NIOPosix
import Primitives
import Settings
import Storage
import Testing

@testable import Cluster

@Suite("The queue's quota")
struct QueueQuotaTests {
    @Test func `one below a limit there is room, at the limit there is none`() {
        for (messages, bytes, isOver) in [
            (UInt64(9), UInt64(999), false), (10, 999, true), (9, 1000, true), (11, 1001, true),
            (0, 0, false), (UInt64.max, UInt64.max, true),
        ] {
            var quota = QueueQuota(messagesMax: 10, bytesMax: 1000)
            let hasChanged = quota.update(messages: messages, bytes: bytes)
            #expect(hasChanged == isOver)
            #expect(quota.isOver == isOver)
        }
    }

    /// `isOver` after each step.
    private func trace(_ quota: QueueQuota, _ steps: [(UInt64, UInt64)]) -> [Bool] {
        var quota = quota
        return steps.map { messages, bytes in
            let before = quota.isOver
            let hasChanged = quota.update(messages: messages, bytes: bytes)
            #expect(hasChanged == (quota.isOver != before))
            return quota.isOver
        }
    }

    @Test func `there is room again at 90 % of both, not above`() {
        let quota = QueueQuota(messagesMax: 100, bytesMax: 1000)
        let steps: [(UInt64, UInt64)] = [(100, 10), (91, 10), (90, 901), (90, 900), (99, 999)]
        #expect(self.trace(quota, steps) == [true, true, true, false, false])
    }

    @Test func `a limit of one message works, and the largest do not overflow`() {
        let quota = QueueQuota(messagesMax: 1, bytesMax: .max)
        #expect(self.trace(quota, [(1, 0), (0, .max / 10 * 8)]) == [true, false])
        #expect(quota.usedRatio(messages: 1, bytes: 0) == 1)
    }
}

@Suite("Memory of a message on its way in")
struct HeldBytesTests {
    @Test func `a small message is held whole, a large one by its block`() async throws {
        var template = Array(
            (FileManager.default.temporaryDirectory.path + "/held-XXXXXX").utf8CString)
        let directory = try #require(mkdtemp(&template).map { String(cString: $0) })
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let loops = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        var settings = Settings()
        settings.node.name = "a"
        settings.node.hostname = "relay.test"
        settings.node.data = directory
        var options = StorageOptions()
        options.segmentBytes = 4 << 20
        options.reserveBytes = 1 << 20
        options.lowWaterBytes = 1 << 20
        let node = try RunningNode.open(
            settings, loops: loops, logger: Logger(label: "test"), options: options
        ) { _ in }
        node.desk.attach(Nobody())
        try await node.start()
        let loop = loops.next()
        let seen = try await loop.submit {
            let body = try node.intake.begin(on: loop, resume: {}).get()
            var seen: [Int] = []
            func add(_ count: Int) {
                _ = body.append(ByteBuffer(repeating: 0x61, count: count))
                seen.append(body.heldBytes)
            }
            // A piece counts with the whole of its buffer.
            var piece = ByteBuffer(repeating: 0x61, count: 8192)
            _ = body.append(piece.readSlice(length: 1) ?? ByteBuffer())
            seen.append(body.heldBytes)
            for count in [32 << 10, 32 << 10, 128 << 10, 64 << 10] { add(count) }
            body.abandon()
            let other = try node.intake.begin(on: loop, resume: {}).get()
            other.shed()
            for _ in 0..<2 { _ = other.append(ByteBuffer(repeating: 0x61, count: 64 << 10)) }
            seen.append(other.heldBytes)
            other.shed()
            _ = other.append(ByteBuffer(repeating: 0x61, count: 64 << 10))
            seen.append(other.heldBytes)
            other.abandon()
            return seen
        }.get()
        let block = IncomingBody.blockBytes
        #expect(
            seen == [
                8192, 8192 + (32 << 10), 8192 + (64 << 10) + block, 8192 + (192 << 10) + block,
                block, (128 << 10) + block, block,
            ])
        await node.stop()
        try await loops.shutdownGracefully()
    }

    private final class Nobody: LeaseTaker {
        func take(_ work: [LeasedWork]) {}
        func sharesChanged() {}
        func cutConnections(sparesVerdicts: Bool) {}
    }
}
