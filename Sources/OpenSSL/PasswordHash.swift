// PasswordHash.swift - passwords as they may be stored: slow, salted, self-describing.
//
// Standard  RFC 7914 (scrypt). Text: `$scrypt$ln=15,r=8,p=1$<salt>$<hash>`, base64 without padding.
// Limits    at most 128 MiB and about half a second for one check, whatever the text asks for.

import COpenSSL
package import Primitives

/// Makes and checks stored passwords. Both take 50 to 100 ms: never on an event loop.
package enum PasswordHash {
    /// log2 of the cost of new hashes: 2^15 blocks of 1 KiB = 32 MiB.
    private static let newCost = 15
    private static let blockSize = 8
    /// What `verify` is willing to spend: 2^17 blocks of 1 KiB = 128 MiB.
    private static let greatestCost = 17
    private static let hashBytes = 32
    private static let saltBytes = 16
    /// OpenSSL refuses passwords that make no sense; so do we, before the work.
    package static let longestPasswordBytes = 1024

    /// The text to store for `password`. Nil if it is empty or longer than `longestPasswordBytes`.
    package static func make(_ password: [UInt8]) -> String? {
        guard (1...Self.longestPasswordBytes).contains(password.count) else { return nil }
        let salt = Secrets.randomBytes(Self.saltBytes)
        let shape = Shape(cost: Self.newCost, blockSize: Self.blockSize, lanes: 1)
        guard let hash = Self.derive(password, salt, shape, bytes: Self.hashBytes) else {
            return nil
        }
        return "$scrypt$ln=\(shape.cost),r=\(shape.blockSize),p=\(shape.lanes)"
            + "$\(Base64.text(salt, padded: false))$\(Base64.text(hash, padded: false))"
    }

    /// Whether `text` can be checked by `verify`.
    package static func isValid(_ text: String) -> Bool { Self.parse(text) != nil }

    /// Whether `password` is the one that `text` was made of; false for a text that is not valid.
    package static func verify(_ password: [UInt8], _ text: String) -> Bool {
        guard (1...Self.longestPasswordBytes).contains(password.count),
            let (shape, salt, hash) = Self.parse(text),
            let derived = Self.derive(password, salt, shape, bytes: hash.count)
        else { return false }
        return Secrets.equal(derived, hash)
    }

    /// Spends as long as a check of a real user would, so that names cannot be guessed by time.
    package static func verifyNothing(_ password: [UInt8]) {
        let shape = Shape(cost: Self.newCost, blockSize: Self.blockSize, lanes: 1)
        let salt = [UInt8](repeating: 0, count: Self.saltBytes)
        _ = Self.derive(password.isEmpty ? [0] : password, salt, shape, bytes: Self.hashBytes)
    }

    private struct Shape {
        var cost: Int
        var blockSize: Int
        var lanes: Int
    }

    private static func parse(_ text: String) -> (Shape, salt: [UInt8], hash: [UInt8])? {
        let parts = text.utf8.split(separator: UInt8(ascii: "$"), omittingEmptySubsequences: false)
        guard parts.count == 5, parts[0].isEmpty, parts[1].elementsEqual("scrypt".utf8) else {
            return nil
        }
        let fields = parts[2].split(separator: UInt8(ascii: ","))
        guard fields.count == 3, let cost = Self.number(fields[0], after: "ln="),
            let blockSize = Self.number(fields[1], after: "r="),
            let lanes = Self.number(fields[2], after: "p="),
            (10...Self.greatestCost).contains(cost), blockSize == Self.blockSize,
            (1...4).contains(lanes),
            let salt = Base64.decode(parts[3], padded: false), (8...64).contains(salt.count),
            let hash = Base64.decode(parts[4], padded: false), (16...64).contains(hash.count)
        else { return nil }
        return (Shape(cost: cost, blockSize: blockSize, lanes: lanes), salt, hash)
    }

    private static func number(_ field: Substring.UTF8View, after name: String) -> Int? {
        guard field.starts(with: name.utf8) else { return nil }
        return Int(String(decoding: field.dropFirst(name.utf8.count), as: UTF8.self))
    }

    private static func derive(
        _ password: [UInt8], _ salt: [UInt8], _ shape: Shape, bytes: Int
    ) -> [UInt8]? {
        let blocks = UInt64(1) << UInt64(shape.cost)
        let memory = 128 * UInt64(shape.blockSize) * (blocks + UInt64(shape.lanes) + 2) + 65_536
        var derived = [UInt8](repeating: 0, count: bytes)
        let done = password.withUnsafeBytes { secret in
            EVP_PBE_scrypt(
                secret.baseAddress?.assumingMemoryBound(to: CChar.self), password.count,
                salt, salt.count, blocks, UInt64(shape.blockSize), UInt64(shape.lanes), memory,
                &derived, bytes)
        }
        if done != 1 {
            _ = OpenSSLError.drain()
            return nil
        }
        return derived
    }
}
