// AdminServer.swift - the HTTP server on `admin.listen`, with TLS where certificates are set.
//
// Takes     a node, the settings, the metrics registry.
// Gives     `run`, which serves until the task is cancelled or the service group shuts down.

import Hummingbird
import HummingbirdCore
package import Logging
package import NIOCore
package import Settings

package struct AdminServer: Sendable {
    /// A connection without a request is closed after this.
    private static let idleTimeout = TimeAmount.seconds(120)

    private let responder: AdminResponder
    private let listen: Endpoint
    private let secure: (@Sendable (any Channel) throws -> Void)?
    private let group: any EventLoopGroup
    private let logger: Logger
    private let onListening: @Sendable (_ port: Int) -> Void

    /// - Parameters:
    ///   - secure: adds TLS to the pipeline of a new connection, on its loop; nil: http.
    ///   - onListening: called once, with the port that was bound.
    package init(
        node: any AdminNode, settings: Settings,
        secure: (@Sendable (any Channel) throws -> Void)?, metrics: PrometheusRegistry,
        group: any EventLoopGroup, logger: Logger,
        onListening: @escaping @Sendable (_ port: Int) -> Void
    ) {
        self.responder = AdminResponder(
            node: node,
            token: settings.admin.token.isEmpty ? nil : Array(settings.admin.token.utf8),
            hostname: settings.node.hostname,
            messageBytesLimit: settings.relay.maxMessageBytes,
            recipientLimit: settings.relay.maxRecipients, metrics: metrics, logger: logger)
        self.listen = settings.admin.listen
        self.secure = secure
        self.group = group
        self.logger = logger
        self.onListening = onListening
    }

    /// Serves until cancelled, or until the graceful shutdown of the service group it runs in.
    ///
    /// - Throws: if the address cannot be bound.
    package func run() async throws {
        let responder = self.responder
        let onListening = self.onListening
        let secure = self.secure
        // Requests are logged by what they do, not by the server, which calls its own end an
        // error.
        var quiet = self.logger
        quiet.logLevel = .critical
        let application = Application(
            responder: CallbackResponder<ClientContext> { request, context in
                await responder.respond(to: request, from: context.client)
            },
            server: HTTPServerBuilder { respond in
                AdminChannel(
                    base: HTTP1Channel(
                        responder: respond,
                        configuration: .init(idleTimeout: Self.idleTimeout)),
                    secure: secure)
            },
            configuration: ApplicationConfiguration(
                address: .hostname(self.listen.host, port: self.listen.port),
                serverName: "posthouse"),
            onServerRunning: { channel in onListening(channel.localAddress?.port ?? 0) },
            eventLoopGroupProvider: .shared(self.group), logger: quiet)
        try await application.run()
    }
}

/// Knows who asks, for the log.
private struct ClientContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let client: String

    init(source: ApplicationRequestContextSource) {
        self.coreContext = CoreRequestContextStorage(source: source)
        self.client = source.channel.remoteAddress?.ipAddress ?? "-"
    }
}

/// HTTP/1.1, on TLS where `secure` adds it.
private struct AdminChannel: ServerChildChannel {
    let base: HTTP1Channel
    let secure: (@Sendable (any Channel) throws -> Void)?

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<HTTP1Channel.Value> {
        do {
            try self.secure?(channel)
        } catch {
            return channel.eventLoop.makeFailedFuture(error)
        }
        return self.base.setup(channel: channel, logger: logger)
    }

    func handle(value: HTTP1Channel.Value, logger: Logger) async {
        await self.base.handle(value: value, logger: logger)
    }
}
