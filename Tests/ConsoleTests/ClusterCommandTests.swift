import Synchronization
import Testing

@Suite("posthouse cluster")
struct ClusterCommandTests {
    static func status(_ health: String, queue: Bool = true) -> String {
        """
        {"schema":"posthouse.cluster/1","status":"\(health)","can_lose":0,"leader":"a","term":"4",\
        "name":"","nodes":[{"name":"a","role":"voter","state":"ready","leader":true,"lag":0,\
        "applied":9182734,"leases":3,"sessions":{"in":2,"out":1},"disk_free_ratio":0.714,"seen_ms":0,"address":"10.0.0.1:7650"}],\
        "queue":\(queue ? "{\"messages\":18204,\"recipients\":18300,\"due\":212,\"leased\":3,\"deferred\":17000,\"held\":9,\"stored_bytes\":1130000000,\"original_bytes\":3800000000,\"oldest_seconds\":2460}" : "null"),\
        "rates":{"accepted":238.2,"delivered":9.04,"deferred":0,"bounced":0.4},"possible_duplicates":1,"alarms":[],"node":"a"}
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

                   NODE  ADDRESS        ROLE   STATE  LAG    APPLIED  LEASES  CONNS IN/OUT  \
                DISK FREE  SEEN
                *L a     10.0.0.1:7650  voter  ready    0  9,182,734       3         2 / 1  \
                      71%   now
                  (* this node, L leader)   Alarms: none

                """)
    }

    @Test func `status without quorum or queue still answers`() {
        let node = FakeNode { _ in .init(status: 200, body: Self.status("no_quorum", queue: false))
        }
        let outcome = run("cluster", "status", "--local", "--server", node.url)
        #expect(outcome.status == 11 && outcome.out.contains("NO QUORUM"))
        let later = FakeNode { _ in
            .init(status: 200, body: Self.status("degraded", queue: false))
        }
        let degraded = run("cluster", "status", "--server", later.url)
        #expect(degraded.status == 0)
        #expect(degraded.out.contains("Queue    not known yet: catching up\n"))
        let json = run("cluster", "status", "-o", "json", "--server", node.url)
        #expect(json.status == 11 && json.out == Self.status("no_quorum", queue: false) + "\n")
    }

    @Test func `without quorum the page says who is missing and what to do next`() {
        let body = """
            {"status":"no_quorum","name":"mail-prod","node":"a","nodes":[\
            {"name":"a","role":"voter","state":"ready","seen_ms":0,"address":"10.0.0.1:7650"},\
            {"name":"b","role":"voter","state":"unreachable","seen_ms":94000,\
            "address":"10.0.0.2:7650","last_error":"connection refused"},\
            {"name":"d","role":"worker","state":"unreachable","seen_ms":187200000}],\
            "local":{"applied":12,"committed":13,"voters":3,"voters_reachable":1,\
            "leaderless_ms":94000}}
            """
        let node = FakeNode { _ in .init(status: 200, body: body) }
        let outcome = run("cluster", "status", "--local", "--server", node.url)
        #expect(outcome.status == 11 && outcome.messages == [])
        #expect(
            outcome.out == """
                Cluster  mail-prod   NO QUORUM   2 of 3 voters needed, 1 reachable   \
                (local view of a, no leader for 1m 34s)

                   NODE  ADDRESS        ROLE    STATE        LAST SEEN  LAST ERROR
                *  a     10.0.0.1:7650  voter   ready        now        -
                   b     10.0.0.2:7650  voter   unreachable  1m 34s     connection refused
                   d     -              worker  unreachable  2d 4h      -
                New mail is answered 451 4.3.2. Accepted mail is safe on this disk: \
                applied 12, committed 13.
                Next: start b
                Next: if their disks can be had, start them elsewhere with the same node.name
                Next: if they are gone for good, the cluster cannot go on by itself: \
                keep this data directory

                """)
    }

    @Test func `before there is a cluster the page says what the node waits for`() {
        let body = """
            {"status":"no_quorum","name":"mail","node":"a","nodes":[\
            {"name":"a","role":"voter","state":"starting","seen_ms":0}],\
            "local":{"voters":0,"waits_for":"waits for all seeds; missing: b (not reached)"}}
            """
        let node = FakeNode { _ in .init(status: 200, body: body) }
        let outcome = run("cluster", "status", "--server", node.url)
        #expect(outcome.status == 11)
        #expect(
            outcome.out == """
                Cluster  mail   NO QUORUM   not founded yet   (local view of a)

                   NODE  ADDRESS  ROLE   STATE     LAST SEEN  LAST ERROR
                *  a     -        voter  starting  now        -
                This node waits for all seeds; missing: b (not reached).
                Next: start all nodes of cluster.seeds, with equal lists

                """)
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
                + "\"quorum\":\(health != "no_quorum"),\"leader\":\"a\","
                + "\"reasons\":[],\"notes\":[]}\n")
    }

    private static func line(_ label: String, _ text: String) -> String {
        "{\"label\":\"\(label)\",\"node\":\"b\",\"sentence\":\"\(text)\",\"remedy\":\"do \(text)\"}"
    }

    private static func degraded(_ reasons: [String], notes: [String] = []) -> String {
        self.status("degraded").replacing(
            "\"alarms\":[]",
            with: "\"alarms\":[],\"reasons\":[\(reasons.joined(separator: ","))],"
                + "\"notes\":[\(notes.joined(separator: ","))]")
    }

    @Test func `the page says first why it is degraded and what to do, and last what is of note`() {
        let body = Self.degraded(
            [Self.line("voter_unreachable", "x"), Self.line("alarm_disk", "y\\u001b")],
            notes: [Self.line("settings_differ", "z")])
        let node = FakeNode { _ in .init(status: 200, body: body) }
        let outcome = run("cluster", "status", "--server", node.url)
        #expect(outcome.status == 0 && outcome.messages == [])
        #expect(
            outcome.out.hasPrefix(
                """
                Cluster  of one   DEGRADED   can lose 0 more
                Why      x
                Next     do x
                Why      y?
                Next     do y?
                Leader   a   term 4

                """))
        #expect(outcome.out.hasSuffix("Alarms: none\n  Note: z\n  Next: do z\n"))
    }

    @Test func `health tells its reasons in its one line, three of them at most`() {
        var lines = ["x", "y", "z"].map { Self.line("alarm", $0) }
        let three = FakeNode { [lines] _ in .init(status: 200, body: Self.degraded(lines)) }
        let told =
            "degraded, can lose 0 more: x (next: do x); y (next: do y); z (next: do z)"
        #expect(
            run("cluster", "health", "--server", three.url)
                == Outcome(status: 10, out: told + "\n", messages: []))
        lines.append(Self.line("alarm", "w"))
        let four = FakeNode { [lines] _ in .init(status: 200, body: Self.degraded(lines)) }
        #expect(
            run("cluster", "health", "--server", four.url).out
                == told + "; and 1 more (posthouse cluster status)\n")
        let json = run("cluster", "health", "-o", "json", "--server", four.url)
        #expect(json.status == 10)
        #expect(
            json.out.contains("\"reasons\":[\(lines.joined(separator: ","))],\"notes\":[]"))
        // A note is no reason.
        let noted = FakeNode { _ in
            .init(status: 200, body: Self.degraded([], notes: [Self.line("behind", "x")]))
        }
        #expect(
            run("cluster", "health", "--server", noted.url).out == "degraded, can lose 0 more\n")
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

