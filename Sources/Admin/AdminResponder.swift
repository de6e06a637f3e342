// AdminResponder.swift - one HTTP request to its answer.
//
// Takes     requests on `admin.listen`; the bearer token, where one is set, for everything but
//           /livez and /readyz.
// Gives     JSON as documented, errors as `posthouse.error/1`.
// Never     decides about mail: the node does.

import Cluster
import Hummingbird
import HummingbirdCore
import Logging
import MailQueue
import NIOCore
import Primitives

struct AdminResponder: Sendable {
    /// Bytes of a JSON body, at most.
    static let jsonBytesLimit = 1 << 20

    let node: any AdminNode  // `any`: a handful of requests a second
    let token: [UInt8]?
    let hostname: String
    let messageBytesLimit: Int
    let recipientLimit: Int
    let metrics: PrometheusRegistry
    let logger: Logger

    func respond(to request: Request, from client: String) async -> Response {
        do throws(Fault) {
            return try await self.answer(request, client)
        } catch {
            return await self.response(error)
        }
    }

    /// An answer that is not 200.
    private struct Fault: Error {
        var status: HTTPResponse.Status
        var error: String
        var reason: String
    }

    private func answer(_ request: Request, _ client: String) async throws(Fault) -> Response {
        let path = request.uri.path.split(separator: "/").map(String.init)
        switch (request.method, path.first, path.count) {
        case (.get, "livez", 1), (.head, "livez", 1):
            return Self.text("ok\n")
        case (.get, "readyz", 1), (.head, "readyz", 1):
            return await self.readyz()
        case _: break
        }
        try self.authorize(request)
        switch (request.method, path) {
        case (.get, ["metrics"]):
            return Self.text(self.metrics.text, type: "text/plain; version=0.0.4; charset=utf-8")
        case (.get, ["v1", "cluster"]):
            return Self.json(await self.node.status().json)
        case (.get, ["v1", "queue"]):
            return try await self.list(request)
        case (.get, let path) where path.count == 3 && path.starts(with: ["v1", "queue"]):
            let id = try Self.id(path[2])
            let message = try await self.ask { n throws(AdminFailure) in try await n.show(id) }
            return Self.json(message.json)
        case (.get, let path)
        where path.count == 4 && path.starts(with: ["v1", "queue"]) && path[3] == "body":
            let id = try Self.id(path[2])
            let body = try await self.ask { n throws(AdminFailure) in try await n.body(id) }
            return Response(
                status: .ok, headers: [.contentType: "message/rfc822"],
                body: ResponseBody(contentsOf: body.parts))
        case (.post, let path) where path.count == 3 && path.starts(with: ["v1", "queue"]):
            return try await self.act(path[2], request, client)
        case (.post, let path) where path.count == 3 && path.starts(with: ["v1", "cluster"]):
            return try await self.change(path[2], request, client)
        case (.post, ["v1", "send"]):
            return try await self.send(request, client)
        case _:
            throw Fault(
                status: .notFound, error: "no_such_path",
                reason: "no \(request.method.rawValue) \(request.uri.path) here")
        }
    }

    private func readyz() async -> Response {
        switch await self.node.readiness() {
        case .ready: return Self.text("ready\n")
        case .notReady(let reason):
            return Self.text("\(reason.rawValue)\n", status: .serviceUnavailable)
        }
    }

    /// The token, where one is set. Without one, only what no web page can send: a page elsewhere
    /// reaches loopback through the browser of somebody here, with its own name in Host.
    private func authorize(_ request: Request) throws(Fault) {
        if let token {
            let shown = request.headers[.authorization] ?? ""
            let prefix = "Bearer "
            guard shown.hasPrefix(prefix),
                isEqualInConstantTime(Array(shown.dropFirst(prefix.count).utf8), token)
            else {
                throw Fault(
                    status: .unauthorized, error: "unauthorized",
                    reason: "the admin token is missing or wrong")
            }
            return
        }
        var host = (request.head.authority ?? "")[...]
        if let colon = host.lastIndex(of: ":"), !host[colon...].contains("]") {
            host = host[..<colon]
        }
        if host.hasPrefix("[") && host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        guard host == "localhost" || host == self.hostname || IPAddress(host) != nil else {
            throw Self.invalid("Host is neither an address, localhost nor the node's host name")
        }
    }

