// PeerCertificates.swift - what this node shows its peers, and whom it believes.
//
// Takes     the files of `cluster.certificate`, `cluster.key` and `cluster.ca`.
// Gives     contexts for new connections; read again when the files change. Connections that are
//           open stay: who was believed when it came is believed until it goes.
// See       WatchedFiles; Docs/Operations.md for new certificates and a new authority.

import Logging
import Networking
import OpenSSL
import Primitives
package import Settings

struct PeerCertificates: Sendable {
    let server: TLSServerContext
    let client: TLSClientContext

    /// - Throws: an error that names the file and says what to do about it, also if the certificate
    ///   is for another name than `node`.
    init(_ settings: Settings.Cluster, _ node: NodeName) throws(OpenSSLError) {
        let identity = CertificateFiles(certificate: settings.certificate, key: settings.key)
        self.server = try TLSServerContext(
            [identity], clients: .certified(by: settings.ca), minimum: .tls13)
        self.client = try TLSClientContext(
            trust: .authority(settings.ca), identity: identity, minimum: .tls13)
        let shown = self.server.certificates[0].commonName
        guard shown == node else {
            throw OpenSSLError(
                label: "certificate_name",
                detail: "the certificate \(settings.certificate) is for \"\(shown)\", "
                    + "this node is \"\(node)\"",
                remedy: "Give the certificate that `posthouse ca issue --node \(node)` made")
        }
    }

    static func watched(
        _ settings: Settings.Cluster, _ node: NodeName
    ) throws(OpenSSLError) -> WatchedFiles<PeerCertificates> {
        try WatchedFiles([settings.certificate, settings.key, settings.ca]) {
            () throws(OpenSSLError) in try PeerCertificates(settings, node)
        }
    }
}

extension PeerMesh {
    /// Looks at the files now.
    func reloadCertificates() {
        if let event = self.certificates.reload() {
            Self.report(event, self.settings.certificate, self.logger)
        }
    }

    func watchCertificates() {
        let logger = self.logger
        let file = self.settings.certificate
        CertificateMeter.record(
            self.certificates.current.server.certificates, files: [file], .cluster)
        self.certificates.watch(on: self.loop) { Self.report($0, file, logger) }
    }

    private static func report(
        _ event: WatchedFiles<PeerCertificates>.Event, _ file: String, _ logger: Logger
    ) {
        switch event {
        case .reloaded(let fresh):
            CertificateMeter.record(fresh.server.certificates, files: [file], .cluster)
            logger.notice(
                "the cluster's certificates reloaded",
                metadata: ["until": "\(fresh.server.certificates[0].notAfter)"])
        case .rejected(let error):
            logger.error(
                "the cluster's certificates not reloaded, the old ones stay",
                metadata: ["reason": "\(error.detail)", "remedy": "\(error.remedy)"])
        }
    }
}
