import Primitives
import Testing

@Suite("Checksums, generators, names, addresses, rings")
struct ValueTests {
    @Test func `CRC32C of the published examples`() {
        // RFC 3720 Appendix B.4.
        #expect(CRC32C.checksum([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
        #expect(CRC32C.checksum([UInt8](repeating: 0xFF, count: 32)) == 0x62A8_AB43)
        #expect(CRC32C.checksum((0..<32).map { UInt8($0) }) == 0x46DD_794E)
        #expect(CRC32C.checksum(Array("123456789".utf8)) == 0xE306_9283)
    }

    @Test func `CRC32C of pieces equals that of the whole, at every cut`() {
        var generator = Generator(seed: 3)
        let bytes = (0..<100).map { _ in UInt8(generator.below(256)) }
        let whole = CRC32C.checksum(bytes)
        for cut in 0...bytes.count {
            let crc = bytes.withUnsafeBytes { all in
                let first = CRC32C.update(
                    CRC32C.start, UnsafeRawBufferPointer(rebasing: all[..<cut]))
                return CRC32C.finish(
                    CRC32C.update(first, UnsafeRawBufferPointer(rebasing: all[cut...])))
            }
            #expect(crc == whole)
        }
    }

    @Test func `a seed decides every draw`() {
        var a = Generator(seed: 42), b = Generator(seed: 42), c = Generator(seed: 43)
        let drawsA = (0..<8).map { _ in a.next() }
        #expect(drawsA == (0..<8).map { _ in b.next() })
        #expect(drawsA != (0..<8).map { _ in c.next() })
    }

    @Test func `draws stay below the bound and reach every value`() {
        var generator = Generator(seed: 1)
        var seen = Set<Int>()
        for _ in 0..<1000 { seen.insert(generator.below(7)) }
        #expect(seen == Set(0..<7))
        var items = Array(0..<50)
        generator.mix(&items)
        #expect(items != Array(0..<50))
        #expect(items.sorted() == Array(0..<50))
    }

    @Test func `a tag's text reads back, in either case`() {
        let tag = Tag(session: SessionID(raw: 45), sequence: 1_000_000)
        #expect(tag.text == "1D-YGJ0")
        #expect(Tag(text: tag.text) == tag)
        #expect(Tag(text: "1d-ygj0") == tag)
        let large = Tag(session: SessionID(raw: .max), sequence: .max)
        #expect(Tag(text: large.text) == large)
        #expect(large.text.utf8.count <= 40)
    }

    @Test(arguments: [
        "", "-", "1", "1-", "-1", "1-2-3", "1-U", "ZZZZZZZZZZZZZZ-1", "GZZZZZZZZZZZZ-1",
    ])
    func `what is no tag is refused`(text: String) {
        #expect(Tag(text: text) == nil)
    }

    @Test(arguments: [
        ("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "::"),
        ("2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ("1:0:0:2:0:0:0:3", "1:0:0:2::3"), ("::ffff:10.0.0.1", "10.0.0.1"), ("fe80::", "fe80::"),
        ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"), ("64:ff9b::1.2.3.4", "64:ff9b::102:304"),
        ("0:1:2:3:4:5:6:7", "0:1:2:3:4:5:6:7"),
    ])
    func `addresses are read and printed`(text: String, printed: String) {
        #expect(IPAddress(text)?.description == printed)
    }

    @Test(arguments: [
        "", "1.2.3", "1.2.3.256", "01.2.3.4", "1.2.3.4.5", ":", ":::", "1::2::3", "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9", "12345::", "g::", "1:", "1.2.3.4::", "::1.2.3", "1:2:3:4:5:6:7::8",
    ])
    func `what is no address is refused`(text: String) {
        #expect(IPAddress(text) == nil)
    }

    @Test func `ranges contain what they should`() throws {
        let ten = try #require(AddressRange("10.0.0.0/8"))
        #expect(ten.contains(try #require(IPAddress("10.255.255.255"))))
        #expect(!ten.contains(try #require(IPAddress("11.0.0.0"))))
        #expect(ten.contains(try #require(IPAddress("::ffff:10.1.2.3"))))
        let all = try #require(AddressRange("0.0.0.0/0"))
        #expect(all.contains(try #require(IPAddress("255.1.1.1"))))
        #expect(!all.contains(try #require(IPAddress("::1"))))
        let six = try #require(AddressRange("2001:db8:8000::/33"))
        #expect(six.contains(try #require(IPAddress("2001:db8:8000::1"))))
        #expect(!six.contains(try #require(IPAddress("2001:db8:7fff::1"))))
        let low = try #require(AddressRange("2001:db8::/127"))
        #expect(low.contains(try #require(IPAddress("2001:db8::1"))))
        #expect(!low.contains(try #require(IPAddress("2001:db8::2"))))
        #expect(AddressRange("10.0.0.0/33") == nil)
        #expect(AddressRange("10.0.0.0/-1") == nil)
        #expect(AddressRange("10.0.0.0/+8") == nil)
    }

    @Test func `a ring keeps order while it wraps and grows`() {
        var ring = RingBuffer<Int>(capacity: 3)
        var expected: [Int] = []
        var generator = Generator(seed: 9)
        for i in 0..<1000 {
            if generator.chance(permille: 550) {
                ring.append(i)
                expected.append(i)
            } else {
                #expect(ring.popFirst() == (expected.isEmpty ? nil : expected.removeFirst()))
            }
            #expect(ring.count == expected.count)
            #expect(ring.first == expected.first)
        }
        for (offset, value) in expected.enumerated() { #expect(ring[offset] == value) }
    }

    @Test func `stable hashes are the same in every run`() {
        var hash = StableHash()
        hash.add("posthouse")
        hash.add(7)
        #expect(hash.value == 0xEEBE_004C_6C53_6499)
        var other = StableHash()
        other.add("posthousf")
        other.add(7)
        #expect(hash.value != other.value)
    }
}
