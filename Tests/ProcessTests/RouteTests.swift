// RouteTests.swift - next hosts that want TLS, a password, IPv6, or are asked about recipients.

import Foundation
import Testing

extension ProcessTests {
    @Suite("Routes", .timeLimit(.minutes(5))) struct RouteTests {
        private static let good = "correct horse\n"
        /// Mail for these comes back to the sender by a way that is never in question.
        private static let home = "client.example"
        /// Where the relay listens that is its own exchanger.
        private static let own = "127.0.0.77"

        private static func route(_ domain: String, _ via: String, _ more: String = "") -> String {
            "\n[[route]]\ndomains = [\"\(domain)\"]\nvia = \"\(via)\"\n\(more)\n"
        }

        /// A relay with one route for dest.example, open to `allow`.
        private func relay(
            _ via: String, _ more: String, folder: Folder? = nil, relay: String = "",
            allow: String = "127.0.0.0/8"
        ) throws -> Relay {
            var settings = RelaySettings()
            settings.extra = Self.route("dest.example", via, more)
            settings.relay = relay
            settings.allow = allow
            settings.retry = ["1h"]
            return try Relay(settings, folder: folder)
        }

        /// A submission host with implicit TLS and with STARTTLS in front of a sink.
        private func host(_ sink: Sink) throws -> Relay {
            let folder = try Folder()
            let made = try run(
                "openssl",
                [
                    "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                    "-nodes", "-days", "30", "-subj", "/CN=relay.posthouse.example", "-addext",
                    "subjectAltName=DNS:relay.posthouse.example,IP:127.0.0.1", "-keyout",
                    folder.path + "/key.pem", "-out", folder.path + "/cert.pem",
                ])
            guard made.status == 0 else { throw Failure(made.errorText) }
            let users = folder.path + "/users"
            let password = try folder.write("password", Self.good)
            let added = try run(
                try Relay.binary(),
                ["user", "add", "anna", "--file", users, "--password-file", password])
            guard added.status == 0 else { throw Failure(added.errorText) }
            var settings = RelaySettings(sinkPort: sink.port)
            settings.allow = "192.0.2.0/24"
            settings.relay = "users = \"\(users)\""
            settings.listeners = ["implicit", "starttls"].map { tls in
                "mode = \"submission\"\ntls = \"\(tls)\"\n"
                    + "certificate = \"\(folder.path)/cert.pem\"\nkey = \"\(folder.path)/key.pem\""
            }
            return try Relay(settings, folder: folder)
        }

        /// A relay whose route leads to `host` with this password.
        private func relay(
            to host: Relay, scheme: String = "smtps", tls: String, password: String
        ) throws -> Relay {
            let folder = try Folder()
            let file = try folder.write("secret", password)
            guard chmod(file, 0o600) == 0 else { throw Failure("chmod: errno \(errno)") }
            let port = host.smtpPorts[scheme == "smtps" ? 0 : 1]
            return try self.relay(
                "\(scheme)://127.0.0.1:\(port)",
                "user = \"anna\"\npassword_file = \"\(file)\"\ntls = \"\(tls)\"", folder: folder)
        }

        /// Waits until the only message is deferred; what the queue says of it.
        private func deferral(_ relay: Relay) throws -> String {
            var body = ""
            let found = try eventually(within: 20) {
                body = try relay.get("/v1/queue").body
                return body.contains("\"deferred\"")
            }
            guard found else { throw Failure("not deferred: \(body)\n\(relay.log)") }
            return body
        }

        @Test(arguments: ["smtps", "smtp"])
        func `a route with TLS and a password delivers to a submission host`(
            _ scheme: String
        ) throws {
            let sink = try Sink()
            let host = try self.host(sink)
            let relay = try self.relay(
                to: host, scheme: scheme, tls: "encrypt", password: Self.good)
            #expect(try MailClient(port: relay.port).send(MailClient.message("m")).code == 250)
            let arrival = try #require(try sink.wait(for: 1).first)
            #expect(arrival.marker == "m")
            #expect(arrival.from == "sender@client.example")
            #expect(arrival.recipients == ["rcpt@dest.example"])
            // RFC 3848: TLS and AUTH at the second host, neither at the first.
            #expect(arrival.content.contains("with ESMTPSA id"))
            #expect(arrival.content.contains("with ESMTP id"))
            #expect(try eventually(within: 10) { try relay.queued() == 0 })
        }

        @Test(arguments: ["smtps", "smtp"])
        func `a certificate that nobody vouches for defers under verify`(_ scheme: String) throws {
            let sink = try Sink()
            let host = try self.host(sink)
            let relay = try self.relay(
                to: host, scheme: scheme, tls: "verify", password: Self.good)
            #expect(try MailClient(port: relay.port).send(MailClient.message("m")).code == 250)
            let text = try self.deferral(relay)
            #expect(text.contains("4.7.5"), "\(text)")
            #expect(sink.arrivals.current.isEmpty)
            #expect(try host.queued() == 0)
            #expect(try relay.queued() == 1)
        }

        @Test func `a wrong password defers, and the host takes nothing`() throws {
            let sink = try Sink()
            let host = try self.host(sink)
            let relay = try self.relay(to: host, tls: "encrypt", password: "wrong\n")
            #expect(try MailClient(port: relay.port).send(MailClient.message("m")).code == 250)
            let text = try self.deferral(relay)
            #expect(text.contains("4.7.8") || text.contains("535"), "\(text)")
            #expect(sink.arrivals.current.isEmpty)
            #expect(try host.queued() == 0)
            #expect(try relay.queued() == 1)
        }

        @Test func `a route to an IPv6 address delivers`() throws {
            let sink = try SinkOverIPv6()
            let relay = try self.relay("smtp://[::1]:\(sink.port)", "tls = \"none\"")
            #expect(try MailClient(port: relay.port).send(MailClient.message("m")).code == 250)
            let lines = sink.lines.wait(seconds: 20) { $0.contains(".") ? $0 : nil }
            let seen = try #require(lines, "\(sink.lines.current) \(relay.log)")
            #expect(seen.contains { $0.hasPrefix("RCPT TO:<rcpt@dest.example>") })
            #expect(seen.contains("X-Marker: m"))
            #expect(try eventually(within: 10) { try relay.queued() == 0 })
        }

        @Test func `a host without STARTTLS gets plain mail under may`() throws {
            let sink = try Sink()
            let relay = try self.relay("smtp://127.0.0.1:\(sink.port)", "tls = \"may\"")
            #expect(try MailClient(port: relay.port).send(MailClient.message("m")).code == 250)
            #expect(try sink.wait(for: 1).map(\.marker) == ["m"])
            #expect(!sink.commands.current.joined().contains("STARTTLS"))
        }

        @Test(arguments: ["encrypt", "verify"])
        func `a host without STARTTLS gets no envelope where TLS is demanded`(
            _ tls: String
        ) throws {
            let sink = try Sink()
            let relay = try self.relay("smtp://127.0.0.1:\(sink.port)", "tls = \"\(tls)\"")
            #expect(try MailClient(port: relay.port).send(MailClient.message("m")).code == 250)
            let text = try self.deferral(relay)
            #expect(text.contains("4.7.4"), "\(text)")
            let said = sink.commands.current.joined()
            #expect(said.contains { $0.hasPrefix("EHLO") })
            #expect(!said.contains { $0.hasPrefix("MAIL") || $0.hasPrefix("RCPT") }, "\(said)")
            #expect(sink.arrivals.current.isEmpty)
        }

        @Test func `the next host's refusal of a recipient is our own`() throws {
            let sink = try Sink { stage, text in
                stage == .rcpt && text.contains("<gone@") ? .reply("550 5.1.1 no such user") : nil
            }
            let relay = try self.relay(
                "smtp://127.0.0.1:\(sink.port)", "tls = \"none\"",
                relay: "domains = [\"dest.example\"]", allow: "192.0.2.0/24")
            let client = try MailClient(port: relay.port)
            #expect(try client.command("MAIL FROM:<a@client.example>").code == 250)
            let refused = try client.command("RCPT TO:<gone@dest.example>")
            #expect(refused.code == 550)
            #expect(refused.description.contains("5.1.1"), "\(refused)")
            #expect(try client.command("RCPT TO:<here@dest.example>").code == 250)
            #expect(try client.command("RSET").code == 250)
            // The question is asked in the name of nobody, and no mail goes with it.
            let said = sink.commands.current.joined()
            #expect(said.contains { $0.hasPrefix("MAIL FROM:<>") }, "\(said)")
            #expect(!said.contains { $0.hasPrefix("DATA") || $0.hasPrefix("BDAT") }, "\(said)")
            // The answer is remembered, and the good recipient still gets mail.
            let count = said.filter { $0.contains("gone@") }.count
            let to = ["gone@dest.example", "here@dest.example"]
            #expect(try client.send(to: to, MailClient.message("m")).code == 250)
            #expect(try sink.wait(for: 1).map(\.recipients) == [["here@dest.example"]])
            let asked = sink.commands.current.joined().filter { $0.contains("gone@") }
            #expect(count == 1 && asked.count == 1)
        }

        @Test func `a host that is away cannot refuse: the recipient is taken`() throws {
            let sink = try Sink()
            let port = sink.port
            sink.stop()
            let relay = try self.relay(
                "smtp://127.0.0.1:\(port)", "tls = \"none\"",
                relay: "domains = [\"dest.example\"]", allow: "192.0.2.0/24")
            let client = try MailClient(port: relay.port)
            #expect(try client.send(MailClient.message("m")).code == 250)
            _ = try self.deferral(relay)
            #expect(try relay.queued() == 1)
        }

        /// The name in MX is ours, or only the address behind it.
        @Test(arguments: ["relay.posthouse.example", "other.dest.example"])
        func `mail whose exchanger is this relay goes back at once`(_ name: String) throws {
            let sink = try Sink()
            let names = try NameServer([
                "dest.example": [.mx(10, name)], name: [.a(Self.own)],
            ])
            // A port that was free just now, as MX hosts are all asked on one that is known before.
            let probe = try Listener(address: Self.own) { $0.close() }
            probe.stop()
            var settings = RelaySettings(mxPort: probe.port, dnsPort: names.port)
            settings.extra =
                "\n[[listener]]\naddress = \"\(Self.own):\(probe.port)\"\n"
                + Self.route(Self.home, "smtp://127.0.0.1:\(sink.port)", "tls = \"none\"")
            let relay = try Relay(settings)
            #expect(relay.smtpPorts.contains(probe.port))
            #expect(try MailClient(port: relay.port).send(MailClient.message("m")).code == 250)
            let report = try #require(try sink.wait(for: 1).first)
            #expect(report.from == "")
            #expect(report.recipients == ["sender@client.example"])
            let fields = try readReport(report.content)
            #expect(fields["Status"] == "5.4.6", "\(fields)")
            #expect(fields["Action"] == "failed")
            // It never went around: no host has put a field above its own but this one, once.
            let trips = report.content.components(separatedBy: "for <rcpt@dest.example>").count - 1
            let received = report.content.components(separatedBy: "by relay.posthouse.example")
            #expect(trips <= 1 && received.count <= 3, "\(report.content)")
            #expect(try eventually(within: 10) { try relay.queued() == 0 })
            #expect(sink.accepted.count == 1)
        }
    }
}

