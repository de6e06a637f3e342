// Dialer.swift - a connection to one address.

import Glibc
package import NIOCore
import NIOPosix
package import Primitives

/// Why there is no connection.
package struct DialFailure: Error, Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
        case refused, timedOut, unreachable, reset
        /// Ours: no descriptors, the source address is not there, …
        case local
    }
    package var kind: Kind
    /// For the log and the queue's last reply, in one line: "Connection refused".
    package var detail: String

    package init(_ kind: Kind, _ detail: String) {
        self.kind = kind
        self.detail = detail
    }

    /// For metrics.
    package var label: StaticLabel {
        switch self.kind {
        case .refused: "connect_refused"
        case .timedOut: "connect_timeout"
        case .unreachable: "connect_unreachable"
        case .reset: "connect_reset"
        case .local: "connect_local"
        }
    }

    /// What an error of NIO while connecting means.
    package init(_ error: any Error) {
        if let known = error as? DialFailure {
            self = known
            return
        }
        if let error = error as? ChannelError, case .connectTimeout = error {
            self.init(.timedOut, "Connection timed out")
            return
        }
        guard let error = error as? IOError else {
            self.init(.local, "\(error)")
            return
        }
        let text = strerror(error.errnoCode).map { String(cString: $0) }
        let detail = text ?? "error \(error.errnoCode)"
        switch error.errnoCode {
        case ECONNREFUSED: self.init(.refused, detail)
        case ETIMEDOUT: self.init(.timedOut, detail)
        case ENETUNREACH, EHOSTUNREACH, ENETDOWN, EHOSTDOWN, EACCES, EPERM:
            self.init(.unreachable, detail)
        case ECONNRESET, ECONNABORTED, EPIPE: self.init(.reset, detail)
        case _: self.init(.local, detail)
        }
    }
}

package enum Dialer {
    /// Connects to `address`.
    ///
    /// - Parameters:
    ///   - source: the local address to use; of the same family. Nil: the system chooses.
    ///   - timeout: for the connection alone (RFC 5321 §4.5.3.2 asks for none; minutes help
    ///   nobody).
    ///   - initializer: adds the handlers, on `loop`, before the connection is attempted; if it
    ///     throws, there is none.
    /// - Returns: the active channel; fails with `DialFailure`.
    package static func connect(
        to address: IPAddress, port: Int, from source: IPAddress? = nil, timeout: Duration,
        on loop: any EventLoop, initializer: @escaping @Sendable (any Channel) throws -> Void
    ) -> EventLoopFuture<any Channel> {
        var bootstrap = self.bootstrap(timeout, loop, initializer)
        if let source { bootstrap = bootstrap.bind(to: source.socketAddress(port: 0)) }
        return bootstrap.connect(to: address.socketAddress(port: port))
            .flatMapErrorThrowing { error in throw DialFailure(error) }
    }

    /// Connects to a host that is named as the operator wrote it: an address, or a name that the
    /// system's own resolver knows (hosts file, container network); never for mail.
    package static func connect(
        toHost host: String, port: Int, timeout: Duration, on loop: any EventLoop,
        initializer: @escaping @Sendable (any Channel) throws -> Void
    ) -> EventLoopFuture<any Channel> {
        if let address = IPAddress(host) {
            return self.connect(
                to: address, port: port, timeout: timeout, on: loop, initializer: initializer)
        }
        return self.bootstrap(timeout, loop, initializer).connect(host: host, port: port)
            .flatMapErrorThrowing { error in throw DialFailure(error) }
    }

    private static func bootstrap(
        _ timeout: Duration, _ loop: any EventLoop,
        _ initializer: @escaping @Sendable (any Channel) throws -> Void
    ) -> ClientBootstrap {
        ClientBootstrap(group: loop)
            .connectTimeout(.nanoseconds(timeout.inNanoseconds))
            .channelOption(ChannelOptions.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try initializer(channel) }
            }
    }
}
