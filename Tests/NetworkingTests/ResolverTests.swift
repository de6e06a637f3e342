import NIOCore
import NIOPosix
import Primitives
import Synchronization
import Testing

@testable import Networking

/// NIOPosix has one as well.
private typealias Resolver = Networking.Resolver

@Suite("Resolver on libunbound, RFC 5321 §5.1", .timeLimit(.minutes(1)))
struct ResolverTests {
    private static let loop = MultiThreadedEventLoopGroup.singleton.next()

    /// Runs `body` with a resolver that asks a server with this zone.
    private func with(
        _ zone: [(String, UInt16, DNSServer.Reply)], timeout: Duration = .seconds(20),
        _ body: (Resolver, DNSServer) async throws -> Void
    ) async throws {
        let server = try await DNSServer(zone)
        var configuration = Resolver.Configuration()
        configuration.servers = ["127.0.0.1@\(server.port)"]
        configuration.readsHosts = false
        configuration.timeout = timeout
        let resolver = try Resolver(configuration)
        try await body(resolver, server)
        resolver.shutdown()
        try await server.stop()
    }

    private func mx(_ resolver: Resolver, _ name: String) async -> MXAnswer {
        await withCheckedContinuation { continuation in
            resolver.mx(name, on: Self.loop) { continuation.resume(returning: $0) }
        }
    }

    private func addresses(
        _ resolver: Resolver, _ name: String, ipv6: Bool = true
    ) async -> AddressAnswer {
        await withCheckedContinuation { continuation in
            resolver.addresses(name, ipv6: ipv6, on: Self.loop) {
                continuation.resume(returning: $0)
            }
        }
    }

