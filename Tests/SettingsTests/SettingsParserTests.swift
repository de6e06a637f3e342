import Primitives
import Settings
import Testing

@Suite("Settings, values")
struct SettingsParserTests {
    private func parse(_ text: String) throws -> Settings {
        try SettingsParser.parse(text, path: "f", files: memory(usualFiles))
    }

    @Test func `what is left out has its default`() throws {
        var expected = Settings()
        expected.node.name = "a"
        expected.node.hostname = "relay.example.com"
        expected.listeners = [Settings.Listener()]
        expected.listeners[0].address = Endpoint(host: "127.0.0.1", port: 2525)
        #expect(try self.parse(good()) == expected)
    }

    @Test func `every form of value is read`() throws {
        let settings = try self.parse(
            good(
                """
                mode = "submission"
                tls = "implicit"
                certificate = "/c.pem"
                key = "/c.key"
                proxy_protocol = true
                proxy_trusted = ["10.0.0.0/24", "2001:db8::1"]
                [[listener]]
                address = "[::1]:0"
                [relay]
                allow = []
                domains = ["Example.ORG", "*.example.org."]
                max_message = "25MB"
                users = "/users"
                [delivery]
                retry = ["100ms", "90s", "5m", "4h", "5d"]
                postmaster = "Post.Master@Example.com"
                [dns]
                servers = ["127.0.0.1@5353", "::1"]
                [[route]]
                domains = ["*"]
                via = "smtps://[::1]"
                user = "u"
                password_file = "/secret"
                verify = "rcpt"
                [[route]]
                domains = ["late.org"]
                via = "lmtp://Mail.Example.org/"
                """.replacingFirst("domains = [\"*\"]", with: "domains = [\"*.example.net\"]")))
        #expect(settings.listeners[0].mode == .submission)
        #expect(settings.listeners[0].tls == .implicit)
        #expect(
            settings.listeners[0].proxyTrusted.map(\.description) == [
                "10.0.0.0/24", "2001:db8::1/128",
            ])
        #expect(settings.listeners[1].address == Endpoint(host: "::1", port: 0))
        #expect(settings.relay.allow.isEmpty)
        #expect(settings.relay.domains == ["example.org", "*.example.org"])
        #expect(settings.relay.maxMessageBytes == 25_000_000)
        #expect(
            settings.delivery.retry == [
                .milliseconds(100), .seconds(90), .seconds(300), .seconds(14_400),
                .seconds(432_000),
            ])
        #expect(settings.delivery.postmaster == "Post.Master@example.com")
        #expect(settings.dns.servers == ["127.0.0.1@5353", "::1"])
        #expect(settings.routes[0].scheme == .smtps)
        #expect(settings.routes[0].via == Endpoint(host: "::1", port: 465))
        #expect(settings.routes[0].password == "0123456789abcdef")
        #expect(settings.routes[0].verify == .rcpt)
        #expect(settings.routes[1].via == Endpoint(host: "mail.example.org", port: 24))
    }

    @Test func `keys may be dotted, quoted and inline`() throws {
        let text = """
            node.name = "a"
            node."hostname" = 'relay.example.com'
            listener = [{ address = "127.0.0.1:1" }, { address = "127.0.0.1:2", tls = "x" }]
            """
        #expect(
            faults(text) == [
                "f:3: listener.tls: \"x\" is not known; choose from \"off\", \"starttls\", \"implicit\""
            ])
        let settings = try self.parse(text.replacingFirst(", tls = \"x\"", with: ""))
        #expect(settings.node.name == "a" && settings.listeners.count == 2)
    }

    @Test func `lines are found behind strings and lists of several lines`() {
        let text = good(
            """
            [relay]
            allow = [
              "127.0.0.1", # a ] bracket
            ]
            users = \"\"\"
            \"\"\"
            domains = ['''a.org''', "b.org"]
            [[route]]
            domains = ["a.org"]
            via = "smtp://h"
            [[route]]
            domains = ["b.org"]
            via = "smtp://h"
            tsl = "none"
            """)
        #expect(faults(text) == ["f:19: unknown key route.tsl; did you mean tls?"])
    }

    @Test func `an admin interface off loopback is fine with token and TLS`() throws {
        let settings = try self.parse(
            good(
                """
                [admin]
                listen = "10.0.0.1:8680"
                token_file = "/secret"
                certificate = "/c.pem"
                key = "/c.key"
                """))
        #expect(settings.admin.token == "0123456789abcdef")
    }

    @Test func `sizes and durations are printed with the unit that fits`() {
        #expect(Quantity.print(bytes: 50_000_000) == "50MB")
        #expect(Quantity.print(bytes: 1536) == "1536B")
        #expect(Quantity.print(bytes: 1 << 20) == "1MiB")
        #expect(Quantity.print(.seconds(5400)) == "90m")
        #expect(Quantity.print(.milliseconds(1500)) == "1500ms")
        #expect(Quantity.print(.zero) == "0s")
        #expect(Quantity.bytes("1kb") == 1000)
        #expect(Quantity.bytes("9223372036854775807B") == .max)
        #expect(Quantity.bytes("9223372036854775808B") == nil)
        #expect(Quantity.duration("-1s") == nil)
        #expect(Quantity.duration("1") == nil)
    }
}

extension String {
    func replacingFirst(_ old: String, with new: String) -> String {
        guard let range = self.firstRange(of: old) else { return self }
        return self.replacingCharacters(in: range, with: new)
    }

    private func replacingCharacters(in range: Range<String.Index>, with new: String) -> String {
        String(self[..<range.lowerBound]) + new + String(self[range.upperBound...])
    }
}

@Suite("Settings of a cluster")
struct SeveralTests {
    @Test func `a cluster of several nodes is known by its seeds, and starts`() throws {
        let text = good(
            """
            [cluster]
            name = "mail"
            listen = "10.0.0.1:7650"
            seeds = ["a@10.0.0.1:7650", "b@10.0.0.2:7650"]
            ca = "/c.pem"
            certificate = "/c.pem"
            key = "/c.key"
            """)
        let settings = try SettingsParser.parse(text, path: "f", files: memory(usualFiles))
        #expect(settings.isSeveral)
        #expect(try !SettingsParser.parse(good(), path: "f").isSeveral)
        // Itself, and nobody else yet.
        var alone = settings
        alone.cluster?.seeds = [
            Settings.Seed(
                name: settings.node.name, endpoint: Endpoint(host: "10.0.0.1", port: 7650))
        ]
        #expect(alone.isSeveral)
        // A worker of a cluster with one seed never founds one of its own.
        var worker = alone
        worker.node.name = "w"
        #expect(worker.isSeveral)
    }
}
