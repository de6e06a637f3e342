// ControlTests.swift - start, stop, reload, commands, health: what an operator does.

import Foundation
import Testing

extension ProcessTests {
    @Suite("Operation", .timeLimit(.minutes(5))) struct ControlTests {
        @Test func `SIGTERM ends idle sessions with 421 and the process within 10 s`() throws {
            let relay = try Relay(RelaySettings(delivers: false))
            let idle = try MailClient(port: relay.port)
            let stopped = try relay.stop()
            #expect(stopped.status == 0)
            #expect(stopped.seconds < 10)
            #expect(try idle.reply().code == 421)
            #expect(try idle.connection.line() == nil)
        }

        @Test func `what was accepted before SIGTERM is delivered after the next start`() throws {
            let sink = try Sink { stage, _ in stage == .connect ? .reply("421 4.3.2 no") : nil }
            let relay = try Relay(RelaySettings(sinkPort: sink.port))
            let client = try MailClient(port: relay.port)
            for i in 0..<20 { #expect(try client.send(MailClient.message("m\(i)")).code == 250) }
            #expect(try relay.stop().status == 0)
            sink.use { _, _ in nil }
            try relay.start()
            let changed = try relay.command("queue", "retry", "--all", "--yes")
            #expect(changed.status == 0, "\(changed.errorText)")
            let markers = try sink.wait(for: 20, seconds: 60).map(\.marker)
            #expect(Set(markers).count == 20 && markers.count == 20)
            #expect(try relay.possibleDuplicates() == 0)
        }

        @Test func `a stop does not wait for ever behind a final dot, and counts the repeat`()
            throws
        {
            let dots = Shared(0)
            let mayAnswer = Shared<Bool?>(nil)
            let sink = try Sink { stage, _ in
                guard stage == .dot else { return nil }
                dots.with { $0 += 1 }
                _ = mayAnswer.wait(seconds: 60) { $0 }
                return nil
            }
            let relay = try Relay(RelaySettings(sinkPort: sink.port))
            #expect(try MailClient(port: relay.port).send(MailClient.message("slow")).code == 250)
            #expect(dots.wait(seconds: 20) { $0 == 1 ? true : nil } == true)
            #expect(try relay.stop(seconds: 30).status == 0)
            mayAnswer.with { $0 = true }
            try relay.start()
            // The server has stored it, though nobody was there to hear that.
            #expect(try sink.wait(for: 2, seconds: 60).map(\.marker) == ["slow", "slow"])
            #expect(try relay.possibleDuplicates() == 1)
        }

        @Test func `SIGHUP takes new routes, or nothing when the file is wrong`() throws {
            let old = try Sink()
            let new = try Sink()
            let relay = try Relay(RelaySettings(sinkPort: old.port))
            let process = try #require(relay.process)
            #expect(try MailClient(port: relay.port).send(MailClient.message("m1")).code == 250)
            _ = try old.wait(for: 1)

            relay.settings.sinkPort = new.port
            relay.settings.extra = "\n[nonsense]\na = 1\n"
            try relay.writeSettings()
            process.signal(SIGHUP)
            #expect(relay.waitForLog("nonsense"))
            #expect(try MailClient(port: relay.port).send(MailClient.message("m2")).code == 250)
            #expect(try old.wait(for: 2).last?.marker == "m2")

            relay.settings.extra = ""
            try relay.writeSettings()
            process.signal(SIGHUP)
            let taken = try eventually(within: 20) {
                let marker = "later-\(Int(now() * 1000))"
                _ = try MailClient(port: relay.port).send(MailClient.message(marker))
                return new.arrivals.wait(seconds: 1) { $0.isEmpty ? nil : true } ?? false
            }
            #expect(taken)
            #expect(process.isRunning)
        }

        @Test func `a process that stood still longer than its leases last loses none of them`()
            throws
        {
            // A slow host: most of the mail is leased and waits for a connection.
            let gate = Shared(false)
            let sink = try Sink { stage, _ in
                if stage == .mail { _ = gate.wait(seconds: 0.2) { $0 ? true : nil } }
                return nil
            }
            let relay = try Relay(RelaySettings(sinkPort: sink.port))
            let process = try #require(relay.process)
            let client = try MailClient(port: relay.port)
            for number in 0..<300 {
                #expect(try client.send(MailClient.message("m\(number)")).code == 250)
            }
            process.signal(SIGSTOP)
            #expect(sink.accepted.count < 250, "the host is not slow enough for this test")
            // Longer than T (4 s), with nothing to wait for.
            _ = gate.wait(seconds: 5) { $0 ? true : nil }
            process.signal(SIGCONT)
            gate.with { $0 = true }
            #expect(try sink.wait(for: 300).count >= 300)
            #expect(Set(sink.accepted.map(\.marker)).count == 300)
        }

        @Test func `check config says what is wrong, where, and ends with 78`() throws {
            let relay = try Relay(RelaySettings(), starts: false)
            try relay.writeSettings()
            let binary = try Relay.binary()
            let good = try run(binary, ["check", "config", "--config", relay.configuration])
            #expect(good.status == 0, "\(good.errorText)")
            let bad = try relay.folder.write(
                "bad.toml", "[node]\nname = \"a\"\nhostnam = \"x.example\"\n")
            let ended = try run(binary, ["check", "config", "--config", bad])
            #expect(ended.status == 78)
            let text = ended.errorText + ended.outputText
            #expect(text.contains("bad.toml:3:"), "\(text)")
            #expect(text.contains("hostname"), "\(text)")
            #expect(try run(binary, ["serve", "--config", bad]).status == 78)
            #expect(try run(binary, ["nonsense"]).status == 64)
            #expect(try run(binary, ["version"]).status == 0)
        }

        @Test func `a data directory of another node is refused`() throws {
            let relay = try Relay(RelaySettings(delivers: false))
            try relay.stop()
            relay.settings.name = "b"
            try relay.writeSettings()
            let ended = try run(
                try Relay.binary(), ["serve", "--config", relay.configuration], seconds: 20)
            #expect([65, 70, 77, 78].contains(ended.status), "\(ended.status ?? -1)")
            #expect(ended.errorText.contains("\"a\"") || ended.errorText.contains("node a"))
            relay.settings.name = "a"
            try relay.start()
        }

        @Test func `two processes never share a data directory`() throws {
            let relay = try Relay(RelaySettings(delivers: false))
            let ended = try run(
                try Relay.binary(), ["serve", "--config", relay.configuration], seconds: 20)
            #expect((ended.status ?? 0) != 0)
            #expect(try MailClient(port: relay.port).command("NOOP").code == 250)
        }

        @Test func `the queue is listed, held, released, dropped and bounced by command`() throws {
            let sink = try Sink { stage, text in
                stage == .rcpt && text.contains("later@") ? .reply("450 4.2.0 not now") : nil
            }
            let relay = try Relay(RelaySettings(sinkPort: sink.port, retry: ["30s"]))
            let client = try MailClient(port: relay.port)
            let to = ["later@dest.example"]
            let first = try #require(try client.send(to: to, MailClient.message("m1")).queueID)
            let second = try #require(try client.send(to: to, MailClient.message("m2")).queueID)
            #expect(
                try eventually(within: 10) {
                    try relay.command("queue", "list", "-o", "json", "--state", "deferred")
                        .outputText.contains(second)
                })
            let list = try relay.command("queue", "list")
            #expect(list.status == 0 && list.outputText.contains(first), "\(list.errorText)")
            let shown = try relay.command("queue", "show", first)
            #expect(shown.outputText.contains("later@dest.example"), "\(shown.errorText)")
            let body = try relay.command("queue", "cat", first)
            #expect(body.outputText.contains("X-Marker: m1"), "\(body.errorText)")
            #expect(try relay.command("queue", "show", "nothing-like-this").status == 66)
            #expect(try relay.command("queue", "drop", "--all").status == 77)
            let dry = try relay.command("queue", "drop", "--id", first, "--dry-run", "--yes")
            #expect(dry.status == 0, "\(dry.errorText)")
            #expect(try relay.queued() == 2)
            #expect(try relay.command("queue", "hold", "--id", second, "--yes").status == 0)
            #expect(try relay.get("/v1/queue?state=held").body.contains(second))
            #expect(try relay.command("queue", "drop", "--id", first, "--yes").status == 0)
            #expect(try eventually(within: 10) { try relay.queued() == 1 })
            #expect(try relay.command("queue", "release", "--id", second, "--yes").status == 0)
            #expect(try relay.command("queue", "bounce", "--id", second, "--yes").status == 0)
            let report = try #require(try sink.wait(for: 1).first)
            #expect(try readReport(report.content)["permanent"] == "later@dest.example")
            #expect(try eventually(within: 10) { try relay.queued() == 0 })
        }

        @Test func `SIGTERM behind a balancer: no to the balancer first, then to clients`() throws {
            let sink = try Sink()
            let relay = try Relay(RelaySettings(sinkPort: sink.port))
            #expect(try relay.get("/readyz").status == 200)
            let process = try #require(relay.process)
            process.signal(SIGTERM)
            #expect(try eventually(within: 10) { try relay.get("/readyz").status == 503 })
            // Whoever has not noticed is served.
            let client = try MailClient(port: relay.port)
            #expect(client.banner.code == 220)
            #expect(try client.send(MailClient.message("late")).code == 250)
            // The open session ends with a word, when those who ask have had their time.
            while !client.connection.hasInput, process.isRunning {
                do {
                    #expect(try relay.get("/readyz").status == 503)
                } catch {
                    // Nobody is answered any more only when clients have been told.
                    #expect(client.connection.hasInput, "\(error)")
                }
                poll(nil, 0, 300)
            }
            #expect(try client.reply().code == 421)
            #expect(try process.wait(seconds: 20).status == 0)
            relay.kill()
            #expect(try sink.wait(for: 1).first?.marker == "late")
        }

        @Test func `send, health, metrics and status answer`() throws {
            let sink = try Sink()
            let relay = try Relay(RelaySettings(sinkPort: sink.port))
            let sent = try relay.command(
                "send", "-f", "me@client.example", "rcpt@dest.example",
                input: MailClient.message("sent").replacing("\r\n", with: "\n"))
            #expect(sent.status == 0, "\(sent.errorText)")
            let arrival = try #require(try sink.wait(for: 1).first)
            #expect(arrival.marker == "sent" && arrival.from == "me@client.example")
            #expect(try MailClient(port: relay.port).send(MailClient.message("m")).code == 250)
            #expect(try relay.get("/livez").status == 200)
            #expect(try relay.get("/readyz").status == 200)
            let metrics = try relay.get("/metrics").body
            #expect(metrics.contains("posthouse_accepted_total 2"), "\(metrics.prefix(2000))")
            let cluster = try relay.cluster()
            #expect(cluster["schema"] as? String == "posthouse.cluster/1")
            #expect(cluster["status"] as? String == "healthy")
            #expect(Int(any: cluster["can_lose"]) == 0)
            #expect(cluster["leader"] as? String == "a")
            #expect(try relay.command("cluster", "health").status == 0)
            #expect(try relay.command("cluster", "status").outputText.contains("a"))
            try relay.stop()
            #expect(try relay.command("cluster", "health").status == 69)
        }
    }
}
