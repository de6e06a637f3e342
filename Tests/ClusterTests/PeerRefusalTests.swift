import Logging
import NIOCore
import NIOPosix
import OpenSSL
import Primitives
import Raft
import Settings
import Testing

@testable import Cluster

@Suite("Peer mesh, refusals", .timeLimit(.minutes(1)))
struct PeerRefusalTests {
    /// One node, "a", and somebody who connects to it.
    private struct Scene {
        let rig: PeerRig
        let identity: CertificateFiles
        var node: PeerNode { self.rig.a }

        init(limits: PeerLimits = PeerLimits()) async throws {
            self.rig = try PeerRig()
            self.identity = try self.rig.files.issue("b")
            try await self.rig.a.start(rig.files, PeerNode.hello("a"), limits: limits)
        }

        func dial(_ identity: CertificateFiles?) async throws -> RawPeer {
            try await RawPeer.connect(
                to: self.node.port, named: "a", self.rig.files, identity: identity,
                on: self.rig.loops.next())
        }

        /// A peer "b" that was admitted.
        func friend(_ hello: Hello = PeerNode.hello("b")) async throws -> RawPeer {
            let change = "+b \(hello.link)"
            let before = self.node.diary.get { $0.changes.count { $0 == change } }
            let peer = try await self.dial(self.identity)
            try await peer.greet(hello)
            await self.node.diary.wait { $0.changes.count { $0 == change } > before }
            return peer
        }

        /// The connection ends, with `cause` counted once and said to the peer.
        func expect(
            _ cause: PeerRefusal.Cause, _ peer: RawPeer, _ words: String = ""
        ) async throws {
            let goodbye = try await peer.goodbye()
            #expect(goodbye.label == cause.rawValue)
            #expect(goodbye.sentence.contains(words), "\(goodbye.sentence)")
            peer.close()
            await self.node.refused(cause)
            #expect(try await self.node.on { $0.statistics.refusals(cause) } == 1)
        }
    }

    // MARK: Certificates

    @Test func `a stranger without a certificate`() async throws {
        let scene = try await Scene()
        let peer = try await scene.dial(nil)
        await peer.closed()
        await scene.node.refused(.certificateMissing)
        #expect(peer.diary.get { $0.frames.isEmpty }, "not a byte of ours")
        try await scene.rig.end()
    }

    @Test func `a certificate of another authority`() async throws {
        let scene = try await Scene()
        let peer = try await scene.dial(try scene.rig.files.issue("b", by: "other"))
        await peer.closed()
        await scene.node.refused(.certificateUntrusted)
        try await scene.rig.end()
    }

    @Test func `a certificate that has expired`() async throws {
        let scene = try await Scene()
        let peer = try await scene.dial(try scene.rig.files.issue("b", expired: true))
        await peer.closed()
        await scene.node.refused(.certificateExpired)
        try await scene.rig.end()
    }

    @Test func `a certificate for another name than the Hello's`() async throws {
        let scene = try await Scene()
        let peer = try await scene.dial(scene.identity)
        peer.send(PeerNode.hello("c"))
        try await scene.expect(.certificateName, peer, "\"b\"")
        try await scene.rig.end()
    }

    @Test func `a node that is found at another's address`() async throws {
        let rig = try PeerRig()
        try await rig.b.start(rig.files, PeerNode.hello("b"))
        try await rig.a.start(
            rig.files, PeerNode.hello("a"), seeds: [("a", 1), ("c", rig.b.port)])
        await rig.a.refused(.certificateName)
        await rig.b.refused(.tls)
        try await rig.end()
    }

