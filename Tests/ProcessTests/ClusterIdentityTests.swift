// ClusterIdentityTests.swift - who is not a member, or not who it says: refused, said, counted.
//
// See       Docs/PeerProtocol.md (refusals), Docs/Invariants.md 8.

import Foundation
import Testing

extension ProcessTests {
    @Suite("Identities in a cluster", .timeLimit(.minutes(10))) struct ClusterIdentityTests {
        private static func refusals(_ node: Relay, _ cause: String) throws -> Double {
            try node.metric("posthouse_peer_refusals_total{cause=\"\(cause)\"}")
        }

        /// Waits until one of `nodes` has counted a refusal for one of `causes` more than before.
        private static func waitForRefusal(
            _ nodes: [Relay], _ causes: [String], seconds: Double = 30, after before: Double = 0
        ) throws -> Bool {
            try eventually(within: seconds) {
                try nodes.contains { node in
                    try causes.reduce(0) { try $0 + Self.refusals(node, $1) } > before
                }
            }
        }

        private func copy(_ from: String, _ to: String) throws {
            let ended = try run("cp", ["-a", from, to])
            guard ended.status == 0 else { throw Failure(ended.errorText) }
        }

        @Test func `strangers without a certificate, or with one of another authority`() throws {
            try need("openssl", package: "openssl")
            let fleet = try Fleet(RelaySettings(delivers: false))
            let node = fleet.nodes[0]
            let port = fleet.peerPorts[0]
            // TLS 1.3: the client learns of the refusal after its own handshake.
            _ = try run("openssl", ["s_client", "-connect", "127.0.0.1:\(port)"], input: "hello\n")
            #expect(try Self.waitForRefusal([node], ["certificate_missing"]))
            #expect(node.waitForLog("certificate"), "\(node.log)")
            let other = fleet.folder.path + "/other"
            try Fleet.certify(other, ["b"])
            _ = try run(
                "openssl",
                [
                    "s_client", "-connect", "127.0.0.1:\(port)", "-cert", other + "/b.pem", "-key",
                    other + "/b.key",
                ], input: "hello\n")
            #expect(try Self.waitForRefusal([node], ["certificate_untrusted"]))
            // No TLS at all, and nothing.
            let plain = try Connection(port: port)
            try plain.send("EHLO stranger.example\r\n")
            #expect(try Self.waitForRefusal([node], ["tls"]))
            try fleet.waitUntilHealthy()
            #expect(try MailClient(port: node.port).send(MailClient.message("m")).code == 250)
        }

        @Test func `a node of another cluster is refused by name`() throws {
            let fleet = try Fleet(RelaySettings(delivers: false))
            let ports = try Fleet.freePorts(1)
            // A cluster of one, with a certificate of the same authority; then it meets the others.
            let authority = fleet.folder.path + "/ca"
            let issued = try run(
                try Relay.binary(),
                ["ca", "issue", authority, "--node", "d", "--address", "127.0.0.1"])
            guard issued.status == 0 else { throw Failure(issued.errorText) }
            var settings = RelaySettings(delivers: false)
            settings.name = "d"
            let stranger = try Relay(settings)
            try stranger.stop()
            settings.extra = Fleet.table(
                "d", listen: ports[0], advertise: nil, seeds: fleet.peerPorts,
                authority: authority)
            stranger.settings = settings
            try stranger.writeSettings()
            let process = try ChildProcess(
                try Relay.binary(), ["serve", "--config", stranger.configuration])
            #expect(try Self.waitForRefusal(fleet.nodes, ["other_cluster"]))
            // Both sides say so, and it is never ready.
            let isSaid = process.state.wait(seconds: 30) {
                $0.errorText.contains("cluster") && $0.errorText.contains("refuse") ? true : nil
            }
            #expect(isSaid == true, "\(process.state.current.errorText)")
            #expect(!process.state.current.errorText.split(separator: "\n").contains("ready"))
            process.signal(SIGKILL)
            try fleet.waitUntilHealthy()
            #expect(fleet.answers().allSatisfy { ($0.status["nodes"] as? [Any])?.count == 3 })
        }

        @Test func `a copied disk is refused while the disk itself runs, and after it has gone on`()
            throws
        {
            let fleet = try Fleet(RelaySettings(delivers: false))
            let node = fleet.nodes[0]
            #expect(try MailClient(port: node.port).send(MailClient.message("m1")).code == 250)
            try fleet.waitUntilHealthy()
            try node.stop(seconds: 30)
            let copy = fleet.folder.path + "/copy"
            try self.copy(node.folder.path + "/data", copy)
            try node.start()
            try fleet.waitUntilHealthy()
            let others = Array(fleet.nodes[1...])

            // 1 The disk runs; its copy comes with the same name, incarnation and boot number.
            let ports = try Fleet.freePorts(1)
            var settings = RelaySettings(delivers: false)
            settings.name = "a"
            settings.data = copy
            settings.extra = Fleet.table(
                "a", listen: ports[0], advertise: nil, seeds: fleet.peerPorts,
                authority: fleet.folder.path + "/ca")
            let twin = try Relay(settings, starts: false)
            try twin.writeSettings()
            var process = try ChildProcess(
                try Relay.binary(), ["serve", "--config", twin.configuration])
            let causes = ["rolled_back", "same_name"]
            #expect(try Self.waitForRefusal(others, causes))
            for _ in 0..<5 {
                #expect(
                    try MailClient(port: others[0].port).send(MailClient.message("m")).code == 250)
            }
            #expect(!process.state.current.errorText.split(separator: "\n").contains("ready"))
            process.signal(SIGKILL)
            _ = try process.wait(seconds: 10)
            try fleet.waitUntilHealthy()

            // 2 The disk has gone on and stops; the copy, older, tries to take its place.
            try fleet.waitUntilKnown(0)
            try node.stop(seconds: 30)
            let before = try others.map { try Self.refusals($0, "rolled_back") }.max() ?? 0
            process = try ChildProcess(
                try Relay.binary(), ["serve", "--config", twin.configuration])
            #expect(
                try Self.waitForRefusal(others, ["rolled_back"], after: before)
                    || process.state.current.errorText.contains("rolled back or copied"))
            #expect(others.contains { $0.waitForLog("rolled back or copied") })
            #expect(!process.state.current.errorText.split(separator: "\n").contains("ready"))
            process.signal(SIGKILL)
            _ = try process.wait(seconds: 10)
            // The disk itself is welcome.
            try node.start()
            try fleet.waitUntilHealthy()
            #expect(try MailClient(port: node.port).send(MailClient.message("m2")).code == 250)
            for answer in fleet.answers() {
                #expect(Int(any: (answer.status["queue"] as? [String: Any])?["messages"]) == 7)
            }
        }
    }
}
