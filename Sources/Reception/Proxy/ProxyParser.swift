// ProxyParser.swift - reads one PROXY header, byte by byte.
//
// Takes     the first bytes of a connection, in pieces of any size, down to one.
// Gives     `.more` until the header is whole, then the header, or why it is none; at the first
//           byte that decides, so that nothing is waited for that cannot come.
// Never     a byte behind the header: it belongs to TLS or SMTP.
// Limits    `Limit`.
// Standard  The PROXY protocol §2.1 (text), §2.2 (binary), §2.2.3 (CRC32C).

import Primitives

struct ProxyParser {
    enum Step: Equatable {
        case more
        /// The last byte of the header has been taken.
        case header(ProxyHeader)
        case refused(ProxyRefusal)
    }

    enum Limit {
        /// A line of version 1 with its CRLF (§2.1).
        static let lineBytes = 107
        /// What follows the 16 bytes of version 2: addresses and TLVs. Addresses are 216 bytes at
        /// most; the longest TLVs that balancers send, names in certificates and ids of theirs,
        /// have some hundred bytes each.
        static let blockBytes = 4096
    }

    private static let textSignature: [UInt8] = Array("PROXY ".utf8)
    private static let binarySignature: [UInt8] = [
        0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A,
    ]
    /// Signature, version and command, family, length.
    static let fixedBytes = 16

    private enum State {
        case signature
        case line
        case fixed
        /// Up to so many bytes in all.
        case block(end: Int)
        case done(Step)
    }
    private var state = State.signature
    private var bytes: [UInt8] = []

    init() {}

    /// Whether anything has come.
    var isEmpty: Bool { self.bytes.isEmpty }

    /// Takes the next byte. Behind the end it repeats its last answer.
    mutating func receive(_ byte: UInt8) -> Step {
        if case .done(let step) = self.state { return step }
        self.bytes.append(byte)
        let step: Step
        switch self.state {
        case .signature: step = self.signature()
        case .line: step = self.line(byte)
        case .fixed: step = self.fixed(byte)
        case .block(let end): step = self.bytes.count < end ? .more : self.binary()
        case .done(let last): step = last
        }
        if step != .more { self.state = .done(step) }
        return step
    }

    private mutating func signature() -> Step {
        let count = self.bytes.count
        if Self.textSignature.starts(with: self.bytes) {
            if count == Self.textSignature.count { self.state = .line }
            return .more
        }
        guard Self.binarySignature.starts(with: self.bytes) else { return .refused(.missing) }
        if count == Self.binarySignature.count { self.state = .fixed }
        return .more
    }

    private func line(_ byte: UInt8) -> Step {
        let followsReturn = self.bytes[self.bytes.count - 2] == 0x0D
        if byte == 0x0A {
            return followsReturn ? self.text() : .refused(.malformed)
        }
        if followsReturn { return .refused(.malformed) }
        return self.bytes.count < Limit.lineBytes ? .more : .refused(.tooLong)
    }

    private mutating func fixed(_ byte: UInt8) -> Step {
        switch self.bytes.count {
        case 13:
            if byte >> 4 != 2 { return .refused(.version) }
            return byte & 0x0F <= 1 ? .more : .refused(.command)
        case 14:
            // LOCAL: the family is ignored (§2.2).
            return self.isLocal || Self.addressBytes(byte) != nil ? .more : .refused(.family)
        case Self.fixedBytes:
            let length = Int(self.bytes[14]) << 8 | Int(byte)
            if length > Limit.blockBytes { return .refused(.tooLong) }
            if !self.isLocal, length < Self.addressBytes(self.bytes[13]) ?? 0 {
                return .refused(.malformed)
            }
            if length == 0 { return self.binary() }
            self.state = .block(end: Self.fixedBytes + length)
            return .more
        case _: return .more
        }
    }

    private var isLocal: Bool { self.bytes[12] & 0x0F == 0 }

    /// Bytes of both addresses and ports; nil: a family or transport that no mail comes by.
    private static func addressBytes(_ family: UInt8) -> Int? {
        switch family {
        case 0x00: 0  // UNSPEC
        case 0x11: 12  // TCP over IPv4
        case 0x21: 36  // TCP over IPv6
        case 0x31: 216  // a stream of a Unix socket
        case _: nil
        }
    }
}

