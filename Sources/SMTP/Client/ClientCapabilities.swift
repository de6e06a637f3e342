// ClientCapabilities.swift - what a server offers, from its answer to EHLO or LHLO.
//
// Standard  RFC 5321 §4.1.1.1 (keywords in any case), RFC 2920, 1870, 6152, 6531, 3461, 3207, 4954.

/// The extensions that a client makes use of.
package struct ClientCapabilities: Hashable, Sendable {
    package var pipelining = false
    package var eightBit = false
    package var utf8 = false
    package var dsn = false
    package var startTLS = false
    package var authPlain = false
    package var authLogin = false
    /// SIZE was offered.
    package var size = false
    /// The greatest message; nil: not said, or 0 = no fixed limit (RFC 1870 §4).
    package var maxBytes: UInt64?

    package init() {}

    /// The first line is the server's name; each further line one keyword and its parameters.
    package init(_ reply: Reply) {
        for line in reply.lines.dropFirst() {
            // Some old servers write "AUTH=PLAIN LOGIN".
            let words = line.utf8.split { $0 == 0x20 || $0 == UInt8(ascii: "=") }
            guard let keyword = words.first else { continue }
            switch Self.upper(keyword) {
            case "PIPELINING": self.pipelining = true
            case "8BITMIME": self.eightBit = true
            case "SMTPUTF8": self.utf8 = true
            case "DSN": self.dsn = true
            case "STARTTLS": self.startTLS = true
            case "SIZE":
                self.size = true
                guard words.count > 1, let bytes = UInt64(String(words[1]) ?? ""), bytes > 0
                else { continue }
                self.maxBytes = bytes
            case "AUTH":
                for mechanism in words.dropFirst() {
                    if Self.upper(mechanism) == "PLAIN" { self.authPlain = true }
                    if Self.upper(mechanism) == "LOGIN" { self.authLogin = true }
                }
            case _: continue
            }
        }
    }

    private static func upper(_ word: Substring.UTF8View) -> String {
        String(
            decoding: word.map { $0 >= 0x61 && $0 <= 0x7A ? $0 - 0x20 : $0 }, as: UTF8.self)
    }
}
