import Primitives
import Testing

@Suite("JSON, RFC 8259")
struct JSONTests {
    private func parse(_ text: String) throws -> JSON { try JSON.parse(Array(text.utf8)) }
    private func print(_ value: JSON) -> String { String(decoding: value.bytes, as: UTF8.self) }

    @Test(arguments: [
        "null", "true", "[]", "{}", "-1", "0", "9223372036854775807", "1.5", "\"\"",
        "{\"a\":[1,{\"b\":null},\"x\"],\"c\":false}", "\"\\u0000\\u007f\\\"\\\\\"", "\"Grüße 😀\"",
    ])
    func `what is read is printed as it was`(text: String) throws {
        #expect(self.print(try self.parse(text)) == text)
    }

    @Test func `escapes and spaces are read`() throws {
        #expect(
            try self.parse(" [ \"\\u00e9\\uD83D\\uDE00\\n\\/\" , 1e2 ] ")
                == .list(["é😀\n/", .real(100)]))
        #expect(try self.parse("9223372036854775808") == .real(9_223_372_036_854_775_808))
    }

    @Test(arguments: [
        "", " ", "nul", "[1,]", "[1 2]", "{\"a\"}", "{\"a\":}", "{a:1}", "{\"a\":1,}", "01", "-",
        "1.",
        ".5", "1e", "1e999", "\"", "\"\\x\"", "\"\\u12\"", "\"\\ud800\"", "\"\\ud800\\u0041\"",
        "\"\\udc00\"", "\"\u{1}\"", "1 1", "[", "{\"a\":1", "-01", "+1", "NaN",
    ])
    func `what is not JSON is refused`(text: String) {
        #expect(throws: JSONFault.self) { try self.parse(text) }
    }

    @Test func `bytes that are not UTF-8 are refused`() {
        #expect(throws: JSONFault.self) { try JSON.parse([0x22, 0xFF, 0x22]) }
    }

    @Test func `64 lists within each other are read, 65 are not`() throws {
        let nested = { (depth: Int) in
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        _ = try self.parse(nested(64))
        #expect(throws: JSONFault(offset: 64, what: "too deep")) { try self.parse(nested(65)) }
    }

    @Test func `members are found by name, numbers by kind`() throws {
        let value = try self.parse("{\"a\":1,\"b\":{\"c\":\"x\"}}")
        #expect(value["a"]?.asInteger == 1 && value["a"]?.asReal == 1 && value["z"] == nil)
        #expect(value["b"]?["c"]?.asText == "x")
    }
}
