import Foundation
import Primitives
import Testing

/// - Returns: nil: nothing was written.
private func parse(_ text: String) -> JSON? {
    guard !text.isEmpty else { return nil }
    do {
        return try JSON.parse(Array(text.utf8))
    } catch {
        Issue.record("\(error): \(text)")
        return nil
    }
}

@Suite("Command: check relay")
struct CheckRelayTests {
    private let folder = Folder()

    /// Three listeners: relay, submission, and one behind a balancer.
    private func settings(_ relay: String = "domains = [\"ours.example\", \"*.sub.example\"]")
        -> String
    {
        let users = self.folder.write("users", "anna:a-hash\n")
        let pem = self.folder.write(
            "c.pem", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")
        let key = self.folder.write(
            "c.key", "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n")
        let tls = "tls = \"starttls\"\ncertificate = \"\(pem)\"\nkey = \"\(key)\"\n"
        return self.folder.write(
            "f.toml",
            """
            [node]
            name = "a"
            hostname = "mx.example"
            [relay]
            \(relay)
            users = "\(users)"
            [[listener]]
            address = "0.0.0.0:25"
            \(tls)
            [[listener]]
            address = "0.0.0.0:587"
            mode = "submission"
            \(tls)
            [[listener]]
            address = "0.0.0.0:26"
            proxy_protocol = true
            proxy_trusted = ["10.0.0.5"]
            """)
    }

    private func check(_ arguments: String..., relay: String? = nil) -> (Int32, [JSON], Outcome) {
        let file = relay.map { self.settings($0) } ?? self.settings()
        let outcome = runAll(["check", "relay", "--config", file, "-o", "json"] + arguments)
        let json = parse(outcome.out)
        return (outcome.status, json?["recipients"]?.asList ?? [], outcome)
    }

    private func rule(_ json: JSON?) -> String {
        [json?["rule"]?.asText ?? "-", json?["value"]?.asText ?? "-"].joined(separator: " ")
    }

    @Test func `from outside only our domains and the postmaster are taken`() {
        let (status, answers, _) = self.check(
            "a@x.example", "b@ours.example", "b@y.sub.example", "postmaster", "b@far.example",
            "b@sub.example", "nonsense")
        #expect(status == 77)
        #expect(
            answers.map { self.rule($0) } == [
                "domain ours.example", "domain *.sub.example", "postmaster ", "- -", "- -", "- -",
            ])
        #expect(answers.map { $0["accepted"]?.asFlag } == [true, true, true, false, false, false])
        #expect(answers.map { $0["code"]?.asInteger } == [250, 250, 250, 550, 550, 501])
        #expect(answers[3]["enhanced"]?.asText == "5.7.1")
        #expect(answers[3]["text"]?.asText == "Relaying denied")
        #expect(self.check("<>", "b@ours.example").0 == 0)
    }

    @Test func `networks and users are told as the rule`() {
        let (status, answers, _) = self.check("--from", "127.0.0.9", "a@x", "b@far.example")
        #expect(status == 0)
        #expect(self.rule(answers.first) == "network 127.0.0.0/8")
        let (other, _, _) = self.check("--from", "192.0.2.9", "a@x", "b@far.example")
        #expect(other == 77)
        let (known, byUser, _) = self.check("--user", "anna", "--tls", "a@x", "b@far.example")
        #expect(known == 0)
        #expect(self.rule(byUser.first) == "user anna")
        let (unknown, refused, _) = self.check("--user", "bert", "--tls", "a@x", "b@far.example")
        #expect(unknown == 77)
        #expect(refused.first?["code"]?.asInteger == 535)
        let (plain, open, _) = self.check("--user", "anna", "a@x", "b@far.example")
        #expect(plain == 77)
        #expect(open.first?["code"]?.asInteger == 538)
    }

