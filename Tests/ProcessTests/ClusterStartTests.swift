// ClusterStartTests.swift - the first start of three nodes, and a start that nobody answers.

import Foundation
import Testing

extension ProcessTests {
    @Suite("The start of a cluster", .timeLimit(.minutes(5))) struct ClusterStartTests {
        @Test func `a node that waits for the others says so, and ends by SIGTERM at once`() throws
        {
            let fleet = try Fleet(RelaySettings(delivers: false), starts: false)
            let node = fleet.nodes[1]
            try node.writeSettings()
            let process = try ChildProcess(
                try Relay.binary(), ["serve", "--config", node.configuration])
            let waits = process.state.wait(seconds: 60) {
                $0.errorText.contains("waits for a to found the cluster") ? true : nil
            }
            #expect(waits == true, "\(process.state.current.errorText)")
            process.signal(SIGTERM)
            let end = try process.wait(seconds: 10)
            #expect(end.status == 0)
            #expect(end.errorText.contains("stopped before it was ready"))
            // It has promised nothing: the three begin together as if it had never been there.
            try fleet.start()
            try fleet.waitUntilHealthy()
            #expect(try fleet.stop() == [0, 0, 0])
        }

        @Test func `a whole cluster that ends and starts again has its queue`() throws {
            let fleet = try Fleet(RelaySettings(delivers: false))
            for node in fleet.nodes {
                let reply = try MailClient(port: node.port).send(MailClient.message("m"))
                #expect(reply.code == 250)
            }
            for node in fleet.nodes { node.kill() }
            try fleet.start()
            try fleet.waitUntilHealthy()
            for answer in fleet.answers() {
                #expect(Int(any: (answer.status["queue"] as? [String: Any])?["messages"]) == 3)
            }
            #expect(try fleet.stop() == [0, 0, 0])
        }
    }
}
