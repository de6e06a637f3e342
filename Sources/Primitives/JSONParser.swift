// JSONParser.swift - reads JSON texts of others: bounded depth, no trust.
//
// Standard  RFC 8259; surrogates must come in pairs (§8.2), nothing follows the value (§2).

/// Why a text is not JSON.
package struct JSONFault: Error, Equatable, Sendable {
    /// Bytes in front of what could not be read.
    package var offset: Int
    package var what: StaticLabel

    package init(offset: Int, what: StaticLabel) {
        self.offset = offset
        self.what = what
    }
}

extension JSON {
    /// Lists and objects within each other, at most.
    package static let depthLimit = 64

    /// Reads one value that fills the whole text.
    package static func parse(_ bytes: [UInt8]) throws(JSONFault) -> JSON {
        var parser = JSONParser(bytes: bytes)
        return try parser.document()
    }
}

private struct JSONParser {
    let bytes: [UInt8]
    var offset = 0

    init(bytes: [UInt8]) {
        self.bytes = bytes
    }

    mutating func document() throws(JSONFault) -> JSON {
        let value = try self.value(depth: 0)
        self.skipSpace()
        guard self.offset == self.bytes.count else { throw self.fault("trailing bytes") }
        return value
    }

    private var current: UInt8? { self.offset < self.bytes.count ? self.bytes[self.offset] : nil }

    private func fault(_ what: StaticLabel) -> JSONFault {
        JSONFault(offset: self.offset, what: what)
    }

    private mutating func skipSpace() {
        while let byte = self.current, byte == 0x20 || (9...10).contains(byte) || byte == 13 {
            self.offset += 1
        }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard self.current == byte else { return false }
        self.offset += 1
        return true
    }

    private mutating func value(depth: Int) throws(JSONFault) -> JSON {
        self.skipSpace()
        switch self.current {
        case UInt8(ascii: "{"): return try self.object(depth: depth)
        case UInt8(ascii: "["): return try self.list(depth: depth)
        case UInt8(ascii: "\""): return .text(try self.string())
        case UInt8(ascii: "t"): return try self.word("true", .flag(true))
        case UInt8(ascii: "f"): return try self.word("false", .flag(false))
        case UInt8(ascii: "n"): return try self.word("null", .null)
        case _: return try self.number()
        }
    }

    private mutating func word(_ text: StaticString, _ value: JSON) throws(JSONFault) -> JSON {
        let isThere = text.withUTF8Buffer { self.bytes[self.offset...].starts(with: $0) }
        guard isThere else { throw self.fault("unknown word") }
        self.offset += text.utf8CodeUnitCount
        return value
    }

    private mutating func list(depth: Int) throws(JSONFault) -> JSON {
        guard depth < JSON.depthLimit else { throw self.fault("too deep") }
        self.offset += 1
        var values: [JSON] = []
        self.skipSpace()
        if self.take(UInt8(ascii: "]")) { return .list(values) }
        while true {
            values.append(try self.value(depth: depth + 1))
            self.skipSpace()
            if self.take(UInt8(ascii: "]")) { return .list(values) }
            guard self.take(UInt8(ascii: ",")) else { throw self.fault("comma expected") }
        }
    }

    private mutating func object(depth: Int) throws(JSONFault) -> JSON {
        guard depth < JSON.depthLimit else { throw self.fault("too deep") }
        self.offset += 1
        var members: [JSON.Member] = []
        self.skipSpace()
        if self.take(UInt8(ascii: "}")) { return .object(members) }
        while true {
            self.skipSpace()
            guard self.current == UInt8(ascii: "\"") else { throw self.fault("name expected") }
            let name = try self.string()
            self.skipSpace()
            guard self.take(UInt8(ascii: ":")) else { throw self.fault("colon expected") }
            members.append(JSON.Member(name: name, value: try self.value(depth: depth + 1)))
            self.skipSpace()
            if self.take(UInt8(ascii: "}")) { return .object(members) }
            guard self.take(UInt8(ascii: ",")) else { throw self.fault("comma expected") }
        }
    }

    private mutating func number() throws(JSONFault) -> JSON {
        let start = self.offset
        _ = self.take(UInt8(ascii: "-"))
        let first = self.current
        guard self.digits() > 0 else { throw self.fault("value expected") }
        if first == UInt8(ascii: "0") && self.offset - start > (self.bytes[start] == 0x2D ? 2 : 1) {
            throw self.fault("leading zero")
        }
        var isWhole = true
        if self.take(UInt8(ascii: ".")) {
            isWhole = false
            guard self.digits() > 0 else { throw self.fault("digit expected") }
        }
        if self.current == UInt8(ascii: "e") || self.current == UInt8(ascii: "E") {
            isWhole = false
            self.offset += 1
            if self.current == UInt8(ascii: "+") || self.current == UInt8(ascii: "-") {
                self.offset += 1
            }
            guard self.digits() > 0 else { throw self.fault("digit expected") }
        }
        let text = String(decoding: self.bytes[start..<self.offset], as: UTF8.self)
        if isWhole, let value = Int64(text) { return .integer(value) }
        guard let value = Double(text), value.isFinite else { throw self.fault("number too large") }
        return .real(value)
    }

    private mutating func digits() -> Int {
        let start = self.offset
        while let byte = self.current, (0x30...0x39).contains(byte) { self.offset += 1 }
        return self.offset - start
    }

    private mutating func string() throws(JSONFault) -> String {
        self.offset += 1
        var text: [UInt8] = []
        while let byte = self.current {
            self.offset += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let string = String(validating: text, as: UTF8.self) else {
                    throw self.fault("not UTF-8")
                }
                return string
            case UInt8(ascii: "\\"): try self.escape(&text)
            case 0..<0x20: throw self.fault("control character")
            case _: text.append(byte)
            }
        }
        throw self.fault("string without end")
    }

    private mutating func escape(_ text: inout [UInt8]) throws(JSONFault) {
        guard let byte = self.current else { throw self.fault("string without end") }
        self.offset += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
        case UInt8(ascii: "b"): text.append(8)
        case UInt8(ascii: "f"): text.append(12)
        case UInt8(ascii: "n"): text.append(10)
        case UInt8(ascii: "r"): text.append(13)
        case UInt8(ascii: "t"): text.append(9)
        case UInt8(ascii: "u"):
            var code = try self.hex()
            if (0xD800..<0xDC00).contains(code) {
                guard self.take(UInt8(ascii: "\\")), self.take(UInt8(ascii: "u")) else {
                    throw self.fault("lone surrogate")
                }
                let low = try self.hex()
                guard (0xDC00..<0xE000).contains(low) else { throw self.fault("lone surrogate") }
                code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(code) else { throw self.fault("lone surrogate") }
            text += Character(scalar).utf8
        case _: throw self.fault("unknown escape")
        }
    }

    private mutating func hex() throws(JSONFault) -> UInt32 {
        guard self.offset + 4 <= self.bytes.count else { throw self.fault("four digits expected") }
        var value: UInt32 = 0
        for byte in self.bytes[self.offset..<self.offset + 4] {
            let digit: UInt8 =
                switch byte {
                case 0x30...0x39: byte - 0x30
                case 0x41...0x46: byte - 0x41 + 10
                case 0x61...0x66: byte - 0x61 + 10
                case _: 16
                }
            guard digit < 16 else { throw self.fault("four digits expected") }
            value = value << 4 | UInt32(digit)
        }
        self.offset += 4
        return value
    }
}
