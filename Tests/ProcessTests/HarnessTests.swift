// HarnessTests.swift - the tools of these tests do what the other tests believe.

import Foundation
import Testing

extension ProcessTests {
    @Suite("The tools of the tests", .timeLimit(.minutes(5))) struct HarnessTests {
        @Test func `the sink notes what the client sends, dots and all`() throws {
            let sink = try Sink()
            let client = try MailClient(port: sink.port)
            let message = MailClient.message("m1") + ".hidden\r\n..two\r\n"
            let reply = try client.send(to: ["a@x.example", "b@x.example"], message)
            #expect(reply.code == 250)
            let arrival = try #require(try sink.wait(for: 1).first)
            #expect(arrival.content == message)
            #expect(arrival.recipients == ["a@x.example", "b@x.example"])
            #expect(arrival.from == "sender@client.example")
            #expect(arrival.marker == "m1")
        }

        @Test func `the sink refuses, hangs up and stays silent as it is told`() throws {
            let sink = try Sink { stage, text in
                if stage == .rcpt && text.contains("bad@") { return .reply("550 5.1.1 no") }
                if stage == .dot && text.contains("later") { return .reply("451 4.3.0 later") }
                if stage == .dot && text.contains("gone") { return .close }
                return nil
            }
            let client = try MailClient(port: sink.port)
            #expect(try client.send(to: ["bad@x.example"], "A: b\r\n\r\n").code == 550)
            _ = try client.command("RSET")
            #expect(try client.send("Subject: later\r\n\r\n").code == 451)
            #expect(throws: Failure.self) { try client.send("Subject: gone\r\n\r\n") }
            #expect(sink.arrivals.current.count == 2)
            #expect(sink.accepted.isEmpty)
        }

        @Test func `a child's output, errors and exit code are told apart`() throws {
            let ended = try run("sh", ["-c", "cat; echo no >&2; exit 3"], input: "yes")
            #expect(ended.outputText == "yes")
            #expect(ended.errorText == "no\n")
            #expect(ended.status == 3)
            let endless = try ChildProcess("cat", ["/dev/zero"])
            endless.signal(SIGKILL)
            #expect(try endless.wait(seconds: 10).status == 128 + 9)
        }

        @Test func `the name server answers as dig expects`() throws {
            try need("dig", package: "bind9-dnsutils")
            let names = try NameServer([
                "dest.example": [.mx(10, "mx1.dest.example"), .mx(20, "mx2.dest.example")],
                "mx1.dest.example": [.a("127.0.0.2")],
                "alias.example": [.cname("mx1.dest.example")],
                "broken.example": [.fails],
            ])
            func dig(_ name: String, _ type: String) throws -> String {
                try run(
                    "dig",
                    [
                        "@127.0.0.1", "-p", "\(names.port)", "+tries=1", "+noedns", "+short", name,
                        type,
                    ]
                ).outputText
            }
            #expect(
                try dig("dest.example", "MX") == "10 mx1.dest.example.\n20 mx2.dest.example.\n")
            #expect(try dig("alias.example", "A") == "mx1.dest.example.\n127.0.0.2\n")
            #expect(try dig("dest.example", "A") == "")
            #expect(names.questions.current.map(\.type) == [15, 1, 1])
        }
    }
}
