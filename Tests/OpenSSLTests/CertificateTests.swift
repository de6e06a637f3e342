import Foundation
import Primitives
import Testing

@testable import OpenSSL

@Suite("Certificates and the authority of our own, RFC 5280")
struct CertificateTests {
    @Test func `what was issued reads back`() throws {
        let files = try Files()
        let authority = try Files.makeAuthority()
        let from = WallTime(milliseconds: 1_700_000_000_000)
        let until = WallTime(milliseconds: 1_900_000_000_000)
        let identity = try files.issue(
            authority, "a", hosts: ["A.example.com", "*.example.net", "10.0.0.1", "2001:db8::1"],
            validity: .init(from: from, until: until))
        let info = try CertificateInfo(file: identity.certificate)
        #expect(info.commonName == "a")
        #expect(info.names == ["a.example.com", "*.example.net"])
        #expect(info.addresses == [IPAddress("10.0.0.1"), IPAddress("2001:db8::1")])
        #expect(info.notBefore == from)
        #expect(info.notAfter == until)
    }

    @Test func `openssl verifies the chain and finds the right purposes`() throws {
        let files = try Files()
        let authority = try Files.makeAuthority()
        let ca = try files.write("ca.pem", authority.certificate)
        let identity = try files.issue(authority, "node", hosts: ["node.example.com"])
        for purpose in ["sslserver", "sslclient"] {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
            process.arguments = [
                "verify", "-x509_strict", "-CAfile", ca, "-purpose", purpose,
                "-verify_hostname", "node.example.com", identity.certificate,
            ]
            process.standardOutput = FileHandle.nullDevice
            try process.run()
            process.waitUntilExit()
            #expect(process.terminationStatus == 0)
        }
    }

    @Test(arguments: [[], [""], ["a,DNS:b"], ["a\nb"], ["IP:1.2.3.4"], ["email:x"], ["ü.example"]])
    func `hosts that are none are refused`(hosts: [String]) throws {
        let authority = try Files.makeAuthority()
        let error = #expect(throws: OpenSSLError.self) {
            try CertificateAuthority.issue(
                by: authority, name: "a", hosts: hosts, validity: .years(1, from: Files.now))
        }
        #expect(error?.label == "certificate_host")
    }

    @Test func `a common name has at most 64 characters`() throws {
        let authority = try Files.makeAuthority()
        func issue(_ count: Int) throws -> IssuedCertificate {
            try CertificateAuthority.issue(
                by: authority, name: String(repeating: "n", count: count), hosts: ["a"],
                validity: .years(1, from: Files.now))
        }
        _ = try issue(64)
        #expect(throws: OpenSSLError.self) { try issue(65) }
    }

    @Test func `the key of another authority signs nothing`() throws {
        let one = try Files.makeAuthority()
        let other = try Files.makeAuthority()
        let mixed = IssuedCertificate(certificate: one.certificate, key: other.key)
        let error = #expect(throws: OpenSSLError.self) {
            try CertificateAuthority.issue(
                by: mixed, name: "a", hosts: ["a"], validity: .years(1, from: Files.now))
        }
        #expect(error?.label == "certificate_key_mismatch")
    }

    @Test func `faults of files name the file and a remedy`() throws {
        let files = try Files()
        let authority = try Files.makeAuthority()
        let a = try files.issue(authority, "a", hosts: ["a"])
        let b = try files.issue(authority, "b", hosts: ["b"])
        let junk = try files.write("junk.pem", "no PEM at all")
        let absent = "\(files.path)/absent.pem"
        func fault(_ certificate: String, _ key: String) -> OpenSSLError? {
            #expect(throws: OpenSSLError.self) {
                try TLSServerContext([CertificateFiles(certificate: certificate, key: key)])
            }
        }
        let missing = fault(absent, a.key)
        #expect(missing?.label == "certificate_file")
        #expect(missing?.detail.contains(absent) == true)
        #expect(missing?.detail.contains("No such file") == true)
        #expect(missing?.remedy.isEmpty == false)
        #expect(fault(junk, a.key)?.label == "certificate_file")
        #expect(fault(a.certificate, absent)?.label == "certificate_key")
        #expect(fault(a.certificate, junk)?.label == "certificate_key")
        let mixed = fault(a.certificate, b.key)
        #expect(mixed?.label == "certificate_key_mismatch")
        #expect(mixed?.detail.contains(b.key) == true)
        let trust = #expect(throws: OpenSSLError.self) {
            try TLSClientContext(trust: .authority(absent))
        }
        #expect(trust?.label == "authority_file")
    }
}
