// ClientTrust.swift - TLS for outbound connections: one context that trusts nobody, one that
// verifies.
//
// Standard  RFC 7435 (opportunistic: any certificate), RFC 6125 §6.4 (names).

package import OpenSSL
import Primitives

/// TLS contexts for all connections of the process.
package struct ClientTrust: Sendable {
    /// The labels of a handshake that failed by the certificate.
    static let notGood: [StaticLabel] = [
        "certificate_name", "certificate_expired", "certificate_untrusted",
    ]

    private let anybody: TLSClientContext
    private let verified: TLSClientContext

    /// - Throws: an error that says what to do about it.
    package init() throws(OpenSSLError) {
        self.init(
            anybody: try TLSClientContext(trust: .nobody),
            verified: try TLSClientContext(trust: .system))
    }

    /// `verified`: for `tls = "verify"`; tests bring an authority of their own.
    package init(anybody: TLSClientContext, verified: TLSClientContext) {
        self.anybody = anybody
        self.verified = verified
    }

    /// The client's side of a connection to `host`; a literal is verified by its address.
    func connection(verifies: Bool, host: PlannedHost) throws(OpenSSLError) -> TLSConnection {
        let isLiteral = host.name.utf8.first == UInt8(ascii: "[")
        let name = isLiteral ? host.address.description : host.name
        return verifies
            ? try self.verified.makeConnection(serverName: name, matching: [name])
            : try self.anybody.makeConnection(serverName: name)
    }
}
