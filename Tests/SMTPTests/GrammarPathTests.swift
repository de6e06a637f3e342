import Primitives
import SMTP
import Testing

@Suite("Paths, RFC 5321 §4.1.2")
struct GrammarPathTests {
    @Test(arguments: [
        ("a@b.example", "a@b.example"),
        ("User.Name+tag@EXAMPLE.Org", "User.Name+tag@example.org"),
        ("\"john\"@example.org", "john@example.org"),
        ("\"john doe\"@example.org", "\"john doe\"@example.org"),
        ("\"a\\@b\"@example.org", "\"a@b\"@example.org"),
        ("\"a\\\"b\"@example.org", "\"a\\\"b\"@example.org"),
        ("\"\"@example.org", "\"\"@example.org"),
        ("@one.example,@two.example:user@three.example", "user@three.example"),
        ("u@[192.0.2.1]", "u@[192.0.2.1]"),
        ("u@[IPv6:2001:DB8:0::1]", "u@[IPv6:2001:db8::1]"),
        ("u@[ipv6:::ffff:192.0.2.1]", "u@[192.0.2.1]"),
        ("u@[tag:some!thing]", "u@[tag:some!thing]"),
        ("postmaster", "postmaster"),
        ("PostMaster", "PostMaster"),
        ("u@bücher.example", "u@xn--bcher-kva.example"),
        ("u@BÜCHER.example", "u@xn--bcher-kva.example"),
        ("u@例え.jp", "u@xn--r8jz45g.jp"),
        ("u@a_b.example", "u@a_b.example"),
        ("!#$%&'*+-/=?^_`{|}~@x", "!#$%&'*+-/=?^_`{|}~@x"),
    ]) func `a valid path gets its one spelling`(given: String, expected: String) {
        #expect(Path.address(given)?.address == expected)
    }

    @Test(arguments: [
        "", "a", "a@", "@b", "a@b@c", "a b@c", "a..b@c", ".a@c", "a.@c", "a@.c", "a@c.", "a@b..c",
        "a@-b", "a@b-", "a@b-.c", "\"a@b", "\"a\u{1}\"@b", "a@[1.2.3]", "a@[1.2.3.256]",
        "a@[IPv6:1]",
        "a@[IPv6:1.2.3.4]", "a@[::1]", "a@[tag:]", "a@[-:x]", "a@[1.2.3.4", "a@b c", "a>@b",
        "<a@b>",
        "@one.example:", "@one.example user@x", "@:u@x", "a\u{7F}@b", "a@b\u{0}", "a@b/c", "(c)a@b",
        "a@xn\u{200D}\u{200D}.example",
    ]) func `what is no path is refused`(given: String) {
        #expect(Path.address(given) == nil)
    }

    @Test func `only the reverse path may be empty, only the forward path postmaster alone`() {
        #expect(Path.address("", .reverse) == .null)
        #expect(Path.address("postmaster", .reverse) == nil)
    }

    @Test func `a local part of 64 bytes is taken, of 65 not`() {
        let local = String(repeating: "a", count: 64)
        #expect(Path.address(local + "@b.example") != nil)
        #expect(Path.address(local + "a@b.example") == nil)
    }

    @Test func `a label of 63 bytes is taken, of 64 not`() {
        let label = String(repeating: "a", count: 63)
        #expect(Path.address("u@\(label).example") != nil)
        #expect(Path.address("u@\(label)a.example") == nil)
    }

    @Test func `a path of 256 bytes with its brackets is taken, of 257 not`() {
        let label = String(repeating: "a", count: 59)
        let domain = "\(label).\(label).\(label).\(label)"  // 239
        let local = String(repeating: "l", count: 14)  // 254 with the @
        #expect(Path.address("\(local)@\(domain)") != nil)
        #expect(Path.address("\(local)l@\(domain)") == nil)
    }

    @Test func `a domain of 255 bytes is one, of 256 not`() {
        let label = String(repeating: "a", count: 63)
        let domain = "\(label).\(label).\(label).\(label)"
        #expect(domain.utf8.count == 255)
        #expect(DomainName.ascii(domain) == domain)
        #expect(DomainName.ascii("a." + domain.dropFirst()) == nil)
    }

    @Test func `UTF-8 is told apart by the half that holds it`() {
        let local = Path.address("jörg@example.org")
        #expect(local == Path(address: "jörg@example.org", isUTF8: true, cameInUTF8: true))
        let domain = Path.address("j@bücher.example")
        #expect(domain?.isUTF8 == false)
        #expect(domain?.cameInUTF8 == true)
    }

    @Test func `literals give their address`() {
        #expect(DomainName.address(inLiteral: "[192.0.2.7]")?.description == "192.0.2.7")
        #expect(DomainName.address(inLiteral: "[IPv6:2001:db8::7]")?.description == "2001:db8::7")
        #expect(DomainName.address(inLiteral: "[2001:db8::7]") == nil)
        #expect(DomainName.address(inLiteral: "example.org") == nil)
    }

    @Test func `xtext goes round and bad xtext is seen`() {
        #expect(Xtext.encode("a+b=c d") == "a+2Bb+3Dc+20d")
        #expect(Xtext.decode("a+2Bb+3Dc+20d") == Array("a+b=c d".utf8))
        for bad in ["a=b", "a+", "a+2", "a+2b", "a+GG", "a b"] { #expect(Xtext.decode(bad) == nil) }
    }
}
