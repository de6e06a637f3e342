// DiskTests.swift - a full disk is refused politely, and is not the end.

import Foundation
import Testing

extension ProcessTests {
    @Suite("A full disk", .enabled(if: SmallDisk.isPossible), .timeLimit(.minutes(5)))
    struct DiskTests {
        /// Sends until the relay says that it has no room; how many it took.
        private func sendUntilFull(_ relay: Relay) throws -> (accepted: Int, refusal: Reply?) {
            let client = try MailClient(port: relay.port)
            var message = MailClient.message("fill") + "\r\n"
            var generator = SystemRandomNumberGenerator()
            // What does not compress fills a disk fastest.
            for _ in 0..<60_000 {
                message +=
                    String(generator.next(), radix: 36) + String(generator.next(), radix: 36)
                    + "\r\n"
            }
            for count in 0..<2000 {
                let reply = try client.send(message)
                if reply.code != 250 { return (count, reply) }
            }
            return (2000, nil)
        }

        @Test func `a full disk is answered 452, keeps what it took, and recovers`() throws {
            let disk = try SmallDisk(megabytes: 1800)
            var settings = RelaySettings(delivers: false)
            settings.data = disk.path + "/data"
            let relay = try Relay(settings)
            #expect(try MailClient(port: relay.port).send(MailClient.message("m0")).code == 250)
            try disk.fill()
            let (accepted, refusal) = try self.sendUntilFull(relay)
            #expect(refusal?.code == 452, "\(refusal?.description ?? "never refused")")
            #expect(refusal?.description.contains("4.3.1") == true)
            #expect(try relay.queued() == accepted + 1)
            #expect(relay.process?.isRunning == true)
            #expect(try relay.get("/readyz").status == 503)

            // A start with no free block succeeds, and nothing is missing.
            relay.kill()
            try relay.start()
            #expect(try relay.queued() == accepted + 1)

            try disk.empty()
            let back = try eventually(within: 30) {
                try MailClient(port: relay.port).send(MailClient.message("again")).code == 250
            }
            #expect(back)
            try relay.stop()
        }

        @Test func `a full disk still lets mail out`() throws {
            let disk = try SmallDisk(megabytes: 1800)
            let refuses = Shared(true)
            let sink = try Sink { stage, _ in
                stage == .rcpt && refuses.current ? .reply("450 4.2.0 not now") : nil
            }
            var settings = RelaySettings(sinkPort: sink.port)
            settings.data = disk.path + "/data"
            let relay = try Relay(settings)
            let client = try MailClient(port: relay.port)
            for i in 0..<50 { #expect(try client.send(MailClient.message("m\(i)")).code == 250) }
            try disk.fill()
            refuses.with { $0 = false }
            let changed = try relay.command("queue", "retry", "--all", "--yes")
            #expect(changed.status == 0, "\(changed.errorText)")
            #expect(Set(try sink.wait(for: 50, seconds: 60).map(\.marker)).count == 50)
            #expect(try eventually(within: 10) { try relay.queued() == 0 })
            try relay.stop()
        }
    }
}
