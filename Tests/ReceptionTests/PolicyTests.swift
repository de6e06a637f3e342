import OpenSSL
import Primitives
import SMTP
import Settings
import Testing

@testable import Reception

@Suite("Who may send what to whom")
struct PolicyTests {
    private func decide(
        _ address: String, mayRelay: Bool = false, _ change: (inout Settings) -> Void = { _ in }
    ) -> ReceptionPolicy.Decision {
        ReceptionPolicy(Desk.settings(change), users: nil)
            .decide(Recipient(address: address), mayRelay: mayRelay)
    }

    @Test func `from outside only our domains are accepted`() {
        #expect(self.decide("a@ours.example") == .accept)
        #expect(self.decide("a@x.sub.example") == .accept)
        #expect(self.decide("a@x.y.sub.example") == .accept)
        for foreign in [
            "a@sub.example", "a@xours.example", "a@ours.example.org", "a@x.ours.example",
            "a@[192.0.2.1]", "\"a@ours.example\"@other.example", "a%ours.example@other.example",
        ] {
            #expect(self.decide(foreign) == .refuse(.relayDenied), "\(foreign)")
        }
        #expect(self.decide("postmaster") == .accept)
    }

    @Test func `without domains of ours nobody from outside relays`() {
        #expect(self.decide("a@ours.example") { $0.relay.domains = [] } == .refuse(.relayDenied))
        #expect(self.decide("a@any.example") { $0.relay.domains = ["*"] } == .accept)
    }

    @Test func `who may relay may send anywhere`() {
        #expect(self.decide("a@other.example", mayRelay: true) == .accept)
        let policy = ReceptionPolicy(Desk.settings(), users: nil)
        for (text, isTrusted) in [
            ("127.0.0.1", true), ("127.9.9.9", true), ("::1", true), ("::ffff:127.0.0.1", true),
            ("192.0.2.1", false), ("::2", false), ("0.0.0.0", false),
        ] {
            #expect(IPAddress(text).map { policy.isTrusted(Caller($0)) } == isTrusted)
        }
    }

    @Test func `routes decide who is asked`() {
        func with(_ verify: Settings.Route.Verify?) -> (inout Settings) -> Void {
            { settings in
                var route = Settings.Route()
                route.domains = ["ours.example", "other.example"]
                route.via = Endpoint(host: "10.0.0.1", port: 25)
                route.verify = verify
                settings.routes = [route]
            }
        }
        #expect(self.decide("a@ours.example", with(nil)) == .verify)
        #expect(self.decide("a@ours.example", mayRelay: true, with(nil)) == .accept)
        #expect(self.decide("a@ours.example", with(Settings.Route.Verify.none)) == .accept)
        #expect(self.decide("a@other.example", mayRelay: true, with(.rcpt)) == .verify)
        #expect(self.decide("a@other.example", with(.rcpt)) == .refuse(.relayDenied))
    }
}

@Suite("Ledger")
struct LedgerTests {
    private let home = IPAddress("192.0.2.7")!
    private let now = Instant(nanoseconds: 1_000_000_000_000)

    @Test func `an address may fail so often, then no more until the window is over`() {
        let ledger = Ledger()
        for _ in 0..<(Ledger.Limit.authFailuresPerAddress) {
            #expect(ledger.obstacle(user: "u", from: self.home, at: self.now) == nil)
            ledger.noteFailure(user: "u", from: self.home, at: self.now)
        }
        #expect(ledger.obstacle(user: "v", from: self.home, at: self.now) == .address)
        let later = self.now + Ledger.Limit.authWindow
        #expect(
            ledger.obstacle(user: "u", from: self.home, at: later - .nanoseconds(1)) == .address)
        #expect(ledger.obstacle(user: "u", from: self.home, at: later) == nil)
    }

    @Test func `a user may fail so often, from wherever`() {
        let ledger = Ledger()
        for i in 0..<Ledger.Limit.authFailuresPerUser {
            let from = IPAddress(v4: UInt32(i))
            #expect(ledger.obstacle(user: "u", from: from, at: self.now) == nil)
            ledger.noteFailure(user: "u", from: from, at: self.now)
        }
        #expect(ledger.obstacle(user: "u", from: self.home, at: self.now) == .user)
        #expect(ledger.obstacle(user: "v", from: self.home, at: self.now) == nil)
    }

    @Test func `a user may send so many messages an hour`() {
        let ledger = Ledger()
        for _ in 0..<3 {
            #expect(ledger.maySend("u", limit: 3, at: self.now))
            ledger.noteMessage("u", at: self.now)
        }
        #expect(!ledger.maySend("u", limit: 3, at: self.now))
        #expect(ledger.maySend("v", limit: 3, at: self.now))
        #expect(ledger.maySend("u", limit: 3, at: self.now + .seconds(3600)))
    }

    @Test func `addresses of one IPv6 network count together`() {
        let ledger = Ledger()
        let a = IPAddress("2001:db8::1")!
        let b = IPAddress("2001:db8::2")!
        let c = IPAddress("2001:db8:0:1::1")!
        #expect(ledger.open(a, total: 10, perAddress: 1))
        #expect(!ledger.open(b, total: 10, perAddress: 1))
        #expect(ledger.open(c, total: 10, perAddress: 1))
        ledger.close(a)
        #expect(ledger.open(b, total: 10, perAddress: 1))
        #expect(ledger.sessions == 2)
    }
}
