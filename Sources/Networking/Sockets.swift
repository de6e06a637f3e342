// Sockets.swift - what TCP can do and NIO has no word for.
//
// Standard  RFC 9293 §3.10.7 (reset), RFC 5482 (user timeout).

import Glibc
package import NIOCore
package import Primitives

/// What TCP has not got across yet.
package struct TransmitState: Hashable, Sendable {
    /// Segments that were sent and not acknowledged (FIN counts as one).
    package let unacknowledgedSegments: Int
    /// Bytes in the kernel that were not sent yet.
    package let unsentBytes: Int
    /// Nothing on the way: the peer's kernel has all that was written.
    package var isIdle: Bool { self.unacknowledgedSegments == 0 && self.unsentBytes == 0 }
}

/// All of these only on the channel's event loop, and only for TCP sockets.
extension Channel {
    /// Closes with a reset: what NIO and the kernel still hold is thrown away, and the peer sees
    /// that the connection was cut. Works through TLS, without close_notify.
    package func abort() {
        let option = ChannelOptions.Types.SocketOption(
            level: SocketOptionLevel(SOL_SOCKET), name: SocketOptionName(SO_LINGER))
        if let provider = self as? any SocketOptionProvider {  // existential: once per reset
            let reset = linger(l_onoff: 1, l_linger: 0)
            provider.unsafeSetSocketOption(
                level: option.level, name: option.name, value: reset
            ).whenFailure { _ in }  // a socket that is closed already needs no reset
        }
        self.pipeline.triggerUserOutboundEvent(TLSAbandon(), promise: nil)
        self.close(promise: nil)
    }

    /// What the kernel says of this connection's sending side; nil if it cannot tell (closed, or
    /// not TCP). What NIO has not written yet is not in it.
    package func transmitState() -> TransmitState? {
        guard let provider = self as? any SocketOptionProvider else { return nil }
        let future: EventLoopFuture<TCPInfoWords> = provider.unsafeGetSocketOption(
            level: TCP.level, name: TCP.info)
        var state: TransmitState?
        // On the loop the future is complete already, so this runs now.
        future.assumeIsolated().whenSuccess { info in
            state = TransmitState(
                unacknowledgedSegments: Int(info.words[6]), unsentBytes: Int(info.words[36]))
        }
        return state
    }
}

/// Options of <linux/tcp.h>, which are macros.
private enum TCP {
    static let level = SocketOptionLevel(Int32(IPPROTO_TCP))
    static let info: SocketOptionName = 11
    static let userTimeout: Int32 = 18
}

/// How long written data of one connection may stay unacknowledged before the kernel drops it
/// (RFC 5482). Only on the channel's event loop.
///
/// Made once a connection, for an option that is set twice a message: to set it through NIO costs
/// 1.4 heap allocations each time, this none.
package struct UserTimeout {
    private let channel: any Channel  // existential: only asked whether it is open
    /// Good while the channel is active: both end in one turn of its loop.
    private let descriptor: NIOBSDSocket.Handle

    /// Nil: closed, or not a socket.
    package init?(of channel: any Channel) {
        var found: NIOBSDSocket.Handle?
        do {
            found = try channel.pipeline.syncOperations.withUnsafeTransportIfAvailable {
                (descriptor: NIOBSDSocket.Handle) in descriptor
            }
        } catch {
            return nil  // closed meanwhile: its end is on the way to who asks
        }
        guard let found else { return nil }
        self.channel = channel
        self.descriptor = found
    }

    /// - Parameter timeout: whole milliseconds; zero: the system's default.
    /// - Returns: false if the connection has ended.
    package func set(_ timeout: Duration) -> Bool {
        guard self.channel.isActive else { return false }
        var milliseconds = UInt32(clamping: max(0, timeout.inMilliseconds))
        let size = socklen_t(MemoryLayout<UInt32>.size)
        return setsockopt(
            self.descriptor, Int32(IPPROTO_TCP), TCP.userTimeout, &milliseconds, size) == 0
    }
}

/// `struct tcp_info` of <linux/tcp.h> up to `tcpi_min_rtt` as words of 32 bits: the C library's own
/// declaration ends before `tcpi_notsent_bytes` (word 36). Word 6 is `tcpi_unacked`.
private struct TCPInfoWords: Sendable {
    var words: InlineArray<38, UInt32> = InlineArray(repeating: 0)
}

extension IPAddress {
    /// The address of a socket; nil for one of another kind.
    package init?(_ address: SocketAddress) {
        // Read by position (sockaddr_in: address at 4; sockaddr_in6: at 8): the members belong to a
        // C module of NIO's own.
        switch address {
        case .v4(let v4):
            let word = withUnsafeBytes(of: v4.address) {
                $0.loadUnaligned(fromByteOffset: 4, as: UInt32.self)
            }
            self.init(v4: UInt32(bigEndian: word))
        case .v6(let v6):
            let (high, low) = withUnsafeBytes(of: v6.address) {
                (
                    $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self),
                    $0.loadUnaligned(fromByteOffset: 16, as: UInt64.self)
                )
            }
            self.init(v6: UInt64(bigEndian: high), UInt64(bigEndian: low))
        case .unixDomainSocket:
            return nil
        }
    }

    /// The socket address of this address and `port`.
    package func socketAddress(port: Int) -> SocketAddress {
        let bytes = ByteBuffer(bytes: self.bytes)
        do {
            return try SocketAddress(packedIPAddress: bytes, port: port)
        } catch {
            unreachable("4 or 16 bytes are an address")
        }
    }
}
