// UserTimeoutTests.swift - the kernel's limit for what is not acknowledged, set past NIO.

import Glibc
import NIOCore
import NIOPosix
import Primitives
import Testing

@testable import Networking

@Suite("User timeout, RFC 5482", .timeLimit(.minutes(1)))
struct UserTimeoutTests {
    private static let loop = MultiThreadedEventLoopGroup.singleton.next()

    @Test func `the user timeout is the kernel's in milliseconds, and zero takes it back`()
        async throws
    {
        let loopback = try #require(IPAddress("127.0.0.1"))
        let listener = try await Listener.bind(
            loopback, port: 0, on: Self.loop, children: Self.loop
        ) { _ in }.get()
        let channel = try await Dialer.connect(
            to: loopback, port: listener.port, timeout: .seconds(5), on: Self.loop
        ) { _ in }.get()
        let option = ChannelOptions.Types.SocketOption(
            level: SocketOptionLevel(Int32(IPPROTO_TCP)), name: 18)
        for (timeout, wanted) in [(Duration.seconds(1), 1000), (.zero, 0), (.seconds(-5), 0)] {
            let found = try await Self.loop.submit {
                let isSet = UserTimeout(of: channel)?.set(timeout)
                #expect(isSet == true)
                return try channel.syncOptions?.getOption(option)
            }.get()
            #expect(found == wanted)
        }
        let late = try await Self.loop.submit {
            let userTimeout = UserTimeout(of: channel)
            channel.abort()
            return (userTimeout?.set(.seconds(1)), UserTimeout(of: channel) == nil)
        }.get()
        #expect(late.0 == false && late.1)
        try await listener.close().get()
    }
}
