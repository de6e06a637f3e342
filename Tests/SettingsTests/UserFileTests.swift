import Settings
import Testing

@Suite("The file of users")
struct UserFileTests {
    @Test func `comments and blank lines survive a change`() throws {
        var file = try UserFile("# staff\njo:h1\n\nsam@example.org:h2\n")
        #expect(file.names == ["jo", "sam@example.org"])
        file.set("jo", hash: "h3")
        file.set("kim", hash: "h4")
        #expect(file.text == "# staff\njo:h3\n\nsam@example.org:h2\nkim:h4\n")
        let removals = [file.remove("jo"), file.remove("jo")]
        #expect(removals == [true, false])
        #expect(file.hash(of: "kim") == "h4" && file.hash(of: "sam@example.org") == "h2")
        #expect(file.text == "# staff\n\nsam@example.org:h2\nkim:h4\n")
        #expect(try UserFile(file.text).text == file.text)
    }

    @Test func `hashes may hold colons, names may not`() throws {
        #expect(try UserFile("jo:a:b").hash(of: "jo") == "a:b")
        #expect(!UserFile.isValid(name: "a:b"))
    }

    @Test(arguments: [
        ("jo\n", 1, "no colon between name and hash"),
        ("a:h\n:h\n", 2, "not a valid user name"),
        ("a b:h\n", 1, "not a valid user name"),
        ("a:\n", 1, "not a password hash"),
        ("a:h h\n", 1, "not a password hash"),
        ("a:h\nb:h\na:h\n", 3, "user a stands here twice"),
    ])
    func `a broken line is told with its number`(text: String, line: Int, what: String) {
        #expect(throws: UserFileFault(line: line, what: what)) { try UserFile(text) }
    }

    @Test func `a name may have 255 bytes, not 256`() {
        #expect(UserFile.isValid(name: String(repeating: "a", count: 255)))
        #expect(!UserFile.isValid(name: String(repeating: "a", count: 256)))
    }
}