// MARK: Version 1

extension ProxyParser {
    /// `PROXY TCP4 192.0.2.1 192.0.2.2 56324 25` and CRLF.
    private func text() -> Step {
        let line = self.bytes[Self.textSignature.count..<self.bytes.count - 2]
        let words = line.split(separator: 0x20, omittingEmptySubsequences: false)
        var header = ProxyHeader(version: 1, kind: .proxy, length: self.bytes.count)
        let isV4: Bool
        switch words[0] {
        // What else stands on the line is ignored (§2.1).
        case _ where words[0].elementsEqual("UNKNOWN".utf8): return .header(header)
        case _ where words[0].elementsEqual("TCP4".utf8): isV4 = true
        case _ where words[0].elementsEqual("TCP6".utf8): isV4 = false
        case _: return .refused(.malformed)
        }
        guard words.count == 5, let source = Self.address(words[1], isV4: isV4),
            let destination = Self.address(words[2], isV4: isV4),
            let sourcePort = Self.port(words[3]), let destinationPort = Self.port(words[4])
        else { return .refused(.malformed) }
        header.source = ProxyHeader.Place(address: source, port: sourcePort)
        header.destination = ProxyHeader.Place(address: destination, port: destinationPort)
        return .header(header)
    }

    private static func address(_ word: ArraySlice<UInt8>, isV4: Bool) -> IPAddress? {
        guard word.contains(UInt8(ascii: ":")) != isV4 else { return nil }
        return IPAddress(String(decoding: word, as: UTF8.self))
    }

    /// 0 … 65535 without leading zeros.
    private static func port(_ word: ArraySlice<UInt8>) -> UInt16? {
        guard (1...5).contains(word.count), word.allSatisfy({ (0x30...0x39).contains($0) }),
            word.count == 1 || word.first != 0x30
        else { return nil }
        return UInt16(String(decoding: word, as: UTF8.self))
    }
}

// MARK: Version 2

extension ProxyParser {
    private func binary() -> Step {
        var header = ProxyHeader(version: 2, kind: .proxy, length: self.bytes.count)
        if self.isLocal {
            // The block is read over unseen (§2.2).
            header.kind = .local
            return .header(header)
        }
        let family = self.bytes[13]
        let start = Self.fixedBytes
        switch family {
        case 0x11:
            header.source = self.place(at: start, isV4: true, port: start + 8)
            header.destination = self.place(at: start + 4, isV4: true, port: start + 10)
        case 0x21:
            header.source = self.place(at: start, isV4: false, port: start + 32)
            header.destination = self.place(at: start + 16, isV4: false, port: start + 34)
        case _: break
        }
        if let refusal = self.values(from: start + (Self.addressBytes(family) ?? 0)) {
            return .refused(refusal)
        }
        return .header(header)
    }

    private func place(at offset: Int, isV4: Bool, port: Int) -> ProxyHeader.Place {
        let address =
            isV4
            ? IPAddress(v4: UInt32(truncatingIfNeeded: self.number(offset, bytes: 4)))
            : IPAddress(v6: self.number(offset, bytes: 8), self.number(offset + 8, bytes: 8))
        return ProxyHeader.Place(
            address: address, port: UInt16(truncatingIfNeeded: self.number(port, bytes: 2)))
    }

    /// In network order.
    private func number(_ offset: Int, bytes count: Int) -> UInt64 {
        self.bytes[offset..<offset + count].reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// Steps over the TLVs; a checksum among them must fit (§2.2.3).
    private func values(from start: Int) -> ProxyRefusal? {
        var offset = start
        var checksum: Int?
        while offset < self.bytes.count {
            guard offset + 3 <= self.bytes.count else { return .malformed }
            let end = offset + 3 + Int(self.number(offset + 1, bytes: 2))
            guard end <= self.bytes.count else { return .malformed }
            if self.bytes[offset] == 0x03 {
                guard checksum == nil, end - offset == 7 else { return .malformed }
                checksum = offset + 3
            }
            offset = end
        }
        guard let checksum else { return nil }
        var zeroed = self.bytes
        for place in checksum..<checksum + 4 { zeroed[place] = 0 }
        let told = UInt32(truncatingIfNeeded: self.number(checksum, bytes: 4))
        return CRC32C.checksum(zeroed) == told ? nil : .checksum
    }
}
