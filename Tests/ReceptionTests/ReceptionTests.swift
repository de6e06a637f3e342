import Cluster
import Foundation
import Logging
import NIOCore
import NIOPosix
import OpenSSL
import Primitives
import SMTP
import Settings
import Synchronization
import Testing

@testable import Reception

/// Listeners on loopback, spoken to by Python's smtplib.
@Suite("Reception on sockets", .timeLimit(.minutes(1)))
struct ReceptionTests {
    private let log = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })

    private func run(_ program: String, _ arguments: [String]) async throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        return try await withCheckedThrowingContinuation { continuation in
            process.terminationHandler = { _ in
                let data = pipe.fileHandleForReading.readDataToEndOfFile()
                continuation.resume(returning: String(decoding: data, as: UTF8.self))
            }
            do { try process.run() } catch { continuation.resume(throwing: error) }
        }
    }

    private func folder() throws -> String {
        let url = FileManager.default.temporaryDirectory
            .appendingPathComponent("reception-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        return url.path
    }

    private func makeCertificate(in folder: String) async throws -> CertificateFiles {
        let files = CertificateFiles(certificate: folder + "/cert.pem", key: folder + "/key.pem")
        _ = try await self.run(
            "/usr/bin/openssl",
            [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                "-nodes", "-keyout", files.key, "-out", files.certificate, "-days", "1",
                "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
            ])
        return files
    }

    private func listener(
        _ mode: Settings.Listener.Mode, _ tls: Settings.Listener.TLS, _ files: CertificateFiles
    ) -> Settings.Listener {
        var listener = Settings.Listener()
        listener.address = Endpoint(host: "127.0.0.1", port: 0)
        listener.mode = mode
        listener.tls = tls
        listener.certificate = files.certificate
        listener.key = files.key
        return listener
    }

    @Test func `smtplib submits over STARTTLS and implicit TLS with AUTH, and is refused without`()
        async throws
    {
        let folder = try self.folder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let files = try await self.makeCertificate(in: folder)
        let hash = try #require(PasswordHash.make(Array("secret".utf8)))
        try "joe:\(hash)\n".write(toFile: folder + "/users", atomically: true, encoding: .utf8)
        var settings = Settings()
        settings.node.hostname = "mx.example"
        settings.relay.allow = []
        settings.relay.users = folder + "/users"
        settings.relay.maxMessagesPerUserPerHour = 2
        settings.listeners = [
            self.listener(.submission, .starttls, files),
            self.listener(.submission, .implicit, files),
        ]
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        let door = FakeDoor()
        let reception = try Reception(
            settings, door: door, verifier: nil, loops: group, log: self.log)
        try await reception.start().get()
        let ports = reception.addresses.map(\.port)
        let script = """
            import smtplib, ssl, sys
            context = ssl._create_unverified_context()
            def send(s, mechanism):
                s.ehlo("py.example")
                s.user, s.password = "joe", "secret"
                if mechanism:
                    print(s.auth(mechanism, getattr(s, "auth_" + mechanism.lower()))[0])
                try:
                    s.sendmail("joe@x.example", ["b@y.example"], b"Subject: hi\\r\\n\\r\\n.dot\\r\\n")
                    print("sent")
                except smtplib.SMTPResponseException as e:
                    print(e.smtp_code)
                s.quit()
            s = smtplib.SMTP("127.0.0.1", \(ports[0])); s.ehlo("py.example")
            s.starttls(context=context); send(s, "PLAIN")
            send(smtplib.SMTP_SSL("127.0.0.1", \(ports[1]), context=context), "LOGIN")
            send(smtplib.SMTP_SSL("127.0.0.1", \(ports[1]), context=context), "PLAIN")
            send(smtplib.SMTP_SSL("127.0.0.1", \(ports[1]), context=context), None)
            send(smtplib.SMTP("127.0.0.1", \(ports[0])), None)
            s = smtplib.SMTP_SSL("127.0.0.1", \(ports[1]), context=context)
            try: s.login("joe", "wrong")
            except smtplib.SMTPAuthenticationError as e: print(e.smtp_code)
            s.quit()
            """
        let said = try await self.run("/usr/bin/python3", ["-c", script])
        #expect(said == "235\nsent\n235\nsent\n235\n450\n530\n530\n535\n")
        let messages = door.messages
        #expect(messages.count == 2)
        for message in messages {
            #expect(message.content == "Subject: hi\r\n\r\n.dot\r\n")
            #expect(message.envelope.user == "joe")
            #expect(message.head.contains("with ESMTPSA id"))
            #expect(message.head.contains("(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384)"))
            #expect(
                message.head.contains("\r\nDate: ") && message.head.contains("\r\nMessage-ID: <"))
        }
        try await reception.stop(within: .seconds(5)).get()
        #expect(reception.sessions == 0)
        try await group.shutdownGracefully()
    }

    @Test func `stop closes listeners, ends idle sessions and cuts the rest at its deadline`()
        async throws
    {
        var settings = Settings()
        settings.node.hostname = "mx.example"
        var port = Settings.Listener()
        port.address = Endpoint(host: "127.0.0.1", port: 0)
        settings.listeners = [port]
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let door = FakeDoor()
        let reception = try Reception(
            settings, door: door, verifier: nil, loops: group, log: self.log)
        try await reception.start().get()
        let number = reception.addresses[0].port
        let script = """
            import socket
            def talk(*lines):
                s = socket.create_connection(("127.0.0.1", \(number))); f = s.makefile("rb")
                f.readline()
                for line in lines:
                    s.sendall(line + b"\\r\\n"); f.readline()
                return s, f
            idle, f = talk(b"HELO x")
            busy, g = talk(b"HELO x", b"MAIL FROM:<a@x>", b"RCPT TO:<b@y>", b"DATA")
            print("open", flush=True)
            print(f.readline().decode()[:9], f.readline() == b"", flush=True)
            print(g.readline().decode()[:9], g.readline() == b"")
            """
        async let said = self.run("/usr/bin/python3", ["-c", script])
        // The second client has reached DATA when the queue was asked.
        while door.last.withLock({ $0 == nil }) { await Task.yield() }
        try await reception.stop(within: .milliseconds(500)).get()
        #expect(try await said == "open\n421 4.3.2 True\n421 4.3.2 True\n")
        #expect(reception.sessions == 0)
        try await group.shutdownGracefully()
    }

    @Test func `a broken file of users is refused by name and line, and changes nothing`() throws {
        let group = MultiThreadedEventLoopGroup.singleton
        var settings = Settings()
        settings.relay.users = "/users"
        let bad = FileAccess { _ throws(FileAccess.Failure) in Array("joe:x\nno colon\n".utf8) }
        #expect(
            throws: ReceptionFault(
                detail: "/users:2: no colon between name and hash",
                remedy: "Repair the line, or make it anew with `posthouse user add`")
        ) {
            try Reception(
                settings, door: FakeDoor(), verifier: nil, loops: group, log: self.log, files: bad)
        }
        let missing = FileAccess { _ throws(FileAccess.Failure) in throw .missing }
        #expect(throws: ReceptionFault.self) {
            try Reception(
                settings, door: FakeDoor(), verifier: nil, loops: group, log: self.log,
                files: missing)
        }
    }
}
