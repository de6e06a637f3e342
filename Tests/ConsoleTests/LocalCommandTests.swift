import Foundation
import Settings
import Testing

@Suite("Commands: check, send, user, version")
struct LocalCommandTests {
    @Test func `check config names all faults and ends with 78`() {
        let folder = Folder()
        let file = folder.write(
            "f.toml",
            "[node]\nname = \"a\"\nhostnam = \"h\"\n[dns]\ndnssec = true\n[[listener]]\naddress = \"127.0.0.1:0\"\n"
        )
        let outcome = run("check", "config", "--config", file)
        #expect(outcome.status == 78 && outcome.out == "")
        #expect(
            outcome.messages.first?.split(separator: "\n").map(String.init) == [
                "\(file):1: node.hostname is missing; add hostname = \"relay.example.com\"",
                "\(file):3: unknown key node.hostnam; did you mean hostname?",
                "\(file):5: dnssec without trust_anchor; set trust_anchor to the file that "
                    + "unbound-anchor writes",
            ])
        #expect(run("check", "config", "--config", "/no/file").status == 78)
    }

    @Test func `check config is content with the example, not with a damaged certificate`() {
        let folder = Folder()
        #expect(
            run("check", "config", "--config", folder.write("a", SettingsPrinter.example)).status
                == 0)
        let pem = folder.write(
            "c.pem", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")
        let key = folder.write(
            "c.key", "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n")
        let outcome = run(
            "check", "config", "--config",
            folder.write(
                "b",
                "[node]\nname = \"a\"\nhostname = \"h.example\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n"
                    + "tls = \"starttls\"\ncertificate = \"\(pem)\"\nkey = \"\(key)\"\n"))
        #expect(outcome.status == 78)
        #expect(
            outcome.messages.count == 1 && outcome.messages[0].contains("listener 127.0.0.1:0: "))
    }

    @Test func `send gives envelope and message, with CRLF, and prints the id`() {
        let node = FakeNode { _ in
            .init(status: 200, body: "{\"schema\":\"posthouse.send/1\",\"id\":\"1-7\"}\n")
        }
        let outcome = run(
            "send", "-f", "a@b.c", "x@y.z", "q@y.z", "--server", node.url,
            input: "Subject: s\n\nline\r\nlast")
        #expect(outcome == Outcome(status: 0, out: "1-7\n", messages: []))
        #expect(node.requests[0].line == "POST /v1/send HTTP/1.1")
        #expect(node.requests[0].headers["content-type"] == "application/vnd.posthouse.send")
        #expect(
            node.requests[0].body == "{\"from\":\"a@b.c\",\"to\":[\"x@y.z\",\"q@y.z\"]}\n"
                + "Subject: s\r\n\r\nline\r\nlast\r\n")
    }

    @Test func `send takes the user's name as sender, <> as none`() {
        let node = FakeNode { _ in .init(status: 200, body: "{\"id\":\"1-7\"}") }
        _ = run("send", "x@y.z", "--server", node.url, input: "a\n")
        _ = run("send", "-f", "<>", "x@y.z", "--server", node.url, input: "a\n")
        #expect(
            node.requests.map { $0.body.prefix(13) } == ["{\"from\":\"jo\",", "{\"from\":\"\",\"t"])
        #expect(run("send", "x@y.z", "--server", node.url, input: "a\rb\n").status == 65)
        #expect(run("send", "--server", node.url, input: "a\n").status == 64)
    }

    @Test func `user add makes, changes and removes users, and keeps comments`() throws {
        let folder = Folder()
        let file = folder.write("users", "# staff\n")
        chmod(file, 0o640)
        #expect(run("user", "add", "jo", "--file", file, input: "secret\n").status == 0)
        let secret = folder.write("pw", "other\n")
        let changed = run("user", "add", "jo", "--file", file, "--password-file", secret)
        #expect(changed == Outcome(status: 0, out: "", messages: ["changed jo"]))
        let typed = run("user", "add", "sam", "--file", file, typed: ["a", "b"])
        #expect(typed.status == 65)
        #expect(run("user", "add", "sam", "--file", file, typed: ["abc", "abc"]).status == 0)
        let users = try UserFile(folder.read("users") ?? "")
        #expect(users.names == ["jo", "sam"] && users.text.hasPrefix("# staff\njo:$scrypt$"))
        let mode = try FileManager.default.attributesOfItem(atPath: file)[.posixPermissions]
        #expect(mode as? Int == 0o640)
        #expect(run("user", "remove", "jo", "--file", file).status == 0)
        #expect(run("user", "remove", "jo", "--file", file).status == 66)
        #expect(run("user", "add", "a:b", "--file", file, input: "x\n").status == 65)
        #expect(run("user", "add", "a", "--file", file, input: "").status == 65)
        #expect(run("user", "add", "a", "--file", "/no/dir/users", input: "x\n").status == 74)
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() == [
                "pw", "users",
            ])
    }

    @Test func `a new file of users is for its owner only`() throws {
        let folder = Folder()
        #expect(
            run("user", "add", "jo", "--file", "\(folder.path)/users", input: "x\n").status == 0)
        let facts = try FileManager.default.attributesOfItem(atPath: "\(folder.path)/users")
        #expect(facts[.posixPermissions] as? Int == 0o600)
    }

    @Test func `version and help go to stdout`() {
        #expect(run("version").out.hasPrefix("posthouse "))
        let help = run("--help")
        #expect(help.status == 0 && help.out.contains("queue") && !help.out.contains("docs"))
        #expect(run("docs", "example").out == SettingsPrinter.example)
    }
}

