import NIOCore
import NIOPosix
import Primitives
import Testing

@testable import Cluster

/// Two loops and a directory of certificates.
struct PeerRig {
    let files: PeerFiles
    let loops = MultiThreadedEventLoopGroup(numberOfThreads: 2)
    let a: PeerNode
    let b: PeerNode

    init() throws {
        self.files = try PeerFiles()
        self.a = PeerNode(loop: self.loops.next())
        self.b = PeerNode(loop: self.loops.next())
    }

    /// Two nodes that know each other.
    func connect(
        limits: PeerLimits = PeerLimits(), _ first: Hello = PeerNode.hello("a"),
        _ second: Hello = PeerNode.hello("b")
    ) async throws {
        try await self.b.start(self.files, second, seeds: [("a", 1), ("b", 1)], limits: limits)
        try await self.a.start(
            self.files, first, seeds: [("a", 1), ("b", self.b.port)], limits: limits)
    }

    func up() async {
        await self.a.up("+b control", "+b bulk")
        await self.b.up("+a control", "+a bulk")
    }

    func end() async throws {
        try await self.a.stop()
        try await self.b.stop()
        try await self.loops.shutdownGracefully()
    }
}

@Suite("Peer mesh, links", .timeLimit(.minutes(1)))
struct PeerMeshTests {
    @Test func `the lesser name dials, and both links come up with both Hellos`() async throws {
        let rig = try PeerRig()
        try await rig.connect()
        await rig.up()
        let (theirs, ours) = (
            rig.a.diary.get { $0.ups.map(\.node) }, rig.b.diary.get { $0.ups.map(\.port) }
        )
        #expect(theirs == ["b", "b"])
        #expect(ours == [UInt16(rig.a.port), UInt16(rig.a.port)])
        #expect(try await rig.b.on { $0.isUp("a", .bulk) && $0.isWritable("a") })
        try await rig.end()
    }

    @Test func `messages of a link keep their order, both ways`() async throws {
        let rig = try PeerRig()
        try await rig.connect()
        await rig.up()
        for node in [(rig.a, "b"), (rig.b, "a")] {
            _ = try await node.0.on { mesh in
                for number in 0..<2000 {
                    #expect(mesh.send(.forward(number: UInt64(number), command: []), to: node.1))
                }
            }
        }
        for node in [rig.a, rig.b] {
            await node.diary.wait { $0.messages.count == 2000 }
            let expected = (0..<2000).map { PeerMessage.forward(number: $0, command: []) }
            let isSame = node.diary.get { $0.messages == expected }
            #expect(isSame)
        }
        try await rig.end()
    }

    @Test func `there is no link to a node that nobody knows`() async throws {
        let rig = try PeerRig()
        try await rig.connect()
        #expect(try await rig.a.on { $0.send(.raft([]), to: "z") } == false)
        #expect(try await rig.a.on { $0.isUp("z", .control) } == false)
        try await rig.end()
    }

    /// "b" goes and comes back as `hello`, at another port.
    private func restart(as hello: Hello, _ rig: PeerRig) async throws -> PeerNode {
        try await rig.b.start(rig.files, PeerNode.hello("b"), seeds: [("a", 1), ("b", 1)])
        try await rig.a.start(rig.files, PeerNode.hello("a"))
        try await rig.a.learn("b", port: rig.b.port)
        await rig.up()
        try await rig.b.stop()
        await rig.a.up("-b control", "-b bulk")
        let again = PeerNode(loop: rig.loops.next())
        try await again.start(rig.files, hello, seeds: [("a", 1), ("b", 1)])
        try await rig.a.learn("b", port: again.port)
        await again.up("+a control", "+a bulk")
        await rig.a.diary.wait { $0.ups.count == 4 }
        return again
    }

    @Test func `a peer that starts again is connected again, and has a newer boot`() async throws {
        let rig = try PeerRig()
        let again = try await self.restart(as: PeerNode.hello("b", boot: 2), rig)
        #expect(rig.a.diary.get { $0.ups.map(\.boot) } == [1, 1, 2, 2])
        try await again.stop()
        try await rig.end()
    }

    @Test func `a wiped peer may come back once the old one has gone`() async throws {
        let rig = try PeerRig()
        let wiped = try await self.restart(as: PeerNode.hello("b", incarnation: 99), rig)
        #expect(rig.a.diary.get { $0.ups.last?.incarnation.raw } == 99)
        try await wiped.stop()
        try await rig.end()
    }

    @Test func `a node that is no seed dials, and is dialed where it says that it is`()
        async throws
    {
        let rig = try PeerRig()
        // "z" would wait for the lesser "b" if it were a seed.
        let z = PeerNode(loop: rig.loops.next())
        try await rig.b.start(rig.files, PeerNode.hello("b"), seeds: [("b", 1)])
        try await z.start(rig.files, PeerNode.hello("z"), seeds: [("b", rig.b.port)])
        await rig.b.up("+z control", "+z bulk")
        await z.up("+b control", "+b bulk")
        // The other side has learned the address: it dials again when it has closed the links.
        try await rig.b.on { $0.disconnect("z") }
        await rig.b.diary.wait { $0.ups.count == 4 }
        await z.diary.wait { $0.ups.count == 4 }
        try await z.stop()
        try await rig.end()
    }

    @Test func `dials that cross leave one link of each kind`() async throws {
        let rig = try PeerRig()
        // Neither is a seed: both dial as soon as they learn of each other.
        try await rig.a.start(rig.files, PeerNode.hello("a"))
        try await rig.b.start(rig.files, PeerNode.hello("b"))
        try await rig.a.learn("b", port: rig.b.port)
        try await rig.b.learn("a", port: rig.a.port)
        await rig.a.diary.wait { Self.isUp($0, "b") }
        await rig.b.diary.wait { Self.isUp($0, "a") }
        #expect(rig.a.diary.get { $0.refusals } == [])
        #expect(rig.b.diary.get { $0.refusals } == [])
        try await rig.end()
    }

