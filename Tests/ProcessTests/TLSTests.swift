// TLSTests.swift - TLS and AUTH as other people's programs see them.

import Foundation
import Testing

extension ProcessTests {
    @Suite("TLS and AUTH", .timeLimit(.minutes(5))) struct TLSTests {
        /// A relay with STARTTLS, implicit TLS and submission, and its certificate.
        private struct Secure {
            let relay: Relay
            let sink: Sink
            let certificate: String
            var starttls: Int { self.relay.smtpPorts[0] }
            var implicit: Int { self.relay.smtpPorts[1] }
            var submission: Int { self.relay.smtpPorts[2] }
        }

        private static func certify(_ folder: Folder, _ name: String) throws {
            let made = try run(
                "openssl",
                [
                    "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                    "-nodes", "-days", "30", "-subj", "/CN=\(name)", "-addext",
                    "subjectAltName=DNS:\(name),IP:127.0.0.1", "-keyout", folder.path + "/key.pem",
                    "-out", folder.path + "/cert.pem",
                ])
            guard made.status == 0 else { throw Failure(made.errorText) }
        }

        private func secure() throws -> Secure {
            let folder = try Folder()
            try Self.certify(folder, "relay.posthouse.example")
            let users = folder.path + "/users"
            let password = try folder.write("password", "correct horse\n")
            let added = try run(
                try Relay.binary(),
                ["user", "add", "anna", "--file", users, "--password-file", password])
            guard added.status == 0 else { throw Failure(added.errorText) }
            let files =
                "certificate = \"\(folder.path)/cert.pem\"\nkey = \"\(folder.path)/key.pem\""
            let sink = try Sink()
            var settings = RelaySettings(sinkPort: sink.port)
            settings.listeners = [
                "mode = \"relay\"\ntls = \"starttls\"\n\(files)",
                "mode = \"relay\"\ntls = \"implicit\"\n\(files)",
                "mode = \"submission\"\ntls = \"starttls\"\n\(files)",
            ]
            settings.allow = "192.0.2.0/24"
            settings.relay = "domains = [\"dest.example\"]\nusers = \"\(users)\""
            let relay = try Relay(settings, folder: folder)
            return Secure(relay: relay, sink: sink, certificate: folder.path + "/cert.pem")
        }

        @Test func `swaks delivers over STARTTLS, over TLS, and with AUTH PLAIN and LOGIN`() throws
        {
            try need("swaks", package: "swaks")
            let secure = try self.secure()
            func swaks(_ arguments: String...) throws -> ChildProcess.State {
                try run(
                    "swaks",
                    [
                        "--server", "127.0.0.1", "--from", "a@client.example", "--to",
                        "b@dest.example", "--ehlo", "client.example",
                    ] + arguments)
            }
            let calls: [ChildProcess.State] = [
                try swaks("--port", "\(secure.starttls)", "--tls"),
                try swaks("--port", "\(secure.implicit)", "--tls-on-connect"),
                try swaks(
                    "--port", "\(secure.submission)", "--tls", "--auth", "PLAIN", "--auth-user",
                    "anna", "--auth-password", "correct horse"),
                try swaks(
                    "--port", "\(secure.submission)", "--tls", "--auth", "LOGIN", "--auth-user",
                    "anna", "--auth-password", "correct horse"),
            ]
            for call in calls { #expect(call.status == 0, "\(call.outputText)") }
            let received = try secure.sink.wait(for: 4).map {
                $0.content.prefix(1000).replacing("\r\n", with: " ")
            }
            // RFC 3848: ESMTPS with TLS, ESMTPSA with AUTH as well.
            #expect(received.filter { $0.contains("with ESMTPS id") }.count == 2)
            #expect(received.filter { $0.contains("with ESMTPSA id") }.count == 2)
            let wrong = try swaks(
                "--port", "\(secure.submission)", "--tls", "--auth", "PLAIN", "--auth-user",
                "anna", "--auth-password", "wrong")
            #expect(wrong.status != 0)
            #expect(wrong.outputText.contains("535"))
            let open = try swaks("--port", "\(secure.submission)", "--tls", "--to", "b@x.example")
            #expect(open.status != 0, "\(open.outputText)")
        }

        @Test func `openssl s_client completes TLS 1.2 and 1.3 and refuses nothing of ours`() throws
        {
            let secure = try self.secure()
            for version in ["-tls1_2", "-tls1_3"] {
                let seen = try run(
                    "openssl",
                    [
                        "s_client", "-connect", "127.0.0.1:\(secure.implicit)", version, "-CAfile",
                        secure.certificate, "-verify_return_error", "-verify_hostname",
                        "relay.posthouse.example", "-crlf", "-quiet",
                    ], input: "QUIT\n")
                #expect(
                    seen.outputText.contains("220 relay.posthouse.example"), "\(seen.errorText)")
            }
            let old = try run(
                "openssl",
                [
                    "s_client", "-connect", "127.0.0.1:\(secure.implicit)", "-tls1_1", "-cipher",
                    "ALL@SECLEVEL=0",
                ])
            #expect(old.status != 0)
        }

        @Test func `Python's smtplib verifies the certificate and sends`() throws {
            let secure = try self.secure()
            let script = """
                import smtplib, ssl, sys
                port, tls_port, ca = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
                context = ssl.create_default_context(cafile=ca)
                text = 'Subject: x\\r\\nX-Marker: py\\r\\n\\r\\n.\\r\\nbye\\r\\n'
                with smtplib.SMTP('127.0.0.1', port) as s:
                    s.starttls(context=context)
                    s.login('anna', 'correct horse')
                    print(s.sendmail('a@client.example', ['b@dest.example'], text))
                with smtplib.SMTP_SSL('127.0.0.1', tls_port, context=context) as s:
                    print(s.sendmail('a@client.example', ['b@dest.example'], text))
                """
            let ended = try run(
                "/usr/bin/python3",
                ["-c", script, "\(secure.submission)", "\(secure.implicit)", secure.certificate])
            #expect(ended.status == 0, "\(ended.errorText)")
            #expect(try secure.sink.wait(for: 2).map(\.marker) == ["py", "py"])
        }

        @Test func `posttls-finger finds a verified certificate`() throws {
            try need("posttls-finger", package: "postfix")
            let secure = try self.secure()
            // It reads a Postfix configuration, which the machine need not have.
            let folder = try Folder()
            _ = try folder.write("main.cf", "compatibility_level = 3.6\n")
            let seen = try run(
                "posttls-finger",
                [
                    "-c", "-l", "secure", "-F", secure.certificate,
                    "[127.0.0.1]:\(secure.starttls)", "relay.posthouse.example",
                ], environment: ["MAIL_CONFIG": folder.path])
            let text = seen.outputText + seen.errorText
            #expect(text.contains("Verified TLS connection established"), "\(text)")
        }

        @Test func `what stands in front of STARTTLS's handshake is thrown away`() throws {
            let secure = try self.secure()
            let client = try MailClient(port: secure.starttls)
            #expect(client.greeting.lines.contains { $0.hasSuffix("STARTTLS") })
            #expect(!client.greeting.lines.contains { $0.contains("AUTH") })
            // A command smuggled behind STARTTLS is not answered, in clear or later.
            try client.connection.send("STARTTLS\r\nMAIL FROM:<evil@x.example>\r\n")
            #expect(try client.reply().code == 220)
            client.connection.seconds = 1
            // Nothing comes, or the session ends: both are right, an answer to MAIL is not.
            let early = try? client.reply()
            #expect(early?.code != 250)
        }

        @Test func `a new certificate is used without a restart`() throws {
            let secure = try self.secure()
            func subject() throws -> String {
                let seen = try run(
                    "openssl",
                    ["s_client", "-connect", "127.0.0.1:\(secure.implicit)", "-no_ign_eof"],
                    input: "QUIT\n")
                return seen.outputText
            }
            func notAfter() throws -> Double {
                let line = try secure.relay.get("/metrics").body.split(separator: "\n").first {
                    $0.hasPrefix("posthouse_certificate_not_after_seconds{")
                        && $0.contains("use=\"smtp\"") && $0.contains("/cert.pem\"")
                }
                return Double(line?.split(separator: " ").last ?? "") ?? 0
            }
            #expect(try subject().contains("CN = relay.posthouse.example"))
            let days = (try notAfter() - Date().timeIntervalSince1970) / 86_400
            #expect(days > 0 && days < 400, "\(days)")
            try Self.certify(secure.relay.folder, "new.posthouse.example")
            secure.relay.process?.signal(SIGHUP)
            #expect(try eventually(within: 15) { try subject().contains("CN = new.posthouse") })
            #expect(try notAfter() > 0)
        }

        @Test func `a broken certificate holds up a reload as a whole, the old one stays`() throws {
            let secure = try self.secure()
            func subject() throws -> String {
                try run(
                    "openssl",
                    ["s_client", "-connect", "127.0.0.1:\(secure.implicit)", "-no_ign_eof"],
                    input: "QUIT\n"
                ).outputText
            }
            #expect(try subject().contains("CN = relay.posthouse.example"))
            _ = try secure.relay.folder.write("cert.pem", "broken in the middle of a copy")
            // The rest of the file is right, and must not be taken either.
            let elsewhere = try Sink()
            secure.relay.settings.sinkPort = elsewhere.port
            try secure.relay.writeSettings()
            secure.relay.process?.signal(SIGHUP)
            #expect(secure.relay.waitForLog("settings not reloaded"))
            #expect(try subject().contains("CN = relay.posthouse.example"))
            let client = try MailClient(port: secure.relay.port)
            #expect(
                try client.send(to: ["a@dest.example"], MailClient.message("held")).code == 250)
            #expect(try secure.sink.wait(for: 1).last?.marker == "held")
            #expect(elsewhere.arrivals.current.isEmpty)
        }
    }
}
