// StableHash.swift - the same hash on every node and in every run (Swift's own is seeded).

/// FNV-1a with a final mix; 64 bits. For state hashes and for choosing, not against attackers.
package struct StableHash: Sendable {
    private var state: UInt64 = 0xCBF2_9CE4_8422_2325

    package init() {}

    package mutating func add(_ value: UInt64) {
        // One multiplication for eight bytes: xor-multiply-rotate.
        self.state = (self.state ^ value) &* 0x9E37_79B9_7F4A_7C15
        self.state = (self.state << 29) | (self.state >> 35)
    }

    package mutating func add(_ bytes: UnsafeRawBufferPointer) {
        var p = 0
        while p + 8 <= bytes.count {
            self.add(UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: p, as: UInt64.self)))
            p += 8
        }
        var tail: UInt64 = 0
        var shift: UInt64 = 0
        while p < bytes.count {
            tail |= UInt64(bytes[p]) << shift
            shift += 8
            p += 1
        }
        self.add(tail)
        self.add(UInt64(bytes.count))
    }

    package mutating func add(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { self.add($0) }
    }

    package mutating func add(_ text: String) {
        var copy = text
        copy.withUTF8 { self.add(UnsafeRawBufferPointer($0)) }
    }

    package var value: UInt64 {
        var z = self.state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