@Suite("posthouse ca")
struct CACommandTests {
    /// Whether openssl trusts the certificate for this host.
    private func verifies(_ folder: String, _ name: String, host: String) throws -> Bool {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
        process.arguments = [
            "verify", "-CAfile", "\(folder)/ca.pem", "-verify_hostname", host, "-attime",
            "1788510930", "\(folder)/\(name).pem",
        ]
        process.standardOutput = Pipe()
        process.standardError = Pipe()
        try process.run()
        process.waitUntilExit()
        return process.terminationStatus == 0
    }

    @Test func `init and issue make what openssl trusts`() throws {
        let folder = Folder()
        let directory = "\(folder.path)/pki"
        #expect(run("ca", "init", directory).status == 0)
        #expect(
            run("ca", "issue", directory, "--node", "a", "--address", "a.example.com").status == 0)
        #expect(try self.verifies(directory, "a", host: "a.example.com"))
        #expect(try !self.verifies(directory, "a", host: "b.example.com"))
        for (name, mode) in [("ca.key", 0o600), ("a.key", 0o600), ("a.pem", 0o644)] {
            let facts = try FileManager.default.attributesOfItem(atPath: "\(directory)/\(name)")
            #expect(facts[.posixPermissions] as? Int == mode, "\(name)")
        }
    }

    @Test func `nothing is overwritten and names are checked`() throws {
        let folder = Folder()
        #expect(run("ca", "init", folder.path).status == 0)
        let before = folder.read("ca.key")
        #expect(run("ca", "init", folder.path).status == 65)
        #expect(before != nil && folder.read("ca.key") == before)
        #expect(run("ca", "issue", folder.path, "--node", "a").status == 0)
        #expect(run("ca", "issue", folder.path, "--node", "a").status == 65)
        #expect(run("ca", "issue", folder.path, "--node", "../a").status == 64)
        #expect(run("ca", "issue", folder.path, "--node", "ca").status == 64)
        #expect(
            run("ca", "issue", folder.path, "--node", "b", "--address", "DNS:x,IP:1").status == 65)
        #expect(run("ca", "issue", "\(folder.path)/none", "--node", "a").status == 66)
    }
}
