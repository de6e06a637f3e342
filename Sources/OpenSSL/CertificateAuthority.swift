// CertificateAuthority.swift - a small authority of our own: one key, certificates for nodes.
//
// Standard  RFC 5280 §4.1, §4.2; keys on P-256, signatures with SHA-256.
// Limits    serial numbers are 127 random bits; nothing is revoked: make a new authority instead.

import COpenSSL
package import Primitives

/// A certificate and its private key, both PEM.
package struct IssuedCertificate: Hashable, Sendable {
    package let certificate: String
    package let key: String

    package init(certificate: String, key: String) {
        self.certificate = certificate
        self.key = key
    }
}

package enum CertificateAuthority {
    /// When a certificate is good.
    package struct Validity: Hashable, Sendable {
        package var from: WallTime
        package var until: WallTime

        package init(from: WallTime, until: WallTime) {
            self.from = from
            self.until = until
        }

        /// `years` of 365 days, beginning an hour ago, as clocks differ.
        package static func years(_ years: Int, from now: WallTime) -> Validity {
            Validity(from: now + .seconds(-3600), until: now + .seconds(years * 365 * 86_400))
        }
    }

    /// A new authority, signed by itself.
    ///
    /// - Parameter name: its common name, at most 64 characters.
    package static func make(
        name: String, validity: Validity
    ) throws(OpenSSLError) -> IssuedCertificate {
        let key = try PrivateKey()
        let extensions = [
            (NID_basic_constraints, "critical,CA:TRUE,pathlen:0"),
            (NID_key_usage, "critical,keyCertSign,cRLSign"),
            (NID_subject_key_identifier, "hash"),
        ]
        let certificate = try Certificate(
            name: name, key: key, issuer: nil, signer: key, validity, extensions)
        return IssuedCertificate(certificate: try certificate.pem(), key: try key.pem())
    }

    /// A new key and its certificate, good for servers and clients, signed by `authority`.
    ///
    /// - Parameters:
    ///   - name: the common name, at most 64 characters; for a node its name.
    ///   - hosts: DNS names and addresses that it is for; at least one.
    package static func issue(
        by authority: IssuedCertificate, name: String, hosts: [String], validity: Validity
    ) throws(OpenSSLError) -> IssuedCertificate {
        let signer = try PrivateKey(pem: authority.key)
        let issuer = try Certificate(pem: authority.certificate)
        guard X509_check_private_key(issuer.pointer, signer.pointer) == 1 else {
            throw .capture(
                "certificate_key_mismatch", "the authority's key is not that of its certificate")
        }
        let key = try PrivateKey()
        let extensions = [
            (NID_basic_constraints, "critical,CA:FALSE"),
            (NID_key_usage, "critical,digitalSignature"),
            (NID_ext_key_usage, "serverAuth,clientAuth"),
            (NID_subject_key_identifier, "hash"),
            (NID_authority_key_identifier, "keyid"),
            (NID_subject_alt_name, try Self.alternativeNames(hosts)),
        ]
        let certificate = try Certificate(
            name: name, key: key, issuer: issuer.pointer, signer: signer, validity, extensions)
        return IssuedCertificate(certificate: try certificate.pem(), key: try key.pem())
    }

    /// `DNS:a.example,IP:10.0.0.1`. The text is OpenSSL's own little language, so nothing but host
    /// names and addresses may get into it.
    private static func alternativeNames(_ hosts: [String]) throws(OpenSSLError) -> String {
        var entries: [String] = []
        for host in hosts {
            if let address = IPAddress(host) {
                entries.append("IP:\(address)")
                continue
            }
            let isName =
                (1...253).contains(host.utf8.count)
                && host.utf8.allSatisfy {
                    (0x30...0x39).contains($0) || (0x61...0x7A).contains($0 | 0x20)
                        || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-")
                        || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: "*")
                }
            guard isName else {
                throw OpenSSLError(
                    label: "certificate_host", detail: "\"\(host)\" is no host name or address",
                    remedy: "Give names like a.example.com and addresses like 10.0.0.1")
            }
            entries.append("DNS:\(host)")
        }
        guard !entries.isEmpty else {
            throw OpenSSLError(
                label: "certificate_host", detail: "a certificate needs a host name or address",
                remedy: "Give names like a.example.com and addresses like 10.0.0.1")
        }
        return entries.joined(separator: ",")
    }
}

/// Owns one EVP_PKEY.
private final class PrivateKey {
    let pointer: OpaquePointer

    init() throws(OpenSSLError) {
        guard let pointer = posthouse_make_p256_key() else {
            throw .capture("certificate_key", "cannot make a key")
        }
        self.pointer = pointer
    }

