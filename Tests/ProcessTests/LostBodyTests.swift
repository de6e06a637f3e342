// LostBodyTests.swift - a disk that changes what was written: one report, said, counted, and no
// half of a message for anybody.

import Foundation
import Testing

extension ProcessTests {
    @Suite("Lost bodies", .timeLimit(.minutes(5))) struct LostBodyTests {
        /// Lines that do not compress, so that they can be found on the disk.
        private static func message(_ marker: String, bytes: Int) -> (text: String, late: String) {
            var dice = SystemRandomNumberGenerator()
            var text = MailClient.message(marker)
            var line = ""
            while text.utf8.count < bytes {
                line = (0..<6).map { _ in String(dice.next(), radix: 36) }.joined()
                text += line + "\r\n"
            }
            return (text, line)
        }

        /// Changes `text` wherever it stands in the journal; how often it stood there.
        private static func damage(_ text: String, in relay: Relay) throws -> Int {
            let folder = relay.folder.path + "/data/journal"
            var found = 0
            for name in try FileManager.default.contentsOfDirectory(atPath: folder)
            where name.hasSuffix(".seg") {
                let url = URL(fileURLWithPath: folder + "/" + name)
                guard let range = try Data(contentsOf: url).range(of: Data(text.utf8)) else {
                    continue
                }
                let handle = try FileHandle(forUpdating: url)
                try handle.seek(toOffset: UInt64(range.lowerBound))
                try handle.write(contentsOf: Data(text.utf8.map { $0 ^ 0xFF }))
                try handle.close()
                found += 1
            }
            return found
        }

        /// Above 256 KB nothing stays in memory; above 1 MiB it is streamed.
        @Test(arguments: [400_000, 3_000_000])
        func `a body damaged on the disk: one report with its header, and no final dot`(
            bytes: Int
        ) throws {
            let refuses = Shared(true)
            let refused = Shared(0)
            let sink = try Sink { stage, text in
                guard stage == .rcpt, text.contains("rcpt@"), refuses.current else { return nil }
                refused.with { $0 += 1 }
                return .reply("450 4.2.0 not now")
            }
            let relay = try Relay(RelaySettings(sinkPort: sink.port))
            let message = Self.message("damaged", bytes: bytes)
            #expect(try MailClient(port: relay.port).send(message.text).code == 250)
            #expect(refused.wait(seconds: 20) { $0 > 0 ? true : nil } == true)
            #expect(try Self.damage(message.late, in: relay) == 1)
            if bytes > 1 << 20 {
                // An attempt that began before the damage is refused like the others; the next
                // ones read what is on the disk now, as far as it goes.
                let before = refused.current
                #expect(refused.wait(seconds: 20) { $0 > before + 1 ? true : nil } == true)
                refuses.with { $0 = false }
            }

            let report = try #require(try sink.wait(for: 1, seconds: 30).first)
            #expect(report.from == "" && report.recipients == ["sender@client.example"])
            let seen = try readReport(report.content)
            #expect(seen["permanent"] == "rcpt@dest.example")
            #expect(seen["Status"] == "5.3.0")
            let diagnostic = seen["Diagnostic-Code"] ?? ""
            #expect(diagnostic.contains("All copies of the message were lost"))
            #expect(report.content.contains("X-Marker: damaged\r\n"))
            #expect(try eventually(within: 30) { try relay.queued() == 0 })

            // Only the report had its final dot; the content of the other was cut off.
            #expect(sink.arrivals.current.count == 1)
            #expect(relay.waitForLog("error", "the only copy of a message is lost", "smartctl"))
            let lines = relay.log.split(separator: "\n").filter { $0.contains("only copy") }
            #expect(lines.count == 1)
            let metrics = try relay.get("/metrics").body
            #expect(metrics.contains("posthouse_bodies_lost_total 1\n"))
            #expect(try relay.cluster()["status"] as? String == "degraded")
            try relay.stop()
        }

        @Test func `damage found by a start is reported at the next attempt`() throws {
            let sink = try Sink { stage, text in
                stage == .rcpt && text.contains("rcpt@") ? .reply("450 4.2.0 not now") : nil
            }
            let relay = try Relay(RelaySettings(sinkPort: sink.port))
            let client = try MailClient(port: relay.port)
            let message = Self.message("at-rest", bytes: 20_000)
            #expect(try client.send(message.text).code == 250)
            #expect(try client.send(MailClient.message("behind it")).code == 250)
            relay.kill()
            #expect(try Self.damage(message.late, in: relay) == 1)
            try relay.start()
            #expect(relay.waitForLog("damage found at start"))
            let report = try #require(try sink.wait(for: 1, seconds: 30).first)
            #expect(report.from == "" && report.content.contains("All copies of the message"))
            // The sound one goes on.
            #expect(try eventually(within: 10) { try relay.queued() == 1 })
            try relay.stop()
        }
    }
}
