import Testing

@Suite("posthouse queue")
struct QueueCommandTests {
    static let page = """
        {"schema":"posthouse.queue/1","messages":[{"id":"1-2","from":"billing@a.example","size":48213,\
        "accepted_at":"2026-09-04T05:33:30.000Z","deliveries":[{"domain":"corp.example",\
        "recipients":["jo@corp.example","sam@corp.example"],"state":"deferred","attempts":6,\
        "next_attempt":"2026-09-04T08:47:30.000Z","node":null,"last_reply":"421 4.7.0 \\u001b[2J later"}]},\
        {"id":"1-3","from":"","size":9,"accepted_at":"2026-09-04T08:35:30.000Z","deliveries":\
        [{"domain":"b.example","recipients":["x@b.example"],"state":"leased","attempts":0,\
        "next_attempt":null,"node":"a","last_reply":null}]}],"total":2002}
        """
    static let answer =
        "{\"schema\":\"posthouse.action/1\",\"matched\":3,\"changed\":2,\"in_flight\":1}"

    @Test func `list shows one line for each delivery and the total on stderr`() {
        let node = FakeNode { _ in .init(status: 200, body: Self.page) }
        let outcome = run(
            "queue", "list", "--server", node.url, "--domain", "corp.example", "--older", "2h")
        #expect(outcome.status == 0)
        #expect(
            outcome.out == """
                ID     AGE   SIZE  FROM               TO                  STATE     \
                TRIES  NEXT  NODE  LAST REPLY
                1-2  3h 2m  48 KB  billing@a.example  jo@corp.example +1  deferred  \
                    6   12m  -     421 4.7.0 ?[2J later
                1-3    now    9 B  <>                 x@b.example         leased    \
                    0     -  a     -

                """)
        #expect(outcome.messages == ["2 of 2,002 shown"])
        #expect(
            node.requests.map(\.line)
                == ["GET /v1/queue?limit=1000&domain=corp.example&older_ms=7200000 HTTP/1.1"])
    }

    @Test func `list gives the node's JSON as it is`() {
        let node = FakeNode { _ in .init(status: 200, body: Self.page) }
        let outcome = run(
            "queue", "list", "-o", "json", "--server", node.url, "--from", "<>", "--all")
        #expect(
            outcome.out == Self.page + "\n"
                && outcome.messages.isEmpty)
        #expect(node.requests[0].line.hasPrefix("GET /v1/queue?limit=1000&from=&all=true "))
    }

    @Test func `show and cat ask for one message`() {
        let node = FakeNode { request in
            request.line.contains("/body")
                ? .init(status: 200, body: "A: b\r\n\r\nx\r\n")
                : .init(
                    status: 200,
                    body:
                        "{\"schema\":\"posthouse.message/1\",\"id\":\"1-2\",\"from\":\"\",\"size\":1500,"
                        + "\"accepted_at\":\"2026-09-04T05:33:30.000Z\",\"deliveries\":[{\"domain\":\"b.org\","
                        + "\"recipients\":[\"x@b.org\"],\"state\":\"held\",\"attempts\":1}]}")
        }
        #expect(run("queue", "cat", "1-2", "--server", node.url).out == "A: b\r\n\r\nx\r\n")
        let shown = run("queue", "show", "1-2", "--server", node.url).out
        #expect(shown.hasPrefix("ID        1-2\nFrom      <>\nSize      1.5 KB\n"))
        #expect(shown.contains("  To         x@b.org\n  State      held\n"))
        #expect(
            node.requests.map { $0.line.split(separator: " ")[1] } == [
                "/v1/queue/1-2/body", "/v1/queue/1-2",
            ])
    }

    @Test(arguments: ["retry", "hold", "release", "bounce", "drop"])
    func `a verb needs a filter, and --yes away from a terminal`(verb: String) {
        let node = FakeNode { _ in .init(status: 200, body: Self.answer) }
        let none = run("queue", verb, "--yes", "--server", node.url)
        #expect(none.status == 64 && none.messages.joined().contains("give a filter, or --all"))
        let unasked = run("queue", verb, "--all", "--server", node.url)
        #expect(unasked.status == 77 && unasked.out == "")
        #expect(node.requests.isEmpty)

        let done = run(
            "queue", verb, "--to", "x@y.z", "--yes", "--reason", "why", "--server", node.url)
        #expect(done.status == 0 && done.out.hasPrefix("matched 3, "))
        #expect(node.requests.count == 1)
        #expect(node.requests[0].line == "POST /v1/queue/\(verb) HTTP/1.1")
        #expect(node.requests[0].headers["content-type"] == "application/json")
        #expect(
            node.requests[0].body
                == "{\"filter\":{\"to\":\"x@y.z\"},\"dry_run\":false,\"reason\":\"why\"}")
    }

    @Test func `a dry run asks nobody and changes nothing`() {
        let node = FakeNode { _ in .init(status: 200, body: Self.answer) }
        let outcome = run("queue", "drop", "--all", "--dry-run", "--server", node.url)
        #expect(outcome.status == 0 && outcome.out == "matched 3, 1 in flight. Nothing changed.\n")
        #expect(
            node.requests.map(\.body) == [
                "{\"filter\":{\"all\":true},\"dry_run\":true,\"reason\":null}"
            ])
    }

    @Test func `at a terminal the count is asked for first`() {
        let node = FakeNode { _ in .init(status: 200, body: Self.answer) }
        let no = run("queue", "drop", "--all", "--server", node.url, typed: [""])
        #expect(no.status == 77 && node.requests.count == 1)
        let yes = run("queue", "drop", "--all", "--server", node.url, typed: ["y"])
        #expect(yes.status == 0 && yes.out == "matched 3, dropped 2, 1 in flight\n")
        #expect(node.requests.count == 3 && node.requests[1].body.contains("\"dry_run\":true"))
    }

    @Test func `an id that matches nothing ends with 66`() {
        let node = FakeNode { _ in
            .init(status: 200, body: "{\"matched\":0,\"changed\":0,\"in_flight\":0}")
        }
        #expect(run("queue", "drop", "--id", "9-9", "--yes", "--server", node.url).status == 66)
        #expect(run("queue", "drop", "--to", "a@b", "--yes", "--server", node.url).status == 0)
    }

    @Test(arguments: [
        (400, "invalid", 65), (401, "unauthorized", 77), (404, "no_such_message", 66),
        (409, "conflict", 75), (503, "catching_up", 75), (503, "no_quorum", 11), (500, "x", 70),
    ])
    func `errors of the node become exit codes`(status: Int, error: String, code: Int32) {
        let node = FakeNode { _ in
            .init(
                status: status,
                body:
                    "{\"schema\":\"posthouse.error/1\",\"error\":\"\(error)\",\"reason\":\"so it is\"}"
            )
        }
        let outcome = run("queue", "show", "1-1", "--server", node.url)
        #expect(outcome.status == code && outcome.out == "")
        #expect(outcome.messages.first?.hasPrefix("posthouse: so it is") == true)
    }

    @Test func `answers that make no sense are our fault`() {
        let node = FakeNode { _ in .init(status: 200, body: "<html>") }
        #expect(run("queue", "list", "--server", node.url).status == 70)
        let other = FakeNode { _ in .init(status: 502, body: "<html>") }
        let outcome = run("queue", "list", "--server", other.url)
        #expect(outcome.status == 70 && outcome.messages == ["posthouse: status 502"])
    }

    @Test func `no node is 69, a wrong URL is 64`() {
        let node = FakeNode { _ in .init(status: 200, body: "") }
        let port = node.port
        node.stop()
        #expect(run("queue", "list", "--server", "http://127.0.0.1:\(port)").status == 69)
        #expect(run("queue", "list", "--server", "127.0.0.1:1").status == 64)
        #expect(run("queue", "list", "--older", "2 hours").status == 64)
        #expect(run("queue", "list", "--limit", "0").status == 64)
        #expect(run("queue", "list", "--state", "lost").status == 64)
        #expect(run("queue", "liszt").status == 64)
    }

    @Test func `the token and the server may come from the environment`() {
        let folder = Folder()
        let file = folder.write("token", "0123456789abcdef\nrest\n")
        let node = FakeNode { _ in .init(status: 200, body: Self.page) }
        let outcome = run(
            "queue", "list",
            environment: ["POSTHOUSE_SERVER": node.url, "POSTHOUSE_TOKEN_FILE": file])
        #expect(outcome.status == 0)
        #expect(node.requests[0].headers["authorization"] == "Bearer 0123456789abcdef")
        #expect(node.requests[0].headers["host"] == "127.0.0.1:\(node.port)")
        #expect(run("queue", "list", "--token-file", "/no/file", "--server", node.url).status == 66)
    }
}
