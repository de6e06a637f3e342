// LMTPTests.swift - mail goes into a mailbox by LMTP, and senders who asked are told.
//
// Standard  RFC 2033; RFC 3461 §4.1 (NOTIFY=SUCCESS); RFC 3464 §2.3.3 (action delivered).

import Foundation
import Testing

extension ProcessTests {
    @Suite("LMTP", .timeLimit(.minutes(5))) struct LMTPTests {
        @Test func `who asked for success is told that the mailbox has it, nobody else is`() throws
        {
            let sink = try Sink()
            var settings = RelaySettings()
            settings.extra = """

                [[route]]
                domains = ["*"]
                via = "lmtp://127.0.0.1:\(sink.port)"
                tls = "none"

                """
            let relay = try Relay(settings)
            let client = try MailClient(port: relay.port)
            for (marker, notify) in [("quiet", ""), ("told", " NOTIFY=SUCCESS")] {
                #expect(try client.command("MAIL FROM:<sender@client.example>").code == 250)
                #expect(try client.command("RCPT TO:<box@dest.example>\(notify)").code == 250)
                #expect(try client.command("DATA").code == 354)
                #expect(try client.command(MailClient.message(marker) + ".").code == 250)
            }
            let arrivals = try sink.wait(for: 3)
            let done = try eventually(within: 10) { try relay.queued() == 0 }
            #expect(done && sink.accepted.count == 3)
            let report = try #require(arrivals.first { $0.from == "" })
            #expect(report.recipients == ["sender@client.example"])
            #expect(report.content.contains("\r\nAction: delivered\r\n"))
            #expect(report.content.contains("\r\nFinal-Recipient: rfc822; box@dest.example\r\n"))
            #expect(report.content.contains("\r\nStatus: 2.0.0\r\n"))
            #expect(report.content.contains("told@client.example"))
            let commands = sink.commands.current.flatMap { $0 }
            #expect(commands.contains("LHLO relay.posthouse.example"))
            #expect(!commands.contains { $0.contains("NOTIFY") })
        }
    }
}
