import Primitives
import Testing

@testable import OpenSSL

@Suite("Digests and secrets")
struct DigestTests {
    private func hex(_ bytes: [UInt8]) -> String {
        bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }

    @Test func `SHA-256 of abc is the one of FIPS 180-4`() {
        let digest = SHA256.digest(Array("abc".utf8))
        #expect(
            self.hex(digest.bytes)
                == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(digest.a == 0xBA78_16BF_8F01_CFEA)
    }

    @Test func `pieces give the digest of the whole, and a context serves again`() {
        var hash = SHA256()
        for _ in 0..<2 {
            hash.update(Array("a".utf8))
            hash.update([])
            hash.update(Array("bc".utf8))
            let digest = hash.finish()
            #expect(digest == SHA256.digest(Array("abc".utf8)))
        }
        hash.update([1, 2, 3])
        hash.reset()
        let empty = hash.finish()
        #expect(
            self.hex(empty.bytes)
                == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    }

    @Test func `HMAC-SHA-256 is the one of RFC 4231, case 2`() {
        let mac = HMACSHA256.authenticate(
            Array("what do ya want for nothing?".utf8), key: Array("Jefe".utf8))
        #expect(
            self.hex(mac.bytes)
                == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
    }

    @Test func `secrets are equal only if all bytes are`() {
        #expect(Secrets.equal([], []))
        #expect(Secrets.equal([1, 2], [1, 2]))
        #expect(!Secrets.equal([1, 2], [1, 3]))
        #expect(!Secrets.equal([1, 2], [1, 2, 3]))
        #expect(Secrets.randomBytes(32).count == 32)
        #expect(Secrets.randomBytes(32) != Secrets.randomBytes(32))
    }

    @Test(arguments: [
        ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy"),
    ])
    func `base64 is the one of RFC 4648 §10`(plain: String, encoded: String) {
        #expect(Base64.text(Array(plain.utf8)) == encoded)
        #expect(Base64.decode(encoded.utf8) == Array(plain.utf8))
        let bare = encoded.utf8.filter { $0 != UInt8(ascii: "=") }
        #expect(Base64.encode(Array(plain.utf8), padded: false) == Array(bare))
        #expect(Base64.decode(bare, padded: false) == Array(plain.utf8))
    }

    @Test(arguments: [
        "Z", "Zg", "Zg=", "Zg===", "=", "====", "Zh==", "Zm9=", "Zm 8=", "Zm8=\r\n", "Zm9v=",
    ])
    func `what is not base64 is refused`(text: String) {
        #expect(Base64.decode(text.utf8) == nil)
    }
}

@Suite("Stored passwords, RFC 7914")
struct PasswordHashTests {
    @Test func `a password is known again, another is not`() throws {
        let text = try #require(PasswordHash.make(Array("correct horse".utf8)))
        #expect(text.utf8.starts(with: "$scrypt$ln=15,r=8,p=1$".utf8))
        #expect(PasswordHash.isValid(text))
        #expect(PasswordHash.verify(Array("correct horse".utf8), text))
        #expect(!PasswordHash.verify(Array("correct hors".utf8), text))
        #expect(PasswordHash.make(Array("correct horse".utf8)) != text)
    }

    @Test func `a hash made by Python is accepted`() {
        // hashlib.scrypt(b"secret", salt=b"0123456789abcdef", n=1024, r=8, p=1, dklen=32)
        let text =
            "$scrypt$ln=10,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$S7FwBvpu+z8K0PUVUagFRTUAB2dAxIZpzVHvLZir+98"
        #expect(PasswordHash.verify(Array("secret".utf8), text))
        #expect(!PasswordHash.verify(Array("Secret".utf8), text))
    }

    @Test func `empty and overlong passwords have no hash`() {
        #expect(PasswordHash.make([]) == nil)
        let longest = [UInt8](repeating: 0x61, count: PasswordHash.longestPasswordBytes)
        #expect(PasswordHash.make(longest) != nil)
        #expect(PasswordHash.make(longest + [0x61]) == nil)
    }

    @Test(arguments: [
        "", "secret", "$scrypt$", "$scrypt$ln=15,r=8,p=1$c2FsdHNhbHRzYWx0$",
        // A cost that would take a gigabyte.
        "$scrypt$ln=20,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZg",
        "$scrypt$ln=18,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZg",
        "$scrypt$ln=15,r=999999,p=1$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZg",
        "$scrypt$ln=15,r=8,p=5$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZg",
        "$scrypt$ln=15,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg==$MDEyMzQ1Njc4OWFiY2RlZg",
        "$bcrypt$ln=15,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZg",
    ])
    func `a text that is no hash, or asks for too much, verifies nothing`(text: String) {
        #expect(!PasswordHash.isValid(text))
        #expect(!PasswordHash.verify(Array("secret".utf8), text))
    }

    @Test func `the greatest cost is still accepted`() {
        #expect(
            PasswordHash.isValid(
                "$scrypt$ln=17,r=8,p=4$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZg"))
    }
}
