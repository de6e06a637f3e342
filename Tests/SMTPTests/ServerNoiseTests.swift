import Primitives
import SMTP
import Testing

/// Sessions that are fed by dice: words of the protocol, cut and mixed with noise.
@Suite("Server session under noise")
struct ServerNoiseTests {
    private static let words: [String] = [
        "EHLO c\r\n", "HELO c\r\n", "MAIL FROM:<a@x>", "RCPT TO:<b@y>", "DATA\r\n", "BDAT 7\r\n",
        "BDAT 3 LAST\r\n", "RSET\r\n", "QUIT\r\n", "AUTH PLAIN\r\n", "AUTH LOGIN am9l\r\n",
        "AGpvZQBwdw==\r\n", "*\r\n", "STARTTLS\r\n", "NOOP\r\n", "\r\n", "\r", "\n", ".", ".\r\n",
        "\r\n.\r\n", "Subject: x\r\n\r\n", " SIZE=5", " SMTPUTF8", " NOTIFY=NEVER", "\"", "\\", "<",
        ">", "@", "[IPv6:::1]", "\u{0}", "ü", "xxxxxxxxxxxxxxxxxxxxxxxx", "=", "+2B", ";",
    ]

    /// Plays `steps` steps; true if the session was ever ended.
    private func play(seed: UInt64, steps: Int) -> Bool {
        var dice = Generator(seed: seed)
        let t = ServerTrace(
            limits: ServerLimits(messageBytes: 200, recipients: 3, messages: 50, errors: 500),
            hasTLS: dice.chance(permille: 500))
        t.auth = dice.chance(permille: 500) ? .user("joe") : .failed
        for _ in 0..<steps {
            var text = ""
            for _ in 0...dice.below(6) {
                let word = Self.words[dice.below(Self.words.count)]
                text += word
                if dice.chance(permille: 300) && !word.hasSuffix("\n") { text += "\r\n" }
            }
            var bytes = Array(text.utf8)
            if dice.chance(permille: 100) {
                bytes[dice.below(bytes.count)] = UInt8(dice.below(256))
            }
            let said = t.send(bytes: bytes)
            for line in said.split(separator: "\n") {
                #expect(line.first.map { "2345".contains($0) } == true, "\(seed): \(line)")
            }
            #expect(t.bufferedBytes <= CommandParser.Limit.authLineBytes + bytes.count)
            if t.events.last == "startTLS" {
                t.session.tlsEstablished()
                t.events.append("TLS")
            }
            if t.isClosed { break }
        }
        // What was handed over is what was finished or abandoned, and never more than the limit.
        for message in t.submissions {
            #expect(message.bytes <= 200 && (1...3).contains(message.envelope.recipients.count))
        }
        return t.isClosed
    }

    @Test func `a thousand sessions of noise break nothing`() {
        var closed = 0
        for seed in 0..<1000 as Range<UInt64> where self.play(seed: seed, steps: 60) { closed += 1 }
        #expect(closed > 100 && closed < 1000)
    }

    @Test func `the same noise in other pieces is the same session`() {
        for seed in 0..<200 as Range<UInt64> {
            var dice = Generator(seed: seed)
            var bytes: [UInt8] = []
            for _ in 0..<80 {
                let word = Self.words[dice.below(Self.words.count)]
                // Whether what stands behind STARTTLS is thrown away depends on the pieces.
                if word.hasPrefix("STARTTLS") { continue }
                bytes += Array(word.utf8)
                if dice.chance(permille: 300) && !word.hasSuffix("\n") { bytes += [13, 10] }
            }
            let whole = ServerTrace(limits: ServerLimits(errors: 500), hasTLS: true)
            let cut = ServerTrace(limits: ServerLimits(errors: 500), hasTLS: true)
            let said = whole.send(bytes: bytes)
            var parts: [String] = []
            var rest = bytes[...]
            while !rest.isEmpty {
                let size = 1 + dice.below(9)
                parts.append(cut.send(bytes: Array(rest.prefix(size))))
                rest = rest.dropFirst(size)
            }
            #expect(parts.filter { !$0.isEmpty }.joined(separator: "\n") == said, "\(seed)")
            #expect(cut.events == whole.events && cut.content == whole.content, "\(seed)")
        }
    }
}
