// ProxyTests.swift - behind a real balancer, the client is still the client.

import Foundation
import Testing

extension ProcessTests {
    @Suite("PROXY protocol", .timeLimit(.minutes(5))) struct ProxyTests {
        private struct House {
            let relay: Relay
            let sink: Sink
            let certificate: String

            var ports: HAProxy.Ports {
                HAProxy.Ports(
                    smtp: self.relay.smtpPorts[0], smtps: self.relay.smtpPorts[1],
                    submission: self.relay.smtpPorts[2], admin: self.relay.adminPort)
            }
            func proxy(_ change: (String) -> String = { $0 }) throws -> HAProxy {
                try HAProxy(
                    to: [self.ports], admin: self.certificate, folder: self.relay.folder,
                    change: change)
            }
        }

        /// A relay that trusts 127.0.0.9 only, behind listeners that believe 127.0.0.1 only.
        private func house() throws -> House {
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
            let token = try folder.write("token", "correct-horse-battery-staple\n")
            let certificate = folder.path + "/cert.pem"
            let files = "certificate = \"\(certificate)\"\nkey = \"\(folder.path)/key.pem\"\n"
            let proxy = files + "proxy_protocol = true\nproxy_trusted = [\"127.0.0.1/32\"]"
            let sink = try Sink()
            var settings = RelaySettings(sinkPort: sink.port)
            settings.listeners = [
                "tls = \"starttls\"\n" + proxy, "tls = \"implicit\"\n" + proxy,
                "mode = \"submission\"\ntls = \"starttls\"\n" + proxy,
            ]
            settings.allow = "127.0.0.9/32"
            settings.extra = files + "token_file = \"\(token)\"\n"
            let relay = try Relay(settings, folder: folder)
            return House(relay: relay, sink: sink, certificate: certificate)
        }

        /// Sends one message on each port, from `source`; what was answered.
        private func send(from source: String, by proxy: HAProxy, _ house: House) throws -> String {
            let script = """
                import smtplib, ssl, sys
                source = (sys.argv[1], 0)
                context = ssl.create_default_context(cafile=sys.argv[2])
                smtp, smtps, submission = (int(a) for a in sys.argv[3:6])
                def send(s, name):
                    text = "X-Marker: %s\\r\\nSubject: x\\r\\n\\r\\nhello\\r\\n" % name
                    try:
                        s.sendmail("a@client.example", ["b@far.example"], text)
                        print(name, "sent")
                    except smtplib.SMTPRecipientsRefused as e:
                        print(name, *(code for code, _ in e.recipients.values()))
                    except smtplib.SMTPResponseException as e:
                        print(name, e.smtp_code)
                    s.quit()
                def plain(port):
                    return smtplib.SMTP("127.0.0.1", port, "client.example", source_address=source)
                def secure(port):
                    s = plain(port)
                    s.starttls(context=context)
                    return s
                send(plain(smtp), "plain")
                send(secure(smtp), "starttls")
                send(smtplib.SMTP_SSL("127.0.0.1", smtps, "client.example", context=context,
                                      source_address=source), "implicit")
                send(secure(submission), "submission")
                """
            let ended = try run(
                "/usr/bin/python3",
                [
                    "-c", script, source, house.certificate, "\(proxy.smtp)", "\(proxy.smtps)",
                    "\(proxy.submission)",
                ])
            guard ended.status == 0 else { throw Failure(ended.errorText + house.relay.log) }
            return ended.outputText.split(separator: "\n").joined(separator: ", ")
        }

        @Test(arguments: ["send-proxy-v2", "send-proxy"])
        func `HAProxy hands the client's address on, to rules, Received and log`(_ word: String)
            throws
        {
            let house = try self.house()
            let proxy = try house.proxy { text in
                // Options of version 2 have no place in version 1.
                word == "send-proxy-v2"
                    ? text
                    : text.replacing("proxy-v2-options crc32c ", with: "")
                        .replacing("send-proxy-v2", with: word)
            }
            #expect(
                try self.send(from: "127.0.0.9", by: proxy, house)
                    == "plain sent, starttls sent, implicit sent, submission sent")
            let received = try house.sink.wait(for: 4)
            #expect(
                received.map(\.marker).sorted() == ["implicit", "plain", "starttls", "submission"])
            for arrival in received {
                let field = try #require(arrival.header("Received"))
                #expect(field.hasPrefix("from client.example ([127.0.0.9])"), "\(field)")
            }
            // A line of log may come later than its message.
            var lines: [Substring] = []
            let areAll = eventually(within: 10) {
                lines = house.relay.log.split(separator: "\n").filter { $0.contains("accepted") }
                return lines.count == 4
            }
            #expect(areAll)
            for line in lines {
                #expect(line.contains("\"client\":\"127.0.0.9\""), "\(line)")
                #expect(line.contains("\"balancer\":\"127.0.0.1\""), "\(line)")
            }
            // The balancer's own address is not what is asked about; neither is 127.0.0.8 allowed.
            #expect(
                try self.send(from: "127.0.0.8", by: proxy, house)
                    == "plain 550, starttls 550, implicit 550, submission 530")
        }

        @Test func `checks of HAProxy find the node up and leave no line in the log`() throws {
            let house = try self.house()
            let before = house.relay.log
            let proxy = try house.proxy()
            var states: [String: String] = [:]
            let isUp = try eventually(within: 20) {
                states = try proxy.states()
                return states["smtp"] == "UP L7OK" && states["submission"] == "UP L7OK"
                    && states["smtps"]?.hasPrefix("UP") == true
            }
            #expect(isUp, "\(states)")
            // LOCAL of version 2, by `option smtpchk` and `check-send-proxy`.
            #expect(
                try eventually(within: 20) {
                    try Self.metric(house, "posthouse_smtp_probes_total{kind=\"local\"}") >= 3
                })
            #expect(house.relay.log == before)
            for reason in ["missing", "malformed", "timeout", "untrusted", "checksum", "cut_off"] {
                let name = "posthouse_proxy_refused_total{reason=\"\(reason)\"}"
                #expect(try Self.metric(house, name) == 0, "\(reason)")
            }
            // It stops: the balancer sees that before the port is gone, or that the port is gone.
            try house.relay.stop()
            let isDown = try eventually(within: 20) {
                states = try proxy.states()
                return states.values.allSatisfy { $0.hasPrefix("DOWN") }
            }
            #expect(isDown, "\(states)")
        }

        @Test func `checks with version 1 say UNKNOWN, and are answered too`() throws {
            let house = try self.house()
            let before = house.relay.log
            let proxy = try house.proxy { text in
                text.replacing("proxy-v2-options crc32c ", with: "")
                    .replacing("send-proxy-v2", with: "send-proxy")
            }
            let isUp = try eventually(within: 20) {
                try proxy.states()["submission"] == "UP L7OK"
            }
            #expect(isUp)
            #expect(house.relay.log == before)
        }

        @Test func `who is not trusted is closed without a word, and told once`() throws {
            let house = try self.house()
            let script = """
                import socket, sys
                for header in (b"PROXY TCP4 127.0.0.9 127.0.0.1 1 25\\r\\n", b"", b"EHLO x\\r\\n"):
                    s = socket.create_connection(("127.0.0.1", int(sys.argv[2])), 10,
                                                 (sys.argv[1], 0))
                    try:
                        s.sendall(header)
                        print(s.recv(100))
                    except (ConnectionResetError, BrokenPipeError):
                        print(b"")
                """
            let port = "\(house.relay.port)"
            let other = try run("/usr/bin/python3", ["-c", script, "127.0.0.5", port])
            #expect(other.outputText == "b''\nb''\nb''\n", "\(other.errorText)")
            #expect(house.relay.waitForLog("\"reason\":\"untrusted\"", "\"peer\":\"127.0.0.5\""))
            let lines = house.relay.log.split(separator: "\n").filter { $0.contains("untrusted") }
            #expect(lines.count == 1)
            let name = "posthouse_proxy_refused_total{reason=\"untrusted\"}"
            #expect(try Self.metric(house, name) == 3)
            // Trusted, and with no header: nothing is said before the time is over.
            let bare = try run("/usr/bin/python3", ["-c", script, "127.0.0.1", port])
            #expect(bare.outputText.split(separator: "\n").first?.hasPrefix("b'220 ") == true)
            #expect(bare.outputText.hasSuffix("b''\nb''\n"), "\(bare.outputText)")
            #expect(house.relay.waitForLog("\"reason\":\"timeout\""))
            #expect(house.relay.waitForLog("\"reason\":\"missing\""))
        }

        /// A value of `/metrics`; 0 if it is not there.
        private static func metric(_ house: House, _ name: String) throws -> Double {
            let seen = try run(
                "/usr/bin/python3",
                [
                    "-c",
                    """
                    import ssl, sys, urllib.request
                    context = ssl.create_default_context(cafile=sys.argv[2])
                    request = urllib.request.Request(sys.argv[1] + "/metrics")
                    request.add_header("Authorization", "Bearer correct-horse-battery-staple")
                    print(urllib.request.urlopen(request, context=context).read().decode())
                    """, house.relay.server.replacing("http:", with: "https:"), house.certificate,
                ])
            guard seen.status == 0 else { throw Failure(seen.errorText) }
            for line in seen.outputText.split(separator: "\n") where line.hasPrefix(name + " ") {
                return Double(line.dropFirst(name.count + 1)) ?? -1
            }
            return 0
        }
    }
}
