// CertificateMeter.swift - when the certificates that are in use end, for Prometheus.
//
// Takes     what was loaded, at a start and whenever the files have changed.
// Limits    one series for each certificate of the settings.

import Metrics
package import OpenSSL
import Primitives

package enum CertificateMeter {
    /// Whom it is shown to.
    package enum Use: String, Sendable {
        case smtp, cluster
    }

    /// - Parameter files: of the certificates, in their order.
    package static func record(
        _ certificates: [CertificateInfo], files: [String], _ use: Use
    ) {
        for (certificate, file) in zip(certificates, files) {
            Gauge(
                label: "posthouse_certificate_not_after_seconds",
                dimensions: [("use", use.rawValue), ("file", file)]
            ).record(certificate.notAfter.milliseconds / 1000)
        }
    }
}