    init(pem: String) throws(OpenSSLError) {
        let bio = try MemoryBIO(pem)
        // A key behind a pass phrase is an error, not a question on the terminal.
        let key = PEM_read_bio_PrivateKey(bio.pointer, nil, { _, _, _, _ in -1 }, nil)
        guard let key else { throw .capture("certificate_key", "cannot read the private key") }
        self.pointer = key
    }

    deinit { EVP_PKEY_free(self.pointer) }

    func pem() throws(OpenSSLError) -> String {
        let bio = try MemoryBIO()
        guard PEM_write_bio_PrivateKey(bio.pointer, self.pointer, nil, nil, 0, nil, nil) == 1
        else { throw .capture("certificate_key", "cannot write a private key") }
        return bio.text
    }
}

/// Owns one X509.
private final class Certificate {
    let pointer: OpaquePointer

    init(pem: String) throws(OpenSSLError) {
        let bio = try MemoryBIO(pem)
        guard let pointer = PEM_read_bio_X509(bio.pointer, nil, nil, nil) else {
            throw .capture("certificate_file", "cannot read the certificate")
        }
        self.pointer = pointer
    }

    /// Makes and signs one; `issuer` nil: its own.
    init(
        name: String, key: PrivateKey, issuer: OpaquePointer?,
        signer: PrivateKey, _ validity: CertificateAuthority.Validity,
        _ extensions: [(Int32, String)]
    ) throws(OpenSSLError) {
        guard let pointer = X509_new() else {
            throw .capture("certificate", "cannot make a certificate")
        }
        self.pointer = pointer
        var serial = Secrets.randomBytes(16)
        // Positive, and never zero.
        serial[0] = serial[0] & 0x7F | 0x40
        let number = BN_bin2bn(serial, Int32(serial.count), nil)
        defer { BN_free(number) }
        let subject = X509_get_subject_name(pointer)
        let text = Array(name.utf8)
        let made =
            X509_set_version(pointer, 2) == 1
            && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(pointer)) != nil
            && ASN1_TIME_set(X509_getm_notBefore(pointer), validity.from.seconds) != nil
            && ASN1_TIME_set(X509_getm_notAfter(pointer), validity.until.seconds) != nil
            && X509_set_pubkey(pointer, key.pointer) == 1
            && X509_NAME_add_entry_by_NID(
                subject, NID_commonName, MBSTRING_UTF8, text, Int32(text.count), -1, 0) == 1
        guard made else {
            throw .capture("certificate", "cannot make a certificate for \"\(name)\"")
        }
        let above = issuer ?? pointer
        guard X509_set_issuer_name(pointer, X509_get_subject_name(above)) == 1 else {
            throw .capture("certificate", "cannot set the issuer of a certificate")
        }
        var context = v3_ext_ctx()
        X509V3_set_ctx(&context, above, pointer, nil, nil, 0)
        for (kind, value) in extensions {
            guard let made = X509V3_EXT_conf_nid(nil, &context, kind, value) else {
                throw .capture("certificate", "cannot make the extension \"\(value)\"")
            }
            defer { X509_EXTENSION_free(made) }
            guard X509_add_ext(pointer, made, -1) == 1 else {
                throw .capture("certificate", "cannot add the extension \"\(value)\"")
            }
        }
        guard X509_sign(pointer, signer.pointer, EVP_sha256()) > 0 else {
            throw .capture("certificate", "cannot sign a certificate")
        }
    }

    deinit { X509_free(self.pointer) }

    func pem() throws(OpenSSLError) -> String {
        let bio = try MemoryBIO()
        guard PEM_write_bio_X509(bio.pointer, self.pointer) == 1 else {
            throw .capture("certificate", "cannot write a certificate")
        }
        return bio.text
    }
}

/// Owns one BIO in memory, for PEM.
private final class MemoryBIO {
    let pointer: OpaquePointer

    init() throws(OpenSSLError) {
        guard let pointer = BIO_new(BIO_s_mem()) else {
            throw .capture("memory", "no memory for PEM text")
        }
        self.pointer = pointer
    }

    convenience init(_ text: String) throws(OpenSSLError) {
        try self.init()
        let bytes = Array(text.utf8)
        guard bytes.isEmpty || BIO_write(self.pointer, bytes, Int32(bytes.count)) == bytes.count
        else { throw .capture("memory", "no memory for PEM text") }
    }

    deinit { BIO_free(self.pointer) }

    var text: String {
        var start: UnsafeMutablePointer<CChar>?
        let count = posthouse_bio_memory(self.pointer, &start)
        let bytes = UnsafeRawBufferPointer(start: start, count: count)
        return String(decoding: bytes, as: UTF8.self)
    }
}

extension WallTime {
    fileprivate var seconds: Int { Int(self.milliseconds / 1000) }
}
