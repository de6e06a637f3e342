// PeerFields.swift - the shapes that payloads are made of, read from and written to a ByteBuffer.
//
// The same shapes as ByteReader's and ByteWriter's, without a copy of what is large.

import Primitives

import struct NIOCore.ByteBuffer

extension ByteBuffer {
    mutating func putU16(_ value: UInt16) { self.writeInteger(value, endianness: .little) }
    mutating func putU32(_ value: UInt32) { self.writeInteger(value, endianness: .little) }
    mutating func putU64(_ value: UInt64) { self.writeInteger(value, endianness: .little) }
    mutating func putBool(_ value: Bool) { self.writeInteger(UInt8(value ? 1 : 0)) }

    mutating func putVarint(_ value: Int) {
        var rest = UInt64(value)
        while rest >= 0x80 {
            self.writeInteger(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        self.writeInteger(UInt8(rest))
    }

    mutating func putString(_ value: String) {
        self.putVarint(value.utf8.count)
        self.writeString(value)
    }

    mutating func putBlob(_ value: [UInt8]) {
        self.putVarint(value.count)
        self.writeBytes(value)
    }
}

/// Reads fields of one payload; each read checks what is left first.
struct PeerFields {
    private var bytes: ByteBuffer

    init(_ payload: ByteBuffer) { self.bytes = payload }

    mutating func u8() throws(CodecError) -> UInt8 { try self.fixed() }
    mutating func u16() throws(CodecError) -> UInt16 { try self.fixed() }
    mutating func u32() throws(CodecError) -> UInt32 { try self.fixed() }
    mutating func u64() throws(CodecError) -> UInt64 { try self.fixed() }

    mutating func bool() throws(CodecError) -> Bool {
        switch try self.u8() {
        case 0: return false
        case 1: return true
        case _: throw .outOfRange("bool")
        }
    }

    mutating func count(atMost limit: Int) throws(CodecError) -> Int {
        var result: UInt64 = 0
        var shift: UInt64 = 0
        // Five bytes hold every count that a limit allows.
        while shift < 35 {
            let byte = try self.u8()
            result |= UInt64(byte & 0x7F) << shift
            if byte & 0x80 == 0 {
                guard result <= UInt64(limit) else { throw .outOfRange("count") }
                return Int(result)
            }
            shift += 7
        }
        throw .outOfRange("varint")
    }

    mutating func string(atMost limit: Int) throws(CodecError) -> String {
        let length = try self.count(atMost: limit)
        guard let slice = self.bytes.readSlice(length: length) else { throw .truncated }
        guard let text = String(validating: slice.readableBytesView, as: UTF8.self) else {
            throw .notText
        }
        return text
    }

    mutating func blob(atMost limit: Int) throws(CodecError) -> [UInt8] {
        let length = try self.count(atMost: limit)
        guard let bytes = self.bytes.readBytes(length: length) else { throw .truncated }
        return bytes
    }

    /// All that is left, as an array.
    mutating func restBytes(atMost limit: Int) throws(CodecError) -> [UInt8] {
        let rest = try self.rest(atMost: limit)
        return Array(rest.readableBytesView)
    }

    /// All that is left, in the memory that it was read into.
    mutating func rest(atMost limit: Int) throws(CodecError) -> ByteBuffer {
        guard self.bytes.readableBytes <= limit else { throw .outOfRange("rest") }
        let rest = self.bytes
        self.bytes.moveReaderIndex(to: self.bytes.writerIndex)
        // A slice counts its indices from 0: equal bytes are equal values.
        return rest.slice()
    }

    /// Throws if anything is left.
    func finish() throws(CodecError) {
        if self.bytes.readableBytes != 0 { throw .trailing }
    }

    private mutating func fixed<T: FixedWidthInteger>() throws(CodecError) -> T {
        guard let value = self.bytes.readInteger(endianness: .little, as: T.self) else {
            throw .truncated
        }
        return value
    }
}
