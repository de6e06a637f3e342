// Digest.swift - SHA-256 and what is made of it; random bytes; comparison without a clue.
//
// Standard  FIPS 180-4 (SHA-256), RFC 2104 (HMAC).

import COpenSSL
import Primitives

/// 32 bytes of a digest as four big-endian words.
package struct Digest256: Hashable, Sendable {
    package var a: UInt64, b: UInt64, c: UInt64, d: UInt64

    package init(a: UInt64, b: UInt64, c: UInt64, d: UInt64) {
        self.a = a
        self.b = b
        self.c = c
        self.d = d
    }

    fileprivate init(bytes: UnsafeRawBufferPointer) {
        func word(_ index: Int) -> UInt64 {
            UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self))
        }
        self.init(a: word(0), b: word(1), c: word(2), d: word(3))
    }

    /// `bytes`: 32 of them.
    init(_ bytes: [UInt8]) {
        invariant(bytes.count == 32, "SHA-256 has 32 bytes")
        self = bytes.withUnsafeBytes { Digest256(bytes: $0) }
    }

    /// The 32 bytes in order.
    package var bytes: [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(32)
        for word in [self.a, self.b, self.c, self.d] {
            withUnsafeBytes(of: word.bigEndian) { result.append(contentsOf: $0) }
        }
        return result
    }
}

/// SHA-256 over any number of pieces. One context serves any number of digests: `finish` makes it
/// ready for the next; nothing is allocated after `init`.
package struct SHA256: ~Copyable {
    private let context: OpaquePointer

    package init() {
        guard let context = EVP_MD_CTX_new() else { unreachable("no memory for a digest") }
        self.context = context
        invariant(EVP_DigestInit_ex2(context, Self.algorithm, nil) == 1, "SHA-256 starts")
    }

    deinit { EVP_MD_CTX_free(self.context) }

    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count > 0 else { return }
        invariant(
            EVP_DigestUpdate(self.context, bytes.baseAddress, bytes.count) == 1, "SHA-256 goes on")
    }

    package mutating func update(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { self.update($0) }
    }

    /// The digest of all pieces since `init` or the last `finish`.
    package mutating func finish() -> Digest256 {
        let digest = withUnsafeTemporaryAllocation(byteCount: 32, alignment: 8) { out in
            let start = out.baseAddress?.assumingMemoryBound(to: UInt8.self)
            invariant(EVP_DigestFinal_ex(self.context, start, nil) == 1, "SHA-256 ends")
            return Digest256(bytes: UnsafeRawBufferPointer(out))
        }
        invariant(EVP_DigestInit_ex2(self.context, Self.algorithm, nil) == 1, "SHA-256 restarts")
        return digest
    }

    /// Forgets the pieces since `init` or the last `finish`.
    package mutating func reset() {
        invariant(EVP_DigestInit_ex2(self.context, Self.algorithm, nil) == 1, "SHA-256 restarts")
    }

    /// The digest of one piece.
    package static func digest(_ bytes: UnsafeRawBufferPointer) -> Digest256 {
        var hash = SHA256()
        hash.update(bytes)
        return hash.finish()
    }

    /// The digest of one piece.
    package static func digest(_ bytes: [UInt8]) -> Digest256 {
        bytes.withUnsafeBytes { self.digest($0) }
    }

    /// Fetched once: a fetch per digest costs more than the digest of a small message.
    /// `nonisolated(unsafe)`: OpenSSL counts references itself and the value never changes.
    nonisolated(unsafe) private static let algorithm: OpaquePointer? = EVP_MD_fetch(
        nil, "SHA256", nil)
}

/// HMAC with SHA-256.
package enum HMACSHA256 {
    package static func authenticate(_ bytes: [UInt8], key: [UInt8]) -> Digest256 {
        withUnsafeTemporaryAllocation(byteCount: 32, alignment: 8) { out in
            let start = out.baseAddress?.assumingMemoryBound(to: UInt8.self)
            let result = HMAC(
                EVP_sha256(), key, Int32(key.count), bytes, bytes.count, start, nil)
            invariant(result != nil, "HMAC of bytes in memory")
            return Digest256(bytes: UnsafeRawBufferPointer(out))
        }
    }
}

/// Random bytes and secret comparison.
package enum Secrets {
    /// Bytes from OpenSSL's generator, which the system seeds. Without entropy there is no way to
    /// go on safely: the process ends.
    package static func randomBytes(_ count: Int) -> [UInt8] {
        guard count > 0 else { return [] }
        return [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            invariant(RAND_bytes(buffer.baseAddress, Int32(count)) == 1, "random bytes")
            filled = count
        }
    }

    /// One random word, for seeds, nonces and incarnations.
    package static func randomWord() -> UInt64 {
        Self.randomBytes(8).withUnsafeBytes { $0.loadUnaligned(as: UInt64.self) }
    }

    /// Whether both are equal, in a time that depends on the length only.
    package static func equal(_ a: [UInt8], _ b: [UInt8]) -> Bool {
        a.count == b.count && (a.isEmpty || CRYPTO_memcmp(a, b, a.count) == 0)
    }
}