    private func list(_ request: Request) async throws(Fault) -> Response {
        let query = request.uri.queryParameters
            .map { (name: String($0.key), value: String($0.value)) }
        let (filter, limit): (QueueFilter, Int)
        do {
            (filter, limit) = try AdminRequest.list(query)
        } catch {
            throw Self.invalid(error.reason)
        }
        let page = try await self.ask { n throws(AdminFailure) in
            try await n.list(filter, limit: limit)
        }
        return Self.json(page.json)
    }

    private func act(
        _ name: String, _ request: Request, _ client: String
    ) async throws(Fault) -> Response {
        guard let verb = Admin.Verb(text: name) else {
            throw Fault(
                status: .notFound, error: "no_such_path",
                reason: "verbs are retry, hold, release, bounce, drop")
        }
        let body = try await self.json(of: request)
        let action: AdminRequest.Action
        do {
            action = try AdminRequest.action(body)
        } catch {
            throw Self.invalid(error.reason)
        }
        let result = try await self.ask { n throws(AdminFailure) in
            try await n.act(
                verb, action.filter, dryRun: action.dryRun, reason: action.reason)
        }
        if !action.dryRun {
            self.logger.notice(
                "queue changed by an operator",
                metadata: [
                    "action": "\(verb.text)", "filter": "\(body["filter"].map(Self.line) ?? "")",
                    "reason": "\(action.reason)", "client": "\(client)",
                    "matched": "\(result.matched)", "changed": "\(result.changed)",
                    "in_flight": "\(result.inFlight)",
                ])
        }
        return Self.json(result.json)
    }

    private func send(_ request: Request, _ client: String) async throws(Fault) -> Response {
        let bytes = try await self.body(
            request, type: "application/vnd.posthouse.send",
            self.messageBytesLimit + AdminRequest.envelopeBytesLimit)
        let mail: AdminRequest.Submission
        do {
            mail = try AdminRequest.submission(
                bytes, hostname: self.hostname, recipientLimit: self.recipientLimit)
        } catch {
            throw Self.invalid(error.reason)
        }
        guard mail.message.readableBytes <= self.messageBytesLimit else {
            throw Self.tooLarge(self.messageBytesLimit)
        }
        let id = try await self.ask { n throws(AdminFailure) in
            try await n.submit(
                sender: mail.sender, recipients: mail.recipients, message: mail.message)
        }
        return Self.json(["schema": "posthouse.send/1", "id": .text(id.text)])
    }

    /// `POST /v1/cluster/VERB`.
    private func change(
        _ name: String, _ request: Request, _ client: String
    ) async throws(Fault) -> Response {
        guard let verb = ClusterChange.Verb(rawValue: name) else {
            let verbs = ClusterChange.Verb.allCases.map(\.rawValue).joined(separator: ", ")
            throw Fault(status: .notFound, error: "no_such_path", reason: "verbs are \(verbs)")
        }
        let body = try await self.json(of: request)
        let wanted: AdminRequest.Change
        do {
            wanted = try AdminRequest.change(verb, body)
        } catch {
            throw Self.invalid(error.reason)
        }
        let progress = try await self.ask { n throws(AdminFailure) in
            try await n.change(wanted.change, wait: wanted.wait ?? .zero)
        }
        if progress.isNews {
            self.logger.notice(
                "cluster changed by an operator",
                metadata: [
                    "verb": "\(name)", "node": "\(progress.node)",
                    "forced": "\(wanted.change.isForced)", "client": "\(client)",
                ])
        }
        if wanted.wait != nil, !progress.isDone, !wanted.change.isDryRun {
            throw Fault(
                status: .conflict, error: "not_done",
                reason: "not done in time, it goes on: \(progress.rest)")
        }
        return Self.json(progress.json(verb))
    }

