import Foundation
import NIOCore
import NIOPosix
import Networking
import OpenSSL
import Primitives
import Testing

@testable import Cluster

@Suite("Peer certificates that are read again", .timeLimit(.minutes(1)))
struct PeerCertificatesTests {
    private let rig: PeerRig

    init() async throws {
        self.rig = try PeerRig()
        try await self.rig.a.start(self.rig.files, PeerNode.hello("a"))
    }

    private func dial(_ identity: CertificateFiles) async throws -> RawPeer {
        try await RawPeer.connect(
            to: self.rig.a.port, named: "a", self.rig.files, identity: identity,
            on: self.rig.loops.next())
    }

    /// A peer of that name is let in, over a connection of its own.
    private func expectAdmission(_ identity: CertificateFiles, _ name: String) async throws {
        let peer = try await self.dial(identity)
        try await peer.greet(PeerNode.hello(name))
        await self.rig.a.up("+\(name) control")
        peer.close()
    }

    private func reload() async throws {
        try await self.rig.a.on { $0.reloadCertificates() }
    }

    private func append(_ path: String, to target: String) throws {
        let more = try Data(contentsOf: URL(fileURLWithPath: path))
        let file = try #require(FileHandle(forWritingAtPath: target))
        try file.seekToEnd()
        try file.write(contentsOf: more)
        try file.close()
    }

    @Test func `a second authority is believed when it stands in the file`() async throws {
        let files = self.rig.files
        let stranger = try files.issue("b", by: "other")
        await (try self.dial(stranger)).closed()
        await self.rig.a.refused(.certificateUntrusted)

        try self.append(files.authority("other"), to: files.authority())
        try await self.reload()
        try await self.expectAdmission(stranger, "b")
        try await self.expectAdmission(try files.issue("c"), "c")
        try await self.rig.end()
    }

    @Test func `a new certificate is shown without a restart`() async throws {
        let files = self.rig.files
        let fresh = try files.issue("a")
        for (new, old) in [
            (fresh.certificate, self.rig.a.identity.certificate),
            (fresh.key, self.rig.a.identity.key),
        ] {
            try FileManager.default.removeItem(atPath: old)
            try FileManager.default.moveItem(atPath: new, toPath: old)
        }
        let before = try await self.rig.a.on { $0.certificates.current.server.certificates[0] }
        try await self.reload()
        let after = try await self.rig.a.on { $0.certificates.current.server.certificates[0] }
        #expect(before.fingerprint != after.fingerprint)
        let peer = try await self.dial(try files.issue("b"))
        try await peer.greet(PeerNode.hello("b"))
        await self.rig.a.up("+b control")
        #expect(peer.shown?.fingerprint == after.fingerprint)
        peer.close()
        try await self.rig.end()
    }

    @Test func `files that are no good, or for another name, change nothing`() async throws {
        let files = self.rig.files
        let own = self.rig.a.identity
        let before = try await self.rig.a.on { $0.certificates.current.server.certificates[0] }
        let key = try Data(contentsOf: URL(fileURLWithPath: own.key))
        try Data("broken in the middle of a copy".utf8).write(to: URL(fileURLWithPath: own.key))
        try await self.reload()
        try await self.expectAdmission(try files.issue("b"), "b")

        try key.write(to: URL(fileURLWithPath: own.key))
        let other = try files.issue("z")
        for (new, old) in [(other.certificate, own.certificate), (other.key, own.key)] {
            try FileManager.default.removeItem(atPath: old)
            try FileManager.default.moveItem(atPath: new, toPath: old)
        }
        try await self.reload()
        let after = try await self.rig.a.on { $0.certificates.current.server.certificates[0] }
        #expect(before.fingerprint == after.fingerprint)
        try await self.expectAdmission(try files.issue("c"), "c")
        try await self.rig.end()
    }
}
