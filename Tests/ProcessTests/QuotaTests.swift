// QuotaTests.swift - a full queue refuses new mail early, and takes it again.

import Foundation
import Testing

extension ProcessTests {
    @Suite("The queue's quota", .timeLimit(.minutes(5))) struct QuotaTests {
        /// Mail stays in the queue until `queue retry`.
        private func relay(_ keys: String) throws -> (relay: Relay, sink: Sink) {
            let sink = try Sink { stage, _ in stage == .mail ? .reply("451 4.3.0 later") : nil }
            var settings = RelaySettings(sinkPort: sink.port)
            settings.retry = ["1h"]
            settings.relay = keys
            return (try Relay(settings), sink)
        }

        private func alarms(_ relay: Relay) throws -> [String] {
            try relay.cluster()["alarms"] as? [String] ?? []
        }

        @Test func `452 at MAIL from the limit on, until nine tenths are left`() throws {
            let (relay, sink) = try self.relay("max_queued_messages = 3")
            let client = try MailClient(port: relay.port)
            for number in 1...3 {
                #expect(try self.alarms(relay) == [])
                #expect(try client.send(MailClient.message("m\(number)")).code == 250)
            }
            let refused = try client.command("MAIL FROM:<a@client.example>")
            #expect(refused.lines == ["452 4.3.1 The queue is full, try again later"])
            #expect(try self.alarms(relay) == ["quota"])
            #expect(relay.waitForLog("the queue is full", "\"level\":\"error\""))
            // It is still the node that a balancer may choose, and says so in its metrics.
            #expect(try relay.get("/readyz").status == 200)
            #expect(
                try eventually(within: 10) {
                    try relay.get("/metrics").body.contains("posthouse_queue_quota_used_ratio 1\n")
                })
            #expect(try relay.command("send", "x@dest.example", input: "a: b\n\nc\n").status != 0)
            // Outcomes have room: what is delivered makes room for new mail.
            sink.use { _, _ in nil }
            #expect(try relay.command("queue", "retry", "--all", "--yes").status == 0)
            _ = try sink.wait(for: 3)
            #expect(
                try eventually(within: 10) {
                    try client.command("RSET").code == 250
                        && client.command("MAIL FROM:<a@client.example>").code == 250
                })
            #expect(try self.alarms(relay) == [])
        }

        @Test func `bytes count too, after a restart as before, and a reload lifts the limit`()
            throws
        {
            let (relay, _) = try self.relay("max_queued_bytes = \"1MB\"")
            let client = try MailClient(port: relay.port)
            // Nothing that LZ4 could make shorter.
            var generator = SystemRandomNumberGenerator()
            let noise = (0..<1_100_000 / 64).map { _ in
                (0..<48).map { _ in
                    String(Unicode.Scalar(UInt8.random(in: 48...122, using: &generator)))
                }
                .joined() + "\r\n"
            }.joined()
            #expect(try client.send("Subject: large\r\n\r\n" + noise + noise).code == 250)
            #expect(try client.command("MAIL FROM:<a@client.example>").code == 452)
            try relay.stop()
            try relay.start()
            let again = try MailClient(port: relay.port)
            #expect(try again.command("MAIL FROM:<a@client.example>").code == 452)
            relay.settings.relay = "max_queued_bytes = \"1GB\""
            try relay.writeSettings()
            relay.process?.signal(SIGHUP)
            #expect(
                try eventually(within: 10) {
                    try again.command("MAIL FROM:<a@client.example>").code == 250
                })
        }
    }
}
