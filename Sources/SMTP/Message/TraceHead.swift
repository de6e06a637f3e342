// TraceHead.swift - the header fields that we put in front of a message.
//
// Takes     what the session knows once (who speaks, how); per message the queue id and the time.
// Gives     `Received`, and on submission `Date` and `Message-ID` where they are missing.
// Standard  RFC 5321 §4.4 (Received), RFC 3848 and RFC 6531 §4.3 (the `with` keywords), RFC 5322
//           §2.1.1 (lines of at most 78), §3.6.4; RFC 6409 §8 (what a submission may lack).

package import Primitives

package import struct NIOCore.ByteBuffer

/// The keyword behind `with` in a Received field.
package enum ProtocolKeyword: Hashable, Sendable, CaseIterable {
    case smtp, esmtp, esmtpa, esmtps, esmtpsa, utf8smtp, utf8smtpa, utf8smtps, utf8smtpsa

    /// HELO is SMTP whatever else holds; A: authenticated, S: with TLS (RFC 3848).
    package init(isExtended: Bool, utf8: Bool, tls: Bool, authenticated: Bool) {
        switch (utf8, tls, authenticated) {
        case (true, true, true): self = .utf8smtpsa
        case (true, true, false): self = .utf8smtps
        case (true, false, true): self = .utf8smtpa
        case (true, false, false): self = .utf8smtp
        case (false, true, true): self = .esmtpsa
        case (false, true, false): self = .esmtps
        case (false, false, true): self = .esmtpa
        case (false, false, false): self = isExtended ? .esmtp : .smtp
        }
    }

    package var text: StaticString {
        switch self {
        case .smtp: "SMTP"
        case .esmtp: "ESMTP"
        case .esmtpa: "ESMTPA"
        case .esmtps: "ESMTPS"
        case .esmtpsa: "ESMTPSA"
        case .utf8smtp: "UTF8SMTP"
        case .utf8smtpa: "UTF8SMTPA"
        case .utf8smtps: "UTF8SMTPS"
        case .utf8smtpsa: "UTF8SMTPSA"
        }
    }
}

/// What all heads of a session have in common; made anew when EHLO, TLS or AUTH change it.
package struct TraceHead: Sendable {
    package enum Limit {
        /// Columns of a line, where the words allow it (RFC 5322 §2.1.1).
        package static let columns = 78
    }

    /// Up to and without `id`.
    private let prefix: ByteBuffer
    private let prefixColumn: Int
    private let hostname: String

    /// - Parameter tls: version and cipher, e.g. "TLSv1.3", "TLS_AES_256_GCM_SHA384"; nil without.
    package init(
        helo: String, client: IPAddress, hostname: String, keyword: ProtocolKeyword,
        tls: (version: String, cipher: String)?
    ) {
        var writer = FoldedWriter(ByteBuffer())
        writer.out.reserveCapacity(160)
        writer.word("Received: from")
        writer.word(Self.safe(helo))
        writer.word("(", DomainName.literal(client), ")")
        if let tls {
            writer.fold()
            writer.word("(using \(tls.version) with cipher \(Self.safe(tls.cipher)))")
        }
        writer.fold()
        writer.word("by")
        writer.word(Self.safe(hostname))
        writer.word("with")
        writer.word(keyword.text)
        self.prefix = writer.out
        self.prefixColumn = writer.column
        self.hostname = hostname
    }

    /// The head of one message, each line ended by CRLF.
    ///
    /// - Parameter recipient: the only recipient; nil if there are more (nobody learns of others).
    package func head(
        id: String, at time: WallTime, recipient: String?, added: AddedFields
    ) -> ByteBuffer {
        // Written in place: a second reference to the buffer would cost a copy of it.
        var writer = FoldedWriter(ByteBuffer(), column: self.prefixColumn)
        writer.out.reserveCapacity(self.prefix.readableBytes + 256)
        writer.out.writeImmutableBuffer(self.prefix)
        writer.word("id", joined: id)
        if let recipient {
            writer.fold()
            writer.word("for <", recipient, ">;")
        } else {
            writer.out.writeStaticString(";")
            writer.column += 1
        }
        writer.breakIfNeeded(FoldedWriter.dateBytes)
        writer.out.writeStaticString(" ")
        DateField.write(time, into: &writer.out)
        writer.out.writeStaticString("\r\n")
        if added.contains(.date) {
            writer.out.writeStaticString("Date: ")
            DateField.write(time, into: &writer.out)
            writer.out.writeStaticString("\r\n")
        }
        if added.contains(.messageID) {
            writer.out.writeStaticString("Message-ID: <")
            writer.out.writeString(id)
            writer.out.writeStaticString(".")
            writer.out.writeString(Base32.text(UInt64(bitPattern: time.milliseconds)))
            writer.out.writeStaticString("@")
            writer.out.writeString(self.hostname)
            writer.out.writeStaticString(">\r\n")
        }
        if added.contains(.emptyLine) { writer.out.writeStaticString("\r\n") }
        return writer.out
    }

    /// What a client chose to say must not open comments or break lines.
    private static func safe(_ text: String) -> String {
        let isSafe = { (byte: UInt8) in
            Syntax.isHostName(byte) || byte == 0x2E || byte == 0x3A || byte == 0x5B || byte == 0x5D
        }
        if text.utf8.allSatisfy(isSafe) { return text }
        return String(
            decoding: text.utf8.map { isSafe($0) ? $0 : UInt8(ascii: "?") }, as: UTF8.self)
    }
}

