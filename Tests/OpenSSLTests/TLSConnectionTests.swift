import Primitives
import Testing

@testable import OpenSSL

/// A client and a server joined in memory.
private struct Pair {
    let server: TLSConnection
    let client: TLSConnection
    var fault: OpenSSLError?
    /// Ciphertext goes over in pieces of at most this many bytes.
    var step = Int.max

    init(_ server: TLSServerContext, _ client: TLSConnection) throws {
        self.server = try server.makeConnection()
        self.client = client
    }

    /// True: both have finished. `fault` is the first one's.
    mutating func shakeHands() -> Bool {
        var finished = (server: false, client: false)
        for _ in 0..<20 {
            for (from, to) in [(self.server, self.client), (self.client, self.server)] {
                let output = from.takeOutput { Array($0) }
                for piece in self.pieces(output) {
                    let state = piece.withUnsafeBytes { bytes in
                        to.withInput(bytes) { to.handshake() }
                    }
                    switch state {
                    case .finished:
                        if to === self.server {
                            finished.server = true
                        } else {
                            finished.client = true
                        }
                    case .wantsInput: break
                    case .failed(let error):
                        if self.fault == nil { self.fault = error }
                        return false
                    }
                }
            }
            if finished == (true, true) { return true }
            if self.client.outputBytes == 0 && self.server.outputBytes == 0 {
                guard case .wantsInput = self.client.handshake() else { return false }
            }
        }
        return false
    }

    private func pieces(_ bytes: [UInt8]) -> [[UInt8]] {
        stride(from: 0, to: bytes.count, by: max(1, min(self.step, bytes.count))).map {
            Array(bytes[$0..<min(bytes.count, $0 + min(self.step, bytes.count))])
        }
    }

    /// What `to` reads of all that `from` has put out, and what came last.
    func carry(_ from: TLSConnection, _ to: TLSConnection) -> ([UInt8], TLSConnection.Read) {
        var plain: [UInt8] = []
        var last = TLSConnection.Read.wantsInput
        for piece in self.pieces(from.takeOutput { Array($0) }) {
            piece.withUnsafeBytes { bytes in
                to.withInput(bytes) {
                    while true {
                        var room = [UInt8](repeating: 0, count: 1000)
                        last = room.withUnsafeMutableBytes { to.read(into: $0) }
                        guard case .bytes(let count) = last else { return }
                        plain += room[..<count]
                    }
                }
            }
        }
        return (plain, last)
    }

    func write(_ connection: TLSConnection, _ bytes: [UInt8]) -> OpenSSLError? {
        bytes.withUnsafeBytes { connection.write($0) }
    }
}

@Suite("TLS without sockets, RFC 8446")
struct TLSConnectionTests {
    private let files: Files
    private let authority: IssuedCertificate
    private let ca: String

    init() throws {
        self.files = try Files()
        self.authority = try Files.makeAuthority()
        self.ca = try self.files.write("ca.pem", self.authority.certificate)
    }

    private func server(_ hosts: String...) throws -> TLSServerContext {
        try TLSServerContext(hosts.map { try self.files.issue(self.authority, $0, hosts: [$0]) })
    }

    @Test(arguments: [Int.max, 100, 1])
    func `both sides agree and talk, whatever the pieces`(step: Int) throws {
        let trusting = try TLSClientContext(trust: .authority(self.ca))
        var pair = try Pair(
            try self.server("mx.example"), try trusting.makeConnection(serverName: "MX.example."))
        pair.step = step
        let agreedPair = pair.shakeHands()
        #expect(agreedPair)
        #expect(pair.client.info.version == "TLSv1.3")
        #expect(pair.client.info.peer == .verified)
        #expect(pair.server.info.peer == .anonymous)
        #expect(pair.server.info.serverName == "mx.example")
        #expect(pair.client.info.cipher.utf8.starts(with: "TLS_".utf8))
        #expect(pair.client.peerCertificate?.names == ["mx.example"])
        let text = [UInt8]((0..<50_000).map { UInt8(truncatingIfNeeded: $0) })
        #expect(pair.write(pair.client, text) == nil)
        #expect(pair.carry(pair.client, pair.server) == (text, .wantsInput))
        #expect(pair.write(pair.server, [1]) == nil)
        #expect(pair.carry(pair.server, pair.client) == ([1], .wantsInput))
    }

    @Test func `close_notify ends one direction and not the other`() throws {
        let careless = try TLSClientContext(trust: .nobody)
        var pair = try Pair(
            try self.server("mx.example"), try careless.makeConnection(serverName: nil))
        let agreedPair = pair.shakeHands()
        #expect(agreedPair)
        #expect(pair.client.info.peer == .unverified)
        #expect(pair.write(pair.client, [7]) == nil)
        pair.client.close()
        #expect(pair.write(pair.client, [8])?.label == "tls_closed")
        #expect(pair.carry(pair.client, pair.server) == ([7], .peerClosed))
        #expect(pair.write(pair.server, [9]) == nil)
        pair.server.close()
        #expect(pair.carry(pair.server, pair.client) == ([9], .peerClosed))
    }