@Suite("posthouse cluster drain, remove and the like")
struct ClusterChangeTests {
    static func progress(
        _ node: String = "c", done: Bool, sessions: Int = 0, leases: Int = 0, lost: Int = 0,
        leads: Bool = false
    ) -> FakeNode.Answer {
        let lostMessages = (0..<lost).map { "\"1-\($0)\"" }.joined(separator: ",")
        return .init(
            status: 200,
            body: """
                {"schema":"posthouse.change/1","verb":"x","node":"\(node)","done":\(done),\
                "leader":\(leads),"sessions_in":\(sessions),"leases":\(leases),"below":\(lost),\
                "lost":\(lost),"lost_messages":[\(lostMessages)],"can_lose":1}
                """)
    }

    private func error(_ status: Int, _ word: String, _ reason: String) -> FakeNode.Answer {
        .init(
            status: status,
            body:
                "{\"schema\":\"posthouse.error/1\",\"error\":\"\(word)\",\"reason\":\"\(reason)\"}")
    }

    @Test func `drain asks until it is done, and says how far it is on standard error`() {
        let count = Atomic<Int>(0)
        let node = FakeNode { _ in
            let seen = count.wrappingAdd(1, ordering: .relaxed).newValue
            if seen == 2 { return self.error(503, "no_quorum", "the cluster has no quorum") }
            return Self.progress(
                done: seen == 4, sessions: 4 - seen, leases: 44 / seen, leads: seen == 1)
        }
        let outcome = run("cluster", "drain", "c", "--server", node.url)
        #expect(outcome.status == 0)
        #expect(
            outcome.messages == [
                "c: sessions 3, leases 44, leads", "c: sessions 1, leases 14",
            ])
        #expect(
            outcome.out
                == "c: drained. Without it the cluster has no work there; now it can lose "
                + "1 more node.\n")
        #expect(node.requests.map(\.line).allSatisfy { $0 == "POST /v1/cluster/drain HTTP/1.1" })
        #expect(
            node.requests.first?.body == "{\"node\":\"c\",\"force_dead\":false,\"dry_run\":false}")
    }

    @Test func `who is chosen to lead stays the one that is asked for`() {
        let node = FakeNode { request in
            Self.progress("b", done: request.body.contains("\"node\":\"b\""))
        }
        let outcome = run("cluster", "transfer-leader", "--server", node.url)
        #expect(outcome.status == 0 && outcome.out == "b: leads\n")
        #expect(node.requests.count == 2)
        #expect(node.requests[0].body.contains("\"node\":null"))
    }

    @Test func `what is not done in time is 75, with the numbers`() {
        let node = FakeNode { _ in Self.progress(done: false, leases: 3, lost: 2) }
        let outcome = run(
            "cluster", "remove", "c", "--timeout", "0s", "--server", node.url, now: .real)
        #expect(outcome.status == 75 && outcome.out == "")
        #expect(
            outcome.messages.last
                == "posthouse: not done in now: c: sessions 0, leases 3, with too few copies elsewhere 2, "
                + "without another copy 2")
    }

    @Test(arguments: [(409, "conflict", 75), (503, "no_quorum", 11), (404, "no_such_node", 66)])
    func `a refusal is told with its reason and its exit code`(
        status: Int, word: String, code: Int32
    ) {
        let node = FakeNode { _ in self.error(status, word, "because") }
        for verb in ["drain", "undrain", "remove", "transfer-leader", "promote", "demote"] {
            let outcome = run("cluster", verb, "c", "--server", node.url)
            #expect(outcome == Outcome(status: code, out: "", messages: ["posthouse: because"]))
        }
    }

    @Test func `a dead node is removed by force only with --yes, and what is lost is listed`() {
        let node = FakeNode { _ in Self.progress(done: true, lost: 2) }
        let refused = run("cluster", "remove", "c", "--force-dead", "--server", node.url)
        #expect(refused.status == 77 && refused.out == "lost 1-0\nlost 1-1\n")
        #expect(node.requests.count == 1)
        #expect(
            node.requests[0].body == "{\"node\":\"c\",\"force_dead\":true,\"dry_run\":true}")
        let no = run("cluster", "remove", "c", "--force-dead", "--server", node.url, typed: ["n"])
        #expect(no.status == 77)
        let yes = run("cluster", "remove", "c", "--force-dead", "--yes", "--server", node.url)
        #expect(
            yes.status == 0 && yes.out.hasSuffix("c: removed. The cluster can lose 1 more node.\n"))
        #expect(
            node.requests.last?.body
                == "{\"node\":\"c\",\"force_dead\":true,\"dry_run\":false}")
    }

    @Test func `the last answer is given as JSON, and a name is needed`() {
        let node = FakeNode { _ in Self.progress(done: true) }
        for verb in ["undrain", "promote", "demote", "transfer-leader"] {
            let outcome = run("cluster", verb, "c", "-o", "json", "--server", node.url)
            #expect(outcome.status == 0 && outcome.out == Self.progress(done: true).body + "\n")
        }
        for verb in ["drain", "undrain", "remove", "promote", "demote"] {
            #expect(run("cluster", verb, "--server", node.url).status == 64)
        }
    }
}
