// ReloadTests.swift - SIGHUP opens and closes listeners, all or nothing.

import Foundation
import Testing

extension ProcessTests {
    @Suite("Listeners and SIGHUP", .timeLimit(.minutes(5))) struct ReloadTests {
        private static let plain = "mode = \"relay\"\ntls = \"off\""

        private func reload(_ relay: Relay) throws {
            try relay.writeSettings()
            relay.process?.signal(SIGHUP)
        }

        /// All ports that were opened until now, in order.
        private func ports(_ relay: Relay) -> [Int] {
            relay.log.split(separator: "\n").filter { $0.hasPrefix("listening smtp ") }
                .compactMap { $0.split(separator: ":").last.flatMap { Int($0) } }
        }

        @Test func `a new listener is opened, the old one and its sessions stay`() throws {
            let relay = try Relay(RelaySettings(delivers: false))
            let client = try MailClient(port: relay.port)
            relay.settings.listeners.append(Self.plain)
            try self.reload(relay)
            #expect(relay.waitForLog("listener opened"))
            #expect(eventually(within: 10) { self.ports(relay).count == 2 })
            let other = try MailClient(port: self.ports(relay)[1])
            for session in [client, other] {
                #expect(try session.send(MailClient.message("x")).code == 250)
            }
            #expect(try MailClient(port: relay.port).greeting.code == 250)
        }

        @Test func `a listener that is gone is closed; its sessions go on under the new rules`()
            throws
        {
            var settings = RelaySettings(delivers: false)
            settings.listeners.append(Self.plain)
            settings.allow = "192.0.2.0/24"
            settings.relay = "domains = [\"old.example\"]"
            let relay = try Relay(settings)
            let port = relay.smtpPorts[1]
            let client = try MailClient(port: port)
            let before = MailClient.message("before")
            #expect(try client.send(to: ["a@old.example"], before).code == 250)
            relay.settings.listeners.removeLast()
            relay.settings.relay = "domains = [\"new.example\"]"
            try self.reload(relay)
            #expect(relay.waitForLog("listener closed"))
            #expect(eventually(within: 10) { (try? Connection(port: port)) == nil })
            for session in [client, try MailClient(port: relay.port)] {
                #expect(try session.command("MAIL FROM:<a@client.example>").code == 250)
                #expect(try session.command("RCPT TO:<a@old.example>").code == 550)
                #expect(try session.command("RCPT TO:<a@new.example>").code == 250)
                #expect(try session.command("RSET").code == 250)
            }
            // A second reload reaches the sessions of the closed listener as well.
            relay.settings.relay = "domains = [\"last.example\"]"
            try self.reload(relay)
            #expect(
                try eventually(within: 10) {
                    _ = try client.command("MAIL FROM:<a@client.example>")
                    let reply = try client.command("RCPT TO:<a@last.example>")
                    _ = try client.command("RSET")
                    return reply.code == 250
                })
        }

        @Test func `a listener changes its face without losing its socket`() throws {
            let folder = try Folder()
            let made = try run(
                "openssl",
                [
                    "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                    "-nodes", "-days", "30", "-subj", "/CN=relay.posthouse.example", "-keyout",
                    folder.path + "/key.pem", "-out", folder.path + "/cert.pem",
                ])
            #expect(made.status == 0)
            let relay = try Relay(RelaySettings(delivers: false), folder: folder)
            let before = try MailClient(port: relay.port)
            #expect(!before.greeting.lines.contains { $0.hasSuffix("STARTTLS") })
            relay.settings.listeners = [
                "tls = \"starttls\"\ncertificate = \"\(folder.path)/cert.pem\"\n"
                    + "key = \"\(folder.path)/key.pem\"\n"
            ]
            try self.reload(relay)
            #expect(relay.waitForLog("settings reloaded"))
            let after = try MailClient(port: relay.port)
            #expect(after.greeting.lines.contains { $0.hasSuffix("STARTTLS") })
            #expect(try before.send(MailClient.message("x")).code == 250)
            relay.settings.listeners = ["proxy_protocol = true\nproxy_trusted = [\"127.0.0.1\"]"]
            try self.reload(relay)
            let isProxied = try eventually(within: 10) {
                let connection = try Connection(port: relay.port)
                try connection.send("PROXY TCP4 192.0.2.9 192.0.2.1 1 25\r\n")
                return try connection.line()?.hasPrefix("220") == true
            }
            #expect(isProxied)
            #expect(try before.send(MailClient.message("x")).code == 250)
            #expect(self.ports(relay).count == 1)
        }

        @Test func `one port that cannot be had holds up all of it`() throws {
            let sink = try Sink()
            let relay = try Relay(RelaySettings(delivers: false))
            relay.settings.listeners.append(Self.plain)
            relay.settings.allow = "192.0.2.0/24"
            relay.settings.extra = "\n[[listener]]\naddress = \"127.0.0.1:\(sink.port)\"\n"
            try self.reload(relay)
            #expect(relay.waitForLog("settings not reloaded", "127.0.0.1:\(sink.port) is in use"))
            #expect(self.ports(relay).count == 1)
            let client = try MailClient(port: relay.port)
            #expect(try client.send(MailClient.message("x")).code == 250)
        }

        @Test func `what needs a restart is named`() throws {
            let relay = try Relay(RelaySettings(delivers: false))
            relay.settings.dnsPort = 5353
            try self.reload(relay)
            #expect(relay.waitForLog("some changes need a restart", "\"tables\":\"dns\""))
        }
    }
}
