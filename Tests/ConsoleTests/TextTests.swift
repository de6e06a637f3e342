import Testing

@testable import Console

@Suite("What people type and read")
struct TextTests {
    @Test(arguments: [
        ("http://127.0.0.1:8680", false, "127.0.0.1", 8680, "127.0.0.1:8680"),
        ("http://a.example/", false, "a.example", 8680, "a.example:8680"),
        ("https://[::1]", true, "::1", 8680, "[::1]:8680"),
        ("https://[::1]:1", true, "::1", 1, "[::1]:1"),
    ])
    func `URLs of nodes are read`(
        text: String, secure: Bool, host: String, port: Int, authority: String
    ) throws {
        let url = try #require(ServerURL(text))
        #expect(url.isSecure == secure && url.host == host && url.port == port)
        #expect(url.authority == authority)
    }

    @Test(arguments: [
        "", "a.example", "ftp://a", "http://", "http://:1", "http://a:0", "http://a:65536",
        "http://a:b", "http://a/b", "http://u@a",
    ])
    func `what is no URL of a node is refused`(text: String) {
        #expect(ServerURL(text) == nil)
    }

    @Test(arguments: [
        ("1970-01-01T00:00:00Z", 0), ("1970-01-01T00:00:00.007Z", 7),
        ("2000-02-29T12:00:00.000Z", 951_825_600_000), ("2026-09-04T08:35:30Z", 1_788_510_930_000),
        ("2100-03-01T00:00:00Z", 4_107_542_400_000),
    ])
    func `times are read`(text: String, expected: Int64) {
        #expect(milliseconds(ofRFC3339: text) == expected)
    }

    @Test(arguments: [
        "", "now", "2026-09-04", "2026-09-04T08:35:30", "2026-13-04T08:35:30Z",
        "2026-09-04T24:35:30Z", "2026-09-04T08:35:30+01:00", "2026-09-04T08:35:30.5Z",
    ])
    func `other texts are no times`(text: String) {
        #expect(milliseconds(ofRFC3339: text) == nil)
    }

    @Test func `numbers are short`() {
        #expect(
            [0, 999, 1000, 9949, 9950, 48_213, 999_499, 999_500].map { Human.bytes($0) } == [
                "0 B", "999 B", "1.0 KB", "9.9 KB", "10 KB", "48 KB", "999 KB", "1.0 MB",
            ])
        #expect(
            [0, 999, 1000, 1_234_567, -1000].map { Human.count($0) } == [
                "0", "999", "1,000", "1,234,567", "-1,000",
            ])
        let spans: [Int64] = [0, 999, 1000, 61_000, 600_000, 10_920_000, 86_400_000, 999_999_999]
        #expect(
            spans.map { Human.span(milliseconds: $0) } == [
                "now", "now", "1s", "1m 1s", "10m", "3h 2m", "1d", "11d",
            ])
        #expect(
            Human.rate(9.94) == "9.9/s" && Human.rate(0) == "0/s" && Human.rate(240.4) == "240/s")
    }

    @Test func `texts of others cannot speak to the terminal`() {
        #expect(Human.safe("a\u{1B}[2J\n\u{9B}b") == "a?[2J??b")
        #expect(Human.safe("abcdef", limit: 4) == "abc…" && Human.safe("abcd", limit: 4) == "abcd")
        #expect(percentEncoded("a+b @x/ü") == "a%2Bb%20%40x%2F%C3%BC")
    }
}