    private func json(of request: Request) async throws(Fault) -> JSON {
        let bytes = try await self.body(request, type: "application/json", Self.jsonBytesLimit)
        do {
            return try JSON.parse(Array(bytes.readableBytesView))
        } catch {
            throw Self.invalid("the body is not JSON: \(error.what) at byte \(error.offset)")
        }
    }

    private func body(
        _ request: Request, type: String, _ limit: Int
    ) async throws(Fault) -> ByteBuffer {
        // A page can send forms without asking, but no body of these types.
        guard request.headers[.contentType]?.hasPrefix(type) == true else {
            throw Self.invalid("the Content-Type must be \(type)")
        }
        do {
            return try await request.body.collect(upTo: limit)
        } catch is NIOTooManyBytesError {
            throw Self.tooLarge(limit)
        } catch {
            throw Self.invalid("the body cannot be read")
        }
    }

    private func ask<R: Sendable>(
        _ question: @Sendable (any AdminNode) async throws(AdminFailure) -> R
    ) async throws(Fault) -> R {
        do {
            return try await question(self.node)
        } catch {
            throw Self.fault(error)
        }
    }

    private static func fault(_ failure: AdminFailure) -> Fault {
        let (status, error, reason): (HTTPResponse.Status, String, String) =
            switch failure {
            case .catchingUp:
                (.serviceUnavailable, "catching_up", "the node is catching up; try again")
            case .noQuorum: (.serviceUnavailable, "no_quorum", "the cluster has no quorum")
            case .stopping: (.serviceUnavailable, "stopping", "the node is stopping")
            case .full: (.serviceUnavailable, "disk", "the node's disk is full")
            case .overQuota: (.serviceUnavailable, "quota", "the queue is full")
            case .noCopies: (.serviceUnavailable, "no_copies", "too few nodes take copies")
            case .timedOut:
                (.serviceUnavailable, "timed_out", "no result in time; it may have happened")
            case .bodyUnavailable:
                (.serviceUnavailable, "body_unavailable", "the body cannot be read now")
            case .noSuchNode(let name):
                (.notFound, "no_such_node", "no node of the cluster is called \(name)")
            case .noSuchMessage: (.notFound, "no_such_message", "no such message in the queue")
            case .invalid(let reason): (.badRequest, "invalid", reason)
            case .conflict(let reason): (.conflict, "conflict", reason)
            }
        return Fault(status: status, error: error, reason: reason)
    }

    private static func invalid(_ reason: String) -> Fault {
        Fault(status: .badRequest, error: "invalid", reason: reason)
    }

    private static func tooLarge(_ limit: Int) -> Fault {
        Fault(
            status: .contentTooLarge, error: "too_large",
            reason: "more than the \(limit) bytes that are allowed")
    }

    private static func id(_ text: String) throws(Fault) -> Tag {
        guard let tag = Tag(text: text) else {
            throw Fault(
                status: .notFound, error: "no_such_message",
                reason: "\(text.debugDescription) is no queue id")
        }
        return tag
    }

    private func response(_ fault: Fault) async -> Response {
        let leader = await self.node.status().leader
        return Self.json(
            [
                "schema": "posthouse.error/1", "error": .text(fault.error),
                "reason": .text(fault.reason), "leader": JSON(leader),
            ], status: fault.status)
    }

    private static func line(_ value: JSON) -> String {
        String(decoding: value.bytes, as: UTF8.self)
    }

    private static func json(_ value: JSON, status: HTTPResponse.Status = .ok) -> Response {
        Response(
            status: status,
            headers: [.contentType: "application/json", .cacheControl: "no-store"],
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: value.bytes + [10])))
    }

    private static func text(
        _ text: String, type: String = "text/plain; charset=utf-8",
        status: HTTPResponse.Status = .ok
    ) -> Response {
        Response(
            status: status, headers: [.contentType: type, .cacheControl: "no-store"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }
}