/// What a head has besides `Received`.
package struct AddedFields: OptionSet, Hashable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    package static let date = AddedFields(rawValue: 1)
    package static let messageID = AddedFields(rawValue: 2)
    /// The content has no header: without an empty line its first line would be one.
    package static let emptyLine = AddedFields(rawValue: 4)

    /// What `header` lacks; `Date` and `Message-ID` are added on submission only (RFC 6409 §8).
    package init(missingIn header: HeaderScanner, isSubmission: Bool) {
        self = []
        if isSubmission && !header.hasDate { self.insert(.date) }
        if isSubmission && !header.hasMessageID { self.insert(.messageID) }
        if header.isHeaderless { self.insert(.emptyLine) }
    }
}

/// Words with a space between them, a new line where the next would not fit.
private struct FoldedWriter {
    /// ` Mon, 22 Mar 2026 17:04:05 +0000`.
    static let dateBytes = 32

    var out: ByteBuffer
    var column: Int
    private var isAtStart: Bool

    init(_ out: ByteBuffer, column: Int = 0) {
        self.out = out
        self.column = column
        self.isAtStart = column == 0
    }

    /// The next word stands on a new line.
    mutating func fold() {
        self.out.writeStaticString("\r\n\t")
        self.column = 8
        self.isAtStart = true
    }

    /// A new line if the space and what follows would not fit.
    mutating func breakIfNeeded(_ bytes: Int) {
        guard self.column + bytes > TraceHead.Limit.columns else { return }
        self.out.writeStaticString("\r\n")
        self.column = 0
    }

    private mutating func separate(_ bytes: Int) {
        if self.isAtStart {
            self.isAtStart = false
        } else if self.column + 1 + bytes > TraceHead.Limit.columns {
            self.fold()
            self.isAtStart = false
        } else {
            self.out.writeStaticString(" ")
            self.column += 1
        }
        self.column += bytes
    }

    mutating func word(_ text: String) {
        self.separate(text.utf8.count)
        self.out.writeString(text)
    }

    /// One word in three parts.
    mutating func word(_ first: StaticString, _ middle: String, _ last: StaticString) {
        self.separate(first.utf8CodeUnitCount + middle.utf8.count + last.utf8CodeUnitCount)
        self.out.writeStaticString(first)
        self.out.writeString(middle)
        self.out.writeStaticString(last)
    }

    mutating func word(_ text: StaticString) {
        self.separate(text.utf8CodeUnitCount)
        self.out.writeStaticString(text)
    }

    /// Two words that stay on one line.
    mutating func word(_ first: StaticString, joined second: String) {
        self.separate(first.utf8CodeUnitCount + 1 + second.utf8.count)
        self.out.writeStaticString(first)
        self.out.writeStaticString(" ")
        self.out.writeString(second)
    }
}
