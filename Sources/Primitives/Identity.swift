// Identity.swift - who is who: nodes, incarnations, sessions, tags.

/// A node's name, unique in its cluster (`node.name`).
package typealias NodeName = String

/// Drawn at random when a data directory is made; a wiped node gets another. 0 is none.
package struct Incarnation: Hashable, Comparable, Sendable {
    package var raw: UInt64
    package init(raw: UInt64) { self.raw = raw }
    package static func < (a: Self, b: Self) -> Bool { a.raw < b.raw }
}

/// Drawn at random by the founder; keeps clusters apart. 0 is none.
package struct ClusterID: Hashable, Sendable {
    package var raw: UInt64
    package init(raw: UInt64) { self.raw = raw }
}

/// Counts the starts of one data directory, from 1.
package typealias BootNumber = UInt64

/// The log index of the command that opened the session. 0 is none.
package struct SessionID: Hashable, Comparable, Sendable {
    package var raw: UInt64
    package init(raw: UInt64) { self.raw = raw }
    package static let none = SessionID(raw: 0)
    package static func < (a: Self, b: Self) -> Bool { a.raw < b.raw }
}

/// Names one command of one session, and the body that this command can make live.
package struct Tag: Hashable, Comparable, Sendable {
    package var session: SessionID
    /// Counts the session's commands, from 1.
    package var sequence: UInt64

    package init(session: SessionID, sequence: UInt64) {
        self.session = session
        self.sequence = sequence
    }

    package static func < (a: Tag, b: Tag) -> Bool {
        a.session.raw != b.session.raw
            ? a.session.raw < b.session.raw : a.sequence < b.sequence
    }

    /// What people see and type: both numbers in Crockford's base 32, e.g. `1D-4KZ`.
    package var text: String {
        let first = Base32.digits(self.session.raw)
        let second = Base32.digits(self.sequence)
        // Up to 15 bytes, which is the usual case, a string needs no memory of its own.
        return String(unsafeUninitializedCapacity: first + 1 + second) { out in
            Base32.write(self.session.raw, into: out, at: 0, digits: first)
            out[first] = UInt8(ascii: "-")
            Base32.write(self.sequence, into: out, at: first + 1, digits: second)
            return first + 1 + second
        }
    }

    /// Reads `text` back; letters of either case.
    package init?(text: String) {
        let parts = text.utf8.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
        guard parts.count == 2, let session = Base32.value(parts[0]),
            let sequence = Base32.value(parts[1])
        else { return nil }
        self.init(session: SessionID(raw: session), sequence: sequence)
    }
}

/// Numbers as text without look-alikes (Crockford: no I, L, O, U).
package enum Base32 {
    private static let alphabet = Array("0123456789ABCDEFGHJKMNPQRSTVWXYZ".utf8)

    /// The shortest form; "0" for zero.
    package static func text(_ value: UInt64) -> String {
        let digits = Self.digits(value)
        return String(unsafeUninitializedCapacity: digits) { out in
            Self.write(value, into: out, at: 0, digits: digits)
            return digits
        }
    }

    /// How many digits the shortest form has.
    fileprivate static func digits(_ value: UInt64) -> Int {
        max(1, (UInt64.bitWidth - value.leadingZeroBitCount + 4) / 5)
    }

    fileprivate static func write(
        _ value: UInt64, into out: UnsafeMutableBufferPointer<UInt8>, at start: Int, digits: Int
    ) {
        var rest = value
        for place in stride(from: start + digits - 1, through: start, by: -1) {
            out[place] = Self.alphabet[Int(rest & 31)]
            rest >>= 5
        }
    }

    package static func value(_ digits: some Collection<UInt8>) -> UInt64? {
        guard !digits.isEmpty, digits.count <= 13 else { return nil }
        var result: UInt64 = 0
        for digit in digits {
            let upper = digit >= 0x61 && digit <= 0x7A ? digit - 0x20 : digit
            guard let value = Self.alphabet.firstIndex(of: upper), result >> 59 == 0
            else { return nil }
            result = result << 5 | UInt64(value)
        }
        return result
    }
}
