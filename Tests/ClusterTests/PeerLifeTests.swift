import NIOCore
import NIOPosix
import OpenSSL
import Primitives
import Testing

@testable import Cluster

/// What one program may say of itself over its links, as time goes on.
@Suite("Peer mesh, lives of a program", .timeLimit(.minutes(1)))
struct PeerLifeTests {
    /// One node, "a", and the program of "b" that connects to it.
    private struct Scene {
        let rig: PeerRig
        let identity: CertificateFiles
        var node: PeerNode { self.rig.a }
        var changes: [String] { self.node.diary.get { $0.changes } }

        init() async throws {
            self.rig = try PeerRig()
            self.identity = try self.rig.files.issue("b")
            try await self.rig.a.start(self.rig.files, PeerNode.hello("a"))
        }

        func dial() async throws -> RawPeer {
            try await RawPeer.connect(
                to: self.node.port, named: "a", self.rig.files, identity: self.identity,
                on: self.rig.loops.next())
        }

        /// A link of "b" that is up.
        func link(_ kind: PeerLinkKind, boot: UInt64, process: UInt64) async throws -> RawPeer {
            let change = "+b \(kind)"
            let before = self.node.diary.get { $0.changes.count { $0 == change } }
            let peer = try await self.dial()
            try await peer.greet(Self.hello(kind, boot: boot, process: process))
            await self.node.diary.wait { $0.changes.count { $0 == change } > before }
            return peer
        }

        static func hello(_ kind: PeerLinkKind, boot: UInt64, process: UInt64) -> Hello {
            var hello = PeerNode.hello("b", boot: boot)
            hello.link = kind
            hello.process = process
            return hello
        }
    }

    @Test func `a link that is made again under a new boot number leaves the other one alone`()
        async throws
    {
        let scene = try await Scene()
        let control = try await scene.link(.control, boot: 1, process: 5)
        // 1 The session of "b" expires: the same program counts a boot. 2 Its bulk link breaks.
        let bulk = try await scene.link(.bulk, boot: 1, process: 5)
        bulk.close()
        await scene.node.up("-b bulk")
        // 3 It is made again, with the number of now. The control link is as good as ever.
        let again = try await scene.link(.bulk, boot: 2, process: 5)
        control.send(.raft([1]))
        await scene.node.diary.wait {
            $0.messages == [.raft([1])] || $0.changes.contains("-b control")
        }
        #expect(scene.changes == ["+b control", "+b bulk", "-b bulk", "+b bulk"])
        for peer in [control, again] { peer.close() }
        try await scene.rig.end()
    }

    @Test func `an attempt from before the new boot number does not take a link's place`()
        async throws
    {
        let scene = try await Scene()
        let new = try await scene.link(.control, boot: 2, process: 5)
        // Sent before, and on its way for longer.
        let late = try await scene.dial()
        late.send(Scene.hello(.control, boot: 1, process: 5))
        #expect(try await late.goodbye().label == "duplicate")
        // A link of the other kind is as good as any.
        let bulk = try await scene.link(.bulk, boot: 1, process: 5)
        #expect(scene.changes == ["+b control", "+b bulk"])
        #expect(scene.node.diary.get { $0.refusals.isEmpty })
        for peer in [new, late, bulk] { peer.close() }
        try await scene.rig.end()
    }

    @Test func `another start of the program ends the links of the one before`() async throws {
        let scene = try await Scene()
        let control = try await scene.link(.control, boot: 1, process: 5)
        let bulk = try await scene.link(.bulk, boot: 2, process: 6)
        await control.closed()
        await scene.node.up("-b control")
        // The one before is refused from now on, whatever it counts.
        let old = try await scene.dial()
        old.send(Scene.hello(.control, boot: 2, process: 5))
        #expect(try await old.goodbye().label == "rolled_back")
        for peer in [old, bulk] { peer.close() }
        try await scene.rig.end()
    }
}
