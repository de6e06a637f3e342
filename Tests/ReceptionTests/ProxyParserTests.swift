import Primitives
import SMTP
import Testing

@testable import Reception

/// Headers of version 2 for tests.
enum ProxyBytes {
    static let signature: [UInt8] = Array("\r\n\r\n\0\r\nQUIT\n".utf8)

    static func binary(
        _ command: UInt8, _ family: UInt8, _ block: [UInt8], length: Int? = nil
    ) -> [UInt8] {
        let count = length ?? block.count
        return Self.signature + [command, family, UInt8(count >> 8), UInt8(count & 0xFF)] + block
    }

    /// PROXY, TCP over IPv4.
    static func binary(_ block: [UInt8]) -> [UInt8] { Self.binary(0x21, 0x11, block) }

    /// 203.0.113.9:40000 to 192.0.2.25:25.
    static let v4: [UInt8] = [203, 0, 113, 9, 192, 0, 2, 25, 0x9C, 0x40, 0, 25]

    static func value(_ kind: UInt8, _ bytes: [UInt8]) -> [UInt8] {
        [kind, UInt8(bytes.count >> 8), UInt8(bytes.count & 0xFF)] + bytes
    }

    /// A header whose last TLV is a checksum that fits.
    static func summed(_ family: UInt8 = 0x11, _ block: [UInt8] = Self.v4) -> [UInt8] {
        var header = Self.binary(0x21, family, block + Self.value(0x03, [0, 0, 0, 0]))
        let sum = CRC32C.checksum(header)
        for (index, shift) in [24, 16, 8, 0].enumerated() {
            header[header.count - 4 + index] = UInt8(truncatingIfNeeded: sum >> UInt32(shift))
        }
        return header
    }
}

@Suite("PROXY header, versions 1 and 2")
struct ProxyParserTests {
    typealias Step = ProxyParser.Step

    /// The answer, and how many bytes were taken for it.
    private func parse(_ bytes: [UInt8]) -> (step: Step, used: Int) {
        var parser = ProxyParser()
        for (index, byte) in bytes.enumerated() {
            let step = parser.receive(byte)
            if step != .more { return (step, index + 1) }
        }
        return (.more, bytes.count)
    }

    private func parse(_ text: String) -> Step { self.parse(Array(text.utf8)).step }