/// An SMTP server on ::1 for one connection; it takes everything.
private final class SinkOverIPv6: Sendable {
    let port: Int
    let lines = Shared<[String]>([])
    private let descriptor: Int32

    init() throws {
        let descriptor = socket(AF_INET6, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var target = sockaddr_in6()
        target.sin6_family = sa_family_t(AF_INET6)
        inet_pton(AF_INET6, "::1", &target.sin6_addr)
        var size = socklen_t(MemoryLayout<sockaddr_in6>.size)
        let isBound = withUnsafeMutablePointer(to: &target) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, size) == 0 && getsockname(descriptor, $0, &size) == 0
            }
        }
        guard isBound, listen(descriptor, 16) == 0 else {
            let code = errno
            Glibc.close(descriptor)
            throw Failure("no IPv6 loopback ::1 on this machine: errno \(code)")
        }
        self.descriptor = descriptor
        self.port = Int(in_port_t(bigEndian: target.sin6_port))
        let lines = self.lines
        Thread.detachNewThread {
            let client = accept(descriptor, nil, nil)
            guard client >= 0 else { return }
            let connection = Connection(adopting: client)
            do {
                try Self.converse(connection, lines)
            } catch {
                lines.with { $0.append("error: \(error)") }
            }
            connection.close()
        }
    }

    deinit {
        shutdown(self.descriptor, Int32(SHUT_RDWR))
        Glibc.close(self.descriptor)
    }

    private static func converse(_ connection: Connection, _ lines: Shared<[String]>) throws {
        var isContent = false
        try connection.send("220 six.example ESMTP\r\n")
        while let line = try connection.line() {
            lines.with { $0.append(line) }
            if isContent && line != "." { continue }
            switch line {
            case "DATA":
                isContent = true
                try connection.send("354 go ahead\r\n")
            case "QUIT": return try connection.send("221 2.0.0 Bye\r\n")
            case _:
                isContent = false
                try connection.send("250 Ok\r\n")
            }
        }
    }
}
