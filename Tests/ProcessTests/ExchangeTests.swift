// ExchangeTests.swift - MX records: order, ties, none, null, broken (RFC 5321 §5, RFC 7505).

import Foundation
import Testing

extension ProcessTests {
    @Suite("Mail exchangers", .timeLimit(.minutes(5))) struct ExchangeTests {
        private func relay(_ sink: Sink, _ names: NameServer) throws -> Relay {
            try Relay(RelaySettings(mxPort: sink.port, dnsPort: names.port, expire: "5s"))
        }

        @Test func `the next host is asked when the first is away or says 4xx`() throws {
            let last = try Sink(address: "127.0.0.4")
            let busy = try Sink(address: "127.0.0.3", port: last.port) { stage, _ in
                stage == .connect ? .reply("421 4.3.2 busy") : nil
            }
            let names = try NameServer([
                "dest.example": [
                    .mx(30, "c.dest.example"), .mx(10, "a.dest.example"), .mx(20, "b.dest.example"),
                ],
                "a.dest.example": [.a("127.0.0.2")], "b.dest.example": [.a("127.0.0.3")],
                "c.dest.example": [.a("127.0.0.4")],
            ])
            let relay = try self.relay(last, names)
            #expect(try MailClient(port: relay.port).send(MailClient.message("m")).code == 250)
            #expect(try last.wait(for: 1).map(\.marker) == ["m"])
            #expect(busy.commands.current.count == 1)
        }

        @Test func `a domain without MX is its own exchanger`() throws {
            let sink = try Sink(address: "127.0.0.2")
            let names = try NameServer(["dest.example": [.a("127.0.0.2")]])
            let relay = try self.relay(sink, names)
            #expect(try MailClient(port: relay.port).send(MailClient.message("m")).code == 250)
            #expect(try sink.wait(for: 1).map(\.marker) == ["m"])
        }

        @Test(
            arguments: [
                ("null MX", [NameServer.Record.mx(0, ".")], "5.1.10"),
                ("no such domain", [], "5.1.2"),
            ])
        func `a domain that takes no mail fails at once`(
            _ name: String, _ records: [NameServer.Record], _ status: String
        ) throws {
            let sink = try Sink(address: "127.0.0.2")
            let names = try NameServer(["client.example": [.a("127.0.0.2")]])
            if !records.isEmpty { names.set("dest.example", records) }
            let relay = try self.relay(sink, names)
            #expect(try MailClient(port: relay.port).send(MailClient.message("m")).code == 250)
            let report = try #require(try sink.wait(for: 1, seconds: 30).first)
            #expect(try readReport(report.content)["Status"] == status, "\(name)")
        }

        @Test func `a name server that cannot say is asked again`() throws {
            let sink = try Sink(address: "127.0.0.2")
            let names = try NameServer(["dest.example": [.fails]])
            let relay = try Relay(RelaySettings(mxPort: sink.port, dnsPort: names.port))
            #expect(try MailClient(port: relay.port).send(MailClient.message("m")).code == 250)
            #expect(
                try eventually(within: 20) { try relay.get("/v1/queue").body.contains("deferred") })
            names.set("dest.example", [.mx(10, "a.dest.example")])
            names.set("a.dest.example", [.a("127.0.0.2")])
            // The resolver remembers the failure for some seconds.
            #expect(try relay.retryUntil(seconds: 30) { !sink.accepted.isEmpty })
            #expect(sink.accepted.map(\.marker) == ["m"])
        }

        @Test func `hundred exchangers, a loop of aliases: the relay stays healthy`() throws {
            let sink = try Sink(address: "127.0.0.2")
            var records: [String: [NameServer.Record]] = [
                "loop.example": [.cname("pool.example")], "pool.example": [.cname("loop.example")],
                "client.example": [.a("127.0.0.2")],
            ]
            records["dest.example"] = (0..<100).map { .mx($0, "h\($0).dest.example") }
            // Only the first has an address, and it listens.
            records["h0.dest.example"] = [.a("127.0.0.2")]
            let names = try NameServer(records)
            let relay = try self.relay(sink, names)
            let client = try MailClient(port: relay.port)
            #expect(try client.send(to: ["a@dest.example"], MailClient.message("m")).code == 250)
            #expect(try client.send(to: ["a@loop.example"], MailClient.message("n")).code == 250)
            // The message itself, and the report about the loop.
            let all = try sink.wait(for: 2, seconds: 60)
            #expect(all.map(\.from).sorted() == ["", "sender@client.example"])
            #expect(try relay.get("/livez").status == 200)
        }
    }
}
