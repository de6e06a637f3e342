import Settings
import Testing

@Suite("Settings, faults with line and remedy")
struct SettingsFaultTests {
    /// What follows `good()`, and the one fault that it makes.
    static let single: [(String, String)] = [
        ("[relay\n", "f:6: not TOML: "),
        ("[relay]\nallow = []\nallow = []\n", "f:8: not TOML: "),
        ("[rely]\n", "f:6: unknown table rely; did you mean [relay]?"),
        ("[[routes]]\n", "f:6: unknown table routes; did you mean [[route]]?"),
        ("[wholly-different]\n", "f:6: unknown table wholly-different; tables are [node]"),
        ("[relay]\nallw = []\n", "f:7: unknown key relay.allw; did you mean allow?"),
        (
            "[relay]\nmax_mesage = \"1MB\"\n",
            "f:7: unknown key relay.max_mesage; did you mean max_message?"
        ),
        (
            "[relay]\ndnssec = true\n",
            "f:7: unknown key relay.dnssec; move it to [dns], or remove it"
        ),
        (
            "[relay]\nzzzzzzzzzz = 1\n",
            "f:7: unknown key relay.zzzzzzzzzz; remove it; keys here are allow"
        ),
        (
            "[relay]\nmax_message = 50\n",
            "f:7: relay.max_message: expected a size, found an integer; write it "
                + "like \"25MB\""
        ),
        ("[relay]\nmax_message = \"50 MB\"\n", "f:7: relay.max_message: \"50 MB\" is not a size"),
        ("[relay]\nmax_message = \"50XB\"\n", "f:7: relay.max_message: \"50XB\" is not a size"),
        (
            "[relay]\nmax_message = \"999B\"\n",
            "f:7: relay.max_message: 999B is out of range; choose 1KB … 2GB"
        ),
        ("[relay]\nmax_message = \"99999999999999999999GB\"\n", "f:7: relay.max_message: "),
        (
            "[relay]\nmax_recipients = \"9\"\n",
            "f:7: relay.max_recipients: expected an integer, found a string"
        ),
        (
            "[relay]\nmax_recipients = 99\n",
            "f:7: relay.max_recipients: 99 is out of range; choose 100 … 5000"
        ),
        (
            "[relay]\nmax_recipients = 1.5\n",
            "f:7: relay.max_recipients: expected an integer, found a number with a "
                + "fraction"
        ),
        (
            "[relay]\nidle_timeout = \"5 minutes\"\n",
            "f:7: relay.idle_timeout: \"5 minutes\" is not a duration; write it like "
                + "\"90s\"; units: ms, s, m, h, d"
        ),
        (
            "[relay]\nidle_timeout = \"2h\"\n",
            "f:7: relay.idle_timeout: 2h is out of range; choose 1s … 1h"
        ),
        (
            "[relay]\nidle_timeout = 2026-01-01\n",
            "f:7: relay.idle_timeout: expected a duration, found a date"
        ),
        ("[relay]\nallow = \"10.0.0.0/8\"\n", "f:7: relay.allow: expected a list, found a string"),
        (
            "[relay]\nallow = [\"10.0.0.0/33\"]\n",
            "f:7: relay.allow: \"10.0.0.0/33\" is not an address range"
        ),
        ("[relay]\nallow = [\"::/0\"]\n", "f:7: ::/0 makes an open relay"),
        (
            "[relay]\ndomains = [\"exa mple.org\"]\n",
            "f:7: relay.domains: \"exa mple.org\" is not a domain"
        ),
        ("[relay]\ndomains = [\"*\"]\n", "f:7: relay.domains: \"*\" is not a domain"),
        (
            "[relay]\ndomains = [\"a.org\", \"A.org\"]\n",
            "f:7: a.org stands in relay.domains twice; remove one"
        ),
        (
            "[relay]\nusers = \"/none\"\n",
            "f:7: /none does not exist; make it readable, or name another file"
        ),
        ("[relay]\nusers = \"/badusers\"\n", "f:7: /badusers:2: no colon between name and hash"),
        (
            "[relay]\nmax_sessions = 10\n",
            "f:6: max_sessions_per_address 500 exceeds max_sessions 10"
        ),
        (
            "tls = \"on\"\n",
            "f:6: listener.tls: \"on\" is not known; choose from \"off\", "
                + "\"starttls\", \"implicit\""
        ),
        (
            "tls = \"startls\"\n",
            "f:6: listener.tls: \"startls\" is not known; did you mean \"starttls\"?"
        ),
        ("tls = \"starttls\"\n", "f:6: listener: tls = \"starttls\" needs certificate and key"),
        (
            "tls = \"starttls\"\ncertificate = \"/c.pem\"\n",
            "f:7: listener: certificate without key; add key"
        ),
        (
            "tls = \"starttls\"\ncertificate = \"/none\"\nkey = \"/c.key\"\n",
            "f:7: /none does not exist"
        ),
        (
            "tls = \"starttls\"\ncertificate = \"/c.key\"\nkey = \"/c.key\"\n",
            "f:7: /c.key holds no CERTIFICATE in PEM form"
        ),
        ("proxy_protocol = true\n", "f:6: proxy_protocol without proxy_trusted"),
        ("proxy_trusted = [\"10.0.0.0/8\"]\n", "f:6: proxy_trusted without proxy_protocol"),
        (
            "proxy_protocol = true\nproxy_trusted = [\"0.0.0.0/0\"]\n",
            "f:7: 0.0.0.0/0 lets every client choose its address"
        ),
        (
            "proxy_protocol = 1\n",
            "f:6: listener.proxy_protocol: expected true or false, found an integer"
        ),
        (
            "[[listener]]\naddress = \"127.0.0.1:2525\"\n",
            "f:7: 127.0.0.1:2525 collides with 127.0.0.1:2525 on line 5"
        ),
        (
            "[[listener]]\naddress = \"0.0.0.0:2525\"\n",
            "f:7: 0.0.0.0:2525 collides with 127.0.0.1:2525 on line 5"
        ),
        (
            "[[listener]]\naddress = \"127.0.0.1:8680\"\n",
            "f:7: 127.0.0.1:8680 collides with 127.0.0.1:8680 of admin.listen by "
                + "default"
        ),
        (
            "[[listener]]\naddress = \"localhost:25\"\n",
            "f:7: listener.address: \"localhost:25\" is not an address with a port"
        ),
        (
            "[[listener]]\naddress = \"127.0.0.1\"\n",
            "f:7: listener.address: \"127.0.0.1\" is not an address with a port"
        ),
        ("[[listener]]\naddress = \"127.0.0.1:65536\"\n", "f:7: listener.address: "),
        (
            "[[listener]]\nmode = \"relay\"\n",
            "f:6: listener.address is missing; add address = \"0.0.0.0:25\""
        ),
        ("[[route]]\nvia = \"smtp://h\"\n", "f:6: route.domains is missing; add domains = "),
        ("[[route]]\ndomains = []\nvia = \"smtp://h\"\n", "f:7: route.domains is empty"),
        (
            "[[route]]\ndomains = [\"a.org\"]\nvia = \"http://h\"\n",
            "f:8: route.via: \"http://h\" is not smtp://, smtps:// or lmtp:// with a "
                + "host"
        ),
        ("[[route]]\ndomains = [\"a.org\"]\nvia = \"smtp://h:0\"\n", "f:8: route.via: "),
        (
            "[[route]]\ndomains = [\"*\"]\nvia = \"smtp://h\"\n[[route]]\ndomains = "
                + "[\"a.org\"]\nvia = \"smtp://h\"\n",
            "f:10: a.org never goes this way: the route on line 6 comes first"
        ),
        (
            "[[route]]\ndomains = [\"a.org\"]\nvia = \"smtps://h\"\ntls = \"none\"\n",
            "f:9: tls = \"none\" on a smtps:// route"
        ),
        (
            "[[route]]\ndomains = [\"a.org\"]\nvia = \"smtps://h\"\nuser = \"u\"\n",
            "f:9: user without password; add password_file"
        ),
        (
            "[[route]]\ndomains = [\"a.org\"]\nvia = \"smtps://h\"\npassword = "
                + "\"p\"\n",
            "f:9: a password without user"
        ),
        (
            "[[route]]\ndomains = [\"a.org\"]\nvia = \"smtp://h\"\nuser = "
                + "\"u\"\npassword = \"p\"\n",
            "f:9: the password could be sent in the clear"
        ),
        (
            "[[route]]\ndomains = [\"a.org\"]\nvia = \"smtps://h\"\nuser = "
                + "\"u\"\npassword = \"p\"\npassword_file = \"/secret\"\n",
            "f:11: password and password_file both given"
        ),
        (
            "[[route]]\ndomains = [\"a.org\"]\nvia = \"smtps://h\"\nuser = "
                + "\"u\"\npassword_file = \"/empty\"\n",
            "f:10: the first line of /empty is empty or not text"
        ),
        (
            "[[route]]\ndomains = [\"a.org\"]\nvia = \"smtp://h\"\nverify = "
                + "\"vrfy\"\n",
            "f:9: route.verify: \"vrfy\" is not known"
        ),
        ("[delivery]\nretry = []\n", "f:7: delivery.retry is empty"),
        (
            "[delivery]\nretry = [\"1h\"]\nexpire = \"30m\"\ndelay_notice = \"0s\"\n",
            "f:7: the first retry comes after 1h"
        ),
        (
            "[delivery]\nexpire = \"1h\"\ndelay_notice = \"2h\"\n",
            "f:8: delay_notice 2h exceeds expire 1h"
        ),
        (
            "[delivery]\nsource = [\"a.org\"]\n",
            "f:7: delivery.source: \"a.org\" is not an IP address"
        ),
        ("[delivery]\nipv6 = false\nsource = [\"::1\"]\n", "f:8: source ::1, but ipv6 = false"),
        (
            "[delivery]\nconnections = 10\n",
            "f:6: connections_per_destination 20 exceeds connections 10"
        ),
        (
            "[delivery]\npostmaster = \"postmaster\"\n",
            "f:7: delivery.postmaster: \"postmaster\" is not a mailbox"
        ),
        (
            "[dns]\nservers = [\"ns.example.org\"]\n",
            "f:7: dns.servers: \"ns.example.org\" is not an IP address"
        ),
        ("[dns]\nservers = [\"127.0.0.1@0\"]\n", "f:7: dns.servers: "),
        ("[dns]\ndnssec = true\n", "f:7: dnssec without trust_anchor"),
        ("[dns]\ntrust_anchor = \"/none\"\n", "f:7: /none does not exist"),
        (
            "[admin]\nlisten = \"0.0.0.0:8680\"\n",
            "f:7: admin.listen 0.0.0.0:8680 is not on loopback and asks for no token"
        ),
        (
            "[admin]\nlisten = \"0.0.0.0:8680\"\ntoken_file = \"/secret\"\n",
            "f:7: admin.listen 0.0.0.0:8680 is not on loopback and has no TLS"
        ),
        ("[admin]\ntoken_file = \"/short\"\n", "f:7: the token in /short is too easy to guess"),
        ("[admin]\nkey = \"/c.key\"\n", "f:7: admin: key without certificate"),
        (
            "[[admin]]\nkey = \"/c.key\"\n",
            "f:6: admin must be one table, found a list; write [admin]"
        ),
        (
            "[route]\ndomains = []\n",
            "f:6: route must be an array of tables, found a table; write [[route]]"
        ),
    ]

