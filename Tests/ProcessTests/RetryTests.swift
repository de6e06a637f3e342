// RetryTests.swift - deferred, tried again, given up; reports that other programs understand.

import Foundation
import Testing

/// What Python's `email` and flufl.bounce see in a report, as `name=value` lines.
func readReport(_ content: String) throws -> [String: String] {
    let script = """
        import email, email.policy, sys
        from flufl.bounce import all_failures
        raw = sys.stdin.buffer.read()
        m = email.message_from_bytes(raw, policy=email.policy.default)
        temporary, permanent = all_failures(email.message_from_bytes(raw))
        parts = list(m.iter_parts())
        status = parts[1].get_payload()
        print('type=' + m.get_content_type())
        print('report=' + str(m.get_param('report-type')))
        print('defects=' + str([d for p in m.walk() for d in p.defects]))
        print('parts=' + ','.join(p.get_content_type() for p in parts))
        print('permanent=' + ','.join(sorted(a.decode() for a in permanent)))
        print('temporary=' + ','.join(sorted(a.decode() for a in temporary)))
        for group in status[1:]:
            for name, value in group.items():
                print(name + '=' + value)
        for name, value in status[0].items():
            print('message.' + name + '=' + value)
        print('auto=' + str(m['Auto-Submitted']))
        original = parts[2].get_payload()
        print('original=' + str(original[0] if isinstance(original, list) else original)[:2000]
              .replace('\\n', '|'))
        """
    let ended = try run("/usr/bin/python3", ["-c", script], input: content)
    guard ended.status == 0 else { throw Failure("\(ended.errorText)\n\(content)") }
    var fields: [String: String] = [:]
    for line in ended.outputText.split(separator: "\n") {
        let pair = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        if pair.count == 2 { fields[String(pair[0])] = String(pair[1]) }
    }
    return fields
}

extension ProcessTests {
    @Suite("Retries and reports", .timeLimit(.minutes(5))) struct RetryTests {
        @Test func `a message refused for now is delivered by a later attempt`() throws {
            let refusals = Shared(2)
            let sink = try Sink { stage, _ in
                guard stage == .dot else { return nil }
                let left = refusals.with { left in
                    left -= 1
                    return left
                }
                return left >= 0 ? .reply("451 4.3.0 try again") : nil
            }
            let relay = try Relay(RelaySettings(sinkPort: sink.port))
            let reply = try MailClient(port: relay.port).send(MailClient.message("m"))
            #expect(reply.code == 250)
            #expect(try sink.wait(for: 1).map(\.marker) == ["m"])
            #expect(sink.arrivals.current.count == 3)
            #expect(try eventually(within: 10) { try relay.queued() == 0 })
        }

        @Test func `attempts follow the schedule, each within a tenth, the last one repeats`()
            throws
        {
            let sink = try Sink()
            let attempts = Shared<[Double]>([])
            sink.use { stage, text in
                guard stage == .rcpt, text.contains("full@") else { return nil }
                attempts.with { $0.append(now()) }
                return .reply("452 4.2.2 full")
            }
            let relay = try Relay(RelaySettings(sinkPort: sink.port, retry: ["1s", "2s", "3s"]))
            let client = try MailClient(port: relay.port)
            #expect(try client.send(to: ["full@dest.example"], MailClient.message("m")).code == 250)
            let times = try #require(attempts.wait(seconds: 30) { $0.count >= 5 ? $0 : nil })
            for (i, wanted) in [1.0, 2, 3, 3].enumerated() {
                let pause = times[i + 1] - times[i]
                // Never early; how late depends on the machine.
                #expect(pause >= wanted * 0.9 - 0.05 && pause < wanted * 1.1 + 2, "\(i): \(pause)")
            }
        }

        @Test func `a host that is away is asked again until it is there`() throws {
            // A port that nobody listens on, until the sink takes it.
            let free = try Listener { $0.close() }
            let port = free.port
            free.stop()
            let relay = try Relay(RelaySettings(sinkPort: port))
            #expect(try MailClient(port: relay.port).send(MailClient.message("m")).code == 250)
            #expect(
                try eventually(within: 10) { try relay.get("/v1/queue").body.contains("deferred") })
            let sink = try Sink(port: port)
            // A destination with no host at all is asked again after a minute.
            let changed = try relay.command("queue", "retry", "--all", "--yes")
            #expect(changed.status == 0, "\(changed.errorText)")
            #expect(try sink.wait(for: 1, seconds: 75).map(\.marker) == ["m"])
        }

