import Cluster
import Delivery
import Foundation
import Networking
import OpenSSL
import Primitives
import SMTP
import Settings
import Testing

@Suite("Delivery under TLS, RFC 3207, RFC 7435", .timeLimit(.minutes(1)))
struct DeliveryTLSTests {
    /// An authority, and a server's certificate for these names, as files.
    struct Certificates {
        let authority: String
        let server: TLSServerContext
        private let directory: URL

        init(for hosts: [String]) throws {
            let directory = FileManager.default.temporaryDirectory
                .appendingPathComponent("posthouse-\(UUID().uuidString)")
            try FileManager.default.createDirectory(
                at: directory, withIntermediateDirectories: true)
            self.directory = directory
            let validity = CertificateAuthority.Validity.years(1, from: SystemClock.wallTime())
            let authority = try CertificateAuthority.make(name: "test", validity: validity)
            let issued = try CertificateAuthority.issue(
                by: authority, name: "server", hosts: hosts, validity: validity)
            func file(_ name: String, _ text: String) throws -> String {
                let path = directory.appendingPathComponent(name).path
                try text.write(toFile: path, atomically: true, encoding: .utf8)
                return path
            }
            self.authority = try file("ca.pem", authority.certificate)
            self.server = try TLSServerContext([
                CertificateFiles(
                    certificate: try file("server.pem", issued.certificate),
                    key: try file("server.key", issued.key))
            ])
        }

        func remove() throws { try FileManager.default.removeItem(at: self.directory) }
    }

    private static func secure(_ certificates: Certificates) -> ScriptedServer.Behaviour {
        var behaviour = ScriptedServer.Behaviour()
        behaviour.keywords = ["PIPELINING", "STARTTLS"]
        behaviour.tls = certificates.server
        return behaviour
    }

    private static func route(
        _ port: Int, host: String, _ level: Settings.Route.TLS
    ) -> Settings.Route {
        var route = Settings.Route()
        route.domains = ["d.example"]
        route.via = Endpoint(host: host, port: port)
        route.tls = level
        return route
    }

    @Test func `opportunistic TLS takes any certificate; EHLO is said again inside`() async throws {
        let certificates = try Certificates(for: ["other.example"])
        let server = try await ScriptedServer.start(Self.secure(certificates))
        let bench = try DeliveryBench(port: server.port)
        bench.take(DeliveryBench.delivery(1))
        let outcome = try await bench.outcome()
        #expect(outcome.verdicts[0].verdict.kind == .delivered)
        #expect(
            server.seen.lines.prefix(3) == ["EHLO relay.example", "STARTTLS", "EHLO relay.example"])
        #expect(server.seen.connections == 1 && server.seen.messages.count == 1)
        try await bench.stop()
        try await server.stop()
        try certificates.remove()
    }

    @Test(arguments: [("mx.example", true), ("evil.example", false)])
    func `verify: the certificate has to name the host`(name: String, isGood: Bool) async throws {
        let certificates = try Certificates(for: [name])
        let server = try await ScriptedServer.start(Self.secure(certificates))
        let bench = try DeliveryBench(
            port: 1,
            change: {
                $0.routes = [Self.route(server.port, host: "mx.example", .verify)]
            }, authority: certificates.authority)
        bench.take(DeliveryBench.delivery(1))
        switch try await bench.desk.next() {
        case .settled(let outcome):
            #expect(isGood && outcome.verdicts[0].verdict.kind == .delivered)
        case .suspended(_, let reply):
            #expect(!isGood && reply.enhanced == EnhancedCode(4, 7, 5))
            #expect(reply.lines[0].contains("certificate"))
        case let event: Issue.record("\(event)")
        }
        #expect(server.seen.lines.contains { $0.hasPrefix("MAIL") } == isGood)
        try await bench.stop()
        try await server.stop()
        try certificates.remove()
    }

    @Test func `plain text behind the 220 to STARTTLS is dropped`() async throws {
        let certificates = try Certificates(for: ["mx.example"])
        var behaviour = Self.secure(certificates)
        behaviour.startTLS = "220 go\r\n250-injected\r\n250 SIZE 1\r\n"
        let server = try await ScriptedServer.start(behaviour)
        let bench = try DeliveryBench(port: server.port)
        bench.take(DeliveryBench.delivery(1))
        // Had the injected SIZE counted, the message would be too large.
        let outcome = try await bench.outcome()
        #expect(outcome.verdicts[0].verdict.kind == .delivered)
        #expect(server.seen.connections == 1)
        try await bench.stop()
        try await server.stop()
        try certificates.remove()
    }

    @Test func `opportunistic TLS that fails: the same host again without it`() async throws {
        var behaviour = ScriptedServer.Behaviour()
        behaviour.keywords = ["PIPELINING", "STARTTLS"]
        behaviour.command = { $0 == "STARTTLS" ? .say("220 go\r\nthis is not TLS") : nil }
        let server = try await ScriptedServer.start(behaviour)
        let bench = try DeliveryBench(port: server.port)
        bench.take(DeliveryBench.delivery(1))
        let outcome = try await bench.outcome()
        #expect(outcome.verdicts[0].verdict.kind == .delivered)
        #expect(server.seen.connections == 2)
        try await bench.stop()
        try await server.stop()
    }

    @Test func `required TLS that is not there: nothing is sent`() async throws {
        let server = try await ScriptedServer.start()
        let bench = try DeliveryBench(port: server.port) { settings in
            var route = Settings.Route()
            route.domains = ["d.example"]
            route.via = Endpoint(host: "127.0.0.1", port: server.port)
            route.tls = .encrypt
            settings.routes = [route]
        }
        bench.take(DeliveryBench.delivery(1))
        let event = try await bench.desk.next()
        guard case .suspended(_, let reply) = event else {
            Issue.record("\(event)")
            return
        }
        #expect(reply.enhanced == EnhancedCode(4, 7, 4))
        #expect(!server.seen.lines.contains { $0.hasPrefix("MAIL") })
        try await bench.stop()
        try await server.stop()
    }
}
