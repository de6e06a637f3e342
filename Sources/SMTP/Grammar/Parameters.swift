// Parameters.swift - what stands behind the path of MAIL and RCPT.
//
// Gives     nil, or the reply for the first parameter that is malformed, repeated or unknown.
// Standard  RFC 5321 §4.1.2 (esmtp-param), §4.1.1.11; RFC 1870 §5; RFC 6152 §2; RFC 6531 §3.4;
//           RFC 3461 §4.1 to §4.4; RFC 4954 §5; RFC 6533 §3.

enum Parameters {
    enum Limit {
        /// Characters of ENVID (RFC 3461 §4.4).
        static let envidBytes = 100
        /// Characters of ORCPT (RFC 3461 §4.2).
        static let orcptBytes = 500
        /// Digits of SIZE (RFC 1870 §5).
        static let sizeDigits = 20
    }

    /// One `keyword[=value]`.
    private struct Parameter {
        var keyword: Slice<UnsafeRawBufferPointer>
        /// Nil: there was no `=`.
        var value: Slice<UnsafeRawBufferPointer>?
    }

    private enum Next {
        case parameter(Parameter)
        case end
        case malformed
    }

    private static func next(_ cursor: inout Cursor) -> Next {
        if cursor.isAtEnd { return .end }
        guard cursor.skipSpaces() else { return .malformed }
        let start = cursor.at
        while let byte = cursor.peek, Syntax.isAlphanumeric(byte) || byte == UInt8(ascii: "-") {
            cursor.at += 1
        }
        let keyword = cursor.bytes[start..<cursor.at]
        guard let first = keyword.first, first != UInt8(ascii: "-") else { return .malformed }
        guard cursor.skip(UInt8(ascii: "=")) else {
            return .parameter(Parameter(keyword: keyword, value: nil))
        }
        let value = cursor.word()
        guard !value.isEmpty, value.allSatisfy({ $0 > 0x20 && $0 != 0x7F && $0 != 0x3D }) else {
            return .malformed
        }
        return .parameter(Parameter(keyword: keyword, value: value))
    }

    static func read(_ cursor: inout Cursor, into command: inout MailCommand) -> ServerReply? {
        var seen: UInt8 = 0
        while true {
            let parameter: Parameter
            switch Self.next(&cursor) {
            case .end: return nil
            case .malformed: return .parameterMalformed
            case .parameter(let found): parameter = found
            }
            guard let (bit, isGood) = Self.apply(parameter, to: &command) else {
                return .parameterUnknown
            }
            if seen & bit != 0 { return .parameterRepeated }
            seen |= bit
            if !isGood { return .parameterMalformed }
        }
    }

    /// Nil: not a parameter that we know. The bit tells parameters apart.
    private static func apply(
        _ parameter: Parameter, to command: inout MailCommand
    ) -> (bit: UInt8, isGood: Bool)? {
        let keyword = parameter.keyword
        if Syntax.equals(keyword, "SIZE") {
            guard let value = parameter.value, value.count <= Limit.sizeDigits,
                value.allSatisfy(Syntax.isDigit)
            else { return (1, false) }
            // More than 64 bits hold is more than any limit of ours, not a mistake of grammar.
            command.size = Cursor.number(value) ?? .max
            return (1, true)
        }
        if Syntax.equals(keyword, "BODY") {
            guard let value = parameter.value else { return (2, false) }
            command.eightBit = Syntax.equals(value, "8BITMIME")
            return (2, command.eightBit || Syntax.equals(value, "7BIT"))
        }
        if Syntax.equals(keyword, "SMTPUTF8") {
            command.utf8 = true
            return (4, parameter.value == nil)
        }
        if Syntax.equals(keyword, "RET") {
            guard let value = parameter.value else { return (8, false) }
            if Syntax.equals(value, "FULL") { command.ret = .full }
            if Syntax.equals(value, "HDRS") { command.ret = .headers }
            return (8, command.ret != nil)
        }
        if Syntax.equals(keyword, "ENVID") {
            guard let value = parameter.value, value.count <= Limit.envidBytes,
                Xtext.isValid(value)
            else { return (16, false) }
            command.envid = String(decoding: value, as: UTF8.self)
            return (16, true)
        }
        if Syntax.equals(keyword, "AUTH") {
            // RFC 4954 §5: nobody is trusted with this, so it is read and counts as `<>`.
            return (32, parameter.value.map(Xtext.isValid) ?? false)
        }
        return nil
    }

    static func read(_ cursor: inout Cursor, into command: inout RecipientCommand) -> ServerReply? {
        var seen: UInt8 = 0
        while true {
            let parameter: Parameter
            switch Self.next(&cursor) {
            case .end: return nil
            case .malformed: return .parameterMalformed
            case .parameter(let found): parameter = found
            }
            guard let (bit, isGood) = Self.apply(parameter, to: &command) else {
                return .parameterUnknown
            }
            if seen & bit != 0 { return .parameterRepeated }
            seen |= bit
            if !isGood { return .parameterMalformed }
        }
    }

    private static func apply(
        _ parameter: Parameter, to command: inout RecipientCommand
    ) -> (bit: UInt8, isGood: Bool)? {
        if Syntax.equals(parameter.keyword, "NOTIFY") {
            guard let value = parameter.value, let notify = Self.notify(value) else {
                return (1, false)
            }
            command.notify = notify
            return (1, true)
        }
        if Syntax.equals(parameter.keyword, "ORCPT") {
            guard let value = parameter.value, value.count <= Limit.orcptBytes,
                let semicolon = value.firstIndex(of: UInt8(ascii: ";")),
                semicolon > value.startIndex, semicolon + 1 < value.endIndex,
                value[..<semicolon].allSatisfy({
                    Syntax.isAlphanumeric($0) || $0 == UInt8(ascii: "-")
                })
            else { return (2, false) }
            let address = value[(semicolon + 1)...]
            let isUTF8 = Syntax.equals(value[..<semicolon], "UTF-8")
            guard isUTF8 ? Self.isUTF8Address(address) : Xtext.isValid(address),
                let text = String(validating: value, as: UTF8.self)
            else { return (2, false) }
            command.orcpt = text
            return (2, true)
        }
        return nil
    }

    /// `NEVER`, or a list of the other three without repetition (RFC 3461 §4.1).
    private static func notify(_ value: Slice<UnsafeRawBufferPointer>) -> Notify? {
        if Syntax.equals(value, "NEVER") { return [.never, .explicit] }
        var result: Notify = .explicit
        for word in value.split(
            separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
        {
            let flag: Notify
            if Syntax.equals(word, "SUCCESS") {
                flag = .success
            } else if Syntax.equals(word, "FAILURE") {
                flag = .failure
            } else if Syntax.equals(word, "DELAY") {
                flag = .delay
            } else {
                return nil
            }
            guard result.insert(flag).inserted else { return nil }
        }
        return result
    }

    /// RFC 6533 §3: graphic characters and those above 127; `\x{…}` is spelt with the former.
    private static func isUTF8Address(_ bytes: Slice<UnsafeRawBufferPointer>) -> Bool {
        bytes.allSatisfy { Syntax.isGraphic($0) || $0 >= 0x80 }
    }
}
