import Synchronization
import Testing

@Suite("posthouse cluster")
struct ClusterCommandTests {
    static func status(_ health: String, queue: Bool = true) -> String {
        """
        {"schema":"posthouse.cluster/1","status":"\(health)","can_lose":0,"leader":"a","term":"4",\
        "name":"","nodes":[{"name":"a","role":"voter","state":"ready","leader":true,"lag":0,\
        "applied":9182734,"leases":3,"sessions":{"in":2,"out":1},"disk_free_ratio":0.714,"seen_ms":0}],\
        "queue":\(queue ? "{\"messages\":18204,\"recipients\":18300,\"due\":212,\"leased\":3,\"deferred\":17000,\"held\":9,\"stored_bytes\":1130000000,\"original_bytes\":3800000000,\"oldest_seconds\":2460}" : "null"),\
        "rates":{"accepted":238.2,"delivered":9.04,"deferred":0,"bounced":0.4},"possible_duplicates":1,"alarms":[]}
        """
    }

    @Test func `status is a page for people`() {
        let node = FakeNode { _ in .init(status: 200, body: Self.status("healthy")) }
        let outcome = run("cluster", "status", "--server", node.url)
        #expect(outcome.status == 0 && outcome.messages == [])
        #expect(
            outcome.out == """
                Cluster  of one   HEALTHY   can lose 0 more
                Leader   a   term 4
                Queue    18,204 messages to 18,300 recipients   1.1 GB stored   oldest 41m
                         due 212   leased 3   deferred 17,000   held 9
                Traffic  accepted 238/s   delivered 9.0/s   deferred 0/s   \
                bounced 0.4/s   (last 60 s)
                Possible duplicates: 1

                NODE  ROLE   STATE  LAG    APPLIED  LEASES  IN  OUT  DISK FREE  SEEN
                L a   voter  ready    0  9,182,734       3   2    1        71%   now
                Alarms: none

                """)
    }

    @Test func `status without quorum or queue still answers`() {
        let node = FakeNode { _ in .init(status: 200, body: Self.status("no_quorum", queue: false))
        }
        let outcome = run("cluster", "status", "--local", "--server", node.url)
        #expect(outcome.status == 11 && outcome.out.contains("NO QUORUM"))
        #expect(outcome.out.contains("Queue    not known yet: catching up\n"))
        let json = run("cluster", "status", "-o", "json", "--server", node.url)
        #expect(json.status == 11 && json.out == Self.status("no_quorum", queue: false) + "\n")
    }

    @Test(arguments: [("healthy", 0), ("degraded", 10), ("no_quorum", 11)])
    func `health is one line and the exit code`(health: String, code: Int32) {
        let node = FakeNode { _ in .init(status: 200, body: Self.status(health)) }
        let outcome = run("cluster", "health", "--server", node.url)
        #expect(outcome == Outcome(status: code, out: "\(health), can lose 0 more\n", messages: []))
        let json = run("cluster", "health", "-o", "json", "--server", node.url)
        #expect(
            json.out
                == "{\"schema\":\"posthouse.health/1\",\"status\":\"\(health)\",\"can_lose\":0,"
                + "\"quorum\":\(health != "no_quorum"),\"leader\":\"a\"}\n")
    }

    @Test func `health --wait ends as soon as it is healthy`() {
        let count = Atomic<Int>(0)
        let node = FakeNode { _ in
            let seen = count.wrappingAdd(1, ordering: .relaxed).newValue
            return .init(status: 200, body: Self.status(seen < 3 ? "degraded" : "healthy"))
        }
        let outcome = run("cluster", "health", "--wait", "60s", "--server", node.url)
        #expect(outcome.status == 0 && node.requests.count == 3)
    }

    @Test func `health without a node is 69`() {
        let node = FakeNode { _ in .init(status: 200, body: "") }
        let port = node.port
        node.stop()
        #expect(run("cluster", "health", "--server", "http://127.0.0.1:\(port)").status == 69)
    }
}
