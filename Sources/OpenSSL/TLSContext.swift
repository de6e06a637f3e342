// TLSContext.swift - what many connections share: certificates, trust, versions, ciphers.
//
// A context never changes: new certificates are a new context, and connections keep the one that
// they began with.
//
// Standard  RFC 8996 (TLS 1.2 at least), RFC 5077 and RFC 8446 §4.6.1 (tickets), RFC 6066 §3 (SNI).

import COpenSSL
import Primitives

/// Owns one SSL_CTX. `@unchecked Sendable`: OpenSSL counts its references atomically, and nothing
/// changes a context after `init`.
final class SharedContext: @unchecked Sendable {
    let pointer: OpaquePointer

    init(server: Bool, minimum: TLSVersion) throws(OpenSSLError) {
        guard let pointer = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method()) else {
            throw .capture("tls_context", "cannot make a TLS context")
        }
        self.pointer = pointer
        posthouse_ssl_ctx_set_safe_options(pointer)
        posthouse_ssl_ctx_set_cache_off(pointer)
        guard posthouse_ssl_ctx_set_min_version(pointer, minimum.rawValue) == 1,
            SSL_CTX_set_cipher_list(pointer, Self.ciphers) == 1
        else { throw .capture("tls_context", "cannot set versions and ciphers of TLS") }
        // A key behind a pass phrase is an error, not a question on the terminal.
        SSL_CTX_set_default_passwd_cb(pointer) { _, _, _, _ in -1 }
    }

    deinit { SSL_CTX_free(self.pointer) }

    /// For TLS 1.2, best first: forward secrecy and AEAD, then what old mail servers have.
    private static let ciphers =
        "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:ECDHE+AES:DHE+AES:"
        + "RSA+AESGCM:RSA+AES:!aNULL:!eNULL:!MD5:!DSS:!PSK:!SRP"

    /// Loads a chain and its key and checks that they belong together.
    func use(_ files: CertificateFiles) throws(OpenSSLError) {
        ERR_clear_error()
        guard SSL_CTX_use_certificate_chain_file(self.pointer, files.certificate) == 1 else {
            throw .capture(
                "certificate_file", "cannot read the certificate \(files.certificate)",
                remedy: "It must be a PEM file that this user can read, "
                    + "the server's certificate first")
        }
        guard SSL_CTX_use_PrivateKey_file(self.pointer, files.key, SSL_FILETYPE_PEM) == 1 else {
            let mismatch = Self.isMismatch()
            throw .capture(
                mismatch ? "certificate_key_mismatch" : "certificate_key",
                mismatch
                    ? "the key \(files.key) does not belong to \(files.certificate)"
                    : "cannot read the private key \(files.key)",
                remedy: mismatch
                    ? "Give the key that the certificate was made with; "
                        + "the server's certificate must be the first of the file"
                    : "It must be a PEM file without pass phrase, readable by this user")
        }
        guard SSL_CTX_check_private_key(self.pointer) == 1 else {
            throw .capture(
                "certificate_key_mismatch",
                "the key \(files.key) does not belong to \(files.certificate)",
                remedy: "Give the key that the certificate was made with")
        }
    }

    /// Whether OpenSSL's newest complaint is that key and certificate differ.
    private static func isMismatch() -> Bool {
        let reason = ERR_reason_error_string(ERR_peek_last_error())
        guard let reason else { return false }
        let text = String(cString: reason)
        return text == "key values mismatch" || text == "key type mismatch"
    }

    func trust(file: String) throws(OpenSSLError) {
        guard SSL_CTX_load_verify_file(self.pointer, file) == 1 else {
            throw .capture(
                "authority_file", "cannot read the authority's certificate \(file)",
                remedy: "It must be a PEM file, readable by this user")
        }
    }

    /// The certificate loaded by `use`.
    func leaf() -> CertificateInfo? {
        guard let certificate = SSL_CTX_get0_certificate(self.pointer) else { return nil }
        return CertificateInfo(certificate)
    }
}

/// What a listener needs for TLS: one or more certificates, chosen by the name that is asked for.
package final class TLSServerContext: Sendable {
    /// Whether clients have to show a certificate.
    package enum Clients: Hashable, Sendable {
        case anyone
        /// One of the authority in this file (PEM), else no connection.
        case certified(by: String)
    }

    private let table: NameTable
    /// The certificates in the order of `init`.
    package let certificates: [CertificateInfo]

    /// - Parameter identities: at least one; the first answers clients that ask for no name or for
    ///   one that no certificate has.
    /// - Throws: an error that names the file and says what to do about it.
    package init(
        _ identities: [CertificateFiles], clients: Clients = .anyone,
        minimum: TLSVersion = .tls12
    ) throws(OpenSSLError) {
        invariant(!identities.isEmpty, "a TLS server has a certificate")
        var contexts: [SharedContext] = []
        var certificates: [CertificateInfo] = []
        for identity in identities {
            let context = try SharedContext(server: true, minimum: minimum)
            try context.use(identity)
            posthouse_ssl_ctx_set_dh_auto(context.pointer)
            SSL_CTX_set_num_tickets(context.pointer, 1)
            let name = Array("posthouse".utf8)
            SSL_CTX_set_session_id_context(context.pointer, name, UInt32(name.count))
            if case .certified(let file) = clients {
                try context.trust(file: file)
                let mode = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT
                SSL_CTX_set_verify(context.pointer, mode, nil)
            }
            guard let leaf = context.leaf() else {
                throw OpenSSLError(
                    label: "certificate_file",
                    detail: "no certificate in \(identity.certificate)",
                    remedy: "Give a PEM file with the server's certificate first")
            }
            contexts.append(context)
            certificates.append(leaf)
        }
        self.certificates = certificates
        self.table = NameTable(contexts, certificates)
        self.table.install()
    }

    /// The server's side of a new connection.
    package func makeConnection() throws(OpenSSLError) -> TLSConnection {
        try TLSConnection(self.table.contexts[0], owner: self, role: .server)
    }
}