    private static func isUp(_ diary: PeerDiary, _ node: String) -> Bool {
        ["control", "bulk"].allSatisfy { kind in
            diary.changes.last { $0.hasSuffix("\(node) \(kind)") }?.first == "+"
        }
    }

    @Test func `a node that was forgotten is dialed no more until it is learned again`()
        async throws
    {
        let rig = try PeerRig()
        try await rig.b.start(rig.files, PeerNode.hello("b"), seeds: [("a", 1), ("b", 1)])
        try await rig.a.start(rig.files, PeerNode.hello("a"))
        try await rig.a.learn("b", port: rig.b.port)
        await rig.up()
        try await rig.a.on { $0.forget("b") }
        await rig.a.up("-b control", "-b bulk")
        await rig.b.up("-a control", "-a bulk")
        await rig.b.refused(.toldRemoved)
        let isLeft = try await rig.a.on { mesh in
            guard let record = mesh.records["b"] else { return false }
            return PeerLinkKind.allCases.allSatisfy { kind in
                if case .idle = record.dials[kind] { record.links[kind] == nil } else { false }
            }
        }
        #expect(isLeft)
        try await rig.a.learn("b", port: rig.b.port)
        await rig.a.diary.wait { $0.ups.count == 4 }
        try await rig.end()
    }

    @Test func `a seed that was forgotten is dialed now and then, as it may be another disk`()
        async throws
    {
        let rig = try PeerRig()
        var limits = PeerLimits()
        limits.removedPause = .milliseconds(30)
        // The pause of the others is another.
        limits.backoffFirst = .seconds(3600)
        limits.backoffLast = .seconds(3600)
        try await rig.connect(limits: limits)
        await rig.up()
        try await rig.a.on { $0.forget("b") }
        await rig.a.up("-b control", "-b bulk")
        await rig.a.diary.wait { $0.ups.count == 4 }
        try await rig.end()
    }

    @Test func `a peer that cannot be reached is dialed until it can`() async throws {
        let rig = try PeerRig()
        try await rig.a.start(rig.files, PeerNode.hello("a"))
        // Nobody listens there: refused, and tried again.
        try await rig.a.learn("b", port: 1)
        try await rig.b.start(rig.files, PeerNode.hello("b"), seeds: [("a", 1), ("b", 1)])
        try await rig.a.learn("b", port: rig.b.port)
        await rig.up()
        try await rig.end()
    }

    // MARK: Bulk

    @Test func `a reader that pauses holds the writer at the high water, and loses nothing`()
        async throws
    {
        let rig = try PeerRig()
        var limits = PeerLimits()
        limits.bulkQueueBytes = 1 << 20
        try await rig.connect(limits: limits)
        await rig.up()
        rig.b.diary.change { $0.mayRead = false }
        let piece = ByteBuffer(repeating: 1, count: 100_000)
        // Kernel buffers take some megabytes; then the queue fills, and it is not beyond its limit
        // by more than a frame.
        let sent = Watched(UInt64(0))
        let fill: @Sendable (PeerMesh) -> Void = { mesh in
            while mesh.isWritable("b") {
                let number = sent.get { $0 }
                #expect(
                    mesh.send(.bodyChunk(stream: 1, number: number, blocks: piece), to: "b"))
                sent.change { $0 += 1 }
            }
            #expect(!mesh.send(.bodyOpen(stream: 2), to: "b"))
            #expect(mesh.queuedBytes("b", .bulk) < (1 << 20) + 200_000)
        }
        try await rig.a.on(fill)
        let before = rig.b.diary.get { $0.counts.bulk }
        #expect(before == 0)
        rig.b.diary.change { $0.mayRead = true }
        try await rig.b.on { $0.resumeReading(from: "a") }
        await rig.a.diary.wait { $0.drained > 0 }
        let count = sent.get { $0 }
        await rig.b.diary.wait { $0.counts.bulk == Int(count) }
        let expected = (0..<count).map {
            PeerMessage.bodyChunk(stream: 1, number: $0, blocks: piece)
        }
        #expect(rig.b.diary.get { $0.messages == expected })
        try await rig.end()
    }

    @Test func `50 MB over bulk do not hold up control`() async throws {
        let rig = try PeerRig()
        try await rig.connect()
        await rig.up()
        let pieces = 200
        let piece = ByteBuffer(repeating: 1, count: PeerMessage.pieceBytes)
        // What of control had come when the last piece came.
        let between = Watched(0)
        let control = Watched(0)
        rig.b.onMessage = { _, message in
            switch message {
            case .bodyChunk(_, let number, _):
                if number == UInt64(pieces - 1) { between.change { $0 = control.get { $0 } } }
            case _: control.change { $0 += 1 }
            }
        }
        for number in 0..<pieces {
            while try await !rig.a.on({ mesh in
                let isTaken = mesh.send(
                    .bodyChunk(stream: 1, number: UInt64(number), blocks: piece), to: "b")
                if isTaken { #expect(mesh.send(.raft([1]), to: "b")) }
                return isTaken
            }) {}
        }
        await rig.b.diary.wait { $0.counts == (control: pieces, bulk: pieces) }
        // The queue in front of the last piece holds 8 MiB: a sixth of all. What was sent on
        // control beside the other five sixths has long come.
        #expect(between.get { $0 } > pieces / 2)
        let statistics = try await rig.b.on { $0.statistics }
        #expect(statistics.bulkBytesIn > UInt64(pieces * PeerMessage.pieceBytes))
        try await rig.end()
    }
}
