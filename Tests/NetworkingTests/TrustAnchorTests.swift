import NIOCore
import NIOPosix
import Primitives
import Testing

@testable import Networking

/// The zone signed.example with one key (ECDSA P-256, RFC 6605), signed from 2017 to 2080.
private enum SignedZone {
    static let anchor =
        "signed.example. IN DS 35360 13 2 "
        + "ba87e24d8a4d241cc494190d3719f969b5f1f67dfedc515e59b94ff30293a284\n"
    static let key = bytes(
        "0101030d4776ed4b7ab68d678dd790d819adaccd7c265ffc1b41096e6e4f51d92e2261b4ac472a095aad"
            + "db6fc3d5b07a1409e8ef29e7d9eb0a381bec7a4265614a84415f")
    static let keySignature = bytes(
        "00300d020000012cd09dc30059682f008a20067369676e6564076578616d706c65008a6f31711b24a671"
            + "181d265845830f991e97ff5f475f65a9e2d726a2cd6e2d17bbec7c69cd8f2e1b467f0883b5d6ea58067a"
            + "e55826fb41be2651a484ea1652b7")
    /// Of `MX 10 mail.example` at signed.example.
    static let exchangerSignature = bytes(
        "000f0d020000012cd09dc30059682f008a20067369676e6564076578616d706c6500ff15a5b07b686bbe"
            + "40f6d844c145f0e38841f8a3e4e5a29d724a129846b97bc7b2dc6402d6857a5ea2d8183f8e0699343325"
            + "833d4344ae29fb6eefd4bff54aae")
    /// Of `MX 10 mail.example` at forged.signed.example.
    static let otherSignature = bytes(
        "000f0d030000012cd09dc30059682f008a20067369676e6564076578616d706c6500f4b2963467511890"
            + "c585b27a34c02a5e5db950953f9dfa58a4724bf3720cab038786baf70e43164980d7b3ec21d68ec6fa96"
            + "c7f4b6c2faaa41b8cd9c6af997d4")

    private static func bytes(_ hex: String) -> [UInt8] {
        let digits = hex.utf8.map { UInt8($0 < 0x3A ? $0 - 0x30 : $0 - 0x57) }
        return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }
}

@Suite("Resolver with a trust anchor, RFC 4035", .timeLimit(.minutes(1)))
struct TrustAnchorTests {
    private static let loop = MultiThreadedEventLoopGroup.singleton.next()
    private static let dnskey: UInt16 = 48
    private static let rrsig: UInt16 = 46

    /// What a resolver that trusts the zone's key makes of the zone.
    private func mx(
        _ names: [String], _ zone: [(String, UInt16, DNSServer.Reply)]
    ) async throws -> [MXAnswer] {
        let files = try Files()
        let server = try await DNSServer(zone)
        var configuration = Networking.Resolver.Configuration()
        configuration.servers = ["127.0.0.1@\(server.port)"]
        configuration.readsHosts = false
        configuration.trustAnchor = try files.write("anchor", SignedZone.anchor)
        let resolver = try Networking.Resolver(configuration)
        var answers: [MXAnswer] = []
        for name in names {
            answers.append(
                await withCheckedContinuation { continuation in
                    resolver.mx(name, on: Self.loop) { continuation.resume(returning: $0) }
                })
        }
        resolver.shutdown()
        try await server.stop()
        return answers
    }

    private let host = MXRecord(preference: 10, host: "mail.example")
    private let keys = DNSServer.Reply.records([
        .raw(Self.dnskey, SignedZone.key), .raw(Self.rrsig, SignedZone.keySignature),
    ])

    @Test func `a good signature makes an answer secure, a bad one makes it bogus`() async throws {
        let answers = try await self.mx(
            ["signed.example", "forged.signed.example", "elsewhere.example"],
            [
                ("signed.example", Self.dnskey, self.keys),
                (
                    "signed.example", DNSServer.mx,
                    .records([
                        .mx(10, "mail.example"), .raw(Self.rrsig, SignedZone.exchangerSignature),
                    ])
                ),
                (
                    "forged.signed.example", DNSServer.mx,
                    .records([
                        .mx(10, "evil.example"), .raw(Self.rrsig, SignedZone.otherSignature),
                    ])
                ),
                ("elsewhere.example", DNSServer.mx, .records([.mx(10, "mail.example")])),
            ])
        #expect(answers[0] == .records([self.host], secure: true))
        guard case .failed(let failure) = answers[1] else {
            Issue.record("a forged answer is believed")
            return
        }
        #expect(failure.kind == .bogus)
        #expect(failure.label == "dns_bogus")
        #expect(answers[2] == .records([self.host], secure: false))
    }

    @Test func `where a server strips all signatures the zone is insecure, not bogus`()
        async throws
    {
        let answers = try await self.mx(
            ["signed.example"],
            [("signed.example", DNSServer.mx, .records([.mx(10, "mail.example")]))])
        #expect(answers == [.records([self.host], secure: false)])
    }
}