/// Certificates by the names that they are good for.
private final class NameTable: Sendable {
    let contexts: [SharedContext]
    private let exact: [String: Int]
    /// Without the `*.` in front.
    private let wildcard: [String: Int]

    init(_ contexts: [SharedContext], _ certificates: [CertificateInfo]) {
        var exact: [String: Int] = [:]
        var wildcard: [String: Int] = [:]
        for (index, certificate) in certificates.enumerated() {
            for name in certificate.names {
                if name.utf8.starts(with: "*.".utf8) {
                    let parent = String(name.dropFirst(2))
                    if wildcard[parent] == nil { wildcard[parent] = index }
                } else if exact[name] == nil {
                    exact[name] = index
                }
            }
        }
        self.contexts = contexts
        self.exact = exact
        self.wildcard = wildcard
    }

    /// With one certificate there is nothing to choose.
    func install() {
        guard self.contexts.count > 1 else { return }
        // Unretained: the server's context owns this table, and connections own that context.
        let table = Unmanaged.passUnretained(self).toOpaque()
        posthouse_ssl_ctx_set_name_callback(
            self.contexts[0].pointer,
            { ssl, _, argument in
                guard let ssl, let argument,
                    let asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)
                else { return SSL_TLSEXT_ERR_NOACK }
                let table = Unmanaged<NameTable>.fromOpaque(argument).takeUnretainedValue()
                guard let index = table.find(String(cString: asked).lowercased()) else {
                    return SSL_TLSEXT_ERR_NOACK
                }
                if index > 0 { SSL_set_SSL_CTX(ssl, table.contexts[index].pointer) }
                return SSL_TLSEXT_ERR_OK
            }, table)
    }

    private func find(_ name: String) -> Int? {
        if let index = self.exact[name] { return index }
        guard let dot = name.firstIndex(of: ".") else { return nil }
        return self.wildcard[String(name[name.index(after: dot)...])]
    }
}

/// What connections of ours to others need for TLS.
package final class TLSClientContext: Sendable {
    /// Whose word is taken for the server's name.
    package enum Trust: Hashable, Sendable {
        /// Nobody's: any certificate will do (opportunistic TLS, RFC 7435).
        case nobody
        /// The authorities that the system trusts.
        case system
        /// The authorities in this file (PEM).
        case authority(String)
    }

    private let context: SharedContext
    private let verifies: Bool

    /// - Parameter identity: shown to servers that ask for a certificate.
    /// - Throws: an error that names the file and says what to do about it.
    package init(
        trust: Trust, identity: CertificateFiles? = nil, minimum: TLSVersion = .tls12
    ) throws(OpenSSLError) {
        self.context = try SharedContext(server: false, minimum: minimum)
        if let identity { try self.context.use(identity) }
        switch trust {
        case .nobody:
            self.verifies = false
            // Weak keys of others are better than no encryption at all, which is the other choice.
            SSL_CTX_set_security_level(self.context.pointer, 1)
            SSL_CTX_set_verify(self.context.pointer, SSL_VERIFY_NONE, nil)
        case .system:
            self.verifies = true
            guard SSL_CTX_set_default_verify_paths(self.context.pointer) == 1 else {
                throw .capture(
                    "authority_file", "cannot load the system's certificate authorities",
                    remedy: "Install the package ca-certificates")
            }
            SSL_CTX_set_verify(self.context.pointer, SSL_VERIFY_PEER, nil)
        case .authority(let file):
            self.verifies = true
            try self.context.trust(file: file)
            SSL_CTX_set_verify(self.context.pointer, SSL_VERIFY_PEER, nil)
        }
    }

    /// The client's side of a new connection.
    ///
    /// - Parameters:
    ///   - serverName: sent as SNI unless it is nil or an address; a final dot is cut off.
    ///   - names: the certificate has to be for one of these (DNS names, or one address); nil: for
    ///     `serverName`. Only read if somebody is trusted; then there must be at least one.
    package func makeConnection(
        serverName: String?, matching names: [String]? = nil
    ) throws(OpenSSLError) -> TLSConnection {
        let connection = try TLSConnection(self.context, owner: self, role: .client)
        let asked = serverName.map(Self.withoutFinalDot)
        if let asked, IPAddress(asked) == nil { try connection.ask(for: asked) }
        if self.verifies {
            let wanted = names?.map(Self.withoutFinalDot) ?? asked.map { [$0] } ?? []
            try connection.require(wanted)
        }
        return connection
    }

    private static func withoutFinalDot(_ name: String) -> String {
        name.utf8.last == UInt8(ascii: ".") ? String(name.dropLast()) : name
    }
}
