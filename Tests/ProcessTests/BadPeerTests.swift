// BadPeerTests.swift - clients and servers that are broken, hostile or cut off.

import Foundation
import Testing

extension ProcessTests {
    @Suite("Bad peers", .timeLimit(.minutes(5))) struct BadPeerTests {
        @Test func `cut at every byte of a transaction: nothing is taken without its end`() throws {
            let sink = try Sink()
            let relay = try Relay(RelaySettings(sinkPort: sink.port))
            let transaction = "MAIL FROM:<a@x.example>\r\nRCPT TO:<b@dest.example>\r\nDATA\r\n"
            let commands = "EHLO client.example\r\n" + transaction
            let content = "X-Marker: cut\r\n\r\n..\r\nend\r\n.\r\n"
            for count in 0...commands.utf8.count {
                let connection = try Connection(port: relay.port)
                _ = try MailClient.reply(on: connection)
                try connection.send(commands.utf8.prefix(count))
                if count % 2 == 0 { connection.reset() } else { connection.close() }
            }
            for count in 0..<content.utf8.count {
                let client = try MailClient(port: relay.port)
                try client.connection.send(transaction)
                for _ in 0..<3 { _ = try client.reply() }
                try client.connection.send(content.utf8.prefix(count))
                if count % 2 == 0 { client.connection.reset() } else { client.connection.close() }
            }
            // Then one that ends: whatever came before it would have arrived by now or with it.
            let client = try MailClient(port: relay.port)
            #expect(try client.send("X-Marker: whole\r\n\r\nend\r\n").code == 250)
            #expect(try sink.wait(for: 1).map(\.marker) == ["whole"])
            #expect(try eventually(within: 10) { try relay.queued() == 0 })
            #expect(sink.arrivals.current.map(\.marker) == ["whole"])
            #expect(try relay.get("/livez").status == 200)
            let state = try #require(relay.process).isRunning
            #expect(state)
        }

        static let malformed: [(line: String, codes: Set<Int>)] = [
            ("FOO", [500, 502]), ("", [500]), ("MAIL", [501]), ("MAIL FROM:", [501]),
            ("MAIL FROM:<a@b.example", [501]), ("MAIL FROM:a@b.example>", [501]),
            ("MAIL FROM:<a@b..example>", [501, 553]), ("MAIL FROM:<@b.example>", [501, 553]),
            ("MAIL FROM:<a b@c.example>", [501, 553]), ("MAIL FROM:<a@[999.1.1.1]>", [501, 553]),
            ("MAIL FROM:<a@-b.example>", [501, 553]),
            ("MAIL FROM:<a\u{0}@b.example>", [500, 501, 553]),
            ("MAIL FROM:<\u{e9}@b.example>", [501, 553, 550]),
            ("MAIL FROM:<a@b.example> SIZE=x", [501]), ("MAIL FROM:<a@b.example> SIZE=", [501]),
            ("MAIL FROM:<a@b.example> SIZE=99999999999999999999", [501, 552]),
            ("MAIL FROM:<a@b.example> SIZE=50000001", [552]),
            ("MAIL FROM:<a@b.example> SIZE=1 SIZE=1", [501]),
            ("MAIL FROM:<a@b.example> BODY=7", [501, 504, 555]),
            ("MAIL FROM:<a@b.example> FOO=BAR", [555, 501, 504]),
            ("MAIL FROM:<a@b.example> RET=ALL", [501]), ("RCPT TO:<a@b.example>", [503]),
            ("DATA", [503]), ("BDAT 1 LAST", [503]),
            ("AUTH PLAIN", [500, 502, 503, 530, 538, 504]),
            ("STARTTLS", [454, 502, 500, 503]), ("EHLO", [501]), ("HELO", [501]),
            ("RSET x", [250, 501]),
            ("MAIL FROM:<" + String(repeating: "a", count: 65) + "@b.example>", [501, 553]),
            ("NOOP " + String(repeating: "x", count: 20_000), [500]),
        ]

        @Test func `each malformed command is refused, and the session goes on`() throws {
            let relay = try Relay(RelaySettings(delivers: false))
            for (line, codes) in Self.malformed {
                let client = try MailClient(port: relay.port)
                client.connection.seconds = 5
                // BDAT owes its bytes, even when it is refused.
                let bytes = line.hasPrefix("BDAT") ? "x" : ""
                try client.connection.send(line + "\r\n" + bytes)
                guard let reply = try? client.reply() else {
                    Issue.record("no reply to \(line.prefix(60).debugDescription)")
                    continue
                }
                #expect(codes.contains(reply.code), "\(line.prefix(60).debugDescription): \(reply)")
                let after = try? client.command("NOOP")
                #expect(after?.code == 250, "after \(line.prefix(60).debugDescription)")
            }
            #expect(try relay.queued() == 0)
        }

        @Test func `a command line of 10 MB is refused without growing`() throws {
            let relay = try Relay(RelaySettings(delivers: false))
            let client = try MailClient(port: relay.port)
            let chunk = [UInt8](repeating: UInt8(ascii: "a"), count: 1 << 20)
            do {
                for _ in 0..<10 { try client.connection.send(chunk) }
                try client.connection.send("\r\n")
                #expect(try client.reply().code / 100 == 5)
            } catch is Failure {
                // It may hang up on such a client, too.
            }
            #expect(try MailClient(port: relay.port).command("NOOP").code == 250)
            #expect(try self.resident(relay) < 200_000)
        }

        @Test func `a bare line feed in the content is refused`() throws {
            let relay = try Relay(RelaySettings(delivers: false))
            let client = try MailClient(port: relay.port)
            _ = try client.command("MAIL FROM:<a@x.example>")
            _ = try client.command("RCPT TO:<b@x.example>")
            _ = try client.command("DATA")
            let smuggled = "A: b\r\n\r\nx\n.\nMAIL FROM:<evil@x.example>\r\n.\r\n"
            try client.connection.send(smuggled)
            #expect(try client.reply().code == 550)
            #expect(try client.command("NOOP").code == 250)
            #expect(try relay.queued() == 0)
        }

        @Test func `one recipient more than the limit is refused, the others are kept`() throws {
            var settings = RelaySettings(delivers: false)
            settings.relay = "max_recipients = 100"
            let relay = try Relay(settings)
            let client = try MailClient(port: relay.port)
            _ = try client.command("MAIL FROM:<a@x.example>")
            for i in 0..<100 {
                #expect(try client.command("RCPT TO:<r\(i)@x.example>").code == 250)
            }
            #expect(try client.command("RCPT TO:<r100@x.example>").code == 452)
            #expect(try client.command("DATA").code == 354)
            try client.connection.send(MailClient.message("m") + ".\r\n")
            #expect(try client.reply().code == 250)
        }

        @Test func `hundred thousand recipients cost a client its session, not us our memory`()
            throws
        {
            let relay = try Relay(RelaySettings(delivers: false))
            let client = try MailClient(port: relay.port)
            _ = try client.command("MAIL FROM:<a@x.example>")
            var codes: Set<Int> = []
            do {
                for batch in 0..<100 {
                    let lines = (0..<1000).map { "RCPT TO:<r\(batch)-\($0)@x.example>\r\n" }
                    try client.connection.send(lines.joined())
                    for _ in 0..<1000 { codes.insert(try client.reply().code) }
                }
            } catch is Failure {
                #expect(codes.contains(421))
            }
            #expect(codes.isSubset(of: [250, 452, 421]) && codes.contains(452), "\(codes)")
            #expect(try self.resident(relay) < 200_000)
            #expect(try MailClient(port: relay.port).command("NOOP").code == 250)
        }

        /// Kilobytes.
        private func resident(_ relay: Relay) throws -> Int {
            guard let pid = relay.process?.pid else { throw Failure("the relay does not run") }
            let status = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
            return status.split(separator: "\n").first { $0.hasPrefix("VmRSS") }
                .flatMap { Int($0.filter(\.isNumber)) } ?? .max
        }

        @Test(
            arguments: [
                ("garbage for a banner", Sink.Stage.connect, "\u{1}\u{2}xyz"),
                ("a refusal for a banner", Sink.Stage.connect, "554 go away"),
                ("garbage after MAIL", Sink.Stage.mail, "hello there"),
                ("a reply of 100,000 lines", Sink.Stage.mail, "long"),
                ("a hang-up after the dot", Sink.Stage.dot, "close"),
                ("a hang-up after RCPT", Sink.Stage.rcpt, "close"),
            ])
        func `a server that is broken costs a retry, never the message`(
            _ name: String, _ stage: Sink.Stage, _ answer: String
        ) throws {
            let breaks = Shared(true)
            let sink = try Sink { at, _ in
                guard at == stage, breaks.current else { return nil }
                breaks.with { $0 = false }
                if answer == "close" { return .close }
                if answer == "long" {
                    return .reply(
                        String(repeating: "250-and so on\r\n", count: 100_000) + "250 ok")
                }
                return .reply(answer)
            }
            let relay = try Relay(RelaySettings(sinkPort: sink.port))
            #expect(try MailClient(port: relay.port).send(MailClient.message("m")).code == 250)
            // Some of these count against the host, which is left alone for a minute: not here.
            let arrived = try relay.retryUntil(seconds: 30) { !sink.accepted.isEmpty }
            #expect(arrived && sink.accepted.map(\.marker) == ["m"], "\(name)")
            #expect(try eventually(within: 10) { try relay.queued() == 0 })
        }
    }
}
