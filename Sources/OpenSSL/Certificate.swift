// Certificate.swift - reading what a certificate says.
//
// Standard  RFC 5280 §4.1.2.5 (validity), §4.2.1.6 (subject alternative name).

import COpenSSL
import Primitives

extension CertificateInfo {
    /// What the certificate behind `pointer` (an X509) says; nil if its dates cannot be read.
    init?(_ pointer: OpaquePointer) {
        guard let notBefore = Self.wallTime(X509_get0_notBefore(pointer)),
            let notAfter = Self.wallTime(X509_get0_notAfter(pointer))
        else {
            _ = OpenSSLError.drain()
            return nil
        }
        var names: [String] = []
        var addresses: [IPAddress] = []
        if let list = X509_get_ext_d2i(pointer, NID_subject_alt_name, nil, nil) {
            let list = OpaquePointer(list)
            defer { posthouse_general_names_free(list) }
            for index in 0..<posthouse_general_name_count(list) {
                guard let entry = posthouse_general_name(list, index) else { continue }
                var kind: Int32 = 0
                guard let value = GENERAL_NAME_get0_value(entry, &kind) else { continue }
                let bytes = Self.bytes(value.assumingMemoryBound(to: ASN1_STRING.self))
                if kind == GEN_DNS {
                    names.append(String(decoding: bytes, as: UTF8.self).lowercased())
                } else if kind == GEN_IPADD, let address = Self.address(bytes) {
                    addresses.append(address)
                }
            }
        }
        var fingerprint = [UInt8](repeating: 0, count: 32)
        X509_digest(pointer, EVP_sha256(), &fingerprint, nil)
        self.init(
            commonName: Self.commonName(pointer), names: names, addresses: addresses,
            notBefore: notBefore, notAfter: notAfter, fingerprint: Digest256(fingerprint))
        _ = OpenSSLError.drain()
    }

    /// The first certificate of a PEM file.
    ///
    /// - Throws: an error that names the file.
    package init(file: String) throws(OpenSSLError) {
        ERR_clear_error()
        guard let bio = BIO_new_file(file, "r") else {
            throw .capture("certificate_file", "cannot read \(file)")
        }
        defer { BIO_free(bio) }
        guard let certificate = PEM_read_bio_X509(bio, nil, nil, nil) else {
            throw .capture("certificate_file", "no certificate in \(file)")
        }
        defer { X509_free(certificate) }
        guard let info = CertificateInfo(certificate) else {
            throw OpenSSLError(
                label: "certificate_file", detail: "the certificate in \(file) has bad dates")
        }
        self = info
    }

    private static func commonName(_ pointer: OpaquePointer) -> String {
        guard let subject = X509_get_subject_name(pointer) else { return "" }
        let index = X509_NAME_get_index_by_NID(subject, NID_commonName, -1)
        guard index >= 0, let entry = X509_NAME_get_entry(subject, index),
            let value = X509_NAME_ENTRY_get_data(entry)
        else { return "" }
        return String(decoding: Self.bytes(value), as: UTF8.self)
    }

    private static func bytes(_ string: UnsafePointer<ASN1_STRING>) -> [UInt8] {
        let start = ASN1_STRING_get0_data(string)
        return Array(UnsafeBufferPointer(start: start, count: Int(ASN1_STRING_length(string))))
    }

    private static func address(_ bytes: [UInt8]) -> IPAddress? {
        let word = { (range: Range<Int>) in bytes[range].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        }
        switch bytes.count {
        case 4: return IPAddress(v4: UInt32(word(0..<4)))
        case 16: return IPAddress(v6: word(0..<8), word(8..<16))
        case _: return nil
        }
    }

    private static func wallTime(_ time: UnsafePointer<ASN1_TIME>?) -> WallTime? {
        guard let time, let epoch = ASN1_TIME_set(nil, 0) else { return nil }
        defer { ASN1_TIME_free(epoch) }
        var days: Int32 = 0
        var seconds: Int32 = 0
        guard ASN1_TIME_diff(&days, &seconds, epoch, time) == 1 else { return nil }
        return WallTime(milliseconds: (Int64(days) * 86_400 + Int64(seconds)) * 1000)
    }
}
