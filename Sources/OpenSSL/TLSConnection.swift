// TLSConnection.swift - one TLS session without a socket: bytes in, bytes out.
//
// Takes     ciphertext from the peer (lent for one call), plaintext from us.
// Gives     plaintext from the peer, ciphertext for the peer (taken after each call).
// Never     sockets, event loops, timers: TLSHandler in Networking has those.
// Standard  RFC 8446, RFC 5246; RFC 8446 §6.1 (close_notify).

import COpenSSL
package import Primitives

/// Not `Sendable`: a connection belongs to one event loop.
package final class TLSConnection {
    package enum Role: Sendable { case server, client }

    /// What a step of the handshake came to.
    package enum Handshake: Equatable {
        case finished
        /// Send the output, then wait for more of the peer.
        case wantsInput
        /// Send the output (it may hold an alert), then close.
        case failed(OpenSSLError)
    }

    /// What a read came to.
    package enum Read: Equatable {
        /// This many bytes of plaintext, at least one. Read again.
        case bytes(Int)
        /// All lent ciphertext is taken; nothing more for now.
        case wantsInput
        /// The peer's close_notify: it sends nothing more.
        case peerClosed
        /// Send the output (it may hold an alert), then close.
        case failed(OpenSSLError)
    }

    package let role: Role
    private let ssl: OpaquePointer
    private let wire: UnsafeMutablePointer<Wire>
    /// Kept alive: certificates and the table of names.
    private let owner: AnyObject
    private var verifies = false
    private var broken = false
    private var noticeSent = false

    init(
        _ context: SharedContext, owner: AnyObject, role: Role
    ) throws(OpenSSLError) {
        let wire = UnsafeMutablePointer<Wire>.allocate(capacity: 1)
        wire.initialize(to: Wire())
        ERR_clear_error()
        guard let ssl = SSL_new(context.pointer) else {
            wire.deallocate()
            throw .capture("tls_connection", "cannot make a TLS connection")
        }
        guard let bio = Wire.makeBIO(wire) else {
            SSL_free(ssl)
            wire.deallocate()
            throw .capture("tls_connection", "cannot make a TLS connection")
        }
        // One BIO for both directions: SSL_set_bio then takes a single reference.
        SSL_set_bio(ssl, bio, bio)
        if role == .server { SSL_set_accept_state(ssl) } else { SSL_set_connect_state(ssl) }
        self.ssl = ssl
        self.wire = wire
        self.owner = owner
        self.role = role
    }

    deinit {
        SSL_free(self.ssl)
        self.wire.pointee.free()
        self.wire.deinitialize(count: 1)
        self.wire.deallocate()
    }

    /// Sends `name` as SNI.
    func ask(for name: String) throws(OpenSSLError) {
        guard posthouse_ssl_set_server_name(self.ssl, name) == 1 else {
            throw .capture("tls_server_name", "cannot ask for the server name \(name)")
        }
    }

    /// The handshake fails unless the peer's certificate is for one of `names`.
    func require(_ names: [String]) throws(OpenSSLError) {
        guard !names.isEmpty else {
            throw OpenSSLError(
                label: "tls_server_name", detail: "no name to check the certificate against")
        }
        self.verifies = true
        SSL_set_hostflags(self.ssl, UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS))
        for name in names {
            let done =
                IPAddress(name) != nil
                ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(self.ssl), name)
                : SSL_add1_host(self.ssl, name)
            guard done == 1 else {
                throw .capture("tls_server_name", "cannot check certificates for \(name)")
            }
        }
    }

    // MARK: Ciphertext

    /// Lends `ciphertext` for the time of `body`, which shakes hands and reads until both want
    /// input; what it has not taken is lost.
    package func withInput<R>(_ ciphertext: UnsafeRawBufferPointer, _ body: () -> R) -> R {
        self.wire.pointee.input = ciphertext
        defer { self.wire.pointee.input = UnsafeRawBufferPointer(start: nil, count: 0) }
        return body()
    }

    /// Lent ciphertext that is not taken yet.
    package var inputBytes: Int { self.wire.pointee.input.count }

    /// Ciphertext that waits to be sent.
    package var outputBytes: Int { self.wire.pointee.outputBytes }

    /// Gives `body` all ciphertext that waits to be sent; it is gone afterwards.
    package func takeOutput<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
        defer { self.wire.pointee.clear() }
        return body(self.wire.pointee.written)
    }

    // MARK: Handshake

    package var isEstablished: Bool { SSL_is_init_finished(self.ssl) == 1 }

    /// Goes on with the handshake as far as the input reaches. The client calls it once without
    /// input, to begin.
    package func handshake() -> Handshake {
        if self.broken { return .failed(Self.unusable) }
        ERR_clear_error()
        let result = SSL_do_handshake(self.ssl)
        if result == 1 { return .finished }
        if SSL_get_error(self.ssl, result) == SSL_ERROR_WANT_READ { return .wantsInput }
        self.broken = true
        return .failed(self.handshakeError())
    }

    private func handshakeError() -> OpenSSLError {
        let verdict = SSL_get_verify_result(self.ssl)
        guard self.checksPeer, verdict != X509_V_OK else {
            let isBare =
                ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE
            return .capture(
                isBare ? "certificate_missing" : "tls_handshake", "TLS handshake failed")
        }
        _ = OpenSSLError.drain()
        let text = X509_verify_cert_error_string(verdict).map { String(cString: $0) } ?? "unknown"
        let label: StaticLabel =
            switch Int32(verdict) {
            case X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH: "certificate_name"
            case X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_CERT_NOT_YET_VALID: "certificate_expired"
            case _: "certificate_untrusted"
            }
        return OpenSSLError(label: label, detail: "certificate not accepted: \(text)")
    }

    /// What the handshake has agreed on; call it after `.finished`.
    package var info: TLSInfo {
        let cipher = SSL_get_current_cipher(self.ssl)
        let name = SSL_CIPHER_standard_name(cipher).map { String(cString: $0) }
        let asked = SSL_get_servername(self.ssl, TLSEXT_NAMETYPE_host_name)
        let shown = SSL_get0_peer_certificate(self.ssl) != nil
        return TLSInfo(
            version: SSL_get_version(self.ssl).map { String(cString: $0) } ?? "",
            cipher: name ?? "",
            bits: Int(SSL_CIPHER_get_bits(cipher, nil)),
            serverName: asked.map { String(cString: $0).lowercased() },
            resumed: SSL_session_reused(self.ssl) == 1,
            peer: !shown ? .anonymous : self.checksPeer ? .verified : .unverified)
    }

    /// A server asks for a certificate only if it checks it.
    private var checksPeer: Bool {
        self.verifies
            || (self.role == .server && SSL_get_verify_mode(self.ssl) & SSL_VERIFY_PEER != 0)
    }

    /// The certificate that the peer has shown.
    package var peerCertificate: CertificateInfo? {
        SSL_get0_peer_certificate(self.ssl).flatMap { CertificateInfo($0) }
    }

    // MARK: Plaintext

    /// Decrypts into `target`, which must have room.
    package func read(into target: UnsafeMutableRawBufferPointer) -> Read {
        if self.broken { return .failed(Self.unusable) }
        ERR_clear_error()
        let room = Int32(clamping: target.count)
        let count = SSL_read(self.ssl, target.baseAddress, room)
        if count > 0 { return .bytes(Int(count)) }
        switch SSL_get_error(self.ssl, count) {
        case SSL_ERROR_WANT_READ: return .wantsInput
        case SSL_ERROR_ZERO_RETURN: return .peerClosed
        case _:
            self.broken = true
            return .failed(.capture("tls_record", "TLS connection broken"))
        }
    }

    /// Decrypted bytes that the next `read` gives without taking more ciphertext.
    package var pendingBytes: Int { Int(SSL_pending(self.ssl)) }

    /// Encrypts all of `plaintext`; the output grows by a little more. Nil, or why it cannot.
    package func write(_ plaintext: UnsafeRawBufferPointer) -> OpenSSLError? {
        var rest = plaintext
        // Header, tag and padding of each record of 16 KiB.
        self.wire.pointee.reserve(rest.count + (rest.count / 16_384 + 1) * 64)
        while rest.count > 0 {
            if self.broken || self.noticeSent { return Self.unusable }
            ERR_clear_error()
            let count = SSL_write(self.ssl, rest.baseAddress, Int32(clamping: rest.count))
            guard count > 0 else {
                self.broken = true
                return .capture("tls_record", "TLS connection broken")
            }
            rest = UnsafeRawBufferPointer(rebasing: rest[Int(count)...])
        }
        return nil
    }

    /// Puts close_notify into the output: we send nothing more. Reading goes on.
    package func close() {
        guard !self.broken, !self.noticeSent, self.isEstablished else { return }
        self.noticeSent = true
        ERR_clear_error()
        if SSL_shutdown(self.ssl) < 0 { _ = OpenSSLError.drain() }
    }

    private static let unusable = OpenSSLError(
        label: "tls_closed", detail: "TLS connection already closed or broken")
}