    @Test func `each kind of MX answer has its own value`() async throws {
        try await self.with([
            ("two.example", DNSServer.mx, .records([.mx(20, "B.example"), .mx(10, "a.example")])),
            ("null.example", DNSServer.mx, .records([.mx(0, "")])),
            ("both.example", DNSServer.mx, .records([.mx(0, ""), .mx(5, "a.example")])),
            ("bare.example", DNSServer.a, .records([.a("192.0.2.1")])),
            ("broken.example", DNSServer.mx, .code(2)),
            ("refused.example", DNSServer.mx, .code(5)),
            (
                "alias.example", DNSServer.mx,
                .records([.cname("two.example"), .mx(7, "c.example")])
            ),
        ]) { resolver, _ in
            guard case .records(let two, false) = await self.mx(resolver, "two.example") else {
                Issue.record("no records")
                return
            }
            #expect(
                two.sorted { $0.preference < $1.preference } == [
                    MXRecord(preference: 10, host: "a.example"),
                    MXRecord(preference: 20, host: "b.example"),
                ])
            #expect(await self.mx(resolver, "null.example") == .null)
            let host = MXRecord(preference: 5, host: "a.example")
            #expect(await self.mx(resolver, "both.example") == .records([host], secure: false))
            #expect(await self.mx(resolver, "bare.example") == .noRecords)
            #expect(await self.mx(resolver, "absent.example") == .noDomain)
            for name in ["broken.example", "refused.example"] {
                guard case .failed(let failure) = await self.mx(resolver, name) else {
                    Issue.record("\(name) is no failure")
                    continue
                }
                #expect(failure.kind == .server)
                #expect(failure.label == "dns_server")
            }
            guard case .records(let alias, _) = await self.mx(resolver, "alias.example") else {
                Issue.record("the alias has no records")
                return
            }
            #expect(!alias.isEmpty)
        }
    }

    @Test func `a loop of CNAMEs is a failure that may pass`() async throws {
        try await self.with([
            ("one.example", DNSServer.mx, .records([.cname("two.example")])),
            ("two.example", DNSServer.mx, .records([.cname("one.example")])),
        ]) { resolver, _ in
            guard case .failed(let failure) = await self.mx(resolver, "one.example") else {
                Issue.record("a loop is answered")
                return
            }
            #expect(failure.kind == .server)
        }
    }

    @Test func `a hundred exchangers come over TCP`() async throws {
        let records = (0..<100).map { DNSServer.Record.mx(UInt16($0), "mx\($0).long-name.example") }
        let zone = [("many.example", DNSServer.mx, DNSServer.Reply.records(records))]
        try await self.with(zone) { resolver, server in
            guard case .records(let found, _) = await self.mx(resolver, "many.example") else {
                Issue.record("no records")
                return
            }
            #expect(Set(found.map(\.host)).count == 100)
            #expect(server.tcpQuestions == 1)
        }
    }

    @Test func `both families are asked for at once, IPv6 stands first`() async throws {
        try await self.with([
            ("both.example", DNSServer.a, .records([.a("192.0.2.1")])),
            ("both.example", DNSServer.aaaa, .records([.aaaa("2001:db8::1")])),
            ("four.example", DNSServer.a, .records([.a("192.0.2.4")])),
            ("half.example", DNSServer.a, .records([.a("192.0.2.5")])),
            ("half.example", DNSServer.aaaa, .code(2)),
            ("poor.example", DNSServer.aaaa, .code(2)),
            ("mail.example", DNSServer.mx, .records([.mx(1, "x.example")])),
        ]) { resolver, server in
            let v4 = try #require(IPAddress("192.0.2.1"))
            let v6 = try #require(IPAddress("2001:db8::1"))
            #expect(
                await self.addresses(resolver, "both.example")
                    == .addresses([v6, v4], secure: false))
            let four = try #require(IPAddress("192.0.2.4"))
            #expect(
                await self.addresses(resolver, "four.example", ipv6: false)
                    == .addresses([four], secure: false))
            #expect(server.count("four.example", DNSServer.aaaa) == 0)
            let five = try #require(IPAddress("192.0.2.5"))
            #expect(
                await self.addresses(resolver, "half.example")
                    == .addresses([five], secure: false))
            guard case .failed = await self.addresses(resolver, "poor.example") else {
                Issue.record("no address is believed though one question failed")
                return
            }
            #expect(await self.addresses(resolver, "mail.example") == .noRecords)
            #expect(await self.addresses(resolver, "none.example") == .noDomain)
        }
    }

    @Test func `equal questions in flight are asked once and remembered afterwards`() async throws {
        let zone: [(String, UInt16, DNSServer.Reply)] = [
            ("one.example", DNSServer.mx, .records([.mx(1, "a.example")]))
        ]
        try await self.with(zone) { resolver, server in
            let expected = MXAnswer.records(
                [MXRecord(preference: 1, host: "a.example")], secure: false)
            await withTaskGroup(of: MXAnswer.self) { group in
                for _ in 0..<200 { group.addTask { await self.mx(resolver, "one.example") } }
                for await answer in group { #expect(answer == expected) }
            }
            #expect(server.count("one.example", DNSServer.mx) == 1)
            let atOnce: Bool = try await Self.loop.submit {
                let seen = Mutex(false)
                resolver.mx("one.example", on: Self.loop) { _ in seen.withLock { $0 = true } }
                return seen.withLock { $0 }
            }.get()
            #expect(atOnce, "a remembered answer comes before the call returns")
        }
    }

    @Test func `more questions than may be in flight are all answered`() async throws {
        let count = Resolver.Limits.inFlight + 200
        let zone = (0..<count).map {
            ("d\($0).example", DNSServer.mx, DNSServer.Reply.records([.mx(1, "mx\($0).example")]))
        }
        try await self.with(zone) { resolver, _ in
            let right = await withTaskGroup(of: Bool.self) { group in
                for i in 0..<count {
                    group.addTask {
                        await self.mx(resolver, "d\(i).example")
                            == .records(
                                [MXRecord(preference: 1, host: "mx\(i).example")], secure: false)
                    }
                }
                return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
            }
            #expect(right == count)
        }
    }

    @Test func `a silent server is a time-out, and what stops is answered`() async throws {
        let zone: [(String, UInt16, DNSServer.Reply)] = [("deaf.example", DNSServer.mx, .silence)]
        try await self.with(zone, timeout: .milliseconds(200)) { resolver, _ in
            guard case .failed(let failure) = await self.mx(resolver, "deaf.example") else {
                Issue.record("silence is answered")
                return
            }
            #expect(failure.kind == .timeout)
        }
        try await self.with(zone) { resolver, _ in
            async let answer = self.mx(resolver, "deaf.example")
            resolver.shutdown()
            guard case .failed(let failure) = await answer else {
                Issue.record("a stopped resolver answers")
                return
            }
            #expect(failure.kind == .overloaded)
        }
    }

    @Test(arguments: [
        "", ".", "a..b", ".a", "a b", "a\u{0}b", "a\\.b", "ü.example",
        String(repeating: "a", count: 64) + ".example",
        String(repeating: "a.", count: 126) + "ab",
    ])
    func `what is no name is no domain, without a question`(name: String) async throws {
        try await self.with([]) { resolver, _ in
            #expect(await self.mx(resolver, name) == .noDomain)
            #expect(await self.addresses(resolver, name) == .noDomain)
        }
    }

    @Test func `names may be as long as the DNS allows, and end in a dot`() {
        let label = String(repeating: "a", count: 63)
        #expect(DNSName.canBeAsked(label + ".example."))
        let longest = String(repeating: "a.", count: 126) + "a"
        #expect(longest.utf8.count == 253)
        #expect(DNSName.canBeAsked(longest))
        #expect(!DNSName.canBeAsked(longest + "a"))
    }

    @Test func `names for tests are asked of the server, localhost is not`() async throws {
        let zone: [(String, UInt16, DNSServer.Reply)] = [
            ("mail.test", DNSServer.a, .records([.a("192.0.2.9")]))
        ]
        try await self.with(zone) { resolver, server in
            let address = try #require(IPAddress("192.0.2.9"))
            #expect(
                await self.addresses(resolver, "mail.test", ipv6: false)
                    == .addresses([address], secure: false))
            let own = try #require(IPAddress("127.0.0.1"))
            #expect(
                await self.addresses(resolver, "localhost", ipv6: false)
                    == .addresses([own], secure: false))
            #expect(server.count("localhost", DNSServer.a) == 0)
        }
    }

    @Test func `a server that is no address is refused with the setting's name`() {
        var configuration = Resolver.Configuration()
        configuration.servers = ["dns.example"]
        let error = #expect(throws: ResolverError.self) { try Resolver(configuration) }
        #expect(error?.label == "resolver_server")
        #expect(error?.detail.contains("dns.servers \"dns.example\"") == true)
        configuration.servers = []
        configuration.trustAnchor = "/nowhere/anchors"
        let other = #expect(throws: ResolverError.self) { try Resolver(configuration) }
        #expect(other?.label == "resolver_trust_anchor")
        #expect(other?.detail.contains("/nowhere/anchors") == true)
    }

    @Test func `the system's own servers and hosts file make a resolver`() throws {
        let resolver = try Resolver(Resolver.Configuration())
        resolver.shutdown()
        resolver.shutdown()
    }

    @Test func `answers are remembered up to their end and up to the limit`() {
        var table = AnswerTable<Int>(limit: 2)
        let end = Instant(nanoseconds: 100)
        table.store("a", 1, until: end)
        #expect(table.find("a", at: Instant(nanoseconds: 99)) == 1)
        #expect(table.find("a", at: end) == nil)
        table.store("b", 2, until: end)
        table.store("a", 3, until: end)
        #expect(table.count == 2)
        table.store("c", 4, until: end)
        #expect(table.count == 1)
        #expect(table.find("c", at: .zero) == 4)
    }

    @Test(
        arguments: [
            ([0], ""), ([1, 0x41, 1, 0x62, 0], "a.b"), ([1, 0x2D, 0], "-"),
            // No end, a label over the end, a dot inside, a control character, a pointer.
            ([1, 0x41], nil), ([5, 0x41, 0], nil), ([1, 0x2E, 0], nil), ([1, 0x0A, 0], nil),
            ([0xC0, 0x0C], nil), ([], nil),
        ] as [([UInt8], String?)])
    func `names in records are read with care`(wire: [UInt8], text: String?) {
        #expect(wire.withUnsafeBytes { DNSName.text($0) } == text)
    }
}
