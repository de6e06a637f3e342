import Primitives
import Testing

@Suite("Byte codec")
struct CodecTests {
    @Test func `what is written is read back`() throws {
        var writer = ByteWriter()
        writer.u8(7)
        writer.bool(true)
        writer.u16(0xABCD)
        writer.u32(0xDEAD_BEEF)
        writer.u64(.max)
        for value: UInt64 in [0, 127, 128, 16_383, 16_384, 1 << 63, .max] { writer.varint(value) }
        writer.milliseconds(.seconds(90))
        writer.blob([1, 2, 3])
        writer.string("grüße")
        writer.optional(Int?.none) { $0.varint($1) }
        writer.optional(5) { $0.varint($1) }

        var reader = ByteReader(writer.bytes)
        #expect(try reader.u8() == 7)
        #expect(try reader.bool())
        #expect(try reader.u16() == 0xABCD)
        #expect(try reader.u32() == 0xDEAD_BEEF)
        #expect(try reader.u64() == .max)
        for value: UInt64 in [0, 127, 128, 16_383, 16_384, 1 << 63, .max] {
            #expect(try reader.varint() == value)
        }
        #expect(try reader.milliseconds() == .seconds(90))
        #expect(try reader.blob() == [1, 2, 3])
        #expect(try reader.string() == "grüße")
        #expect(try reader.optional { (r) throws(CodecError) in try r.varint() } == nil)
        #expect(try reader.optional { (r) throws(CodecError) in try r.varint() } == 5)
        try reader.finish()
    }

    @Test func `every cut is an error, never a value`() {
        var writer = ByteWriter()
        writer.u64(1)
        writer.string("text")
        writer.varint(300)
        for length in 0..<writer.count {
            var reader = ByteReader(writer.bytes, range: 0..<length)
            #expect(throws: CodecError.self) {
                _ = try reader.u64()
                _ = try reader.string()
                _ = try reader.varint()
            }
        }
    }

    @Test func `a length beyond the limit or the bytes is refused`() {
        var writer = ByteWriter()
        writer.varint(11)
        writer.raw([UInt8](repeating: 65, count: 10).withUnsafeBytes { $0 })
        var short = ByteReader(writer.bytes)
        #expect(throws: CodecError.truncated) { try short.string() }
        var limited = ByteReader(writer.bytes)
        #expect(throws: CodecError.outOfRange("count")) { try limited.string(atMost: 10) }
    }

    @Test func `varints longer than 64 bits are refused`() {
        var eleven = ByteReader([UInt8](repeating: 0xFF, count: 10) + [0])
        #expect(throws: CodecError.outOfRange("varint")) { try eleven.varint() }
        var overflow = ByteReader([UInt8](repeating: 0xFF, count: 9) + [2])
        #expect(throws: CodecError.outOfRange("varint")) { try overflow.varint() }
    }

    @Test func `text that is not UTF-8, a bool that is neither, and bytes left over are refused`() {
        var text = ByteReader([1, 0xFF])
        #expect(throws: CodecError.notText) { try text.string() }
        var bool = ByteReader([2])
        #expect(throws: CodecError.outOfRange("bool")) { try bool.bool() }
        #expect(throws: CodecError.trailing) { try ByteReader([0]).finish() }
    }
}