    @Test func `this node's own certificate has to be for its name`() async throws {
        let rig = try PeerRig()
        let loop = rig.a.loop
        let identity = try rig.files.issue("b")
        let authority = rig.files.authority()
        await #expect(throws: OpenSSLError.self) {
            try await loop.submit {
                var settings = Settings.Cluster()
                settings.ca = authority
                settings.certificate = identity.certificate
                settings.key = identity.key
                _ = try PeerMesh(
                    settings: settings, node: "a", loop: loop, logger: Logger(label: "peer"),
                    hello: { PeerNode.hello("a") }, events: rig.a)
            }.get()
        }
        try await rig.loops.shutdownGracefully()
    }

    // MARK: Hello

    @Test func `a node of another cluster, also the other way round`() async throws {
        let scene = try await Scene()
        let peer = try await scene.dial(scene.identity)
        peer.send(PeerNode.hello("b", cluster: 8))
        try await scene.expect(.otherCluster, peer, "another cluster")
        // A mesh of that cluster dials: it is told, says so, and counts it.
        try await scene.rig.b.start(
            scene.rig.files, PeerNode.hello("B", cluster: 8), seeds: [("B", 1)])
        try await scene.rig.b.learn("a", port: scene.node.port)
        await scene.rig.b.diary.wait { diary in
            diary.refusals.contains {
                $0.cause == .told && $0.sentence.contains("another cluster")
            }
        }
        #expect(scene.rig.b.diary.get { $0.changes.isEmpty })
        try await scene.rig.end()
    }

    @Test func `no common version`() async throws {
        let scene = try await Scene()
        let peer = try await scene.dial(scene.identity)
        peer.send(PeerNode.hello("b", versions: 2...3))
        try await scene.expect(.version, peer, "2...3")
        try await scene.rig.end()
    }

    @Test func `a node with our own name`() async throws {
        let scene = try await Scene()
        let peer = try await scene.dial(try scene.rig.files.issue("a"))
        peer.send(PeerNode.hello("a", incarnation: 9))
        try await scene.expect(.ourName, peer, "own name")
        try await scene.rig.end()
    }

    @Test func `a disk that was rolled back, though it was started once more`() async throws {
        let scene = try await Scene()
        let first = try await scene.friend(PeerNode.hello("b", index: 90))
        first.close()
        await scene.node.up("-b control")
        let incarnation = PeerNode.hello("b").incarnation
        // What it has acknowledged is committed up to 85: so much it has for ever.
        try await scene.node.on {
            $0.acknowledged(incarnation, index: 88, term: 1, commit: 85)
        }
        let peer = try await scene.dial(scene.identity)
        peer.send(PeerNode.hello("b", boot: 2, index: 84))
        try await scene.expect(.rolledBack, peer, "rolled back or copied")
        // The end of a log may be another leader's to replace.
        let same = try await scene.friend(PeerNode.hello("b", boot: 2, index: 85))
        same.close()
        try await scene.rig.end()
    }

    @Test func `a copied disk: the same start in another process`() async throws {
        let scene = try await Scene()
        var hello = PeerNode.hello("b")
        hello.process = 1
        let first = try await scene.friend(hello)
        let peer = try await scene.dial(scene.identity)
        hello.process = 2
        peer.send(hello)
        try await scene.expect(.rolledBack, peer, "copied")
        #expect(scene.node.diary.get { $0.changes == ["+b control"] }, "the first one goes on")
        first.close()
        try await scene.rig.end()
    }

    @Test func `a node that was removed, which hears of it`() async throws {
        let scene = try await Scene()
        scene.node.diary.change {
            $0.refusal = PeerRefusal(.removed, PeerRefusal.removedSentence)
        }
        let peer = try await scene.dial(scene.identity)
        peer.send(PeerNode.hello("b"))
        try await scene.expect(.removed, peer, "was removed")
        // A mesh knows the word, and may dial again after a while only.
        try await scene.rig.b.start(scene.rig.files, PeerNode.hello("B"), seeds: [("B", 1)])
        try await scene.rig.b.learn("a", port: scene.node.port)
        await scene.rig.b.refused(.toldRemoved)
        #expect(scene.rig.b.diary.get { $0.changes.isEmpty })
        try await scene.rig.end()
    }

    @Test func `two nodes with one name: the one that is there stays`() async throws {
        let scene = try await Scene()
        let first = try await scene.friend()
        let peer = try await scene.dial(scene.identity)
        var hello = PeerNode.hello("b", incarnation: 77)
        hello.link = .bulk
        peer.send(hello)
        try await scene.expect(.sameName, peer, "\"b\"")
        #expect(scene.node.diary.get { $0.changes == ["+b control"] })
        first.close()
        try await scene.rig.end()
    }

    @Test func `who dials again has lost the earlier connection: the newer one wins`()
        async throws
    {
        let scene = try await Scene()
        let first = try await scene.friend()
        let second = try await scene.dial(scene.identity)
        try await second.greet(PeerNode.hello("b"))
        await first.closed()
        await scene.node.diary.wait {
            $0.changes == ["+b control", "-b control", "+b control"]
        }
        // A newer start ends both links of the older one.
        let third = try await scene.dial(scene.identity)
        var hello = PeerNode.hello("b", boot: 2)
        hello.link = .bulk
        try await third.greet(hello)
        await second.closed()
        await scene.node.up("+b bulk")
        #expect(scene.node.diary.get { $0.refusals.isEmpty })
        third.close()
        try await scene.rig.end()
    }

    // MARK: Frames

    @Test func `nothing comes before the Hello, and nothing large`() async throws {
        let scene = try await Scene()
        let peer = try await scene.dial(scene.identity)
        peer.send(.raft([1]))
        try await scene.expect(.hello, peer)
        let large = try await scene.dial(scene.identity)
        large.send(.raft([UInt8](repeating: 0, count: PeerFrame.greetingBytesMax + 1)))
        try await scene.expect(.frame, large)
        try await scene.rig.end()
    }

    @Test func `a Hello that makes no sense`() async throws {
        let scene = try await Scene()
        let peer = try await scene.dial(scene.identity)
        peer.send(kind: PeerFrameKind.hello.rawValue, Array("EHLO client.example".utf8))
        try await scene.expect(.hello, peer)
        try await scene.rig.end()
    }

    @Test(arguments: [
        [UInt8](repeating: 0xFF, count: 20),  // endless
        [0, 0, 0, 0, 16, 1, 0, 0, 0, 0],  // unknown flags
        [0, 0, 0, 0, 16, 0, 1, 2, 3, 4],  // a wrong checksum
    ])
    func `bytes that are no frame end the connection`(bytes: [UInt8]) async throws {
        let scene = try await Scene()
        let peer = try await scene.friend()
        peer.send(ByteBuffer(bytes: bytes))
        try await scene.expect(.frame, peer)
        #expect(scene.node.diary.get { $0.changes == ["+b control", "-b control"] })
        try await scene.rig.end()
    }

    @Test func `a payload that its kind does not allow, and a frame of the other connection`()
        async throws
    {
        let scene = try await Scene()
        let peer = try await scene.friend()
        peer.send(kind: PeerFrameKind.standing.rawValue, [1, 2, 3])
        try await scene.expect(.payload, peer)
        try await scene.rig.end()
        let second = try await Scene()
        let bulky = try await second.friend()
        bulky.send(.bodyOpen(stream: 1))
        try await second.expect(.payload, bulky, "other connection")
        try await second.rig.end()
    }

    @Test func `frames of later versions are skipped and counted`() async throws {
        let scene = try await Scene()
        let peer = try await scene.friend()
        peer.send(kind: 250, [1, 2, 3])
        peer.send(kind: 24)
        peer.send(.raft([5]))
        await scene.node.diary.wait { $0.messages == [.raft([5])] }
        #expect(try await scene.node.on { $0.statistics.skippedFrames } == 2)
        peer.close()
        try await scene.rig.end()
    }

    // MARK: Silence and floods

    private func quick() -> PeerLimits {
        var limits = PeerLimits()
        limits.tick = .milliseconds(20)
        // Not the handshake: other tests use the machine meanwhile.
        limits.greetingTicks = 500
        return limits
    }

    @Test func `a peer that does not greet`() async throws {
        var limits = self.quick()
        limits.greetingTicks = 100
        let scene = try await Scene(limits: limits)
        let mute = try await scene.dial(scene.identity)
        try await scene.expect(.timeout, mute)
        try await scene.rig.end()
    }

    @Test func `a peer that falls silent`() async throws {
        let scene = try await Scene(limits: self.quick())
        let silent = try await scene.friend()
        try await scene.expect(.silent, silent)
        try await scene.rig.end()
    }

    @Test func `two nodes that have nothing to say stay connected`() async throws {
        let rig = try PeerRig()
        var limits = self.quick()
        // Each has a thread of its own, and one may get no turn for longer than the other's ticks.
        limits.silenceTicks = 50
        try await rig.connect(limits: limits)
        await rig.up()
        // Three times as long as silence may last, counted by what keeps it from being silent.
        let loop = rig.a.loop
        for _ in 0..<150 {
            try await loop.scheduleTask(in: .milliseconds(20)) {}.futureResult.get()
        }
        #expect(rig.a.diary.get { $0.refusals.isEmpty && $0.changes.count == 2 })
        try await rig.end()
    }

    @Test func `a peer that never reads is cut off at the limit of its queue`() async throws {
        var limits = PeerLimits()
        limits.controlQueueBytes = 1 << 20
        let scene = try await Scene(limits: limits)
        let peer = try await scene.friend()
        try await peer.stopReading()
        try await scene.node.on { mesh in
            let bytes = [UInt8](repeating: 7, count: 200_000)
            var sent = 0
            // In one turn of the loop: the kernel takes nothing meanwhile.
            while mesh.send(.raft(bytes), to: "b") { sent += 1 }
            #expect(sent == 6)
        }
        await scene.node.refused(.queueFull)
        #expect(scene.node.diary.get { $0.changes == ["+b control", "-b control"] })
        #expect(try await scene.node.on { $0.statistics.refusals(.queueFull) } == 1)
        peer.close()
        try await scene.rig.end()
    }

    @Test func `a peer that takes nothing for too long is cut off`() async throws {
        var limits = self.quick()
        limits.silenceTicks = 1_000_000
        limits.bulkQueueBytes = 64 << 20
        let scene = try await Scene(limits: limits)
        var hello = PeerNode.hello("b")
        hello.link = .bulk
        let peer = try await scene.friend(hello)
        try await peer.stopReading()
        let piece = ByteBuffer(repeating: 1, count: 1 << 20)
        // More than the kernel takes on both sides.
        try await scene.node.on { mesh in
            for number: UInt64 in 0..<40 {
                _ = mesh.send(.bodyChunk(stream: 1, number: number, blocks: piece), to: "b")
            }
        }
        await scene.node.refused(.stalled)
        peer.close()
        try await scene.rig.end()
    }

    @Test func `strangers are few at a time`() async throws {
        var limits = PeerLimits()
        limits.strangersMax = 2
        let scene = try await Scene(limits: limits)
        let first = try await scene.dial(scene.identity)
        let second = try await scene.dial(scene.identity)
        for peer in [first, second] { await peer.diary.wait { $0.isSecured } }
        let third = try await scene.dial(scene.identity)
        await third.closed()
        #expect(try await scene.node.on { $0.statistics.refusals(.tooMany) } == 1)
        // Who has greeted is no stranger.
        try await first.greet(PeerNode.hello("b"))
        let fourth = try await scene.dial(scene.identity)
        await fourth.diary.wait { $0.isSecured }
        for peer in [first, second, fourth] { peer.close() }
        try await scene.rig.end()
    }

    @Test func `a flood is taken frame by frame, and the node goes on`() async throws {
        let scene = try await Scene()
        let peer = try await scene.friend()
        var flood = ByteBuffer()
        for number: UInt64 in 0..<20_000 {
            _ = PeerMessage.forwardRefused(number: number, leader: Incarnation(raw: 0)).encode(
                into: &flood)
        }
        peer.send(flood)
        await scene.node.diary.wait { $0.counts.control == 20_000 }
        #expect(scene.node.diary.get { $0.changes == ["+b control"] })
        peer.close()
        try await scene.rig.end()
    }
}
