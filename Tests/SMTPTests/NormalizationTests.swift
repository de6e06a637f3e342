import Foundation
import Primitives
import SMTP
import Testing

@testable import SMTP

@Suite("Domains in UTF-8, RFC 5891 and RFC 5895")
struct NormalizationTests {
    @Test(arguments: [
        ("bücher.example", "xn--bcher-kva.example"),
        ("bu\u{308}cher.example", "xn--bcher-kva.example"),
        ("BÜCHER.Example", "xn--bcher-kva.example"),
        ("BU\u{308}CHER.example", "xn--bcher-kva.example"),
        // The Angstrom sign is Å; marks may come in either order.
        ("\u{212B}ngstrom.example", "xn--ngstrom-dxa.example"),
        ("e\u{302}\u{323}.example", "xn--qlg.example"),
        ("e\u{323}\u{302}.example", "xn--qlg.example"),
        // Jamo make one syllable.
        ("\u{1112}\u{1161}\u{11AB}.example", "xn--6q8b.example"),
        ("ｅｘａｍｐｌｅ.ＯＲＧ", "example.org"),
        ("bücher。example", "xn--bcher-kva.example"),
        ("bücher．example", "xn--bcher-kva.example"),
        ("bücher｡example", "xn--bcher-kva.example"),
        // IDNA 2008 keeps these apart from ss and σ.
        ("straße.example", "xn--strae-oqa.example"),
        ("βόλος.example", "xn--nxasmm1c.example"),
    ])
    func `the same characters make the same name`(_ text: String, _ name: String) {
        #expect(DomainName.ascii(text) == name)
        #expect(Path.address("a@" + text)?.address == "a@" + name)
    }

    @Test(arguments: [
        "\u{308}a.example", "ü。。example", "。ü.example", "ü.example。", "ab--ü.example",
        "-ü.example", "ü-.example", "ü\u{200B}.example", "ü\u{FF20}x@y.example", "ü x.example",
        "＿ü.example\u{0}",
    ])
    func `what is no name stays none`(_ text: String) {
        #expect(DomainName.ascii(text) == nil)
    }

    @Test func `a label may have 63 bytes as it is encoded, one more is too long`() throws {
        // xn--, the ASCII, a hyphen, and three digits for one ü behind them.
        func name(_ count: Int) -> String? {
            DomainName.ascii(String(repeating: "a", count: count) + "u\u{308}.example")
        }
        let most = try #require((40...63).last { name($0) != nil })
        #expect(name(most)?.split(separator: ".").first?.utf8.count == 63)
        #expect(name(most + 1) == nil)
    }

    @Test func `NFC is that of Python, for all decompositions and for marks in any order`() throws {
        // Each line: the decomposed text, NFC of it; both as hexadecimal scalars. Characters that
        // are younger than Python's tables are left out by what both know.
        let script = """
            import random, unicodedata
            random.seed(7)
            pairs = []
            singles = []
            for c in range(0x110000):
                d = unicodedata.decomposition(chr(c))
                if d and not d.startswith("<"):
                    singles.append(chr(c))
            pairs += singles + [unicodedata.normalize("NFD", s) for s in singles]
            marks = [chr(c) for c in range(0x300, 0x370)]
            letters = [s for s in singles if unicodedata.category(s)[0] == "L"]
            for _ in range(3000):
                text = ""
                for _ in range(random.randrange(1, 4)):
                    base = random.choice(letters)
                    if random.random() < 0.5:
                        base = unicodedata.normalize("NFD", base)
                    text += base + "".join(random.sample(marks, random.randrange(0, 4)))
                pairs.append(text)
            for s in range(0xAC00, 0xD7A4, 97):
                pairs.append(unicodedata.normalize("NFD", chr(s)))
            hexed = lambda t: " ".join("%x" % ord(c) for c in t)
            for p in pairs:
                print(hexed(p) + ";" + hexed(unicodedata.normalize("NFC", p)))
            """
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/python3")
        process.arguments = ["-c", script]
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let output = String(
            decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        var count = 0
        for line in output.split(separator: "\n") {
            let texts = line.split(separator: ";").map { part in
                var text = String.UnicodeScalarView()
                for word in part.split(separator: " ") {
                    text.append(UInt32(word, radix: 16).flatMap(Unicode.Scalar.init) ?? "?")
                }
                return text
            }
            let found = Normalization.nfc(String(texts[0])).map { Array($0.unicodeScalars) }
            if found != Array(texts[1]) { Issue.record("\(line)") }
            count += 1
        }
        #expect(count > 7000)
    }
}
