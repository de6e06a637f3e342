// DataFileTests.swift - the grammar of data-driven files.

import Testing

@Suite("Data-driven files")
struct DataFileTests {
    private func blocks(_ text: String) throws -> [DataFile.Block] {
        try DataFile(text, file: "file.txt").blocks
    }

    @Test func `blocks have a directive, input and output, and comments are nothing`() throws {
        let all = try self.blocks(
            """
            # a comment
            first 1 two key=value
            ----
            ok

            # another


            second
            v1 l2
            # in between
            r3
            ----
            one

            third
            ----

            fourth
            ----
             indented
            # is output
            """)
        #expect(all.map(\.command) == ["first", "second", "third", "fourth"])
        #expect(all.map(\.line) == [2, 9, 16, 19])
        #expect(all[0].words == ["1", "two"])
        #expect(try all[0].option("key").value == "value")
        #expect(all[0].expected == ["ok"])
        #expect(all[1].input == ["v1 l2", "r3"])
        #expect(all[2].expected == [])
        #expect(all[3].expected == [" indented", "# is output"])
    }

    @Test func `values stand between commas or blanks`() throws {
        let block = try self.blocks("go a=(1,2 3, 4) b=() c=x,y d=( _ ) 5\n----\n")[0]
        #expect(block.options.map(\.key) == ["a", "b", "c", "d"])
        #expect(
            block.options.map(\.values) == [["1", "2", "3", "4"], [], ["x,y"], ["_"]])
        #expect(block.words == ["5"])
        #expect(try block.option("a").numbers() == [1, 2, 3, 4])
        #expect(throws: DirectiveError.self) { try block.option("b").value }
        #expect(throws: DirectiveError.self) { try block.option("e") }
    }

    @Test func `a long directive goes on behind a backslash`() throws {
        let block = try self.blocks("go 1 \\\n  2 a=(3,\\\n 4)\n----\nok\n")[0]
        #expect(block.words == ["1", "2"])
        #expect(try block.option("a").numbers() == [3, 4])
        #expect(block.line == 1)
    }

    @Test func `a doubled rule lets blank lines into the output`() throws {
        let all = try self.blocks("go\n----\n----\none\n\n----\ntwo\n----\n----\n\nnext\n----\nok")
        #expect(all.map(\.command) == ["go", "next"])
        #expect(all[0].expected == ["one", "", "----", "two"])
        #expect(all[1].expected == ["ok"])
    }

    @Test func `lines may end in CR LF, and the last one in nothing`() throws {
        let all = try self.blocks("# a\r\ngo 1\r\n\r\nv1\r\n----\r\none\r\n two\r\n\r\nend\r\n----")
        #expect(all.map(\.command) == ["go", "end"])
        #expect(all[0].input == ["v1"])
        #expect(all[0].expected == ["one", " two"])
        #expect(all[0].words == ["1"])
    }

    @Test func `what is not well formed is refused with its line`() {
        for (text, line) in [
            ("\ngo\nv1\n", 2), ("go 1\n----\n\n=3\n----\n", 4), ("go a=(1\n----\n", 1),
            ("ok\n----\n\ngo\n----\n----\nnever closed\n----\n", 4),
        ] {
            #expect {
                try self.blocks(text)
            } throws: { error in
                (error as? DataFile.Fault)?.line == line
            }
        }
        #expect(
            DataFile.Fault(file: "file.txt", line: 3, what: "x").description == "file.txt:3: x")
    }

    @Test func `log lines are left out on both sides`() throws {
        let block = try self.blocks("go\n----\nINFO a\n  DEBUG b\none\nERRORS\n  WARN c\n")[0]
        #expect(block.mismatch(["one", "ERRORS"]) == nil)
        #expect(block.mismatch(["INFO z", "one", "ERRORS"]) == nil)
        #expect(block.mismatch(["one"]) == ["one", "ERRORS"])
        #expect(block.mismatch(["one", " ERRORS"]) == ["one", "ERRORS"])
        let silent = try self.blocks("go\n----\nINFO a\n")[0]
        #expect(silent.mismatch([]) == nil)
        #expect(silent.mismatch(["ok"]) == nil)
        #expect(silent.mismatch(["no"]) == [])
        let plain = try self.blocks("go\n----\nok\n")[0]
        #expect(plain.mismatch(["ok"]) == nil)
        #expect(plain.mismatch([]) == ["ok"])
    }

    @Test func `bytes are printed between quotation marks`() {
        #expect(Text.quoted([]) == "\"\"")
        #expect(Text.quoted(Array("a\"b\\c\n".utf8)) == "\"a\\\"b\\\\c\\n\"")
        #expect(Text.quoted([0x00, 0x1F, 0x7F, 0x80, 0x61]) == "\"\\x00\\x1f\\x7f\\x80a\"")
        #expect(Text.quoted(Array("äé".utf8)) == "\"äé\"")
    }
}