        @Test func `accepted, deferred, restarted, refused: the sender gets one report`() throws {
            let refuses = Shared(false)
            let sink = try Sink { stage, text in
                guard stage == .rcpt, text.contains("nobody@") else { return nil }
                return .reply(refuses.current ? "550 5.1.1 no such user" : "450 4.2.0 not now")
            }
            let relay = try Relay(RelaySettings(sinkPort: sink.port, retry: ["2s"]))
            let client = try MailClient(port: relay.port)
            _ = try client.command("MAIL FROM:<sender@client.example> RET=HDRS ENVID=env+2B1")
            _ = try client.command(
                "RCPT TO:<nobody@dest.example> ORCPT=rfc822;nobody+40dest.example")
            _ = try client.command("DATA")
            try client.connection.send(MailClient.message("m") + ".\r\n")
            let id = try client.reply().queueID
            #expect(
                try eventually(within: 10) { try relay.get("/v1/queue").body.contains("4.2.0") })
            relay.kill()
            refuses.with { $0 = true }
            try relay.start()
            let report = try #require(try sink.wait(for: 1, seconds: 20).first)
            #expect(report.from == "")
            #expect(report.recipients == ["sender@client.example"])
            let seen = try readReport(report.content)
            #expect(seen["type"] == "multipart/report")
            #expect(seen["report"] == "delivery-status")
            #expect(seen["defects"] == "[]")
            #expect(seen["permanent"] == "nobody@dest.example", "\(report.content)")
            #expect(seen["temporary"] == "")
            #expect(seen["Action"] == "failed")
            #expect(seen["Status"] == "5.1.1")
            #expect(seen["Final-Recipient"]?.lowercased() == "rfc822; nobody@dest.example")
            #expect(seen["Original-Recipient"]?.lowercased() == "rfc822; nobody@dest.example")
            #expect(seen["Diagnostic-Code"]?.contains("550 5.1.1 no such user") == true)
            #expect(seen["message.Original-Envelope-Id"] == "env+1")
            #expect(seen["message.Reporting-MTA"] == "dns; relay.posthouse.example")
            #expect(seen["auto"]?.hasPrefix("auto-replied") == true)
            #expect(seen["original"]?.contains("X-Marker: m") == true)
            #expect(id != nil)
            #expect(try eventually(within: 10) { try relay.queued() == 0 })
            #expect(sink.accepted.count == 1)
        }

        @Test func `a message that expires is reported, one from the null sender is not`() throws {
            let sink = try Sink { stage, text in
                stage == .rcpt && text.contains("full@") ? .reply("452 4.2.2 full") : nil
            }
            let relay = try Relay(RelaySettings(sinkPort: sink.port, expire: "3s"))
            let client = try MailClient(port: relay.port)
            let to = ["full@dest.example"]
            #expect(try client.send(to: to, MailClient.message("m")).code == 250)
            #expect(try client.send(from: "", to: to, MailClient.message("n")).code == 250)
            let report = try #require(try sink.wait(for: 1, seconds: 30).first)
            let seen = try readReport(report.content)
            #expect(seen["permanent"] == "full@dest.example")
            #expect(seen["Status"]?.hasPrefix("4.") == true)
            #expect(try eventually(within: 30) { try relay.queued() == 0 })
            #expect(sink.accepted.map(\.recipients) == [["sender@client.example"]])
        }

        @Test func `NOTIFY=SUCCESS is answered with a report, NOTIFY=NEVER with none`() throws {
            let sink = try Sink { stage, text in
                stage == .rcpt && text.contains("no@") ? .reply("550 5.1.1 no") : nil
            }
            let relay = try Relay(RelaySettings(sinkPort: sink.port))
            let client = try MailClient(port: relay.port)
            _ = try client.command("MAIL FROM:<sender@client.example> RET=FULL")
            _ = try client.command("RCPT TO:<yes@dest.example> NOTIFY=SUCCESS,FAILURE")
            _ = try client.command("RCPT TO:<no@dest.example> NOTIFY=NEVER")
            _ = try client.command("DATA")
            try client.connection.send(MailClient.message("m") + ".\r\n")
            #expect(try client.reply().code == 250)
            let all = try sink.wait(for: 2)
            let report = try #require(all.first { $0.from == "" })
            let seen = try readReport(report.content)
            // The sink has no DSN: the mail is relayed into a place that will not report.
            #expect(seen["Action"] == "relayed")
            // RET=FULL is about failures (RFC 3461 §4.3); a success returns the header.
            #expect(seen["parts"] == "text/plain,message/delivery-status,text/rfc822-headers")
            #expect(try eventually(within: 10) { try relay.queued() == 0 })
            #expect(sink.accepted.count == 2)
        }
    }
}
