// TLSValues.swift - what is said about TLS in plain values.

package import Primitives

/// Versions that we speak; older ones are refused (RFC 8996).
package enum TLSVersion: Int32, Comparable, Sendable {
    case tls12 = 0x0303
    case tls13 = 0x0304

    package static func < (a: TLSVersion, b: TLSVersion) -> Bool { a.rawValue < b.rawValue }
}

/// A certificate chain (PEM, leaf first) and its private key (PEM, not encrypted).
package struct CertificateFiles: Hashable, Sendable {
    package var certificate: String
    package var key: String

    package init(certificate: String, key: String) {
        self.certificate = certificate
        self.key = key
    }
}

/// What a certificate says of itself.
package struct CertificateInfo: Hashable, Sendable {
    /// The subject's common name, "" if it has none.
    package let commonName: String
    /// DNS names of the subject's alternative name, in lower case.
    package let names: [String]
    package let addresses: [IPAddress]
    package let notBefore: WallTime
    package let notAfter: WallTime
    /// SHA-256 of the whole certificate.
    package let fingerprint: Digest256
}

/// What was thought of the peer's certificate.
package enum TLSPeer: Hashable, Sendable {
    /// It showed none.
    case anonymous
    /// Chain and name were checked and are good.
    case verified
    /// Nobody demanded a check: encrypted, but who it is remains open.
    case unverified
}

/// What a finished handshake has agreed on.
package struct TLSInfo: Hashable, Sendable {
    /// "TLSv1.3", as in log lines and Received fields.
    package let version: String
    /// The name that RFCs use, "TLS_AES_256_GCM_SHA384".
    package let cipher: String
    /// Strength of the cipher in bits.
    package let bits: Int
    /// The name that the client asked for (SNI), in lower case.
    package let serverName: String?
    /// An earlier session went on: no certificate was sent.
    package let resumed: Bool
    package let peer: TLSPeer
}
