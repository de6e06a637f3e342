import Foundation
import OpenSSL
import Primitives

/// A directory that goes with the test, and certificates in it.
final class Files {
    let path: String

    init() throws {
        let url = FileManager.default.temporaryDirectory
            .appendingPathComponent("posthouse-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        self.path = url.path
    }

    deinit {
        // What is left behind is a temporary file.
        try? FileManager.default.removeItem(atPath: self.path)
    }

    func write(_ name: String, _ text: String) throws -> String {
        let file = "\(self.path)/\(name)"
        try Data(text.utf8).write(to: URL(fileURLWithPath: file))
        return file
    }

    static let now = WallTime(milliseconds: Int64(Date().timeIntervalSince1970 * 1000))

    static func makeAuthority(_ name: String = "Test CA") throws -> IssuedCertificate {
        try CertificateAuthority.make(name: name, validity: .years(1, from: Self.now))
    }

    /// Writes a certificate of `authority` for `hosts`.
    func issue(
        _ authority: IssuedCertificate, _ name: String, hosts: [String],
        validity: CertificateAuthority.Validity = .years(1, from: Files.now)
    ) throws -> CertificateFiles {
        let issued = try CertificateAuthority.issue(
            by: authority, name: name, hosts: hosts, validity: validity)
        return CertificateFiles(
            certificate: try self.write("\(name).pem", issued.certificate),
            key: try self.write("\(name).key", issued.key))
    }
}
