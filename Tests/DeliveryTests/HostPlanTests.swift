import Delivery
import Networking
import Primitives
import SMTP
import Settings
import Testing

@Suite("Host plan, RFC 5321 §5.1, RFC 7505")
struct HostPlanTests {
    private static let us = Ourselves(
        names: ["Relay.example"], endpoints: [(IPAddress("192.0.2.99")!, 25)])

    private static func plan(
        _ answer: MXAnswer, domain: String = "d.example", seed: UInt64 = 1
    ) -> HostPlan {
        var dice = Generator(seed: seed)
        return HostPlan(
            domain: domain, port: 25, answer: answer, ourselves: self.us, dice: &dice)
    }

    private static func result(
        _ plan: HostPlan, _ answers: [AddressAnswer], ipv6: Bool = true
    ) -> HostPlanResult {
        var dice = Generator(seed: 1)
        return plan.result(answers, ourselves: self.us, ipv6: ipv6, dice: &dice)
    }

    private static func records(_ pairs: [(UInt16, String)]) -> MXAnswer {
        .records(pairs.map { MXRecord(preference: $0.0, host: $0.1) }, secure: false)
    }

    private static func addresses(_ texts: String...) -> AddressAnswer {
        .addresses(texts.map { IPAddress($0)! }, secure: false)
    }

    private static func code(_ result: HostPlanResult?) -> EnhancedCode? {
        switch result {
        case .failed(let reply), .deferred(let reply): reply.enhanced
        case .hosts, nil: nil
        }
    }

    @Test func `exchangers by preference`() {
        let plan = Self.plan(Self.records([(30, "c"), (10, "a"), (20, "b")]))
        #expect(plan.exchangers.map { $0.host } == ["a", "b", "c"])
        let hosts = Self.result(
            plan, [Self.addresses("192.0.2.1"), Self.addresses("192.0.2.2"), .noDomain])
        #expect(
            hosts
                == .hosts([
                    PlannedHost(
                        name: "a", address: IPAddress("192.0.2.1")!, port: 25, preference: 10),
                    PlannedHost(
                        name: "b", address: IPAddress("192.0.2.2")!, port: 25, preference: 20),
                ]))
    }

    @Test func `equal preferences are mixed, others stay in order`() {
        var first: [String: Int] = [:]
        for seed in 0..<400 {
            let plan = Self.plan(
                Self.records([(10, "a"), (20, "z"), (10, "b")]), seed: UInt64(seed))
            #expect(plan.exchangers.last?.host == "z")
            first[plan.exchangers[0].host, default: 0] += 1
        }
        #expect(first["a", default: 0] > 150 && first["b", default: 0] > 150)
    }

    @Test func `no MX: the domain's own address`() {
        let plan = Self.plan(.noRecords)
        #expect(plan.exchangers == [MXRecord(preference: 0, host: "d.example")])
        #expect(Self.code(Self.result(plan, [.noDomain])) == EnhancedCode(5, 1, 2))
        #expect(Self.code(Self.result(plan, [.noRecords])) == EnhancedCode(5, 4, 4))
    }

    @Test func `null MX, no such domain, failure of the DNS`() {
        #expect(Self.code(Self.plan(.null).verdict) == EnhancedCode(5, 1, 10))
        #expect(Self.code(Self.plan(.noDomain).verdict) == EnhancedCode(5, 1, 2))
        let failed = Self.plan(.failed(DNSFailure(.server, "SERVFAIL")))
        guard case .deferred(let reply)? = failed.verdict else {
            Issue.record("\(failed)")
            return
        }
        #expect(reply.enhanced == EnhancedCode(4, 4, 3))
    }

    @Test func `an exchanger that is an address is left out, with a reason`() {
        let plan = Self.plan(Self.records([(10, "192.0.2.7"), (20, "b")]))
        #expect(plan.exchangers.map { $0.host } == ["b"])
        #expect(plan.ignored == ["192.0.2.7: an address, not a name"])
        #expect(Self.code(Self.plan(Self.records([(10, "::1")])).verdict) == EnhancedCode(5, 4, 4))
    }

    @Test func `ourselves by name: we and all less preferred are left out`() {
        let plan = Self.plan(
            Self.records([(10, "a"), (20, "relay.example"), (20, "b"), (30, "c")]))
        #expect(plan.exchangers.map { $0.host } == ["a"])
        let only = Self.plan(Self.records([(10, "relay.example"), (30, "c")]))
        #expect(Self.code(only.verdict) == EnhancedCode(5, 4, 6))
    }

    @Test func `ourselves by address, of a port that we listen on`() {
        let plan = Self.plan(Self.records([(10, "a"), (20, "b"), (30, "c")]))
        let hosts = Self.result(
            plan,
            [
                Self.addresses("192.0.2.1"), Self.addresses("192.0.2.2", "192.0.2.99"),
                Self.addresses("192.0.2.3"),
            ])
        guard case .hosts(let list) = hosts else {
            Issue.record("\(hosts)")
            return
        }
        #expect(list.map { $0.name } == ["a"])
        let loop = Self.result(Self.plan(.noRecords), [Self.addresses("192.0.2.99")])
        #expect(Self.code(loop) == EnhancedCode(5, 4, 6))
    }

    @Test func `an unspecified listener stands for loopback and this machine's addresses`() {
        let us = Ourselves(
            names: [], endpoints: [(IPAddress("0.0.0.0")!, 25)], local: [IPAddress("10.0.0.1")!])
        #expect(us.isEndpoint(IPAddress("10.0.0.1")!, port: 25))
        #expect(us.isEndpoint(IPAddress("127.0.0.1")!, port: 25))
        #expect(!us.isEndpoint(IPAddress("127.0.0.1")!, port: 2525))
        #expect(!us.isEndpoint(IPAddress("10.0.0.2")!, port: 25))
    }

    @Test func `families take turns; without ipv6 there is only v4`() {
        let plan = Self.plan(Self.records([(10, "a")]))
        let answer = Self.addresses("2001:db8::1", "2001:db8::2", "192.0.2.1")
        guard case .hosts(let both) = Self.result(plan, [answer]),
            case .hosts(let v4) = Self.result(plan, [answer], ipv6: false)
        else {
            Issue.record("no hosts")
            return
        }
        #expect(both.map { $0.address.isV4 } == [false, true, false])
        #expect(v4.map { $0.address.description } == ["192.0.2.1"])
        #expect(
            Self.code(Self.result(plan, [Self.addresses("2001:db8::1")], ipv6: false))
                == EnhancedCode(5, 4, 4))
    }

    @Test func `a host that cannot be looked up now leaves the plan open, if there is no other`() {
        let plan = Self.plan(Self.records([(10, "a"), (20, "b")]))
        let failed = AddressAnswer.failed(DNSFailure(.timeout, "no answer"))
        #expect(Self.code(Self.result(plan, [failed, .noDomain])) == EnhancedCode(4, 4, 3))
        guard case .hosts(let hosts) = Self.result(plan, [failed, Self.addresses("192.0.2.1")])
        else {
            Issue.record("no hosts")
            return
        }
        #expect(hosts.map { $0.name } == ["b"])
        #expect(Self.code(Self.result(plan, [.noDomain, .noDomain])) == EnhancedCode(5, 4, 4))
    }

    @Test func `a hundred exchangers: so many are looked up, so many addresses tried`() {
        let many = (0..<100).map { (UInt16($0), "h\($0)") }
        let plan = Self.plan(Self.records(many))
        #expect(plan.exchangers.map { $0.host } == (0..<HostPlan.Limit.exchangers).map { "h\($0)" })
        let answers = (0..<HostPlan.Limit.exchangers).map { host in
            AddressAnswer.addresses(
                (0..<10).map { IPAddress(v4: UInt32(host * 256 + $0 + 0x0A00_0000)) }, secure: false
            )
        }
        guard case .hosts(let hosts) = Self.result(plan, answers) else {
            Issue.record("no hosts")
            return
        }
        #expect(hosts.count == HostPlan.Limit.addresses)
        #expect(hosts.filter { $0.name == "h0" }.count == HostPlan.Limit.addressesPerExchanger)
    }
}

