import Foundation
import NIOCore
import NIOEmbedded
import OpenSSL
import Primitives
import Testing

@testable import Networking

@Suite("Certificates that are read again")
struct CertificateStoreTests {
    @Test func `new files are taken, broken ones are reported once and change nothing`() throws {
        let files = try Files()
        let authority = try Files.makeAuthority()
        let identity = try files.issue(authority, "mx", hosts: ["one.example"])
        let store = try CertificateStore([identity])
        #expect(store.reload() == nil)
        let first = store.current
        #expect(first.certificates.map(\.names) == [["one.example"]])

        _ = try files.write("mx.pem", "broken in the middle of a copy")
        guard case .rejected(let error)? = store.reload() else {
            Issue.record("a broken file is taken")
            return
        }
        #expect(error.detail.contains(identity.certificate))
        #expect(store.current === first)
        #expect(store.reload() == nil, "the same fault is said once")

        _ = try files.issue(authority, "mx", hosts: ["two.example"])
        guard case .reloaded(let fresh)? = store.reload() else {
            Issue.record("new files are not taken")
            return
        }
        #expect(fresh.certificates.map(\.names) == [["two.example"]])
        #expect(store.current !== first)
        #expect(store.current.certificates.map(\.names) == [["two.example"]])
    }
}

@Suite("Accepting without descriptors")
struct AcceptWatchTests {
    @Test func `a pause is reported at most once a minute, and a client's mistake never`() throws {
        let reports = Shared<[String]>([])
        let clock = Shared(Instant.zero)
        let channel = EmbeddedChannel()
        let passed = Passed()
        let watch = AcceptWatch(clock: { clock.now }) { reason in
            reports.change { $0.append(reason) }
        }
        try channel.pipeline.syncOperations.addHandlers(watch, passed)
        let full = IOError(errnoCode: EMFILE, reason: "accept")
        channel.pipeline.fireErrorCaught(IOError(errnoCode: ECONNABORTED, reason: "accept"))
        #expect(reports.now.isEmpty)
        channel.pipeline.fireErrorCaught(full)
        clock.change { $0 = $0 + .milliseconds(59_999) }
        channel.pipeline.fireErrorCaught(full)
        #expect(reports.now == ["Too many open files"])
        clock.change { $0 = $0 + .milliseconds(1) }
        channel.pipeline.fireErrorCaught(full)
        #expect(reports.now.count == 2)
        #expect(passed.count == 4, "the bootstrap's own handlers see every error")
    }

    private final class Passed: ChannelInboundHandler {
        typealias InboundIn = NIOAny
        var count = 0
        func errorCaught(context: ChannelHandlerContext, error: any Error) { self.count += 1 }
    }
}
