// RelayTests.swift - mail goes in, comes out, and says what happened to it.

import Foundation
import Testing

extension ProcessTests {
    @Suite("Accept and deliver", .timeLimit(.minutes(5))) struct RelayTests {
        @Test func `a message arrives with one Received field in front and no other change`() throws
        {
            let sink = try Sink()
            let relay = try Relay(RelaySettings(sinkPort: sink.port))
            let client = try MailClient(port: relay.port)
            let message = MailClient.message("m1", bytes: 4096) + ".dot\r\n\r\n..\r\n"
            let reply = try client.send(message)
            #expect(reply.code == 250)
            let id = try #require(reply.queueID)
            #expect(reply.lines == ["250 2.0.0 Ok id=\(id)"])
            let arrival = try #require(try sink.wait(for: 1).first)
            #expect(arrival.content.hasSuffix(message))
            let added = arrival.content.dropLast(message.count)
            #expect(added.hasPrefix("Received: from client.example "))
            #expect(added.contains("by relay.posthouse.example"))
            #expect(added.contains("with ESMTP id \(id)"))
            #expect(
                added.split(separator: "\r\n").dropFirst().allSatisfy { "\t ".contains($0.first!) })
            #expect(arrival.recipients == ["rcpt@dest.example"])
            #expect(try eventually(within: 10) { try relay.queued() == 0 })
        }

        @Test func `hundred messages on one connection, each with its own id`() throws {
            let sink = try Sink()
            let relay = try Relay(RelaySettings(sinkPort: sink.port))
            let client = try MailClient(port: relay.port)
            var ids: Set<String> = []
            for i in 0..<100 {
                let reply = try client.send(MailClient.message("m\(i)"))
                #expect(reply.code == 250)
                ids.insert(reply.queueID ?? "")
            }
            #expect(ids.count == 100)
            #expect(ids.allSatisfy { $0.wholeMatch(of: /[0-9A-Za-z-]{1,40}/) != nil })
            let markers = try sink.wait(for: 100).map(\.marker)
            #expect(Set(markers).count == 100 && markers.count == 100)
            #expect(try client.command("QUIT").code == 221)
        }

        @Test func `three transactions in one packet are answered in order`() throws {
            let sink = try Sink()
            let relay = try Relay(RelaySettings(sinkPort: sink.port))
            let client = try MailClient(port: relay.port)
            let text = "X-Marker: p\r\n\r\nhello\r\n"
            let one =
                "MAIL FROM:<a@x.example>\r\nRCPT TO:<b@x.example>\r\n"
                + "BDAT \(text.utf8.count) LAST\r\n\(text)"
            try client.connection.send(one + one + one + "NOOP\r\nQUIT\r\n")
            var codes: [Int] = []
            for _ in 0..<11 { codes.append(try client.reply().code) }
            #expect(codes == [250, 250, 250, 250, 250, 250, 250, 250, 250, 250, 221])
            #expect(try client.connection.line() == nil)
            #expect(try sink.wait(for: 3).count == 3)
        }

        @Test func `what EHLO offers is what the relay keeps`() throws {
            let relay = try Relay(RelaySettings(delivers: false))
            let client = try MailClient(port: relay.port)
            #expect(client.banner.description.hasPrefix("220 relay.posthouse.example ESMTP"))
            let offers = Set(client.greeting.lines.map { String($0.dropFirst(4)) })
            for word in ["PIPELINING", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN"] {
                #expect(offers.contains(word), "\(word) is missing in \(offers)")
            }
            #expect(offers.contains("ENHANCEDSTATUSCODES"))
            #expect(offers.contains("SIZE 50000000"))
            #expect(!offers.contains { $0.hasPrefix("AUTH") || $0 == "STARTTLS" })
            #expect(try client.command("VRFY x").code == 252)
            #expect(try client.command("HELP").code / 100 == 2)
            #expect(try client.command("NOOP").code == 250)
            #expect(try client.command("RSET").code == 250)
        }

        @Test func `recipients of two domains get one copy per domain`() throws {
            let sink = try Sink()
            let relay = try Relay(RelaySettings(sinkPort: sink.port))
            let client = try MailClient(port: relay.port)
            let to = ["a@one.example", "b@one.example", "c@two.example"]
            #expect(try client.send(to: to, MailClient.message("m")).code == 250)
            let all = try eventually(within: 10) {
                sink.accepted.flatMap(\.recipients).sorted() == to
            }
            #expect(all, "\(sink.accepted.map(\.recipients))")
        }

        @Test func `a stranger may not relay, our own domains are taken from anyone`() throws {
            let sink = try Sink()
            var settings = RelaySettings(sinkPort: sink.port)
            settings.allow = "192.0.2.0/24"
            settings.relay = "domains = [\"ours.example\"]"
            let relay = try Relay(settings)
            let client = try MailClient(port: relay.port)
            #expect(try client.command("MAIL FROM:<a@x.example>").code == 250)
            #expect(try client.command("RCPT TO:<b@elsewhere.example>").code / 100 == 5)
            #expect(try client.command("RCPT TO:<postmaster>").code == 250)
            #expect(try client.command("RCPT TO:<b@ours.example>").code == 250)
        }
    }
}