    private func place(_ address: String, _ port: UInt16) throws -> ProxyHeader.Place {
        ProxyHeader.Place(address: try #require(IPAddress(address)), port: port)
    }

    @Test func `lines of version 1 give addresses, and end before what follows`() throws {
        let line = "PROXY TCP4 203.0.113.9 192.0.2.25 40000 25\r\n"
        let (step, used) = self.parse(Array((line + "EHLO x\r\n").utf8))
        #expect(used == line.utf8.count)
        var header = ProxyHeader(version: 1, kind: .proxy, length: used)
        header.source = try self.place("203.0.113.9", 40_000)
        header.destination = try self.place("192.0.2.25", 25)
        #expect(step == .header(header))
        let six = "PROXY TCP6 2001:DB8::9 2001:db8:0:0:0:0:0:25 0 65535\r\n"
        header.length = six.utf8.count
        header.source = try self.place("2001:db8::9", 0)
        header.destination = try self.place("2001:db8::25", 65_535)
        #expect(self.parse(six) == .header(header))
    }

    @Test func `UNKNOWN tells no address, whatever else stands on its line`() {
        for line in [
            "PROXY UNKNOWN\r\n",
            "PROXY UNKNOWN ffff:f:f:f:f:f:f:ffff ffff:f:f:f:f:f:f:ffff 65535 65535\r\n",
            "PROXY UNKNOWN anything at all\r\n",
        ] {
            let header = ProxyHeader(version: 1, kind: .proxy, length: line.utf8.count)
            #expect(self.parse(line) == .header(header))
        }
    }

    @Test(arguments: [
        "PROXY TCP4 203.0.113.9 192.0.2.25 40000\r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.25 40000 25 26\r\n",
        "PROXY TCP4  203.0.113.9 192.0.2.25 40000 25\r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.25 40000 25 \r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.25 040000 25\r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.25 40000 025\r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.25 65536 25\r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.25 -1 25\r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.25 +1 25\r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.25  25\r\n",
        "PROXY TCP4 203.0.113.256 192.0.2.25 40000 25\r\n",
        "PROXY TCP4 203.0.113.09 192.0.2.25 40000 25\r\n",
        "PROXY TCP4 2001:db8::9 2001:db8::25 40000 25\r\n",
        "PROXY TCP6 203.0.113.9 192.0.2.25 40000 25\r\n",
        "PROXY TCP6 2001:db8::9%lo 2001:db8::25 40000 25\r\n",
        "PROXY TCP5 203.0.113.9 192.0.2.25 40000 25\r\n",
        "PROXY tcp4 203.0.113.9 192.0.2.25 40000 25\r\n",
        "PROXY UNKNOWNS\r\n", "PROXY \r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.25 40000 25\n",
        "PROXY UNKNOWN\rx", "PROXY UNKNOWN\r\r",
    ])
    func `what is no line of version 1 is refused`(_ line: String) {
        #expect(self.parse(line) == .refused(.malformed))
    }

    @Test func `a line may have 107 bytes, one more is too long`() {
        let start = "PROXY UNKNOWN "
        let most = start + String(repeating: "x", count: 105 - start.utf8.count) + "\r\n"
        #expect(most.utf8.count == ProxyParser.Limit.lineBytes)
        let header = ProxyHeader(version: 1, kind: .proxy, length: 107)
        #expect(self.parse(most) == .header(header))
        let more = start + String(repeating: "x", count: 106 - start.utf8.count) + "\r\n"
        #expect(self.parse(more) == .refused(.tooLong))
        #expect(self.parse(Array(more.utf8)).used == 107)
    }

    @Test func `the first byte that decides decides`() {
        for text in ["GET / HTTP/1.1", "EHLO x\r\n", "PROXy TCP4", "\u{16}\u{3}\u{1}", "\r\nQUIT"] {
            let bytes = Array(text.utf8)
            let (step, used) = self.parse(bytes)
            #expect(step == .refused(.missing))
            let common = [Array("PROXY ".utf8), ProxyBytes.signature].map { signature in
                zip(signature, bytes).prefix { $0 == $1 }.count
            }
            #expect(used == (common.max() ?? 0) + 1)
        }
    }

    @Test func `headers of version 2 give addresses of both families`() throws {
        var header = ProxyHeader(version: 2, kind: .proxy, length: 28)
        header.source = try self.place("203.0.113.9", 40_000)
        header.destination = try self.place("192.0.2.25", 25)
        let (step, used) = self.parse(ProxyBytes.binary(ProxyBytes.v4) + Array("EHLO".utf8))
        #expect(step == .header(header))
        #expect(used == 28)
        let source = try #require(IPAddress("2001:db8::9"))
        let target = try #require(IPAddress("2001:db8::25"))
        let block = source.bytes + target.bytes + [0x9C, 0x40, 0x01, 0xD1]
        header.length = 52
        header.source = try self.place("2001:db8::9", 40_000)
        header.destination = try self.place("2001:db8::25", 465)
        #expect(self.parse(ProxyBytes.binary(0x21, 0x21, block)).step == .header(header))
    }

    @Test func `LOCAL is read over unseen, whatever stands in it`() {
        for (family, block) in [
            (UInt8(0), [UInt8]()), (0x11, ProxyBytes.v4), (0x11, [1]), (0xFF, [9, 9, 9]),
            (0, ProxyBytes.value(0x03, [1, 2, 3, 4])),
        ] {
            let bytes = ProxyBytes.binary(0x20, family, block)
            let header = ProxyHeader(version: 2, kind: .local, length: bytes.count)
            #expect(self.parse(bytes).step == .header(header))
        }
    }

    @Test func `UNSPEC and Unix sockets tell no address`() {
        for (family, block) in [
            (UInt8(0x00), [UInt8]()), (0x00, ProxyBytes.value(0x04, [0, 0])),
            (0x31, [UInt8](repeating: 0x61, count: 216)),
        ] {
            let bytes = ProxyBytes.binary(0x21, family, block)
            let header = ProxyHeader(version: 2, kind: .proxy, length: bytes.count)
            #expect(self.parse(bytes).step == .header(header))
        }
    }

    @Test func `other versions, commands, families and transports are refused at their byte`() {
        for (command, reason) in [
            (UInt8(0x11), ProxyRefusal.version), (0x31, .version), (0x01, .version),
            (0x22, .command), (0x2F, .command),
        ] {
            let (step, used) = self.parse(ProxyBytes.binary(command, 0x11, ProxyBytes.v4))
            #expect(step == .refused(reason))
            #expect(used == 13)
        }
        for family: UInt8 in [0x01, 0x02, 0x10, 0x12, 0x20, 0x22, 0x30, 0x32, 0x13, 0x41] {
            let bytes = ProxyBytes.binary(
                0x21, family, [UInt8](repeating: 0, count: 216))
            #expect(self.parse(bytes).step == .refused(.family))
            #expect(self.parse(bytes).used == 14)
        }
        for (family, least) in [(UInt8(0x11), 12), (0x21, 36), (0x31, 216)] {
            let block = [UInt8](repeating: 1, count: least - 1)
            let (step, used) = self.parse(ProxyBytes.binary(0x21, family, block))
            #expect(step == .refused(.malformed))
            #expect(used == 16)
        }
    }

    @Test func `a block may have 4,096 bytes, one more is too long`() {
        let room = ProxyParser.Limit.blockBytes - ProxyBytes.v4.count - 3
        let most = ProxyBytes.v4 + ProxyBytes.value(0x04, [UInt8](repeating: 0, count: room))
        let bytes = ProxyBytes.binary(most)
        guard case .header(let header) = self.parse(bytes).step else {
            Issue.record("the largest header is refused")
            return
        }
        #expect(header.length == 16 + 4096)
        for command: UInt8 in [0x20, 0x21] {
            let (step, used) = self.parse(ProxyBytes.binary(command, 0x11, [], length: 4097))
            #expect(step == .refused(.tooLong))
            #expect(used == 16)
        }
    }

    @Test func `TLVs are stepped over; one that reaches beyond the block is refused`() {
        let good = ProxyBytes.v4 + ProxyBytes.value(0x02, Array("mx.example".utf8))
        guard case .header = self.parse(ProxyBytes.binary(good)).step else {
            Issue.record("a name in a TLV is refused")
            return
        }
        for tail: [UInt8] in [[0x04], [0x04, 0], [0x04, 0, 1], [0x02, 0xFF, 0xFF, 1]] {
            let bytes = ProxyBytes.binary(ProxyBytes.v4 + tail)
            #expect(self.parse(bytes).step == .refused(.malformed))
        }
    }

    @Test func `a checksum that fits is taken, every other one is refused`() {
        let good = ProxyBytes.summed()
        guard case .header(let header) = self.parse(good).step else {
            Issue.record("the right checksum is refused")
            return
        }
        #expect(header.source?.address == IPAddress("203.0.113.9"))
        // Each bit of what the sum covers, but for those that make it another kind of header.
        for index in 16..<28 {
            for bit in 0..<8 {
                var bytes = good
                bytes[index] ^= 1 << bit
                #expect(self.parse(bytes).step == .refused(.checksum))
            }
        }
        let two = ProxyBytes.v4 + ProxyBytes.value(0x03, [0, 0, 0, 0])
        #expect(self.parse(ProxyBytes.summed(0x11, two)).step == .refused(.malformed))
        let short = ProxyBytes.binary(ProxyBytes.v4 + ProxyBytes.value(0x03, [0, 0, 0]))
        #expect(self.parse(short).step == .refused(.malformed))
    }

    /// Valid headers of every kind.
    private static let valid: [[UInt8]] = [
        Array("PROXY TCP4 203.0.113.9 192.0.2.25 40000 25\r\n".utf8),
        Array("PROXY TCP6 2001:db8::9 2001:db8::25 40000 25\r\n".utf8),
        Array("PROXY UNKNOWN\r\n".utf8),
        ProxyBytes.binary(ProxyBytes.v4), ProxyBytes.summed(),
        ProxyBytes.binary(0x20, 0x00, []),
        ProxyBytes.binary(0x21, 0x21, [UInt8](repeating: 7, count: 36)),
        ProxyBytes.binary(0x21, 0x31, [UInt8](repeating: 7, count: 216)),
        ProxyBytes.binary(0x21, 0x00, ProxyBytes.value(0x02, [1, 2, 3])),
    ]

    @Test func `every beginning of a valid header waits for more`() {
        for bytes in Self.valid {
            for count in 0..<bytes.count {
                #expect(self.parse(Array(bytes[..<count])).step == .more)
            }
        }
    }

    @Test func `no change of one byte does harm, and none takes more than the limits`() {
        let most = ProxyParser.fixedBytes + ProxyParser.Limit.blockBytes
        let filler = [UInt8](repeating: 0x20, count: most + 1)
        var wrong: [[UInt8]] = []
        for bytes in Self.valid {
            for index in bytes.indices {
                for value in UInt8.min...UInt8.max {
                    var changed = bytes
                    changed[index] = value
                    let (step, used) = self.parse(changed + filler)
                    if step == .more || used > most { wrong.append(changed) }
                }
            }
        }
        #expect(wrong == [])
    }

    @Test func `random bytes behind each signature end within the limits, the same every time`() {
        var generator = Generator(seed: 20_261_125)
        let most = ProxyParser.fixedBytes + ProxyParser.Limit.blockBytes
        var wrong: [[UInt8]] = []
        for round in 0..<20_000 {
            let starts = [[], Array("PROXY ".utf8), ProxyBytes.signature, ProxyBytes.signature]
            var bytes = starts[round % 4]
            if round % 4 == 3 { bytes += [0x21, 0x11] }
            let count = Int(generator.next() % 200)
            for _ in 0..<count { bytes.append(UInt8(truncatingIfNeeded: generator.next())) }
            let first = self.parse(bytes)
            let again = self.parse(bytes)
            if first != again || first.used > most { wrong.append(bytes) }
            if case .header(let header) = first.step, header.length != first.used {
                wrong.append(bytes)
            }
        }
        #expect(wrong == [])
    }

    @Test func `behind its end the parser repeats itself`() {
        var parser = ProxyParser()
        var last = Step.more
        for byte in Self.valid[0] { last = parser.receive(byte) }
        #expect(parser.receive(0) == last)
    }
}

@Suite("Who is at the other end")
struct CallerTests {
    private func caller(_ source: String?, by balancer: String) throws -> Caller {
        var header = ProxyHeader(version: 2, kind: .proxy, length: 16)
        header.source = try source.map {
            ProxyHeader.Place(address: try #require(IPAddress($0)), port: 1)
        }
        return Caller(header, from: try #require(IPAddress(balancer)))
    }

    @Test func `the address of the header may be trusted, the balancer's own never`() throws {
        #expect(try self.caller("192.0.2.9", by: "127.0.0.1").mayBeTrusted)
        #expect(try !self.caller(nil, by: "127.0.0.1").mayBeTrusted)
        #expect(try self.caller(nil, by: "127.0.0.1").counted == nil)
        #expect(try self.caller("192.0.2.9", by: "127.0.0.1").counted == IPAddress("192.0.2.9"))
    }

    @Test func `loopback is this machine only in the mouth of this machine`() throws {
        #expect(try self.caller("127.0.0.1", by: "127.0.0.1").mayBeTrusted)
        #expect(try self.caller("127.0.0.1", by: "::1").mayBeTrusted)
        #expect(try !self.caller("127.0.0.1", by: "10.0.0.5").mayBeTrusted)
        #expect(try !self.caller("::1", by: "10.0.0.5").mayBeTrusted)
        #expect(try !self.caller("::ffff:127.0.0.1", by: "10.0.0.5").mayBeTrusted)
        #expect(try !self.caller("0.0.0.0", by: "127.0.0.1").mayBeTrusted)
    }
}