    @Test func `submission asks for TLS, then for a user, but not of our networks`() {
        let place = ["--listener", "0.0.0.0:587"]
        func code(_ more: String...) -> Int64? {
            let file = self.settings()
            let outcome = runAll(
                ["check", "relay", "--config", file, "-o", "json"] + place + more
                    + ["a@x", "b@ours.example"])
            return parse(outcome.out)?["recipients"]?.asList?.first?["code"]?.asInteger
        }
        #expect(code() == 530)
        #expect(code("--tls") == 530)
        #expect(code("--tls", "--user", "anna") == 250)
        #expect(code("--from", "127.0.0.1") == 250)
    }

    @Test func `loopback behind a balancer elsewhere is not ours`() {
        let at = ["--listener", "0.0.0.0:26"]
        let (status, _, _) = self.check(at[0], at[1], "--from", "127.0.0.1", "a@x", "b@far.example")
        #expect(status == 77)
        #expect(self.check("--from", "127.0.0.1", "a@x", "b@far.example").0 == 0)
    }

    @Test func `people get a table`() {
        let outcome = runAll([
            "check", "relay", "--config", self.settings(), "a@x", "b@ours.example",
            "b@far.example",
        ])
        #expect(
            outcome.out == """
                listener 0.0.0.0:25 (relay), a client on the internet, no user, no TLS

                RECIPIENT       TAKEN  BY                   ANSWER
                b@ours.example  yes    domain ours.example  250 2.1.5 Ok
                b@far.example   no     -                    550 5.7.1 Relaying denied

                """)
        #expect(outcome.status == 77)
    }

    @Test func `wrong questions have exit codes of their own`() {
        #expect(self.check("--from", "nowhere", "a@x", "b@y").0 == 65)
        #expect(self.check("a@x", "b@y\r\nRCPT TO:<c@z>").0 == 65)
        #expect(self.check("--listener", "0.0.0.0:99", "a@x", "b@y").0 == 66)
        #expect(self.check("--listener", "0.0.0.0:26", "--tls", "a@x", "b@y").0 == 64)
        #expect(self.check("a@x").0 == 64)
        #expect(self.check("a@x", "b@y", relay: "nonsense = 1").0 == 78)
    }

    @Test func `more refusals than a session may have are all answered`() {
        let many = (0..<60).map { "b\($0)@far.example" }
        let outcome = runAll(
            ["check", "relay", "--config", self.settings(), "-o", "json", "a@x"] + many)
        let answers = parse(outcome.out)?["recipients"]?.asList ?? []
        #expect(answers.count == 60)
        #expect(answers.allSatisfy { $0["code"]?.asInteger == 550 })
    }

    @Test func `check config warns of what is allowed and dangerous`() {
        func warnings(_ relay: String, _ trusted: String) -> [String] {
            let file = self.folder.write(
                "w.toml",
                """
                [node]
                name = "a"
                hostname = "mx.example"
                [relay]
                \(relay)
                [[listener]]
                address = "0.0.0.0:26"
                proxy_protocol = true
                proxy_trusted = ["\(trusted)"]
                """)
            let outcome = runAll(["check", "config", "--config", file])
            #expect(outcome.status == 0)
            return outcome.messages
        }
        #expect(warnings("allow = [\"10.0.0.0/8\"]", "192.0.2.5").isEmpty)
        #expect(warnings("allow = [\"8.0.0.0/7\"]", "192.0.2.5").count == 1)
        #expect(warnings("allow = [\"2001::/15\"]", "192.0.2.5").count == 1)
        #expect(warnings("allow = [\"2001::/16\"]", "192.0.2.5").isEmpty)
        #expect(warnings("allow = [\"10.0.0.0/8\"]", "10.0.0.0/24").count == 1)
        #expect(warnings("allow = [\"10.0.0.0/24\"]", "10.0.0.0/8").isEmpty)
        #expect(warnings("", "127.0.0.1").first?.contains("proxy_trusted 127.0.0.1/32") == true)
        let open = self.folder.write(
            "o.toml",
            "[node]\nname = \"a\"\nhostname = \"h.example\"\n[relay]\nallow = [\"::/0\"]\n"
                + "[[listener]]\naddress = \"0.0.0.0:26\"\n")
        let outcome = runAll(["check", "config", "--config", open])
        #expect(outcome.status == 78)
        #expect(outcome.messages.first?.contains(":5: ::/0 makes an open relay") == true)
    }
}
