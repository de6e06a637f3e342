// AdminClient.swift - one request to a node's admin interface, and its answer.
//
// Takes     method, path, body; the token from a file.
// Gives     the answer of status 200, or a failure with the right exit code.
// Limits    connect 5 s, answer 60 s, 1 GiB of answer.

import NIOCore
import NIOHTTP1
import NIOPosix
import OpenSSL
import Primitives
import Settings

/// Where a node's admin interface is.
struct ServerURL: Equatable {
    var isSecure: Bool
    var host: String
    var port: Int

    /// "http://127.0.0.1:8680", "https://[::1]"; nil: not one. Without a port 8680.
    init?(_ text: String) {
        var rest = text[...]
        self.isSecure = rest.hasPrefix("https://")
        guard self.isSecure || rest.hasPrefix("http://") else { return nil }
        rest = rest.dropFirst(self.isSecure ? 8 : 7)
        if rest.hasSuffix("/") { rest = rest.dropLast() }
        var host = rest
        self.port = 8680
        if let colon = rest.lastIndex(of: ":"), !rest[colon...].contains("]") {
            guard let port = Int(rest[rest.index(after: colon)...]), (1...65_535).contains(port)
            else { return nil }
            self.port = port
            host = rest[..<colon]
        }
        if host.hasPrefix("[") && host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        guard !host.isEmpty, !host.contains("/"), !host.contains("@") else { return nil }
        self.host = String(host)
    }

    /// As in the header field Host.
    var authority: String { Endpoint(host: self.host, port: self.port).description }
}

/// A blocking client; one connection for each request.
struct AdminClient {
    static let connectTimeout = TimeAmount.seconds(5)
    static let answerTimeout = TimeAmount.seconds(60)
    static let answerBytesLimit = 1 << 30

    enum Method { case get, post }

    var url: ServerURL
    var token: String?
    /// For https; nil: what the system trusts.
    var authority: String?

    /// The body of a 200 answer.
    func request(
        _ method: Method, _ path: String, body: [UInt8] = [],
        type: String = "application/json"
    ) throws(CommandFailure) -> [UInt8] {
        let answer = try self.exchange(method, path, body: body, type: type)
        if answer.status == 200 { return answer.body }
        throw Self.failure(answer, at: self.url)
    }

    /// As `request`, read as JSON.
    func json(
        _ method: Method, _ path: String, body: JSON? = nil
    ) throws(CommandFailure) -> JSON {
        let bytes = try self.request(method, path, body: body?.bytes ?? [])
        do {
            return try JSON.parse(bytes)
        } catch {
            throw CommandFailure(
                .internalFault, "\(self.url.authority) answered with something that is not JSON")
        }
    }

    private func exchange(
        _ method: Method, _ path: String, body: [UInt8], type: String
    ) throws(CommandFailure) -> HTTPAnswer {
        var head = HTTPRequestHead(
            version: .http1_1, method: method == .get ? .GET : .POST, uri: path)
        head.headers.add(name: "host", value: self.url.authority)
        head.headers.add(name: "connection", value: "close")
        head.headers.add(name: "content-length", value: "\(body.count)")
        if !body.isEmpty { head.headers.add(name: "content-type", value: type) }
        if let token { head.headers.add(name: "authorization", value: "Bearer \(token)") }
        let tls = try self.url.isSecure ? ClientTLS.context(authority: self.authority) : nil
        let host = self.url.host

        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        defer { group.shutdownGracefully { _ in } }
        let promise = group.next().makePromise(of: HTTPAnswer.self)
        let bootstrap = ClientBootstrap(group: group)
            .connectTimeout(Self.connectTimeout)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if let tls {
                        try pipeline.addHandler(ClientTLS(tls.makeConnection(serverName: host)))
                    }
                    try pipeline.addHTTPClientHandlers()
                    try pipeline.addHandler(AnswerHandler(promise))
                }
            }
        let channel: any Channel
        do {
            channel = try bootstrap.connect(host: self.url.host, port: self.url.port).wait()
        } catch {
            promise.fail(error)
            throw CommandFailure(
                .noNodeReachable,
                "no node answers at \(self.url.authority) (\(Self.plain(error))); is it running? "
                    + "--server names another")
        }
        channel.write(HTTPClientRequestPart.head(head), promise: nil)
        if !body.isEmpty {
            channel.write(
                HTTPClientRequestPart.body(.byteBuffer(ByteBuffer(bytes: body))), promise: nil)
        }
        channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
        let timeout = channel.eventLoop.scheduleTask(in: Self.answerTimeout) {
            promise.fail(AnswerFault.timedOut)
        }
        defer {
            timeout.cancel()
            channel.close(promise: nil)
        }
        do {
            return try promise.futureResult.wait()
        } catch AnswerFault.timedOut {
            throw CommandFailure(.tryAgain, "\(self.url.authority) did not answer in time")
        } catch {
            throw CommandFailure(
                .noNodeReachable,
                "the connection to \(self.url.authority) broke (\(Self.plain(error)))")
        }
    }

    private static func plain(_ error: any Error) -> String {
        guard let error = error as? NIOConnectionError else { return "\(error)" }
        guard let first = error.connectionErrors.first else { return "no address" }
        return "\(first.error)"
    }

    /// What an answer that is not 200 means.
    private static func failure(_ answer: HTTPAnswer, at url: ServerURL) -> CommandFailure {
        let fault = try? JSON.parse(answer.body)  // an answer of something else has no reason
        let reason = fault?["reason"]?.asText ?? "status \(answer.status)"
        let code = fault?["error"]?.asText ?? ""
        let status: ExitStatus =
            switch answer.status {
            case 400, 413: .badData
            case 401, 403: .notPermitted
            case 404: .noSuchThing
            case 409: .tryAgain
            case 503 where code == "no_quorum" || code == "no_leader": .noQuorum
            case 503: .tryAgain
            case _: .internalFault
            }
        let hint = answer.status == 401 ? "; give the token with --token-file" : ""
        return CommandFailure(status, reason + hint)
    }
}

/// A whole answer.
struct HTTPAnswer: Sendable {
    var status: Int
    var body: [UInt8]
}

/// Why there is no answer.
enum AnswerFault: Error {
    case timedOut
    case closed
    case tooLarge
}

/// Collects one answer.
private final class AnswerHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart

    private let promise: EventLoopPromise<HTTPAnswer>
    private var status = 0
    private var body: [UInt8] = []

    init(_ promise: EventLoopPromise<HTTPAnswer>) {
        self.promise = promise
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch self.unwrapInboundIn(data) {
        case .head(let head):
            self.status = Int(head.status.code)
        case .body(let part):
            guard self.body.count + part.readableBytes <= AdminClient.answerBytesLimit else {
                self.promise.fail(AnswerFault.tooLarge)
                context.close(promise: nil)
                return
            }
            part.withUnsafeReadableBytes { self.body.append(contentsOf: $0) }
        case .end:
            self.promise.succeed(HTTPAnswer(status: self.status, body: self.body))
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.promise.fail(error)
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.promise.fail(AnswerFault.closed)
    }
}
