// ClusterProxyTests.swift - three nodes behind Debian's HAProxy, with the file that is shipped.

import Foundation
import Testing

extension ProcessTests {
    @Suite("A cluster behind HAProxy", .timeLimit(.minutes(10))) struct ClusterProxyTests {
        /// Nodes that relay for 127.0.0.9 only, and believe 127.0.0.1 who comes.
        private struct House {
            let fleet: Fleet
            let sink: Sink
            let folder: Folder
            let certificate: String

            init() throws {
                self.folder = try Folder()
                let made = try run(
                    "openssl",
                    [
                        "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30", "-subj",
                        "/CN=relay.posthouse.example", "-addext",
                        "subjectAltName=DNS:relay.posthouse.example,IP:127.0.0.1", "-keyout",
                        self.folder.path + "/key.pem", "-out", self.folder.path + "/cert.pem",
                    ])
                guard made.status == 0 else { throw Failure(made.errorText) }
                self.certificate = self.folder.path + "/cert.pem"
                let files =
                    "certificate = \"\(self.certificate)\"\nkey = \"\(self.folder.path)/key.pem\"\n"
                let proxy =
                    files + "proxy_protocol = true\nproxy_trusted = [\"127.0.0.1/32\"]"
                self.sink = try Sink()
                var settings = RelaySettings(sinkPort: self.sink.port)
                settings.listeners = [
                    "tls = \"starttls\"\n" + proxy, "tls = \"implicit\"\n" + proxy,
                    "mode = \"submission\"\ntls = \"starttls\"\n" + proxy,
                ]
                settings.allow = "127.0.0.9/32"
                settings.extra = files
                // A node that comes back must be where the balancer looks for it.
                self.fleet = try Fleet(settings, isFixed: true)
                try self.waitUntilReady(3)
            }

            /// So many nodes are ready to take mail.
            func waitUntilReady(_ count: Int) throws {
                let isReady = try eventually(within: Fleet.patience) {
                    try self.fleet.nodes.count { node in
                        guard node.process != nil else { return false }
                        return try self.curl(node, "/readyz").status == 0
                    } == count
                }
                guard isReady else { throw Failure("not ready: \(self.fleet.story)") }
            }

            func curl(_ node: Relay, _ path: String) throws -> ChildProcess.State {
                try run(
                    "/usr/bin/python3",
                    [
                        "-c",
                        """
                        import ssl, sys, urllib.request
                        context = ssl.create_default_context(cafile=sys.argv[2])
                        print(urllib.request.urlopen(sys.argv[1], context=context).read().decode())
                        """, node.server.replacing("http:", with: "https:") + path,
                        self.certificate,
                    ])
            }

            /// `posthouse cluster VERB NODE`, asked of the first node.
            func order(_ words: String...) throws -> ChildProcess.State {
                let server = self.fleet.nodes[0].server.replacing("http:", with: "https:")
                return try run(
                    try Relay.binary(),
                    ["cluster"] + words + ["--server", server, "--ca", self.certificate])
            }

            func proxy() throws -> HAProxy {
                try HAProxy(
                    to: self.fleet.nodes.map {
                        HAProxy.Ports(
                            smtp: $0.smtpPorts[0], smtps: $0.smtpPorts[1],
                            submission: $0.smtpPorts[2], admin: $0.adminPort)
                    }, admin: self.certificate, folder: self.folder)
            }
        }

        /// Sends one message from 127.0.0.9; what became of it.
        private func send(_ marker: String, by proxy: HAProxy) throws -> String {
            let script = """
                import smtplib, sys
                s = smtplib.SMTP("127.0.0.1", int(sys.argv[1]), "client.example", 60,
                                 source_address=("127.0.0.9", 0))
                text = "X-Marker: %s\\r\\nSubject: x\\r\\n\\r\\nhello\\r\\n" % sys.argv[2]
                s.sendmail("a@client.example", ["b@far.example"], text)
                print("sent")
                s.quit()
                """
            let ended = try run("/usr/bin/python3", ["-c", script, "\(proxy.smtp)", marker])
            return ended.outputText.trimmingCharacters(in: .whitespacesAndNewlines)
                + ended.errorText.suffix(300)
        }

        private func waitForState(
            _ proxy: HAProxy, _ node: String, _ isAsWanted: (String) -> Bool
        ) throws -> Bool {
            try eventually(within: Fleet.patience) {
                let states = try proxy.states(of: node)
                return states.count == 3 && states.values.allSatisfy(isAsWanted)
            }
        }

        @Test func `mail goes through it to all, and nodes that die or drain leave the pool`()
            throws
        {
            try need("haproxy", package: "haproxy")
            let house = try House()
            let fleet = house.fleet
            let proxy = try house.proxy()
            for name in Fleet.names {
                #expect(try self.waitForState(proxy, name) { $0.hasPrefix("UP") })
            }
            for number in 0..<9 { #expect(try self.send("m\(number)", by: proxy) == "sent") }
            let received = try house.sink.wait(for: 9, seconds: 60)
            #expect(received.map(\.marker).sorted() == (0..<9).map { "m\($0)" })
            for arrival in received {
                let field = try #require(arrival.header("Received"))
                #expect(field.hasPrefix("from client.example ([127.0.0.9])"), "\(field)")
            }
            for name in Fleet.names {
                #expect(try proxy.sessions(of: name)["smtp"] ?? 0 >= 2, "\(name)")
            }
            // Hundreds of checks by now, and not a word about one.
            for node in fleet.nodes {
                let said = node.log.split(separator: "\n").filter {
                    $0.contains("probe") || $0.contains("proxy") || $0.contains("readyz")
                }
                #expect(said.isEmpty, "\(said)")
            }

            // Killed: mail goes on, by redispatch until the check has seen it, then by the others.
            let status = try house.curl(fleet.nodes[0], "/v1/cluster").outputText
            let leader = try #require(
                Fleet.names.firstIndex { status.contains("\"leader\":\"\($0)\"") }, "\(status)")
            fleet.nodes[leader].kill()
            #expect(try self.waitForState(proxy, Fleet.names[leader]) { $0.hasPrefix("DOWN") })
            #expect(try self.send("killed", by: proxy) == "sent")
            try fleet.nodes[leader].start()
            #expect(try self.waitForState(proxy, Fleet.names[leader]) { $0.hasPrefix("UP") })

            // Ended in order: out of the pool before or with its port, and no client is cut.
            let other = (leader + 1) % 3
            #expect(try fleet.nodes[other].stop(seconds: 30).status == 0)
            #expect(try self.send("drained", by: proxy) == "sent")
            #expect(try self.waitForState(proxy, Fleet.names[other]) { $0.hasPrefix("DOWN") })
            _ = try house.sink.wait(for: 11, seconds: 60)
        }

        /// Sends one message after another, each in a session of its own, until SIGTERM; says how
        /// many were taken, and whatever else it met.
        private func stream(by proxy: HAProxy) throws -> ChildProcess {
            let script = """
                import signal, smtplib, sys, time
                goes_on = True
                def end(number, frame):
                    global goes_on
                    goes_on = False
                signal.signal(signal.SIGTERM, end)
                taken = 0
                while goes_on:
                    time.sleep(0.02)
                    try:
                        s = smtplib.SMTP("127.0.0.1", int(sys.argv[1]), "client.example", 60,
                                         source_address=("127.0.0.9", 0))
                        s.sendmail("a@client.example", ["b@far.example"],
                                   "X-Marker: s%d\\r\\n\\r\\nhello\\r\\n" % taken)
                        s.quit()
                        taken += 1
                    except Exception as error:
                        print("met", repr(error))
                print("taken", taken)
                """
            return try ChildProcess("/usr/bin/python3", ["-c", script, "\(proxy.smtp)"])
        }

        @Test
        func `no client behind it notices a drain or a stop, and who idles holds up none`()
            throws
        {
            try need("haproxy", package: "haproxy")
            let house = try House()
            let fleet = house.fleet
            let proxy = try house.proxy()
            for name in Fleet.names {
                #expect(try self.waitForState(proxy, name) { $0.hasPrefix("UP") })
            }
            let stream = try self.stream(by: proxy)
            // By 127.0.0.1 and its header, as the balancer does, so that it is known where.
            let idle = try Connection(port: fleet.nodes[1].smtpPorts[0])
            try idle.send("PROXY TCP4 127.0.0.9 127.0.0.1 4000 25\r\n")
            #expect(try MailClient.reply(on: idle).code == 220)

            let drained = try house.order("drain", "b", "--timeout", "60s")
            #expect(drained.status == 0, "\(drained.errorText)")
            #expect(try MailClient.reply(on: idle).code == 421)
            #expect(try self.waitForState(proxy, "b") { $0.hasPrefix("DOWN") })
            let undrained = try house.order("undrain", "b")
            #expect(undrained.status == 0, "\(undrained.errorText)")
            #expect(try self.waitForState(proxy, "b") { $0.hasPrefix("UP") })

            for node in fleet.nodes {
                #expect(try node.stop(seconds: 30).status == 0)
                try node.start()
                try house.waitUntilReady(3)
                #expect(try self.waitForState(proxy, node.settings.name) { $0.hasPrefix("UP") })
            }
            stream.signal(SIGTERM)
            let said = try stream.wait(seconds: 60).outputText.split(separator: "\n")
            #expect(said.count == 1, "\(said)")
            let taken = said.last.flatMap { Int($0.drop { !$0.isNumber }) } ?? 0
            #expect(taken > 50)
            #expect(try house.sink.wait(for: taken, seconds: 60).count >= taken)
        }
    }
}
