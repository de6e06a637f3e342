import Admin
import Cluster
import Foundation
import Logging
import NIOPosix
import Primitives
import Settings
import Synchronization
import Testing

@Suite("HTTP on admin.listen")
struct AdminServerTests {
    private func serve(
        _ node: FakeNode = FakeNode(), token: String = "", maxMessageBytes: Int = 1000,
        _ body: @Sendable @escaping (Client) async throws -> Void
    ) async throws {
        var settings = Settings()
        settings.node.hostname = "relay.example.com"
        settings.admin.listen = Endpoint(host: "127.0.0.1", port: 0)
        settings.admin.token = token
        settings.relay.maxMessageBytes = maxMessageBytes
        let (ports, continuation) = AsyncStream<Int>.makeStream()
        let server = AdminServer(
            node: node, settings: settings, secure: nil, metrics: PrometheusRegistry(),
            group: MultiThreadedEventLoopGroup.singleton,
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }),
            onListening: { continuation.yield($0) })
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await server.run() }
            var iterator = ports.makeAsyncIterator()
            let port = try #require(await iterator.next())
            try await body(Client(port: port))
            group.cancelAll()
        }
    }

    @Test func `the cluster document has every member of its schema`() async throws {
        try await self.serve { client async throws in
            let answer = try await client.get("/v1/cluster")
            #expect(answer.status == 200 && answer.headers["content-type"] == "application/json")
            #expect(
                answer.body == """
                    {"schema":"posthouse.cluster/1","status":"healthy","can_lose":0,"leader":"a",\
                    "term":"4","name":"","cluster_id":"11","nodes":[{"name":"a","role":"voter",\
                    "state":"ready","leader":true,"lag":0,"applied":12,"leases":3,\
                    "sessions":{"in":2,"out":1},"disk_free_ratio":0.5,"seen_ms":0,\
                    "address":"","last_error":null}],\
                    "queue":{"messages":5,"recipients":6,"due":1,"leased":2,"deferred":3,"held":0,\
                    "stored_bytes":70,"original_bytes":100,"oldest_seconds":null},\
                    "rates":{"accepted":1.5,"delivered":0.0,"deferred":0.0,"bounced":0.0},\
                    "possible_duplicates":2,"alarms":[],"reasons":[],"notes":[\
                    {"label":"draining","node":"a","sentence":"a is drained",\
                    "remedy":"undrain it"}],"node":"","local":{"applied":0,\
                    "committed":0,"voters":1,"voters_reachable":1,"waits_for":null,\
                    "leaderless_ms":null}}

                    """)
        }
    }

    @Test func `queue, message and body`() async throws {
        let node = FakeNode()
        try await self.serve(node) { client async throws in
            let list = try await client.get(
                "/v1/queue?from=%3C%3E&to=x%2B1@y.z&domain=Y.Z&older_ms=5&newer_ms=6&state=held&limit=2&id=1-12"
            )
            #expect(
                list.body == """
                    {"schema":"posthouse.queue/1","messages":[{"id":"1-12","from":"a@b.c","size":1234,\
                    "accepted_at":"2026-09-04T08:35:30.000Z","deliveries":[{"domain":"y.z",\
                    "recipients":["x@y.z","q@y.z"],"state":"deferred","attempts":2,\
                    "next_attempt":"2026-09-04T08:36:30.000Z","node":"a",\
                    "last_reply":"451 4.3.0 \\"later\\""}]}],"total":7}

                    """)
            let show = try await client.get("/v1/queue/1-12")
            #expect(show.body.hasPrefix("{\"schema\":\"posthouse.message/1\",\"id\":\"1-12\","))
            let body = try await client.get("/v1/queue/1-12/body")
            #expect(
                body.body == "A: b\r\n\r\nx\r\n" && body.headers["content-type"] == "message/rfc822"
            )
            #expect(try await client.get("/v1/queue").status == 200)
        }
        #expect(
            node.asked() == [
                "list [id=1-12,from=,to=x+1@y.z,domain=y.z,older=5,newer=6,state=held] 2",
                "show 1-12", "body 1-12", "list [] 1000",
            ])
    }

    @Test func `actions need a filter that is understood as a whole`() async throws {
        let node = FakeNode()
        try await self.serve(node) { client async throws in
            let done = try await client.post(
                "/v1/queue/bounce",
                "{\"filter\":{\"to\":\"x@y.z\"},\"dry_run\":false,\"reason\":\"r\"}")
            #expect(
                done.body
                    == "{\"schema\":\"posthouse.action/1\",\"matched\":3,\"changed\":2,\"in_flight\":1}\n"
            )
            #expect(
                try await client.post(
                    "/v1/queue/drop", "{\"filter\":{\"all\":true},\"dry_run\":true}"
                ).status == 200)
            for wrong in [
                "", "[]", "{}", "{\"filter\":{}}", "{\"filter\":{\"all\":false}}",
                "{\"filter\":{\"too\":\"x\"}}", "{\"filter\":{\"to\":1}}",
                "{\"fliter\":{\"all\":true}}",
                "{\"filter\":{\"all\":true},\"dry_run\":1}", "{\"filter\":{\"id\":\"?\"}}",
                "{\"filter\":{\"state\":\"lost\"}}", "{\"filter\":{\"older_ms\":-1}}",
                "{\"filter\":{\"all\":true},\"reason\":\"a\\nb\"}",
            ] {
                let answer = try await client.post("/v1/queue/drop", wrong)
                #expect(answer.status == 400, "\(wrong): \(answer.body)")
                #expect(
                    answer.body.hasPrefix("{\"schema\":\"posthouse.error/1\",\"error\":\"invalid\"")
                )
            }
            #expect(
                try await client.post("/v1/queue/burn", "{\"filter\":{\"all\":true}}").status == 404
            )
        }
        #expect(node.asked() == ["bounce [to=x@y.z] false r", "drop [] true "])
    }

    @Test func `changes of the cluster say how far they are`() async throws {
        let node = FakeNode()
        try await self.serve(node) { client async throws in
            let drain = try await client.post("/v1/cluster/drain", "{\"node\":\"c\"}")
            #expect(
                drain.body
                    == "{\"schema\":\"posthouse.change/1\",\"verb\":\"drain\",\"node\":\"c\","
                    + "\"done\":false,\"leader\":true,\"sessions_in\":2,\"leases\":3,"
                    + "\"below\":4,\"lost\":1,\"lost_messages\":[\"1-12\"],\"can_lose\":1}\n")
            #expect(drain.status == 200)
            // Who wants to wait is told when it was not enough.
            let waits = "{\"node\":\"c\",\"timeout_ms\":50}"
            let late = try await client.post("/v1/cluster/promote", waits)
            #expect(late.status == 409 && late.body.contains("leases 3"))
            #expect(try await client.post("/v1/cluster/undrain", waits).status == 200)
            for (verb, body) in [
                ("transfer-leader", "{}"), ("transfer-leader", "{\"node\":null}"),
                ("remove", "{\"node\":\"c\",\"force_dead\":true,\"dry_run\":true}"),
                ("demote", "{\"node\":\"c\",\"force_dead\":false}"),
            ] {
                #expect(try await client.post("/v1/cluster/\(verb)", body).status == 200)
            }
            for (verb, body) in [
                ("drain", "{}"), ("drain", "[]"), ("drain", "{\"node\":\"\"}"),
                ("drain", "{\"node\":1}"), ("drain", "{\"node\":\"c\",\"force_dead\":true}"),
                ("remove", "{\"node\":\"c\",\"force\":true}"),
                ("remove", "{\"node\":\"c\",\"timeout_ms\":3600001}"),
                ("remove", "{\"node\":\"c\",\"timeout_ms\":\"1\"}"),
            ] {
                let answer = try await client.post("/v1/cluster/\(verb)", body)
                #expect(answer.status == 400, "\(verb) \(body): \(answer.body)")
            }
            #expect(try await client.post("/v1/cluster/explode", waits).status == 404)
        }
        #expect(
            node.asked() == [
                "drain c false false 0", "promote c false false 50", "undrain c false false 50",
                "transfer-leader - false false 0", "transfer-leader - false false 0",
                "remove c true true 0", "demote c false false 0",
            ])
    }

    @Test func `a change that is refused says why, and what to tell scripts`() async throws {
        let node = FakeNode()
        let body = "{\"node\":\"c\"}"
        for (failure, status, word) in [
            (AdminFailure.conflict("it would cost the quorum"), 409, "conflict"),
            (.noQuorum, 503, "no_quorum"), (.noSuchNode("c"), 404, "no_such_node"),
            (.timedOut, 503, "timed_out"), (.catchingUp, 503, "catching_up"),
        ] {
            node.state.withLock { $0.failure = failure }
            try await self.serve(node) { client async throws in
                let answer = try await client.post("/v1/cluster/remove", body)
                #expect(answer.status == status && answer.body.contains("\"error\":\"\(word)\""))
                #expect(answer.body.contains("\"leader\":\"a\""))
            }
        }
    }

    @Test func `a wrong query is refused, never widened`() async throws {
        let node = FakeNode()
        try await self.serve(node) { client async throws in
            for query in [
                "limit=0", "limit=100001", "limit=x", "older_ms=1h", "form=a", "id=%3F", "all=1",
            ] {
                #expect(try await client.get("/v1/queue?\(query)").status == 400, "\(query)")
            }
            #expect(try await client.get("/v1/queue?limit=100000").status == 200)
        }
        #expect(node.asked() == ["list [] 100000"])
    }

    @Test func `send takes envelope and message up to the limit`() async throws {
        let node = FakeNode()
        let type = "application/vnd.posthouse.send"
        try await self.serve(node) { client async throws in
            let mail = "{\"from\":\"jo\",\"to\":[\"x@Y.Z\",\"root\"]}\nA: b\r\n\r\nx\r\n"
            let sent = try await client.post("/v1/send", mail, type: type)
            #expect(sent.body == "{\"schema\":\"posthouse.send/1\",\"id\":\"1-12\"}\n")
            let full = String(repeating: "x", count: 998) + "\r\n"
            let envelope = "{\"from\":\"\",\"to\":[\"x@y.z\"]}\n"
            #expect(try await client.post("/v1/send", envelope + full, type: type).status == 200)
            #expect(
                try await client.post("/v1/send", envelope + "x" + full, type: type).status == 413)
            for wrong in [
                "", "x", "{}\nx\r\n", "{\"from\":\"\",\"to\":[\"a b@y\"]}\nx\r\n", envelope + "x",
                envelope + "x\n", envelope + "x\rx\r\n",
                "{\"from\":\"\",\"to\":[]}\nx\r\n", "{\"from\":\"\",\"to\":[1]}\nx\r\n",
                "{\"from\":\"\",\"to\":[\"a\\nb\"]}\nx\r\n",
                "{\"from\":\"<a@b>\",\"to\":[\"x@y\"]}\nx\r\n", envelope,
            ] {
                #expect(
                    try await client.post("/v1/send", wrong, type: type).status == 400, "\(wrong)")
            }
            #expect(try await client.post("/v1/send", mail).status == 400)
        }
        #expect(
            node.asked() == [
                "submit jo@relay.example.com [\"x@y.z\", \"root@relay.example.com\"] 11",
                "submit  [\"x@y.z\"] 1000",
            ])
    }

    @Test func `a token guards everything but health`() async throws {
        try await self.serve(token: "0123456789abcdef") { client async throws in
            #expect(try await client.get("/livez").status == 200)
            #expect(try await client.get("/readyz").status == 200)
            for path in ["/metrics", "/v1/cluster", "/v1/queue", "/v1/queue/1-12", "/nowhere"] {
                let answer = try await client.get(path)
                #expect(answer.status == 401 && answer.body.contains("\"error\":\"unauthorized\""))
            }
            #expect(
                try await client.get("/v1/cluster", ["Authorization: Bearer 0123456789abcdee"])
                    .status == 401)
            #expect(
                try await client.get("/v1/cluster", ["Authorization: Bearer 0123456789abcdef0"])
                    .status == 401)
            #expect(
                try await client.get("/v1/cluster", ["Authorization: Bearer 0123456789abcdef"])
                    .status == 200)
        }
    }

    @Test func `without a token no web page of elsewhere gets in`() async throws {
        try await self.serve { client async throws in
            for host in [
                "localhost", "localhost:8680", "127.0.0.1:1", "[::1]:1", "relay.example.com",
            ] {
                #expect(try await client.get("/v1/cluster", host: host).status == 200, "\(host)")
            }
            for host in ["evil.example", "evil.example:8680", "127.0.0.1.evil.example"] {
                #expect(try await client.get("/v1/cluster", host: host).status == 400, "\(host)")
            }
            let form = try await client.post(
                "/v1/queue/drop", "{\"filter\":{\"all\":true}}", type: "text/plain")
            #expect(form.status == 400)
        }
    }

    @Test(arguments: [Readiness.Reason.catchingUp, .draining, .noQuorum, .disk, .storage])
    func `readyz tells why not`(reason: Readiness.Reason) async throws {
        let node = FakeNode()
        node.state.withLock { $0.readiness = .notReady(reason) }
        try await self.serve(node) { client async throws in
            let answer = try await client.get("/readyz")
            #expect(answer.status == 503 && answer.body == reason.rawValue + "\n")
            #expect(try await client.get("/livez").status == 200)
        }
    }

    @Test(arguments: [
        (AdminFailure.catchingUp, 503, "catching_up"), (.noQuorum, 503, "no_quorum"),
        (.noSuchMessage, 404, "no_such_message"), (.conflict("x"), 409, "conflict"),
        (.invalid("x"), 400, "invalid"), (.full, 503, "disk"), (.stopping, 503, "stopping"),
        (.timedOut, 503, "timed_out"), (.bodyUnavailable, 503, "body_unavailable"),
    ])
    func `failures of the node have their status`(
        failure: AdminFailure, status: Int, error: String
    ) async throws {
        let node = FakeNode()
        node.state.withLock { $0.failure = failure }
        try await self.serve(node) { client async throws in
            let answer = try await client.get("/v1/queue")
            #expect(answer.status == status)
            #expect(
                answer.body.hasPrefix("{\"schema\":\"posthouse.error/1\",\"error\":\"\(error)\""))
            #expect(answer.body.hasSuffix("\"leader\":\"a\"}\n"))
        }
    }

    @Test func `unknown paths and ids are 404`() async throws {
        try await self.serve { client async throws in
            for path in ["/", "/v2/queue", "/v1/queue/1-12/head", "/v1/queue/!", "/livez/x"] {
                #expect(try await client.get(path).status == 404, "\(path)")
            }
            #expect(try await client.post("/v1/cluster", "{}").status == 404)
        }
    }
}

