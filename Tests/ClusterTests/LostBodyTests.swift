// LostBodyTests.swift - bodies that are not what was written: what is proven, and what is not.

import Logging
import MailQueue
import NIOCore
import Networking
import Primitives
import SMTP
import Spool
import Storage
import Testing

@testable import Cluster

@Suite("Lost bodies", .timeLimit(.minutes(2)))
struct LostBodyTests {
    /// Changes bytes of the journal where `bytes` stand; false: they stand nowhere.
    private static func damage(_ bytes: [UInt8], in rig: Rig) throws -> Bool {
        try changeBytes(bytes, in: [rig.directory + "/journal"]) > 0
    }

    /// Sends one message, which is leased to the taker.
    private static func leased(
        _ rig: Rig, _ node: RunningNode, _ taker: Taker, _ content: [UInt8]
    ) async throws -> LeasedDelivery {
        _ = try await rig.send(node, on: rig.loop(1), content: content)
        await taker.wait { taker.deliveries.count == 1 }
        return try #require(taker.deliveries.first)
    }

    /// Reads all of a body as Delivery does; nil: it is right.
    private static func read(
        _ node: RunningNode, _ message: Primitives.Tag, streams: Bool, on loop: any EventLoop
    ) async throws -> BodyReadError? {
        let promise = loop.makePromise(of: BodyReadError?.self)
        @Sendable func next(_ source: BodySource) {
            source.next(on: loop) { result in
                switch result {
                case .success(let piece):
                    if piece.isLast { promise.succeed(nil) } else { next(source) }
                case .failure(let error): promise.succeed(error)
                }
            }
        }
        loop.execute {
            guard streams else {
                node.desk.readBody(of: message, on: loop) { result in
                    switch result {
                    case .success: promise.succeed(nil)
                    case .failure(let error): promise.succeed(error)
                    }
                }
                return
            }
            node.desk.openBody(of: message, on: loop) { result in
                switch result {
                case .success(let source): next(source)
                case .failure(let error): promise.succeed(error)
                }
            }
        }
        return try await promise.futureResult.get()
    }

    @Test(arguments: [20_000, 300_000], [false, true])
    func `damage on the disk ends the recipients: one report, counted, said once`(
        size: Int, streams: Bool
    ) async throws {
        let rig = try Rig()
        let (node, taker) = try await rig.open()
        let content = ClusterRig.content(size)
        let delivery = try await Self.leased(rig, node, taker, content)
        let tag = delivery.id.message
        #expect(try await Self.read(node, tag, streams: streams, on: rig.loop(1)) == nil)
        let middle = content.count / 2
        #expect(try Self.damage(Array(content[middle..<middle + 40]), in: rig))
        for _ in 0..<2 {
            let found = try await Self.read(node, tag, streams: streams, on: rig.loop(1))
            #expect(found == .lost)
        }
        // In flight it still has its attempt; what Delivery does with a lost one is give it back.
        #expect(await node.view.status().queue?.leased == 1)
        node.desk.release([delivery])
        await taker.wait { taker.reports.count == 1 }
        let report = try #require(taker.reports.first)
        let verdict = try #require(report.content.lines.first?.verdict)
        #expect(verdict.kind == .failed && verdict.reply.enhanced == EnhancedCode(5, 3, 0))
        #expect(verdict.reply.lines == ["All copies of the message were lost"])
        let status = await node.view.status()
        #expect(status.queue?.recipients == 0 && status.queue?.leased == 0)
        #expect(status.alarms == ["body_lost"])
        node.desk.waiveReport(report.id)
        await node.stop()
        #expect(taker.deliveries.count == 1 && taker.reports.count == 1)
        try await rig.end()
    }

    @Test func `the head of a damaged body is still there for the report`() async throws {
        let rig = try Rig()
        let (node, taker) = try await rig.open()
        let content = ClusterRig.content(300_000)
        let delivery = try await Self.leased(rig, node, taker, content)
        #expect(try Self.damage(Array(content[250_000..<250_040]), in: rig))
        let loop = rig.loop(0)
        let promise = loop.makePromise(of: String.self)
        loop.execute {
            node.desk.openBody(of: delivery.id.message, on: loop) { result in
                guard case .success(let source) = result else { return promise.succeed("") }
                source.next(on: loop) { result in
                    guard case .success(let piece) = result else { return promise.succeed("") }
                    promise.succeed(
                        String(buffer: source.head)
                            + String(
                                decoding: piece.bytes.readableBytesView.prefix(13), as: UTF8.self))
                }
            }
        }
        let start = try await promise.futureResult.get()
        #expect(start == "Received: id \(delivery.id.message.text)\r\nSubject: here")
        await node.stop()
        try await rig.end()
    }

    @Test(arguments: [BodyError.io(errno: 5), .closed, .damaged, .absent])
    func `a failure that a second reading does not confirm proves nothing`(error: BodyError)
        async throws
    {
        let rig = try Rig()
        let (node, taker) = try await rig.open()
        let delivery = try await Self.leased(rig, node, taker, ClusterRig.content(100_000))
        let found = await withCheckedContinuation { continuation in
            let message = delivery.id.message
            node.node.bodyFailed(message, message, error) { continuation.resume(returning: $0) }
        }
        #expect(found == .unavailable)
        node.desk.release([delivery])
        await taker.wait { taker.deliveries.count == 2 }
        #expect(taker.reports.isEmpty)
        #expect(await node.view.status().alarms == [])
        await node.stop()
        try await rig.end()
    }

    @Test func `a body of a message that has ended is gone, not lost`() async throws {
        let rig = try Rig()
        let (node, _) = try await rig.open()
        let never = Primitives.Tag(session: SessionID(raw: 1), sequence: 77)
        #expect(try await Self.read(node, never, streams: true, on: rig.loop(0)) == .gone)
        #expect(await node.view.status().alarms == [])
        await node.stop()
        try await rig.end()
    }

    @Test func `damage that a start finds ends the message at its next attempt`() async throws {
        let rig = try Rig()
        var (node, taker) = try await rig.open()
        let content = ClusterRig.content(20_000)
        let delivery = try await Self.leased(rig, node, taker, content)
        // Another message behind it: the damage is in what is known to be synced.
        _ = try await rig.send(node, on: rig.loop(0), content: [])
        await node.stop()
        #expect(try Self.damage(Array(content[10_000..<10_040]), in: rig))
        (node, taker) = try await rig.open()
        await taker.wait { taker.deliveries.count == 2 }
        let tag = delivery.id.message
        #expect(try await Self.read(node, tag, streams: false, on: rig.loop(0)) == .lost)
        // By the session of this start; the one before has none of it any more.
        let again = try #require(taker.deliveries.first { $0.id == delivery.id })
        #expect(again.session != delivery.session)
        node.desk.release([again])
        await taker.wait { taker.reports.count == 1 }
        #expect(taker.reports.first?.id.message == tag)
        await node.stop()
        try await rig.end()
    }
}
