// CommandParser.swift - the bytes of one line, without its end, into a command.
//
// Takes     at most `Limit.lineBytes` bytes; the caller has found the line's end.
// Gives     a command, or the reply for what is no command. Order is not its matter.
// Standard  RFC 5321 §4.1.1, §4.1.2, §4.5.3.1.4; RFC 2920 §3.1.
//
// Tolerated: any case, blanks at the end, a blank behind the colon of MAIL FROM: and RCPT TO:.

package import Primitives

package enum CommandParser {
    package enum Limit {
        /// Bytes of a command line without its end: 512 (RFC 5321 §4.5.3.1.4) and what SIZE, BODY,
        /// DSN, AUTH= and SMTPUTF8 add (RFC 1870 §3, 3461 §4.1 to §4.4, 4954 §3, 6531 §3.1).
        package static let lineBytes = 2048
        /// Bytes of a line of an AUTH exchange (RFC 4954 §4.5).
        package static let authLineBytes = 12_288
        /// Bytes of the argument of HELO and EHLO.
        package static let helloBytes = 255
    }

    package static func parse(_ line: UnsafeRawBufferPointer) -> ServerCommand {
        var end = line.count
        while end > 0, line[end - 1] == 0x20 || line[end - 1] == 0x09 { end -= 1 }
        let bytes = UnsafeRawBufferPointer(rebasing: line[..<end])
        guard bytes.count >= 4 else { return .refused(.unrecognized) }
        var cursor = Cursor(bytes)
        let verb = cursor.word()
        switch Self.upper4(bytes) {
        case 0x4D41_494C where verb.count == 4: return Self.mail(&cursor)
        case 0x5243_5054 where verb.count == 4: return Self.recipient(&cursor)
        case 0x4441_5441 where verb.count == 4: return Self.alone(&cursor, .data)
        case 0x4244_4154 where verb.count == 4: return Self.chunk(&cursor)
        case 0x4548_4C4F where verb.count == 4: return Self.hello(&cursor, isExtended: true)
        case 0x4845_4C4F where verb.count == 4: return Self.hello(&cursor, isExtended: false)
        case 0x5155_4954 where verb.count == 4: return Self.alone(&cursor, .quit)
        case 0x5253_4554 where verb.count == 4: return Self.alone(&cursor, .reset)
        case 0x4E4F_4F50 where verb.count == 4: return .noop
        case 0x4845_4C50 where verb.count == 4: return .help
        case 0x4155_5448 where verb.count == 4: return Self.auth(&cursor)
        case 0x5652_4659 where verb.count == 4:
            return cursor.isAtEnd ? .refused(.argumentMissing) : .verify
        case 0x4558_504E where verb.count == 4: return .expand
        case _ where Syntax.equals(verb, "STARTTLS"): return Self.alone(&cursor, .startTLS)
        case _
        where Syntax.equals(verb, "GET") || Syntax.equals(verb, "POST")
            || Syntax.equals(verb, "PUT") || Syntax.equals(verb, "HEAD")
            || Syntax.equals(verb, "CONNECT") || Syntax.equals(verb, "OPTIONS"):
            return .web
        case _: return .refused(.unrecognized)
        }
    }

    /// The first four bytes in upper case, as one number.
    @inline(__always)
    private static func upper4(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        // Bit 5 tells the cases of a letter apart; a verb has nothing but letters, so that what
        // this confuses (`{` with `[`) is no verb either way.
        UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self)) & 0xDFDF_DFDF
    }

    private static func alone(_ cursor: inout Cursor, _ command: ServerCommand) -> ServerCommand {
        cursor.isAtEnd ? command : .refused(.argumentUnwanted)
    }

    private static func hello(_ cursor: inout Cursor, isExtended: Bool) -> ServerCommand {
        cursor.skipSpaces()
        let name = cursor.word()
        guard !name.isEmpty else { return .refused(.argumentMissing) }
        guard name.count <= Limit.helloBytes, name.allSatisfy({ $0 > 0x20 && $0 != 0x7F }) else {
            return .refused(.parameterMalformed)
        }
        return .hello(name: String(decoding: name, as: UTF8.self), isExtended: isExtended)
    }

    /// Steps over ` FROM:` or ` TO:` and a blank that should not be there.
    private static func skipKeyword(_ cursor: inout Cursor, _ keyword: StaticString) -> Bool {
        guard cursor.skipSpaces() else { return false }
        let start = cursor.at
        while let byte = cursor.peek, byte != UInt8(ascii: ":"), byte != UInt8(ascii: "<") {
            cursor.at += 1
        }
        guard Syntax.equals(cursor.bytes[start..<cursor.at], keyword),
            cursor.skip(UInt8(ascii: ":"))
        else { return false }
        cursor.skipSpaces()
        return true
    }

    private static func mail(_ cursor: inout Cursor) -> ServerCommand {
        guard Self.skipKeyword(&cursor, "FROM") else { return .refused(.mailSyntax) }
        let path: Path
        switch Path.read(&cursor, .reverse) {
        case .success(let read): path = read
        case .failure(.malformed): return .refused(.badSender)
        case .failure(.tooLong): return .refused(.pathTooLong)
        }
        var command = MailCommand(sender: path)
        if let fault = Parameters.read(&cursor, into: &command) { return .refused(fault) }
        if path.cameInUTF8 && !command.utf8 { return .refused(.utf8Needed) }
        return .mail(command)
    }

    private static func recipient(_ cursor: inout Cursor) -> ServerCommand {
        guard Self.skipKeyword(&cursor, "TO") else { return .refused(.recipientSyntax) }
        let path: Path
        switch Path.read(&cursor, .forward) {
        case .success(let read): path = read
        case .failure(.malformed): return .refused(.badRecipient)
        case .failure(.tooLong): return .refused(.pathTooLong)
        }
        var command = RecipientCommand(path: path)
        if let fault = Parameters.read(&cursor, into: &command) { return .refused(fault) }
        return .recipient(command)
    }

    private static func chunk(_ cursor: inout Cursor) -> ServerCommand {
        guard cursor.skipSpaces(), let bytes = Cursor.number(cursor.word()) else {
            return .lostChunk
        }
        if cursor.isAtEnd { return .chunk(bytes: bytes, isLast: false) }
        cursor.skipSpaces()
        guard Syntax.equals(cursor.word(), "LAST"), cursor.isAtEnd else { return .lostChunk }
        return .chunk(bytes: bytes, isLast: true)
    }

    private static func auth(_ cursor: inout Cursor) -> ServerCommand {
        cursor.skipSpaces()
        let name = cursor.word()
        guard !name.isEmpty else { return .refused(.argumentMissing) }
        cursor.skipSpaces()
        let initial = cursor.word()
        guard cursor.isAtEnd else { return .refused(.argumentUnwanted) }
        let response = initial.isEmpty ? nil : Array(initial)
        if Syntax.equals(name, "PLAIN") { return .auth(.plain, initial: response) }
        if Syntax.equals(name, "LOGIN") { return .auth(.login, initial: response) }
        return .refused(.mechanismUnknown)
    }
}