/// One request over a plain socket.
struct Client {
    struct Answer {
        var status: Int
        var headers: [String: String]
        var body: String
    }
    let port: Int

    func get(
        _ path: String, _ headers: [String] = [], host: String = "127.0.0.1"
    ) async throws -> Answer {
        try await self.ask(
            (["GET \(path) HTTP/1.1", "Host: \(host)", "Connection: close"] + headers)
                .joined(separator: "\r\n") + "\r\n\r\n")
    }

    func post(
        _ path: String, _ body: String, type: String = "application/json"
    ) async throws -> Answer {
        try await self.ask(
            "POST \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: \(type)\r\n"
                + "Content-Length: \(body.utf8.count)\r\n\r\n" + body)
    }

    /// On a thread of its own: blocked threads of the pool would keep the server from answering.
    private func ask(_ text: String) async throws -> Answer {
        let result = await withCheckedContinuation { continuation in
            Thread {
                continuation.resume(returning: Result { try self.exchange(text) })
            }.start()
        }
        return try result.get()
    }

    private func exchange(_ text: String) throws -> Answer {
        let socket = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(socket) }
        var limit = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(
            socket, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(self.port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        try #require(result == 0)
        _ = send(socket, text, text.utf8.count, Int32(MSG_NOSIGNAL))
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = recv(socket, &chunk, chunk.count, 0)
            if count <= 0 { break }
            bytes += chunk[0..<count]
        }
        let answer = String(decoding: bytes, as: UTF8.self)
        let end = try #require(answer.range(of: "\r\n\r\n"))
        let lines = answer[..<end.lowerBound].components(separatedBy: "\r\n")
        var headers: [String: String] = [:]
        for line in lines.dropFirst() {
            let parts = line.split(separator: ":", maxSplits: 1)
            headers[parts[0].lowercased()] = parts[1].trimmingCharacters(in: .whitespaces)
        }
        var body = String(answer[end.upperBound...])
        if headers["transfer-encoding"] == "chunked" { body = Self.joined(body) }
        return Answer(
            status: Int(lines[0].split(separator: " ")[1]) ?? 0, headers: headers, body: body)
    }

    private static func joined(_ chunked: String) -> String {
        var rest = Array(chunked.utf8)[...]
        var body: [UInt8] = []
        while let end = rest.firstIndex(of: 10) {
            let size = Int(String(decoding: rest[..<end].dropLast(), as: UTF8.self), radix: 16) ?? 0
            if size == 0 { break }
            body += rest[(end + 1)..<(end + 1 + size)]
            rest = rest[(end + 1 + size + 2)...]
        }
        return String(decoding: body, as: UTF8.self)
    }
}