@Suite("Routing")
struct RoutingTests {
    private static func routing(_ routes: [Settings.Route] = []) -> Routing {
        var settings = Settings()
        settings.node.hostname = "relay.example"
        settings.routes = routes
        settings.delivery.source = ["192.0.2.1", "2001:db8::1"]
        return Routing(settings, ourselves: Ourselves(names: []))
    }

    @Test(arguments: [
        ("[192.0.2.7]", "192.0.2.7"), ("[IPv6:2001:db8::7]", "2001:db8::7"),
        ("[ipv6:::1]", "::1"),
    ])
    func `an address literal needs no MX`(domain: String, address: String) {
        let way = Self.routing().way(to: domain)
        #expect(way.target == .address(IPAddress(address)!, port: 25))
        #expect(way.manners == HostManners())
    }

    @Test func `a route by name, by literal, by address; its TLS and its password`() {
        var route = Settings.Route()
        route.domains = ["d.example"]
        route.via = Endpoint(host: "Hub.example", port: 2525)
        route.scheme = .smtps
        route.tls = .verify
        route.user = "joe"
        route.password = "secret"
        let way = Self.routing([route]).way(to: "d.example")
        #expect(way.target == .host("hub.example", port: 2525))
        #expect(way.manners.beginsWithTLS && way.manners.tls == .verify)
        #expect(way.manners.credentials == .init(user: "joe", password: "secret"))
        for host in ["[192.0.2.7]", "192.0.2.7"] {
            route.via.host = host
            #expect(
                Self.routing([route]).way(to: "d.example").target
                    == .address(IPAddress("192.0.2.7")!, port: 2525))
        }
        #expect(
            Self.routing([route]).way(to: "other.example").target
                == .domain("other.example", port: 25))
    }

    @Test func `the source is of the host's family`() {
        let routing = Self.routing()
        #expect(routing.source(for: IPAddress("198.51.100.1")!)?.description == "192.0.2.1")
        #expect(routing.source(for: IPAddress("2001:db8::9")!)?.description == "2001:db8::1")
    }
}
