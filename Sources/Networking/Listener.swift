// Listener.swift - an open port.
//
// Limits    `backlog` connections wait in the kernel. Out of descriptors: accepting pauses by
//           itself (NIO's bootstrap retries after a second) and is reported at most once a minute.

import Glibc
package import NIOCore
import NIOPosix
package import Primitives

/// Why a port cannot be opened.
package struct ListenFailure: Error, Equatable, Sendable {
    package let label: StaticLabel
    package let detail: String
    package let remedy: String

    package init(label: StaticLabel, detail: String, remedy: String) {
        self.label = label
        self.detail = detail
        self.remedy = remedy
    }
}

package final class Listener: Sendable {
    /// Connections that the kernel keeps until they are accepted.
    package static let backlog = 1024
    private let channel: any Channel  // existential: NIO's own type, used twice per listener
    /// Where it listens, with the port that the system chose if 0 was asked for.
    package let address: IPAddress
    package let port: Int

    private init(_ channel: any Channel, _ address: IPAddress, _ port: Int) {
        self.channel = channel
        self.address = address
        self.port = port
    }

    /// Opens a port.
    ///
    /// - Parameters:
    ///   - address: `0.0.0.0` takes IPv4 only, `::` IPv6 only.
    ///   - loop: accepts.
    ///   - children: loops of the accepted channels, in turn.
    ///   - paused: accepting failed for want of descriptors or memory; called on `loop`, at most
    ///   once
    ///     a minute, with the reason.
    ///   - initializer: adds the handlers of an accepted channel, on its loop; if it throws, the
    ///     channel is closed.
    /// - Returns: fails with `ListenFailure`.
    package static func bind(
        _ address: IPAddress, port: Int, on loop: any EventLoop,
        children: any EventLoopGroup,
        paused: @escaping @Sendable (String) -> Void = { _ in },
        initializer: @escaping @Sendable (any Channel) throws -> Void
    ) -> EventLoopFuture<Listener> {
        var bootstrap = ServerBootstrap(group: loop, childGroup: children)
            .serverChannelOption(ChannelOptions.backlog, value: Int32(Self.backlog))
            .serverChannelOption(ChannelOptions.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(ChannelOptions.tcpOption(.tcp_nodelay), value: 1)
            .serverChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(AcceptWatch(paused))
                }
            }
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try initializer(channel) }
            }
        if !address.isV4 {
            let only = ChannelOptions.Types.SocketOption(
                level: SocketOptionLevel(Int32(IPPROTO_IPV6)), name: SocketOptionName(IPV6_V6ONLY))
            bootstrap = bootstrap.serverChannelOption(only, value: 1)
        }
        return bootstrap.bind(to: address.socketAddress(port: port)).flatMapThrowing { channel in
            guard let local = channel.localAddress, let port = local.port else {
                throw ListenFailure(
                    label: "listen", detail: "no local address on port \(port)", remedy: "")
            }
            return Listener(channel, IPAddress(local) ?? address, port)
        }.flatMapErrorThrowing { error in throw Self.failure(error, address, port) }
    }

    /// Stops accepting; accepted channels go on.
    package func close() -> EventLoopFuture<Void> {
        let promise = self.channel.eventLoop.makePromise(of: Void.self)
        self.channel.close().whenComplete { result in
            switch result {
            case .success: promise.succeed()
            case .failure(let error as ChannelError) where error == .alreadyClosed:
                promise.succeed()
            case .failure(let error): promise.fail(error)
            }
        }
        return promise.futureResult
    }

    private static func failure(
        _ error: any Error, _ address: IPAddress, _ port: Int
    ) -> ListenFailure {
        if let known = error as? ListenFailure { return known }
        let place = address.isV4 ? "\(address):\(port)" : "[\(address)]:\(port)"
        let code = (error as? IOError)?.errnoCode ?? 0
        switch code {
        case EADDRINUSE:
            return ListenFailure(
                label: "listen_in_use", detail: "\(place) is in use",
                remedy: "Stop the other program (`ss -ltnp` shows it) or choose another port")
        case EACCES, EPERM:
            return ListenFailure(
                label: "listen_not_permitted", detail: "not permitted to listen on \(place)",
                remedy: "Ports below 1024 need CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities)")
        case EADDRNOTAVAIL:
            return ListenFailure(
                label: "listen_no_address", detail: "\(address) is no address of this machine",
                remedy: "Use an address that `ip address` shows, or 0.0.0.0")
        case _:
            return ListenFailure(
                label: "listen", detail: "cannot listen on \(place): \(error)", remedy: "")
        }
    }
}

/// Sees what accepting fails with before the bootstrap's own handlers back off.
final class AcceptWatch: ChannelInboundHandler {
    typealias InboundIn = NIOAny

    private let paused: @Sendable (String) -> Void
    private let clock: () -> Instant
    private var lastReport: Instant?
    static let reportEvery = Duration.seconds(60)

    init(
        clock: @escaping () -> Instant = { SystemClock.bootTime() },
        _ paused: @escaping @Sendable (String) -> Void
    ) {
        self.clock = clock
        self.paused = paused
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let error = error as? IOError, error.errnoCode != ECONNABORTED {
            let now = self.clock()
            if self.lastReport.map({ now - $0 >= Self.reportEvery }) ?? true {
                self.lastReport = now
                let reason = strerror(error.errnoCode).map { String(cString: $0) }
                self.paused(reason ?? "error \(error.errnoCode)")
            }
        }
        context.fireErrorCaught(error)
    }
}