    @Test func `the wrong name, an expired certificate and an unknown authority fail`() throws {
        let trusting = try TLSClientContext(trust: .authority(self.ca))
        var wrong = try Pair(
            try self.server("mx.example"), try trusting.makeConnection(serverName: "other.example"))
        let agreedWrong = wrong.shakeHands()
        #expect(!agreedWrong)
        #expect(wrong.fault?.label == "certificate_name")

        let past = CertificateAuthority.Validity(
            from: Files.now + .seconds(-7200), until: Files.now + .seconds(-3600))
        let old = try self.files.issue(
            self.authority, "old", hosts: ["mx.example"], validity: past)
        var expired = try Pair(
            try TLSServerContext([old]), try trusting.makeConnection(serverName: "mx.example"))
        let agreedExpired = expired.shakeHands()
        #expect(!agreedExpired)
        #expect(expired.fault?.label == "certificate_expired")

        let foreign = try Files.makeAuthority("Foreign")
        let alien = try self.files.issue(foreign, "alien", hosts: ["mx.example"])
        var untrusted = try Pair(
            try TLSServerContext([alien]), try trusting.makeConnection(serverName: "mx.example"))
        let agreedUntrusted = untrusted.shakeHands()
        #expect(!agreedUntrusted)
        #expect(untrusted.fault?.label == "certificate_untrusted")
    }

    @Test func `names may be others than the one that was asked for, and addresses`() throws {
        let trusting = try TLSClientContext(trust: .authority(self.ca))
        var named = try Pair(
            try self.server("mx.example"),
            try trusting.makeConnection(
                serverName: "site.example", matching: ["none.example", "mx.example"]))
        let agreedNamed = named.shakeHands()
        #expect(agreedNamed)
        var numbered = try Pair(
            try self.server("10.0.0.1"), try trusting.makeConnection(serverName: "10.0.0.1"))
        let agreedNumbered = numbered.shakeHands()
        #expect(agreedNumbered)
        #expect(numbered.server.info.serverName == nil)
        var other = try Pair(
            try self.server("10.0.0.1"), try trusting.makeConnection(serverName: "10.0.0.2"))
        let agreedOther = other.shakeHands()
        #expect(!agreedOther)
        #expect(other.fault?.label == "certificate_name")
        #expect(throws: OpenSSLError.self) { try trusting.makeConnection(serverName: nil) }
    }

    @Test(arguments: [
        ("a.example", "a.example"), ("B.Example", "b.example"), ("x.c.example", "*.c.example"),
        ("x.y.c.example", "a.example"), ("unknown.example", "a.example"),
    ])
    func `the certificate is chosen by the name asked for`(asked: String, shown: String) throws {
        let context = try TLSServerContext(
            ["a.example", "b.example", "*.c.example"].enumerated().map {
                try self.files.issue(self.authority, "\($0.offset)", hosts: [$0.element])
            })
        let careless = try TLSClientContext(trust: .nobody)
        var pair = try Pair(context, try careless.makeConnection(serverName: asked))
        let agreedPair = pair.shakeHands()
        #expect(agreedPair)
        #expect(pair.client.peerCertificate?.names == [shown])
    }

    @Test func `clients show certificates where they are demanded`() throws {
        let identity = try self.files.issue(self.authority, "node", hosts: ["node.example"])
        let context = try TLSServerContext(
            [identity], clients: .certified(by: self.ca), minimum: .tls13)
        let member = try TLSClientContext(trust: .authority(self.ca), identity: identity)
        var known = try Pair(context, try member.makeConnection(serverName: "node.example"))
        let agreedKnown = known.shakeHands()
        #expect(agreedKnown)
        #expect(known.server.info.peer == .verified)
        #expect(known.server.peerCertificate?.commonName == "node")
        let stranger = try TLSClientContext(trust: .authority(self.ca))
        var unknown = try Pair(context, try stranger.makeConnection(serverName: "node.example"))
        let agreedUnknown = unknown.shakeHands()
        #expect(!agreedUnknown)
        #expect(unknown.fault != nil)
    }

    @Test func `plaintext in place of a handshake is refused and ends the connection`() throws {
        let context = try self.server("mx.example")
        let connection = try context.makeConnection()
        let state = Array("EHLO client.example\r\n".utf8).withUnsafeBytes { bytes in
            connection.withInput(bytes) { connection.handshake() }
        }
        guard case .failed(let error) = state else {
            Issue.record("a handshake of plaintext")
            return
        }
        #expect(error.label == "tls_handshake")
        #expect(connection.handshake() != .finished)
        #expect(connection.write(UnsafeRawBufferPointer(start: nil, count: 0)) == nil)
    }

    @Test func `a record that was changed on the way breaks the connection`() throws {
        let careless = try TLSClientContext(trust: .nobody)
        var pair = try Pair(
            try self.server("mx.example"), try careless.makeConnection(serverName: nil))
        let agreedPair = pair.shakeHands()
        #expect(agreedPair)
        #expect(pair.write(pair.client, Array("MAIL FROM:<>".utf8)) == nil)
        var bytes = pair.client.takeOutput { Array($0) }
        bytes[bytes.count - 3] ^= 1
        let read = bytes.withUnsafeBytes { lent in
            pair.server.withInput(lent) {
                var room = [UInt8](repeating: 0, count: 100)
                return room.withUnsafeMutableBytes { pair.server.read(into: $0) }
            }
        }
        guard case .failed(let error) = read else {
            Issue.record("a changed record was read")
            return
        }
        #expect(error.label == "tls_record")
    }
}
