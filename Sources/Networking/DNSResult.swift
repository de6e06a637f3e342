// DNSResult.swift - from libunbound's result to our answers; bytes from the net, never trusted.
//
// Standard  RFC 1035 §3.3.9 (MX), §3.4.1 (A), RFC 3596 §2.2 (AAAA), RFC 7505 §3 (null MX).

import CUnbound
import Primitives

enum DNSType: Int32 {
    case a = 1
    case mx = 15
    case aaaa = 28
}

/// One result, copied out of libunbound's memory.
struct DNSResult {
    var failure: DNSFailure?
    var noDomain = false
    var secure = false
    var lifetime = Duration.zero
    var exchangers: [MXRecord] = []
    var hasNullMX = false
    var addresses: [IPAddress] = []

    init() {}

    init(_ type: DNSType, _ error: Int32, _ result: UnsafeMutablePointer<ub_result>?) {
        if error == UB_SYNTAX.rawValue {
            self.noDomain = true
            return
        }
        guard error == UB_NOERROR.rawValue, let result = result?.pointee else {
            let text = ub_strerror(error).map { String(cString: $0) } ?? "error \(error)"
            self.failure = DNSFailure(.server, "DNS question failed: \(text)")
            return
        }
        if result.bogus != 0 {
            let why = result.why_bogus.map { String(cString: $0) } ?? "validation failure"
            self.failure = DNSFailure(.bogus, "DNS answer is not genuine: \(why)")
            return
        }
        guard result.rcode == 0 || result.nxdomain != 0 else {
            self.failure = DNSFailure(.server, "DNS servers answer \(Self.name(of: result.rcode))")
            return
        }
        self.noDomain = result.nxdomain != 0
        self.secure = result.secure != 0
        self.lifetime = .seconds(Int64(max(0, result.ttl)))
        guard result.havedata != 0, let data = result.data, let lengths = result.len else { return }
        var index = 0
        while let record = data[index] {
            let bytes = UnsafeRawBufferPointer(start: record, count: Int(lengths[index]))
            self.take(type, bytes)
            index += 1
        }
    }

    /// Adds one record; one that is malformed is left out.
    private mutating func take(_ type: DNSType, _ bytes: UnsafeRawBufferPointer) {
        switch type {
        case .a:
            guard bytes.count == 4 else { return }
            let word = bytes.loadUnaligned(as: UInt32.self)
            self.addresses.append(IPAddress(v4: UInt32(bigEndian: word)))
        case .aaaa:
            guard bytes.count == 16 else { return }
            let high = bytes.loadUnaligned(as: UInt64.self)
            let low = bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
            self.addresses.append(IPAddress(v6: UInt64(bigEndian: high), UInt64(bigEndian: low)))
        case .mx:
            guard bytes.count >= 3 else { return }
            let preference = UInt16(bytes[0]) << 8 | UInt16(bytes[1])
            let wire = UnsafeRawBufferPointer(rebasing: bytes[2...])
            guard let host = DNSName.text(wire) else { return }
            if host.isEmpty {
                self.hasNullMX = true
            } else {
                self.exchangers.append(MXRecord(preference: preference, host: host))
            }
        }
    }

    /// A null MX beside others is a mistake of the zone: the others count (RFC 7505 §3).
    static func mx(_ result: DNSResult) -> Answer {
        let lifetime = Self.usable(result.lifetime)
        if let failure = result.failure { return .mx(.failed(failure), lifetime: nil) }
        if !result.exchangers.isEmpty {
            return .mx(.records(result.exchangers, secure: result.secure), lifetime: lifetime)
        }
        if result.hasNullMX { return .mx(.null, lifetime: lifetime) }
        return .mx(result.noDomain ? .noDomain : .noRecords, lifetime: lifetime)
    }

    /// `results`: of one or both families. What one family has counts even if the other failed; no
    /// address is only believed if both said so.
    static func addresses(_ results: [DNSResult]) -> Answer {
        let all = results.flatMap(\.addresses)
        let sorted = all.filter { !$0.isV4 } + all.filter(\.isV4)
        let failure = results.lazy.compactMap(\.failure).first
        let shortest = results.filter { $0.failure == nil }.map(\.lifetime).min() ?? .zero
        if !sorted.isEmpty {
            let secure = failure == nil && results.allSatisfy(\.secure)
            let lifetime = failure == nil ? Self.usable(shortest) : nil
            return .addresses(.addresses(sorted, secure: secure), lifetime: lifetime)
        }
        if let failure { return .addresses(.failed(failure), lifetime: nil) }
        let noDomain = results.contains(where: \.noDomain)
        return .addresses(noDomain ? .noDomain : .noRecords, lifetime: Self.usable(shortest))
    }

    private static func usable(_ lifetime: Duration) -> Duration? {
        lifetime > .zero ? min(lifetime, Resolver.Limits.longestMemory) : nil
    }

    private static func name(of code: Int32) -> String {
        switch code {
        case 1: "FORMERR"
        case 2: "SERVFAIL"
        case 4: "NOTIMP"
        case 5: "REFUSED"
        case _: "with code \(code)"
        }
    }
}

/// Names as text and as they stand in records.
enum DNSName {
    /// Whether `name` can stand in a question: 1 … 253 printable ASCII characters without escapes,
    /// no empty label but the last.
    static func canBeAsked(_ name: String) -> Bool {
        var bytes = Array(name.utf8)
        if bytes.last == UInt8(ascii: ".") { bytes.removeLast() }
        guard (1...253).contains(bytes.count) else { return false }
        var labelBytes = 0
        for byte in bytes {
            if byte == UInt8(ascii: ".") {
                guard labelBytes > 0 else { return false }
                labelBytes = 0
                continue
            }
            guard (0x21...0x7E).contains(byte), byte != UInt8(ascii: "\\") else { return false }
            labelBytes += 1
            guard labelBytes <= 63 else { return false }
        }
        return labelBytes > 0
    }

    /// A name in wire format without compression as text: lower case, without the final dot, "" for
    /// the root. Nil if it is malformed or holds what no host name has (dots or controls in
    /// labels).
    static func text(_ wire: UnsafeRawBufferPointer) -> String? {
        var text: [UInt8] = []
        var offset = 0
        while offset < wire.count {
            let length = Int(wire[offset])
            offset += 1
            if length == 0 { return String(decoding: text, as: UTF8.self) }
            guard length <= 63, offset + length <= wire.count, text.count + length <= 253 else {
                return nil
            }
            if !text.isEmpty { text.append(UInt8(ascii: ".")) }
            for byte in wire[offset..<offset + length] {
                guard (0x21...0x7E).contains(byte), byte != UInt8(ascii: "."),
                    byte != UInt8(ascii: "\\")
                else { return nil }
                text.append((0x41...0x5A).contains(byte) ? byte | 0x20 : byte)
            }
            offset += length
        }
        return nil
    }
}