    @Test(arguments: single)
    func `each kind of fault is told with its line and a remedy`(more: String, expected: String) {
        let found = faults(good(more))
        #expect(found.count == 1, "\(found)")
        #expect(found.first?.hasPrefix(expected) == true, "\(found)")
        #expect(found.first?.contains("; ") == true)
    }

    @Test func `all faults of a file are told in one run, in the order of their lines`() {
        let found = faults(
            """
            [relay]
            allow = ["x"]
            max_mesage = "1MB"
            [node]
            name = "A B"
            hostnam = "h"
            [dns]
            dnssec = true
            """)
        #expect(
            found.map { $0.prefix(4) } == ["f: n", "f:2:", "f:3:", "f:4:", "f:5:", "f:6:", "f:8:"])
    }

    @Test func `a file without a node is told so`() {
        #expect(
            faults("") == [
                "f: the table [node] is missing; add it, with `name` and `hostname`",
                "f: no [[listener]]: no mail could come in; add one with address = \"0.0.0.0:25\"",
            ])
    }

    @Test func `a key outside of a table is sent to its table`() {
        #expect(
            faults("max_message = \"1MB\"\n" + good())
                == ["f:1: max_message stands outside of a table; move it below [relay]"])
    }

    @Test func `a NUL byte is a fault, not the end of the file`() {
        #expect(
            faults(good("[relay]\u{0}\n")).first?.hasPrefix("f:6: not TOML: a NUL byte") == true)
    }

    @Test func `lists are allowed up to their limit`() {
        let names = { (count: Int) in (0..<count).map { "\"d\($0).org\"" }.joined(separator: ",") }
        #expect(faults(good("[relay]\ndomains = [\(names(10_000))]\n")) == [])
        #expect(
            faults(good("[relay]\ndomains = [\(names(10_001))]\n"))
                == ["f:7: relay.domains: 10001 values, 10000 are allowed; shorten it"])
    }

    @Test func `a settings file that is missing or not text is told with its path`() {
        let files = FileAccess { path throws(FileAccess.Failure) in
            if path == "/latin1" { return Array("[node]\nname = \"".utf8) + [0xE4] }
            throw .notPermitted
        }
        #expect(throws: SettingsFaults.self) { try SettingsParser.load("/x", files: files) }
        do {
            _ = try SettingsParser.load("/x", files: files)
        } catch {
            #expect(
                error.description == "/x: the settings file may not be read by this user; "
                    + "give its path with --config")
        }
        do {
            _ = try SettingsParser.load("/latin1", files: files)
        } catch {
            #expect(error.description == "/latin1:2: not UTF-8; save the file as UTF-8")
        }
    }

    @Test func `the times of a session fit together`() {
        func times(_ renewal: String, _ dotGuard: String) -> [Substring] {
            faults(
                good(
                    """
                    [cluster]
                    name = "mail"
                    listen = "10.0.0.1:7650"
                    seeds = ["a@10.0.0.1:7650"]
                    ca = "/none"
                    certificate = "/c.pem"
                    key = "/c.key"
                    session_time = "2s"
                    renewal = "\(renewal)"
                    dot_guard = "\(dotGuard)"
                    """)
            ).filter { $0.contains("session_time") }.map { $0.prefix(38) }
        }
        #expect(
            times("501ms", "1001ms") == [
                "f:14: a renewal each 501ms comes too s", "f:15: dot_guard 1001ms leaves too litt",
            ])
        #expect(times("500ms", "1s").isEmpty)
    }

    @Test func `a cluster needs reachable peers, its authority and a certificate`() {
        let text = good(
            """
            [cluster]
            name = "mail"
            listen = "0.0.0.0:7650"
            seeds = ["a@10.0.0.1:7650", "a@10.0.0.1:7651"]
            ca = "/none"
            certificate = "/c.pem"
            key = "/c.key"
            copies = 3
            """)
        #expect(
            faults(text).map { $0.prefix(30) } == [
                "f:8: peers cannot reach 0.0.0.",
                "f:9: a stands in cluster.seeds",
                "f:10: /none does not exist; ma",
                "f:13: 3 copies on 2 nodes; low",
            ])
    }
}
